"""The effort that one diff may spend on its lists. It bounds the time that any document can take. Pure."""

# A unit is about a tenth of a microsecond. So all lists of one diff together take about 40 ms.
MAX_EFFORT = 400_000
# At least this much is left for searches, however much the first pass over long lists takes.
_MIN_EFFORT = 60_000
# Lists within lists are compared down to this depth. At each level the changed elements are compared again.
MAX_DEPTH = 16
# One diff may pass this many times over the bytes of its lists, including the lists within them.
_PASSES = 4


class Effort:
    """Counts the effort of one diff. The first pass over a list always takes place. Searches need effort that is left.

    One search gets at most half of the effort that is left. So a list that changed everywhere leaves enough for others.

    Args:
        units: The effort, in the units of `MAX_EFFORT`.

    Attributes:
        left: The units that are left. Never negative.
        depth: The number of lists around the current value. The caller counts them.
    """

    def __init__(self, units: int = MAX_EFFORT) -> None:
        self.left = units
        self.depth = 0
        self._bytes = 0

    @property
    def share(self) -> int:
        """The number of units that one search may take."""
        return self.left // 2

    def take(self, units: int) -> bool:
        """Spend units on a search if they don't exceed its share. Returns whether they were spent."""
        if units > self.share:
            return False
        self.left -= units
        return True

    def spend(self, units: int) -> None:
        """Spend units on a first pass."""
        self.left = max(self.left - units, min(self.left, _MIN_EFFORT))

    @property
    def may_look(self) -> bool:
        """Whether the elements of the current list may be compared."""
        return self.depth <= 1 or (self.depth <= MAX_DEPTH and self._bytes >= 0)

    def read(self, count: int) -> None:
        """Record a pass over bytes. An outermost list adds the bytes that the lists within it may use."""
        self._bytes += (_PASSES - 1) * count if self.depth <= 1 else -count

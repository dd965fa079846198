"""What one diff may spend on its lists, so that no document makes it take long. Pure."""

# A unit is about a tenth of a microsecond, so the lists of one diff take about 40 ms together.
MAX_EFFORT = 400_000
# What is left for searches at least, however much the first pass over long lists takes.
_MIN_EFFORT = 60_000
# Lists within lists are looked into so deep. At each level the elements that changed are compared again.
MAX_DEPTH = 16
# So often one diff may go over the bytes of its lists, with those of the lists within them.
_PASSES = 4


class Effort:
    """What one diff may spend on its lists. The first pass over a list is always made; searches are only made while there is enough left.

    A single search gets at most half of what is left, so a list that changed everywhere leaves enough for lists with few edits.

    Args:
        units: See `MAX_EFFORT`.

    Attributes:
        left: Units. Never negative.
        depth: How many lists there are around what is looked at. The caller counts.
    """

    def __init__(self, units: int = MAX_EFFORT) -> None:
        self.left = units
        self.depth = 0
        self._bytes = 0

    @property
    def share(self) -> int:
        """How many units one search may take."""
        return self.left // 2

    def take(self, units: int) -> bool:
        """Spend units on a search, if that is no more than its share. Returns whether it is."""
        if units > self.share:
            return False
        self.left -= units
        return True

    def spend(self, units: int) -> None:
        """Spend units on a first pass."""
        self.left = max(self.left - units, min(self.left, _MIN_EFFORT))

    @property
    def may_look(self) -> bool:
        """Whether the list that was entered last may be looked into."""
        return self.depth <= 1 or (self.depth <= MAX_DEPTH and self._bytes >= 0)

    def read(self, count: int) -> None:
        """Note a pass over bytes. A list that is within no other list brings in the bytes for those within it."""
        self._bytes += (_PASSES - 1) * count if self.depth <= 1 else -count

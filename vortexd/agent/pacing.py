"""When to act on changes: not before it is quiet, not after the longest wait, and not everywhere at once. Pure; time is an argument.

The invariant: of changes that come in a burst the last is acted on, and none is forgotten.
"""

import attrs


@attrs.define(eq=False)
class Pace:
    """The changes that wait to be acted on.

    Attributes:
        quiet_period: Seconds without a change.
        max_wait: Seconds from the first change on, however many follow.
        splay: Seconds that chance adds to both, once for a burst.
    """

    quiet_period: float
    max_wait: float
    splay: float = 0.0
    _first: float | None = attrs.field(init=False, default=None)
    _last: float = attrs.field(init=False, default=0.0)
    _extra: float = attrs.field(init=False, default=0.0)

    def note(self, now: float, chance: float) -> None:
        """Note a change.

        Args:
            now: Monotonic, in seconds.
            chance: From 0 to 1, newly drawn for each call.
        """
        if self._first is None:
            self._first = now
            self._extra = chance * self.splay
        self._last = now

    @property
    def due(self) -> float | None:
        """When to act; None where nothing waits."""
        if self._first is None:
            return None
        return min(self._last + self.quiet_period, self._first + self.max_wait) + self._extra

    def take(self, now: float) -> bool:
        """Whether it is time; then nothing waits any more."""
        if self.due is None or now < self.due:
            return False
        self.clear()
        return True

    def clear(self) -> None:
        """What waited is acted on, for another reason than its time."""
        self._first = None

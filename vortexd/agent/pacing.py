"""When to act on changes: after a quiet period, at the latest after a longest wait, and not on all machines at once. Pure; time is an argument.

Invariant: after a burst of changes, the agent acts on the last one. No change is forgotten.
"""

import attrs


@attrs.define(eq=False)
class Pace:
    """Schedules the action that pending changes need.

    Attributes:
        quiet_period: Act after so many seconds without a change.
        max_wait: Act at the latest so many seconds after the first change, however many follow.
        splay: Up to so many seconds are added to both, by chance, once for each burst.
    """

    quiet_period: float
    max_wait: float
    splay: float = 0.0
    _first: float | None = attrs.field(init=False, default=None)
    _last: float = attrs.field(init=False, default=0.0)
    _extra: float = attrs.field(init=False, default=0.0)

    def note(self, now: float, chance: float) -> None:
        """Record a change.

        Args:
            now: Monotonic time, in seconds.
            chance: A random number from 0 to 1, drawn anew for each call.
        """
        if self._first is None:
            self._first = now
            self._extra = chance * self.splay
        self._last = now

    @property
    def due(self) -> float | None:
        """When to act. None if no change is pending."""
        if self._first is None:
            return None
        return min(self._last + self.quiet_period, self._first + self.max_wait) + self._extra

    def take(self, now: float) -> bool:
        """Whether it is time to act. If so, no change is pending afterwards."""
        if self.due is None or now < self.due:
            return False
        self.clear()
        return True

    def clear(self) -> None:
        """Forget the pending changes, because the agent acts on them for another reason."""
        self._first = None

"""A token bucket. Pure: time is an argument."""

import attrs


@attrs.define(slots=True, eq=False)
class Bucket:
    """Lets `rate` things pass a second, and up to `burst` at once.

    Attributes:
        rate: Things a second.
        burst: Things at once; what a fresh bucket lets pass.
    """

    rate: float
    burst: float
    _level: float = attrs.field(init=False)
    _then: float | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._level = self.burst

    def take(self, now: float, count: float = 1.0) -> bool:
        """Whether this many may pass now; takes them if so. `now` is monotonic, in seconds."""
        if self._then is not None:
            self._level = min(self.burst, self._level + (now - self._then) * self.rate)
        self._then = now
        if self._level < count:
            return False
        self._level -= count
        return True

    def is_full(self, now: float) -> bool:
        """Whether it is as a fresh one."""
        return self._then is None or self._level + (now - self._then) * self.rate >= self.burst

    def full_in(self, now: float) -> float:
        """Seconds until it is as a fresh one, if nothing passes until then."""
        return 0.0 if self._then is None else max(0.0, self._then + (self.burst - self._level) / self.rate - now)

"""A token bucket. Pure: time is an argument."""

import attrs


@attrs.define(slots=True, eq=False)
class Bucket:
    """Allows `rate` events per second, and up to `burst` events at once.

    Attributes:
        rate: The tokens that are added per second.
        burst: The most tokens that the bucket holds. A new bucket is full.
    """

    rate: float
    burst: float
    _level: float = attrs.field(init=False)
    _then: float | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._level = self.burst

    def take(self, now: float, count: float = 1.0) -> bool:
        """Take tokens, if the bucket holds enough of them.

        Args:
            now: The monotonic time in seconds.
            count: The number of tokens.

        Returns:
            Whether the tokens were taken.
        """
        if self._then is not None:
            self._level = min(self.burst, self._level + (now - self._then) * self.rate)
        self._then = now
        if self._level < count:
            return False
        self._level -= count
        return True

    def is_full(self, now: float) -> bool:
        """Whether the bucket is as full as a new one."""
        return self._then is None or self._level + (now - self._then) * self.rate >= self.burst

    def full_in(self, now: float) -> float:
        """The seconds until the bucket is full, if no token is taken until then."""
        return 0.0 if self._then is None else max(0.0, self._then + (self.burst - self._level) / self.rate - now)

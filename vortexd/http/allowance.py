"""How much of the frames that cost the server something and serve nothing an HTTP/2 client may send: token buckets."""

from collections.abc import Callable


class AllowanceExceeded(Exception):
    """The client sends too many useless frames."""


class Bucket:
    """A token bucket: it holds `burst` tokens at most, and refills with `per_second`.

    Args:
        clock: The current time in seconds.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float]) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._left, self._at = float(burst), clock()

    def take(self) -> None:
        """Take one token.

        Raises:
            AllowanceExceeded: There is none.
        """
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second) - 1
        self._at = now
        if self._left < 0:
            raise AllowanceExceeded


class Allowances:
    """The allowances of one connection.

    Attributes:
        resets: Each reset is a request that nobody waits for (CVE-2023-44487).
        control: Frames that get no response, such as PING, SETTINGS and empty DATA.
        window_updates: A large response may need two of them for each of its frames.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.resets = Bucket(10.0, 100, clock)
        self.control = Bucket(20.0, 200, clock)
        self.window_updates = Bucket(2_000.0, 10_000, clock)

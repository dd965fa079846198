"""Token buckets that limit the useless frames of an HTTP/2 client. The server must process them, but serves nothing with them."""

from collections.abc import Callable


class AllowanceExceeded(Exception):
    """The client has sent too many useless frames."""


class Bucket:
    """A token bucket. It holds at most `burst` tokens, and gets `per_second` new tokens per second.

    Args:
        clock: Returns the current time in seconds.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float]) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._left, self._at = float(burst), clock()

    def take(self) -> None:
        """Take one token.

        Raises:
            AllowanceExceeded: The bucket is empty.
        """
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second) - 1
        self._at = now
        if self._left < 0:
            raise AllowanceExceeded


class Allowances:
    """The allowances of one connection.

    Attributes:
        resets: Limits RST_STREAM. Each of them is a request whose response nobody waits for (CVE-2023-44487).
        control: Limits frames that get no response, such as PING, SETTINGS and empty DATA.
        window_updates: Limits WINDOW_UPDATE. A large response may need two of them for each of its frames.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.resets = Bucket(10.0, 100, clock)
        self.control = Bucket(20.0, 200, clock)
        self.window_updates = Bucket(2_000.0, 10_000, clock)

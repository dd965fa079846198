"""Decides when a repository is fetched: after an interval, later while fetches fail, and sooner if a webhook asks.

Pure.

The time arrives as an argument. Moments and durations leave, in seconds. The invariant: however many webhooks arrive,
two fetches begin at least `hook_interval` apart.
"""

from collections.abc import Callable

from .settings import GitSettings

# If there is a mirror, the first state waits this many seconds for the remote, so that a start rarely serves older
# content.
START_PATIENCE = 5.0
# The interval doubles with each failure, up to this many seconds.
LONGEST_WAIT = 300.0
# Each wait varies by at most this fraction, so that instances which started together don't fetch together.
JITTER = 0.1
# While fetches fail, the wait between two fetches for webhooks doubles this many times: to half a minute, by default.
MOST_DOUBLINGS = 5
# After this many fetches the server asks the remote for its default branch, which can change without a push.
ASK_HEAD_AFTER = 20


class FetchSchedule:
    """Decides when the next fetch begins, and how long it may take.

    Args:
        uniform: Returns a random number between two others, for jitter.
    """

    def __init__(self, settings: GitSettings, uniform: Callable[[float, float], float]) -> None:
        self._settings = settings
        self._uniform = uniform
        self._failures = 0
        self._began = 0.0
        self._timeout = settings.fetch_timeout

    def start(self, *, has_state: bool) -> None:
        """Reset the schedule, as after a start.

        Args:
            has_state: Whether there is a mirror that can be served if the first fetch takes too long.
        """
        self._failures = 0
        longest = self._settings.fetch_timeout
        self._timeout = min(START_PATIENCE, longest) if has_state else longest

    def begin(self, now: float) -> None:
        """Record that a fetch begins."""
        self._began = now

    def end(self, *, is_done: bool) -> None:
        """Record that a fetch has ended.

        Args:
            is_done: Whether it succeeded.
        """
        self._failures = 0 if is_done else self._failures + 1
        self._timeout = self._settings.fetch_timeout

    @property
    def timeout(self) -> float:
        """The seconds that a fetch may take now."""
        return self._timeout

    @property
    def may_rebuild(self) -> bool:
        """Whether a faulty mirror may be made anew now. That costs the remote as much as a first fetch.

        True at the first attempt, and after the first failure, the second, the fourth, the eighth, and so on.
        """
        return self._failures & (self._failures - 1) == 0

    def wait(self) -> float:
        """Return the seconds until the next fetch if nothing asks for one. Each call returns another random number."""
        interval = self._settings.refresh_interval
        if self._failures:
            interval = max(interval, min(interval * 2.0 ** min(self._failures - 1, 16), LONGEST_WAIT))
        return interval * self._uniform(1 - JITTER, 1 + JITTER)

    def earliest(self) -> float:
        """Return the earliest moment of the next fetch for webhooks. All webhooks up to then cause one fetch."""
        return self._began + self._settings.hook_interval * 2.0 ** min(self._failures, MOST_DOUBLINGS)


class DefaultBranchSchedule:
    """Decides when to ask the remote for its default branch, which takes another round trip.

    Args:
        is_followed: Whether the remote's default branch decides the default label. If not, the remote is never asked.
    """

    def __init__(self, *, is_followed: bool) -> None:
        self._is_followed = is_followed
        # The number of fetches since the remote was asked. None if it was never asked, or something has changed since.
        self._fetches: int | None = None

    def is_due(self, *, is_new: bool) -> bool:
        """Return whether to ask now. Call it once for each fetch.

        Args:
            is_new: Whether the fetch has brought something new.
        """
        if not self._is_followed:
            return False
        if is_new:
            self._fetches = None
        if self._fetches is None:
            return True
        self._fetches += 1
        return self._fetches >= ASK_HEAD_AFTER

    def asked(self) -> None:
        """Record that the remote was asked and has answered."""
        self._fetches = 0

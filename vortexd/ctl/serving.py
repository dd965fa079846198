"""Waits until a server serves a version of one configuration, and says why it doesn't.

It requests the configuration again and again, within a time limit.
"""

import time
from collections.abc import Callable, Mapping

import attrs

from .key import key_path
from .server import TIMEOUT, Refused, Server, Unreachable

# Seconds between two requests, and at least for the last request.
_INTERVAL = 0.25
_LEAST = 1.0


@attrs.frozen
class Pushed:
    """A configuration, and the commit and the version that the server shall serve."""

    application: str
    profile: str
    label: str
    version: str
    commit: str

    @property
    def key(self) -> str:
        """The key as people write it."""
        return f"{self.application}:{self.profile}:{self.label}"

    @property
    def history(self) -> str:
        """The command that shows the newest commit."""
        return f"vortexctl history {self.application} {self.profile} --label {self.label} --limit 1"


@attrs.frozen
class Served:
    """What the server serves in the end.

    Attributes:
        is_reached: Whether it serves the expected version.
        reason: Why it doesn't, as a sentence; else "".
    """

    is_reached: bool
    reason: str = ""


class Serving:
    """Waits for what was pushed.

    Args:
        now: Returns the seconds of a clock that only goes forward.
        sleep: Sleeps for some seconds.
    """

    def __init__(
        self,
        server: Server,
        pushed: Pushed,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._server = server
        self._pushed = pushed
        self._path = key_path(pushed.application, pushed.profile, pushed.label)
        self._now = now
        self._sleep = sleep

    def wait(self, seconds: float) -> Served:
        """Wait for at most this time. If the gate refuses the commit, or the configuration is pinned, end at once."""
        deadline = self._now() + seconds
        while True:
            self._server.timeout = min(TIMEOUT, max(deadline - self._now(), _LEAST))
            try:
                headers = self._server.get(self._path).headers
                reason, is_final = self._obstacle(headers)
                if headers.get("x-vortex-version") == self._pushed.version:
                    return Served(True)
            except Refused as error:
                return Served(False, f"it isn't known whether the server serves it, because {error}")
            except Unreachable as error:
                reason, is_final = f"it isn't known whether the server serves it, because {error}", False
            left = deadline - self._now()
            if is_final or left <= 0:
                return Served(False, reason)
            self._sleep(min(_INTERVAL, left))

    def _obstacle(self, headers: Mapping[str, str]) -> tuple[str, bool]:
        """Return why the server doesn't serve the version, and whether to wait would be of no use."""
        pushed = self._pushed
        held = headers.get("x-vortex-held-back", "")
        if f'state="{pushed.commit}"' in held:
            return "the gate holds it back; to see why, run: vortexctl gate", True
        if "vortexd-pinned" in headers:
            return f"{pushed.key} is pinned; to lift the pin, run: vortexctl unpin {pushed.key}", True
        if held:
            return f"the gate holds back another state of {pushed.label}; to see why, run: vortexctl gate", False
        version = headers.get("x-vortex-version")
        other = f"version {version}" if version else "another version"
        return f"the server serves {other}; to see the newest commit, run: {pushed.history}", False

"""Messages to systemd: sd_notify(3), the watchdog, and listening sockets that systemd stores for the next start.

The input is the variables that systemd puts into the environment. The output is datagrams to its socket. Without systemd,
nothing happens. No error leaves this module, because the daemon can serve even if its supervisor doesn't listen.
"""

import array
import contextlib
import socket
from collections.abc import Iterable, Mapping, Sequence

from ..core.model import BrokenFile, SourceReport
from ..core.text import printable
from ..net.inherited import STORED

# The most broken files that `systemctl status` names.
_NAMED_FILES = 3


def describe(
    connections: int, parked: int, reports: Sequence[SourceReport], broken: Sequence[BrokenFile], reload: str
) -> str:
    """Describe the state of the daemon in one line for `systemctl status`.

    Args:
        broken: The files that can't be used now.
        reload: The result of the last reload, or "".
    """
    stale = [f"{each.name} stale for {each.stale_for:.0f} s" for each in reports if each.is_failing]
    sources = "; ".join(stale) or "all sources fresh"
    text = f"{connections} WebSocket connections, {parked} of them parked; {sources}"
    if broken:
        named = ", ".join(dict.fromkeys(printable(each.place) for each in broken[:_NAMED_FILES]))
        more = ", …" if len(broken) > _NAMED_FILES else ""
        text += f"; {len(broken)} broken {'file' if len(broken) == 1 else 'files'}: {named}{more}"
    return f"{text}; {reload}" if reload else text


class Notifier:
    """Reports the state of the daemon to its supervisor.

    Args:
        environment: It may contain NOTIFY_SOCKET and WATCHDOG_USEC.
        pid: Our own process id, for WATCHDOG_PID.
    """

    def __init__(self, environment: Mapping[str, str], pid: int) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._watchdog = _watchdog(environment, pid) if self._address else None
        self._is_stopping = False

    @property
    def watchdog(self) -> float | None:
        """The seconds within which the supervisor expects a message, or None if it has no watchdog."""
        return self._watchdog

    def ready(self, status: str) -> None:
        """Report that everything is bound and a complete state is served, or that a reload has ended."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def reloading(self, monotonic_usec: int) -> None:
        """Report that a reload begins. `ready` reports its end.

        Args:
            monotonic_usec: CLOCK_MONOTONIC, in microseconds.
        """
        self._send(f"RELOADING=1\nMONOTONIC_USEC={monotonic_usec}\nSTATUS=reloading")

    def stopping(self) -> None:
        """Report that the drain begins."""
        self._is_stopping = True
        self._send("STOPPING=1\nSTATUS=draining")

    def status(self, text: str) -> None:
        """Report a line for people. It also feeds the watchdog."""
        line = f"STATUS={'draining: ' if self._is_stopping else ''}{_line(text)}"
        self._send(f"WATCHDOG=1\n{line}" if self._watchdog else line)

    def store(self, listening: Iterable[socket.socket]) -> None:
        """Store listening sockets with the supervisor, in place of those it has. So no client is refused until the next start."""
        self._send(f"FDSTOREREMOVE=1\nFDNAME={STORED}")
        for each in listening:
            self._send(f"FDSTORE=1\nFDNAME={STORED}", each.fileno())

    def _send(self, text: str, fd: int | None = None) -> None:
        if self._address is None:
            return
        rights = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        # If the supervisor doesn't read, or has gone, the daemon must not wait for it.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(self._address)
            sender.sendmsg([text.encode()], rights)


def _address(text: str) -> str | None:
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else None


def _watchdog(environment: Mapping[str, str], pid: int) -> float | None:
    microseconds = environment.get("WATCHDOG_USEC", "")
    if environment.get("WATCHDOG_PID", str(pid)) != str(pid) or not microseconds.isdigit() or not int(microseconds):
        return None
    return int(microseconds) / 1e6


def _line(text: str) -> str:
    return text.replace("\n", " ")

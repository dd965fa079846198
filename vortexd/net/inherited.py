"""Listening sockets that systemd hands over at the start: those of socket units, and those that the process before stored there (sd_listen_fds(3))."""

import contextlib
import os
import socket
from collections.abc import MutableMapping

import attrs

# The first descriptor that is handed over, by sd_listen_fds(3).
_FIRST_FD = 3
# The name under which vortexd stores its own sockets with systemd, for the next start.
STORED = "vortexd-listener"


@attrs.frozen(slots=True, eq=False)
class Inherited:
    """Listening sockets that were handed over.

    Attributes:
        activated: Those of socket units: they say where to listen, in place of the settings.
        stored: Those that the process before us left in the store: they are taken up where the settings name their address.
    """

    activated: tuple[socket.socket, ...] = ()
    stored: tuple[socket.socket, ...] = ()


def inherit(environment: MutableMapping[str, str], pid: int) -> Inherited:
    """Take over the sockets that systemd has opened for us, and remove its variables, so that no child takes them for its own.

    What isn't a listening stream socket is closed.
    """
    names = environment.pop("LISTEN_FDNAMES", "")
    count, owner = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_PID", "")
    if owner != str(pid) or not count.isdigit():
        return Inherited()
    labels = names.split(":")
    activated: list[socket.socket] = []
    stored: list[socket.socket] = []
    for index in range(int(count)):
        taken = _listening(_FIRST_FD + index)
        if taken is not None:
            is_stored = index < len(labels) and labels[index] == STORED
            (stored if is_stored else activated).append(taken)
    return Inherited(tuple(activated), tuple(stored))


def _listening(fd: int) -> socket.socket | None:
    try:
        os.set_inheritable(fd, False)
        taken = socket.socket(fileno=fd)
    except OSError:
        with contextlib.suppress(OSError):
            os.close(fd)
        return None
    is_listening = taken.type == socket.SOCK_STREAM and taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not is_listening or taken.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        taken.close()
        return None
    return taken

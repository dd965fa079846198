"""Listening sockets from systemd at the start: from socket units, and those that the previous process stored (sd_listen_fds(3))."""

import contextlib
import os
import socket
from collections.abc import MutableMapping

import attrs

# The first inherited descriptor, as in sd_listen_fds(3).
_FIRST_FD = 3
# The name under which vortexd stores its own sockets with systemd, for the next start.
STORED = "vortexd-listener"


@attrs.frozen(slots=True, eq=False)
class Inherited:
    """The listening sockets from systemd.

    Attributes:
        activated: The sockets of socket units. They replace the addresses in the settings.
        stored: The sockets that the previous process stored. A stored socket is used if the settings name its address.
    """

    activated: tuple[socket.socket, ...] = ()
    stored: tuple[socket.socket, ...] = ()


def inherit(environment: MutableMapping[str, str], pid: int) -> Inherited:
    """Take the sockets from systemd, and remove its variables, so that no child process uses the sockets.

    Descriptors that aren't listening stream sockets are closed.
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

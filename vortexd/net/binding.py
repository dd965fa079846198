"""Binds the listening sockets, from addresses and from sockets of systemd, for one process or for several.

Several processes share a port with one socket each (SO_REUSEPORT), and the kernel distributes connections among them. If
there can be only one socket (a Unix socket, or a socket of systemd), they share it.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Sequence

import trio

from ..core.errors import StartError
from ..settings.server import Address, parse_address
from .inherited import Inherited
from .socket_options import set_options

# Linux's default limit (net.core.somaxconn). If the queue is full, the client's kernel tries again a second later.
_BACKLOG = 4_096


class Bound:
    """Listening sockets, open until `close`.

    Attributes:
        shares: The sockets of each address: one, or one per process.
    """

    def __init__(self, shares: Sequence[Sequence[trio.socket.SocketType]], *, is_ours: bool) -> None:
        self.shares = [list(each) for each in shares]
        self._is_ours = is_ours

    def share(self, number: int = 0) -> list[trio.socket.SocketType]:
        """Return the sockets of one process, one for each address."""
        return [each[number % len(each)] for each in self.shares]

    def urls(self, scheme: str) -> list[str]:
        """Return the addresses of the server as URLs.

        Args:
            scheme: The scheme of TCP addresses.
        """
        return [_url(each[0], scheme) for each in self.shares]

    def storable(self) -> list[socket.socket]:
        """Duplicate the sockets that the settings name, for `systemd.Notifier.store`. The caller closes the duplicates.

        Sockets of socket units are excluded, because systemd has them. Unix sockets are, too: a restart binds them again,
        because their path is in the file system.
        """
        if not self._is_ours:
            return []
        return [
            socket.socket(fileno=os.dup(bound.fileno()))
            for each in self.shares
            for bound in each
            if bound.family != socket.AF_UNIX
        ]

    def close(self) -> None:
        """Close all sockets, and remove the paths of Unix sockets. May be called repeatedly."""
        for each in self.shares:
            for bound in each:
                path = bound.getsockname() if bound.fileno() >= 0 and bound.family == socket.AF_UNIX else None
                bound.close()
                if path and self._is_ours:
                    with contextlib.suppress(OSError):
                        os.unlink(path)
        self.shares.clear()


async def bind(addresses: Sequence[str], inherited: Inherited, processes: int = 1) -> Bound:
    """Bind and listen on every address. Inherited sockets are used, or closed.

    Args:
        addresses: The addresses in the form of server.bind.
        inherited: Sockets of socket units replace the addresses. A stored socket is used if its address is bound.
        processes: The number of processes that share each address.

    Raises:
        StartError: An address can't be bound. Then all sockets are closed.
    """
    if inherited.activated:
        shares = [[trio.socket.from_stdlib_socket(each)] for each in inherited.activated]
        _close(inherited.stored)
        return Bound(shares, is_ours=False)
    stored = list(inherited.stored)
    bound = Bound([], is_ours=True)
    try:
        for text in addresses:
            bound.shares += await _bind(parse_address(text), text, stored, processes)
    except BaseException:
        bound.close()
        raise
    finally:
        _close(stored)
    return bound


def _close(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        each.close()


def _url(bound: trio.socket.SocketType, scheme: str) -> str:
    name = bound.getsockname()
    if bound.family == socket.AF_UNIX:
        return f"unix:{name}"
    return f"{scheme}://{Address(host=name[0], port=name[1])}"


async def _bind(
    address: Address, text: str, stored: list[socket.socket], processes: int
) -> list[list[trio.socket.SocketType]]:
    """Bind and listen on an address. A stored socket for it is used, and removed from the list."""
    try:
        if address.path is not None:
            return [[_listening(await _bind_unix(address.path))]]
        found = await trio.socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        names = {(each[0], each[4]): None for each in found}
        return [await _bind_tcp(family, name, stored, processes) for family, name in names]
    except OSError as error:
        hint = "; another process listens there" if error.errno == errno.EADDRINUSE else ""
        raise StartError(f"can't listen on {text}: {(error.strerror or str(error)).lower()}{hint}") from None


def _take_stored(stored: list[socket.socket], family: int, name: object, most: int) -> list[trio.socket.SocketType]:
    found = [each for each in stored if each.family == family and each.getsockname() == name][:most]
    for each in found:
        stored.remove(each)
    return [_listening(trio.socket.from_stdlib_socket(each)) for each in found]


def _listening(bound: trio.socket.SocketType) -> trio.socket.SocketType:
    try:
        bound.listen(_BACKLOG)
    except BaseException:
        bound.close()
        raise
    return bound


async def _bind_tcp(
    family: int, name: object, stored: list[socket.socket], processes: int
) -> list[trio.socket.SocketType]:
    found = _take_stored(stored, family, name, processes)
    if found and not found[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
        # The stored socket was bound for one process. No other socket can share its address, so all processes share it.
        return found
    if processes > 1 and not found:
        # Any process of the same user may share a port. This exclusive bind detects another vortexd on the port.
        (await _bind_one(family, name, is_shared=False)).close()
    try:
        while len(found) < processes:
            found.append(_listening(await _bind_one(family, name, is_shared=processes > 1)))
            # If the settings ask for any port, the other sockets use the port of the first.
            name = found[0].getsockname()
    except BaseException:
        for each in found:
            each.close()
        raise
    return found


async def _bind_one(family: int, name: object, *, is_shared: bool) -> trio.socket.SocketType:
    bound = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if is_shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        set_options(bound)
        await bound.bind(name)
    except BaseException:
        bound.close()
        raise
    return bound


async def _bind_unix(path: str) -> trio.socket.SocketType:
    """Bind a Unix socket for the owner and the group. It replaces a socket that no process listens on."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path, follow_symlinks=False).st_mode):
            raise OSError(errno.EEXIST, "a file of this name exists and isn't a socket")
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                await probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
            else:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    bound = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        await bound.bind(path)
        os.chmod(path, 0o660)
    except BaseException:
        bound.close()
        raise
    return bound

"""A real server on streams in memory, and clients that a test controls."""

import errno
import os
import socket
from collections.abc import Callable
from random import Random
from typing import Any

import attrs
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair

from tests import tls
from tests.fakes import KEY, Client, FakeLine, FakeMetrics, timestamp
from vortexd.auth import ALL_RIGHTS, Authority, Gate
from vortexd.core.model import Json, Key
from vortexd.fleet import Fleet
from vortexd.net.tls_stream import TlsStream
from vortexd.realtime.server import WebSocketServer
from vortexd.settings.auth import AuthSettings
from vortexd.settings.fleet import FleetSettings
from vortexd.settings.realtime import RealtimeSettings


def socket_stream_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    """A pair that can be parked: only what has a descriptor can."""
    ours, theirs = socket.socketpair()
    return tuple(trio.SocketStream(trio.socket.from_stdlib_socket(each)) for each in (ours, theirs))  # type: ignore[return-value]  # these are two


def tls_stream_pair() -> tuple[TlsStream, TlsStream]:
    """A pair after its TLS handshake; the server's end is the first."""
    pair = tls.pair()
    return TlsStream(pair[0]), TlsStream(pair[1])


def put(stream: trio.abc.Stream, data: bytes) -> None:
    """Write to a stream without waiting. It has to take all of it."""
    if isinstance(stream, TlsStream):
        assert len(data) == stream.write_now(data)
    else:
        assert isinstance(stream, trio.SocketStream)
        assert len(data) == os.write(stream.socket.fileno(), data)


def end_sending(stream: trio.abc.Stream) -> None:
    """Close the sending half of a socket, below TLS."""
    if isinstance(stream, TlsStream):
        socket.socket.shutdown(stream.tls_socket, socket.SHUT_WR)
    else:
        assert isinstance(stream, trio.SocketStream)
        stream.socket.shutdown(socket.SHUT_WR)


Pair = Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]]
# Those that can be parked.
PAIRS: dict[str, Pair] = {"plain": socket_stream_pair, "tls": tls_stream_pair}
# How often something may be said has tests of its own; the others say what they like.
UNHURRIED = {"messages_per_second": 100_000, "errors_per_minute": 100_000, "resync_burst": 100_000}
FIRST: dict[str, Json] = {"number": 0, "padding": "p" * 200}


def frame(first: int, payload: bytes = b"", length: int | None = None, is_masked: bool = True) -> bytes:
    """A client's frame as bytes, right or wrong."""
    size = len(payload) if length is None else length
    mask = 0x80 if is_masked else 0
    if size < 126:
        head = bytes((first, mask | size))
    elif size < 65_536:
        head = bytes((first, mask | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, mask | 127)) + size.to_bytes(8, "big")
    return head + (b"\0\0\0\0" if is_masked else b"") + payload


class Wire:
    """A WebSocketServer with a FakeLine behind it; its key is `orders:dev:main`.

    Args:
        pair: Makes the streams of connections.
        limits: Realtime settings that differ from their defaults.

    Attributes:
        now: Seconds since the epoch.
    """

    def __init__(self, nursery: trio.Nursery, pair: Pair = memory_stream_pair, **limits: Any) -> None:
        self.nursery = nursery
        self.pair = pair
        self.clients: list[Client] = []
        self.line = FakeLine({KEY: dict(FIRST), Key("billing", "dev", "main"): {"b": 1}})
        self.metrics = FakeMetrics()
        self.settings = attrs.evolve(RealtimeSettings(), **(UNHURRIED | limits))
        self.now = 1_000.0
        self.gate = Gate(AuthSettings(), Authority(anonymous=ALL_RIGHTS), [], lambda: self.now, lambda: 0.0)
        self.fleet = Fleet(FleetSettings(), self.line.version_of)
        self.server = WebSocketServer(
            self.line,
            self.line.registry,
            self.settings,
            self.metrics,
            timestamp,
            Random(1),
            self.gate,
            fleet=self.fleet,
        )

    def connect(
        self,
        target: str = "/ws/orders/dev",
        pair: Pair | None = None,
        wrap: Callable[[trio.abc.Stream], trio.abc.Stream] = lambda stream: stream,
    ) -> Client:
        """Begin a connection; nothing of its answer is read yet."""
        ours, theirs = (pair or self.pair)()
        client = Client(theirs, target)
        self.clients.append(client)
        self.nursery.start_soon(self.server.serve, wrap(ours), client.head(), target)
        return client

    async def open(
        self,
        target: str = "/ws/orders/dev",
        pair: Pair | None = None,
        wrap: Callable[[trio.abc.Stream], trio.abc.Stream] = lambda stream: stream,
    ) -> Client:
        """Open a connection and read the answer to its handshake; its first message isn't read yet."""
        client = self.connect(target, pair, wrap)
        await client.opened()
        return client

    def publish(self, number: int, key: Key = KEY) -> str:
        """Make the key's document another one, of much the same size. Returns its version."""
        new = self.line.publish(FIRST | {"number": number}, key)
        assert new is not None
        return new.version


async def lockstep(wire: Wire, target: str = "/ws/orders/dev") -> Client:
    """A client over a stream without any buffer: what it doesn't read, the server waits for."""
    return await wire.open(target, lockstep_stream_pair)


class Refusing:
    """An epoll that refuses to watch another socket, as long as it is told to."""

    def __init__(self, epoll: Any) -> None:
        self._epoll = epoll
        self.error: OSError | None = OSError(errno.ENOSPC, "no space")

    def register(self, *arguments: int) -> None:
        if self.error is not None:
            raise self.error
        self._epoll.register(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)


def refusing(wire: Wire) -> Refusing:
    lot: Any = wire.server._lot
    lot._epoll = made = Refusing(lot._epoll)
    return made

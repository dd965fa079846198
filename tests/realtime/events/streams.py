"""Event streams at a real server on sockets in memory, and clients that a test controls."""

import re
import socket
from random import Random
from typing import Any

import attrs
import orjson
import trio

from tests.fakes import wait_until
from vortexd.net.proxies import Sender
from vortexd.realtime.events.opening import EventStreams, Opened
from vortexd.realtime.events.secrets import EventSecrets

from ..wire import Pair, Wire, socket_stream_pair

HEAD = b"HEAD\r\n\r\n"


@attrs.frozen
class Event:
    """One event, or a comment or a field without an event."""

    kind: str | None
    name: str | None
    data: Any
    text: str


def parse(text: str) -> Event:
    """Parse what is between two empty lines."""
    fields = dict(re.findall(r"^([a-z]*): ?(.*)$", text, re.MULTILINE))
    data = fields.get("data")
    return Event(fields.get("event"), fields.get("id"), orjson.loads(data) if data else None, text)


class EventClient:
    """A client that reads a stream.

    Attributes:
        is_ended: Whether the body has ended with its last chunk.
    """

    def __init__(self, stream: trio.abc.Stream, *, is_chunked: bool) -> None:
        self.stream = stream
        self._is_chunked = is_chunked
        self._received = b""
        self._text = ""
        self.is_ended = False

    async def _more(self) -> bool:
        with trio.fail_after(600):
            try:
                data = bytes(await self.stream.receive_some(65_536))
            except trio.BrokenResourceError:
                data = b""
        self._received += data
        return bool(data)

    async def head(self) -> bytes:
        while b"\r\n\r\n" not in self._received:
            assert await self._more()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        return head

    def _decode(self) -> None:
        if not self._is_chunked:
            self._text += self._received.decode()
            self._received = b""
            return
        while match := re.match(rb"([0-9a-f]+)\r\n", self._received):
            size = int(match[1], 16)
            end = match.end() + size
            if len(self._received) < end + 2:
                return
            assert b"\r\n" == self._received[end : end + 2]
            self._text += self._received[match.end() : end].decode()
            self._received = self._received[end + 2 :]
            self.is_ended |= not size

    async def next(self) -> Event | None:
        """The next event, comment or field. None at the end."""
        while True:
            self._decode()
            if "\n\n" in self._text:
                text, _, self._text = self._text.partition("\n\n")
                return parse(text)
            if not await self._more():
                return None

    async def event(self, kind: str) -> Event:
        """The next one, which has to be of this type."""
        found = await self.next()
        assert found is not None
        assert kind == found.kind, found
        return found

    async def begun(self, kind: str = "config_snapshot") -> Event:
        """Read the head and the beginning, up to the first state."""
        await self.head()
        first = await self.next()
        assert first is not None
        assert re.fullmatch(r"retry: \d+", first.text)
        await self.event("hello")
        return await self.event(kind)

    async def rest(self) -> list[Event]:
        """All events up to the end."""
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


class Streams(Wire):
    """A `Wire` that also opens event streams.

    Attributes:
        headers: Headers of each request.
    """

    def __init__(self, nursery: trio.Nursery, pair: Pair = socket_stream_pair, **limits: Any) -> None:
        super().__init__(nursery, pair, **limits)
        self.event_clients: list[EventClient] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.secrets = EventSecrets()
        self.events = EventStreams(self.server, self.secrets, Random(1))

    async def accept(
        self, query: str = "", last: str | None = None, path: str = "orders/dev", host: str = ""
    ) -> Opened:
        """Check a request."""
        headers = [(b"host", b"localhost"), *self.headers]
        admission = self.gate.admit(headers, f"/x?{query}", Sender(host))
        return await self.events.open(path.split("/"), query, last, admission, host)

    async def stream(
        self,
        query: str = "",
        last: str | None = None,
        *,
        is_chunked: bool = True,
        has_spoken: bool = False,
        pair: Pair | None = None,
    ) -> EventClient:
        """Open a stream; nothing of it is read yet."""
        opened = await self.accept(query, last)
        ours, theirs = (pair or self.pair)()

        async def serve() -> None:
            await opened.serve(ours, HEAD, is_chunked=is_chunked, has_spoken=has_spoken)

        self.nursery.start_soon(serve)
        client = EventClient(theirs, is_chunked=is_chunked)
        self.event_clients.append(client)
        return client

    async def ended(self, reason: str) -> None:
        """Close all clients, and wait until all streams have ended for this reason."""
        for each in self.event_clients:
            await trio.aclose_forcefully(each.stream)
        await wait_until(lambda: not len(self.server))
        assert self.metrics.counts[f"connection_closed {reason}"] == len(self.event_clients)
        assert 0 == self.server.event_streams == self.line.held.total()

    async def close(self) -> None:
        """Close all clients, and cancel the server."""
        for stream in (*(each.stream for each in self.event_clients), *(each.stream for each in self.clients)):
            await trio.aclose_forcefully(stream)
        self.nursery.cancel_scope.cancel()

    async def parked(self, count: int = 1) -> None:
        """Wait until so many connections are parked."""
        await wait_until(lambda: self.server.parked == count)


def tcp_stream_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    """A pair over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours = listening.accept()[0]
    for each in (ours, theirs):
        each.setblocking(False)
    return tuple(trio.SocketStream(trio.socket.from_stdlib_socket(each)) for each in (ours, theirs))  # type: ignore[return-value]  # these are two

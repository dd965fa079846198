"""A scripted server at the other end of memory streams."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import trio
import trio.testing
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from vortexd.client import Config, watch
from vortexd.client.address import Address

URL = "ws://config.example:8888"


class Peer:
    """One connection, from the client's request on."""

    def __init__(self, stream: trio.abc.Stream, address: Address, at: float) -> None:
        self.stream = stream
        self.address = address
        self.at = at
        self._websocket = WSConnection(ConnectionType.SERVER)
        self._events: list[Event] = []

    async def requested(self) -> Request:
        """The handshake, not yet answered."""
        self.request = await self._event()
        assert isinstance(self.request, Request)
        self.target = self.request.target
        return self.request

    async def opened(self) -> "Peer":
        await self.requested()
        await self._send(AcceptConnection(subprotocol=self.request.subprotocols[0]))
        return self

    async def refuse(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        await self.requested()
        pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        pairs.append((b"content-length", b"%d" % len(body)))
        await self._send(RejectConnection(status_code=status, headers=pairs, has_body=True))
        await self._send(RejectData(body))

    async def say(self, *texts: str) -> None:
        for text in texts:
            await self._send(TextMessage(text))

    async def say_bytes(self, data: bytes) -> None:
        await self._send(BytesMessage(data))

    async def say_close(self, code: int, reason: str | None = None) -> None:
        await self._send(CloseConnection(code, reason))

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        await self.say_close(code, reason)
        assert isinstance(await self._event(), CloseConnection)
        await self.stream.aclose()

    async def vanish(self) -> None:
        """End as a process that was killed."""
        await self.stream.aclose()

    async def heard(self) -> dict[str, Any]:
        """The next message of the client."""
        message = await self.heard_or_left()
        assert message is not None
        return message

    async def heard_or_left(self) -> dict[str, Any] | None:
        """The next message of the client, or None: it has closed, and was answered."""
        event = await self._event()
        if isinstance(event, CloseConnection):
            await self._leave(event)
            return None
        assert isinstance(event, TextMessage), event
        message: dict[str, Any] = json.loads(event.data)
        return message

    async def left(self) -> int:
        """The code with which the client closes, 1006 without a close frame."""
        event = await self._event()
        assert isinstance(event, CloseConnection), event
        return await self._leave(event)

    async def _leave(self, event: CloseConnection) -> int:
        if self._websocket.state is ConnectionState.REMOTE_CLOSING:
            with contextlib.suppress(trio.BrokenResourceError):
                await self._send(event.response())
        await self.stream.aclose()
        return int(event.code)

    async def _event(self) -> Event:
        while not self._events:
            data = bytes(await self.stream.receive_some(65_536))
            self._websocket.receive_data(data or None)
            self._events += self._websocket.events()
        return self._events.pop(0)

    async def _send(self, event: Event) -> None:
        await self.stream.send_all(self._websocket.send(event))


class Servers:
    """Takes the place of the network.

    Attributes:
        away: Addresses where nobody listens, as text.
        asked: Each attempt: the address as text, and when.
    """

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.asked: list[tuple[str, float]] = []
        self._send, self._receive = trio.open_memory_channel[Peer](100)

    async def connect(self, address: Address) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.asked.append((str(address), trio.current_time()))
        if str(address) in self.away:
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = trio.testing.memory_stream_pair()
        self._sending = ours.send_stream
        self._send.send_nowait(Peer(theirs, address, trio.current_time()))
        return ours

    def stall(self) -> None:
        """Read no more of what the newest connection sends."""
        self._sending.send_all_hook = trio.sleep_forever

    async def peer(self) -> Peer:
        """The next connection."""
        return await self._receive.receive()

    async def opened(self) -> Peer:
        """The next connection, its handshake answered with 101."""
        return await (await self.peer()).opened()

    @contextlib.asynccontextmanager
    async def watching(self, first: str, *urls: str, **options: Any) -> AsyncIterator[tuple[Config, Peer]]:
        """A client of orders:dev that has got a first message, and the peer that said it."""
        peers = []

        async def begin() -> None:
            peers.append(await self.opened())
            await peers[0].say(first)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(begin)
            async with watch(urls or URL, "orders", "dev", connect=self.connect, **options) as config:
                yield config, peers[0]
                # Nobody answers the closing handshake.
                await peers[0].vanish()

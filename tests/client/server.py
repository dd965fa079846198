"""A scripted server at the other end of memory streams."""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
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
    """One connection, from the client's handshake request on."""

    def __init__(self, stream: trio.abc.Stream, address: Address, at: float) -> None:
        self.stream = stream
        self.address = address
        self.at = at
        self._websocket = WSConnection(ConnectionType.SERVER)
        self._events: list[Event] = []

    async def requested(self) -> Request:
        """Wait for the handshake, and don't answer it yet."""
        request = await self._event()
        assert isinstance(request, Request)
        self.request = request
        self.target = request.target
        return request

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
        """End the connection as a killed process would."""
        await self.stream.aclose()

    async def heard(self) -> dict[str, Any]:
        """Return the client's next message."""
        message = await self.heard_or_left()
        assert message is not None
        return message

    async def heard_or_left(self) -> dict[str, Any] | None:
        """Return the client's next message. If the client closes, answer that and return None."""
        event = await self._event()
        if isinstance(event, CloseConnection):
            await self._leave(event)
            return None
        assert isinstance(event, TextMessage), event
        message: dict[str, Any] = json.loads(event.data)
        return message

    async def left(self) -> int:
        """Return the code with which the client closes; 1006 if it sends no close frame."""
        event = await self._event()
        assert isinstance(event, CloseConnection), event
        return await self._leave(event)

    async def close_code(self) -> int:
        """Return the code of the client's close frame, and don't answer it."""
        event = await self._event()
        assert isinstance(event, CloseConnection), event
        return int(event.code)

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
    """Replaces the network.

    Attributes:
        away: The addresses that no server listens at, as text.
        asked: Each attempt: the address as text, and the time.
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
        """Stop reading from the newest connection."""
        self._sending.send_all_hook = trio.sleep_forever

    async def peer(self) -> Peer:
        """Return the next connection."""
        return await self._receive.receive()

    async def opened(self) -> Peer:
        """Return the next connection, after a handshake answered with 101."""
        return await (await self.peer()).opened()

    @contextlib.asynccontextmanager
    async def watching(self, first: str, *urls: str, **options: Any) -> AsyncIterator[tuple[Config, Peer]]:
        """Return a client of orders:dev that has received a first message, and the peer that sent it."""
        peers = []

        async def begin() -> None:
            peers.append(await self.opened())
            await peers[0].say(first)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(begin)
            async with watch(urls or URL, "orders", "dev", connect=self.connect, **options) as config:
                yield config, peers[0]
                # The server doesn't answer the closing handshake.
                await peers[0].vanish()


async def settle() -> None:
    """Let the client do all that it can do now."""
    await trio.testing.wait_all_tasks_blocked()


async def answering(servers: Servers, answer: Callable[[Peer], Awaitable[object]]) -> None:
    """Do the same with each connection, forever."""
    while True:
        await answer(await servers.peer())

"""The server's end: accepts connections, and gives each handshake to the conversation. WebSockets by wsproto, event streams by hand.

A plain request to the path of a refused handshake gets the same refusal, because browsers ask so for its reason.
"""

import urllib.parse
from collections.abc import Mapping
from typing import Any

import attrs
import orjson
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, Pong, Request, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import ProtocolError

from .channel import Channel

_MOST_HEAD = 65_536
_PATIENCE = 5.0
_STATES = frozenset({"config_snapshot", "config_change", "config_removed", "in_sync"})


@attrs.frozen
class Head:
    """A request's target and headers; the names are in lower case."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    raw: bytes = attrs.field(repr=False)

    @property
    def is_websocket(self) -> bool:
        return self.headers.get("upgrade", "").lower() == "websocket"

    @property
    def token(self) -> str | None:
        """The token, from whichever place the client put it."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return token
        for protocol in self.headers.get("sec-websocket-protocol", "").split(","):
            if protocol.strip().startswith("bearer."):
                return protocol.strip().removeprefix("bearer.")
        return self.query.get("token")


async def read_head(stream: trio.abc.ReceiveStream) -> Head | None:
    """Read a request's head. None if the client sent none within the patience, or something else."""
    data = bytearray()
    with trio.move_on_after(_PATIENCE):
        while b"\r\n\r\n" not in data:
            more = await stream.receive_some(_MOST_HEAD)
            if not more or len(data) > _MOST_HEAD:
                return None
            data += more
        first, *lines = bytes(data).partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        target = first.split(" ")[1] if first.count(" ") == 2 else ""
        pairs = [line.partition(":")[::2] for line in lines]
        url = urllib.parse.urlsplit(target)
        return Head(
            urllib.parse.unquote(url.path),
            dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True)),
            {name.strip().lower(): value.strip() for name, value in pairs},
            bytes(data),
        )
    return None


class Peer:
    """One connection of the client, from its request on.

    Attributes:
        messages: The messages that the client has sent.
        pongs: The payload of each pong.
        is_over: Set when the client has closed the connection.
    """

    def __init__(self, stream: trio.SocketStream, head: Head) -> None:
        self._stream = stream
        self._writing = trio.Lock()
        self.head = head
        self.messages = Channel("messages")
        self.pongs = Channel("pongs")
        self.over = trio.Event()

    async def accept(self) -> None:
        raise NotImplementedError

    async def send(self, message: Any) -> None:
        raise NotImplementedError

    async def receive(self) -> None:
        """Read until the client closes."""
        try:
            while data := await self._stream.receive_some():
                await self._received(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.over.set()

    async def write(self, data: bytes) -> None:
        """Send bytes. A client may have gone already, which its answers show."""
        try:
            with trio.move_on_after(_PATIENCE) as sending:
                # The task that reads answers pings and close frames.
                async with self._writing:
                    await self._stream.send_all(data)
            if sending.cancelled_caught:
                await self.lose()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.over.set()

    async def refuse(self, status: int, headers: Mapping[str, str], body: str) -> None:
        await self.write(response(status, headers, body.encode()))
        await self.lose()

    async def lose(self) -> None:
        """End the connection without a close frame."""
        await trio.aclose_forcefully(self._stream)

    async def _received(self, data: bytes) -> None:
        """Handle bytes from the client. An event stream has none."""


class WebSocketPeer(Peer):
    def __init__(self, stream: trio.SocketStream, head: Head) -> None:
        super().__init__(stream, head)
        self._websocket = WSConnection(ConnectionType.SERVER)
        self._text: list[str] = []

    async def accept(self) -> None:
        self._websocket.receive_data(self.head.raw)
        for event in self._websocket.events():
            offered = event.subprotocols if isinstance(event, Request) else []
            chosen = "vortex.v1" if "vortex.v1" in offered else None
            await self.write(self._websocket.send(AcceptConnection(subprotocol=chosen)))

    async def send(self, message: Any) -> None:
        # Servers write each number in one form (vortexd-api(7)), and so does orjson.
        await self.send_text(orjson.dumps(message).decode())

    async def send_text(self, text: str) -> None:
        await self._send(TextMessage(text))

    async def ping(self) -> None:
        """Ask for a sign that the client has read everything so far."""
        await self._send(Ping(b"read"))

    async def close(self, code: int, reason: str) -> None:
        """Perform the closing handshake."""
        given = CloseReason.NO_STATUS_RCVD if code == CloseReason.NO_STATUS_RCVD else code
        await self._send(CloseConnection(given, reason or None))
        with trio.move_on_after(_PATIENCE):
            await self.over.wait()
        await self.lose()

    async def _send(self, event: Event) -> None:
        try:
            data = self._websocket.send(event)
        except ProtocolError:
            # The client has closed.
            return
        await self.write(data)

    async def _received(self, data: bytes) -> None:
        try:
            self._websocket.receive_data(data)
            for event in self._websocket.events():
                await self._happened(event)
        except ProtocolError as error:
            self.messages.fail(f"the client broke the WebSocket protocol: {error}")
            self.over.set()

    async def _happened(self, event: Event) -> None:
        match event:
            case TextMessage():
                self._text.append(event.data)
                if event.message_finished:
                    text, self._text = "".join(self._text), []
                    self._message(text)
            case BytesMessage():
                self.messages.fail("the client sent a binary message")
            case Ping():
                await self._send(event.response())
            case Pong():
                self.pongs.put(bytes(event.payload))
            case CloseConnection():
                await self._send(event.response())
                self.over.set()

    def _message(self, text: str) -> None:
        try:
            self.messages.put(orjson.loads(text))
        except ValueError:
            self.messages.fail(f"the client sent a message that isn't JSON: {text[:200]!r}")


class EventStreamPeer(Peer):
    """An event stream: the same messages, `event` is their type, and the `id` of a state leads back to it.

    Attributes:
        cursor: The id of the last state, which the client must name in Last-Event-ID when it comes back.
    """

    def __init__(self, stream: trio.SocketStream, head: Head, *, has_patterns: bool) -> None:
        super().__init__(stream, head)
        self._has_patterns = has_patterns
        self._count = 0
        self.cursor: str | None = None

    async def accept(self) -> None:
        lines = ("HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Cache-Control: no-store", "Connection: close")
        await self.write("\r\n".join((*lines, "", "")).encode())

    async def send(self, message: Any) -> None:
        if message["type"] == "ping":
            await self.write(b": heartbeat\n\n")
            return
        cursor = b""
        if message["type"] in _STATES:
            self._count += 1
            version = message.get("new_version", message.get("version"))
            # With patterns, a cursor is opaque. A removed key has no version.
            self.cursor = f"cursor-{id(self):x}-{self._count}" if self._has_patterns else version or ""
            cursor = b"id: " + self.cursor.encode() + b"\n"
        await self.write(
            b"event: " + message["type"].encode() + b"\n" + cursor + b"data: " + orjson.dumps(message) + b"\n\n"
        )


def response(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return a whole HTTP response that ends the connection."""
    given = {"Content-Length": str(len(body)), "Connection": "close", "Content-Type": "application/json", **headers}
    lines = [f"HTTP/1.1 {status} Refused", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join((*lines, "", "")).encode() + body

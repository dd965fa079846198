"""All WebSocket connections: from an upgrade request to a running connection, and to the drain at the end.

In comes an accepted stream with its request head; the connection is registered and its first state marked as missing in one
synchronous step, so no change can fall between.
"""

import math
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Protocol
from uuid import uuid4

import structlog
import trio

from .. import __version__
from ..auth import CHALLENGE, Admission, Gate, Right, TooManyFailures, Unauthorized
from ..broadcast import Subscriber
from ..errors import FormatError, RemoteError, ResolveError
from ..model import Config, Key
from ..registry import Registry
from ..settings import RealtimeSettings
from . import connection, messages
from .close import CloseReason
from .connection import Client, Connection
from .deflate import Deflate
from .handshake import Opening, Refusal, open_handshake, parse_target

log = structlog.get_logger()

# How long a drain takes per connection, up to its limit: ten milliseconds apart, so that 1,000 clients come back over ten seconds.
_DRAIN_INTERVAL = 0.01


class Keys(connection.Keys, Protocol):
    """What the server asks of the line."""

    @property
    def default_label(self) -> str | None: ...
    async def read(self, key: Key) -> Config: ...
    def hold(self, key: Key) -> None: ...
    def release(self, key: Key) -> None: ...
    def resumes_by(self, key: Key, version: str | None) -> str: ...


class Counters(connection.Counters, Protocol):
    """What the server counts."""

    def connection_opened(self) -> None: ...
    def connection_closed(self, reason: str) -> None: ...


class WebSocketServer:
    """Serves WebSocket connections, each until it ends.

    Args:
        registry: Where connections are found by the broadcaster.
        timestamp: The current time as RFC 3339, UTC.
        random: For jitter.
        gate: Who is let in.
        connections_per_token: Connections with one token; 0 means no limit.
    """

    def __init__(
        self,
        keys: Keys,
        registry: Registry[Subscriber],
        settings: RealtimeSettings,
        counters: Counters,
        timestamp: Callable[[], str],
        random: Random,
        gate: Gate,
        connections_per_token: int = 0,
    ) -> None:
        self._gate = gate
        self._connections_per_token = connections_per_token
        self._by_token: Counter[str] = Counter()
        self._keys = keys
        self._registry = registry
        self._settings = settings
        self._counters = counters
        self._timestamp = timestamp
        self._random = random
        self._connections: dict[Connection, None] = {}
        self._is_draining = False

    def __len__(self) -> int:
        return len(self._connections)

    async def serve(
        self, stream: trio.abc.Stream, head: bytes, target: str, connection_id: str | None = None, host: str = ""
    ) -> None:
        """Answer a handshake and serve the connection until it ends. Closes the stream; raises nothing that a peer can cause.

        Args:
            head: The request head, and whatever came behind it.
            target: The request target in it.
            host: The peer's address, or "" for a Unix socket.
        """
        async with stream:
            try:
                opening, client = await self._open(head, target, connection_id or str(uuid4()), host)
            except Refusal as refusal:
                log.debug("handshake refused", status=refusal.status, reason=refusal.reason)
                await self._answer(stream, refusal.to_bytes())
                return
            await self._serve(stream, opening, client)

    async def _open(self, head: bytes, target: str, connection_id: str, host: str) -> tuple[Opening, Client]:
        """Take a request apart, let its sender in, and bring its key into use.

        Raises:
            Refusal: It can't be served; no key is in use for it.
        """
        opening = open_handshake(head)
        try:
            # In this order: who isn't let in doesn't learn what there is.
            admission = self._gate.admit(opening.headers, target, host)
            wanted = parse_target(target)
            default_label = self._keys.default_label
            if default_label is None:
                raise Refusal(503, "starting", (("Retry-After", "1"),))
            key = Key(wanted.application, wanted.profile, wanted.label or default_label)
            admission.authorize(Right.SUBSCRIBE, key)
            # In a thread, and shared with others that want the same: `hold` finds it done.
            await self._keys.read(key)
            # Asked behind the only await, or who waited in it would be overlooked by the drain.
            if self._is_draining:
                raise Refusal(503, "stopping", (("Retry-After", "1"),))
            limit = self._connections_per_token
            if limit and admission.identity and self._by_token[admission.identity] >= limit:
                raise Refusal(429, "too many connections with this token", (("Retry-After", "1"),))
            self._keys.hold(key)
        except Refusal:
            raise
        except Unauthorized as error:
            raise Refusal(error.status, error.reason, (("WWW-Authenticate", CHALLENGE),)) from None
        except TooManyFailures as error:
            raise Refusal(error.status, error.reason, (("Retry-After", str(math.ceil(error.retry_after))),)) from None
        except RemoteError as error:
            raise Refusal(error.status, error.reason) from None
        except (FormatError, ResolveError):
            raise Refusal(500, "the configuration of this application can't be read; see the server's log") from None
        return opening, self._client(opening, key, wanted.last_version, admission, connection_id)

    def _client(
        self, opening: Opening, key: Key, last_version: str | None, admission: Admission, connection_id: str
    ) -> Client:
        deflate = Deflate(self._settings.message_bytes) if self._settings.compression else None
        answer = opening.accept(connection_id, deflate)
        hello = None
        if opening.is_versioned:
            hello = messages.hello(
                connection_id,
                f"vortexd/{__version__}",
                self._settings.heartbeat_interval,
                self._settings.heartbeat_timeout,
                self._keys.resumes_by(key, last_version),
                self._timestamp(),
            )
        return Client(key, last_version, admission, answer, deflate.window_bits if deflate else None, hello)

    async def _serve(self, stream: trio.abc.Stream, opening: Opening, client: Client) -> None:
        """Serve a connection whose key is in use, and release it."""
        connection = Connection(
            stream,
            opening.websocket,
            client,
            self._keys,
            self._settings,
            self._counters,
            self._timestamp,
            self._random,
        )
        # Before its first state is read: what is published from here on is either in that or delivered after it.
        self._registry.add(connection, client.key)
        self._connections[connection] = None
        self._by_token[client.admission.identity] += 1
        self._counters.connection_opened()
        reason = CloseReason.INTERNAL
        log.debug("connection opened", key=str(client.key), principal=client.admission.name)
        try:
            is_answered = await self._answer(stream, client.answer)
            reason = await connection.run() if is_answered else CloseReason.LOST
        finally:
            del self._connections[connection]
            connection.unsubscribe_all()
            self._registry.discard(connection, client.key)
            self._keys.release(client.key)
            self._by_token[client.admission.identity] -= 1
            if not self._by_token[client.admission.identity]:
                del self._by_token[client.admission.identity]
            self._counters.connection_closed(reason.name.lower())
            log.debug("connection closed", reason=reason.text)

    def recheck(self) -> None:
        """Judge everybody by the rights that are in force now."""
        for each in list(self._connections):
            each.recheck()

    async def _answer(self, stream: trio.abc.Stream, answer: bytes) -> bool:
        """Write the answer to a handshake, under the deadline. Returns whether it was written."""
        with trio.move_on_after(self._settings.write_timeout) as scope:
            try:
                await stream.send_all(answer)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
        return not scope.cancelled_caught

    async def drain(self, seconds: float) -> None:
        """Say goodbye to every client, spread over at most this time. From now on no new ones are accepted."""
        self._is_draining = True
        connections = list(self._connections)
        self._random.shuffle(connections)
        interval = min(_DRAIN_INTERVAL, seconds / max(len(connections), 1))
        for each in connections:
            # The chance to come back is spread once more, for the same instances will take the clients of many.
            each.drain(reconnect_after_ms=self._random.randint(100, 3_000))
            await trio.sleep(interval)

"""Opens event streams: checks a request in the same order as a handshake, and starts the stream on its connection.

An HTTP endpoint calls `open` before the response begins, so that each refusal has a status. The connection of the request
then calls `Opened.serve`. From there on, an event stream is served as a WebSocket is.
"""

import math
import socket
from collections.abc import Sequence
from random import Random
from uuid import uuid4

import attrs
import trio

from ...auth import Admission, Right
from ...core.errors import RemoteError
from ...core.model import Key
from ...core.patterns import Pattern
from ...net.tls_stream import TlsStream
from ...protocol.events import retry
from ..client import Client, Wanted
from ..handshake import Refusal, Target
from ..quota import PatternOwner, PatternQuota, TooManyPatterns, owner_of
from ..server import WebSocketServer
from .cursor import Cursors, Resumed
from .form import EventForm, owner_of_cursor
from .secrets import EventSecrets
from .target import at, parse_events_target

_ROUTE = "/api/v1/events/{application}/{profile}"
# The milliseconds after which a client reconnects if the stream has ended: at least, and at most.
_RETRY_MS = 1_000, 3_000


class EventStreams:
    """Opens event streams at a server.

    Args:
        random: The source of jitter.
    """

    def __init__(self, server: WebSocketServer, secrets: EventSecrets, random: Random) -> None:
        self._server = server
        self._secrets = secrets
        self._random = random
        self._cursors = Cursors(secrets.known)
        self.plain = EventForm(self._cursors, is_chunked=False)
        self.chunked = EventForm(self._cursors, is_chunked=True)

    async def open(
        self, segments: Sequence[str], query: str, last_event_id: str | None, admission: Admission, host: str
    ) -> "Opened":
        """Check a request, and hold its key. The caller must call `serve` or `abandon` of the result.

        Args:
            segments, query, last_event_id: As in `parse_events_target`.
            host: The address of the client, or "" for a Unix socket.

        Raises:
            Refusal: The stream isn't served. No key is held then.
        """
        opener = self._server.opener
        asked = parse_events_target(segments, query, last_event_id, opener.settings.patterns)
        if asked.patterns:
            await self._secrets.load()
        key = await opener.hold(admission, asked.target, _ROUTE)
        target, resumed = asked.target, None
        try:
            if asked.patterns:
                owner = owner_of(admission, host)
                _check_patterns(admission, asked.patterns, owner, self._server.quota)
                if asked.cursor is not None:
                    resumed = self._cursors.read(owner_of_cursor(key, asked.patterns, owner), asked.cursor)
                    target = at(target, None if resumed is None else resumed.version_of(key))
        except BaseException:
            opener.release(key)
            raise
        return Opened(self, target, key, admission, host, asked.patterns, resumed)

    def begin(self, opened: "Opened", head: bytes, form: EventForm, *, has_spoken: bool) -> Client:
        """Make the client of a stream whose response begins now."""
        answer = head + form.wrap(retry(self._random.randint(*_RETRY_MS)))
        more = Wanted(opened.patterns, opened.resumed, has_spoken)
        seen = opened.target, opened.key, opened.admission, opened.connection_id, opened.host
        return self._server.opener.client(*seen, answer, form, has_hello=True, more=more)

    async def serve(self, stream: trio.abc.Stream, client: Client) -> bool:
        """Serve a stream; see `WebSocketServer.serve_events`."""
        settings = client.settings
        limit_silence(stream, max(settings.heartbeat_timeout, settings.write_timeout))
        return await self._server.serve_events(stream, client)

    def release(self, key: Key) -> None:
        """Release the key of a stream that doesn't begin."""
        self._server.opener.release(key)


@attrs.frozen(slots=True, eq=False)
class Opened:
    """A stream that was accepted, and hasn't begun. It holds its key until `serve` or `abandon` is called.

    Attributes:
        target: The parsed request.
        host: The address of the client, or "" for a Unix socket.
        patterns, resumed: As in `Wanted`.
        connection_id: A UUID.
    """

    _streams: EventStreams
    target: Target
    key: Key
    admission: Admission
    host: str
    patterns: tuple[Pattern, ...]
    resumed: Resumed | None
    connection_id: str = attrs.field(factory=lambda: str(uuid4()))

    async def serve(
        self, stream: trio.abc.Stream, head: bytes = b"", *, is_chunked: bool = False, has_spoken: bool = False
    ) -> bool:
        """Serve the stream until it ends or is parked; see `WebSocketServer.serve_events`.

        Args:
            stream: The connection, or what stands for it in HTTP/2.
            head: The head of the response; empty if it was sent already.
            is_chunked: Whether the body is sent in chunks of HTTP/1.1.
            has_spoken: Whether the client has sent bytes after its request.
        """
        streams = self._streams
        form = streams.chunked if is_chunked else streams.plain
        return await streams.serve(stream, streams.begin(self, head, form, has_spoken=has_spoken))

    def abandon(self) -> None:
        """End a stream that hasn't begun."""
        self._streams.release(self.key)


def limit_silence(stream: trio.abc.Stream, seconds: float) -> None:
    """Let the kernel end a TCP connection if the client doesn't acknowledge bytes for so long.

    The client of an event stream answers no heartbeat. So only TCP shows that a client was lost.
    """
    if isinstance(stream, trio.SocketStream):
        found: socket.socket | trio.socket.SocketType = stream.socket
    elif isinstance(stream, TlsStream):
        found = stream.tls_socket
    else:
        return
    if found.family != socket.AF_UNIX:
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, math.ceil(seconds * 1_000))


def _check_patterns(
    admission: Admission, patterns: Sequence[Pattern], owner: PatternOwner, quota: PatternQuota
) -> None:
    """Check the right to each pattern, and the limits of all clients.

    Raises:
        Refusal: The client may not subscribe to them.
    """
    try:
        for each in patterns:
            admission.authorize(Right.SUBSCRIBE, each)
        # The subscription counts them when it begins. This finds an excess as long as the response has a status.
        quota.take(owner, patterns)
        quota.give_back(owner, patterns)
    except TooManyPatterns as error:
        raise Refusal(429, error.reason, {"Retry-After": "1"}) from None
    except RemoteError as error:
        raise Refusal(error.status, error.reason, error.headers) from None

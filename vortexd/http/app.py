"""Makes the response to a request whose head is complete, for each protocol in the same way.

A connection (HTTP/1.1 in `http1` and `adapter/hypercorn`, HTTP/2 in `http2`) reads a head and makes a `RequestHead` from
it. It passes the head and the `Body` to the application, and writes the `Response`. It knows no endpoint. If a request has
no body, the application calls the request handler at once, in the task of the connection. If it has a body, Quart receives
the body first, within the limit of its endpoint. Quart is imported for the first request with a body, because it takes
10 MB and a tenth of a second.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog
import trio

from ..aio import threads
from ..audit import ForbiddenActs
from ..auth import Gate
from ..core.errors import RemoteError
from ..observe.metrics import Metrics
from .endpoint import Headers, Response
from .request_handler import RequestHandler
from .request_head import Body, PeerGone, RequestHead
from .routes import Routes
from .waiting import Waiting

if TYPE_CHECKING:
    from .adapter.quart import QuartBodies

log = structlog.get_logger()

# At most this many bodies that exceed `server.body_bytes` are received at a time. Their tokens aren't checked yet.
_LARGE_BODIES = 8
# Large bodies of known senders have places of their own, by their announced bytes: as many as eight of the largest questions of
# other nodes. If they are taken, such a body takes one of the other places.
_ANNOUNCED_BYTES = 67_108_864
# A request with more headers can't wait. The memory of thousands of tiny headers is twenty times as large as their text.
_MOST_HEADERS = 100


async def import_quart() -> "type[QuartBodies]":
    """Import Quart in a thread, and return the receiver of bodies."""
    return await threads.run_sync(_quart_bodies)


def create_app(
    routes: Routes,
    metrics: Metrics,
    body_bytes: Callable[[], int],
    timestamp: Callable[[], str],
    gate: Gate,
    load: Callable[[], Awaitable["type[QuartBodies]"]] = import_quart,
    forbidden_acts: ForbiddenActs | None = None,
) -> "Application":
    """Make the application.

    Args:
        body_bytes: Returns the current limit of a body, for endpoints that declare no limit.
        timestamp: Returns the current time as RFC 3339, for error bodies.
        gate: Checks tokens, Host and Origin.
        load: As in `Application`.
        forbidden_acts: As in `RequestHandler`.
    """
    return Application(RequestHandler(routes, metrics, timestamp, gate, forbidden_acts), body_bytes, load)


class Application:
    """Responds to requests, as the module describes.

    Args:
        body_bytes: Returns the current limit of a body, for endpoints that declare no limit.
        load: Returns the receiver of bodies. It is called for the first body, and again for the next one if it fails.
    """

    def __init__(
        self,
        handler: RequestHandler,
        body_bytes: Callable[[], int],
        load: Callable[[], Awaitable["type[QuartBodies]"]] = import_quart,
    ) -> None:
        self._load = load
        self._handler = handler
        self._body_bytes = body_bytes
        self._bodies: QuartBodies | None = None
        self._loading = trio.Lock()
        self._large = trio.CapacityLimiter(_LARGE_BODIES)
        # The bytes of announced bodies that are being received or answered.
        self._announced = 0

    async def respond(self, head: RequestHead, body: Body) -> Response:
        """Respond to one request.

        Args:
            body: The body. It is read only if the head announces a body.

        Raises:
            PeerGone: The peer closed the connection before its body was complete.
        """
        if not head.may_have_body:
            response = await self._handler.answer(head, may_wait=len(head.headers) <= _MOST_HEADERS)
            return response if response.waiting is None else await self._waited(head, body, response.waiting)
        response = await self._received(head, body)
        if response.stream is None:
            return response
        response.stream.abandon()
        return self._handler.failure(RemoteError("a request for an event stream has no body", 400))

    async def _waited(self, head: RequestHead, body: Body, waiting: Waiting) -> Response:
        """Let a request wait, and answer it then. The request handler checks it anew after each wake-up.

        Raises:
            PeerGone: The peer closed the connection.
        """
        status: int | None = None
        try:
            while True:
                try:
                    with body.waiting():
                        is_there = await waiting.wait(body.wait_gone)
                except RemoteError as error:
                    response = self._handler.failure(error)
                else:
                    if not is_there:
                        raise PeerGone
                    response = await self._handler.answer(head, may_wait=True, waited=waiting)
                if response.waiting is None:
                    status = response.status
                    return response
        finally:
            waiting.leave(status)

    async def _received(self, head: RequestHead, body: Body) -> Response:
        usual = self._body_bytes()
        limit = self._handler.routes.body_bytes(head.path, usual)
        if limit <= usual or _fits(head, usual):
            return await self._receive(head, body, limit)
        length = self._announced_length(head, limit)
        if length:
            self._announced += length
            try:
                return await self._receive(head, body, limit)
            finally:
                self._announced -= length
        try:
            self._large.acquire_nowait()
        except trio.WouldBlock:
            return self._handler.failure(RemoteError("too many large bodies at a time", 503, {"Retry-After": "1"}))
        try:
            return await self._receive(head, body, limit)
        finally:
            self._large.release()

    def _announced_length(self, head: RequestHead, limit: int) -> int:
        """Return the length of a body that has a place of its own, or 0."""
        length = head.content_length
        if length is None or length > limit or self._announced + length > _ANNOUNCED_BYTES:
            return 0
        return length if self._handler.routes.is_announced(head.path, Headers(head.headers), length) else 0

    async def _receive(self, head: RequestHead, body: Body, limit: int) -> Response:
        if self._bodies is None:
            async with self._loading:
                try:
                    # Another request may have loaded it while this one waited.
                    if self._bodies is None:
                        bodies = await self._load()
                        self._bodies = bodies(self._handler.answer, self._handler.failure)
                except (ImportError, OSError) as error:
                    # The process has no descriptor left, or the installation is being replaced.
                    log.warning("bodies not received", reason=str(error), consequence="requests with a body get 503")
                    return self._handler.failure(RemoteError("bodies can't be received now", 503, {"Retry-After": "1"}))
        return await self._bodies.respond(head, body, limit)


def _quart_bodies() -> "type[QuartBodies]":
    from .adapter.quart import QuartBodies

    return QuartBodies


def _fits(head: RequestHead, usual: int) -> bool:
    return head.content_length is not None and head.content_length <= usual

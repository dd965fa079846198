"""Makes the response to a request whose head is complete, for each protocol in the same way.

A connection (HTTP/1.1 in `http1` and `adapter/hypercorn`, HTTP/2 in `http2`) reads a head and makes a `RequestHead` from
it. It passes the head and the `Body` to the application, and writes the `Response`. It knows no endpoint. If a request has
no body, the application calls the request handler at once, in the task of the connection. If it has a body, Quart receives
the body first, within the limit of its endpoint.
"""

from collections.abc import Callable

import trio

from ..auth import Gate
from ..core.errors import RemoteError
from ..observe.metrics import Metrics
from .adapter.quart import QuartBodies
from .endpoint import Response
from .request_handler import RequestHandler
from .request_head import Body, RequestHead
from .routes import Routes

# At most this many bodies that exceed `server.body_bytes` are received at a time. Their tokens aren't checked yet.
_LARGE_BODIES = 8


def create_app(
    routes: Routes, metrics: Metrics, body_bytes: Callable[[], int], timestamp: Callable[[], str], gate: Gate
) -> "Application":
    """Make the application.

    Args:
        body_bytes: Returns the current limit of a body, for endpoints that declare no limit.
        timestamp: Returns the current time as RFC 3339, for error bodies.
        gate: Checks tokens, Host and Origin.
    """
    return Application(RequestHandler(routes, metrics, timestamp, gate), body_bytes)


class Application:
    """Responds to requests, as the module describes.

    Args:
        body_bytes: Returns the current limit of a body, for endpoints that declare no limit.
    """

    def __init__(self, handler: RequestHandler, body_bytes: Callable[[], int]) -> None:
        self._handler = handler
        self._body_bytes = body_bytes
        self._bodies = QuartBodies(handler.answer, handler.failure)
        self._large = trio.CapacityLimiter(_LARGE_BODIES)

    async def respond(self, head: RequestHead, body: Body) -> Response:
        """Respond to one request.

        Args:
            body: The body. It is read only if the head announces a body.

        Raises:
            PeerGone: The peer closed the connection before its body was complete.
        """
        if not head.may_have_body:
            return await self._handler.answer(head)
        usual = self._body_bytes()
        limit = self._handler.routes.body_bytes(head.path, usual)
        if limit <= usual or _fits(head, usual):
            return await self._bodies.respond(head, body, limit)
        try:
            self._large.acquire_nowait()
        except trio.WouldBlock:
            return self._handler.failure(RemoteError("too many large bodies at a time", 503, {"Retry-After": "1"}))
        try:
            return await self._bodies.respond(head, body, limit)
        finally:
            self._large.release()


def _fits(head: RequestHead, usual: int) -> bool:
    return head.content_length is not None and head.content_length <= usual

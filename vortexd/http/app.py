"""The seam of the HTTP side: from a request whose head is complete to its response, whoever reads the connection.

A connection (HTTP/1.1 in `bridge`, HTTP/2 in `http2`) reads a head, makes a `RequestHead` of it, and asks the application for the `Response`. It offers
the body as a `Body` and writes the response; it knows no endpoint. The application hands the request over to the part that serves it: a request
without a body goes to the request handler at once, in the task of the connection; a body is received by Quart first, within the limit of its endpoint.
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

# Bodies larger than `server.body_bytes` that are received at a time. Their senders need not have shown a token yet.
_LARGE_BODIES = 8


def create_app(
    routes: Routes, metrics: Metrics, body_bytes: Callable[[], int], timestamp: Callable[[], str], gate: Gate
) -> "Application":
    """Make the application.

    Args:
        body_bytes: The current limit of a body, for endpoints that declare none.
        timestamp: The current time as RFC 3339, for error bodies.
        gate: Checks tokens, Host and Origin.
    """
    return Application(RequestHandler(routes, metrics, timestamp, gate), body_bytes)


class Application:
    """Responds to requests; see the module.

    Args:
        body_bytes: The current limit of a body, for endpoints that declare none.
    """

    def __init__(self, handler: RequestHandler, body_bytes: Callable[[], int]) -> None:
        self._handler = handler
        self._body_bytes = body_bytes
        self._bodies = QuartBodies(handler.answer, handler.failure)
        self._large = trio.CapacityLimiter(_LARGE_BODIES)

    async def respond(self, head: RequestHead, body: Body) -> Response:
        """Respond to one request.

        Args:
            body: Used only if the head announces a body.

        Raises:
            PeerGone: The peer left before its body was whole.
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

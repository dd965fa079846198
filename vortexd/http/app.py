"""The ASGI application: from ASGI to answers and back.

In come ASGI requests from the bridge, out go what `RequestHandler` makes of them. What has no body is answered at once, in the request's own task;
bodies are received by Quart, within the bounds of the endpoint that they are for. Quart's router isn't used: it decodes paths before it takes
them apart.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, cast

import trio
from quart import Response as QuartResponse
from quart import request
from quart_trio import QuartTrio
from quart_trio.wrappers.request import TrioRequest
from werkzeug.exceptions import HTTPException

from ..auth import Gate
from ..core.errors import RemoteError
from ..observe.metrics import Metrics
from .endpoint import Response
from .request_handler import RequestHandler
from .routes import Routes

_Scope = Mapping[str, Any]
_Receive = Callable[[], Awaitable[Any]]
_Send = Callable[[Any], Awaitable[None]]
_Asgi = Callable[[_Scope, _Receive, _Send], Awaitable[None]]

# Bodies beyond what others may send that are received at a time: who sends one needn't have shown yet who it is.
_LARGE_BODIES = 8


def create_app(
    routes: Routes, metrics: Metrics, body_bytes: Callable[[], int], timestamp: Callable[[], str], gate: Gate
) -> _Asgi:
    """Make the application.

    Args:
        body_bytes: How large a body may be now, where an endpoint doesn't say.
        timestamp: The current time as RFC 3339, for error bodies.
        gate: Who is let in.
    """
    handler = RequestHandler(routes, metrics, timestamp, gate)
    with_bodies = _with_bodies(handler, body_bytes)
    large = trio.CapacityLimiter(_LARGE_BODIES)

    async def application(scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http" or (_may_have_body(scope) and not _has_large_body(scope, routes, body_bytes())):
            await with_bodies(scope, receive, send)
            return
        if not _may_have_body(scope):
            made = await _answer(handler, scope)
        else:
            try:
                large.acquire_nowait()
            except trio.WouldBlock:
                made = handler.failure(RemoteError("too many large bodies at a time", 503, {"Retry-After": "1"}))
            else:
                try:
                    await with_bodies(scope, receive, send)
                finally:
                    large.release()
                return
        await send({"type": "http.response.start", "status": made.status, "headers": made.head()})
        await send({"type": "http.response.body", "body": made.body})

    return application


def _may_have_body(scope: _Scope) -> bool:
    # With HTTP/2 a body needs no header that announces it.
    return scope["method"] not in ("GET", "HEAD") or any(
        name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"]
    )


def _has_large_body(scope: _Scope, routes: Routes, usual: int) -> bool:
    if routes.body_bytes(_path(scope), usual) <= usual:
        return False
    # The parser has seen to it that it is one number; without it nobody knows the length.
    length = next((int(value) for name, value in scope["headers"] if name == b"content-length"), None)
    return length is None or length > usual


async def _answer(handler: RequestHandler, scope: _Scope, body: bytes = b"") -> Response:
    query = scope["query_string"].decode("latin-1")
    state = scope["state"]
    return await handler.answer(
        scope["method"], _path(scope), query, scope["headers"], state["sender"], body, state["proxies"]
    )


def _with_bodies(handler: RequestHandler, body_bytes: Callable[[], int]) -> _Asgi:
    """The quart-trio application, for requests with bodies."""
    app = QuartTrio("vortexd", static_folder=None)
    app.request_class = _request_class(handler.routes, body_bytes)
    app.config["PROPAGATE_EXCEPTIONS"] = False

    # Before routing, and in its place.
    @app.before_request
    async def everything() -> QuartResponse:
        return _response(await _answer(handler, request.scope, await request.body))

    @app.errorhandler(HTTPException)
    async def http_error(error: HTTPException) -> QuartResponse:
        reason = error.name
        if error.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            most = handler.routes.body_bytes(_path(request.scope), body_bytes())
            reason = f"a body has at most {most} bytes here"
        return _response(handler.failure(RemoteError(reason, error.code or 500)))

    return cast(_Asgi, app)


def _path(scope: _Scope) -> str:
    raw: bytes = scope["raw_path"]
    return raw.decode("latin-1").partition("?")[0]


def _request_class(routes: Routes, body_bytes: Callable[[], int]) -> type[TrioRequest]:
    """Requests that take no larger bodies than their endpoint does, from the first byte on."""

    class Bounded(TrioRequest):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options["max_content_length"] = routes.body_bytes(_path(options["scope"]), body_bytes())
            super().__init__(*arguments, **options)

    return Bounded


def _response(answer: Response) -> QuartResponse:
    response = QuartResponse(answer.body, answer.status)
    response.headers.clear()
    for name, value in answer.head():
        response.headers[name.decode("latin-1")] = value.decode("latin-1")
    return response

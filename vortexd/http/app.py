"""The quart-trio application: from ASGI to endpoints and back, one place for tokens, methods and errors.

In come ASGI requests from the bridge, out go the answers of endpoints. Quart's router isn't used, because paths are taken apart
before they are decoded: one that decodes first can't tell `/` from `%2F`. Whatever an endpoint raises becomes an answer here.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import structlog
from quart import Response, request
from quart_trio import QuartTrio
from quart_trio.wrappers.request import TrioRequest
from werkzeug.exceptions import HTTPException

from ..auth import Admission, Gate
from ..errors import FormatError, RemoteError, ResolveError
from ..metrics import Metrics
from ..settings import ServerSettings
from .exchange import Answer, Request
from .routes import Routes
from .spring.errors import error as spring_error

log = structlog.get_logger()


def create_app(
    routes: Routes, metrics: Metrics, settings: ServerSettings, timestamp: Callable[[], str], gate: Gate
) -> QuartTrio:
    """Make the application.

    Args:
        timestamp: The current time as RFC 3339, for error bodies.
        gate: Who is let in.
    """
    app = QuartTrio("vortexd", static_folder=None)
    app.request_class = _request_class(routes, settings.body_bytes)
    app.config["PROPAGATE_EXCEPTIONS"] = False

    def failure(error: RemoteError, route: str = "refused") -> Answer:
        body = spring_error(error.status, error.reason, timestamp())
        return Answer(error.status, body, headers=error.headers, route=route)

    async def answer(body: bytes) -> Answer:
        path = _path(request.scope)
        query = request.scope["query_string"].decode("latin-1")

        def admit() -> Admission:
            return gate.admit(list(request.scope["headers"]), f"{path}?{query}", request.remote_addr or "")

        try:
            try:
                endpoint = routes.find(path)
            except RemoteError:
                # Who isn't let in doesn't learn what there is.
                admit()
                raise
            if request.method not in endpoint.methods:
                allowed = ", ".join(endpoint.methods)
                return failure(RemoteError(f"only {allowed}", 405, {"Allow": allowed}), "other")
            admission = None if endpoint.is_public else admit()
            asked = Request(request.method, routes.below(path), query, request.headers, body, admission, admit)
            made = await endpoint.answer(asked)
        except RemoteError as error:
            return failure(error)
        except (FormatError, ResolveError):
            return failure(
                RemoteError("the configuration of this application can't be read; see the server's log", 500),
                endpoint.route,
            )
        return made if made.route else Answer(made.status, made.body, made.content_type, made.headers, endpoint.route)

    # Before routing, and in its place: Werkzeug's router decodes paths before it takes them apart.
    @app.before_request
    async def everything() -> Response:
        began = time.perf_counter()
        made = await answer(await request.body)
        metrics.answered(made.route, made.status, time.perf_counter() - began)
        return _response(made)

    @app.errorhandler(HTTPException)
    async def http_error(error: HTTPException) -> Response:
        return _response(failure(RemoteError(error.name, error.code or 500)))

    @app.errorhandler(Exception)
    async def bug(error: Exception) -> Response:
        number = str(uuid4())
        log.error("request failed", request=number, exc_info=error)
        return _response(failure(RemoteError(f"internal error; in the server's log it is {number}", 500)))

    return app


def _path(scope: Mapping[str, Any]) -> str:
    raw: bytes = scope["raw_path"]
    return raw.decode("latin-1").partition("?")[0]


def _request_class(routes: Routes, body_bytes: int) -> type[TrioRequest]:
    """Requests that take no larger bodies than their endpoint does, from the first byte on."""

    class Bounded(TrioRequest):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options["max_content_length"] = routes.body_bytes(_path(options["scope"]), body_bytes)
            super().__init__(*arguments, **options)

    return Bounded


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status, content_type=answer.content_type)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    if answer.content_type is None:
        response.headers.pop("Content-Type", None)
        response.headers.pop("Content-Length", None)
    for name, value in answer.headers.items():
        response.headers[name] = value
    return response

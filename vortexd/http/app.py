"""The quart-trio application: Spring's configuration routes, health, readiness and metrics.

In come ASGI requests from the bridge, out go answers made of what the line serves. There is no router, because paths are taken apart
before they are decoded: one that decodes first can't tell `/` from `%2F`.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from uuid import uuid4

import structlog
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from ..auth import CHALLENGE, Admission, Gate, Right, TooManyFailures, Unauthorized
from ..errors import FormatError, RemoteError, ResolveError
from ..metrics import CONTENT_TYPE, Metrics
from ..model import Config, Key
from ..settings import ServerSettings
from . import spring
from .spring import ConfigReader

log = structlog.get_logger()

_ALLOW = "GET, HEAD"
# First segments that are never an application: routes of today and tomorrow.
_RESERVED = frozenset(
    [
        "ws",
        "health",
        "ready",
        "metrics",
        "actuator",
        "api",
        "encrypt",
        "decrypt",
        "key",
        "monitor",
        "favicon.ico",
        "openapi.json",
        "console",
    ]
)
# Encoded answers kept between publications.
_CACHE_BYTES = 33_554_432


class _Answers:
    """Encoded configurations, bounded by size; an entry is good as long as its Config is the one served."""

    def __init__(self) -> None:
        self._entries: OrderedDict[spring.Request, tuple[Config, bytes, str]] = OrderedDict()
        self._bytes = 0

    def get(self, config: Config, wanted: spring.Request) -> tuple[bytes, str]:
        """The body and its ETag."""
        entry = self._entries.get(wanted)
        if entry is not None and entry[0] is config:
            self._entries.move_to_end(wanted)
            return entry[1], entry[2]
        if entry is not None:
            self._bytes -= len(self._entries.pop(wanted)[1])
        body = spring.environment(config, wanted)
        etag = spring.etag_of(body)
        self._entries[wanted] = (config, body, etag)
        self._bytes += len(body)
        while self._bytes > _CACHE_BYTES and len(self._entries) > 1:
            self._bytes -= len(self._entries.popitem(last=False)[1][1])
        return body, etag


def create_app(
    reader: ConfigReader, metrics: Metrics, settings: ServerSettings, timestamp: Callable[[], str], gate: Gate
) -> QuartTrio:
    """Make the application.

    Args:
        timestamp: The current time as RFC 3339, for error bodies.
        gate: Who is let in. Health and readiness are for everybody, metrics for who has `admin`.
    """
    app = QuartTrio("vortexd", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.body_bytes
    app.config["PROPAGATE_EXCEPTIONS"] = False
    answers = _Answers()

    def json(status: int, body: bytes, **headers: str) -> Response:
        response = Response(body, status, content_type="application/json")
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-store"
        for name, value in headers.items():
            response.headers[name.replace("_", "-")] = value
        return response

    def failure(status: int, message: str, **headers: str) -> Response:
        return json(status, spring.error(status, message, timestamp()), **headers)

    def admit() -> Admission:
        target = request.scope["raw_path"].decode("latin-1") + "?" + request.scope["query_string"].decode("latin-1")
        return gate.admit(list(request.scope["headers"]), target, request.remote_addr or "")

    async def configuration(raw_path: str, admission: Admission) -> Response:
        try:
            wanted = spring.parse_path(raw_path)
            if wanted is None or raw_path.split("/")[1] in _RESERVED:
                return failure(404, "there is nothing here")
            default_label = reader.default_label
            if default_label is None:
                return failure(503, "starting", Retry_After="1")
            if not spring.accepts_json(request.headers.get("Accept")):
                return failure(406, "configuration comes as application/json")
            label = wanted.label if wanted.label is not None else default_label
            key = Key(wanted.application, wanted.profiles, label)
            admission.authorize(Right.READ, key)
            config = await reader.read(key)
        except (FormatError, ResolveError):
            return failure(500, "the configuration of this application can't be read; see the server's log")
        body, etag = answers.get(config, wanted)
        is_known = spring.is_known(request.headers.get("If-None-Match"), etag)
        response = json(304 if is_known else 200, b"" if is_known else body)
        if is_known:
            response.headers.pop("Content-Type", None)
            response.headers.pop("Content-Length", None)
        response.headers["ETag"] = etag
        response.headers["X-Vortex-Version"] = config.version
        response.headers["Cache-Control"] = "no-cache, private"
        response.headers["Vary"] = "Accept, Authorization"
        return response

    async def answer() -> tuple[str, Response]:
        raw_path = request.scope["raw_path"].decode("latin-1").partition("?")[0]
        if request.method not in ("GET", "HEAD"):
            return "other", failure(405, f"only {_ALLOW}", Allow=_ALLOW)
        match raw_path:
            case "/health":
                return "/health", json(200, b'{"status":"UP"}')
            case "/ready":
                is_ready = reader.default_label is not None
                body = b'{"status":"UP"}' if is_ready else b'{"status":"OUT_OF_SERVICE"}'
                return "/ready", json(200 if is_ready else 503, body, **({} if is_ready else {"Retry_After": "1"}))
        try:
            admission = admit()
            if raw_path == "/metrics":
                admission.authorize(Right.ADMIN, None)
                return "/metrics", Response(metrics.render(), 200, content_type=CONTENT_TYPE)
            return await serve(raw_path, admission)
        except Unauthorized as error:
            return "refused", failure(error.status, error.reason, WWW_Authenticate=CHALLENGE)
        except TooManyFailures as error:
            return "refused", failure(error.status, error.reason, Retry_After=str(math.ceil(error.retry_after)))
        except RemoteError as error:
            return "refused", failure(error.status, error.reason)

    async def serve(raw_path: str, admission: Admission) -> tuple[str, Response]:
        if raw_path.startswith("/ws/"):
            return "/ws", failure(
                426, "this is a WebSocket: ask for an upgrade", Upgrade="websocket", Connection="upgrade"
            )
        return "/{application}/{profiles}", await configuration(raw_path, admission)

    # Before routing, and in its place: Werkzeug's router decodes paths before it takes them apart.
    @app.before_request
    async def everything() -> Response:
        began = time.perf_counter()
        await request.get_data()
        route, response = await answer()
        metrics.answered(route, response.status_code, time.perf_counter() - began)
        return response

    @app.errorhandler(HTTPException)
    async def http_error(error: HTTPException) -> Response:
        return failure(error.code or 500, error.name)

    @app.errorhandler(Exception)
    async def bug(error: Exception) -> Response:
        number = str(uuid4())
        log.error("request failed", request=number, exc_info=error)
        return failure(500, f"internal error; in the server's log it is {number}")

    return app

"""`/api/v1/events/{application}/{profile}`: the messages of a WebSocket as Server-Sent Events, for clients behind any proxy.

The request is checked here, so that each refusal has a status. The response then takes its connection over, and the
WebSocket server serves it. A page may read the stream only if `auth.origins` lists its origin.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import structlog

from ..aio.late_import import LateImport
from ..core.broken_files import HEADER as BROKEN
from ..core.errors import RemoteError
from .endpoint import Endpoint, Request, Response
from .operation import APPLICATION, CORS, in_path, in_query, ok, operation
from .schemas import ANY_LABEL, PATTERN, PROFILES, TEXT, Operations

if TYPE_CHECKING:
    from ..realtime.events.opening import EventStreams

log = structlog.get_logger()

_PATH = "/api/v1/events/{application}/{profile}"
_TYPE = "text/event-stream"
# Proxies must neither keep nor change the events. nginx must pass them on as they come.
_HEADERS = {"Content-Type": _TYPE, "Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
_METHODS = ("GET", "HEAD", "OPTIONS")
# What a page of a listed origin may send. A browser asks again after ten minutes.
_PREFLIGHT = {
    "Allow": ", ".join(_METHODS),
    "Access-Control-Allow-Methods": "GET",
    "Access-Control-Allow-Headers": "Authorization, Cache-Control, Last-Event-ID",
    "Access-Control-Max-Age": "600",
}
_ALLOWED, _EXPOSED = CORS
_CONNECTION_ID = "X-Connection-Id"
# The headers of streams and refusals that vortex.js and other clients in pages read. Without this list, a browser hides them
# from a page of another origin. It never hides Content-Type and Cache-Control.
_READABLE = {_EXPOSED: ", ".join(("Retry-After", "WWW-Authenticate", _CONNECTION_ID, BROKEN))}
_PARAMETERS = [
    APPLICATION,
    in_path("profile", PROFILES, "prod"),
    in_query("label", "if it is missing, the default label of the source", ANY_LABEL),
    in_query("last_version", "the version that the client has", {"type": "string", "maxLength": 64}),
    in_query("last_event_id", "the id of the last event, for clients that can't send Last-Event-ID"),
    in_query("pattern", "a pattern to subscribe to; may occur several times", PATTERN),
    in_query("instance", "the name of the client", {"type": "string", "maxLength": 128}),
    {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}},
]
_OPERATIONS: Operations = {
    _PATH: {
        "get": operation(
            "events",
            "Sends a snapshot and then every change as Server-Sent Events.",
            ok(
                "the stream; vortexd-api(7) describes its events",
                {_TYPE: {"type": "object"}},
                *(_CONNECTION_ID, *CORS),
            ),
            _PARAMETERS,
            (500, 503),
        ),
        "options": operation(
            "eventsPreflight",
            "Answers a browser that asks whether a page may open the stream. Needs no token.",
            {"204": {"description": "the headers say what a page of a listed origin may send"}},
            [in_path("application", TEXT, "billing"), in_path("profile", TEXT, "prod")],
            (400, 403),
            is_public=True,
        ),
    }
}


class Events(Endpoint):
    """Opens event streams.

    Args:
        load: Imports and makes what opens them. It is called for the first stream.
        lists_origin: Returns whether a page of this origin may read responses.
    """

    route: ClassVar = _PATH
    paths: ClassVar = ("/api/v1/events/",)
    methods: ClassVar = _METHODS
    is_public: ClassVar = False
    # A browser sends no token with OPTIONS.
    checks_token: ClassVar = True
    operations: ClassVar = _OPERATIONS

    def __init__(self, load: Callable[[], "EventStreams"], lists_origin: Callable[[str | None], bool]) -> None:
        self._streams = LateImport(load)
        self._lists_origin = lists_origin

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        origin = request.headers.get("Origin")
        cors = {"Vary": "Origin"}
        is_preflight = request.method == "OPTIONS"
        if origin is not None and self._lists_origin(origin):
            cors |= {_ALLOWED: origin} | ({} if is_preflight else _READABLE)
        try:
            if is_preflight:
                request.check()
                allowed = _PREFLIGHT if _ALLOWED in cors else {"Allow": _PREFLIGHT["Allow"]}
                return Response(204, content_type=None, headers=allowed | cors)
            return await self._open(request.admitted(), cors)
        except RemoteError as error:
            raise RemoteError(error.reason, error.status, {**error.headers, **cors}) from error.__cause__

    async def _open(self, request: Request, cors: dict[str, str]) -> Response:
        try:
            streams = await self._streams.get()
        except (ImportError, OSError) as error:
            # The process has no descriptor left, or the installation is being replaced.
            log.warning("protocol not loaded", protocol="Server-Sent Events", reason=str(error))
            raise RemoteError("event streams can't be opened now", 503, {"Retry-After": "1"}) from None
        segments: Sequence[str] = request.segments[3:]
        last = request.headers.get("Last-Event-ID")
        opened = await streams.open(segments, request.query, last, request.owner, request.peer)
        headers = _HEADERS | cors
        if request.method == "HEAD":
            opened.abandon()
            return Response(content_type=None, headers=headers)
        return Response(content_type=None, headers=headers | {_CONNECTION_ID: opened.connection_id}, stream=opened)

"""The endpoints for supervisors and Prometheus: `/health`, `/ready` and `/metrics`. Also `/ws/...` without an upgrade."""

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

import structlog

from ..aio.late_import import LateImport
from ..auth import Right
from ..core.broken_files import HEADER, at_fault
from ..core.errors import FormatError, RemoteError, ResolveError
from ..core.model import Config, Key
from ..observe.metrics import CONTENT_TYPE, Metrics, load_exposition, merge
from ..process.peers import Peers
from ..realtime.handshake import parse_target
from .broken import unreadable
from .endpoint import Endpoint, Request, Response
from .operation import APPLICATION, ERRORS, FLAG, TEXT_TYPE, in_path, in_query, media, ok, operation
from .schemas import PROFILES, Operations, Schema, an_object, optional, ref
from .spring.environment import V1
from .status import Reports

log = structlog.get_logger()

_UP = b'{"status":"UP"}'
_GET = ("GET", "HEAD")


class Readiness(Protocol):
    """The part of the pipeline that `Ready` needs."""

    @property
    def default_label(self) -> str | None:
        """None until the first complete state is served."""
        ...

    @property
    def broken(self) -> Mapping[tuple[str, str], object]:
        """All broken files."""
        ...


_HEALTH_SCHEMAS: dict[str, Schema] = {
    "Health": optional(
        an_object(status={"enum": ["UP", "OUT_OF_SERVICE"]}, broken_files={"type": "integer", "minimum": 1}),
        "broken_files",
    ),
}
_ready = ok("a complete state is served", {V1: ref("Health")})
_ready["503"] = {"description": ERRORS[503], "content": media({V1: ref("Health")})}


class Health(Endpoint):
    """`/health`: answers as long as the event loop runs. It is public, because it reveals nothing else."""

    route: ClassVar = "/health"
    methods: ClassVar = _GET
    is_public: ClassVar = True
    operations: ClassVar = {
        "/health": {
            "get": operation(
                "health", "Whether the server runs.", ok("the server runs", {V1: ref("Health")}), is_public=True
            )
        }
    }
    schemas: ClassVar = _HEALTH_SCHEMAS

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        return Response(body=_UP)


class Ready(Endpoint):
    """`/ready`: whether the server serves a complete state, and no source is staler than its `max_staleness`. Public.

    Broken files don't make a server unready. It still serves all other keys, and other servers read the same files. The
    response has the number of broken files.
    """

    route: ClassVar = "/ready"
    methods: ClassVar = _GET
    is_public: ClassVar = True
    operations: ClassVar = {
        "/ready": {"get": operation("ready", "Whether the server is ready.", _ready, is_public=True)}
    }
    schemas: ClassVar = _HEALTH_SCHEMAS

    def __init__(self, line: Readiness, reports: Reports = tuple) -> None:
        self._line = line
        self._reports = reports

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        if self._line.default_label is None or any(each.is_too_stale for each in self._reports()):
            return Response(503, b'{"status":"OUT_OF_SERVICE"}', headers={"Retry-After": "1"})
        broken = len(self._line.broken)
        return Response(body=b'{"status":"UP","broken_files":%d}' % broken if broken else _UP)


class MetricsPage(Endpoint):
    """`/metrics`, for tokens with `admin`: the metrics of all workers. Any worker can answer."""

    route: ClassVar = "/metrics"
    methods: ClassVar = _GET
    is_public: ClassVar = False
    right: ClassVar = Right.ADMIN
    operations: ClassVar = {
        "/metrics": {
            "get": operation(
                "metrics",
                "The metrics for Prometheus; needs the right `admin`.",
                ok("the metrics", {TEXT_TYPE: {"type": "string"}}),
            )
        }
    }

    def __init__(
        self, metrics: Metrics, peers: Peers | None = None, load: Callable[[], object] = load_exposition
    ) -> None:
        self._exposition = LateImport(load)
        self._metrics = metrics
        self._peers = peers or Peers()
        self._peers.answer("metrics", lambda _: metrics.render().decode())

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        try:
            await self._exposition.get()
        except (ImportError, OSError) as error:
            # The process has no descriptor left, or the installation is being replaced.
            log.warning("metrics not shown", reason=str(error))
            raise RemoteError("metrics can't be shown now", 503, {"Retry-After": "1"}) from error
        own = self._metrics.render()
        if self._peers.are_there:
            others = await self._peers.ask("metrics")
            own = merge({str(self._peers.number): own.decode(), **others.texts})
        return Response(body=own, content_type=CONTENT_TYPE)


class Handshakes(Protocol):
    """The part of the pipeline that a handshake needs."""

    @property
    def default_label(self) -> str | None:
        """None until the first complete state is served."""
        ...

    async def read(self, key: Key) -> Config:
        """The configuration of a key.

        Raises:
            UnknownLabel: No source has the label.
            FormatError, ResolveError: The key can't be resolved.
        """
        ...


_WEBSOCKET_PARAMETERS = [
    APPLICATION,
    in_path("profile", PROFILES, "prod"),
    in_query("label", "if it is missing, the default label of the source"),
    in_query("last_version", "the version that the client has"),
    in_query("instance", "the name of the client"),
    in_query("canary", "true asks for the candidate of a roll-out, if the client has no name", FLAG),
]
_OPERATIONS: Operations = {
    "/ws/{application}/{profile}": {
        # `[http] prefix` doesn't apply to this path.
        "servers": [{"url": "/"}],
        "get": operation(
            "websocket",
            "Opens a WebSocket, which sends a snapshot and then every change.",
            {"101": {"description": "the upgrade; vortexd-api(7) describes the messages that follow"}},
            _WEBSOCKET_PARAMETERS,
            (426, 500, 503),
        ),
    },
}


class UpgradeOnly(Endpoint):
    """Answers `/ws/...` without an upgrade with 426.

    If the server would refuse a handshake, a header has the status and the message has the reason. A page needs this,
    because browsers don't show it why a handshake was refused.
    """

    route: ClassVar = "/ws"
    methods: ClassVar = _GET
    is_public: ClassVar = False
    paths: ClassVar = ("/ws/",)
    operations: ClassVar = _OPERATIONS

    def __init__(self, line: Handshakes) -> None:
        self._line = line

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        headers = {"Upgrade": "websocket", "Connection": "upgrade"}
        try:
            await self._would_open(request)
        except RemoteError as error:
            refused = {"X-Vortex-Refused": str(error.status)}
            if HEADER in error.headers:
                refused[HEADER] = error.headers[HEADER]
            raise RemoteError(error.reason, 426, {**headers, **refused}) from None
        raise RemoteError("this is a WebSocket: ask for an upgrade", 426, headers)

    async def _would_open(self, request: Request) -> None:
        """Raise the error that a handshake for the same target would raise, if any."""
        wanted = parse_target(f"{request.path}?{request.query}")
        label = wanted.label or self._line.default_label
        if label is None:
            raise RemoteError("starting", 503)
        key = Key(wanted.application, wanted.profile, label)
        request.owner.authorize(Right.SUBSCRIBE, key)
        try:
            await self._line.read(key)
        except (FormatError, ResolveError) as error:
            may_read = request.owner.may(Right.READ, key)
            raise unreadable(at_fault(error, key) if may_read else ()) from None

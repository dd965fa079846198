"""The table of routes: which endpoint answers which path.

A path is looked up before anything of it is decoded. An entry that ends in `/` stands for everything below it; the longest one
counts. What is in no entry is an application's, except below the first segments that are reserved, today or for tomorrow.
"""

from collections.abc import Mapping

from ..core.errors import RemoteError
from ..observe.metrics import Metrics
from ..process.peers import Peers
from ..settings.sections import HttpSettings
from .configuration import Configuration, ReadsConfig
from .endpoint import Endpoint
from .health import Health, MetricsPage, Ready, UpgradeOnly
from .status import Reports, Status
from .whoami import WhoAmI

# First segments that are never an application.
RESERVED = frozenset(
    [
        "actuator",
        "api",
        "console",
        "decrypt",
        "encrypt",
        "favicon.ico",
        "health",
        "key",
        "metrics",
        "monitor",
        "openapi.json",
        "ready",
        "status",
        "ws",
    ]
)
# No entry has more segments; what a client sends may.
_DEEPEST = 5


class Routes:
    """See the module.

    Args:
        table: Paths, or beginnings of paths that end in `/`, to their endpoints.
        otherwise: What answers for applications.
        settings: [http]. `HttpSettings.prefix` goes before the paths of `otherwise`; those of the table have both forms.
    """

    def __init__(self, table: Mapping[str, Endpoint], otherwise: Configuration, settings: HttpSettings) -> None:
        self._table = table
        self._otherwise = otherwise
        self.replace(settings)

    def replace(self, settings: HttpSettings) -> None:
        """Put other settings in force, for requests to come."""
        self._prefix = settings.prefix
        self._otherwise.replace(settings)

    def below(self, path: str) -> str:
        """A path without the prefix; one that doesn't begin with it stays as it is."""
        return path.removeprefix(self._prefix) if path.startswith(self._prefix + "/") else path

    def find(self, path: str) -> Endpoint:
        """The endpoint of a path, as it was sent.

        Raises:
            RemoteError: 404.
        """
        has_prefix = path.startswith(self._prefix + "/")
        path = self.below(path)
        exact = self._table.get(path)
        if exact is not None:
            return exact
        segments = path.split("/", _DEEPEST + 1)[1:]
        for count in range(min(len(segments), _DEEPEST), 0, -1):
            found = self._table.get("/" + "/".join(segments[:count]) + "/") if len(segments) > count else None
            if found is not None:
                return found
        if not has_prefix or (segments and segments[0] in RESERVED):
            raise RemoteError("there is nothing here", 404)
        return self._otherwise

    def body_bytes(self, path: str, default: int) -> int:
        """How large a body may be that is sent to a path."""
        try:
            return int(getattr(self.find(path), "body_bytes", default))
        except RemoteError:
            return default


def standard_routes(
    reader: ReadsConfig,
    metrics: Metrics,
    reports: Reports = tuple,
    more: Mapping[str, Endpoint] | None = None,
    peers: Peers | None = None,
    settings: HttpSettings | None = None,
) -> Routes:
    """The routes of a daemon.

    Args:
        reports: How the sources are.
        more: Entries beside those that every daemon has.
        peers: The other workers on the same port.
        settings: [http]; the defaults where there are none.
    """
    return Routes(
        {
            **(more or {}),
            "/health": Health(),
            "/ready": Ready(reader, reports),
            "/metrics": MetricsPage(metrics, peers),
            "/status": Status(reports, reader, peers),
            "/ws/": UpgradeOnly(reader),
            WhoAmI.route: WhoAmI(),
        },
        Configuration(reader, reports),
        settings or HttpSettings(),
    )

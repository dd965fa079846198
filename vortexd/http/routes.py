"""The router: which endpoint answers which path.

A path is looked up before anything of it is decoded. An entry that ends in `/` stands for everything below it; the longest entry counts. A path without
an entry is an application's, unless its first segment is reserved or begins an entry.
"""

from collections.abc import Callable, Iterable, Sequence

from ..core.errors import RemoteError
from ..observe.metrics import Metrics
from ..process.peers import Peers
from ..settings.http import HttpSettings
from .configuration import Configuration, ReadsConfig
from .endpoint import Endpoint
from .health import Health, MetricsPage, Ready, UpgradeOnly
from .openapi import OpenApi
from .status import Reports, Status
from .whoami import WhoAmI

# First segments that are never an application, because an endpoint has them or may have them one day.
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
# No entry has more segments. A path may have.
_DEEPEST = 5


class Routes:
    """The router, and the endpoints that it knows.

    Args:
        endpoints: Each with the paths that it declares.
        otherwise: The endpoint of applications.
        settings: [http]. `HttpSettings.prefix` goes before the paths of `otherwise`; those of `endpoints` have both forms.
        is_open: Whether no token is asked for.
    """

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        otherwise: Configuration,
        settings: HttpSettings,
        is_open: Callable[[], bool] = lambda: False,
    ) -> None:
        self._otherwise = otherwise
        self._openapi = OpenApi([*endpoints, otherwise], is_open)
        self.endpoints: Sequence[Endpoint] = [*self._openapi.described]
        self._table = {path: each for each in self.endpoints if each.is_served for path in each.paths}
        self._reserved = RESERVED | {path.split("/")[1] for each in self.endpoints for path in each.paths}
        self.replace(settings)

    def replace(self, settings: HttpSettings) -> None:
        """Put other settings in force, for requests to come."""
        self._prefix = settings.prefix
        self._otherwise.replace(settings)
        self._openapi.replace(settings)

    def below(self, path: str) -> str:
        """A path without the prefix; a path that doesn't begin with it stays as it is."""
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
        if not has_prefix or (segments and segments[0] in self._reserved):
            raise RemoteError("there is nothing here", 404)
        return self._otherwise

    def body_bytes(self, path: str, default: int) -> int:
        """The limit of a body that is sent to a path.

        Args:
            default: The limit for endpoints that declare none.
        """
        try:
            declared = self.find(path).body_bytes
        except RemoteError:
            return default
        return default if declared is None else declared


def standard_routes(
    reader: ReadsConfig,
    metrics: Metrics,
    reports: Reports = tuple,
    more: Iterable[Endpoint] = (),
    peers: Peers | None = None,
    settings: HttpSettings | None = None,
    is_open: Callable[[], bool] = lambda: False,
) -> Routes:
    """Make the router of a daemon.

    Args:
        reports: The states of the sources.
        more: Endpoints beside those that every daemon has.
        peers: The other workers on the same port.
        settings: [http]; the defaults if None.
        is_open: Whether no token is asked for.
    """
    return Routes(
        [
            *more,
            Health(),
            Ready(reader, reports),
            MetricsPage(metrics, peers),
            Status(reports, reader, peers),
            UpgradeOnly(reader),
            WhoAmI(),
        ],
        Configuration(reader, reports),
        settings or HttpSettings(),
        is_open,
    )

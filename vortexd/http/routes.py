"""The router: finds the endpoint that answers a path.

The router looks up a path before anything is decoded. An entry that ends in `/` matches all paths below it. If several
entries match, the longest one counts. If no entry matches, the path belongs to an application. But if its first segment is
reserved, or is the first segment of an entry, the response is 404.
"""

from collections.abc import Callable, Iterable, Sequence

from ..core.errors import RemoteError
from ..observe.metrics import Metrics
from ..process.peers import Peers
from ..settings.http import HttpSettings
from .configuration import Configuration, ReadsConfig
from .endpoint import Endpoint, Headers
from .health import Health, MetricsPage, Ready, UpgradeOnly
from .openapi import OpenApi
from .status import ClusterReports, PinReports, Reports, RolloutReports, Status
from .tracks import ChoosesTracks
from .whoami import WhoAmI

# First segments that no application can have, because an endpoint uses them, or may use them in a later version.
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
# No entry has more segments than this. A path may have more.
_DEEPEST = 5


class Routes:
    """The router, and the endpoints that it knows.

    Args:
        endpoints: The endpoints, with the paths that they declare.
        otherwise: The endpoint for the paths of applications.
        settings: The section [http]. The paths of `otherwise` begin with `HttpSettings.prefix`. The paths of `endpoints`
            work with the prefix and without it.
        is_open: Returns whether the server requires no token.
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
        """Apply new settings to the requests from now on."""
        self._prefix = settings.prefix
        self._otherwise.replace(settings)
        self._openapi.replace(settings)

    def below(self, path: str) -> str:
        """Return a path without the prefix. If a path doesn't begin with the prefix, it stays as it is."""
        return path.removeprefix(self._prefix) if path.startswith(self._prefix + "/") else path

    def find(self, path: str) -> Endpoint:
        """Find the endpoint of a path, as the client sent it.

        Raises:
            RemoteError: No endpoint answers this path (404).
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
            raise RemoteError("there is nothing at this path", 404)
        return self._otherwise

    def body_bytes(self, path: str, default: int) -> int:
        """Return the limit of a request body for a path, in bytes.

        Args:
            default: The limit for endpoints that declare no limit.
        """
        try:
            declared = self.find(path).body_bytes
        except RemoteError:
            return default
        return default if declared is None else declared

    def is_announced(self, path: str, headers: Headers, length: int) -> bool:
        """Return whether the head of a request proves that a known sender sends a body of this length."""
        try:
            return self.find(path).is_announced(self.below(path), headers, length)
        except RemoteError:
            return False


def standard_routes(
    reader: ReadsConfig,
    metrics: Metrics,
    reports: Reports = tuple,
    more: Iterable[Endpoint] = (),
    peers: Peers | None = None,
    settings: HttpSettings | None = None,
    is_open: Callable[[], bool] = lambda: False,
    cluster: ClusterReports | None = None,
    pins: PinReports = list,
    tracks: ChoosesTracks | None = None,
    rollouts: RolloutReports = list,
    beside: Callable[[Configuration], Iterable[Endpoint]] = lambda _: (),
) -> Routes:
    """Make the router of a daemon.

    Args:
        reports: Returns the states of the sources.
        more: Endpoints in addition to those of every daemon.
        peers: The other workers on the same port.
        settings: The section [http]. If it is None, the defaults are used.
        is_open: Returns whether the server requires no token.
        cluster: Returns the state of the cluster. None if there is no cluster.
        pins: Returns the JSON objects of the pins.
        tracks: Knows the roll-outs. None if there are none.
        rollouts: Returns the short JSON objects of the roll-outs.
        beside: Makes the endpoints that give responses of the endpoint of configurations.
    """
    ordinary = Configuration(reader, reports, tracks)
    return Routes(
        [
            *more,
            *beside(ordinary),
            Health(),
            Ready(reader, reports),
            MetricsPage(metrics, peers),
            Status(reports, reader, peers, cluster, pins, rollouts),
            UpgradeOnly(reader),
            WhoAmI(),
        ],
        ordinary,
        settings or HttpSettings(),
        is_open,
    )

"""`/api/v1/connections`: the WebSocket connections and event streams with their keys and versions; for tokens with `admin`.

The response counts all connections, and lists some of them, because a fleet may have too many to read. If there are
several workers, the response covers the connections of all of them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qs

import orjson

from ..auth import Right
from ..core.errors import RemoteError
from ..process.peers import Peers
from ..realtime.server import Connected
from .endpoint import Endpoint, Request, Response
from .operation import in_query, ok, operation
from .schemas import COUNT, KEY, TEXT, Operations, Schema, a_list, an_object, nullable, ref
from .spring.environment import V1

_DEFAULT_LIMIT = 100
_MOST = 1_000
_MOST_KEYS = 1_000
_FILTERS = ("app", "profile", "label", "version")


_SCHEMAS: dict[str, Schema] = {
    "Connections": an_object(
        total=COUNT,
        parked=COUNT,
        versions=a_list(an_object(**KEY, version=nullable(TEXT), connections=COUNT)),
        connections=a_list(
            an_object(
                id=TEXT,
                instance=TEXT,
                peer=TEXT,
                principal=TEXT,
                **KEY,
                version=nullable(TEXT),
                patterns=COUNT,
                state={"enum": ["parked", "awake"]},
                transport={"enum": ["websocket", "events"]},
            )
        ),
        workers_silent=COUNT,
    ),
}
_PARAMETERS = [
    *(in_query(name, "select only connections with this value") for name in ("app", "profile", "label", "version")),
    in_query("limit", "the most connections to list", {"type": "integer", "minimum": 0, "maximum": 1_000}),
]
_OPERATIONS: Operations = {
    "/api/v1/connections": {
        "get": operation(
            "connections",
            "Count and list the WebSocket connections and event streams; needs the right `admin`.",
            ok("the number of connections, and a list of some", {V1: ref("Connections")}),
            _PARAMETERS,
        )
    }
}


class Connections(Endpoint):
    """Lists connections. `?app=`, `profile=`, `label=` and `version=` select connections, `limit=` bounds the list.

    Args:
        connected: Returns all connections of this process.
    """

    route: ClassVar = "/api/v1/connections"
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = False
    right: ClassVar = Right.ADMIN
    operations: ClassVar = _OPERATIONS
    schemas: ClassVar = _SCHEMAS

    def __init__(self, connected: Callable[[], Iterable[Connected]], peers: Peers | None = None) -> None:
        self._connected = connected
        self._peers = peers or Peers()
        self._peers.answer("connections", lambda text: orjson.dumps(self._found(orjson.loads(text))).decode())

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        wanted = _wanted(request.query)
        found = [self._found(wanted)]
        others = await self._peers.ask("connections", orjson.dumps(wanted).decode())
        found += [orjson.loads(text) for text in others.texts.values() if text]
        return Response(body=orjson.dumps(_merged(found, wanted["limit"]) | {"workers_silent": others.missing}))

    def _found(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Count and list the selected connections of this process."""
        count = parked = 0
        versions: Counter[tuple[str, str, str, str | None]] = Counter()
        listed: list[dict[str, Any]] = []
        for each in self._connected():
            members = _members(each)
            if any(wanted[name] not in (None, members[name]) for name in _FILTERS):
                continue
            count += 1
            parked += each.is_parked
            key = each.key
            versions[key.application, key.profile, key.label, each.version] += 1
            if len(listed) < wanted["limit"]:
                listed.append(members)
        return {
            "total": count,
            "parked": parked,
            "versions": [[*name, n] for name, n in versions.items()],
            "connections": listed,
        }


def _members(each: Connected) -> dict[str, Any]:
    return {
        "id": each.instance.connection,
        "instance": each.instance.name,
        "peer": each.instance.host or "unix",
        "principal": each.principal,
        "app": each.key.application,
        "profile": each.key.profile,
        "label": each.key.label,
        "version": each.version,
        "patterns": each.patterns,
        "state": "parked" if each.is_parked else "awake",
        "transport": each.transport,
    }


def _wanted(query: str) -> dict[str, Any]:
    """Parse the query.

    Raises:
        RemoteError: The limit isn't valid (400).
    """
    given = parse_qs(query, keep_blank_values=True, max_num_fields=16)
    limit = given.get("limit", [str(_DEFAULT_LIMIT)])[0]
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= 4 and int(limit) <= _MOST):
        raise RemoteError(f"limit is a number from 0 to {_MOST}")
    return {**{name: given.get(name, [None])[0] for name in _FILTERS}, "limit": int(limit)}


def _merged(found: Iterable[Mapping[str, Any]], limit: int) -> dict[str, Any]:
    total = parked = 0
    versions: Counter[tuple[Any, ...]] = Counter()
    listed: list[Any] = []
    for each in found:
        total += each["total"]
        parked += each["parked"]
        listed += each["connections"]
        for *name, count in each["versions"]:
            versions[tuple(name)] += count
    names = ("app", "profile", "label", "version", "connections")
    return {
        "total": total,
        "parked": parked,
        "versions": [dict(zip(names, (*name, n), strict=True)) for name, n in versions.most_common(_MOST_KEYS)],
        "connections": listed[:limit],
    }

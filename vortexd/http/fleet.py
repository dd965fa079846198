"""`/api/v1/fleet`: lists the instances that use a configuration, and the version that each has applied.

Deployment pipelines and people use it. A response is a page that merges the answers of all workers. The endpoint shows a
key to tokens that may read it, and to tokens with `admin`. Other tokens can't learn from a response that the key exists.
"""

import base64
import binascii
from collections.abc import Callable, Collection
from typing import Any, ClassVar, Protocol

import attrs
import orjson
import trio

from ..auth import Admission, Forbidden, Right
from ..core import names
from ..core.errors import RemoteError
from ..core.model import Key
from ..core.patterns import Pattern, parse_pattern
from ..core.text import rfc3339
from ..fleet import NOBODY, STATES, Ack, Cursor, Fleet, KeyState, Page, Question, Seen, merge
from ..process.peers import Answers, Peers
from .endpoint import JSON, Endpoint, Request, Response
from .key_queries import validated
from .operation import IF_NONE_MATCH, in_query, ok, operation
from .query import parse_query
from .schemas import COUNT, KEY, TEXT, TIME, VERSION, Operations, Schema, a_list, an_object, nullable, optional, ref
from .spring.environment import V1

_PARAMETERS = ("app", "profile", "label", "state", "limit", "after")
_DEFAULT_LIMIT, _MOST = 100, 1_000
# The endpoint checks this many keys before it lets other tasks run.
_AT_ONCE = 100


class Labels(Protocol):
    """The part of the pipeline that `FleetPages` needs."""

    @property
    def default_label(self) -> str | None: ...


@attrs.frozen
class _Part:
    """One part of a key in a query: anything, a glob, or one exact text."""

    text: str
    matches: Callable[[str], bool]

    @property
    def is_exact(self) -> bool:
        return "*" not in self.text


@attrs.frozen
class FleetQuery:
    """The parsed query of a request.

    Attributes:
        parts: Application, profile and label.
    """

    parts: tuple[_Part, _Part, _Part]
    state: str | None
    limit: int
    after: Cursor | None

    def matches(self, key: Key) -> bool:
        """Whether the query selects this key."""
        texts = key.application, key.profile, key.label
        return all(part.matches(text) for part, text in zip(self.parts, texts, strict=True))

    def key(self, default_label: str | None) -> Key | None:
        """Return the key that the query names, if it names exactly one. If it names no label, the default label is used."""
        application, profile, label = self.parts
        if not application.is_exact or not profile.is_exact:
            return None
        return Key(application.text, profile.text, label.text if label.is_exact else default_label or "")


def parse_wanted(query: str) -> FleetQuery:
    """Parse a query.

    Raises:
        RemoteError: The query isn't valid. The text names the mistake.
    """
    parameters = parse_query(query, _PARAMETERS)
    state = parameters.get("state") or None
    if state not in (None, NOBODY, *STATES):
        raise RemoteError(f"state is one of {', '.join(STATES)} or {NOBODY}")
    limit = parameters.get("limit") or str(_DEFAULT_LIMIT)
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 4 and 1 <= int(limit) <= _MOST):
        raise RemoteError(f"limit is a whole number from 1 to {_MOST}")
    after = parameters.get("after")
    parts = (
        _part(parameters.get("app"), 0, names.application),
        _part(parameters.get("profile"), 1, names.profile),
        _part(parameters.get("label"), 2, names.labels),
    )
    return FleetQuery(parts, state, int(limit), _cursor(after) if after else None)


def _part(text: str | None, place: int, gate: Callable[[str], str]) -> _Part:
    if not text or text == "*":
        return _Part("*", lambda _: True)
    if "*" not in text:
        text = gate(text)
        return _Part(text, text.__eq__)
    pattern = parse_pattern(":".join(text if number == place else "*" for number in range(3)))
    glob = (pattern.application, pattern.profile, pattern.label)[place]
    return _Part(glob, lambda name: Pattern(glob).matches(Key(name, "", "")))


def _cursor(text: str) -> Cursor:
    try:
        *key, name, connection = orjson.loads(base64.urlsafe_b64decode(text))
        if len(key) == 3 and all(isinstance(each, str) for each in (*key, name, connection)):
            return Key(*key), name, connection
    except (binascii.Error, ValueError, TypeError):
        pass
    raise RemoteError("after must be the value of `next` on the page before")


_COUNTS = dict.fromkeys(("connected", "applied", "rejected", "silent", "gone", "unlisted"), COUNT)
_INSTANCE_STATE: Schema = {"enum": list(STATES)}
_SCHEMAS: dict[str, Schema] = {
    "Fleet": optional(
        an_object(
            keys=a_list(
                an_object(
                    **KEY,
                    version=nullable(VERSION),
                    counts=an_object(**_COUNTS),
                    percent=nullable({"type": "number", "minimum": 0, "maximum": 100}),
                    instances=a_list(
                        an_object(
                            name=TEXT,
                            connection=nullable(TEXT),
                            state=_INSTANCE_STATE,
                            since=TIME,
                            ack=nullable(
                                an_object(
                                    version=TEXT,
                                    status={"enum": ["applied", "rejected"]},
                                    error=nullable(TEXT),
                                    at=TIME,
                                )
                            ),
                            shares_name={"type": "boolean"},
                        )
                    ),
                )
            ),
            next=nullable(TEXT),
            workers_silent=COUNT,
        ),
        "workers_silent",
    ),
}
_KEY_PARAMETERS = [in_query(name, "a name or a glob") for name in ("app", "profile", "label")]
_FLEET_PARAMETERS = [
    *_KEY_PARAMETERS,
    in_query("state", "list only instances in this state, or no instances", {"enum": [*STATES, NOBODY]}),
    in_query("limit", "the most keys and instances on a page", {"type": "integer", "minimum": 1, "maximum": 1_000}),
    in_query("after", "the value of `next` on the page before"),
    IF_NONE_MATCH,
]
_OPERATIONS: Operations = {
    "/api/v1/fleet": {
        "get": operation(
            "fleet",
            "The instances of each key, with the version that each has applied.",
            ok("a page", {V1: ref("Fleet")}, has_tag=True),
            _FLEET_PARAMETERS,
        )
    }
}


class FleetPages(Endpoint):
    """Lists the fleet in pages.

    Args:
        now: Returns the time in seconds since the epoch.
    """

    route: ClassVar = "/api/v1/fleet"
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = False
    operations: ClassVar = _OPERATIONS
    schemas: ClassVar = _SCHEMAS

    def __init__(self, fleet: Fleet, labels: Labels, now: Callable[[], float], peers: Peers | None = None) -> None:
        self._fleet = fleet
        self._labels = labels
        self._now = now
        self._peers = peers or Peers()
        self._peers.answer("fleet keys", lambda _: orjson.dumps(list(map(attrs.astuple, fleet.keys()))).decode())
        self._peers.answer("fleet", lambda text: fleet.page(Question.from_json(text), now()).to_json())

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        wanted = parse_wanted(request.query)
        others = await self._peers.ask("fleet keys")
        keys = {*self._fleet.keys(), *(Key(*parts) for text in others.texts.values() for parts in _loaded(text))}
        visible = tuple(await self._visible(request.owner, wanted, keys))
        question = Question(visible, wanted.state, wanted.limit, wanted.after)
        page = self._fleet.page(question, self._now())
        if self._peers.are_there:
            others = await self._peers.ask("fleet", question.to_json())
            page = merge([page, *(Page.from_json(text) for text in others.texts.values() if text)], question)
        body = orjson.dumps(_members(page, others if self._peers.are_there else None))
        return validated(request, body, JSON, {})

    async def _visible(self, owner: Admission, wanted: FleetQuery, keys: Collection[Key]) -> list[Key]:
        """Find the keys that the query selects and the owner may see.

        Raises:
            Forbidden: The query names exactly one key, and the owner may not see it. The key may exist or not.
        """
        sees_all = owner.may(Right.ADMIN, None)
        visible: list[Key] = []
        for number, key in enumerate(keys, 1):
            if wanted.matches(key) and (sees_all or owner.may(Right.READ, key)):
                visible.append(key)
            # Checking a right with many patterns takes some time for each key.
            if number % _AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        one = wanted.key(self._labels.default_label)
        if not visible and one is not None and not sees_all and not owner.may(Right.READ, one):
            raise Forbidden
        return visible


def _loaded(text: str) -> list[list[str]]:
    loaded: list[list[str]] = orjson.loads(text) if text else []
    return loaded


def _members(page: Page, others: Answers | None) -> dict[str, Any]:
    members: dict[str, Any] = {"keys": list(map(_key, page.keys)), "next": None}
    if page.next is not None:
        key, name, connection = page.next
        text = orjson.dumps([*attrs.astuple(key), name, connection])
        members["next"] = base64.urlsafe_b64encode(text).decode()
    if others is not None:
        members["workers_silent"] = others.missing
    return members


def _key(state: KeyState) -> dict[str, Any]:
    counts = ("connected", "applied", "rejected", "silent", "gone", "unlisted")
    return {
        "app": state.key.application,
        "profile": state.key.profile,
        "label": state.key.label,
        "version": state.version,
        "counts": {name: getattr(state, name) for name in counts},
        "percent": state.percent,
        "instances": list(map(_instance, state.instances)),
    }


def _instance(seen: Seen) -> dict[str, Any]:
    return {
        "name": seen.name,
        "connection": seen.connection,
        "state": seen.state,
        "since": rfc3339(seen.since),
        "ack": _ack(seen.ack),
        "shares_name": seen.is_shared,
    }


def _ack(ack: Ack | None) -> dict[str, Any] | None:
    if ack is None:
        return None
    return {"version": ack.version, "status": ack.status, "error": ack.error, "at": rfc3339(ack.at)}

"""`/api/v1/fleet`: lists the instances that use a configuration, and the version that each has applied.

Deployment pipelines and people use it. A response is a page that merges the answers of all workers. The endpoint shows a
key to tokens that may read it, and to tokens with `admin`. Other tokens can't learn from a response that the key exists.
"""

import base64
import binascii
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import attrs
import orjson

from ..auth import Right
from ..core.errors import RemoteError
from ..core.model import Key
from ..core.text import rfc3339
from ..fleet import NOBODY, STATES, Ack, Cursor, Fleet, KeyState, Page, Question, Seen, merge
from ..process.peers import Answers, Peers
from .endpoint import JSON, Endpoint, Request, Response
from .key_filter import (
    KEY_PARAMETERS,
    LIMIT_SCHEMA,
    PARTS,
    KeyFilter,
    parse_filter,
    parse_limit,
    refuse_one,
    visible_keys,
)
from .key_queries import validated
from .operation import IF_NONE_MATCH, in_query, ok, operation
from .query import parse_query
from .schemas import COUNT, KEY, TEXT, TIME, VERSION, Operations, Schema, a_list, an_object, nullable, optional, ref
from .spring.environment import V1

_PARAMETERS = (*PARTS, "state", "limit", "after")


class Labels(Protocol):
    """The part of the pipeline that `FleetPages` needs."""

    @property
    def default_label(self) -> str | None: ...


@attrs.frozen
class FleetQuery:
    """The parsed query of a request.

    Attributes:
        keys: Selects keys.
    """

    keys: KeyFilter
    state: str | None
    limit: int
    after: Cursor | None


def parse_wanted(query: str) -> FleetQuery:
    """Parse a query.

    Raises:
        RemoteError: The query isn't valid. The text names the mistake.
    """
    parameters = parse_query(query, _PARAMETERS)
    state = parameters.get("state") or None
    if state not in (None, NOBODY, *STATES):
        raise RemoteError(f"state is one of {', '.join(STATES)} or {NOBODY}")
    limit = parse_limit(parameters)
    after = parameters.get("after")
    return FleetQuery(parse_filter(parameters), state, limit, _cursor(after) if after else None)


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
_FLEET_PARAMETERS = [
    *KEY_PARAMETERS,
    in_query("state", "list only instances in this state, or no instances", {"enum": [*STATES, NOBODY]}),
    in_query("limit", "the most keys and instances on a page", LIMIT_SCHEMA),
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
        visible = await visible_keys(request.owner, wanted.keys, keys, sees_all=Right.ADMIN)
        if not visible:
            refuse_one(request.owner, wanted.keys, self._labels.default_label, Right.ADMIN)
        question = Question(tuple(visible), wanted.state, wanted.limit, wanted.after)
        page = self._fleet.page(question, self._now())
        if self._peers.are_there:
            others = await self._peers.ask("fleet", question.to_json())
            page = merge([page, *(Page.from_json(text) for text in others.texts.values() if text)], question)
        body = orjson.dumps(_members(page, others if self._peers.are_there else None))
        return validated(request, body, JSON, {})


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

"""`/api/v1/fleet`: lists the instances that use a configuration, and the version that each has applied.

Deployment pipelines and people use it. A response is a page that merges the answers of all workers, and of all nodes if
there is a cluster. The endpoint shows a key to tokens that may read it, and to tokens with `admin`. Other tokens can't learn
from a response that the key exists.
"""

import base64
import binascii
import math
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, ClassVar, Protocol

import attrs
import orjson

from ..auth import Right
from ..core.errors import RemoteError
from ..core.model import ClusterReport, Key
from ..core.text import rfc3339
from ..fleet import (
    CURRENT,
    LAST,
    NOBODY,
    STATES,
    UNKNOWN,
    Ack,
    Cursor,
    Fleet,
    KeyState,
    NodePages,
    NodeView,
    Page,
    Question,
    Seen,
    end_of,
    merge,
)
from ..process.peers import Peers
from .endpoint import JSON, Endpoint, Request, Response
from .fleet_rounds import FleetRounds
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
# The largest percentage while a node is silent.
_NEARLY_ALL = 99.99


class Labels(Protocol):
    """The part of the pipeline that `FleetPages` needs."""

    @property
    def default_label(self) -> str | None: ...


class Nodes(Protocol):
    """The other nodes of a cluster."""

    def keys(self) -> Collection[Key]:
        """Return the keys that other nodes have instances of, or had."""
        ...

    async def pages(self, question: Question) -> NodePages:
        """Return a page of each other node whose instances or counts are known."""
        ...

    def report(self) -> ClusterReport:
        """Return the state of the cluster, as this node sees it."""
        ...

    @property
    def steady_for(self) -> float:
        """The seconds since a node came, restarted, drained, went away or left."""
        ...


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
_ACK: Schema = an_object(version=TEXT, status={"enum": ["applied", "rejected"]}, error=nullable(TEXT), at=TIME)
_INSTANCE_STATE: Schema = {"enum": list(STATES)}
_SCHEMAS: dict[str, Schema] = {
    "Fleet": optional(
        an_object(
            keys=a_list(
                optional(
                    an_object(
                        **KEY,
                        version=nullable(VERSION),
                        target=VERSION,
                        rollout={"enum": ["waiting", "running", "halted", "aborted"]},
                        counts=optional(
                            an_object(**_COUNTS, away=COUNT, before_restart=COUNT), "away", "before_restart"
                        ),
                        percent=nullable({"type": "number", "minimum": 0, "maximum": 100}),
                        instances=a_list(
                            optional(
                                an_object(
                                    name=TEXT,
                                    connection=nullable(TEXT),
                                    state=_INSTANCE_STATE,
                                    since=TIME,
                                    ack=nullable(_ACK),
                                    shares_name={"type": "boolean"},
                                    before_restart=_ACK,
                                    expected=nullable(VERSION),
                                ),
                                "before_restart",
                                "expected",
                            )
                        ),
                        behind={"type": "boolean"},
                    ),
                    "behind",
                    "target",
                    "rollout",
                )
            ),
            next=nullable(TEXT),
            workers_silent=COUNT,
            nodes=a_list(
                an_object(
                    name=TEXT,
                    state={"enum": ["serving", "draining", "away"]},
                    silent={"type": "boolean"},
                    counts={"enum": [CURRENT, LAST, UNKNOWN]},
                    as_of=nullable(TIME),
                    reason=nullable(TEXT),
                )
            ),
            nodes_silent=COUNT,
            store=an_object(status={"enum": ["UP", "AWAY"]}, since=TIME),
        ),
        "workers_silent",
        "nodes",
        "nodes_silent",
        "store",
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

    def __init__(
        self,
        fleet: Fleet,
        labels: Labels,
        now: Callable[[], float],
        peers: Peers | None = None,
        nodes: Nodes | None = None,
    ) -> None:
        self._fleet = fleet
        self._labels = labels
        self._now = now
        self._peers = peers or Peers()
        self._nodes = nodes
        self._rounds = FleetRounds[tuple[Page, int, Sequence[NodeView]]]()
        self._peers.answer("fleet keys", lambda _: orjson.dumps(list(map(attrs.astuple, fleet.keys()))).decode())
        self._peers.answer("fleet", lambda text: fleet.page(Question.from_json(text), now()).to_json())

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        wanted = parse_wanted(request.query)
        others = await self._peers.ask("fleet keys")
        keys = {*self._fleet.keys(), *(Key(*parts) for text in others.texts.values() for parts in _loaded(text))}
        if self._nodes is not None:
            keys |= {*self._nodes.keys()}
        visible = await visible_keys(request.owner, wanted.keys, keys, sees_all=Right.ADMIN)
        if not visible:
            refuse_one(request.owner, wanted.keys, self._labels.default_label, Right.ADMIN)
        question = Question(tuple(visible), wanted.state, wanted.limit, wanted.after)
        if self._nodes is None:
            page, silent = await self.here(question)
            members = _members(page)
        else:
            question, has_more = _shortened(question)
            everywhere = partial(self._everywhere, question, self._nodes, has_more=has_more)
            page, silent, found = await self._rounds.shared((question, has_more), everywhere)
            report = self._nodes.report()
            members = _members(page, found, report.order.behind) | _nodes(found) | _store(report)
        if self._peers.are_there:
            members["workers_silent"] = silent
        return validated(request, orjson.dumps(members), JSON, {})

    async def here(self, question: Question) -> tuple[Page, int]:
        """Return a page of this node's instances, and how many workers haven't answered."""
        page = self._fleet.page(question, self._now())
        if not self._peers.are_there:
            return page, 0
        others = await self._peers.ask("fleet", question.to_json())
        return merge(
            [page, *(Page.from_json(text) for text in others.texts.values() if text)], question
        ), others.missing

    def named(self) -> Collection[Key]:
        """Return the keys that have named instances at this worker."""
        return self._fleet.named()

    @property
    def steady_for(self) -> float:
        """The seconds since a node of the cluster came, restarted, drained, went away or left. Infinite without a cluster."""
        return self._nodes.steady_for if self._nodes is not None else math.inf

    async def of(self, key: Key) -> tuple[Sequence[Seen], int]:
        """Return all instances of a key, and how many workers and nodes haven't answered.

        Nodes that are away don't count as such, because nobody can wait for them.
        """
        found: list[Seen] = []
        question, unanswered = Question((key,)), 0
        while True:
            if self._nodes is None:
                page, silent = await self.here(question)
            else:
                page, silent, nodes = await self._everywhere(question, self._nodes, has_more=False)
                silent += sum(each.state != "away" and not each.is_whole for each in nodes)
            unanswered = max(unanswered, silent)
            found += [seen for state in page.keys for seen in state.instances]
            if page.next is None:
                return found, unanswered
            question = attrs.evolve(question, after=page.next)

    async def _everywhere(
        self, question: Question, nodes: Nodes, *, has_more: bool
    ) -> tuple[Page, int, Sequence[NodeView]]:
        """Return a page of all nodes' instances, how many workers of this node haven't answered, and the nodes.

        Args:
            has_more: Whether there are keys after those of the question.
        """
        page, silent = await self.here(question)
        others = await nodes.pages(question)
        page = merge([page, *others.pages], question)
        if page.next is None and has_more:
            # Instances may have left since the keys were listed. Then the page isn't full, but isn't the last one either.
            last = question.keys[-1]
            is_listed = bool(page.keys) and page.keys[-1].key == last
            page = attrs.evolve(page, next=end_of(page.keys) if is_listed else (last, "", ""))
        return page, silent, others.nodes


def _loaded(text: str) -> list[list[str]]:
    loaded: list[list[str]] = orjson.loads(text) if text else []
    return loaded


def _shortened(question: Question) -> tuple[Question, bool]:
    """Return a question with only the keys that can be on the page, in order, and whether there are more keys."""
    start = question.after[0] if question.after is not None else None
    keys = sorted(each for each in question.keys if start is None or each >= start)
    # The key of the cursor takes no room on the page. One more key shows that there is another page.
    most = question.limit + 2
    return attrs.evolve(question, keys=tuple(keys[:most])), len(keys) > most


def _members(page: Page, nodes: Sequence[NodeView] | None = None, behind: Collection[str] = ()) -> dict[str, Any]:
    members: dict[str, Any] = {"keys": [_key(each, nodes) for each in page.keys], "next": None}
    if nodes is not None:
        for each, shown in zip(page.keys, members["keys"], strict=True):
            # A key of several labels is behind if any of them is.
            shown["behind"] = not set(behind).isdisjoint(each.key.label.split(","))
    if page.next is not None:
        key, name, connection = page.next
        text = orjson.dumps([*attrs.astuple(key), name, connection])
        members["next"] = base64.urlsafe_b64encode(text).decode()
    return members


def _nodes(nodes: Sequence[NodeView]) -> dict[str, Any]:
    """Return the members that only a cluster has."""
    shown = [
        {
            "name": each.name,
            "state": each.state,
            "silent": not each.is_whole,
            "counts": each.counts,
            "as_of": rfc3339(each.as_of) if each.as_of is not None else None,
            "reason": each.reason,
        }
        for each in nodes
    ]
    return {"nodes": shown, "nodes_silent": sum(not each.is_whole for each in nodes)}


def _store(report: ClusterReport) -> dict[str, Any]:
    """Return whether this node can use the cluster's store. While it can't, nodes and counts may be those of before.

    The last error isn't shown, because the right `admin` is needed to learn where the store is.
    """
    return {"store": {"status": "UP" if report.is_up else "AWAY", "since": rfc3339(report.since)}}


def _key(state: KeyState, nodes: Sequence[NodeView] | None) -> dict[str, Any]:
    counts = (
        "connected",
        "applied",
        "rejected",
        "silent",
        "gone",
        "unlisted",
        *(("away",) if nodes is not None else ()),
        *(("before_restart",) if state.before_restart else ()),
    )
    percent = state.percent
    if percent == 100 and not all(each.is_whole for each in nodes or ()):
        # While a node's instances aren't counted, nobody knows whether all have applied it.
        percent = _NEARLY_ALL
    target = {} if state.target is None else {"target": state.target, "rollout": state.rollout}
    return {
        "app": state.key.application,
        "profile": state.key.profile,
        "label": state.key.label,
        "version": state.version,
        **target,
        "counts": {name: getattr(state, name) for name in counts},
        "percent": percent,
        "instances": [_instance(each) | (_expected(each, state) if target else {}) for each in state.instances],
    }


def _expected(seen: Seen, state: KeyState) -> dict[str, Any]:
    """Return the member that instances have only during a roll-out. Nothing is expected of an instance that has left."""
    return {"expected": None if seen.state == "gone" else seen.expected or state.version}


def _instance(seen: Seen) -> dict[str, Any]:
    row = {
        "name": seen.name,
        "connection": seen.connection,
        "state": seen.state,
        "since": rfc3339(seen.since),
        "ack": _ack(seen.ack),
        "shares_name": seen.is_shared,
    }
    # A member of its own, so that nobody takes it for an acknowledgement since the restart.
    return row if seen.before_restart is None else row | {"before_restart": _ack(seen.before_restart)}


def _ack(ack: Ack | None) -> dict[str, Any] | None:
    if ack is None:
        return None
    return {"version": ack.version, "status": ack.status, "error": ack.error, "at": rfc3339(ack.at)}

"""`/status`: the state of each source with its broken files, and of the cluster, for people and dashboards."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import attrs
import orjson

from ..auth import Right
from ..core.model import BrokenFile, ClusterPublishing, ClusterReport, HeldBack, SourceReport
from ..core.text import rfc3339
from ..gate.finding import Refusal
from ..process.peers import Peers
from ..source.kinds import KINDS
from .broken import held_back_members, members
from .endpoint import Endpoint, Request, Response
from .operation import ok, operation
from .pins import PIN
from .rollouts import SHORT
from .schemas import BROKEN, COUNT, FINDING, TEXT, TIME, Operations, Schema, a_list, an_object, nullable, optional, ref
from .spring.environment import V1

Reports = Callable[[], Sequence[SourceReport]]
ClusterReports = Callable[[], ClusterReport]
PinReports = Callable[[], list[dict[str, Any]]]
RolloutReports = Callable[[], list[dict[str, Any]]]

# At most this many broken files, and as many unfinished ones, are listed for one source. All of them are counted.
_SHOWN_FILES = 100


class Files(Protocol):
    """The part of the pipeline that `Status` needs."""

    @property
    def broken(self) -> Mapping[tuple[str, str], BrokenFile]:
        """All broken files."""
        ...

    @property
    def refusals(self) -> Mapping[str, Refusal]:
        """The labels that the gate holds back."""
        ...

    async def held_back(self) -> Sequence[HeldBack]:
        """All broken files, with the keys that they hold back."""
        ...


# The most labels that a list has.
_SHOWN_LABELS = 20
_HELD_BACK = nullable(an_object(count=COUNT, first=a_list(TEXT)))
_REPORT = an_object(
    name=TEXT,
    kind={"enum": [*KINDS]},
    revision=nullable(TEXT),
    status={"enum": ["UP", "DEGRADED", "STALE"]},
    last_success=nullable(TIME),
    last_error=nullable(TEXT),
    last_error_at=nullable(TIME),
    stale_for={"type": "number", "minimum": 0},
    broken_files=COUNT,
    broken=a_list(an_object(**BROKEN, held_back=_HELD_BACK)),
    unfinished_files=COUNT,
    unfinished=a_list(an_object(file=TEXT, reason=TEXT)),
)
_CLUSTER = optional(
    an_object(
        name=TEXT,
        node=TEXT,
        store=an_object(
            status={"enum": ["UP", "AWAY"]}, since=TIME, last_error=nullable(TEXT), last_error_at=nullable(TIME)
        ),
        member=nullable({"enum": ["listed", "name taken", "not listed"]}),
        stand_in={"type": "boolean"},
        leader=nullable(TEXT),
        members=a_list(
            an_object(
                node=TEXT,
                state={"enum": ["serving", "draining", "away"]},
                version=TEXT,
                address=nullable(TEXT),
                started=TEXT,
                away_for=nullable({"type": "number", "minimum": 0}),
            )
        ),
        order=an_object(epoch=nullable(TEXT), behind=a_list(TEXT), unordered=a_list(TEXT)),
        published=an_object(number=COUNT, id=TEXT, at=TIME, by=TEXT),
        publishing=an_object(status={"enum": ["UP", "FAILING", "AWAY", "WAITING"]}, last_error=nullable(TEXT)),
    ),
    "published",
    "publishing",
)
# A label that the gate holds back, or applications of it.
REFUSAL = optional(
    an_object(
        label=TEXT,
        state=TEXT,
        since=TIME,
        scope={"enum": ["application"]},
        applications=a_list(TEXT),
        failure=nullable(TEXT),
        findings_count=COUNT,
        findings=a_list(FINDING),
    ),
    "scope",
    "applications",
)
_GATE = a_list(REFUSAL)
_PINS = a_list(an_object(**PIN))
_ROLLOUTS = a_list(an_object(**SHORT))
_WORKER = optional(
    an_object(sources=a_list(_REPORT), gate=_GATE, pins=_PINS, rollouts=_ROLLOUTS, cluster=_CLUSTER),
    "gate",
    "pins",
    "rollouts",
    "cluster",
)
_SCHEMAS: dict[str, Schema] = {
    "Status": optional(
        an_object(
            sources=a_list(_REPORT),
            gate=_GATE,
            pins=_PINS,
            rollouts=_ROLLOUTS,
            cluster=_CLUSTER,
            worker=COUNT,
            workers={"type": "object", "additionalProperties": _WORKER},
            workers_silent=COUNT,
        ),
        "gate",
        "pins",
        "rollouts",
        "cluster",
        "worker",
        "workers",
        "workers_silent",
    ),
}
_OPERATIONS: Operations = {
    "/status": {
        "get": operation(
            "status",
            "The state of each source, and of the cluster if there is one; needs the right `admin`.",
            ok("the sources, and the cluster", {V1: ref("Status")}),
        )
    }
}


class Status(Endpoint):
    """`/status`, for tokens with `admin`: the state of each source.

    The response has the revision of a source, the time of its last successful read, its last error, its broken files, and
    the files that were published before they were complete.
    Workers read sources independently. The member `workers` has the answers of the other workers. They don't list the keys
    that broken files hold back. The member `gate` has the labels that the gate holds back, and is absent if there is none.
    The member `pins` has the keys that are pinned, and is absent if there is none.
    The member `rollouts` has the roll-outs that aren't done, and the changes that wait for theirs. It is absent if there is none.
    The member `cluster` is absent if there is no cluster.

    Args:
        pins: Returns the JSON objects of the pins.
        rollouts: Returns the short JSON objects of the roll-outs.
    """

    route: ClassVar = "/status"
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = False
    right: ClassVar = Right.ADMIN
    operations: ClassVar = _OPERATIONS
    schemas: ClassVar = _SCHEMAS

    def __init__(
        self,
        reports: Reports,
        files: Files,
        peers: Peers | None = None,
        cluster: ClusterReports | None = None,
        pins: PinReports = list,
        rollouts: RolloutReports = list,
    ) -> None:
        self._cluster = cluster
        self._pins = pins
        self._rollouts = rollouts
        self._reports = reports
        self._files = files
        self._peers = peers or Peers()
        # Other workers get an answer at once, without the keys that are held back. Finding these takes longer.
        self._peers.answer("status", lambda _: orjson.dumps(self._members(self._broken())).decode())

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        held = [held_back_members(each) | {"root": each.file.root} for each in await self._files.held_back()]
        said = self._members(held)
        if self._peers.are_there:
            others = await self._peers.ask("status")
            said["worker"] = self._peers.number
            said["workers"] = {number: orjson.loads(text) for number, text in sorted(others.texts.items())}
            said["workers_silent"] = others.missing
        return Response(body=orjson.dumps(said))

    def _broken(self) -> list[dict[str, Any]]:
        return [members(each) | {"held_back": None, "root": each.root} for each in self._files.broken.values()]

    def _members(self, broken: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        said: dict[str, Any] = {"sources": [_members(each, broken) for each in self._reports()]}
        if refusals := self._files.refusals:
            said["gate"] = [refusal_members(refusals[label]) for label in sorted(refusals)[:_SHOWN_LABELS]]
        if pins := self._pins():
            said["pins"] = pins
        if rollouts := self._rollouts():
            said["rollouts"] = rollouts
        if self._cluster is not None:
            said["cluster"] = _cluster_members(self._cluster())
        return said


def stale_for(reports: Reports) -> int | None:
    """The seconds since the stalest source was last read. If all sources can be read, None."""
    return max((int(each.stale_for) for each in reports() if each.is_failing), default=None)


def refusal_members(refusal: Refusal) -> dict[str, Any]:
    """Make the JSON object for a label that the gate holds back."""
    return refusal.members | {"since": rfc3339(refusal.since)}


def _members(report: SourceReport, broken: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    own = [each for each in broken if each["root"] == report.root]
    return {
        "name": report.name,
        "kind": report.kind,
        "revision": report.revision,
        "status": "STALE" if report.is_failing else "DEGRADED" if own else "UP",
        "last_success": _time(report.last_success),
        "last_error": report.last_error,
        "last_error_at": _time(report.last_error_at),
        "stale_for": round(report.stale_for, 3),
        "broken_files": len(own),
        "broken": [{name: each[name] for name in each if name != "root"} for each in own[:_SHOWN_FILES]],
        "unfinished_files": len(report.unfinished),
        "unfinished": [{"file": path, "reason": why} for path, why in sorted(report.unfinished.items())[:_SHOWN_FILES]],
    }


def _cluster_members(report: ClusterReport) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": report.name,
        "node": report.node,
        "store": {
            "status": "UP" if report.is_up else "AWAY",
            "since": rfc3339(report.since),
            "last_error": report.last_error,
            "last_error_at": _time(report.last_error_at),
        },
        "member": report.member,
        "stand_in": report.stands_in,
        "leader": report.leader,
        "members": [
            {
                "node": each.node,
                "state": each.state,
                "version": each.version,
                "address": each.address or None,
                "started": each.started,
                "away_for": None if each.away_for is None else round(each.away_for, 3),
            }
            for each in report.members
        ],
    }
    order = report.order
    said["order"] = {
        "epoch": order.epoch,
        "behind": order.behind[:_SHOWN_LABELS],
        "unordered": order.unordered[:_SHOWN_LABELS],
    }
    if (version := report.published) is not None:
        said["published"] = attrs.asdict(version) | {"at": rfc3339(version.at)}
    if (publishing := report.publishing) is not None:
        said["publishing"] = {"status": _publishing(report, publishing), "last_error": publishing.last_error}
    return said


def _publishing(report: ClusterReport, publishing: ClusterPublishing) -> str:
    """Return whether a node that publishes can do so. Without the store it can't, whatever its last attempt has said."""
    if publishing.is_failing:
        return "FAILING"
    if not report.is_up:
        return "AWAY"
    return "UP" if report.published is not None else "WAITING"


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)

"""`/api/v1/rollouts`: the changes that reach the named instances in steps. Tokens with `admin` see them and act on them, for keys that they may read.

A roll-out counts for this server with all its workers and, in a cluster, for all nodes. The keeper records each act in the
audit log.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import orjson

from ..audit import Actor
from ..auth import Right
from ..core import names
from ..core.errors import RemoteError
from ..core.model import Key
from ..core.text import rfc3339
from .endpoint import Endpoint, Request, Response
from .operation import in_query, media, ok, operation
from .pins import checked_reason
from .query import parse_query
from .schemas import (
    ANY_LABEL,
    COUNT,
    LABELS,
    PATHS,
    PROFILES,
    TEXT,
    TIME,
    VERSION,
    Operations,
    Schema,
    a_list,
    an_object,
    nullable,
    optional,
    ref,
)
from .spring.environment import V1

if TYPE_CHECKING:
    from ..rollouts.rollout import Beginning, Rollout

# The statuses as `rollouts.rollout.Status` has them. That module isn't loaded before the first roll-out.
_RUNNING, _DONE = "running", "done"
_ACTS = ("resume", "abort", "promote")
_KEY = ("application", "profile", "label")
_WANTED = ("act", *_KEY, "target", "reason")
_REASON_TEXT: Schema = {"type": "string", "maxLength": 500, "pattern": "^[!-~][ -~]*$"}
_COUNTED = ("named", "reached", "applied", "rejected", "silent", "gone", "unanswered")
_PERCENT: Schema = {"type": "integer", "minimum": 1, "maximum": 100}
ROLLOUT: dict[str, Schema] = {
    "application": TEXT,
    "profile": TEXT,
    "label": TEXT,
    # A change that waits for its record has no id, no times and no counts.
    "id": nullable(TEXT),
    "status": {"enum": ["waiting", "running", "halted", "aborted", "done"]},
    "stable": VERSION,
    "target": VERSION,
    "commit": nullable(TEXT),
    "author": nullable(TEXT),
    "steps": a_list(_PERCENT),
    "step": {"type": "integer", "minimum": 1},
    "share": _PERCENT,
    "applied": _PERCENT,
    "within": {"type": "number", "exclusiveMinimum": 0},
    "counts": nullable(an_object(**dict.fromkeys(_COUNTED, COUNT))),
    "reason": TEXT,
    "by": TEXT,
    "began": nullable(TIME),
    "stepped": nullable(TIME),
    "deadline": nullable(TIME),
    "problem": nullable(TEXT),
}
# The members that /status has.
SHORT: dict[str, Schema] = {
    name: ROLLOUT[name] for name in (*_KEY, "status", "stable", "target", "step", "share", "reason", "problem")
}
_SCHEMAS: dict[str, Schema] = {
    "Rollout": an_object(**ROLLOUT),
    "Rollouts": an_object(rollouts=a_list(ref("Rollout"))),
    "RolloutAct": optional(
        an_object(
            act={"enum": [*_ACTS]},
            application=PATHS,
            profile=PROFILES,
            # An empty label is the default label.
            label=ANY_LABEL,
            target=nullable(VERSION),
            reason=_REASON_TEXT,
        ),
        "target",
    ),
}
_POST = operation(
    "actOnRollout",
    "Resumes, aborts or promotes a roll-out; needs the right `admin`, and the right to read the key.",
    ok("the roll-out after the act", {V1: ref("Rollout")}),
    errors=(409, 413, 503),
)
_POST["requestBody"] = {"required": True, "content": media({V1: ref("RolloutAct")})}


class Counted(Protocol):
    """The instances of a step, by their answers."""

    @property
    def named(self) -> int:
        """All connected named instances of the key."""
        ...

    @property
    def reached(self) -> int:
        """Those that the step has reached."""
        ...

    @property
    def applied(self) -> int:
        """Those that have applied the target."""
        ...

    @property
    def rejected(self) -> int:
        """Those that have rejected it."""
        ...

    @property
    def waiting(self) -> int:
        """Those that haven't answered."""
        ...

    @property
    def gone(self) -> int:
        """Those that have left since the step began."""
        ...

    @property
    def unanswered(self) -> int:
        """The workers or nodes that haven't said their counts."""
        ...


class RollingOut(Protocol):
    """The part of the keeper of roll-outs that the endpoint needs."""

    @property
    def rollouts(self) -> "Sequence[Rollout]":
        """All records, also those of roll-outs that are done."""
        ...

    @property
    def waiting(self) -> "Sequence[Beginning]":
        """The changes that are held back until their roll-outs are recorded."""
        ...

    async def counts(self, key: Key) -> Counted | None:
        """The counts of the step of a running roll-out, or None."""
        ...

    def problem(self, key: Key) -> str | None:
        """Why a roll-out isn't recorded yet, or None."""
        ...

    async def act(self, act: str, key: Key, target: str | None, reason: str, actor: Actor) -> "Rollout":
        """Resume, abort or promote a roll-out. Raises RemoteError 404, 409 or 503."""
        ...


class HasDefault(Protocol):
    """Knows the default label."""

    @property
    def default_label(self) -> str | None:
        """The label of a request that names none; None until the first complete state is served."""
        ...


class Rollouts(Endpoint):
    """Lists the roll-outs of the keys that a token with `admin` may read, or shows one. POST acts on one.

    Args:
    """

    route: ClassVar = "/api/v1/rollouts"
    methods: ClassVar = ("GET", "HEAD", "POST")
    is_public: ClassVar = False
    right: ClassVar = Right.ADMIN
    acts: ClassVar = {"POST": "rollout"}
    operations: ClassVar[Operations] = {
        "/api/v1/rollouts": {
            "get": operation(
                "rollouts",
                "The roll-outs of the keys that the token may read; needs the right `admin`.",
                ok("the roll-outs", {V1: ref("Rollouts")}),
                [
                    in_query(
                        "all", "`true` also lists the keys whose last roll-out is done", {"enum": ["true", "false"]}
                    ),
                    in_query("application", "with `profile`: only the roll-out of this key", PATHS),
                    in_query("profile", "with `application`: only the roll-out of this key", PROFILES),
                    in_query("label", "the label of the key; without it, the default label", LABELS),
                ],
                errors=(503,),
            ),
            "post": _POST,
        }
    }
    schemas: ClassVar = _SCHEMAS

    def __init__(self, keeper: RollingOut, reader: HasDefault) -> None:
        self._keeper = keeper
        self._reader = reader

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        if request.method == "POST":
            return await self._act(request)
        asked = parse_query(request.query, ("all", *_KEY))
        if asked.get("all", "false") not in ("true", "false"):
            raise RemoteError("all must be true or false")
        if asked.keys() & {*_KEY}:
            waiting, rollouts = self._of_key(request, asked)
        else:
            may, shows_done = request.owner.may, asked.get("all") == "true"
            waiting = [each for each in self._keeper.waiting if may(Right.READ, each.key)]
            rollouts = [
                each
                for each in self._keeper.rollouts
                if (shows_done or each.status.value != _DONE) and may(Right.READ, each.key)
            ]
        said = [waiting_members(each, self._keeper.problem(each.key)) for each in waiting]
        said += [await self._counted(each) for each in rollouts]
        return Response(body=orjson.dumps({"rollouts": said}))

    def _of_key(self, request: Request, asked: Mapping[str, str]) -> "tuple[list[Beginning], list[Rollout]]":
        if "application" not in asked or "profile" not in asked:
            raise RemoteError("a key needs application and profile")
        key = self._key(request, asked["application"], asked["profile"], asked.get("label", ""))
        waiting = [each for each in self._keeper.waiting if each.key == key]
        rollouts = [each for each in self._keeper.rollouts if each.key == key]
        if not waiting and not rollouts:
            raise RemoteError("this key has no roll-out", 404)
        return waiting, rollouts

    async def _counted(self, rollout: "Rollout") -> dict[str, Any]:
        counts = await self._keeper.counts(rollout.key) if rollout.status.value == _RUNNING else None
        return rollout_members(rollout) | {"counts": None if counts is None else _count_members(counts)}

    async def _act(self, request: Request) -> Response:
        said = _wanted(request.body)
        key = self._key(request, said["application"], said["profile"], said["label"])
        reason = checked_reason(said["reason"])
        rollout = await self._keeper.act(said["act"], key, said["target"], reason, request.actor)
        return Response(body=orjson.dumps(await self._counted(rollout)))

    def _key(self, request: Request, application: str, profile: str, label: str) -> Key:
        """Parse a key, and check that the owner may read it. The right `admin` isn't limited to keys."""
        if self._reader.default_label is None:
            raise RemoteError("starting", 503, {"Retry-After": "1"})
        key = names.parse_key(application, profile, label or self._reader.default_label)
        request.owner.authorize(Right.READ, key)
        return key


def rollout_members(rollout: "Rollout") -> dict[str, Any]:
    """Make the JSON object of a roll-out, without its files and without counts."""
    is_running = rollout.status.value == _RUNNING
    return {
        **_change_members(rollout, rollout.step),
        "id": rollout.id,
        "status": rollout.status.value,
        "reason": rollout.reason,
        "by": rollout.by,
        "began": rfc3339(rollout.began),
        "stepped": rfc3339(rollout.stepped),
        "deadline": rfc3339(rollout.stepped + rollout.plan.within) if is_running else None,
        "problem": None,
    }


def waiting_members(change: "Beginning", problem: str | None) -> dict[str, Any]:
    """Make the JSON object of a change whose roll-out isn't recorded yet.

    Args:
        problem: Why it isn't recorded, or None if no attempt has failed.
    """
    return {
        **_change_members(change, 0),
        "id": None,
        "status": "waiting",
        "counts": None,
        "reason": "",
        "by": "",
        "began": None,
        "stepped": None,
        "deadline": None,
        "problem": problem,
    }


def short_members(keeper: RollingOut) -> list[dict[str, Any]]:
    """Make the JSON objects for /status: of all changes that wait, and of all roll-outs that aren't done."""
    said = [waiting_members(each, keeper.problem(each.key)) for each in keeper.waiting]
    said += [rollout_members(each) for each in keeper.rollouts if each.status.value != _DONE]
    return [{name: each[name] for name in SHORT} for each in said]


def _change_members(change: "Beginning | Rollout", step: int) -> dict[str, Any]:
    plan, key = change.plan, change.key
    return {
        "application": key.application,
        "profile": key.profile,
        "label": key.label,
        "stable": change.stable,
        "target": change.target,
        "commit": change.commit,
        "author": change.author,
        "steps": list(plan.steps),
        "step": step + 1,
        "share": plan.steps[step],
        "applied": plan.applied,
        "within": plan.within,
    }


def _count_members(counts: Counted) -> dict[str, int]:
    return {
        "named": counts.named,
        "reached": counts.reached,
        "applied": counts.applied,
        "rejected": counts.rejected,
        "silent": counts.waiting,
        "gone": counts.gone,
        "unanswered": counts.unanswered,
    }


def _wanted(body: bytes) -> dict[str, Any]:
    """Parse the body of a request. Raises RemoteError if it doesn't have these members. `target` may be missing."""
    try:
        said = orjson.loads(body)
    except ValueError:
        said = None
    if isinstance(said, dict):
        said = {"target": None} | said
    if not isinstance(said, dict) or said.keys() != {*_WANTED}:
        raise RemoteError(
            "the body must be a JSON object with act, application, profile, label and reason, and at most target in addition"
        )
    if not all(isinstance(said[name], str) for name in _WANTED if name != "target"):
        raise RemoteError("act, application, profile, label and reason must be texts")
    if said["act"] not in _ACTS:
        raise RemoteError("act must be resume, abort or promote")
    if said["target"] is not None and not isinstance(said["target"], str):
        raise RemoteError("target must be a version, or null")
    return said

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
    from ..rollouts.rollout import Rollout

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
    "id": TEXT,
    "status": {"enum": ["running", "halted", "aborted", "done"]},
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
    "began": TIME,
    "stepped": TIME,
    "deadline": nullable(TIME),
    "problem": nullable(TEXT),
}
_ANY_LABEL: Schema = {"anyOf": [LABELS, {"const": ""}]}
_SCHEMAS: dict[str, Schema] = {
    "Rollout": an_object(**ROLLOUT),
    "Rollouts": an_object(rollouts=a_list(ref("Rollout"))),
    "RolloutAct": optional(
        an_object(
            act={"enum": [*_ACTS]},
            application=PATHS,
            profile=PROFILES,
            # An empty label is the default label.
            label=_ANY_LABEL,
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
    acts: ClassVar = {"POST": "roll out"}
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
            found = [self._one(request, asked)]
        else:
            shows_done = asked.get("all") == "true"
            found = [
                each
                for each in self._keeper.rollouts
                if (shows_done or each.status.value != "done") and request.owner.may(Right.READ, each.key)
            ]
        return Response(body=orjson.dumps({"rollouts": [await rollout_members(each, self._keeper) for each in found]}))

    def _one(self, request: Request, asked: Mapping[str, str]) -> "Rollout":
        if "application" not in asked or "profile" not in asked:
            raise RemoteError("a key needs application and profile")
        key = self._key(request, asked["application"], asked["profile"], asked.get("label", ""))
        for each in self._keeper.rollouts:
            if each.key == key:
                return each
        raise RemoteError(f"there is no roll-out of {key}", 404)

    async def _act(self, request: Request) -> Response:
        said = _wanted(request.body)
        key = self._key(request, said["application"], said["profile"], said["label"])
        reason = checked_reason(said["reason"])
        rollout = await self._keeper.act(said["act"], key, said["target"], reason, request.actor)
        return Response(body=orjson.dumps(await rollout_members(rollout, self._keeper)))

    def _key(self, request: Request, application: str, profile: str, label: str) -> Key:
        """Parse a key, and check that the owner may read it. The right `admin` isn't limited to keys."""
        if self._reader.default_label is None:
            raise RemoteError("starting", 503, {"Retry-After": "1"})
        key = names.parse_key(application, profile, label or self._reader.default_label)
        request.owner.authorize(Right.READ, key)
        return key


async def rollout_members(rollout: "Rollout", keeper: RollingOut) -> dict[str, Any]:
    """Make the JSON object of a roll-out, without its files."""
    plan, key = rollout.plan, rollout.key
    is_running = rollout.status.value == "running"
    counts = await keeper.counts(key) if is_running else None
    return {
        "application": key.application,
        "profile": key.profile,
        "label": key.label,
        "id": rollout.id,
        "status": rollout.status.value,
        "stable": rollout.stable,
        "target": rollout.target,
        "commit": rollout.commit,
        "author": rollout.author,
        "steps": list(plan.steps),
        "step": rollout.step + 1,
        "share": plan.steps[rollout.step],
        "applied": plan.applied,
        "within": plan.within,
        "counts": None if counts is None else _count_members(counts),
        "reason": rollout.reason,
        "by": rollout.by,
        "began": rfc3339(rollout.began),
        "stepped": rfc3339(rollout.stepped),
        "deadline": rfc3339(rollout.stepped + plan.within) if is_running else None,
        "problem": keeper.problem(key),
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
        raise RemoteError(f"the body must be a JSON object with {', '.join(_WANTED[:-1])} and {_WANTED[-1]}")
    if not all(isinstance(said[name], str) for name in _WANTED if name != "target"):
        raise RemoteError("act, application, profile, label and reason must be texts")
    if said["act"] not in _ACTS:
        raise RemoteError("act must be resume, abort or promote")
    if said["target"] is not None and not isinstance(said["target"], str):
        raise RemoteError("target must be a version, or null")
    return said

"""`/api/v1/rollback`: plans a roll-back of a key, or carries it out, for tokens with `admin`.

A plan shows the files that one new commit would restore, the changes of the key's document, and the other keys that change.
A roll-back needs the newest commit that a plan has shown. So nobody pushes a commit on top of others that nobody has seen.
The audit log has each attempt, but no plans.
"""

import re
from typing import Any, ClassVar, Protocol

import attrs
import orjson
import trio

from ..aio import threads
from ..audit import Audit, Outcome
from ..auth import Right
from ..core import names
from ..core.diff import steps
from ..core.errors import FormatError, RemoteError, ResolveError
from ..core.model import Key, Names
from ..core.pushes import REMOTE_SAYS
from ..observe.metrics import Metrics
from ..pipeline.comparison import members
from ..pipeline.rollback.plan import Plan
from ..pipeline.rollback.rollback import Begun, Wanted
from ..process.peers import Peers
from .endpoint import Endpoint, Request, Response
from .key_queries import without_files
from .operation import media, ok, operation
from .schemas import (
    COUNT,
    FINDING,
    LABELS,
    PATHS,
    PROFILES,
    STEPS,
    TEXT,
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

ACT = "rollback"
# The question to the other workers: which keys with a label their clients use.
_QUESTION = "unlisted keys"
_MOST_REASON = 500
_TO, _COMMIT = re.compile(r"[0-9a-f]{7,64}"), re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_DEFAULTS = {"label": "", "reason": "", "shared": False, "dry_run": False, "expected": None}
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("application", "profile", "label", "to", "reason"), (str,)),
    **dict.fromkeys(("shared", "dry_run"), (bool,)),
    "expected": (str, type(None)),
}

_SCHEMAS: dict[str, Schema] = {
    "RollBack": optional(
        an_object(
            application=PATHS,
            profile=PROFILES,
            label={
                "type": "string",
                "pattern": f"^(?!.*,){LABELS['pattern'][1:]}",
                "description": "the default label if it is missing",
            },
            to={"type": "string", "pattern": f"^{_TO.pattern}$"},
            # Only the reasons of common characters. Other printable characters are possible.
            reason={"type": "string", "maxLength": _MOST_REASON, "pattern": "^[!-~][ -~]*$"},
            shared={"type": "boolean", "default": False},
            dry_run={"type": "boolean", "default": False},
            expected=nullable({"type": "string", "pattern": f"^({_COMMIT.pattern})$"}),
        ),
        *_DEFAULTS,
    )
    | {
        "anyOf": [
            {"required": ["dry_run"], "properties": {"dry_run": {"const": True}}},
            {"required": ["reason", "expected"], "properties": {"expected": {"type": "string"}}},
        ]
    },
    "RollBackPlan": an_object(
        application=TEXT,
        profile=TEXT,
        label=TEXT,
        head=TEXT,
        target=an_object(commit=nullable(TEXT), version=VERSION),
        version=nullable(VERSION),
        files=a_list(an_object(path=TEXT, act={"enum": ["change", "create", "delete"]})),
        changes=STEPS,
        others=a_list(an_object(application=TEXT, profile=TEXT, label=TEXT)),
        others_count=COUNT,
        pushable={"type": "boolean"},
        refused=nullable(an_object(failure=nullable(TEXT), findings_count=COUNT, findings=a_list(FINDING))),
        commit=nullable(TEXT),
    ),
}
_POST = operation(
    "rollBack",
    "Restores the files of an earlier commit for one key by a new commit, and pushes it; needs the right `admin`, and the "
    "right to read the key.",
    ok("the plan and, unless it is a dry run, the new commit", {V1: ref("RollBackPlan")}),
    errors=(409, 413, 503),
)
_POST["requestBody"] = {"required": True, "content": media({V1: ref("RollBack")})}


class RollsBack(Protocol):
    """The part of the pipeline that `RollBack` needs."""

    async def plan(self, wanted: Wanted) -> Plan:
        """Plan a roll-back, and change nothing."""
        ...

    async def carry_out(self, wanted: Wanted, begun: Begun) -> tuple[Plan, str]:
        """Make a commit, call `begun`, and push it. Return the plan, and the commit."""
        ...

    def unlisted(self, label: str) -> list[Key]:
        """The keys with a label that clients of this worker use and that aren't listed."""
        ...


class Labels(Protocol):
    """The part of the reader that `RollBack` needs."""

    @property
    def default_label(self) -> str | None:
        """The label of a request that names none; None until the first complete state is served."""
        ...

    def names_in(self, label: str) -> Names:
        """The applications and the profiles that have files of their own under a label."""
        ...


@attrs.frozen
class _Order:
    """The body of a request."""

    wanted: Wanted
    is_dry_run: bool


class RollBack(Endpoint):
    """`POST /api/v1/rollback`.

    Args:
        rollbacks: Plans roll-backs, and carries them out.
        labels: Has the default label.
        peers: The other workers, whose clients may use other keys.
    """

    route: ClassVar = "/api/v1/rollback"
    methods: ClassVar = ("POST",)
    is_public: ClassVar = False
    right: ClassVar = Right.ADMIN
    acts: ClassVar = {"POST": ACT}
    operations: ClassVar[Operations] = {"/api/v1/rollback": {"post": _POST}}
    schemas: ClassVar = _SCHEMAS

    def __init__(
        self, rollbacks: RollsBack, labels: Labels, audit: Audit, metrics: Metrics, peers: Peers | None = None
    ) -> None:
        self._peers = peers or Peers()
        self._peers.answer(_QUESTION, self._unlisted)
        self._rollbacks = rollbacks
        self._labels = labels
        self._audit = audit
        self._metrics = metrics
        # The processor limits this work, so more threads wouldn't make it faster.
        self._threads = trio.CapacityLimiter(1)

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        order = self._order(request)
        # The answer shows values of the key.
        request.owner.authorize(Right.READ, order.wanted.key)
        wanted = attrs.evolve(order.wanted, in_use=await self._used_elsewhere(order.wanted.key.label))
        if order.is_dry_run:
            plan, commit = await self._rollbacks.plan(wanted), None
        else:
            plan, commit = await self._carried_out(request, wanted)
        body = await threads.run_sync(_encoded, plan, commit, abandon_on_cancel=True, limiter=self._threads)
        # The name of the application may be misspelt. If the commit makes files, the application may have had its own before.
        headers = {} if plan.created else without_files(wanted.key, self._labels.names_in)
        return Response(body=body, headers=headers)

    async def _used_elsewhere(self, label: str) -> tuple[Key, ...]:
        """Return the keys that clients of other workers use and that aren't listed. A worker that is silent has none."""
        answers = await self._peers.ask(_QUESTION, label)
        return tuple(Key(*key) for text in answers.texts.values() if text for key in orjson.loads(text))

    def _unlisted(self, label: str) -> str:
        keys = self._rollbacks.unlisted(label)
        return orjson.dumps([[key.application, key.profile, key.label] for key in keys]).decode()

    async def _carried_out(self, request: Request, wanted: Wanted) -> tuple[Plan, str]:
        """Carry a roll-back out, and record that the push begins, and how the roll-back has ended."""

        async def begun(plan: Plan, commit: str) -> None:
            # If the server is killed during the push, this entry stays.
            await self._record(request, wanted, Outcome.BEGUN, **_details(plan, commit))

        try:
            plan, commit = await self._rollbacks.carry_out(wanted, begun)
        except (FormatError, ResolveError) as error:
            # The text may name files, which the audit log may show.
            await self._record(request, wanted, Outcome.FAILED, problem=str(error))
            raise
        except RemoteError as error:
            outcome = Outcome.FAILED if error.status >= 500 else Outcome.REFUSED
            # The words of a hook may quote a value.
            problem = error.reason.partition(REMOTE_SAYS)[0]
            await self._record(request, wanted, outcome, problem=problem)
            raise
        except BaseException:
            # The client has gone, or the request has taken too long. A nursery on the way raises that as a group. The entry
            # is in memory and in the log at once.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
                await self._record(request, wanted, Outcome.FAILED, problem="the request has ended before its outcome")
            raise
        await self._record(request, wanted, Outcome.DONE, **_details(plan, commit))
        return plan, commit

    async def _record(self, request: Request, wanted: Wanted, outcome: Outcome, **details: str) -> None:
        if outcome is not Outcome.BEGUN:
            self._metrics.rolled_back(outcome.value)
        target = details.pop("target", wanted.to)
        shared = "yes" if wanted.shared else "no"
        await self._audit.record(
            ACT, request.actor, str(wanted.key), outcome, wanted.reason, to=target, shared=shared, **details
        )

    def _order(self, request: Request) -> _Order:
        """Parse the body.

        Raises:
            RemoteError: It isn't valid, or the server is starting.
        """
        try:
            said = orjson.loads(request.body)
        except ValueError:
            said = None
        if not isinstance(said, dict) or not _TYPES.keys() - _DEFAULTS.keys() <= said.keys() <= _TYPES.keys():
            raise RemoteError(
                "the body must be a JSON object with application, profile and to, and at most "
                f"{', '.join(_DEFAULTS)} in addition"
            )
        for name, value in said.items():
            if not isinstance(value, _TYPES[name]):
                raise RemoteError(f"{name} has the wrong type")
        values: dict[str, Any] = {**_DEFAULTS, **said}
        if not _TO.fullmatch(values["to"]):
            raise RemoteError("to is a version of 16 hex digits, or 7 to 64 hex digits of a commit")
        if not values["dry_run"]:
            _check_order(values["reason"], values["expected"])
        label = values["label"] or self._labels.default_label
        if label is None:
            raise RemoteError("starting", 503, {"Retry-After": "1"})
        key = Key(names.application(values["application"]), names.profile(values["profile"]), names.labels(label))
        wanted = Wanted(
            key, values["to"], values["shared"], request.actor.name, values["reason"], values["expected"] or ""
        )
        return _Order(wanted, values["dry_run"])


def _check_order(reason: str, expected: str | None) -> None:
    if not reason.strip() or len(reason) > _MOST_REASON or not reason.isprintable():
        raise RemoteError(f"reason must have 1 to {_MOST_REASON} printable characters, on one line")
    if expected is None or not _COMMIT.fullmatch(expected):
        raise RemoteError("expected must be the head of a plan; ask for one with dry_run")


def _details(plan: Plan, commit: str) -> dict[str, str]:
    files = ", ".join(each.path for each in plan.files)
    return {"commit": commit, "target": plan.target, "files": files}


def _encoded(plan: Plan, commit: str | None) -> bytes:
    """Compare the documents and encode the plan. This runs in a thread, so it uses only immutable objects."""
    old = orjson.loads(plan.old.body) if plan.old is not None else {}
    acts = {
        each.path: "create" if each.path in plan.created else "delete" if each.content is None else "change"
        for each in plan.files
    }
    return orjson.dumps(
        {
            **_key(plan.key),
            "head": plan.branch.head,
            "target": {"commit": plan.target, "version": plan.new.version},
            "version": plan.old.version if plan.old is not None else None,
            "files": [{"path": path, "act": act} for path, act in acts.items()],
            "changes": [members(step) for step in steps(old, orjson.loads(plan.new.body))],
            "others": [_key(each) for each in plan.others],
            "others_count": plan.others_count,
            "pushable": plan.branch.pushes,
            "refused": _refused(plan),
            "commit": commit,
        }
    )


def _refused(plan: Plan) -> dict[str, Any] | None:
    verdict = plan.refused
    if verdict is None:
        return None
    findings = [each.members for each in verdict.findings]
    return {"failure": verdict.failure, "findings_count": verdict.count, "findings": findings}


def _key(key: Key) -> dict[str, str]:
    return {"application": key.application, "profile": key.profile, "label": key.label}

"""`/api/v1/gate`: the labels that the gate holds back, and what it lets through, for tokens with `admin`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import attrs
import orjson

from ..audit import Audit, Outcome
from ..auth import Right
from ..core.errors import RemoteError
from ..gate.finding import Refusal
from ..process.peers import Peers
from .endpoint import Endpoint, Request, Response
from .operation import media, ok, operation
from .schemas import COUNT, FINDING, TEXT, Operations, Schema, a_list, an_object, nullable, ref
from .spring.environment import V1
from .status import REFUSAL, refusal_members

if TYPE_CHECKING:
    from ..gate.decision import Person
    from ..gate.gate import Verdict

# The longest reason, in characters. It stands in the log.
_REASON = 500
_SCHEMAS: dict[str, Schema] = {
    "Gate": an_object(
        held_back=a_list(REFUSAL),
        standing=a_list(an_object(label=TEXT, failure=nullable(TEXT), findings_count=COUNT, findings=a_list(FINDING))),
    ),
    "GateException": an_object(
        label=TEXT,
        state=TEXT,
        # Only the reasons of common characters. Other printable characters are possible.
        reason={"type": "string", "maxLength": _REASON, "pattern": "^[!-~][ -~]*$"},
    ),
}
_POST = operation(
    "letThrough",
    "Publishes a state of a label that the gate holds back; needs the right `admin`.",
    {"204": {"description": "the state is published"}},
    errors=(409, 413, 503),
)
_POST["requestBody"] = {"required": True, "content": media({V1: ref("GateException")})}
_OPERATIONS: Operations = {
    "/api/v1/gate": {
        "get": operation(
            "gate",
            "The labels that the gate holds back, and what breaks its rules although it is served; needs the right `admin`.",
            ok("the labels and the findings", {V1: ref("Gate")}),
            errors=(503,),
        ),
        "post": _POST,
    }
}


class Refusals(Protocol):
    """The part of the reader that `GateEndpoint` needs."""

    @property
    def default_label(self) -> str | None:
        """The default label, or None before the first state."""
        ...

    @property
    def refusals(self) -> Mapping[str, Refusal]:
        """The labels that the gate holds back."""
        ...


class Publications(Protocol):
    """The part of the publisher that `GateEndpoint` needs."""

    @property
    def standing(self) -> "Mapping[str, Verdict]":
        """By label, the rules that served keys break."""
        ...

    async def let_through(self, label: str, state: str, by: "Person", reason: str) -> None:
        """Publish a state of a label that the gate holds back."""
        ...

    def let_through_soon(self, label: str, state: str, by: "Person", reason: str) -> None:
        """Publish such a state soon, if the gate holds it back here."""
        ...


class GateEndpoint(Endpoint):
    """`/api/v1/gate`. POST lets one state through. The other workers do the same within seconds."""

    route: ClassVar = "/api/v1/gate"
    methods: ClassVar = ("GET", "HEAD", "POST")
    is_public: ClassVar = False
    right: ClassVar = Right.ADMIN
    acts: ClassVar = {"POST": "let through"}
    operations: ClassVar = _OPERATIONS
    schemas: ClassVar = _SCHEMAS

    def __init__(self, reader: Refusals, publications: Publications, audit: Audit, peers: Peers | None = None) -> None:
        self._audit = audit
        self._reader = reader
        self._publications = publications
        self._peers = peers or Peers()
        self._peers.answer("let through", self._hear)

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        if request.method == "POST":
            label, state, reason = _exception(request.body)
            self._check_started()
            # A server without a gate doesn't load these modules.
            from ..gate.decision import Person
            from .gate_decisions import LET_THROUGH

            actor = request.actor
            by = Person(actor.name, actor.kind, actor.peer)
            try:
                await self._publications.let_through(label, state, by, reason)
            except RemoteError as error:
                await self._audit.record(LET_THROUGH, actor, label, Outcome.REFUSED, error.reason, state=state)
                raise
            self._peers.tell("let through", orjson.dumps([label, state, [*attrs.astuple(by)], reason]).decode())
            # The publisher has recorded the exception.
            await self._audit.flush()
            return Response(204, content_type=None)
        self._check_started()
        refusals, standing = self._reader.refusals, self._publications.standing
        said = {
            "held_back": [refusal_members(refusals[label]) for label in sorted(refusals)],
            "standing": [_standing_members(label, standing[label]) for label in sorted(standing)],
        }
        return Response(body=orjson.dumps(said))

    def _check_started(self) -> None:
        """Before the first state, nothing is known about labels.

        Raises:
            RemoteError: The server is starting.
        """
        if self._reader.default_label is None:
            raise RemoteError("starting", 503, {"Retry-After": "1"})

    def _hear(self, text: str) -> str:
        from ..gate.decision import Person

        label, state, by, reason = orjson.loads(text)
        self._publications.let_through_soon(label, state, Person(*by), reason)
        return ""


def _standing_members(label: str, verdict: "Verdict") -> dict[str, Any]:
    return {
        "label": label,
        "failure": verdict.failure,
        "findings_count": verdict.count,
        "findings": [each.members for each in verdict.findings],
    }


def _exception(body: bytes) -> tuple[str, str, str]:
    """Return the label, the state and the reason of a request.

    Raises:
        RemoteError: The body isn't a JSON object with these three texts, and no others.
    """
    try:
        said = orjson.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict) or said.keys() != {"label", "state", "reason"}:
        raise RemoteError("the body must be a JSON object with label, state and reason")
    if not all(isinstance(each, str) for each in said.values()):
        raise RemoteError("label, state and reason must be texts")
    reason = said["reason"]
    if not reason.strip() or len(reason) > _REASON or not reason.isprintable():
        raise RemoteError(f"reason must have 1 to {_REASON} printable characters, on one line")
    return said["label"], said["state"], reason

"""`/api/v1/pins`: the keys that are frozen at a document. Tokens with `admin` put pins and lift them, for keys that they may read.

A pin counts for this server with all its workers and, in a cluster, for all nodes.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import orjson

from ..audit import Actor
from ..auth import Right
from ..core import names
from ..core.errors import RemoteError
from ..core.model import Files, Key, Names
from .endpoint import Endpoint, Request, Response
from .key_queries import key_of, without_files
from .operation import APPLICATION, KEY_LABEL, KEY_PROFILES, in_query, media, ok, operation
from .query import parse_query
from .schemas import (
    ANY_LABEL,
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
    ref,
)
from .spring.environment import V1

if TYPE_CHECKING:
    from ..core.term import Term
    from ..pins.pin import Pin
    from ..pipeline.pin_targets import Target

# The longest reason, in characters. It stands in the log.
_REASON = 500
# As `pins.pin.MOST_SECONDS`. That module isn't loaded before the first pin.
MOST_SECONDS = 7_776_000
_WANTED = ("application", "profile", "label", "to", "reason", "seconds")
# Only the reasons of common characters. Other printable characters are possible.
_REASON_TEXT: Schema = {"type": "string", "maxLength": _REASON, "pattern": "^[!-~][ -~]*$"}
PIN: dict[str, Schema] = {
    "application": TEXT,
    "profile": TEXT,
    "label": TEXT,
    "version": VERSION,
    "commit": nullable(TEXT),
    "reason": TEXT,
    "by": TEXT,
    "since": TIME,
    "until": nullable(TIME),
    "served": {"type": "boolean"},
}
_SCHEMAS: dict[str, Schema] = {
    "Pin": an_object(**PIN),
    "Pins": an_object(pins=a_list(ref("Pin"))),
    "NewPin": an_object(
        application=PATHS,
        profile=PROFILES,
        label=ANY_LABEL,
        to={"type": "string", "pattern": "^([0-9a-f]{7,64})?$"},
        reason=_REASON_TEXT,
        seconds=nullable({"type": "integer", "minimum": 1, "maximum": MOST_SECONDS}),
    ),
}
_POST = operation(
    "pin",
    "Freezes a key at a document; needs the right `admin`, and the right to read the key.",
    {"201": {"description": "the key is pinned", "content": media({V1: ref("Pin")})}},
    errors=(409, 413, 503),
)
_POST["requestBody"] = {"required": True, "content": media({V1: ref("NewPin")})}


def _lift_operation(name: str, parameters: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return operation(
        name,
        "Lifts the pin of a key; needs the right `admin`, and the right to read the key.",
        {"204": {"description": "the key is served from its sources"}},
        [*parameters, in_query("reason", "why the pin is lifted; it stands in the audit log", _REASON_TEXT)],
        errors=(503,),
    )


class Pinning(Protocol):
    """The part of the keeper of pins that the endpoints need."""

    @property
    def pins(self) -> "Sequence[Pin]":
        """The pins that are in force."""
        ...

    async def refuse_taken(self, key: Key, reason: str, actor: Actor) -> None:
        """Refuse a pin of a key that is pinned."""
        ...

    async def record_refused(self, key: Key, reason: str, actor: Actor, problem: RemoteError) -> None:
        """Record a pin that isn't put, because its files can't be found."""
        ...

    async def put(
        self,
        key: Key,
        version: str,
        commit: str | None,
        labels: tuple[tuple[Files, ...], ...],
        reason: str,
        seconds: int | None,
        actor: Actor,
    ) -> "Pin":
        """Pin a key."""
        ...

    async def lift(self, key: Key, reason: str, actor: Actor) -> None:
        """Lift the pin of a key."""
        ...


class Pinnable(Protocol):
    """The part of the reader that the endpoints need."""

    @property
    def default_label(self) -> str | None:
        """The label of a request that names none; None until the first complete state is served."""
        ...

    def term(self, key: Key) -> "Term | None":
        """The term of the pin that serves a key, or None if none does."""
        ...

    async def pin_target(self, key: Key, to: str) -> "Target":
        """Find the files for a pin."""
        ...

    def names_in(self, label: str) -> Names:
        """The applications and the profiles that have files of their own under a label."""
        ...


class Pins(Endpoint):
    """Lists the pins of the keys that a token may read, or all pins for tokens with `admin`. POST puts a pin.

    Args:
    """

    route: ClassVar = "/api/v1/pins"
    methods: ClassVar = ("GET", "HEAD", "POST")
    is_public: ClassVar = False
    acts: ClassVar = {"POST": "pin"}
    operations: ClassVar[Operations] = {
        "/api/v1/pins": {
            "get": operation(
                "pins",
                "The keys that are pinned, of those that the token may read; with the right `admin`, all of them.",
                ok("the pins", {V1: ref("Pins")}),
            ),
            "post": _POST,
        }
    }
    schemas: ClassVar = _SCHEMAS

    def __init__(self, keeper: Pinning, reader: Pinnable) -> None:
        self._keeper = keeper
        self._reader = reader

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        if request.method == "POST":
            return await self._put(request)
        owner = request.owner
        # The audit log and /status show all pins to administrators, too.
        sees_all = owner.may(Right.ADMIN, None)
        pins = [each for each in self._keeper.pins if sees_all or owner.may(Right.READ, each.key)]
        said = {"pins": [pin_members(each, self._reader.term) for each in pins]}
        return Response(body=orjson.dumps(said))

    async def _put(self, request: Request) -> Response:
        request.owner.authorize(Right.ADMIN, None)
        said = _wanted(request.body)
        if self._reader.default_label is None:
            raise RemoteError("starting", 503, {"Retry-After": "1"})
        label = said["label"] or self._reader.default_label
        key = names.parse_key(said["application"], said["profile"], label)
        # The right `admin` isn't limited to keys. The right to read is.
        request.owner.authorize(Right.READ, key)
        reason, seconds = checked_reason(said["reason"]), _seconds(said["seconds"])
        await self._keeper.refuse_taken(key, reason, request.actor)
        try:
            target = await self._reader.pin_target(key, said["to"])
        except RemoteError as error:
            await self._keeper.record_refused(key, reason, request.actor, error)
            raise
        files = target.version, target.commit, target.labels
        pin = await self._keeper.put(key, *files, reason, seconds, request.actor)
        # The name of the application may be misspelt.
        headers = without_files(key, self._reader.names_in)
        return Response(201, orjson.dumps(pin_members(pin, self._reader.term)), headers=headers)


class LiftedPin(Endpoint):
    """Lifts a pin, for tokens with `admin` that may read the key."""

    route: ClassVar = "/api/v1/pins/{application}/{profiles}"
    methods: ClassVar = ("DELETE",)
    is_public: ClassVar = False
    right: ClassVar = Right.ADMIN
    acts: ClassVar = {"DELETE": "lift pin"}
    paths: ClassVar = ("/api/v1/pins/",)
    operations: ClassVar[Operations] = {
        "/api/v1/pins/{application}/{profiles}": {"delete": _lift_operation("liftPin", [APPLICATION, KEY_PROFILES])},
        "/api/v1/pins/{application}/{profiles}/{label}": {
            "delete": _lift_operation("liftPinOfLabel", [APPLICATION, KEY_PROFILES, KEY_LABEL])
        },
    }

    def __init__(self, keeper: Pinning, reader: Pinnable) -> None:
        self._keeper = keeper
        self._reader = reader

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        key = key_of(request, self._reader)
        reason = parse_query(request.query, ("reason",)).get("reason", "")
        await self._keeper.lift(key, checked_reason(reason) if reason else "", request.actor)
        return Response(204, content_type=None)


def pin_members(pin: "Pin", term: "Callable[[Key], Term | None]") -> dict[str, Any]:
    """Make the JSON object of a pin.

    Args:
        term: Returns the term of the pin that serves a key. If a label of the key is gone, or if the files can't be used, the
            pin doesn't serve the key.
    """
    return pin.members | {"served": term(pin.key) == pin.term}


def checked_reason(reason: str) -> str:
    """Return a reason. Raises RemoteError if it isn't one line of limited length."""
    if not reason.strip() or len(reason) > _REASON or not reason.isprintable():
        raise RemoteError(f"reason must have 1 to {_REASON} printable characters, on one line")
    return reason


def _wanted(body: bytes) -> dict[str, Any]:
    """Parse the body of a request. Raises RemoteError if it doesn't have exactly these members."""
    try:
        said = orjson.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict) or said.keys() != {*_WANTED}:
        raise RemoteError(f"the body must be a JSON object with {', '.join(_WANTED[:-1])} and {_WANTED[-1]}")
    if not all(isinstance(said[name], str) for name in _WANTED[:-1]):
        raise RemoteError(f"{', '.join(_WANTED[:-2])} and {_WANTED[-2]} must be texts")
    return said


def _seconds(found: Any) -> int | None:
    if found is None:
        return None
    # In JSON, 60.0 is a whole number, too.
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    if is_number and found == found // 1 and 1 <= found <= MOST_SECONDS:
        return int(found)
    raise RemoteError(f"seconds must be a whole number from 1 to {MOST_SECONDS}, or null")

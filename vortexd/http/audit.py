"""`/api/v1/audit`: lists who has changed something at this server, when, from where, and what, the newest first.

The entries come from the file that all workers share. If a worker couldn't write an entry, it answers with that entry.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import orjson

from ..audit import Audit, Entry, Outcome
from ..audit.entry import parse_entry
from ..auth import Right
from ..core.errors import RemoteError
from ..process.peers import Peers
from .endpoint import Endpoint, Request, Response
from .operation import in_query, ok, operation
from .query import parse_query
from .schemas import COUNT, TEXT, TIME, Operations, Schema, a_list, an_object, nullable, ref
from .spring.environment import V1

DEFAULT_LIMIT, MOST = 100, 1_000
_FILTERS = ("act", "who", "target")
_PARAMETERS = (*_FILTERS, "limit", "after")
_SCHEMAS: dict[str, Schema] = {
    "Audit": an_object(
        entries=a_list(
            an_object(
                id=TEXT,
                time=TIME,
                who=TEXT,
                kind={"enum": ["token", "jwt", "certificate", "anonymous", "system"]},
                **{"from": TEXT},
                act=TEXT,
                target=TEXT,
                outcome={"enum": [each.value for each in Outcome]},
                reason=TEXT,
                details={"type": "object", "additionalProperties": TEXT},
                worker=COUNT,
            )
        ),
        next=nullable(TEXT),
        stored={"type": "boolean"},
        complete={"type": "boolean"},
        workers_silent=COUNT,
    ),
}
_OPERATIONS: Operations = {
    "/api/v1/audit": {
        "get": operation(
            "audit",
            "Who has changed something at this server, when, from where, and what; needs the right `admin`.",
            ok("a page", {V1: ref("Audit")}),
            [
                *(in_query(name, f"only entries with this `{name}`") for name in _FILTERS),
                in_query("limit", "the most entries on a page", {"type": "integer", "minimum": 1, "maximum": MOST}),
                in_query("after", "the value of `next` on the page before"),
            ],
        )
    }
}


class AuditLog(Endpoint):
    """Lists the entries of the audit log in pages, for tokens with `admin`.

    Args:
        audit: The audit log of this worker.
        peers: The other workers.
    """

    route: ClassVar = "/api/v1/audit"
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = False
    right: ClassVar = Right.ADMIN
    operations: ClassVar = _OPERATIONS
    schemas: ClassVar = _SCHEMAS

    def __init__(self, audit: Audit, peers: Peers | None = None) -> None:
        self._audit = audit
        self._peers = peers or Peers()
        self._peers.answer("audit", lambda _: b"".join(each.line for each in audit.unwritten).decode())

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        parameters = parse_query(request.query, _PARAMETERS)
        limit = _limit(parameters.get("limit", ""))
        # Ask first: an entry that is written meanwhile is in the file then.
        others = await self._peers.ask("audit")
        own, is_complete = await self._audit.entries()
        found = [*own, *_entries(others.texts)]
        # The sort is stable, so entries of one moment stay in their order.
        newest_first = sorted({each.id: each for each in found}.values(), key=lambda each: each.time)[::-1]
        entries = _older(newest_first, parameters.get("after", ""))
        wanted = {name: parameters[name] for name in _FILTERS if parameters.get(name)}
        entries = [each for each in entries if _matches(each, wanted)]
        body = {
            "entries": [each.members for each in entries[:limit]],
            "next": entries[limit - 1].id if len(entries) > limit else None,
            "stored": self._audit.is_stored,
            "complete": is_complete,
            "workers_silent": others.missing,
        }
        return Response(body=orjson.dumps(body))


def _limit(text: str) -> int:
    text = text or str(DEFAULT_LIMIT)
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST):
        raise RemoteError(f"limit is a whole number from 1 to {MOST}")
    return int(text)


def _entries(texts: Mapping[str, str]) -> list[Entry]:
    """Return the entries of other workers."""
    lines = (line for text in texts.values() for line in text.split("\n"))
    return [entry for entry in map(parse_entry, lines) if entry is not None]


def _older(entries: Sequence[Entry], after: str) -> Sequence[Entry]:
    """Return the entries after the one with an id."""
    if not after:
        return entries
    number = next((number for number, each in enumerate(entries) if each.id == after), None)
    if number is None:
        raise RemoteError("there is no such entry any more; begin again without after", 404)
    return entries[number + 1 :]


def _matches(entry: Entry, wanted: Mapping[str, str]) -> bool:
    members: Mapping[str, Any] = entry.members
    return all(members[name] == text for name, text in wanted.items())

"""`/api/v1/history/{application}/{profiles}[/{label}]?key=&limit=&after=`: the commits that changed a configuration.

Each commit has its author, its time, the first line of its message, and the changes of the configuration's document in the
same form as `/api/v1/diff`. If several sources or labels serve the configuration, each commit names its own. A page is
bounded: it leaves out the changes of a commit that are too many or too large.
"""

from typing import Any, ClassVar, Protocol

import orjson
import trio

from ..aio import threads
from ..core.diff import steps
from ..core.errors import RemoteError
from ..core.flat_key import steps_about
from ..core.model import Key
from ..pipeline.comparison import members
from ..pipeline.key_history import HistoryPage, KeyChange
from ..pipeline.key_layers import Kind
from ..pipeline.timeline import CURSOR
from .endpoint import JSON, Endpoint, Request, Response
from .key_queries import WITHOUT_FILES, Labelled, condition_headers, key_of, validated, without_files
from .operation import CONDITIONS, IF_NONE_MATCH, in_query, ok, operation, with_and_without_label
from .query import parse_query
from .schemas import (
    COUNT,
    KEY,
    STEPS,
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

DEFAULT_LIMIT, MOST = 20, 100
# The limits for the changes of one commit.
MOST_ROWS = 200
MOST_ROW_BYTES = 65_536
_MOST_PART = 1_024
_AFTER = f"^({CURSOR})?$"


class Historian(Labelled, Protocol):
    """The part of the pipeline that `History` needs."""

    async def changes(self, key: Key, part: str, limit: int, after: str, client: str) -> HistoryPage:
        """A page of the commits that changed a key, or one flat key of it, the newest first."""
        ...


_SCHEMAS: dict[str, Schema] = {
    "History": an_object(
        **KEY,
        commits=a_list(
            an_object(
                commit=TEXT,
                author=TEXT,
                time=TIME,
                message=TEXT,
                old_version=VERSION,
                version=VERSION,
                source=TEXT,
                label=TEXT,
                changes=STEPS,
                left_out=COUNT,
            )
        ),
        searched=COUNT,
        next=nullable(TEXT),
        complete={"type": "boolean"},
        layers=a_list(an_object(source=TEXT, label=TEXT, kind={"enum": [each.value for each in Kind]}, count=COUNT)),
    ),
}


def _operation(name: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    own = [
        in_query(
            "key",
            "only the commits that changed this flat key, or a key below it",
            {"type": "string", "maxLength": _MOST_PART},
        ),
        in_query("limit", "the most commits on a page", {"type": "integer", "minimum": 1, "maximum": MOST}),
        in_query("after", "the value of `next` on the page before", {"type": "string", "pattern": _AFTER}),
    ]
    return operation(
        name,
        "The commits that changed a configuration, the newest first.",
        ok("a page", {V1: ref("History")}, WITHOUT_FILES, *CONDITIONS, has_tag=True),
        [*parameters, *own, IF_NONE_MATCH],
        (503,),
    )


_OPERATIONS: Operations = with_and_without_label("/api/v1/history/{application}/{profiles}", "history", _operation)


class History(Endpoint):
    """Lists the commits that changed a key, for tokens that may read the key.

    Args:
        line: The pipeline.
    """

    route: ClassVar = "/api/v1/history/{application}/{profiles}"
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = False
    paths: ClassVar = ("/api/v1/history/",)
    operations: ClassVar = _OPERATIONS
    schemas: ClassVar = _SCHEMAS

    def __init__(self, line: Historian) -> None:
        self._line = line
        # The processor limits this work, so more threads wouldn't make it faster.
        self._threads = trio.CapacityLimiter(1)

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        key = key_of(request, self._line)
        query = parse_query(request.query, ("key", "limit", "after"))
        part, limit = query.get("key", ""), _limit(query.get("limit", ""))
        if len(part) > _MOST_PART:
            raise RemoteError(f"key has more than {_MOST_PART} characters")
        page = await self._line.changes(key, part, limit, query.get("after", ""), request.client)
        body = await threads.run_sync(_encoded, key, part, page, abandon_on_cancel=True, limiter=self._threads)
        headers = without_files(key, self._line.names_in) | condition_headers(key, self._line)
        return validated(request, body, JSON, headers)


def _limit(text: str) -> int:
    text = text or str(DEFAULT_LIMIT)
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MOST):
        raise RemoteError(f"limit is a whole number from 1 to {MOST}")
    return int(text)


def _encoded(key: Key, part: str, page: HistoryPage) -> bytes:
    """Compare the documents and encode the page. This runs in a thread, so it uses only immutable objects."""
    return orjson.dumps(
        {
            "app": key.application,
            "profile": key.profile,
            "label": key.label,
            "commits": [_commit(change, part) for change in page.changes],
            "searched": page.searched,
            "next": page.next,
            "complete": page.is_complete,
            "layers": [
                {"source": each.source, "label": each.label, "kind": each.kind.value, "count": each.count}
                for each in page.layers
            ],
        }
    )


def _commit(change: KeyChange, part: str) -> dict[str, Any]:
    made = steps(orjson.loads(change.old.body), orjson.loads(change.new.body))
    rows, size = [], 0
    about = steps_about(made, part) if part else made
    for step in about[:MOST_ROWS]:
        row = members(step)
        size += len(orjson.dumps(row))
        if size > MOST_ROW_BYTES:
            break
        rows.append(row)
    return {
        "commit": change.origin.commit,
        "author": change.origin.author,
        "time": change.origin.time,
        "message": change.subject,
        "old_version": change.old.version,
        "version": change.new.version,
        "source": change.source,
        "label": change.label,
        "changes": rows,
        "left_out": len(about) - len(rows),
    }

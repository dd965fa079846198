"""`/api/v1/diff/{application}/{profiles}[/{label}]?from=&to=`: the changes between two versions, or between two labels.

A side is a version of 16 hex digits, or a label. If it could be both, the prefix `version:` or `label:` decides. A version
must be in the history of the key. If the history has no version before the current one, a git source can provide the old
side. It is the configuration before the last commit that changed the key. For other keys with a history of commits or
versions, it is the one that their newest change has replaced.

If the key has a history, a side may also be `commit:ID` or `date:TIME`. This is the configuration at a commit of the label
or a version of a directory, or at the newest one up to a time.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Protocol

import attrs
import orjson
import trio

from ..aio import threads
from ..auth import Right
from ..core import names
from ..core.broken_files import HEADER, broken_headers
from ..core.commits import Commit, named, newest_until
from ..core.diff import steps
from ..core.errors import FormatError, RemoteError, ResolveError
from ..core.model import BrokenFile, Config, Key
from ..pipeline.comparison import members, table
from ..pipeline.key_history import HistoryPage
from ..pipeline.past_keys import Document
from .broken import unreadable
from .endpoint import JSON, Endpoint, Request, Response
from .key_queries import WITHOUT_FILES, Labelled, accepted, condition_headers, key_of, validated, without_files
from .operation import CONDITIONS, IF_NONE_MATCH, TEXT_TYPE, in_query, ok, operation, with_and_without_label
from .query import parse_query
from .schemas import POINTER, SIDE, STEPS, TEXT, VERSION, Operations, Schema, a_list, an_object, optional, ref
from .spring.environment import V1

_PATCH = "application/json-patch+json"
_TABLE = "text/plain"
_FORMATS = {"json": JSON, "patch": _PATCH, "table": _TABLE}
_VERSION = re.compile(r"[0-9a-f]{16}")
_COMMIT = re.compile(r"[0-9a-f]{4,64}")
_MOST_NAMED = 16


class Historian(Labelled, Protocol):
    """The part of the pipeline that `Difference` needs."""

    def history(self, key: Key) -> Mapping[str, bytes]:
        """The known former versions of a key with their documents as JSON, oldest first."""
        ...

    async def before(self, key: Key) -> Config | None:
        """The configuration of a key before the last commit that changed it; None if it isn't known."""
        ...

    async def changes(self, key: Key, part: str, limit: int, after: str, client: str) -> HistoryPage:
        """A page of the commits that changed a key; see `history`."""
        ...

    async def document_at(
        self, key: Key, choose: Callable[[Sequence[Commit]], Commit], client: str
    ) -> tuple[Commit, Document | None]:
        """A commit of a key's label, and the document of the key there, or None if it can't be resolved."""
        ...

    def broken_for(self, key: Key) -> Sequence[BrokenFile]:
        """The broken files that a key reads. While there are any, it is served in an older state."""
        ...


@attrs.frozen(slots=True)
class _Wanted:
    """One side, as the client names it.

    Attributes:
        version: The version, or None.
        choose: Chooses the commit of the label, or None. If both are None, it is the current version.
    """

    key: Key
    version: str | None = None
    choose: Callable[[Sequence[Commit]], Commit] | None = None


@attrs.frozen(slots=True, eq=False)
class _Side:
    """One side of the comparison.

    Attributes:
        commit: The commit that this configuration was read from, if it isn't a version that this server has served or a
            label; else None.
    """

    key: Key
    version: str
    body: bytes
    commit: str | None = None


_SIDE_SCHEMA = optional(an_object(label=TEXT, version=VERSION, commit=TEXT), "commit")
_PATCH_SCHEMA = a_list(
    {
        "type": "object",
        "required": ["op", "path"],
        "properties": {
            "op": {"enum": ["add", "remove", "replace", "move"]},
            "path": POINTER,
            "from": POINTER,
            "value": {},
        },
        "additionalProperties": False,
    }
)
_SCHEMAS: dict[str, Schema] = {
    "Patch": _PATCH_SCHEMA,
    "Difference": an_object(
        app=TEXT,
        profile=TEXT,
        **{"from": _SIDE_SCHEMA, "to": _SIDE_SCHEMA},
        patch=ref("Patch"),
        changes=STEPS,
    ),
}


def _operation(name: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    side = "a version, a label, version:VERSION, label:LABEL, commit:ID or date:TIME; "
    content = {V1: ref("Difference"), "application/json-patch+json": ref("Patch"), TEXT_TYPE: {"type": "string"}}
    own = [
        in_query("from", side + "if it is missing, the version before `to`", SIDE) | {"example": "label:main"},
        in_query("to", side + "if it is missing, the current version", SIDE),
        in_query(
            "format",
            "chooses the form of the response in place of the header Accept",
            {"enum": ["json", "patch", "table"]},
        ),
    ]
    return operation(
        name,
        "The changes between two versions or labels.",
        ok("the difference", content, "X-Vortex-Version", WITHOUT_FILES, HEADER, *CONDITIONS, has_tag=True),
        [*parameters, *own, IF_NONE_MATCH],
        (406, 500, 503),
    )


_OPERATIONS: Operations = with_and_without_label("/api/v1/diff/{application}/{profiles}", "diff", _operation)


class Difference(Endpoint):
    """Compares two sides, for tokens that may read the key under both labels.

    If `to` is missing, the new side is the current version. If `from` is missing, the old side is the version before `to`.

    Args:
        line: The pipeline.
        since: The time at which this server began to keep former versions, for error messages.
    """

    route: ClassVar = "/api/v1/diff/{application}/{profiles}"
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = False
    paths: ClassVar = ("/api/v1/diff/",)
    operations: ClassVar = _OPERATIONS
    schemas: ClassVar = _SCHEMAS

    def __init__(self, line: Historian, since: str) -> None:
        self._line = line
        self._since = since
        # The processor limits this work, so more threads wouldn't make it faster.
        self._threads = trio.CapacityLimiter(2)

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        key = key_of(request, self._line)
        query = parse_query(request.query, ("from", "to", "format"))
        form = _form(request, query.get("format", ""))
        texts = query.get("from", ""), query.get("to", "")
        wanted = [_parsed(text, key) for text in texts]
        keys = list(dict.fromkeys(each.key for each in wanted))
        for other in keys:
            request.owner.authorize(Right.READ, other)
        try:
            old, new = await self._sides(wanted, key, request.client, has_old=bool(texts[0]))
        except (FormatError, ResolveError) as error:
            raise unreadable(self._broken(keys)) from error
        body = await threads.run_sync(_encoded, old, new, form, abandon_on_cancel=True, limiter=self._threads)
        content_type = f"{form};charset=UTF-8" if form == _TABLE else form
        headers = {"X-Vortex-Version": new.version, **without_files(new.key, self._line.names_in)}
        headers |= broken_headers(self._broken(keys)) | condition_headers(key, self._line)
        return validated(request, body, content_type, headers)

    def _broken(self, keys: Iterable[Key]) -> list[BrokenFile]:
        """Return the broken files that these keys read, each once."""
        return list(dict.fromkeys(each for key in keys for each in self._line.broken_for(key)))

    async def _sides(self, wanted: Sequence[_Wanted], key: Key, client: str, *, has_old: bool) -> tuple[_Side, _Side]:
        """Return the old and the new side.

        Args:
            wanted: Each side.
            key: The key of the path.
            client: As in `Request.client`.
            has_old: Whether the request names the old side.
        """
        new = await self._side(wanted[1], client)
        if has_old:
            return await self._side(wanted[0], client), new
        if new.key == key and new.commit is None:
            return await self._before(new, await self._line.read(key), client), new
        raise RemoteError("from is missing: a version, a label, a commit or a date", 400)

    async def _side(self, wanted: _Wanted, client: str) -> _Side:
        key, version = wanted.key, wanted.version
        if wanted.choose is not None:
            return await self._at_commit(key, wanted.choose, client)
        current = await self._line.read(key)
        if version in (None, current.version):
            return _Side(key, current.version, current.body)
        history = self._line.history(key)
        if version is None or version not in history:
            raise RemoteError(f"this version isn't known; {_known(history, current)}", 404)
        return _Side(key, version, history[version])

    async def _at_commit(self, key: Key, choose: Callable[[Sequence[Commit]], Commit], client: str) -> _Side:
        commit, document = await self._line.document_at(key, choose, client)
        if document is None:
            raise RemoteError(f"the configuration can't be read at commit {commit.id[:12]}", 404)
        return _Side(key, document.version, document.body, commit.id)

    async def _before(self, side: _Side, current: Config, client: str) -> _Side:
        history = self._line.history(side.key)
        order = [each for each in history if each != current.version] + [current.version]
        at = order.index(side.version) if side.version in order else 0
        if at > 0:
            return _Side(side.key, order[at - 1], history[order[at - 1]])
        if side.version == current.version:
            former = await self._line.before(side.key)
            if former is not None:
                return _Side(side.key, former.version, former.body, former.revision)
            page = await self._newest(side.key, client)
            if (found := _replaced(page, side.version)) is not None:
                return _Side(side.key, found.version, found.body)
            if page is not None and page.is_complete and not page.changes and page.next is None:
                raise RemoteError("the configuration has not changed in its whole history", 404)
        raise RemoteError(f"no version before it is known since {self._since}; {_known(history, current)}", 404)

    async def _newest(self, key: Key, client: str) -> HistoryPage | None:
        """Return the page with the newest change of a key, or None if the key has no history."""
        try:
            return await self._line.changes(key, "", 1, "", client)
        except RemoteError as error:
            if error.status != 404:
                raise
            return None


def _replaced(page: HistoryPage | None, version: str) -> Document | None:
    """Return the document that the newest change has replaced. If the change hasn't led to this version, return None."""
    changes = page.changes if page is not None else ()
    return next((each.old for each in changes if each.new.version == version), None)


def _form(request: Request, name: str) -> str:
    if not name:
        return accepted(request, (JSON, _PATCH, _TABLE))
    if name not in _FORMATS:
        raise RemoteError(f"format is one of {', '.join(_FORMATS)}", 400)
    return _FORMATS[name]


def _parsed(text: str, key: Key) -> _Wanted:
    """Parse one side."""
    kind, colon, rest = text.partition(":")
    if not colon:
        kind, rest = "version" if not text or _VERSION.fullmatch(text) else "label", text
    match kind:
        case "label":
            return _Wanted(attrs.evolve(key, label=names.labels(rest)))
        case "commit":
            if not _COMMIT.fullmatch(rest):
                raise RemoteError("a commit has 4 to 64 hex digits", 400)
            return _Wanted(key, choose=partial(named, name=rest))
        case "date":
            return _Wanted(key, choose=partial(newest_until, moment=_moment(rest)))
        case "version":
            if rest and not _VERSION.fullmatch(rest):
                raise RemoteError("a version has 16 hex digits", 400)
            return _Wanted(key, rest or None)
        case _:
            raise RemoteError(
                "from and to are a version, a label, version:VERSION, label:LABEL, commit:ID or date:TIME", 400
            )


def _moment(text: str) -> str:
    """Parse a time of ISO 8601 in the form of `Origin.time`. Without a zone it is UTC. A date alone is its beginning."""
    try:
        found = datetime.fromisoformat(text)
        moment = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise RemoteError("a date is like 2026-11-29 or 2026-11-29T12:00:00Z", 400) from None
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _known(history: Mapping[str, bytes], current: Config) -> str:
    """Name the known versions, newest first, for an error message."""
    versions = [each for each in reversed([*history]) if each != current.version]
    named = ", ".join([f"{current.version} (current)", *versions[:_MOST_NAMED]])
    more = f" and {len(versions) - _MOST_NAMED} older ones" if len(versions) > _MOST_NAMED else ""
    return f"the known versions are {named}{more}; the server keeps former versions of a key while connections use it"


def _encoded(old: _Side, new: _Side, form: str) -> bytes:
    """Compare two sides and encode the result. This runs in a thread, so it uses only immutable objects."""
    made = steps(orjson.loads(old.body), orjson.loads(new.body))
    if form == _TABLE:
        title = f"{new.key.application}:{new.key.profile}  {_named(old)} -> {_named(new)}"
        return table(made, title).encode()
    patch = [step.operation for step in made]
    if form == _PATCH:
        return orjson.dumps(patch)
    key = new.key
    return orjson.dumps(
        {
            "app": key.application,
            "profile": key.profile,
            "from": _members(old),
            "to": _members(new),
            "patch": patch,
            "changes": [members(step) for step in made],
        }
    )


def _members(side: _Side) -> dict[str, str]:
    found = {"label": side.key.label, "version": side.version}
    return found if side.commit is None else {**found, "commit": side.commit}


def _named(side: _Side) -> str:
    commit = f" (commit {side.commit[:12]})" if side.commit is not None else ""
    return f"{side.key.label}@{side.version}{commit}"

"""`/api/v1/diff/{application}/{profiles}[/{label}]?from=&to=`: the changes between two versions, or between two labels.

A side is a version of 16 hex digits, or a label. If it could be both, the prefix `version:` or `label:` decides. A version
must be in the history of the key. If the history has no version before the current one, a git source can provide the old
side. It is the configuration before the last commit that changed the key.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import attrs
import orjson
import trio

from ..aio import threads
from ..auth import Right
from ..core import names
from ..core.broken_files import HEADER, broken_headers
from ..core.diff import steps
from ..core.errors import FormatError, RemoteError, ResolveError
from ..core.model import BrokenFile, Config, Key
from ..pipeline.comparison import members, table
from .broken import unreadable
from .endpoint import JSON, Endpoint, Request, Response
from .key_queries import WITHOUT_FILES, Labelled, accepted, key_of, validated, without_files
from .operation import IF_NONE_MATCH, TEXT_TYPE, in_query, ok, operation, with_and_without_label
from .query import parse_query
from .schemas import POINTER, SIDE, TEXT, VERSION, Operations, Schema, a_list, an_object, optional, ref
from .spring.environment import V1

_PATCH = "application/json-patch+json"
_TABLE = "text/plain"
_FORMATS = {"json": JSON, "patch": _PATCH, "table": _TABLE}
_VERSION = re.compile(r"[0-9a-f]{16}")
_MOST_NAMED = 16


class Historian(Labelled, Protocol):
    """The part of the pipeline that `Difference` needs."""

    def history(self, key: Key) -> Mapping[str, bytes]:
        """The known former versions of a key with their documents as JSON, oldest first."""
        ...

    async def before(self, key: Key) -> Config | None:
        """The configuration of a key before the last commit that changed it; None if it isn't known."""
        ...

    def broken_for(self, key: Key) -> Sequence[BrokenFile]:
        """The broken files that a key reads. While there are any, it is served in an older state."""
        ...


@attrs.frozen(slots=True, eq=False)
class _Side:
    """One side of the comparison.

    Attributes:
        commit: If this server hasn't served this configuration as a version, the commit that it was read from; else None.
    """

    key: Key
    version: str
    body: bytes
    commit: str | None = None


_SIDE_SCHEMA = an_object(label=TEXT, version=VERSION)
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
        **{"from": optional(an_object(label=TEXT, version=VERSION, commit=TEXT), "commit"), "to": _SIDE_SCHEMA},
        patch=ref("Patch"),
        changes=a_list(
            {
                "type": "object",
                "required": ["op", "path"],
                "properties": {
                    "op": {"enum": ["add", "remove", "replace", "move"]},
                    "path": POINTER,
                    "from": POINTER,
                    "old": {},
                    "new": {},
                },
                "additionalProperties": False,
            }
        ),
    ),
}


def _operation(name: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    side = "a version, a label, version:VERSION or label:LABEL; "
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
        ok("the difference", content, "X-Vortex-Version", WITHOUT_FILES, HEADER, has_tag=True),
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
        for other, _ in wanted:
            request.owner.authorize(Right.READ, other)
        keys = list(dict.fromkeys(other for other, _ in wanted))
        try:
            old, new = await self._sides(wanted, key, has_old=bool(texts[0]))
        except (FormatError, ResolveError) as error:
            raise unreadable(self._broken(keys)) from error
        body = await threads.run_sync(_encoded, old, new, form, abandon_on_cancel=True, limiter=self._threads)
        content_type = f"{form};charset=UTF-8" if form == _TABLE else form
        headers = {"X-Vortex-Version": new.version, **without_files(new.key, self._line.names_in)}
        return validated(request, body, content_type, headers | broken_headers(self._broken(keys)))

    def _broken(self, keys: Iterable[Key]) -> list[BrokenFile]:
        """Return the broken files that these keys read, each once."""
        return list(dict.fromkeys(each for key in keys for each in self._line.broken_for(key)))

    async def _sides(self, wanted: Sequence[tuple[Key, str | None]], key: Key, *, has_old: bool) -> tuple[_Side, _Side]:
        """Return the old and the new side.

        Args:
            wanted: The key and the version of each side.
            key: The key of the path.
            has_old: Whether the request names the old side.
        """
        new = await self._side(*wanted[1])
        if has_old:
            return await self._side(*wanted[0]), new
        if new.key == key:
            return await self._before(new, await self._line.read(key)), new
        raise RemoteError("from is missing: a version or a label", 400)

    async def _side(self, key: Key, version: str | None) -> _Side:
        current = await self._line.read(key)
        if version in (None, current.version):
            return _Side(key, current.version, current.body)
        history = self._line.history(key)
        if version is None or version not in history:
            raise RemoteError(f"this version isn't known; {_known(history, current)}", 404)
        return _Side(key, version, history[version])

    async def _before(self, side: _Side, current: Config) -> _Side:
        history = self._line.history(side.key)
        order = [each for each in history if each != current.version] + [current.version]
        at = order.index(side.version) if side.version in order else 0
        if at > 0:
            return _Side(side.key, order[at - 1], history[order[at - 1]])
        former = await self._line.before(side.key) if side.version == current.version else None
        if former is None:
            raise RemoteError(f"no version before it is known since {self._since}; {_known(history, current)}", 404)
        return _Side(side.key, former.version, former.body, former.revision)


def _form(request: Request, name: str) -> str:
    if not name:
        return accepted(request, (JSON, _PATCH, _TABLE))
    if name not in _FORMATS:
        raise RemoteError(f"format is one of {', '.join(_FORMATS)}", 400)
    return _FORMATS[name]


def _parsed(text: str, key: Key) -> tuple[Key, str | None]:
    """Parse one side. Returns its key and its version; None for the current version."""
    kind, colon, rest = text.partition(":")
    if colon and kind not in ("label", "version"):
        raise RemoteError("from and to are a version, a label, version:VERSION or label:LABEL", 400)
    if not colon:
        kind, rest = "version" if not text or _VERSION.fullmatch(text) else "label", text
    if kind == "label":
        return attrs.evolve(key, label=names.labels(rest)), None
    if rest and not _VERSION.fullmatch(rest):
        raise RemoteError("a version has 16 hex digits", 400)
    return key, rest or None


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

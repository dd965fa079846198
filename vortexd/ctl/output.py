"""Formats the events of `watch`: lines for people, or one JSON object a line. Pure.

It takes the states of a client and the changes of keys, and yields lines. It keeps the previous document of each key, so that it can show
both the old and the new values of a change.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ..client import Change, Connected, State
from ..client.replica import version_of
from ..client.view import BEHIND
from ..core.diff import steps
from ..core.model import Key
from ..core.text import printable
from ..pipeline.comparison import members
from .changes import lines_of
from .printing import Paint


class OutputFormat(Protocol):
    """A format for the output of `watch`."""

    def begun(self, key: Key, document: dict[str, Any]) -> Iterator[str]:
        """Yield the lines for a key that exists at the beginning."""
        ...

    def changed(self, change: Change, time: str) -> Iterator[str]:
        """Yield the lines for a change that happened at `time`."""
        ...

    def turned(self, state: State) -> Iterator[str]:
        """Yield the lines for a new state of the connection."""
        ...


class Lines:
    """The format for people."""

    def __init__(self, paint: Paint) -> None:
        self._paint = paint
        self._documents: dict[Key, dict[str, Any]] = {}
        self._said: str | None = None
        self._was_behind = False

    def begun(self, key: Key, document: dict[str, Any]) -> Iterator[str]:
        """See `OutputFormat`."""
        self._documents[key] = document
        yield self._paint(printable(f"{key}  {version_of(document)}"), "bold")

    def changed(self, change: Change, time: str) -> Iterator[str]:
        """See `OutputFormat`. For a new key, the lines only say that it begins."""
        step = f"{change.old_version} -> {change.version}" if change.old_version else f"begins, {change.version}"
        if change.version is None:
            step = "has ended"
        yield self._paint(printable(f"{time}  {change.key}  {step}{_author(change.origin)}"), "bold")
        if change.is_behind:
            yield self._paint(BEHIND, "yellow")
        old = self._documents.pop(change.key, None)
        if change.document is not None:
            self._documents[change.key] = change.document
            for each in steps(old, change.document) if old is not None else ():
                yield from lines_of(members(each), self._paint)

    def turned(self, state: State) -> Iterator[str]:
        """See `OutputFormat`. The same problem is printed once."""
        is_current = isinstance(state, Connected) and not state.is_behind
        if isinstance(state, Connected):
            text = f"connected again, but {BEHIND}" if state.is_behind else "connected again"
            if not state.is_behind and self._was_behind:
                text = "the server has caught up"
            self._was_behind = state.is_behind
        else:
            text = f"{state}; trying again"
        if text != self._said:
            self._said = text
            yield self._paint(printable(text), "green" if is_current else "yellow")


class JsonLines:
    """The format for programs."""

    def begun(self, key: Key, document: dict[str, Any]) -> Iterator[str]:
        """See `OutputFormat`."""
        yield _object("begun", key, version=version_of(document), config=document)

    def changed(self, change: Change, time: str) -> Iterator[str]:
        """See `OutputFormat`."""
        origin = None if change.origin is None else dict(change.origin)
        if change.document is None:
            yield _object("ended", change.key, time=time, old_version=change.old_version)
        elif change.old_version is None:
            begun = {"version": change.version, "config": change.document, "origin": origin}
            yield _object("begun", change.key, time=time, **begun, **_lag(change.is_behind))
        else:
            versions = {"old_version": change.old_version, "version": change.version}
            step = {"patch": change.patch, "origin": origin}
            yield _object("change", change.key, time=time, **versions, **step, **_lag(change.is_behind))

    def turned(self, state: State) -> Iterator[str]:
        """See `OutputFormat`."""
        reason = getattr(state, "reason", None)
        lag = _lag(isinstance(state, Connected) and state.is_behind)
        yield json.dumps({"type": "state", "state": type(state).__name__.lower(), "reason": reason, **lag})


def _lag(is_behind: bool) -> dict[str, bool]:
    """Return the member that only a state of a server that is behind has."""
    return {"behind": True} if is_behind else {}


def _object(kind: str, key: Key, **more: Any) -> str:
    names = {"app": key.application, "profile": key.profile, "label": key.label}
    return json.dumps({"type": kind, **names, **more})


def _author(origin: Mapping[str, str] | None) -> str:
    if origin is None:
        return ""
    return f"  by {origin.get('author', '')}, {str(origin.get('commit', ''))[:10]}"

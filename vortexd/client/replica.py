"""The client's copy of one key: applies the server's messages, and holds the verified document. Pure.

If a message can't be applied, it raises `OutOfSync`, and the client should send `resync`. Invariants: `version` is always the version of
`document`; a message that would break this changes nothing. No message makes a document much larger than the message and the old document.
"""

from collections.abc import Mapping
from typing import Any

import jsonpatch

from ..core.generation import Generation
from ..core.version import encode
from ..core.version import version_of as version_of_body

# The messages that bring a document, and the generation of that document.
_DOCUMENTS = frozenset({"config_snapshot", "config_change"})
_STATES = _DOCUMENTS | {"in_sync"}
# Each "copy" of RFC 6902 can double a document with 20 bytes. vortexd's own patches have none.
_MOST_COPIES = 16
_MAX_COPIED_BYTES = 16_777_216
# Members that are missing or have another type, paths that jsonpatch can't handle, nesting too deep for Python's stack, invalid numbers.
_UNFIT = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
    jsonpatch.JsonPatchException,
    jsonpatch.JsonPointerException,
)


class OutOfSync(Exception):
    """The message doesn't follow from the current state, or doesn't lead to the version that it names: send `resync`."""


def version_of(document: object) -> str:
    """Return the first 16 hex digits of the SHA-256 of a document as compact JSON with sorted keys."""
    return version_of_body(encode(document))


class Replica:
    """The client's copy of one key of the server.

    Args:
        version: The verified version of `document`. Both are None if nothing is known.
        generation: The generation of `version`, if it is known.

    Attributes:
        version: None until a document has arrived, and after the key has ended.
        document: Callers must not modify it.
        generation: The newest generation that a server named with `version`. None if no server named one, or if there is no version.
        size: The size of the document as compact JSON, in bytes.
        is_behind: A server that is behind has sent this state: it is older than one that the client had before.
    """

    def __init__(self, version: str | None = None, document: Any = None, generation: Generation | None = None) -> None:
        self.version = version
        self.document = document
        self.generation = generation
        self.size = 0
        self.is_behind = False
        # The generation that the state has to reach again, if it is known.
        self._former: Generation | None = None

    def is_ahead_of(self, message: Mapping[str, Any]) -> bool:
        """Whether a snapshot or change is older than this state, and the server didn't mark it as stale.

        A message without a generation, or with one of another epoch, is never older.
        """
        if message.get("type") not in _DOCUMENTS or message.get("stale") is True:
            return False
        named = _generation(message)
        return named is not None and self.generation is not None and self.generation.is_ahead_of(named)

    def receive(self, message: Mapping[str, Any]) -> bool:
        """Apply a state message of this key. Return whether the document has changed. Other message types are ignored.

        Raises:
            OutOfSync: The message can't be applied. Nothing was changed.
        """
        try:
            has_changed = self._receive(message)
        except _UNFIT:
            raise OutOfSync("the message is incomplete or doesn't apply") from None
        former, self.generation = self.generation, self._generation_after(message)
        self._note_lag(message, former)
        return has_changed

    def _note_lag(self, message: Mapping[str, Any], former: Generation | None) -> None:
        """Note whether this state is older than one before. `former` is the generation before the message."""
        if message.get("type") == "config_snapshot" and message.get("stale") is True:
            self.is_behind = True
            if self._former is None or (former is not None and former.is_ahead_of(self._former)):
                self._former = former
        elif self.version is None:
            self.is_behind = False
        elif self.is_behind and message.get("type") in _STATES:
            # A server that is behind may get there step by step, and may answer a resync with the same state again.
            now = self.generation
            self.is_behind = self._former is not None and now is not None and self._former.is_ahead_of(now)
        if not self.is_behind:
            self._former = None

    def _generation_after(self, message: Mapping[str, Any]) -> Generation | None:
        """Return the generation of the current version, now that a message was applied."""
        if self.version is None:
            return None
        named = _generation(message)
        if message.get("type") in _DOCUMENTS:
            return named
        if named is None or (self.generation is not None and self.generation.is_ahead_of(named)):
            return self.generation
        return named

    def _receive(self, message: Mapping[str, Any]) -> bool:
        match message.get("type"):
            case "config_snapshot":
                return self._replace(message["config"], message["version"])
            case "config_change":
                return self._patch(message)
            case "config_removed":
                changed = self.version is not None
                self.version, self.document, self.size = None, None, 0
                return changed
            case "in_sync" if message["version"] != self.version:
                raise OutOfSync("the server is in sync with another version")
        return False

    def _patch(self, message: Mapping[str, Any]) -> bool:
        if message["new_version"] == self.version:
            # The server may send the same state twice.
            return False
        if self.version is None or message["old_version"] != self.version:
            raise OutOfSync("the change starts from another version")
        return self._replace(_patched(self.document, message["diff"]), message["new_version"])

    def _replace(self, document: Any, version: str) -> bool:
        if not isinstance(document, dict):
            raise OutOfSync("the document isn't an object")
        body = encode(document)
        if version_of_body(body) != version:
            raise OutOfSync("the document doesn't match the version that the server named")
        changed = version != self.version
        self.version, self.document, self.size = version, document, len(body)
        return changed


def _generation(message: Mapping[str, Any]) -> Generation | None:
    """Return the generation that a message names. A malformed one is ignored, like an unknown member."""
    text = message.get("generation")
    return Generation.parse(text) if isinstance(text, str) else None


def _patched(document: Any, diff: Any) -> Any:
    if not isinstance(diff, list):
        raise OutOfSync("the patch isn't a list")
    copies = sum(operation["op"] == "copy" for operation in diff)
    if not copies:
        return jsonpatch.apply_patch(document, diff)
    if copies > _MOST_COPIES:
        raise OutOfSync("the patch copies too often")
    for operation in diff:
        document = jsonpatch.apply_patch(document, [operation])
        if operation["op"] == "copy" and len(encode(document)) > _MAX_COPIED_BYTES:
            raise OutOfSync("the patch copies too much")
    return document

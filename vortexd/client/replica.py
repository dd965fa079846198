"""What a client knows of one key: server messages in, the verified document out, or a refusal that calls for `resync`.

Pure. The invariant: `version` is the version of `document`; a message that would break this changes nothing.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import jsonpatch
import orjson


class OutOfSync(Exception):
    """The message doesn't lead on from what is held, or not to the version it names: ask for `resync`."""


def version_of(document: object) -> str:
    """The first 16 hex digits of SHA-256 over a document as compact JSON with sorted keys."""
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


class Replica:
    """One key as the server has it, as far as it is known here; `version` is None until a document has come."""

    def __init__(self) -> None:
        self.version: str | None = None
        self.document: Any = None

    def receive(self, message: Mapping[str, Any]) -> bool:
        """Take a state message of this key; true when the document became another one. Other types are ignored.

        Raises:
            OutOfSync: Nothing was changed.
        """
        try:
            return self._receive(message)
        except (KeyError, TypeError, ValueError):
            # Members that are missing or of another type, or numbers that no document of a server has.
            raise OutOfSync("not a whole message") from None

    def _receive(self, message: Mapping[str, Any]) -> bool:
        match message.get("type"):
            case "config_snapshot":
                return self._replace(message["config"], message["version"])
            case "config_change":
                return self._patch(message)
            case "config_removed":
                changed = self.version is not None
                self.version = self.document = None
                return changed
            case "in_sync" if message["version"] != self.version:
                raise OutOfSync("the server is in sync with another version")
        return False

    def _patch(self, message: Mapping[str, Any]) -> bool:
        if message["new_version"] == self.version:
            # The same state twice is allowed.
            return False
        if self.version is None or message["old_version"] != self.version:
            raise OutOfSync("the change starts from another version")
        try:
            document = jsonpatch.apply_patch(self.document, message["diff"])
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError):
            raise OutOfSync("the change doesn't fit the document") from None
        return self._replace(document, message["new_version"])

    def _replace(self, document: Any, version: str) -> bool:
        if version_of(document) != version:
            raise OutOfSync("the document hasn't the version that was named")
        changed = version != self.version
        self.version, self.document = version, document
        return changed

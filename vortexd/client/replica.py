"""What a client knows of one key: server messages in, the verified document out, or a refusal that calls for `resync`.

Pure. The invariants: `version` is the version of `document`; a message that would break this changes nothing; and no message makes
a document that is much larger than itself and what is held.
"""

from collections.abc import Mapping
from typing import Any

import jsonpatch

from ..core.version import encode
from ..core.version import version_of as version_of_body

# RFC 6902's "copy" doubles a document with 20 bytes. No patch of ours has one.
_MOST_COPIES = 16
_MAX_COPIED_BYTES = 16_777_216
# Besides members that are missing or of another type: paths that jsonpatch trips over, nesting beyond Python's stack, numbers no document has.
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
    """The message doesn't lead on from what is held, or not to the version it names: ask for `resync`."""


def version_of(document: object) -> str:
    """The first 16 hex digits of SHA-256 over a document as compact JSON with sorted keys."""
    return version_of_body(encode(document))


class Replica:
    """One key as the server has it, as far as it is known here.

    Args:
        version: Of `document`, which was verified; both None where nothing is known.

    Attributes:
        version: None until a document has come, and when the key has ended.
        document: Nobody else may change it.
        size: How many bytes it has as compact JSON.
    """

    def __init__(self, version: str | None = None, document: Any = None) -> None:
        self.version = version
        self.document = document
        self.size = 0

    def receive(self, message: Mapping[str, Any]) -> bool:
        """Take a state message of this key; true when the document became another one. Other types are ignored.

        Raises:
            OutOfSync: Nothing was changed.
        """
        try:
            return self._receive(message)
        except _UNFIT:
            raise OutOfSync("not a whole message, or one that doesn't fit") from None

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
            # The same state twice is allowed.
            return False
        if self.version is None or message["old_version"] != self.version:
            raise OutOfSync("the change starts from another version")
        return self._replace(_patched(self.document, message["diff"]), message["new_version"])

    def _replace(self, document: Any, version: str) -> bool:
        if not isinstance(document, dict):
            raise OutOfSync("the document is no object")
        body = encode(document)
        if version_of_body(body) != version:
            raise OutOfSync("the document hasn't the version that was named")
        changed = version != self.version
        self.version, self.document, self.size = version, document, len(body)
        return changed


def _patched(document: Any, diff: Any) -> Any:
    if not isinstance(diff, list):
        raise OutOfSync("the patch is no list")
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

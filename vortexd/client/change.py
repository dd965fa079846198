"""A change of one key, as the application sees it: from the version that it saw last to the newest. Pure."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import attrs

from ..core.diff import diff
from ..core.model import Key

Patch = list[dict[str, Any]]


@attrs.frozen(slots=False)
class Change:
    """A key has a new document, or has ended.

    Attributes:
        old_version: The version that the application saw last. None if it has seen none.
        version: None if the key has ended.
        document: The new document; don't modify it. None if the key has ended.
        origin: {commit, author, time}; only git sources set it.
        is_behind: The server is behind, so this document is older than one that the application had before. The newer one follows by itself.
    """

    key: Key
    old_version: str | None
    version: str | None
    document: dict[str, Any] | None = attrs.field(repr=False)
    origin: Mapping[str, str] | None = None
    _old_document: dict[str, Any] | None = attrs.field(default=None, repr=False, eq=False)
    _received: Patch | None = attrs.field(default=None, repr=False, eq=False)
    is_behind: bool = attrs.field(default=False, kw_only=True)

    @cached_property
    def patch(self) -> Patch | None:
        """The RFC 6902 patch from the old document (or null) to the new one; None if the key has ended.

        If the server sent a patch for exactly this step, it is that patch. Otherwise the client computes it on first use.
        """
        if self._received is not None or self.document is None:
            return self._received
        if self._old_document is not None:
            try:
                return diff(self._old_document, self.document)
            except RecursionError:
                # A hostile server may nest a document too deeply for the recursive diff.
                pass
        return [{"op": "add", "path": "", "value": self.document}]

    def followed_by(self, later: "Change") -> "Change | None":
        """Combine both steps into one. Return None if they lead back to the version where they began."""
        if self.old_version == later.version:
            return None
        return attrs.evolve(later, old_version=self.old_version, old_document=self._old_document, received=None)

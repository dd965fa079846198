"""One step of one key, as an application is told: from the version that it saw last to the newest. Pure."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import attrs

from ..core.diff import diff
from ..core.model import Key

Patch = list[dict[str, Any]]


@attrs.frozen(slots=False)
class Change:
    """A key has another document, or none.

    Attributes:
        old_version: What the application saw last, or None where it is the first.
        version: None: the key has ended.
        document: The new document, to be read and not to be changed. None: the key has ended.
        origin: {commit, author, time}, of git sources.
    """

    key: Key
    old_version: str | None
    version: str | None
    document: dict[str, Any] | None = attrs.field(repr=False)
    origin: Mapping[str, str] | None = None
    _old_document: dict[str, Any] | None = attrs.field(default=None, repr=False, eq=False)
    _received: Patch | None = attrs.field(default=None, repr=False, eq=False)

    @cached_property
    def patch(self) -> Patch | None:
        """RFC 6902, from the old document (or null) to the new one; None where the key has ended.

        It is the server's where that sent one for just this step, and else made here, when it is first asked for.
        """
        if self._received is not None or self.document is None:
            return self._received
        if self._old_document is not None:
            try:
                return diff(self._old_document, self.document)
            except RecursionError:
                # Nested as no server nests, and nobody's stack has to bear that.
                pass
        return [{"op": "add", "path": "", "value": self.document}]

    def followed_by(self, later: "Change") -> "Change | None":
        """Both steps as one, or None where they lead back to where they began."""
        if self.old_version == later.version:
            return None
        return attrs.evolve(later, old_version=self.old_version, old_document=self._old_document, received=None)

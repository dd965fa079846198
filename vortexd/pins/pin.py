"""A pin: it freezes one key at a document, by the files that the document is made of. Pure.

The invariant: a pin holds bytes of files, and never a decrypted value. The decryptor and the overrides of the server apply
to them as to all other files.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ..core.model import Files, Key
from ..core.term import Term
from ..core.text import rfc3339
from ..resolve.tree import ParsedFiles
from ..settings.formats import FormatSettings

# The limits: pins, the bytes of the files of one pin, and the seconds until its end.
MOST_PINS = 100
MOST_BYTES = 524_288
MOST_SECONDS = 90 * 86_400


@attrs.frozen(slots=True, eq=False)
class Pin:
    """A pin.

    Attributes:
        id: Tells it apart from other pins of the same key.
        version: The version of the document at which the key is frozen.
        commit: The commit that the files come from, or None.
        reason: Why a person has put it.
        by: The name of that person.
        term: Since when and until when it is in force.
        labels: The files of each label of the key, the strongest layer first. They are only those that the key reads.
    """

    id: str
    key: Key
    version: str
    commit: str | None
    reason: str
    by: str
    term: Term
    labels: tuple[tuple[Files, ...], ...]

    def has_ended(self, now: float) -> bool:
        """Return whether the time of the pin is over."""
        return self.term.until is not None and now >= self.term.until

    @property
    def bytes(self) -> int:
        """The size of its files."""
        return size_of(self.labels)

    @property
    def members(self) -> dict[str, Any]:
        """The pin as a JSON object for people and programs, without its files."""
        return {
            "application": self.key.application,
            "profile": self.key.profile,
            "label": self.key.label,
            "version": self.version,
            "commit": self.commit,
            "reason": self.reason,
            "by": self.by,
            "since": rfc3339(self.term.since),
            "until": None if self.term.until is None else rfc3339(self.term.until),
        }


@attrs.frozen(slots=True, eq=False)
class Pinned:
    """A pin with its parsed files.

    Attributes:
        labels: For each label of the key its layers, the strongest first.
        limits: The limits within which the files were parsed.
    """

    pin: Pin
    labels: tuple[tuple[ParsedFiles, ...], ...]
    limits: FormatSettings


def size_of(labels: Sequence[Sequence[Files]]) -> int:
    """Return the size of the files of labels, in bytes, with the lengths of their paths."""
    contents: list[Mapping[str, bytes]] = [layer.contents for layers in labels for layer in layers]
    return sum(len(path) + len(content) for each in contents for path, content in each.items())

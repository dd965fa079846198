"""Parses commits, and the changes that they bring.

Objects and listings of git arrive. Origins, paths and `Step`s of a history leave. Strangers choose the bytes of a commit,
so each text is cut to a limited length, and no content of a commit is an error.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

import attrs

from ...core.model import Origin
from .objects import Object

# The encoding of the names in a commit, if it isn't UTF-8.
_ENCODING = re.compile(rb"^encoding ([\x21-\x7e]{1,64})$", re.MULTILINE)
_PERSON = re.compile(r"(.*?) ?<[^>]*> (\d{1,12}) [+-]\d{4}")
_PARENT = re.compile(rb"^parent ([0-9a-f]+)$", re.MULTILINE)
# The header of a commit as git itself writes it, signed or not.
_NAME = rb"(?:[^<>\s](?:[^<>\n\r\0]*[^<>\s])? )?<[^<>\n\r\0]*> [1-9]\d{0,9} [+-]\d{4}"
_USUAL = re.compile(
    rb"tree [0-9a-f]+\n(?:parent [0-9a-f]+\n)+author " + _NAME + rb"\ncommitter " + _NAME + rb"(?:\ngpgsig .*)?",
    re.DOTALL,
)
# One entry of `diff-tree -r -z`: the old mode, the old id and the path.
_FORMER = re.compile(rb":(\d{6}) \d{6} ([0-9a-f]+) [0-9a-f]+ \w+\0([^\0]+)\0")
# A longer listing is left to `Histories`, which limits how much a history may hold.
_MOST_BYTES = 1_048_576
_GONE = b"000000"
_REGULAR = (b"100644", b"100755", b"100664")
# The name of the trailer by which the author of a commit sets the pace of its roll-out.
TRAILER = "Vortexd-Rollout"
# Almost all commits share this one.
NO_TRAILERS: Mapping[str, tuple[str, ...]] = MappingProxyType({})
# Used in place of a blob's id for a link or a submodule, because its content isn't the file's content.
NO_FILE = ""


@attrs.frozen(slots=True, eq=False)
class Step:
    """One commit and its changes.

    Attributes:
        parent: Its first parent; None for a commit without a parent.
        before: Path to the id of the blob that it held before. None if there was nothing, "" if it wasn't a regular
            file.
        is_merge: Whether it has more than one parent.
        trailers: Maps each commit with a trailer to its values: this one, and those that it has merged.
    """

    parent: str | None
    origin: Origin
    before: Mapping[str, str | None]
    is_merge: bool = False
    trailers: Mapping[str, tuple[str, ...]] = NO_TRAILERS


def own_step(commit: Object, before: str, listed: bytes) -> Step | None:
    """Return the step of a commit, if its difference from another commit is known and the other is its first parent.

    Return None if it isn't, or if only `git log` can say what the step is. Only git parses trailers. The trailers of merged
    commits are missing.

    Args:
        before: The other commit.
        listed: The difference, as `Mirror.listing` returns it.
    """
    header, _, message = commit.content.partition(b"\n\n")
    if parent_of(commit) != before or len(listed) > _MOST_BYTES or not _is_usual(header):
        return None
    if TRAILER.lower().encode() in message.lower():
        return None
    changed = ((path_of(path), former_blob(mode, id)) for mode, id, path in _FORMER.findall(listed))
    _, origin = parse_commit(commit)
    is_merge = len(_PARENT.findall(header)) > 1
    return Step(before, origin, {path: blob for path, blob in changed if path is not None}, is_merge)


def _is_usual(header: bytes) -> bool:
    """Return whether `git log` prints the same author and time for a commit that `parse_commit` finds."""
    try:
        header.decode("utf-8")
    except UnicodeError:
        return False
    return _USUAL.fullmatch(header) is not None and _ENCODING.search(header) is None


def former_blob(mode: bytes, id: bytes) -> str | None:
    """Return a value of `Step.before`, from the old mode and the old id in one of git's listings."""
    return None if mode == _GONE else id.decode() if mode in _REGULAR else NO_FILE


def parent_of(commit: Object) -> str | None:
    """Return the first parent of a commit, or None if it has none."""
    found = _PARENT.search(commit.content.partition(b"\n\n")[0])
    return found[1].decode() if found else None


def parse_commit(commit: Object) -> tuple[str, Origin]:
    """Return the tree of a commit, and its origin.

    A stranger chooses the author's name, so it is cut to one line of limited length.
    """
    raw = commit.content.partition(b"\n\n")[0]
    head = _decoded(raw, raw)
    fields = dict(line.partition(" ")[::2] for line in reversed(head.split("\n")))
    author = _PERSON.fullmatch(fields.get("author", ""))
    committer = _PERSON.fullmatch(fields.get("committer", ""))
    seconds = int(committer[2]) if committer else 0
    return fields["tree"], Origin(commit.id, author_of(author[1] if author else ""), moment_of(seconds))


def message_of(commit: Object) -> str:
    """Return the whole message of a commit."""
    head, _, message = commit.content.partition(b"\n\n")
    return _decoded(message, head)


def _decoded(text: bytes, head: bytes) -> str:
    """Decode a part of a commit by the encoding that the commit's head names."""
    named = _ENCODING.search(head)
    try:
        return text.decode(named[1].decode("ascii") if named else "utf-8", "replace")
    except (LookupError, UnicodeError):
        return text.decode("utf-8", "replace")


def author_of(text: str) -> str:
    """Return an author's name in a form that may be shown: one line of limited length."""
    return "".join(filter(str.isprintable, text))[:128]


def moment_of(seconds: int) -> str:
    """Return the time of a commit as RFC 3339, UTC. If the commit has no valid time, it is the epoch."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return "1970-01-01T00:00:00Z"


def path_of(raw: bytes) -> str | None:
    """Return a path as text.

    If it is hidden, isn't UTF-8 or has control characters, return None: no client can ask for it.
    """
    try:
        path = raw.decode("utf-8")
    except UnicodeError:
        return None
    return path if path.isprintable() and not path.startswith(".") and "/." not in path else None

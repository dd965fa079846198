"""The commits of a label, as a source hands them to the pipeline, and the files of one of them. Pure."""

from collections.abc import Collection, Mapping, Sequence

import attrs

from .errors import RemoteError
from .model import Files, Origin

# The most characters of the first line of a commit's message.
SUBJECT_CHARACTERS = 200


@attrs.frozen(slots=True, eq=False)
class Commit:
    """One commit of a label.

    Attributes:
        parent: Its first parent. None for a commit without a parent.
        paths: The paths that differ from those of its first parent.
    """

    origin: Origin
    parent: str | None
    paths: Collection[str]

    @property
    def id(self) -> str:
        """The full id of the commit."""
        return self.origin.commit


@attrs.frozen(slots=True, eq=False)
class PastFiles:
    """The files of a commit.

    Attributes:
        files: The files. Their root and locations aren't those of the source.
        ways: For each symbolic link, the paths that decide where it leads, as in `links.Way.through`.
        snapshot: The source's own state. The source reads a similar commit faster with it.
    """

    files: Files
    ways: Mapping[str, Sequence[str]]
    snapshot: object


def named(commits: Sequence[Commit], name: str) -> Commit:
    """Return the commit with an id that begins with this text.

    Raises:
        RemoteError: There is none among them, or there are several.
    """
    found = [each for each in commits if each.id.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise RemoteError("several commits begin with this id; name more of its digits", 404)
    raise RemoteError(f"no such commit among the newest {len(commits)} commits and versions of this key", 404)


def newest_until(commits: Sequence[Commit], moment: str) -> Commit:
    """Return the first commit that was committed at a moment or before it. They are ordered, the newest first.

    Args:
        moment: As `Origin.time`.

    Raises:
        RemoteError: All of them are newer.
    """
    for each in commits:
        if each.origin.time <= moment:
            return each
    raise RemoteError(f"the newest {len(commits)} commits and versions of this key are all newer", 404)


def subject_of(message: str) -> str:
    """Return the first line of a commit's message in a form that may be shown: one line of limited length.

    A stranger chooses the message, so characters that aren't printable are left out.
    """
    line = next((each for each in message.splitlines() if each.strip()), "")
    return "".join(filter(str.isprintable, line)).strip()[:SUBJECT_CHARACTERS]

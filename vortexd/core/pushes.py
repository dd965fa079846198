"""Commits that the server makes and pushes to a repository: the nouns that sources and the pipeline share. Pure."""

import enum
from collections.abc import Sequence

import attrs

from .errors import SourceError

# Stands in the reason of a `PushError` before the words of the remote. Logs and answers have them, but the audit log doesn't:
# a hook may quote a value of the configuration.
REMOTE_SAYS = "; the remote says: "


@attrs.frozen(slots=True)
class Branch:
    """A branch that serves a label.

    Attributes:
        source: The name of the source.
        name: The name of the branch, without `refs/heads/`.
        head: The newest commit of the branch that the source knows. It may be newer than the served one.
        labels: The labels that are served from the branch.
        pushes: Whether the source is set to push.
    """

    source: str
    name: str
    head: str
    labels: Sequence[str]
    pushes: bool


@attrs.frozen(slots=True)
class FileChange:
    """The new content of a path. None deletes the file."""

    path: str
    content: bytes | None


@attrs.frozen(slots=True)
class NewCommit:
    """A commit that a source makes.

    Attributes:
        head: The commit before it.
        changes: The files that differ from those of `head`.
        author: The name of the author.
        seconds: The time of the commit, in seconds since the epoch.
        origin: The commit that the changed files come from, or "". A file that `head` doesn't have is executable if it is
            so there.
    """

    head: str
    changes: Sequence[FileChange]
    message: str
    author: str
    seconds: int
    origin: str = ""


class PushFault(enum.Enum):
    """The cause of a failed push."""

    MOVED = "the branch has moved meanwhile"
    REJECTED = "the remote rejects the push"
    AWAY = "the remote can't be reached, or refuses the connection"
    LOCAL = "the server can't make or push the commit"
    UNKNOWN = "it isn't known whether the push has arrived"


class PushError(SourceError):
    """A commit can't be made or pushed. Unless the fault is UNKNOWN, nothing has changed at the remote."""

    def __init__(self, reason: str, fault: PushFault) -> None:
        self.fault = fault
        super().__init__(reason)

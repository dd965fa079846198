"""The errors that vortexd raises, each with the party that made the mistake.

    VortexdError
    ├── SettingsError      the operator: vortexd.toml or the command line; lists every problem at once
    ├── StartError         the operator or the machine: a port in use, a missing directory
    ├── SourceError        a source can't be read now; the last good state stays, and the server tries again
    ├── FormatError        the author of one configuration file: path, line, reason
    ├── ResolveError       files that parse but can't be combined for one key
    └── RemoteError        the peer: carries the HTTP status of the answer
        ├── InvalidName    an invalid application, profile or label
        ├── UnknownLabel   a label that the sources don't have
        └── RefusedLabel   a label that the gate holds back and that was never served

vortexd doesn't expect any other error. Such an error propagates and ends the daemon with a traceback.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from .model import Key

# The largest number of labels that one error text lists.
_NAMED = 10

# A git commit, in full or abbreviated as git does it.
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


class VortexdError(Exception):
    """The root of the tree. It is never raised itself."""


class SettingsError(VortexdError):
    """The settings can't be used.

    Attributes:
        problems: Pairs of a key path and a text. The path is like `server.bind[0]`, or "" for the whole file. The
            text says what is wrong and what is allowed.
        origin: The file that the settings come from, or "command line".
    """

    def __init__(self, problems: Sequence[tuple[str, str]], origin: str = "settings") -> None:
        self.problems = tuple(problems)
        self.origin = origin
        super().__init__("\n".join(f"{origin}: {path + ': ' if path else ''}{text}" for path, text in self.problems))


class StartError(VortexdError):
    """The daemon can't start. The text is one sentence: what is wrong, where, and what to do."""


class SourceError(VortexdError):
    """A source can't be read now. This is expected: the caller keeps the last good state, reports it and tries again."""


class FormatError(VortexdError):
    """A configuration file can't be used. `str()` is `path:line:column: reason`. Lines and columns count from 1.

    The reason never quotes a value from the file, because it is logged and values may be secrets.
    """

    def __init__(self, path: str, reason: str, line: int | None = None, column: int | None = None) -> None:
        self.path = path
        self.reason = reason
        self.line = line
        self.column = column
        place = "".join(f":{number}" for number in (line, column) if number is not None)
        super().__init__(f"{path}{place}: {reason}")


class ResolveError(VortexdError):
    """Files that parse separately can't be combined for a key. `path` names the file at fault, or is None."""

    def __init__(self, reason: str, path: str | None = None) -> None:
        self.reason = reason
        self.path = path
        super().__init__(f"{path}: {reason}" if path else reason)


class RemoteError(VortexdError):
    """The peer made a mistake.

    Attributes:
        status: The HTTP status of the answer.
        reason: A sentence for the peer. It reveals nothing about the file system.
        headers: Additional HTTP headers: `Retry-After`, `Allow`, `WWW-Authenticate`.
    """

    status = 400

    def __init__(self, reason: str, status: int | None = None, headers: Mapping[str, str] | None = None) -> None:
        self.reason = reason
        self.headers: Mapping[str, str] = headers or {}
        if status is not None:
            self.status = status
        super().__init__(reason)


class InvalidName(RemoteError):
    """An application, profile or label is invalid, independently of the sources."""


class UnknownLabel(RemoteError):
    """The sources don't have a label. On status 404, Spring's clients try their next label.

    Attributes:
        alternatives: The same key under labels that exist. They may be named only to peers that may read them.
    """

    status = 404

    @classmethod
    def named(cls, label: str) -> "UnknownLabel":
        """Make the error for a label, with a hint if it looks like a commit. The text doesn't repeat the label."""
        hint = "; if the label is a commit, use its full name and set commits = true for its git source"
        return cls("no such label" + (hint if _COMMIT.fullmatch(label) else ""))

    def __init__(self, reason: str, status: int | None = None, alternatives: Sequence[Key] = ()) -> None:
        self.alternatives = tuple(alternatives)
        super().__init__(reason, status)

    def for_peer(self, may_have: Callable[[Key], bool]) -> RemoteError:
        """Make the error for one peer: the reason, and the labels that the peer may read."""
        existing = [key.label for key in self.alternatives if may_have(key)]
        if not existing:
            return RemoteError(self.reason, self.status)
        more = len(existing) - _NAMED
        named = ", ".join(existing[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        return RemoteError(f"{self.reason}; there are {named}", self.status)


class RefusedLabel(RemoteError):
    """The gate holds a label back, and no earlier state of it can be served. A later state may be accepted.

    Attributes:
        key: The key that was asked for.
        details: The headers that say why. Only peers that may read the key get them.
    """

    status = 503

    def __init__(self, key: Key, details: Mapping[str, str]) -> None:
        self.key = key
        self.details = details
        super().__init__(
            "the gate holds this label back, and no earlier state of it is known", headers={"Retry-After": "5"}
        )

    def for_peer(self, may_read: Callable[[Key], bool]) -> RemoteError:
        """Make the error for one peer."""
        details = self.details if may_read(self.key) else {}
        return RemoteError(self.reason, self.status, {**self.headers, **details})

"""The errors vortexd raises, and whose mistake each one is.

    VortexdError
    ├── SettingsError      the operator's: vortexd.toml or the command line, every problem at once
    ├── StartError         the operator's or the machine's: a port in use, a directory that isn't there
    ├── SourceError        a source that can't be read now; the last good state stays, it is tried again
    ├── FormatError        the author's of one configuration file: path, line, reason
    ├── ResolveError       files that parse but can't be combined for one key
    └── RemoteError        the peer's: carries the HTTP status it deserves
        ├── InvalidName    an application, profile or label that can't be one
        └── UnknownLabel   a label the sources don't have

What isn't in this tree is nobody's expected error: it propagates and ends the daemon loudly.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from .model import Key

# Labels in one sentence.
_NAMED = 10

# The name of a git commit, whole or abbreviated as git does it.
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


class VortexdError(Exception):
    """The root of the tree. Never raised itself."""


class SettingsError(VortexdError):
    """Settings that can't be used.

    Attributes:
        problems: Pairs of key path (`server.bind[0]`, or "" for the whole file) and what is wrong and allowed.
        origin: The file they were read from, or "command line".
    """

    def __init__(self, problems: Sequence[tuple[str, str]], origin: str = "settings") -> None:
        self.problems = tuple(problems)
        self.origin = origin
        super().__init__("\n".join(f"{origin}: {path + ': ' if path else ''}{text}" for path, text in self.problems))


class StartError(VortexdError):
    """The daemon can't start: one sentence that says what, where and what to do."""


class SourceError(VortexdError):
    """A source can't be read now. Expected: the caller keeps the last good state, says so, and tries again."""


class FormatError(VortexdError):
    """A configuration file that can't be used. `str()` is `path:line:column: reason`; lines and columns count from 1.

    The reason never quotes a value from the file: it goes to logs, and values may be secrets.
    """

    def __init__(self, path: str, reason: str, line: int | None = None, column: int | None = None) -> None:
        self.path = path
        self.reason = reason
        self.line = line
        self.column = column
        place = "".join(f":{number}" for number in (line, column) if number is not None)
        super().__init__(f"{path}{place}: {reason}")


class ResolveError(VortexdError):
    """Files that are sound one by one can't be combined for this key. `path` names the file at fault, if there is one."""

    def __init__(self, reason: str, path: str | None = None) -> None:
        self.reason = reason
        self.path = path
        super().__init__(f"{path}: {reason}" if path else reason)


class RemoteError(VortexdError):
    """The peer's mistake.

    Attributes:
        status: The HTTP status to answer with.
        reason: A sentence for the peer; holds nothing of the file system.
        headers: What HTTP says beside the status: `Retry-After`, `Allow`, `WWW-Authenticate`.
    """

    status = 400

    def __init__(self, reason: str, status: int | None = None, headers: Mapping[str, str] | None = None) -> None:
        self.reason = reason
        self.headers: Mapping[str, str] = headers or {}
        if status is not None:
            self.status = status
        super().__init__(reason)


class InvalidName(RemoteError):
    """An application, profile or label that can't be one, whatever the sources hold."""


class UnknownLabel(RemoteError):
    """A label the sources don't have. Spring's clients try their next label on 404.

    Attributes:
        alternatives: The same key under labels that there are; to be named to those who may have them.
    """

    status = 404

    @classmethod
    def named(cls, label: str) -> "UnknownLabel":
        """The error for a label, with a hint where it looks like a commit. The text doesn't repeat the label."""
        hint = "; a commit is a label by its full name, where its git source has commits = true"
        return cls("no such label" + (hint if _COMMIT.fullmatch(label) else ""))

    def __init__(self, reason: str, status: int | None = None, alternatives: Sequence[Key] = ()) -> None:
        self.alternatives = tuple(alternatives)
        super().__init__(reason, status)

    def for_peer(self, may_have: Callable[[Key], bool]) -> RemoteError:
        """What one peer is told: the reason, with the labels that it may have."""
        there_are = [key.label for key in self.alternatives if may_have(key)]
        if not there_are:
            return RemoteError(self.reason, self.status)
        more = len(there_are) - _NAMED
        named = ", ".join(there_are[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        return RemoteError(f"{self.reason}; there are {named}", self.status)

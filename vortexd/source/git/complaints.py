"""Finds the fault behind git's error messages: the output of a failed call arrives, and the cause leaves. Pure.

The invariant: only git's own messages decide. git puts `remote:` before each line from a remote, so a remote can't fake
a message of git.
"""

import enum
import re
from collections.abc import Collection

# A full disk and a used-up quota have the same consequences.
_FULL = re.compile(r"No space left on device|Disk quota exceeded", re.IGNORECASE)
# The checks of `fetch.fsckObjects` print such a line about an object before git fails.
_REFUSED = re.compile(r"^error: object ([0-9a-f]{40,64})[^:]*: (\w+): (.*)", re.MULTILINE)
_GAVE_UP = re.compile(r"^fatal: fsck (?:error|failed)", re.MULTILINE)
# The remote's own message, with which `git upload-pack` ends if it can't read a requested object.
_CORRUPT = "aborting due to possible repository corruption on the remote side"
_SHALLOW = "shallow roots are not allowed to be updated"
# The lines in which `git push --porcelain` reports a ref that wasn't pushed. In the parentheses git repeats the remote's
# reason.
_MOVED = re.compile(r"^!\t\S+\t\[rejected\] \((?:stale info|fetch first|non-fast-forward)\)$", re.MULTILINE)
_REJECTED = re.compile(r"^!\t\S+\t\[(?:remote )?rejected\] ", re.MULTILINE)
# Lines of the remote that are shown, and the characters of each.
_REMOTE_LINES, _REMOTE_WIDTH = 5, 200
# Sequences that colour text or move the cursor, and the user and password of an address.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_USER_INFORMATION = re.compile(r"://[^/\s@]+@")
_UP_TO_DATE = re.compile(r"^=\t\S+\t\[up to date\]$", re.MULTILINE)
_DENIED = re.compile(
    r"^fatal: (?:Authentication failed for |could not read (?:Username|Password) for "
    r"|unable to access '[^'\n]*': The requested URL returned error: 40[13]$)",
    re.MULTILINE,
)
# git prints these before the remote has sent its refs, so nothing was pushed.
_UNREACHED = re.compile(
    r"^fatal: (?:unable to access '|repository '[^'\n]*' not found|Could not read from remote repository\."
    r"|unable to connect to |unable to look up |'[^'\n]*' does not appear to be a git repository)",
    re.MULTILINE,
)
_KEY_REFUSED = re.compile(r"^[^:\n]+@[^:\n]+: Permission denied \([^)\n]*publickey", re.MULTILINE)


class Fault(enum.Enum):
    """The cause of a failed call of git."""

    UNKNOWN = "unknown"
    LATE = "it was ended because it took too long"
    FULL = "there is no room on the disk"
    OBJECT = "git refuses an object of the remote, or the remote can't read it"
    REMOTE = "the remote or the connection to it"
    SHALLOW = "the remote is a shallow clone"
    MOVED = "the branch of the remote isn't at the expected commit"
    REJECTED = "the remote rejects the push, or the credentials"
    UNREACHED = "the remote couldn't be asked for its refs"


def fault_of(complaint: str) -> Fault:
    """Return the cause, judging by git's output."""
    if _FULL.search(complaint):
        return Fault.FULL
    if _CORRUPT in complaint or (_GAVE_UP.search(complaint) and _REFUSED.search(complaint)):
        return Fault.OBJECT
    return Fault.SHALLOW if is_shallow(complaint) else Fault.UNKNOWN


def was_there(report: str) -> bool:
    """Return whether the remote had the pushed commit already, by the output of `git push --porcelain`."""
    return _UP_TO_DATE.search(report) is not None


def remote_lines(complaint: str, secrets: Collection[str]) -> list[str]:
    """Return the first lines that the remote has sent, such as those of a hook: few, short, printable, without a credential."""
    found: list[str] = []
    for line in complaint.splitlines():
        if not line.startswith("remote:"):
            continue
        said = _ESCAPES.sub("", line.removeprefix("remote:")).replace("\t", " ")
        said = "".join(filter(str.isprintable, said)).strip()
        # A secret must not be cut in two.
        for secret in sorted(secrets, key=len, reverse=True):
            said = said.replace(secret, "***")
        said = _USER_INFORMATION.sub("://***@", said)[:_REMOTE_WIDTH]
        if said:
            found.append(said)
    return found[:_REMOTE_LINES]


def push_fault_of(complaint: str) -> Fault:
    """Return the cause of a failed push. If it is UNKNOWN, the push may have arrived."""
    if _MOVED.search(complaint):
        return Fault.MOVED
    if _REJECTED.search(complaint) or _DENIED.search(complaint) or is_key_refused(complaint):
        return Fault.REJECTED
    return Fault.UNREACHED if _UNREACHED.search(complaint) else Fault.UNKNOWN


def is_shallow(complaint: str) -> bool:
    """Return whether git left out refs of a shallow remote. git prints this as a warning, and succeeds."""
    return _SHALLOW in complaint


def is_key_refused(complaint: str) -> bool:
    """Return whether ssh failed because the remote accepted none of the keys."""
    return _KEY_REFUSED.search(complaint) is not None


def culprit(complaint: str) -> str:
    """Name the object at fault, the reason and the remedy."""
    refused = _REFUSED.search(complaint)
    if refused is None:
        return "the remote can't read an object of its own; run git fsck there"
    id, kind, words = refused.groups()
    # After a colon git quotes the object, and an address in it may contain a password.
    words = "".join(filter(str.isprintable, words.partition(":")[0]))[:200]
    return f"object {id}: {kind}: {words}; rewrite the commits that have it (git filter-repo)"

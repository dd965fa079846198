"""What git's complaints mean: in comes what it printed as it failed, out goes where the fault lies. Pure.

The invariant: git's own words alone decide. git puts `remote:` before each line of a remote, so a remote can't speak for git.
"""

import enum
import re

# A full disk and a used-up quota are the same to us.
_FULL = re.compile(r"No space left on device|Disk quota exceeded", re.IGNORECASE)
# The checks of `fetch.fsckObjects` name an object like this before they give up.
_REFUSED = re.compile(r"^error: object ([0-9a-f]{40,64})[^:]*: (\w+): (.*)", re.MULTILINE)
_GAVE_UP = re.compile(r"^fatal: fsck (?:error|failed)", re.MULTILINE)
# A remote's own words, by which `git upload-pack` ends where it can't read what it was asked for.
_CORRUPT = "aborting due to possible repository corruption on the remote side"
_SHALLOW = "shallow roots are not allowed to be updated"
_KEY_REFUSED = re.compile(r"^[^:\n]+@[^:\n]+: Permission denied \([^)\n]*publickey", re.MULTILINE)


class Fault(enum.Enum):
    """Where the fault of a failed call of git lies."""

    UNKNOWN = "unknown"
    LATE = "it was ended because it took too long"
    FULL = "there is no room on the disk"
    OBJECT = "an object of the remote, which git refuses or the remote can't read"
    REMOTE = "the remote, or the way to it"
    SHALLOW = "the remote lacks the past of what it has"


def fault_of(complaint: str) -> Fault:
    """Where the fault lies, by what git has printed."""
    if _FULL.search(complaint):
        return Fault.FULL
    if _CORRUPT in complaint or (_GAVE_UP.search(complaint) and _REFUSED.search(complaint)):
        return Fault.OBJECT
    return Fault.SHALLOW if is_shallow(complaint) else Fault.UNKNOWN


def is_shallow(complaint: str) -> bool:
    """Whether git left out refs of a shallow remote. It says so as a warning, and succeeds."""
    return _SHALLOW in complaint


def is_key_refused(complaint: str) -> bool:
    """Whether ssh ended because the remote took none of the keys."""
    return _KEY_REFUSED.search(complaint) is not None


def culprit(complaint: str) -> str:
    """Which object is at fault, why, and what helps."""
    refused = _REFUSED.search(complaint)
    if refused is None:
        return "the remote can't read an object of its own; run git fsck there"
    id, kind, words = refused.groups()
    # Behind a colon git quotes the object, and an address in it may hold a password.
    words = "".join(filter(str.isprintable, words.partition(":")[0]))[:200]
    return f"object {id}: {kind}: {words}; rewrite the commits that have it (git filter-repo)"

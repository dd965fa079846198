"""How HTTP reports broken files: errors with the header `X-Vortex-Broken`, and members of JSON responses. Pure.

All endpoints use these texts. So each of them names the same file and line, and says which content the affected keys get.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.broken_files import HEADER, broken_headers
from ..core.errors import RemoteError
from ..core.model import BrokenFile, HeldBack


def unreadable(broken: Sequence[BrokenFile] = ()) -> RemoteError:
    """Make the error for a configuration that can't be resolved.

    The body names no path. The header names the paths, because the client may read the key.
    """
    where = f"the header {HEADER}, /status and the server's log name" if broken else "the server's log names"
    return RemoteError(f"the configuration can't be read; {where} the file at fault", 500, broken_headers(broken))


def members(broken: BrokenFile) -> dict[str, Any]:
    """Make the JSON object for a broken file."""
    return {
        "label": broken.label,
        "file": broken.path,
        "line": broken.line,
        "column": broken.column,
        "reason": broken.reason,
        "served": broken.served.value,
        "last_good": broken.revision,
    }


def held_back_members(held: HeldBack) -> dict[str, Any]:
    """Make the JSON object for a broken file, with the keys that the file holds back."""
    keys: Mapping[str, Any] = {"count": held.count, "first": [str(key) for key in held.keys]}
    return members(held.file) | {"held_back": keys}

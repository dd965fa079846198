"""How HTTP reports broken files: the header `X-Vortex-Broken`, and members of JSON responses. Pure.

All endpoints use these texts. So each of them names the same file and line, and says which content the affected keys get.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ..core.errors import RemoteError
from ..core.model import BrokenFile, HeldBack

HEADER = "X-Vortex-Broken"
# At most this many files, because proxies limit the size of headers.
_IN_HEADER = 8
_PATH_BYTES = 256
# The characters that a string of RFC 9651 needs no escape for, without the percent sign.
_UNQUOTED = "/ !#$&'()*+,;=:@[]^`{|}~-._"


def broken_headers(broken: Sequence[BrokenFile]) -> dict[str, str]:
    """Make the header for a key that reads broken files: a list of RFC 9651. If no file is broken, there is no header.

    Each item is a percent-encoded path with parameters: `line`, if it is known, and `served`, which is `last_good`,
    `without` or `nothing`.
    """
    if not broken:
        return {}
    return {HEADER: ", ".join(map(_item, broken[:_IN_HEADER]))}


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


def _item(broken: BrokenFile) -> str:
    line = "" if broken.line is None else f";line={broken.line}"
    return f'"{_quoted(broken.path)}"{line};served={broken.served.value}'


def _quoted(path: str) -> str:
    """Percent-encode a path. If it is too long, it is cut between two characters."""
    found = ""
    for character in path:
        quoted = quote(character, safe=_UNQUOTED)
        if len(found) + len(quoted) > _PATH_BYTES:
            break
        found += quoted
    return found

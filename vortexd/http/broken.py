"""How HTTP reports broken files: the header `X-Vortex-Broken`, and members of JSON responses. Pure.

In come broken files, out go texts. The invariant: every surface names the same file and line, and says what the keys that read the file get.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ..core.errors import RemoteError
from ..core.model import BrokenFile, HeldBack

HEADER = "X-Vortex-Broken"
# A header has to stay within what proxies take.
_IN_HEADER = 8
_PATH_BYTES = 256
# What stands for itself in a string of RFC 9651, but for the percent sign.
_UNQUOTED = "/ !#$&'()*+,;=:@[]^`{|}~-._"


def broken_headers(broken: Sequence[BrokenFile]) -> dict[str, str]:
    """The header of an answer for a key that reads broken files: a list of RFC 9651; none where nothing is broken.

    Each item is a path, percent-encoded, with the parameters `line` (if it is known) and `served` (`last_good`, `without` or `nothing`).
    """
    if not broken:
        return {}
    return {HEADER: ", ".join(map(_item, broken[:_IN_HEADER]))}


def unreadable(broken: Sequence[BrokenFile] = ()) -> RemoteError:
    """What is answered where a configuration can't be resolved. The body names no path; the header does, for who may read the key."""
    where = f"the header {HEADER}, /status and the server's log name" if broken else "the server's log names"
    return RemoteError(f"the configuration can't be read; {where} the file at fault", 500, broken_headers(broken))


def members(broken: BrokenFile) -> dict[str, Any]:
    """A broken file as a JSON object."""
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
    """A broken file with the keys that it holds back, as a JSON object."""
    keys: Mapping[str, Any] = {"count": held.count, "first": [str(key) for key in held.keys]}
    return members(held.file) | {"held_back": keys}


def _item(broken: BrokenFile) -> str:
    line = "" if broken.line is None else f";line={broken.line}"
    return f'"{_quoted(broken.path)}"{line};served={broken.served.value}'


def _quoted(path: str) -> str:
    """A path, percent-encoded, and cut between two characters where it is too long."""
    found = ""
    for character in path:
        quoted = quote(character, safe=_UNQUOTED)
        if len(found) + len(quoted) > _PATH_BYTES:
            break
        found += quoted
    return found

"""The header `X-Vortex-Broken`, which names the broken files of a response or of a refused handshake. Pure."""

from collections.abc import Sequence
from urllib.parse import quote

from .errors import FormatError, ResolveError
from .model import BrokenFile, Key, Served

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


def at_fault(error: FormatError | ResolveError, key: Key) -> list[BrokenFile]:
    """Return the file because of which a key can't be resolved; none if the error names no file."""
    if error.path is None:
        return []
    line, column = (error.line, error.column) if isinstance(error, FormatError) else (None, None)
    return [BrokenFile(key.label, "", error.path, line, column, error.reason, Served.NOTHING)]


def _item(broken: BrokenFile) -> str:
    line = "" if broken.line is None else f";line={broken.line}"
    return f'"{quoted(broken.path)}"{line};served={broken.served.value}'


def quoted(path: str) -> str:
    """Percent-encode a path for a string of a header. If it is too long, it is cut between two characters."""
    found = ""
    for character in path:
        quoted = quote(character, safe=_UNQUOTED)
        if len(found) + len(quoted) > _PATH_BYTES:
            break
        found += quoted
    return found

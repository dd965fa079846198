"""`--source` on the command line, if it names a repository: by its address, or as a bare repository on this machine."""

import os
import re
from urllib.parse import quote

# git, too, treats a text with a colon before any slash as an address.
_HOST_AND_PATH = re.compile(r"[^/:]+:[^:]")


def is_address(source: str) -> bool:
    """Return whether a text is the address of a git repository, not a path: `scheme://…` or `[user@]host:path`."""
    return "://" in source or _HOST_AND_PATH.match(source) is not None


def is_bare_repository(path: str) -> bool:
    """Return whether a directory is a git repository without a working tree."""
    parts = (os.path.isdir(os.path.join(path, name)) for name in ("objects", "refs"))
    return os.path.isfile(os.path.join(path, "HEAD")) and all(parts)


def address_of(given: str) -> str | None:
    """Return the address of the repository that a text names, or None if it names none.

    If a file has that name, the text is a path.
    """
    if is_address(given) and not os.path.lexists(given):
        return given
    path = os.path.abspath(given)
    return f"file://{quote(path)}" if is_bare_repository(path) else None

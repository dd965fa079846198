"""Paths of configuration files without their extension. Pure."""

from .formats import EXTENSIONS

_SUFFIXES = tuple(f".{extension}" for extension in EXTENSIONS)


def stem(path: str) -> str:
    """Return a path without its extension, if the extension is known. `a.yml` and `a.json` have the same stem."""
    return path[: path.rindex(".")] if path.endswith(_SUFFIXES) else path

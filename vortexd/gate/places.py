"""Finds the file and the line that decide about a place in an effective document. Pure.

Steps into the document arrive, and the property sources that it was merged from. The file and the line leave. They are
those of the strongest source that has the place, or else of its nearest surrounding place.
"""

from collections.abc import Sequence

from ..core.model import OVERRIDES, PropertySource
from ..resolve.explain import is_below

# A value that can't be decrypted is served under its key with this prefix.
_INVALID = "invalid."
_DOCUMENT = " (document #"


def place_of(
    steps: Sequence[str | int], sources: Sequence[PropertySource], roots: Sequence[str]
) -> tuple[str | None, int | None]:
    """Return the file, below the root of its source, and the line. Each is None if it isn't known.

    Args:
        sources: The property sources of the key, highest precedence first.
        roots: The roots of the files, as in `Files.root`.
    """
    for end in range(len(steps), 0, -1):
        key = flat_key(steps[:end])
        for source in sources:
            found = _key_at(key, source)
            if found is not None:
                return _file(source.name, roots), _line(found, source)
    first = next((source for source in sources if source.name != OVERRIDES), None)
    return (None if first is None else _file(first.name, roots)), None


def flat_key(steps: Sequence[str | int]) -> str:
    """Return steps into a document as a flat key: `a.b[0].c`."""
    key = ""
    for step in steps:
        key += f"[{step}]" if isinstance(step, int) else f".{step}" if key else step
    return key


def _key_at(key: str, source: PropertySource) -> str | None:
    """Return the key of a source that is at a place or, if there is none, the first one below it."""
    if key in source.values:
        return key
    return next((each for each in source.values if is_below(each, key)), None)


def _line(key: str, source: PropertySource) -> int | None:
    place = source.origins.get(key) or source.origins.get(key.removeprefix(_INVALID))
    return None if place is None else place[0]


def _file(name: str, roots: Sequence[str]) -> str:
    name = name.partition(_DOCUMENT)[0]
    root = max((root for root in roots if name.startswith(root)), key=len, default="")
    return name.removeprefix(root)

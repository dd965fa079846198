"""The files of a key as JSON, for records. Pure.

Contents are base64. Of the edits, only the last commit of each path is kept.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ..core.model import Edits, Files, Key, Origin

Labels = tuple[tuple[Files, ...], ...]
# The end of the year 9999, in seconds since the epoch. No later date can be written.
_LAST = 253_402_300_799


def labels_members(labels: Labels) -> list[list[dict[str, Any]]]:
    """Return the JSON of the files of each label of a key."""
    return [[_layer_members(layer) for layer in layers] for layers in labels]


def parse_labels(found: Sequence[Sequence[Mapping[str, Any]]], key: Key) -> Labels:
    """Parse the files of the labels of a key. Raises ValueError, KeyError, TypeError or AttributeError."""
    labels = tuple(tuple(map(_layer, layers)) for layers in found)
    if len(labels) != len(key.labels):
        raise ValueError("it has files of other labels than its key")
    return labels


def _layer_members(files: Files) -> dict[str, Any]:
    edits = files.edits
    return {
        "root": files.root,
        "locations": files.locations,
        "applications": files.applications,
        "group": files.group,
        "revision": files.revision,
        "origin": _origin_members(files.origin),
        "edits": None if edits is None else {path: _origin_members(each) for path, (_, each) in edits.by_path.items()},
        "contents": {path: base64.b64encode(content).decode() for path, content in files.contents.items()},
    }


def _layer(found: Mapping[str, Any]) -> Files:
    edits = found["edits"]
    contents = {text(path): base64.b64decode(text(each), validate=True) for path, each in found["contents"].items()}
    group = found["group"]
    if not isinstance(group, int):
        raise TypeError("a group isn't a number")
    return Files(
        contents,
        root=text(found["root"]),
        locations=tuple(map(text, found["locations"])),
        applications=tuple(map(text, found["applications"])),
        group=group,
        revision=optional(found["revision"]),
        origin=_origin(found["origin"]),
        edits=None if edits is None else Edits(0, {path: (0, _known_origin(each)) for path, each in edits.items()}),
    )


def _origin_members(origin: Origin | None) -> dict[str, str] | None:
    return None if origin is None else attrs.asdict(origin)


def _origin(found: Mapping[str, Any] | None) -> Origin | None:
    return None if found is None else _known_origin(found)


def _known_origin(found: Mapping[str, Any]) -> Origin:
    return Origin(*(text(found[name]) for name in ("commit", "author", "time")))


def optional(found: object) -> str | None:
    """Return a text or None. Raises TypeError."""
    return None if found is None else text(found)


def text(found: object) -> str:
    """Return a text. Raises TypeError."""
    if not isinstance(found, str):
        raise TypeError("not a text")
    return found


def seconds(found: object) -> float:
    """Return a time in seconds since the epoch. Raises TypeError or ValueError."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise TypeError("not a number")
    if not 0 <= found <= _LAST:
        raise ValueError("no time that a date can be written for")
    return float(found)

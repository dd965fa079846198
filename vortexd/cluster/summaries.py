"""Summaries: how many instances of each key are in each state at one node, as records in the store. Pure.

The counts of a node arrive, and leave as parts of a bounded size. A part can be read without the others. It has a format
number, as all records have.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import orjson

from ..core.generation import Generation
from ..core.model import Key
from ..fleet.pages import KeyState
from .records import FORMAT, Unusable, record_table

# The limits of a summary: bytes of a part, and parts of a node.
PART_BYTES = 262_144
MOST_PARTS = 16
# The longest name in a key. `core.names` accepts at most 16 names of 128 characters.
_LONGEST_NAME = 2_100
_LONGEST_VERSION = 64
_LARGEST = 2**53
_HEAD, _TAIL = b'{"format":%d,"keys":[' % FORMAT, b"]}"
_COUNTS = ("connected", "applied", "rejected", "gone", "unlisted")


def encode(states: Iterable[KeyState]) -> list[bytes]:
    """Encode counts, one text for each key."""
    return [
        orjson.dumps(
            [
                *(each.key.application, each.key.profile, each.key.label, each.version, each.changed),
                *(getattr(each, name) for name in _COUNTS),
                *([str(each.generation)] if each.generation is not None else ()),
            ]
        )
        for each in states
    ]


def split(texts: Sequence[bytes]) -> list[bytes]:
    """Join texts to parts of at most `PART_BYTES`. There is at least one part."""
    parts: list[bytes] = []
    room, found = 0, list[bytes]()
    for text in texts:
        if found and len(text) + 1 > room:
            parts.append(_HEAD + b",".join(found) + _TAIL)
            found = []
        if not found:
            room = PART_BYTES - len(_HEAD) - len(_TAIL) + 1
        found.append(text)
        room -= len(text) + 1
    parts.append(_HEAD + b",".join(found) + _TAIL)
    return parts


def parse(data: bytes) -> tuple[KeyState, ...]:
    """Read a part.

    Raises:
        Unusable: See the class.
    """
    keys = record_table(data, PART_BYTES).get("keys")
    if not isinstance(keys, list):
        raise Unusable("it has no list of keys")
    return tuple(map(_state, keys))


def whole(parts: Iterable[tuple[KeyState, ...]]) -> tuple[KeyState, ...]:
    """Join the parts of one node, the oldest first. If a key is in several parts, the newest part counts."""
    return tuple(state for _, state in sorted({state.key: state for part in parts for state in part}.items()))


def _state(found: Any) -> KeyState:
    if not isinstance(found, list) or not 0 <= len(found) - 5 - len(_COUNTS) <= 1:
        raise Unusable("a key isn't a list of ten or eleven items")
    *names, version, changed = found[:5]
    counts, generation = found[5 : 5 + len(_COUNTS)], found[5 + len(_COUNTS) :]
    if not all(isinstance(each, str) and len(each) <= _LONGEST_NAME for each in names):
        raise Unusable("a key has no name")
    if version is not None and not (isinstance(version, str) and len(version) <= _LONGEST_VERSION):
        raise Unusable("a version isn't a text")
    if not _is_number(changed) or not all(type(each) is int and _is_number(each) for each in counts):
        raise Unusable("a count isn't a number, or is too large")
    if not all(isinstance(each, str) for each in generation):
        raise Unusable("a generation isn't a text")
    claimed = Generation.parse(generation[0]) if generation else None
    state = attrs.evolve(KeyState(Key(*names), version, float(changed), *counts), generation=claimed)
    if state.silent < 0 or state.unlisted > state.connected:
        raise Unusable("the counts contradict each other")
    return state


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 <= value <= _LARGEST

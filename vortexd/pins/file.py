"""The file of all pins, `pins.json`, and the records of pins in a cluster: what they hold, and what the log says about them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from ..core.names import parse_key
from ..core.term import Term
from ..shelf.file import RecordsFile
from ..shelf.kind import Kind, Warnings
from ..shelf.layers import labels_members, optional, parse_labels, seconds, text
from .pin import MOST_PINS, Pin

log = structlog.get_logger()

# Increased when older readers could no longer understand the file.
FORMAT = 1
FILE = "pins.json"
# The limit of the file. It is enough for 100 pins with the most bytes, which take a third more as base64.
MAX_BYTES = 83_886_080


def _set_aside(file: str, reason: str) -> None:
    consequence = "the keys that were pinned are served from their sources"
    log.warning("pins set aside", file=file, reason=reason, consequence=consequence)


def _not_read(reason: str) -> None:
    consequence = "pins that aren't in force yet don't count; all others stay"
    log.warning("pins not read", reason=reason, consequence=consequence)


def _not_copied(reason: str) -> None:
    consequence = "if vortexd restarts while the cluster's store is away, it doesn't know them"
    log.warning("pins not copied", reason=reason, consequence=consequence)


def _not_shared(pin: Pin, reason: str) -> None:
    consequence = "this key is served from its sources; pin it again"
    log.warning("pin not shared", key=str(pin.key), reason=reason, consequence=consequence)


def _unusable(name: str, reason: str) -> None:
    log.warning("cluster pin unusable", record=name, reason=reason, consequence="this node passes over it")


def _members(pin: Pin) -> dict[str, Any]:
    return {
        "id": pin.id,
        "key": [pin.key.application, pin.key.profile, pin.key.label],
        "version": pin.version,
        "commit": pin.commit,
        "reason": pin.reason,
        "by": pin.by,
        "since": pin.term.since,
        "until": pin.term.until,
        "labels": labels_members(pin.labels),
    }


def _parse(found: Mapping[str, Any]) -> Pin:
    id, version, reason, by = [text(found[name]) for name in ("id", "version", "reason", "by")]
    key = parse_key(*map(text, found["key"]))
    until = found["until"]
    term = Term(seconds(found["since"]), None if until is None else seconds(until))
    if term.until is not None and term.until < term.since:
        raise ValueError("a pin ends before it begins")
    return Pin(id, key, version, optional(found["commit"]), reason, by, term, parse_labels(found["labels"], key))


PINS = Kind(
    noun="pin",
    file=FILE,
    format=FORMAT,
    max_bytes=MAX_BYTES,
    most=MOST_PINS,
    too_large="lift a pin, or pin a key with smaller files",
    members=_members,
    parse=_parse,
    key=lambda pin: pin.key,
    mark=lambda pin: pin.id,
    order=lambda pin: (pin.term.since, pin.id),
    counts=lambda pin, now: not pin.has_ended(now),
    warnings=Warnings(_set_aside, _not_read, _not_copied, _not_shared, _unusable),
)


class PinsFile(RecordsFile[Pin]):
    """The file of all pins.

    Args:
        directory: The directory of the file. It is made at the first pin.
        max_bytes: The limit of the file.
    """

    def __init__(self, directory: Path, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(PINS, directory, max_bytes)

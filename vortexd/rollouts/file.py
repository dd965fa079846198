"""The file of all roll-outs, `rollouts.json`, and their records in a cluster: what they hold, and what the log says about them."""

from collections.abc import Mapping
from typing import Any

import structlog

from ..core.names import parse_key
from ..shelf.kind import Kind, Warnings
from ..shelf.layers import labels_members, optional, parse_labels, seconds, text
from .rollout import PLACES, Plan, Rollout, Status

log = structlog.get_logger()

# Increased when older readers could no longer understand the file.
FORMAT = 1
FILE = "rollouts.json"
# The limits: the file in bytes, the records, and the bytes of the files of one record.
MAX_BYTES = 83_886_080
MOST_ROLLOUTS = 1_000
MOST_BYTES = 524_288


def _set_aside(file: str, reason: str) -> None:
    consequence = "roll-outs are over, and all clients get the newest version"
    log.warning("roll-outs set aside", file=file, reason=reason, consequence=consequence)


def _not_read(reason: str) -> None:
    log.warning("roll-outs not read", reason=reason, consequence="roll-outs stay as they are, and no step begins")


def _not_copied(reason: str) -> None:
    consequence = "if vortexd restarts while the cluster's store is away, it doesn't know them"
    log.warning("roll-outs not copied", reason=reason, consequence=consequence)


def _not_shared(rollout: Rollout, reason: str) -> None:
    consequence = "this roll-out is over, and all clients get the newest version"
    log.warning("roll-out not shared", key=str(rollout.key), reason=reason, consequence=consequence)


def _unusable(name: str, reason: str) -> None:
    log.warning("cluster roll-out unusable", record=name, reason=reason, consequence="this node passes over it")


def _members(rollout: Rollout) -> dict[str, Any]:
    plan = rollout.plan
    return {
        "id": rollout.id,
        "key": [rollout.key.application, rollout.key.profile, rollout.key.label],
        "stable": rollout.stable,
        "target": rollout.target,
        "commit": rollout.commit,
        "author": rollout.author,
        "steps": plan.steps,
        "applied": plan.applied,
        "within": plan.within,
        "step": rollout.step,
        "reach": rollout.reach,
        "status": rollout.status.value,
        "reason": rollout.reason,
        "by": rollout.by,
        "began": rollout.began,
        "counted": rollout.counted,
        "stepped": rollout.stepped,
        "revision": rollout.revision,
        "labels": labels_members(rollout.labels),
    }


def _parse(found: Mapping[str, Any]) -> Rollout:
    key = parse_key(*map(text, found["key"]))
    steps = tuple(_whole(each, 1, 100) for each in found["steps"])
    if not steps or steps[-1] != 100 or sorted(set(steps)) != list(steps):
        raise ValueError("no steps")
    reach = found["reach"]
    return Rollout(
        *(text(found["id"]), key, text(found["stable"]), text(found["target"])),
        *(optional(found["commit"]), optional(found["author"])),
        Plan(steps, _whole(found["applied"], 1, 100), seconds(found["within"])),
        _whole(found["step"], 0, len(steps) - 1),
        None if reach is None else _whole(reach, 0, PLACES - 1),
        Status(found["status"]),
        *(text(found["reason"]), text(found["by"])),
        *(seconds(found["began"]), seconds(found["counted"]), seconds(found["stepped"])),
        _whole(found["revision"], 0, PLACES),
        parse_labels(found["labels"], key),
    )


def _whole(found: object, low: int, high: int) -> int:
    if isinstance(found, bool) or not isinstance(found, int):
        raise TypeError("not a whole number")
    if not low <= found <= high:
        raise ValueError("a number out of range")
    return found


ROLLOUTS = Kind(
    noun="roll-out",
    file=FILE,
    format=FORMAT,
    max_bytes=MAX_BYTES,
    most=MOST_ROLLOUTS,
    too_large="end a roll-out, or let fewer keys have one",
    members=_members,
    parse=_parse,
    key=lambda rollout: rollout.key,
    mark=lambda rollout: (rollout.id, rollout.revision),
    order=lambda rollout: (rollout.began, rollout.id),
    counts=lambda rollout, now: True,
    warnings=Warnings(_set_aside, _not_read, _not_copied, _not_shared, _unusable),
)

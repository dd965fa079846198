"""The changes of the records of roll-outs. Pure.

Each of them returns all new records, given all present ones. So it may be made again if another worker or node was faster.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

import attrs

from ..core.errors import RemoteError
from ..core.model import Key
from .file import MOST_BYTES, MOST_ROLLOUTS
from .progress import aborted, changed, resumed
from .rollout import Beginning, Labels, Rollout, Status

RESUME, ABORT, PROMOTE = "resume", "abort", "promote"


def with_beginnings(
    beginnings: Iterable[Beginning], ids: Iterable[str], now: float, records: Sequence[Rollout]
) -> Sequence[Rollout]:
    """Record what has begun. A change that is recorded already stays as it is, whatever its status is.

    Args:
        ids: The ids of new roll-outs, one for each beginning.

    Raises:
        RemoteError: There are too many roll-outs (409), or the files of one are too large (413).
    """
    found = {each.key: each for each in records}
    for begun, id in zip(beginnings, ids, strict=True):
        known = found.get(begun.key)
        if known is not None and known.target == begun.target and (known.stable == begun.stable or _is_done(known)):
            continue
        size = sum(
            len(path) + len(content)
            for layers in begun.labels
            for layer in layers
            for path, content in layer.contents.items()
        )
        if size > MOST_BYTES:
            raise RemoteError(
                f"the files that {begun.key} reads have {size} bytes, and a roll-out takes at most {MOST_BYTES}", 413
            )
        found[begun.key] = Rollout(
            id=id,
            key=begun.key,
            stable=begun.stable,
            target=begun.target,
            commit=begun.commit,
            author=begun.author,
            plan=begun.plan,
            step=0,
            reach=None,
            status=Status.DONE if begun.target == begun.stable else Status.RUNNING,
            reason="",
            by="",
            began=now,
            counted=now,
            stepped=now,
            revision=0,
            labels=begun.labels,
        )
    if len(found) > MOST_ROLLOUTS:
        # Records that are done only remember a version.
        done = sorted((each for each in found.values() if _is_done(each)), key=lambda each: each.stepped)
        for each in done[: len(found) - MOST_ROLLOUTS]:
            del found[each.key]
    if len(found) > MOST_ROLLOUTS:
        raise RemoteError(f"there are {MOST_ROLLOUTS} roll-outs already; end one first", 409)
    return list(found.values())


def _is_done(rollout: Rollout) -> bool:
    return rollout.status is Status.DONE


def with_next(before: Rollout, after: Rollout, records: Sequence[Rollout]) -> Sequence[Rollout]:
    """Replace a roll-out by its next state, unless somebody has changed it meanwhile."""
    return [
        after if (each.key, each.id, each.revision) == (before.key, before.id, before.revision) else each
        for each in records
    ]


def without(keys: Collection[Key], records: Sequence[Rollout]) -> Sequence[Rollout]:
    """Return the records without those of some keys that are done."""
    return [each for each in records if not (each.key in keys and _is_done(each))]


def act_of(
    act: str,
    key: Key,
    target: str | None,
    reason: str,
    by: str,
    now: float,
    files: Callable[[Rollout], Labels],
) -> Callable[[Sequence[Rollout]], Sequence[Rollout]]:
    """Return the change that a person wants.

    Args:
        act: RESUME, ABORT or PROMOTE.
        target: The version that the person means, or None.
        files: Returns the files of the target version. It may raise RemoteError.
    """

    def change(records: Sequence[Rollout]) -> Sequence[Rollout]:
        rollout = found(key, target, records)
        if act == RESUME:
            after = _resumed(rollout, reason, by, now)
        elif act == ABORT:
            if rollout.status is Status.ABORTED:
                raise RemoteError("this roll-out is aborted already; revert the change, or promote it", 409)
            after = aborted(rollout, reason, now, by)
        else:
            after = promoted(rollout, reason, by, now, files(rollout))
        return [after if each is rollout else each for each in records]

    return change


def found(key: Key, target: str | None, records: Iterable[Rollout]) -> Rollout:
    """Return the roll-out of a key.

    Raises:
        RemoteError: There is none (404), it is done, or it has another target (409).
    """
    rollout = next((each for each in records if each.key == key), None)
    if rollout is None or (_is_done(rollout) and not rollout.by and target is None):
        raise RemoteError("this key has no roll-out", 404)
    if target is not None and rollout.target != target:
        raise RemoteError(f"the roll-out of this key is to version {rollout.target}, and not to {target}", 409)
    if _is_done(rollout):
        by = f" by {rollout.by}" if rollout.by else ""
        raise RemoteError(f"the roll-out of this key is done{by}: all clients have version {rollout.target}", 409)
    return rollout


def promoted(rollout: Rollout, reason: str, by: str, now: float, labels: Labels) -> Rollout:
    """Return a roll-out that is done: all clients have its target version from now on.

    Args:
        labels: The files of the target version.
    """
    after = changed(rollout, now, status=Status.DONE, reach=None, reason=reason, by=by)
    return attrs.evolve(after, stable=rollout.target, labels=labels)


def _resumed(rollout: Rollout, reason: str, by: str, now: float) -> Rollout:
    if rollout.status is Status.RUNNING:
        raise RemoteError("this roll-out runs already", 409)
    if rollout.status is Status.ABORTED:
        raise RemoteError("this roll-out was aborted, so it can't be resumed; promote it, or change the document", 409)
    return resumed(rollout, reason, now, by)

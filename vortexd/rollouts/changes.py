"""The changes of the records of roll-outs. Pure.

Each of them returns all new records, given all present ones. So it may be made again if another worker or node was faster.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

import attrs

from ..core.errors import RemoteError
from ..core.model import Key
from ..shelf.file import encode
from .file import MAX_BYTES, MOST_BYTES, MOST_ROLLOUTS, ROLLOUTS
from .progress import aborted, changed, resumed
from .rollout import Beginning, Labels, Rollout, Status

RESUME, ABORT, PROMOTE = "resume", "abort", "promote"
# The bytes by which a record may grow: the reasons of people and instances, the names of people, and numbers.
GROWTH = 8_192
_LONGEST_ID = "0" * 36


def with_beginnings(
    beginnings: Iterable[Beginning],
    ids: Iterable[str],
    now: float,
    records: Sequence[Rollout],
    most: int = MOST_ROLLOUTS,
    most_bytes: int = MAX_BYTES,
    max_record_bytes: int | None = None,
) -> Sequence[Rollout]:
    """Record what has begun. A change that is recorded already stays as it is, whatever its status is.

    A roll-out that doesn't fit is left out, and the others are recorded. A version that only is to be remembered is left
    out without an error.

    Args:
        ids: The ids of new roll-outs, one for each beginning.
        most, most_bytes: The limits of all records. `weight` says what a record takes.
        max_record_bytes: As in `too_large`.

    Raises:
        RemoteError: Roll-outs don't fit, and nothing else has changed: there are too many (409), or the files of one are
            too large (413).
    """
    found = {each.key: each for each in records}
    refused: list[RemoteError] = []
    new: dict[Key, Rollout] = {}
    for begun, id in zip(beginnings, ids, strict=True):
        if is_recorded(begun, found.get(begun.key)):
            continue
        rollout = _begun(begun, id, now)
        if (error := too_large(begun, max_record_bytes)) is None:
            if begun.key not in found:
                new[begun.key] = rollout
            found[begun.key] = rollout
        elif _is_done(rollout):
            found.pop(begun.key, None)
        else:
            refused.append(error)
    if any(not _is_done(each) for each in _make_room(found, new, most, most_bytes)):
        is_full = len(found) >= most
        reason = (
            f"there are {most} roll-outs already"
            if is_full
            else f"all roll-outs would take more than {most_bytes} bytes"
        )
        refused.append(RemoteError(f"{reason}; end one first", 409))
    after = list(found.values())
    if refused and after == [*records]:
        raise refused[0]
    return after


def is_recorded(begun: Beginning, record: Rollout | None) -> bool:
    """Return whether the record of a key is about a change, whatever its status is."""
    is_known = record is not None and record.target == begun.target
    return is_known and record is not None and (record.stable == begun.stable or _is_done(record))


def too_large(begun: Beginning, max_record_bytes: int | None = None) -> RemoteError | None:
    """Return the error if the files of the stable version are too large for a record, or None.

    Args:
        max_record_bytes: The limit of one record in the store of a cluster, or None.
    """
    size = sum(
        len(path) + len(content)
        for layers in begun.labels
        for layer in layers
        for path, content in layer.contents.items()
    )
    if size > MOST_BYTES:
        reason = f"have {size} bytes, and a roll-out takes at most {MOST_BYTES}"
    elif not fits(_begun(begun, _LONGEST_ID, 0.0), max_record_bytes):
        reason = f"are too large for a cluster: its store takes at most {max_record_bytes} bytes of a roll-out"
    else:
        return None
    return RemoteError(f"the files that {begun.key} reads {reason}", 413)


def fits(rollout: Rollout, max_record_bytes: int | None) -> bool:
    """Return whether a record fits into the store of a cluster, whatever becomes of it with the same files."""
    return max_record_bytes is None or len(encode(ROLLOUTS, [rollout])) + GROWTH <= max_record_bytes


def weight(rollout: Rollout) -> int:
    """Return the bytes that a record takes at most, about. Contents are base64, and each file may have an origin."""
    layers = [layer for layers in rollout.labels for layer in layers]
    return 2_048 + sum(
        512 + len(path) + len(each) * 4 // 3 for layer in layers for path, each in layer.contents.items()
    )


def _make_room(found: dict[Key, Rollout], new: dict[Key, Rollout], most: int, most_bytes: int) -> list[Rollout]:
    """Remove records until all fit. Return the new ones that were removed.

    New versions to remember are removed first, and then the oldest records that are done, which only remember a version.
    Then the new roll-outs follow, the last one first.

    Args:
        new: The records of keys that had none before.
    """
    count, size = len(found), sum(map(weight, found.values()))
    if count <= most and size <= most_bytes:
        return []
    done = [each for each in found.values() if _is_done(each) and each.key not in new]
    done.sort(key=lambda each: each.stepped)
    last = [*reversed(new.values())]
    order = [*filter(_is_done, last), *done, *(each for each in last if not _is_done(each))]
    removed = []
    for each in order:
        if count <= most and size <= most_bytes:
            break
        count, size = count - 1, size - weight(each)
        del found[each.key]
        removed.append(each)
    return [each for each in removed if each.key in new]


def _begun(begun: Beginning, id: str, now: float) -> Rollout:
    return Rollout(
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


def with_remembered(
    beginnings: Iterable[Beginning],
    ids: Iterable[str],
    now: float,
    records: Sequence[Rollout],
    most: int = MOST_ROLLOUTS,
    max_record_bytes: int | None = None,
) -> Sequence[Rollout]:
    """Record the versions that all instances have now, of keys without a record. See `with_beginnings` for the arguments.

    If another node was faster, its record stays. It may be a roll-out of a change that this node hasn't read yet.
    """
    known = {each.key for each in records}
    free = [(each, id) for each, id in zip(beginnings, ids, strict=True) if each.key not in known]
    ends = [each for each, _ in free], [id for _, id in free]
    return with_beginnings(*ends, now, records, most=most, max_record_bytes=max_record_bytes)


def _is_done(rollout: Rollout) -> bool:
    return rollout.status is Status.DONE


def with_next(
    steps: Sequence[tuple[Rollout, Rollout]], records: Sequence[Rollout], max_record_bytes: int | None = None
) -> Sequence[Rollout]:
    """Replace roll-outs by their next states, except those that somebody has changed meanwhile.

    If a roll-out is done, and the files of its target are too large for a record, its record is removed. All clients get the
    target, too, but the next process won't know that they have it.

    Args:
        steps: Each roll-out with its next state.
        max_record_bytes: As in `too_large`.
    """
    marks = {(before.key, before.id, before.revision): after for before, after in steps}
    following = [marks.get((each.key, each.id, each.revision), each) for each in records]
    return [
        after
        for each, after in zip(records, following, strict=True)
        if after is each or not _is_done(after) or fits(after, max_record_bytes)
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
    max_record_bytes: int | None = None,
) -> Callable[[Sequence[Rollout]], Sequence[Rollout]]:
    """Return the change that a person wants.

    Args:
        act: RESUME, ABORT or PROMOTE.
        target: The version that the person means, or None.
        files: Returns the files of the target version. It may raise RemoteError.
        max_record_bytes: As in `with_next`.
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
        return with_next([(rollout, after)], records, max_record_bytes)

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

"""The RFC 6902 patch between two documents.

In come two nested documents, out goes a list of operations. Types count: 1, 1.0, true and "1" are four values. jsonpatch
makes the patches of lists, where edit scripts are hard; around it the documents are narrowed to what changed, so that the
cost is linear in the size of the documents and only the changed lists cost more, up to a bound.
"""

from typing import Any

import jsonpatch
import orjson

from .model import Config, Json

# jsonpatch's list diff is quadratic in the worst case: 200 elements take about 20 ms, 10,000 would take minutes.
MAX_LIST_LENGTH = 200

Operation = dict[str, Json]


def diff(old: dict[str, Json], new: dict[str, Json]) -> list[Operation]:
    """Make the operations that turn `old` into `new`; none when they are the same.

    Removals and replacements carry no former values. Deterministic. Takes milliseconds per 10,000 values, so large
    documents belong into a thread.
    """
    operations: list[Operation] = []
    _diff_objects(old, new, "", operations)
    return operations


def patch_between(old: Config, new: Config) -> bytes | None:
    """Make the patch as compact JSON, or None where it would be no shorter than the new document itself."""
    patch = orjson.dumps(diff(old.document, new.document))
    return patch if len(patch) < len(new.body) else None


def is_same(one: Json, other: Json) -> bool:
    """Whether two JSON values are the same, types included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, float):
        # As text, which tells 0.0 from -0.0: versions are made of text, so an equal pair with two versions must not be.
        return repr(one) == repr(other)
    return one == other


def _diff_values(old: Json, new: Json, path: str, operations: list[Operation]) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        _diff_objects(old, new, path, operations)
    elif isinstance(old, list) and isinstance(new, list):
        _diff_lists(old, new, path, operations)
    elif not is_same(old, new):
        operations.append({"op": "replace", "path": path, "value": new})


def _diff_objects(old: dict[str, Json], new: dict[str, Json], path: str, operations: list[Operation]) -> None:
    for name in sorted(old.keys() | new.keys()):
        # RFC 6901 section 3: "~" first, or the "~" of "~1" would be escaped again.
        pointer = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
        if name not in new:
            operations.append({"op": "remove", "path": pointer})
        elif name not in old:
            operations.append({"op": "add", "path": pointer, "value": new[name]})
        else:
            _diff_values(old[name], new[name], pointer, operations)


def _diff_lists(old: list[Json], new: list[Json], path: str, operations: list[Operation]) -> None:
    start = _common_prefix(old, new)
    if start == len(old) == len(new):
        return
    end = _common_prefix(old[start:][::-1], new[start:][::-1])
    old_middle, new_middle = old[start : len(old) - end], new[start : len(new) - end]
    if len(old_middle) == len(new_middle) == 1:
        _diff_values(old_middle[0], new_middle[0], f"{path}/{start}", operations)
        return
    made = _patch_lists(old_middle, new_middle)
    if made is not None:
        operations.extend(_moved(operation, path, start) for operation in made)
        return
    differing = _differing(old_middle, new_middle)
    if differing is None:
        operations.append({"op": "replace", "path": path, "value": new})
    else:
        for index in differing:
            _diff_values(old_middle[index], new_middle[index], f"{path}/{start + index}", operations)


def _common_prefix(one: list[Json], other: list[Json]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if not is_same(left, right):
            break
        count += 1
    return count


def _differing(old: list[Json], new: list[Json]) -> list[int] | None:
    """Where two lists of one length differ; None where that is in too many places, or the lengths differ."""
    if len(old) != len(new):
        return None
    differing = [index for index, (left, right) in enumerate(zip(old, new, strict=True)) if not is_same(left, right)]
    return differing if len(differing) <= MAX_LIST_LENGTH else None


def _patch_lists(old: list[Json], new: list[Json]) -> list[dict[str, Any]] | None:
    """Let jsonpatch find the edits of a list; None where that would take too long."""
    if len(old) > MAX_LIST_LENGTH or len(new) > MAX_LIST_LENGTH:
        return None
    patch = jsonpatch.make_patch(old, new)
    # The proof is cheap beside the search, and a client must never be led to a state that no file describes.
    try:
        is_proven = is_same(patch.apply(old), new)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
        is_proven = False
    if not is_proven:
        return None
    operations: list[dict[str, Any]] = patch.patch
    return operations


def _moved(operation: dict[str, Any], path: str, start: int) -> Operation:
    """Shift an operation on the middle of a list to its place in the document."""
    moved = dict(operation)
    for member in ("path", "from"):
        if member in moved:
            _, index, *rest = moved[member].split("/")
            moved[member] = "/".join((path, str(int(index) + start), *rest))
    return moved

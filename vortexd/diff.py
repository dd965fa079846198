"""The RFC 6902 patch between two documents.

In come two nested documents, out goes a list of operations. Types count: 1, 1.0, true and "1" are four values. jsonpatch
makes the patches of lists, where edit scripts are hard; around it the documents are narrowed to what changed, so that the
cost is linear in the size of the documents and only the changed lists cost more, up to a bound.
"""

import copy
from typing import Any

import attrs
import jsonpatch
import orjson

from .model import Config, Json

# jsonpatch's list diff is quadratic in the worst case: 200 elements take about 20 ms, 10,000 would take minutes.
MAX_LIST_LENGTH = 200

Operation = dict[str, Json]


@attrs.frozen(slots=True, eq=False)
class Step:
    """An operation, and what it takes away: None with an addition. Neither may be changed: they are parts of the documents."""

    operation: Operation
    old: Json


def diff(old: dict[str, Json], new: dict[str, Json]) -> list[Operation]:
    """Make the operations that turn `old` into `new`; none when they are the same.

    Removals and replacements carry no former values. Deterministic. Takes milliseconds per 10,000 values, so large
    documents belong into a thread.
    """
    return [step.operation for step in steps(old, new)]


def steps(old: dict[str, Json], new: dict[str, Json]) -> list[Step]:
    """As `diff`, with the former values."""
    made: list[Step] = []
    _diff_objects(old, new, "", made)
    return made


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


def _diff_values(old: Json, new: Json, path: str, made: list[Step]) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        _diff_objects(old, new, path, made)
    elif isinstance(old, list) and isinstance(new, list):
        _diff_lists(old, new, path, made)
    elif not is_same(old, new):
        made.append(Step({"op": "replace", "path": path, "value": new}, old))


def _diff_objects(old: dict[str, Json], new: dict[str, Json], path: str, made: list[Step]) -> None:
    for name in sorted(old.keys() | new.keys()):
        # RFC 6901 section 3: "~" first, or the "~" of "~1" would be escaped again.
        pointer = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
        if name not in new:
            made.append(Step({"op": "remove", "path": pointer}, old[name]))
        elif name not in old:
            made.append(Step({"op": "add", "path": pointer, "value": new[name]}, None))
        else:
            _diff_values(old[name], new[name], pointer, made)


def _diff_lists(old: list[Json], new: list[Json], path: str, made: list[Step]) -> None:
    start = _common_prefix(old, new)
    if start == len(old) == len(new):
        return
    end = _common_prefix(old[start:][::-1], new[start:][::-1])
    old_middle, new_middle = old[start : len(old) - end], new[start : len(new) - end]
    if len(old_middle) == len(new_middle) == 1:
        _diff_values(old_middle[0], new_middle[0], f"{path}/{start}", made)
        return
    edits = _patch_lists(old_middle, new_middle)
    if edits is not None:
        made += [Step(_moved(edit.operation, path, start), edit.old) for edit in edits]
        return
    differing = _differing(old_middle, new_middle)
    if differing is None:
        made.append(Step({"op": "replace", "path": path, "value": new}, old))
    else:
        for index in differing:
            _diff_values(old_middle[index], new_middle[index], f"{path}/{start + index}", made)


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


def _patch_lists(old: list[Json], new: list[Json]) -> list[Step] | None:
    """Let jsonpatch find the edits of a list; None where that would take too long."""
    if len(old) > MAX_LIST_LENGTH or len(new) > MAX_LIST_LENGTH:
        return None
    patch = jsonpatch.make_patch(old, new)
    # The proof is cheap beside the search, and a client must never be led to a state that no file describes.
    state = copy.deepcopy(old)
    made: list[Step] = []
    try:
        for operation in patch.patch:
            made.append(Step(operation, _former(state, operation)))
            # A copy, for what is put into the state is changed by what follows.
            state = jsonpatch.apply_patch(state, [copy.deepcopy(operation)], in_place=True)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
        return None
    return made if is_same(state, new) else None


def _former(state: list[Json], operation: dict[str, Any]) -> Json:
    """What an operation takes away from a state, or from another place in it."""
    if operation["op"] == "add":
        return None
    former: Json = jsonpatch.JsonPointer(operation.get("from", operation["path"])).resolve(state)
    return copy.deepcopy(former)


def _moved(operation: Operation, path: str, start: int) -> Operation:
    """Shift an operation on the middle of a list to its place in the document."""
    moved = dict(operation)
    for member in ("path", "from"):
        if member in moved:
            _, index, *rest = str(moved[member]).split("/")
            moved[member] = "/".join((path, str(int(index) + start), *rest))
    return moved

"""The RFC 6902 patch between two documents.

`diff` takes two nested documents and returns a list of operations. Types count: 1, 1.0, true and "1" are four values.
Objects are compared member by member, at a cost that is linear in their size. For lists, `alignment` finds out what
became of each element. One bound of effort applies to all lists of a diff. If a list takes more effort, it is
replaced as a whole. It is also replaced if its edits would be longer than the list.
"""

from bisect import bisect_left, insort

import attrs
import orjson

from .alignment import MAX_LONGER_BYTES, Alignment, align, encoded
from .effort import Effort
from .model import Config, Json

# A patch names each change. So it may be longer than the document by this much before the document is sent instead.
MAX_LONGER_PATCH_BYTES = 4_096
# The bytes of an operation apart from its path and its value.
_OPERATION_BYTES = len('{"op":"replace","path":"","value":},')
# Python's == tells values of these types apart.
_PLAIN = frozenset({str, int, bool, type(None)})

Operation = dict[str, Json]


@attrs.frozen(slots=True, eq=False)
class Step:
    """An operation, and the value that it removes or replaces (None for an addition).

    Both are parts of the documents, so callers must not change them.
    """

    operation: Operation
    old: Json


def diff(old: dict[str, Json], new: dict[str, Json]) -> list[Operation]:
    """Make the operations that turn `old` into `new`. The list is empty if the documents are equal.

    Removals and replacements carry no former values. The result is deterministic. A diff takes milliseconds per
    10,000 values, so large documents must be compared in a thread.
    """
    return [step.operation for step in steps(old, new)]


def steps(old: dict[str, Json], new: dict[str, Json]) -> list[Step]:
    """Make the operations as `diff` does, with the former values."""
    made: list[Step] = []
    _diff_objects(old, new, "", made, Effort())
    return made


def patch_between(old: Config, new: Config) -> bytes | None:
    """Make the patch as compact JSON.

    Returns None if the patch would be longer than the new document by more than `MAX_LONGER_PATCH_BYTES`.
    """
    return not_too_long(orjson.dumps(diff(old.document, new.document)), new)


def not_too_long(patch: bytes, new: Config) -> bytes | None:
    """Return a patch, or None if it is longer than the new document by more than `MAX_LONGER_PATCH_BYTES`."""
    return patch if len(patch) <= new.size + MAX_LONGER_PATCH_BYTES else None


def is_same(one: Json, other: Json) -> bool:
    """Return whether two JSON values are equal, types included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, float):
        # Compare the texts, because they tell 0.0 from -0.0. Versions are made from text, so equality must agree with it.
        return repr(one) == repr(other)
    return one == other


def _diff_values(old: Json, new: Json, path: str, made: list[Step], effort: Effort) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        _diff_objects(old, new, path, made, effort)
    elif isinstance(old, list) and isinstance(new, list):
        _diff_lists(old, new, path, made, effort)
    elif not is_same(old, new):
        made.append(Step({"op": "replace", "path": path, "value": new}, old))


def _diff_objects(old: dict[str, Json], new: dict[str, Json], path: str, made: list[Step], effort: Effort) -> None:
    for name in sorted(old.keys() | new.keys()):
        if name in new and name in old:
            one, other = old[name], new[name]
            if type(one) is type(other) and type(one) in _PLAIN and one == other:
                # Most values are equal. They need no pointer.
                continue
        # RFC 6901 section 3: escape "~" first. Otherwise the "~" of "~1" would be escaped again.
        pointer = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
        if name not in new:
            made.append(Step({"op": "remove", "path": pointer}, old[name]))
        elif name not in old:
            made.append(Step({"op": "add", "path": pointer, "value": new[name]}, None))
        else:
            _diff_values(old[name], new[name], pointer, made, effort)


# Lists.


def _diff_lists(old: list[Json], new: list[Json], path: str, made: list[Step], effort: Effort) -> None:
    effort.depth += 1
    aligned = align(old, new, effort)
    edits = _edits(aligned, path, effort) if aligned else None
    if edits is None:
        if encoded(old) != encoded(new):
            made.append(Step({"op": "replace", "path": path, "value": new}, old))
    elif _are_much_longer(edits, new, effort):
        made.append(Step({"op": "replace", "path": path, "value": new}, old))
    else:
        made += edits
    effort.depth -= 1


def _are_much_longer(edits: list[Step], new: Json, effort: Effort) -> bool:
    """Return whether edits are so much longer than the new value that it is sent as a whole."""
    # The values in the edits are disjoint parts of the new value, so only the bytes around the values count.
    around = sum(_OPERATION_BYTES + len(_pointers(step.operation)) for step in edits)
    if around <= MAX_LONGER_BYTES or not effort.may_look:
        return False
    size = len(orjson.dumps([step.operation for step in edits]))
    effort.read(size)
    if isinstance(new, list) and size <= 2 * len(new):
        # An element takes at least two bytes.
        return False
    whole = len(orjson.dumps(new))
    effort.read(whole)
    return size > whole + MAX_LONGER_BYTES


def _pointers(operation: Operation) -> str:
    return f"{operation['path']}{operation.get('from', '')}"


def _edits(aligned: Alignment, path: str, effort: Effort) -> list[Step]:
    """Make the operations of one list: removals, then moves, then additions and edits from beginning to end."""
    olds, news = aligned.olds, aligned.news
    pairs = (*aligned.staying, *aligned.moved)
    kept, sources = {index for index, _ in pairs}, {new_index: index for index, new_index in pairs}
    # Begin at the end, so that no removal shifts another.
    gone = (index for index in range(len(olds) - 1, -1, -1) if index not in kept)
    made = [Step({"op": "remove", "path": f"{path}/{aligned.start + index}"}, olds[index]) for index in gone]
    made += _moves(aligned, path)
    # All kept elements are in order now. An element is at its final index once the elements before it have been added.
    for index, new in enumerate(news):
        if index not in sources:
            made.append(Step({"op": "add", "path": f"{path}/{aligned.start + index}", "value": new}, None))
        elif index in aligned.edited:
            made += _edit(olds[sources[index]], new, f"{path}/{aligned.start + index}", effort)
    return made


def _edit(old: Json, new: Json, path: str, effort: Effort) -> list[Step]:
    """Make the operations within one element, or the operation that replaces it."""
    edits: list[Step] = []
    _diff_values(old, new, path, edits, effort)
    if _are_much_longer(edits, new, effort):
        return [Step({"op": "replace", "path": path, "value": new}, old)]
    return edits


def _moves(aligned: Alignment, path: str) -> list[Step]:
    """Make the moves, which follow the removals. Each element moves to the place right after its new predecessor."""
    if not aligned.moved:
        return []
    present = sorted(index for index, _ in (*aligned.staying, *aligned.moved))
    place = {index: at for at, index in enumerate(present)}
    anchors = [new_index for _, new_index in aligned.staying]
    # Indices here are those before the first move. A moved element leaves the index `gone` and follows the index `behind`.
    gone: list[int] = []
    behind: list[int] = []
    made = []
    for index, new_index in aligned.moved:
        at = place[index]
        anchor = bisect_left(anchors, new_index) - 1
        before = place[aligned.staying[anchor][0]] if anchor >= 0 else -1
        source = at - bisect_left(gone, at) + bisect_left(behind, at)
        insort(gone, at)
        # Moves ascend, so elements that were placed earlier behind the same predecessor come before this element.
        target = before + 1 - bisect_left(gone, before) + len(behind)
        behind.append(before)
        if source != target:
            start = aligned.start
            operation: Operation = {
                "op": "move",
                "from": f"{path}/{start + source}",
                "path": f"{path}/{start + target}",
            }
            made.append(Step(operation, aligned.olds[index]))
    return made

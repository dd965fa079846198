"""Finds the elements that two sequences have in common, in order. Pure.

The input is two sequences of numbers. The result is pairs of indices, ascending on both sides. If there are few edits,
the result is as long as possible. If there are many, the search relies on numbers that occur once in each sequence.
The first pass takes time in proportion to the length. Further passes are paid from an `Effort`. If it is used up, the
search finds fewer pairs.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

from .effort import Effort

# The largest number of rounds of Myers' algorithm. Its time grows with the square of the number of edits.
_MAX_EDITS = 128
# Costs in units of effort: to compare two elements, to begin a diagonal, and to examine an element of a range.
_STEP, _DIAGONAL, _LOOK = 1, 5, 5

Pairs: TypeAlias = Sequence[tuple[int, int]]
# The first and the last index in the old sequence, then in the new sequence. The last index is excluded.
_Range: TypeAlias = tuple[int, int, int, int]


def common_subsequence(old: Sequence[int], new: Sequence[int], effort: Effort) -> list[tuple[int, int]]:
    """Find equal elements that have the same order in both sequences."""
    found: list[tuple[int, int]] = []
    ranges = [(0, len(old), 0, len(new))]
    is_first = True
    while ranges:
        begin, end, new_begin, new_end = ranges.pop()
        while begin < end and new_begin < new_end and old[begin] == new[new_begin]:
            found.append((begin, new_begin))
            begin, new_begin = begin + 1, new_begin + 1
        while begin < end and new_begin < new_end and old[end - 1] == new[new_end - 1]:
            end, new_end = end - 1, new_end - 1
            found.append((end, new_end))
        size = end - begin + new_end - new_begin
        if begin == end or new_begin == new_end or size == 2:
            continue
        within = (begin, end, new_begin, new_end)
        if is_first or effort.take(_LOOK * size):
            matches, gaps = _look(old, new, within, effort)
            ranges += gaps
        else:
            matches = _by_position(old, new, within)
        found += matches
        is_first = False
    return sorted(found)


def longest_ascending(pairs: Pairs) -> list[tuple[int, int]]:
    """Choose the most pairs that ascend in their second members. The given pairs ascend in their first members."""
    # For each length: the smallest last member of a choice of that length, and the index of that pair.
    tops: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for at, (_, value) in enumerate(pairs):
        length = bisect_left(tops, value)
        before.append(last[length - 1] if length else -1)
        if length == len(tops):
            tops.append(value)
            last.append(at)
        else:
            tops[length] = value
            last[length] = at
    found = []
    at = last[-1] if last else -1
    while at >= 0:
        found.append(pairs[at])
        at = before[at]
    return found[::-1]


def _look(old: Sequence[int], new: Sequence[int], within: _Range, effort: Effort) -> tuple[Pairs, Sequence[_Range]]:
    """Match the elements of a range. Returns the pairs, and the ranges between them that remain to be matched."""
    begin, end, new_begin, new_end = within
    size = end - begin + new_end - new_begin
    olds, news = old[begin:end], new[new_begin:new_end]
    counts, new_counts = Counter(olds), Counter(news)
    common = counts.keys() & new_counts.keys()
    unique = {number for number in common if counts[number] == new_counts[number] == 1}
    if len(unique) < len(common):
        edits = size - 2 * sum(min(counts[number], new_counts[number]) for number in common)
        script = _shortest_edits(olds, news, effort) if edits <= _MAX_EDITS else None
        if script is not None:
            return [(begin + index, new_begin + new_index) for index, new_index in script], ()
    places = {number: index for index, number in enumerate(news, new_begin) if number in unique}
    anchors = longest_ascending(
        [(index, places[number]) for index, number in enumerate(olds, begin) if number in unique]
    )
    if len(unique) == len(common):
        # No other pairs exist.
        return anchors, ()
    if not anchors:
        return _by_position(old, new, within), ()
    befores = [(begin - 1, new_begin - 1), *anchors]
    gaps = [
        (before + 1, behind, new_before + 1, new_behind)
        for (before, new_before), (behind, new_behind) in zip(befores, [*anchors, (end, new_end)], strict=True)
        if before + 1 < behind and new_before + 1 < new_behind
    ]
    return anchors, gaps


def _by_position(old: Sequence[int], new: Sequence[int], within: _Range) -> list[tuple[int, int]]:
    begin, end, new_begin, new_end = within
    pairs = zip(range(begin, end), range(new_begin, new_end), strict=False)
    return [(index, new_index) for index, new_index in pairs if old[index] == new[new_index]]


def _shortest_edits(old: Sequence[int], new: Sequence[int], effort: Effort) -> list[tuple[int, int]] | None:
    """Find the most equal elements in order, by Myers' algorithm. Returns None beyond `_MAX_EDITS` or the effort.

    Myers, "An O(ND) Difference Algorithm and Its Variations", 1986. A path leads through the table of both sequences.
    Each step passes an old element, which removes it, a new element, which adds it, or two equal elements. On a
    diagonal, the old and the new index have a constant difference. `furthest` maps each diagonal to the largest old
    index that a path with the present number of edits reaches.
    """
    limit, spent = effort.share, 0
    length, new_length = len(old), len(new)
    furthest = {1: 0}
    rounds: list[dict[int, int]] = []
    for edits in range(_MAX_EDITS + 1):
        rounds.append(dict(furthest))
        for diagonal in range(-edits, edits + 1, 2):
            if not -new_length <= diagonal <= length:
                continue
            index = began = max(_next_indices(furthest, diagonal))
            new_index = index - diagonal
            while index < length and new_index < new_length and old[index] == new[new_index]:
                index, new_index = index + 1, new_index + 1
            furthest[diagonal] = index
            spent += _DIAGONAL + _STEP * (index - began)
            if index == length and new_index == new_length:
                effort.take(min(spent, limit))
                return _backtrack(rounds, length, new_length)
            if spent > limit:
                effort.take(limit)
                return None
    effort.take(spent)
    return None


def _next_indices(furthest: dict[int, int], diagonal: int) -> tuple[int, int]:
    """Return the old index that one more edit reaches on a diagonal: by an addition, and by a removal."""
    return furthest.get(diagonal + 1, -1), furthest.get(diagonal - 1, -1) + 1


def _backtrack(rounds: Sequence[dict[int, int]], length: int, new_length: int) -> list[tuple[int, int]]:
    """Return the equal elements on the path that reached the end of both sequences."""
    found = []
    index, new_index = length, new_length
    for furthest in reversed(rounds):
        added, removed = _next_indices(furthest, index - new_index)
        while index > max(added, removed):
            index, new_index = index - 1, new_index - 1
            found.append((index, new_index))
        if removed > added:
            index -= 1
        else:
            new_index -= 1
    return found[::-1]

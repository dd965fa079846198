"""Matches the elements of an old list with the elements of a new list, within a bounded effort. Pure.

`align` takes two lists and returns an `Alignment`. It names the elements that stay in order, edited or not, and the
elements that move. Two elements are equal if they have the same bytes as compact JSON with sorted keys. So 1, 1.0,
true and "1" are four different values. An edited element is paired with an old element between the same neighbours.
If there are several, the algorithm chooses the old element that shares unique values with it, such as a name.
"""

import itertools
import operator
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import TypeAlias

import attrs
import orjson

from .effort import Effort
from .model import Json, Scalar
from .subsequence import Pairs, common_subsequence, longest_ascending

# The edits name each change. So they may be longer than the new list by this much before the list is replaced.
MAX_LONGER_BYTES = 128
# The fewest bytes that an operation takes, apart from its value.
_LEAST_BYTES = len('{"op":"remove","path":"//0"},')
# A value of at most this size is replaced in place, because a move would be as long. Short values may be equal by chance.
_SHORT_BYTES = 32
# At most this many values of an element are compared to find the old element that it was.
_MAX_TRAITS = 16
# Does the same as `version.encode` without an extra call, because there are many elements.
_ENCODE = partial(orjson.dumps, option=orjson.OPT_SORT_KEYS)
# The number of an element that is the same in both lists at the same index.
_SAME_PLACE = -1
# Costs in units of effort: of a list, of an operation, of an examined value, and of an element that is passed over.
# One unit pays for _BYTES bytes if each element is examined, and for _PLAIN_BYTES bytes if they are only compared.
_LIST, _CHANGE, _TRAIT, _ELEMENT, _BYTES, _PLAIN_BYTES = 300, 100, 8, 5, 25, 75

# A name and a value. Python takes some different values for equal, such as 1 and True. That does no harm here.
_Trait: TypeAlias = tuple[str, Scalar]


@attrs.frozen(slots=True, eq=False)
class Alignment:
    """The result of `align`: pairs of an old and a new index. Unpaired old elements were removed, unpaired new ones added.

    Attributes:
        start: The number of equal elements at the beginning. All indices count from here.
        olds: The old elements, without the equal elements at both ends.
        news: The new elements, without the equal elements at both ends.
        staying: Pairs of elements that keep their order, ascending on both sides.
        moved: Pairs of elements that change their order, ascending in the new index.
        edited: The new indices of the paired elements that differ from their old elements.
    """

    start: int
    olds: Sequence[Json]
    news: Sequence[Json]
    staying: Pairs = ()
    moved: Pairs = ()
    edited: Collection[int] = ()


def align(old: list[Json], new: list[Json], effort: Effort) -> Alignment | None:
    """Match the elements of two lists.

    Returns None if that takes too much effort, or if the edits are certain to be much longer than the new list.

    Raises:
        RecursionError: The lists are nested more deeply than the JSON encoder allows.
    """
    if not effort.may_look:
        return None
    start, start_bytes = _common(old, new, effort)
    end, end_bytes = _common(old[start:][::-1], new[start:][::-1], effort)
    olds, news = old[start : len(old) - end], new[start : len(new) - end]
    if not olds or not news:
        # The new list contains the added values, too. So only the bytes around them count.
        is_longer = max(len(olds), len(news)) * _LEAST_BYTES > start_bytes + end_bytes + MAX_LONGER_BYTES
        return None if is_longer else Alignment(start, olds, news)
    if len(olds) == len(news) == 1:
        if effort.depth <= 1:
            effort.read(len(encoded(olds)) + len(encoded(news)))
        return Alignment(start, olds, news, staying=((0, 0),), edited=(0,))
    if not effort.take(_LIST):
        return None
    return _Search(olds, news, effort).run(start, start_bytes + end_bytes)


def encoded(value: object) -> bytes:
    """Encode a value as compact JSON with sorted keys. Equal values have equal bytes.

    Raises:
        RecursionError: The value is nested more deeply than the JSON encoder allows.
    """
    try:
        return _ENCODE(value)
    except orjson.JSONEncodeError:
        raise RecursionError("nested too deep") from None


def _texts(values: Iterable[object]) -> list[str]:
    """Encode values as `encoded` does, one character per byte. A new bytes object from the encoder holds a kilobyte."""
    try:
        return [*map(bytes.decode, map(_ENCODE, values), itertools.repeat("latin-1"))]
    except orjson.JSONEncodeError:
        raise RecursionError("nested too deep") from None


def _common(one: list[Json], other: list[Json], effort: Effort) -> tuple[int, int]:
    """Count the equal elements at the beginning, and the bytes that they take."""
    differing = itertools.compress(itertools.count(), map(operator.ne, one, other))
    count = next(differing, min(len(one), len(other)))
    if not count:
        return 0, 0
    ours, theirs = (encoded(each[:count]) for each in (one, other))
    effort.read(len(ours) + len(theirs))
    if ours != theirs:
        # In Python 1, 1.0 and True are equal.
        pairs = enumerate(zip(one, other, strict=False))
        count = next(index for index, (left, right) in pairs if encoded(left) != encoded(right))
    return count, len(ours)


class _Search:
    """Searches two lists that differ at both ends. Each element has a number, and equal elements have the same number."""

    def __init__(self, olds: list[Json], news: list[Json], effort: Effort) -> None:
        self._olds, self._news = olds, news
        self._effort = effort
        self._old, self._new = ([_SAME_PLACE] * len(each) for each in (olds, news))
        self._sizes: list[int] = []
        # The size of the new elements, with the commas between them.
        self._new_bytes = 0

    def run(self, start: int, more_bytes: int) -> Alignment | None:
        """Search, as `align` describes.

        Args:
            start: The number of elements before these lists.
            more_bytes: The bytes that the elements before and after these lists take.
        """
        same = self._same_places()
        if same is None:
            self._number(range(len(self._olds)), range(len(self._news)), 0)
            same = common_subsequence(self._old, self._new, self._effort)
        least = max(len(self._old), len(self._new)) - len(same)
        if least * _LEAST_BYTES > self._new_bytes + more_bytes + MAX_LONGER_BYTES or not self._effort.take(
            _CHANGE * least
        ):
            return None
        edited, moved = self._others(same)
        changes = len(self._old) + len(self._new) - 2 * len(same) - len(edited) - len(moved)
        differing = sum(map(operator.ne, self._old, self._new)) + abs(len(self._old) - len(self._new))
        if differing < changes and max(self._sizes) <= _SHORT_BYTES:
            # Short elements may be equal by chance: two edits in place turn [2, 3, 5] into [3, 3, 4].
            staying, moved = [*zip(range(len(self._old)), range(len(self._new)), strict=False)], []
        else:
            staying = sorted([*same, *edited])
        differ = {pair[1] for pair in (*staying, *moved) if not self._is_same(pair)}
        return Alignment(start, self._olds, self._news, staying, moved, differ)

    def _same_places(self) -> list[tuple[int, int]] | None:
        """Find the elements that are equal at the same index.

        Returns None if elements were added, removed or moved, or if more than half of them differ.

        If only a few elements of a list were edited, this avoids examining the others.
        """
        if len(self._olds) != len(self._news):
            return None
        differing = [*itertools.compress(itertools.count(), map(operator.ne, self._olds, self._news))]
        if 2 * len(differing) > len(self._olds):
            return None
        equal = (map(operator.eq, self._olds, self._news) for _ in range(2))
        ours, theirs = (
            encoded([*itertools.compress(values, which)])
            for values, which in zip((self._olds, self._news), equal, strict=True)
        )
        self._effort.read(len(ours) + len(theirs))
        self._effort.spend((len(ours) + len(theirs)) // _PLAIN_BYTES)
        self._number(differing, differing, len(theirs))
        is_moved = not {self._old[index] for index in differing}.isdisjoint(self._new[index] for index in differing)
        if ours != theirs or is_moved:
            return None
        gone = set(differing)
        return [(index, index) for index in range(len(self._olds)) if index not in gone]

    def _number(self, at: Sequence[int], new_at: Sequence[int], more_bytes: int) -> None:
        """Give numbers to the elements at these indices.

        Args:
            more_bytes: The bytes that the other new elements take.
        """
        old_texts, new_texts = _texts(map(self._olds.__getitem__, at)), _texts(map(self._news.__getitem__, new_at))
        texts = dict.fromkeys(itertools.chain(old_texts, new_texts))
        numbers = dict(zip(texts, itertools.count(), strict=False))
        for all_numbers, places, found in ((self._old, at, old_texts), (self._new, new_at, new_texts)):
            for place, number in zip(places, map(numbers.__getitem__, found), strict=True):
                all_numbers[place] = number
        self._sizes = [*map(len, texts)]
        new_bytes = sum(map(len, new_texts)) + len(new_texts)
        self._new_bytes = new_bytes + more_bytes
        size = sum(map(len, old_texts)) + new_bytes
        self._effort.read(size)
        self._effort.spend(_ELEMENT * (len(at) + len(new_at)) + size // _BYTES)

    def _is_same(self, pair: tuple[int, int]) -> bool:
        return self._old[pair[0]] == self._new[pair[1]]

    def _others(self, same: Pairs) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Find the elements that were edited between the same neighbours, and the elements that moved, edited or not."""
        edited: list[tuple[int, int]] = []
        gaps = []
        for olds, news in self._gaps(same):
            if len(olds) == len(news) and self._are_short(olds, news):
                edited += zip(olds, news, strict=True)
            else:
                gaps.append((olds, news))
        moved = self._moves(gaps)
        gone, come = {index for index, _ in moved}, {index for _, index in moved}
        for olds, news in gaps:
            edited += self._pairs(
                [index for index in olds if index not in gone], [index for index in news if index not in come]
            )
        gone |= {index for index, _ in edited}
        come |= {index for _, index in edited}
        # Far from its old neighbours, an element is matched only if at least half of its values are the same.
        moved += self._alike(
            [index for olds, _ in gaps for index in olds if index not in gone],
            [index for _, news in gaps for index in news if index not in come],
            least_share=0.5,
        )
        return edited, sorted(moved, key=itemgetter(1))

    def _gaps(self, same: Pairs) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
        """Yield the old and the new indices between each pair and the next."""
        before, new_before = -1, -1
        for index, new_index in itertools.chain(same, [(len(self._old), len(self._new))]):
            if index > before + 1 or new_index > new_before + 1:
                yield range(before + 1, index), range(new_before + 1, new_index)
            before, new_before = index, new_index

    def _are_short(self, olds: Sequence[int], news: Sequence[int]) -> bool:
        numbers = itertools.chain((self._old[index] for index in olds), (self._new[index] for index in news))
        return all(self._sizes[number] <= _SHORT_BYTES for number in numbers)

    def _moves(self, gaps: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[int, int]]:
        """Find the elements that were removed in one place and added in another."""
        waiting: dict[int, deque[int]] = {}
        for olds, _ in gaps:
            for index in olds:
                waiting.setdefault(self._old[index], deque()).append(index)
        come = (index for _, news in gaps for index in news)
        return [(places.popleft(), index) for index in come if (places := waiting.get(self._new[index]))]

    def _pairs(self, olds: Sequence[int], news: Sequence[int]) -> list[tuple[int, int]]:
        """Pair the elements of one gap: similar elements first, then the elements between them by position."""
        if len(olds) <= 1 and len(news) <= 1:
            return [*zip(olds, news, strict=False)]
        found: list[tuple[int, int]] = []
        at, new_at = 0, 0
        for index, new_index in longest_ascending(self._alike(olds, news)):
            place, new_place = bisect_left(olds, index), bisect_left(news, new_index)
            found += zip(olds[at:place], news[new_at:new_place], strict=False)
            found.append((index, new_index))
            at, new_at = place + 1, new_place + 1
        return [*found, *zip(olds[at:], news[new_at:], strict=False)]

    def _alike(self, olds: Sequence[int], news: Sequence[int], least_share: float = 0.0) -> list[tuple[int, int]]:
        """Pair the elements that share values which no other element has. The pairs ascend in the old index.

        Args:
            least_share: The least share of the new element's values that the pair must have in common.
        """
        if not olds or not news or not self._effort.take(_TRAIT * _MAX_TRAITS * (len(olds) + len(news))):
            return []
        owners = _owners({index: _traits(self._olds[index]) for index in olds})
        traits = {index: _traits(self._news[index]) for index in news}
        votes: Counter[tuple[int, int]] = Counter()
        for trait, new_owner in _owners(traits).items():
            owner = owners.get(trait)
            if owner is not None and new_owner is not None:
                votes[owner, new_owner] += _weight(trait)
        chosen: dict[int, int] = {}
        taken: set[int] = set()
        for owner, new_owner in sorted(votes, key=lambda pair: (-votes[pair], pair)):
            is_enough = votes[owner, new_owner] >= least_share * sum(map(_weight, traits[new_owner]))
            if is_enough and owner not in chosen and new_owner not in taken:
                chosen[owner] = new_owner
                taken.add(new_owner)
        return sorted(chosen.items())


def _owners(traits: Mapping[int, Collection[_Trait]]) -> dict[_Trait, int | None]:
    """Map each trait to the index of its only element, or to None if several elements have it."""
    owners: dict[_Trait, int | None] = {}
    for index, each in traits.items():
        for trait in each:
            owners[trait] = None if trait in owners else index
    return owners


def _traits(element: Json) -> set[_Trait]:
    """Return the scalars of an element with their names, the outermost first, at most `_MAX_TRAITS`."""
    return set(itertools.islice(_scalars(element), _MAX_TRAITS))


def _scalars(element: Json) -> Iterator[_Trait]:
    waiting: deque[tuple[str, Json]] = deque([("", element)])
    while waiting:
        name, value = waiting.popleft()
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += ((name, each) for each in value)
        else:
            yield name, value


def _weight(trait: _Trait) -> int:
    """Estimate how many bytes a trait takes."""
    name, value = trait
    return len(name) + (len(value) + 2 if isinstance(value, str) else 1)

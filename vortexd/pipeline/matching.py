"""Decides which patterns match which keys. It compares each pair once, when the later of the two arrives. Pure.

Keys and patterns that callers claim arrive, and sets of them leave. Each key and each pattern has a small number. A set
is one int with a bit for each member. So a table of 10,000 patterns and 10,000 keys takes 25 MB at most.

Comparing takes most of the time. It is done in steps, so that the event loop can do other work between them. `finish`
does all remaining comparisons at once. An index leaves few patterns to compare with a new key. For a new pattern, one
piece of its text rules out most keys without a full comparison.

A released number stays in the sets that hold it. It is reused after a sweep has removed it from all of them. Each line
that is added or removed continues the sweep a little, so that no single call is expensive.
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import attrs

from ..core.model import Key
from ..core.patterns import Pattern

# The cost of comparisons, in units of one substring test: about a tenth of a microsecond each.
_LOOK = 1
_TRY = 16
# The cost of one step: about half a millisecond.
STEP = 4_096
# A sweep begins after this many numbers were released. Each line that is added or removed then sweeps this many lines.
_SWEEP_AFTER = 64
_SWEEP_LINES = 64
# If a piece of the application's text is shorter than this, it occurs in too many names to rule out keys.
_TELLING = 3
# The place of a piece: anywhere in one of the three parts, or at the beginning of the application.
_APPLICATION, _PROFILE, _LABEL, _BEGINNING = range(4)


@attrs.define(slots=True, eq=False)
class KeyLine:
    """A key, and the patterns that match it.

    Attributes:
        names: Its first application, profile and label, and the application again: one name for each place of a piece.
        cells: The numbers of the patterns that match it, as far as that is decided. Some may have been released.
        undecided: The numbers of the patterns that are still to be compared.
        claims: The number of callers that need the line.
        is_known: Set by the registry, which knows only some of the claimed keys.
    """

    item: Key
    number: int
    names: tuple[str, str, str, str]
    undecided: int
    cells: int = 0
    claims: int = 0
    is_known: bool = False


@attrs.define(slots=True, eq=False)
class PatternLine:
    """A pattern, and the keys that it matches. The attributes mirror those of `KeyLine`.

    Attributes:
        place: The place of `piece` in a key.
        piece: A piece of the pattern's text. A key without it at that place can't match.
    """

    item: Pattern
    number: int
    place: int
    piece: str
    undecided: int
    cells: int = 0
    claims: int = 0


Line = KeyLine | PatternLine
L = TypeVar("L", KeyLine, PatternLine)


class _Side(Generic[L]):
    """Holds the lines of one kind, keys or patterns, by number.

    Attributes:
        lines: The lines by number; None for a number that isn't in use.
        live: The numbers in use, as a set.
    """

    def __init__(self) -> None:
        self.lines: list[L | None] = []
        self.live = 0
        # The lowest numbers are used first, because a set is as long as its highest number.
        self._free: list[int] = []
        self._given_back: list[int] = []
        # The numbers that the current sweep removes, and the range of lines of the other kind that it must still visit.
        self._leaving: list[int] = []
        self._position = self._end = 0

    def number(self) -> int:
        """Return a number that isn't in use and that no set holds."""
        if self._free:
            return heapq.heappop(self._free)
        self.lines.append(None)
        return len(self.lines) - 1

    def put(self, line: L) -> None:
        """Add a line."""
        self.lines[line.number] = line
        self.live |= 1 << line.number

    def drop(self, line: L) -> None:
        """Remove a line, and release its number."""
        self.lines[line.number] = None
        self.live &= ~(1 << line.number)
        self._given_back.append(line.number)

    def sweep(self, others: "Sequence[Line | None]") -> None:
        """Remove released numbers from some lines of the other kind. Once all lines are done, free the numbers."""
        if not self._leaving:
            if len(self._given_back) < _SWEEP_AFTER:
                return
            self._leaving, self._given_back = self._given_back, []
            # Lines that are added later can't hold these numbers.
            self._position, self._end = 0, len(others)
        start, self._position = self._position, min(self._position + _SWEEP_LINES, self._end)
        for other in others[start : self._position]:
            if other is not None:
                other.cells &= self.live
        if self._position == self._end:
            for number in self._leaving:
                heapq.heappush(self._free, number)
            self._leaving = []


class Matching:
    """Decides which patterns match which keys; see the module.

    Claim a line before you use it, and release it as many times as you claimed it.
    """

    def __init__(self) -> None:
        self._keys: _Side[KeyLine] = _Side()
        self._patterns: _Side[PatternLine] = _Side()
        self._by_key: dict[Key, KeyLine] = {}
        self._by_pattern: dict[Pattern, PatternLine] = {}
        # Two indexes: keys by their first application, and patterns by a piece of their text. `_lengths` counts the
        # lengths of these pieces.
        self._by_name: dict[str, int] = {}
        self._by_piece: dict[tuple[int, str], int] = {}
        self._lengths: tuple[Counter[int], ...] = (Counter(), Counter(), Counter(), Counter())

    # Lines.

    def claim_key(self, key: Key) -> KeyLine:
        """Claim the line of a key. A new line has all its comparisons still to do."""
        line = self._by_key.get(key)
        if line is None:
            names = key.applications[0], key.profiles[0], key.labels[0], key.applications[0]
            line = KeyLine(key, self._keys.number(), names, self._possible(names))
            self._by_key[key] = line
            self._keys.put(line)
            self._by_name[names[0]] = self._by_name.get(names[0], 0) | 1 << line.number
            self._sweep()
        line.claims += 1
        return line

    def claim_pattern(self, pattern: Pattern) -> PatternLine:
        """Claim the line of a pattern. A new line has all its comparisons still to do."""
        line = self._by_pattern.get(pattern)
        if line is None:
            place, piece = _telling_piece(pattern)
            possible = self._keys.live if "*" in pattern.application else self._by_name.get(pattern.application, 0)
            line = PatternLine(pattern, self._patterns.number(), place, piece, possible)
            self._by_pattern[pattern] = line
            self._patterns.put(line)
            self._by_piece[place, piece] = self._by_piece.get((place, piece), 0) | 1 << line.number
            self._lengths[place][len(piece)] += 1
            self._sweep()
        line.claims += 1
        return line

    def release(self, line: Line) -> None:
        """Release one claim. The last release removes the line."""
        line.claims -= 1
        if line.claims:
            return
        if isinstance(line, KeyLine):
            del self._by_key[line.item]
            self._keys.drop(line)
            _take_out(self._by_name, line.names[0], line.number)
        else:
            del self._by_pattern[line.item]
            self._patterns.drop(line)
            _take_out(self._by_piece, (line.place, line.piece), line.number)
            lengths = self._lengths[line.place]
            lengths[len(line.piece)] -= 1
            if not lengths[len(line.piece)]:
                del lengths[len(line.piece)]
        self._sweep()

    def key(self, key: Key) -> KeyLine | None:
        """Return the line of a claimed key, or None."""
        return self._by_key.get(key)

    def pattern(self, pattern: Pattern) -> PatternLine | None:
        """Return the line of a claimed pattern, or None."""
        return self._by_pattern.get(pattern)

    def key_at(self, number: int) -> KeyLine | None:
        """Return the key that has a number now."""
        return self._keys.lines[number]

    def __len__(self) -> int:
        """Return the number of claimed patterns."""
        return len(self._by_pattern)

    # Comparing.

    def decide(self, line: Line, effort: int) -> int:
        """Compare pairs of a line until all are compared or the effort is spent.

        Return the effort. It exceeds the limit by one comparison at most.
        """
        # A released number may have a new owner by now, whose line also compares this pair. That does no harm.
        return self._decide_key(line, effort) if isinstance(line, KeyLine) else self._decide_pattern(line, effort)

    def _decide_key(self, line: KeyLine, effort: int) -> int:
        spent, last, bit, patterns = 0, -1, 1 << line.number, self._patterns.lines
        for last in numbers_of(line.undecided):
            spent += _LOOK
            pattern = patterns[last]
            if pattern is not None:
                spent += _TRY
                if pattern.item.matches(line.item):
                    line.cells |= 1 << last
                    pattern.cells |= bit
            if spent >= effort:
                break
        line.undecided = _above(line.undecided, last)
        return spent

    def _decide_pattern(self, line: PatternLine, effort: int) -> int:
        spent, last, bit, keys = 0, -1, 1 << line.number, self._keys.lines
        piece, place = line.piece, line.place
        for last in numbers_of(line.undecided):
            spent += _LOOK
            key = keys[last]
            if key is not None and piece in key.names[place]:
                spent += _TRY
                if line.item.matches(key.item):
                    line.cells |= 1 << last
                    key.cells |= bit
            if spent >= effort:
                break
        line.undecided = _above(line.undecided, last)
        return spent

    def finish(self, line: Line) -> None:
        """Do all remaining comparisons of a line at once."""
        while line.undecided:
            self.decide(line, STEP)

    def _possible(self, names: Sequence[str]) -> int:
        found = 0
        for place, (name, lengths) in enumerate(zip(names, self._lengths, strict=True)):
            for length in lengths:
                for start in range(1 if place == _BEGINNING else len(name) - length + 1):
                    found |= self._by_piece.get((place, name[start : start + length]), 0)
        return found

    def _sweep(self) -> None:
        self._keys.sweep(self._patterns.lines)
        self._patterns.sweep(self._keys.lines)


def numbers_of(numbers: int) -> Iterator[int]:
    """Yield the members of a set, the lowest first."""
    digits = bin(numbers)[:1:-1]
    position = digits.find("1")
    while position >= 0:
        yield position
        position = digits.find("1", position + 1)


def _above(numbers: int, number: int) -> int:
    """Return the members of a set that are higher than a number."""
    return numbers >> (number + 1) << (number + 1)


def _take_out(sets: "dict[K, int]", name: "K", number: int) -> None:
    """Remove a number from a set in a dictionary. If the set becomes empty, remove the set."""
    sets[name] &= ~(1 << number)
    if not sets[name]:
        del sets[name]


def _telling_piece(pattern: Pattern) -> tuple[int, str]:
    """Return the piece of a pattern's text that occurs in the fewest names, and its place.

    It is the longest piece of the application. If that is too short, it is the longest piece of all three parts.
    """
    beginning, *others = pattern.application.split("*")
    pieces = [(_BEGINNING, beginning), *((_APPLICATION, piece) for piece in others)]
    longest = max(pieces, key=_length)
    if _length(longest) < _TELLING:
        pieces += ((_PROFILE, piece) for piece in pattern.profile.split("*"))
        pieces += ((_LABEL, piece) for piece in pattern.label.split("*"))
        longest = max(pieces, key=_length)
    return longest


def _length(piece: tuple[int, str]) -> int:
    return len(piece[1])


K = TypeVar("K")

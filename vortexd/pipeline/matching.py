"""Which patterns match which keys. Each pair of a key and a pattern is decided once, by the one that came later. Pure.

In come keys and patterns that somebody claims, out go sets of them. Each key and each pattern has a small number, and a set is one int with a
bit for each member. So what 10,000 patterns match among 10,000 keys takes 25 MB at most.

Deciding is the long work. It goes in steps, so that the loop can do other work between them; `finish` decides at once what is left. An index
leaves few patterns to try for a new key, and a look at one piece of text spares most keys a trial by a new pattern.

A number that is given back stays in sets that hold it. It is handed out again after a sweep has taken it out of all of them. A sweep goes on a
little with each line that comes or goes, so that none of them is expensive.
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import attrs

from ..core.model import Key
from ..core.patterns import Pattern

# What deciding costs, in looks at a piece of text: about a tenth of a microsecond each.
_LOOK = 1
_TRY = 16
# What is done in one step: about half a millisecond.
STEP = 4_096
# So many numbers are given back before a sweep begins, and each line that comes or goes sweeps so many others.
_SWEEP_AFTER = 64
_SWEEP_LINES = 64
# A shorter piece of the application is in too many names to tell them apart.
_TELLING = 3
# The places of a piece: anywhere in one of the three parts, or at the beginning of the application.
_APPLICATION, _PROFILE, _LABEL, _BEGINNING = range(4)


@attrs.define(slots=True, eq=False)
class KeyLine:
    """A key, and the patterns that match it.

    Attributes:
        names: Its first application, profile and label, and the application again: a name for each place of a piece.
        cells: The numbers of patterns that match it, as far as that is decided; some may be given back.
        undecided: The numbers of patterns that are still to be tried.
        claims: How many callers need the line.
        is_known: For the registry, which knows some of the keys that are claimed.
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
    """A pattern, and the keys that it matches. The attributes are those of `KeyLine`, the other way round.

    Attributes:
        place: Where the pattern has the piece of text by which it is found.
        piece: That piece. A key without it can't match.
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
    """The keys, or the patterns, by number.

    Attributes:
        lines: By number; None where a number isn't in use.
        live: The numbers in use, as a set.
    """

    def __init__(self) -> None:
        self.lines: list[L | None] = []
        self.live = 0
        # The lowest come first: sets are as long as their highest number.
        self._free: list[int] = []
        self._given_back: list[int] = []
        # Those of the sweep that is under way, and the lines of the other side that it still has to visit.
        self._leaving: list[int] = []
        self._position = self._end = 0

    def number(self) -> int:
        """A number that isn't in use, and that no set holds."""
        if self._free:
            return heapq.heappop(self._free)
        self.lines.append(None)
        return len(self.lines) - 1

    def put(self, line: L) -> None:
        """Bring a line into use."""
        self.lines[line.number] = line
        self.live |= 1 << line.number

    def drop(self, line: L) -> None:
        """Give a line's number back."""
        self.lines[line.number] = None
        self.live &= ~(1 << line.number)
        self._given_back.append(line.number)

    def sweep(self, others: "Sequence[Line | None]") -> None:
        """Take numbers that were given back out of some lines of the other side, and free them once that is done for all lines."""
        if not self._leaving:
            if len(self._given_back) < _SWEEP_AFTER:
                return
            self._leaving, self._given_back = self._given_back, []
            # Lines that come later can't hold these numbers.
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
    """See the module. Claim a line before you ask, and release it as often."""

    def __init__(self) -> None:
        self._keys: _Side[KeyLine] = _Side()
        self._patterns: _Side[PatternLine] = _Side()
        self._by_key: dict[Key, KeyLine] = {}
        self._by_pattern: dict[Pattern, PatternLine] = {}
        # Two indexes: keys by their first application, patterns by a piece of their text. Of the pieces, the lengths that there are.
        self._by_name: dict[str, int] = {}
        self._by_piece: dict[tuple[int, str], int] = {}
        self._lengths: tuple[Counter[int], ...] = (Counter(), Counter(), Counter(), Counter())

    # Lines.

    def claim_key(self, key: Key) -> KeyLine:
        """The line of a key; a new one has everything to decide yet."""
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
        """The line of a pattern; a new one has everything to decide yet."""
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
        """Take back one claim. With the last one the line goes."""
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
        """The line of a key that somebody has claimed."""
        return self._by_key.get(key)

    def pattern(self, pattern: Pattern) -> PatternLine | None:
        """The line of a pattern that somebody has claimed."""
        return self._by_pattern.get(pattern)

    def key_at(self, number: int) -> KeyLine | None:
        """The key that has a number now."""
        return self._keys.lines[number]

    def __len__(self) -> int:
        """How many patterns are claimed."""
        return len(self._by_pattern)

    # Deciding.

    def decide(self, line: Line, effort: int) -> int:
        """Decide pairs of a line, until all are decided or this much effort was made. Returns the effort, which is at most one trial more."""
        # A number that was given back may have another owner by now, who tries this line as well. That does no harm.
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
        """Decide at once what is left of a line."""
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
    """The members of a set, the lowest first."""
    digits = bin(numbers)[:1:-1]
    position = digits.find("1")
    while position >= 0:
        yield position
        position = digits.find("1", position + 1)


def _above(numbers: int, number: int) -> int:
    """The members of a set that are higher than a number."""
    return numbers >> (number + 1) << (number + 1)


def _take_out(sets: "dict[K, int]", name: "K", number: int) -> None:
    """Take a number out of a dictionary of sets, and the set with its last number."""
    sets[name] &= ~(1 << number)
    if not sets[name]:
        del sets[name]


def _telling_piece(pattern: Pattern) -> tuple[int, str]:
    """The piece of a pattern's text that few names have, and its place: the longest of the application, if that is long enough."""
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

"""Counts the instances of all workers of this node, for the summary that a cluster stores.

One worker asks the others again and again. A worker answers with counts only if they may have changed since the last
question.
"""

import secrets
from collections.abc import Callable, Sequence

import attrs
import cattrs
import orjson
import trio

from ..core.model import Key
from ..fleet import Fleet, KeyState, Page, Question, merge
from ..process.peers import Peers

_NAME = "fleet counts"
# Keys that are counted before other tasks may run.
_AT_ONCE = 500


@attrs.frozen
class _Told:
    """The last counts of one worker. The mark identifies them."""

    mark: str
    states: tuple[KeyState, ...]


class FleetCounts:
    """Counts the instances of all workers.

    Args:
        now: Returns the time in seconds since the epoch.
    """

    def __init__(self, fleet: Fleet, now: Callable[[], float], peers: Peers | None = None) -> None:
        self._fleet = fleet
        self._now = now
        self._peers = peers or Peers()
        self._process = secrets.token_hex(4)
        self._own: _Told | None = None
        self._others: dict[str, _Told] = {}
        self._merged: tuple[tuple[str, ...], Sequence[KeyState]] = ((), ())
        self._peers.answer(_NAME, self._answer)

    async def collect(self) -> Sequence[KeyState]:
        """Return the counts of all keys. A worker that doesn't answer has the counts of its last answer."""
        told = [await self._count()]
        if self._peers.are_there:
            marks = {number: each.mark for number, each in self._others.items()}
            answers = await self._peers.ask(_NAME, orjson.dumps(marks).decode())
            for number, text in answers.texts.items():
                if text:
                    found = orjson.loads(text)
                    self._others[number] = _Told(found["mark"], cattrs.structure(found["keys"], tuple[KeyState, ...]))
            told += self._others.values()
        marks_now = tuple(each.mark for each in told)
        if marks_now != self._merged[0]:
            self._merged = marks_now, _merged([each.states for each in told])
        return self._merged[1]

    async def _count(self) -> _Told:
        self._fleet.forget(self._now())
        mark = self._mark()
        if self._own is None or self._own.mark != mark:
            keys, states = tuple(self._fleet.keys()), list[KeyState]()
            for start in range(0, len(keys), _AT_ONCE):
                states += self._fleet.counts(keys[start : start + _AT_ONCE])
                await trio.lowlevel.checkpoint()
            # What changes meanwhile has another mark, so it is counted the next time.
            self._own = _Told(mark, tuple(states))
        return self._own

    def _answer(self, text: str) -> str:
        """Answer another worker at once. The answer is "" if that worker has these counts already."""
        self._fleet.forget(self._now())
        mark = self._mark()
        if mark in orjson.loads(text).values():
            return ""
        states = self._fleet.counts(self._fleet.keys())
        return orjson.dumps({"mark": mark, "keys": cattrs.unstructure(states)}).decode()

    def _mark(self) -> str:
        return f"{self._process}-{self._fleet.changes}"


def _merged(found: Sequence[tuple[KeyState, ...]]) -> Sequence[KeyState]:
    if len(found) == 1:
        return found[0]
    keys: set[Key] = {state.key for states in found for state in states}
    # No page ends before the last key.
    return merge([Page(states) for states in found], Question(tuple(keys), limit=len(keys))).keys

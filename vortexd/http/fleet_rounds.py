"""Shares the answers of a cluster's nodes among requests that want the same at about the same time.

A question to all nodes arrives with a function that asks it. Its answer leaves, from a round that began less than a second
ago if there is one. So consoles and scrapers that ask one node can't multiply the traffic between all nodes. The caller has
checked the client's rights before: the question names only keys that this client may see.
"""

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import attrs
import trio

T = TypeVar("T")

# Seconds from the begin of a round in which it is shared.
_SHARED_SECONDS = 1.0
# The most rounds that are kept. Each has a page of at most 1,000 instances. Beyond it, the oldest is no longer shared.
_MOST = 16


@attrs.define(eq=False)
class _Round(Generic[T]):
    """One round of questions.

    Attributes:
        began: The time by Trio's clock.
        answer: The answer alone, or None as long as there is none.
    """

    began: float
    ended: trio.Event = attrs.field(factory=trio.Event)
    answer: tuple[T] | None = None


class FleetRounds(Generic[T]):
    """Asks each question at most once a second; see the module."""

    def __init__(self) -> None:
        # The oldest comes first.
        self._rounds: dict[Hashable, _Round[T]] = {}

    def __len__(self) -> int:
        return len(self._rounds)

    async def shared(self, question: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the answer of a round that began less than a second ago, or begin one.

        If a round fails or is cancelled, the next caller that waits for it begins another one. So each error reaches one
        caller.
        """
        while (found := self._recent(question)) is not None:
            await found.ended.wait()
            if found.answer is not None:
                return found.answer[0]
        begun = self._begin(question)
        try:
            answer = await ask()
            begun.answer = (answer,)
            return answer
        finally:
            if begun.answer is None and self._rounds.get(question) is begun:
                del self._rounds[question]
            begun.ended.set()

    def _recent(self, question: Hashable) -> _Round[T] | None:
        """Return the round that can be shared, if there is one. Forget all older ones."""
        oldest = trio.current_time() - _SHARED_SECONDS
        while self._rounds and (first := next(iter(self._rounds.items())))[1].began <= oldest:
            del self._rounds[first[0]]
        return self._rounds.get(question)

    def _begin(self, question: Hashable) -> _Round[T]:
        if len(self._rounds) >= _MOST:
            del self._rounds[next(iter(self._rounds))]
        begun = self._rounds[question] = _Round[T](trio.current_time())
        return begun

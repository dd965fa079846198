"""How much of large answers is held for those who are slow to read them. Pure.

In come bodies as they begin to be sent, out goes, where together they are too large, a word to whoever has been at it longest: that is the one who
doesn't read. One body that is sent to many counts once, for it is one in memory.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# In bytes, of all together; far above what those who read have under way.
_MOST = 134_217_728


class Outgoing:
    """See the module."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._bytes = 0
        # By who is at it, in order: the body, and how to end it.
        self._sending: dict[object, tuple[bytes, Callable[[], None]]] = {}
        self._counts: Counter[int] = Counter()

    @contextmanager
    def holding(self, body: bytes, end: Callable[[], None]) -> Iterator[None]:
        """Hold a body while it is sent.

        Args:
            end: Called if it takes longest while all together are too large. Never the only one's.
        """
        who = object()
        self._sending[who] = body, end
        self._bytes += 0 if self._counts[id(body)] else len(body)
        self._counts[id(body)] += 1
        while self._bytes > self._most and len(self._sending) > 1:
            self._leave(next(iter(self._sending)))()
        try:
            yield
        finally:
            if who in self._sending:
                self._leave(who)

    def _leave(self, who: object) -> Callable[[], None]:
        body, end = self._sending.pop(who)
        self._counts[id(body)] -= 1
        if not self._counts[id(body)]:
            del self._counts[id(body)]
            self._bytes -= len(body)
        return end

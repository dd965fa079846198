"""Bounds the memory for large answers to clients that read slowly. Pure.

Each body is registered while it is sent. If all bodies together are too large, the send that has taken longest is ended,
because its client doesn't read. A body that is sent to many clients counts once, because it is in memory once.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# The limit for all bodies together, in bytes. Clients that read have far less in transit.
_MOST = 134_217_728


class Outgoing:
    """Registers bodies while they are sent."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._bytes = 0
        # The sends in the order of their begin: the body, and a function that ends the send.
        self._sending: dict[object, tuple[bytes, Callable[[], None]]] = {}
        self._counts: Counter[int] = Counter()

    @contextmanager
    def holding(self, body: bytes, end: Callable[[], None]) -> Iterator[None]:
        """Register a body while it is sent.

        Args:
            end: Called if all bodies together are too large and this send has taken longest. Never called for a single send.
        """
        send = object()
        self._sending[send] = body, end
        self._bytes += 0 if self._counts[id(body)] else len(body)
        self._counts[id(body)] += 1
        while self._bytes > self._most and len(self._sending) > 1:
            self._leave(next(iter(self._sending)))()
        try:
            yield
        finally:
            if send in self._sending:
                self._leave(send)

    def _leave(self, send: object) -> Callable[[], None]:
        body, end = self._sending.pop(send)
        self._counts[id(body)] -= 1
        if not self._counts[id(body)]:
            del self._counts[id(body)]
            self._bytes -= len(body)
        return end

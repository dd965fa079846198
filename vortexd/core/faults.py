"""Tells new faults from known faults, so that each is logged once while it lasts, however many requests meet it. Pure."""

from collections.abc import Hashable

import attrs


@attrs.define(slots=True)
class _Lasting:
    """A fault that has been reported.

    Attributes:
        place: Where the fault first occurred. When that place works, the fault has ended.
        met: When the fault last occurred.
    """

    place: str
    met: float


class Faults:
    """The faults that last. A fault ends when its first place works again, or when it hasn't occurred for a while.

    Args:
        most: The number of faults that are remembered. Beyond it, the fault that occurred least recently is forgotten.
        memory: A fault that doesn't occur for this many seconds has ended.
    """

    def __init__(self, most: int = 256, memory: float = 300.0) -> None:
        self._most = most
        self._memory = memory
        # The fault that occurred least recently comes first.
        self._lasting: dict[Hashable, _Lasting] = {}

    def __len__(self) -> int:
        return len(self._lasting)

    def is_new(self, fault: Hashable, place: str, now: float) -> bool:
        """Record that a fault occurred. Returns whether it must be reported.

        Args:
            now: The time in seconds.
        """
        lasting = self._lasting.pop(fault, None)
        is_new = lasting is None or now - lasting.met > self._memory
        self._lasting[fault] = _Lasting(place if lasting is None or is_new else lasting.place, now)
        if len(self._lasting) > self._most:
            del self._lasting[next(iter(self._lasting))]
        return is_new

    def works(self, place: str) -> None:
        """Record that a place works, which ends its faults."""
        # Usually there are no faults.
        if self._lasting:
            for fault in [fault for fault, lasting in self._lasting.items() if lasting.place == place]:
                del self._lasting[fault]

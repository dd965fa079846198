"""Which faults are new, so that each is logged once while it lasts, however many requests meet it. Pure."""

from collections.abc import Hashable

import attrs


@attrs.define(slots=True)
class _Lasting:
    """A fault that was reported.

    Attributes:
        place: Where it was met at first; once that place works, the fault is over.
        met: When it was last met.
    """

    place: str
    met: float


class Faults:
    """The faults that last. One is over when the place where it was first met works again, or when nobody has met it for a while.

    Args:
        most: Faults that are remembered; beyond that, the one that was met least recently is forgotten.
        memory: Seconds after which a fault that nobody meets is over.
    """

    def __init__(self, most: int = 256, memory: float = 300.0) -> None:
        self._most = most
        self._memory = memory
        # The one met least recently comes first.
        self._lasting: dict[Hashable, _Lasting] = {}

    def is_new(self, fault: Hashable, place: str, now: float) -> bool:
        """Note that a fault was met. Returns whether it has to be reported.

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
        """Note that a place works, so that its faults are over."""
        # Seldom more than none.
        if self._lasting:
            for fault in [fault for fault, lasting in self._lasting.items() if lasting.place == place]:
                del self._lasting[fault]

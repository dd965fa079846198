"""What clients acknowledge, on its way to the fleet: the right to say it, the time, and the count. Pure.

Who says something says it for its own connection and for nobody else; what it may speak of, its token says.
"""

from collections.abc import Callable
from typing import Protocol

from ..auth import Admission, Right
from ..core.model import Key
from ..fleet import Fleet, Instance, make_ack
from .session import Acknowledge


class Counters(Protocol):
    """What is counted."""

    def acknowledged(self, status: str) -> None: ...


class Reports:
    """See the module.

    Args:
        now: The time in seconds since the epoch.
    """

    def __init__(self, fleet: Fleet, counters: Counters, now: Callable[[], float]) -> None:
        self._fleet = fleet
        self._counters = counters
        self._now = now

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now()

    def begin(self, instance: Instance) -> None:
        """A connection has begun."""
        self._fleet.join(instance, self._now())

    def end(self, instance: Instance) -> None:
        """A connection has ended."""
        self._fleet.leave(instance, self._now())

    def drop(self, instance: Instance, key: Key) -> None:
        """A connection isn't sent a key any more that its patterns matched."""
        self._fleet.drop(instance, key)

    def take(self, instance: Instance, admission: Admission, said: Acknowledge) -> bool:
        """Keep what was said of a key that the client is sent. Returns whether it may say so; else nothing has happened."""
        if not admission.may(Right.REPORT, said.key):
            return False
        self._counters.acknowledged(said.status)
        self._fleet.acknowledge(instance, said.key, make_ack(said.version, said.status, said.error, self._now()))
        return True

    def silent_for(self, instance: Instance) -> float:
        """For how many seconds an instance has said nothing of the key that it came for; 0 where that isn't known."""
        at = self._fleet.last_word(instance)
        return 0.0 if at is None else self._now() - at

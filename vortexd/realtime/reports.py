"""Passes acks from clients on to the fleet: checks the right to report, adds the time, and counts them. Pure.

An ack applies only to the client's own connection. The token of the client determines the keys that it may report.
"""

from collections.abc import Callable
from typing import Protocol

from ..auth import Admission, Right
from ..core.model import Key
from ..fleet import Fleet, Instance, make_ack
from .session import Acknowledge


class Counters(Protocol):
    """The metrics of acks."""

    def acknowledged(self, status: str) -> None: ...


class Reports:
    """Passes reports of clients on to the fleet.

    Args:
        now: Returns the time in seconds since the epoch.
    """

    def __init__(self, fleet: Fleet, counters: Counters, now: Callable[[], float]) -> None:
        self._fleet = fleet
        self._counters = counters
        self._now = now

    def now(self) -> float:
        """The current time in seconds since the epoch."""
        return self._now()

    def begin(self, instance: Instance) -> None:
        """Record that a connection has begun."""
        self._fleet.join(instance, self._now())

    def end(self, instance: Instance) -> None:
        """Record that a connection has ended."""
        self._fleet.leave(instance, self._now())

    def drop(self, instance: Instance, key: Key) -> None:
        """Record that a connection no longer receives a key that its patterns matched."""
        self._fleet.drop(instance, key)

    def take(self, instance: Instance, admission: Admission, said: Acknowledge) -> bool:
        """Record an ack for a key that the client receives.

        Returns whether the client has the right to report. If not, nothing is recorded.
        """
        if not admission.may(Right.REPORT, said.key):
            return False
        self._counters.acknowledged(said.status)
        self._fleet.acknowledge(instance, said.key, make_ack(said.version, said.status, said.error, self._now()))
        return True

    def silent_for(self, instance: Instance) -> float:
        """The seconds since an instance last reported its main key; 0 if this isn't known."""
        at = self._fleet.last_word(instance)
        return 0.0 if at is None else self._now() - at

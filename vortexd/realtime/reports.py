"""Passes acks from clients on to the fleet: checks the right to report, adds the time, and counts them. Pure.

An ack applies only to the client's own connection. The token of the client determines the keys that it may report.
"""

from collections.abc import Callable
from typing import Protocol

from ..auth import Admission, Right
from ..core.candidate import plain
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
        target_of: Returns the target version of a key's roll-out, or None if the key has none that isn't done.
        ignored: Called with each ack that isn't recorded, because the client doesn't have the target version that it names.
    """

    def __init__(
        self,
        fleet: Fleet,
        counters: Counters,
        now: Callable[[], float],
        target_of: Callable[[Key], str | None] = lambda _: None,
        ignored: Callable[[Instance, Acknowledge], None] = lambda instance, said: None,
    ) -> None:
        self._target_of = target_of
        self._ignored = ignored
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

    def take(self, instance: Instance, admission: Admission, said: Acknowledge, sent: str | None) -> bool:
        """Record an ack for a key that the client receives.

        During a roll-out of the client's main key, an ack of the target version counts only if the client has the candidate
        and was sent that version.

        Args:
            sent: The version of the main key in the last frame that was sent to the client.

        Returns whether the client has the right to report. If not, nothing is recorded.
        """
        key = plain(said.key)
        if not admission.may(Right.REPORT, key):
            return False
        is_candidate = key is not said.key
        is_target = key == instance.key and said.version == self._target_of(key)
        if is_target and not (is_candidate and said.version == sent):
            self._ignored(instance, said)
            return True
        self._counters.acknowledged(said.status)
        self._fleet.acknowledge(instance, key, make_ack(said.version, said.status, said.error, self._now()))
        return True

    def silent_for(self, instance: Instance) -> float:
        """The seconds since an instance last reported its main key; 0 if this isn't known."""
        at = self._fleet.last_word(instance)
        return 0.0 if at is None else self._now() - at

"""The roll of one key: its connected instances with their last acknowledgements, and the instances that have left. Pure."""

import sys
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar, Protocol

import attrs

from ..core.model import Key
from ..core.text import printable
from .pages import Ack, Seen

# The longest reason for a rejection. It suffices for a sentence, and is small enough to store for thousands of instances.
_MAX_ERROR_LENGTH = 256
_MAX_VERSION_LENGTH = 64
# The phase of a candidate that some instances have.
RUNNING = "running"


class Instance:
    """One connection of an application.

    Attributes:
        wants_candidate: Whether it gave no name, and asks for the candidate of each roll-out.
        can_acknowledge: Whether it can acknowledge versions.

    Args:
        key: The main key, for which the connection was opened.
        connection: The id of the connection.
        host: The peer's address, or "".
        name: The client's own name. If it is "", the client only watches and isn't counted. If it is None, the client
            gave no name, and the id of the connection is its name.
        since: When it connected.
    """

    __slots__ = ("connection", "host", "key", "name", "others", "since")

    # A class has these, and not each instance, because there are many.
    wants_candidate: ClassVar[bool] = False
    can_acknowledge: ClassVar[bool] = True

    def __init__(self, key: Key, connection: str, host: str = "", name: str | None = None, since: float = 0.0) -> None:
        self.key = key
        self.name = connection if name is None else name
        self.connection = connection
        self.host = host
        self.since = since
        # The keys besides the main key that the instance has acknowledged.
        self.others: tuple[Key, ...] = ()

    @property
    def given_name(self) -> str | None:
        """The name that the client gave; None if it gave none or only watches. Roll-outs choose instances by it."""
        return self.name if self.name and self.name != self.connection else None


class CanaryInstance(Instance):
    """One connection without a name that asks for the candidate of each roll-out."""

    __slots__ = ()

    wants_candidate: ClassVar[bool] = True


class MuteInstance(Instance):
    """One connection with a name that can't acknowledge: an event stream, or a token without the right `report`."""

    __slots__ = ()

    can_acknowledge: ClassVar[bool] = False


class Candidate(Protocol):
    """The second version of a key in a roll-out, for the instances that the roll-out has reached.

    Attributes:
        target: The version that these instances get.
        stepped: When the last step began.
        phase: RUNNING while instances may have it, or why no instance may.
    """

    @property
    def target(self) -> str: ...

    @property
    def stepped(self) -> float: ...

    @property
    def phase(self) -> str: ...

    def has(self, instance: str) -> bool:
        """Return whether an instance gets the target version, given its name."""
        ...


@attrs.frozen(slots=True)
class Split:
    """The two versions that the instances of a key are expected to apply during a roll-out.

    Attributes:
        stable: The version of all instances that the roll-out has not reached, or None.
    """

    key: Key
    stable: str | None
    candidate: Candidate

    def is_reached(self, instance: Instance) -> bool:
        """Whether an instance gets the target version. The candidate is only served to subscriptions of a main key."""
        if instance.key != self.key:
            return False
        name = instance.given_name
        return instance.wants_candidate or (name is not None and self.candidate.has(name))

    def expected(self, instance: Instance) -> str | None:
        """Return the version that an instance is expected to apply."""
        return self.candidate.target if self.is_reached(instance) else self.stable


def make_ack(version: str, status: str, error: str | None, at: float) -> Ack:
    """Make an acknowledgement from a client's message. It is bounded, has a single line, and shares equal texts."""
    version = sys.intern(printable(version)[:_MAX_VERSION_LENGTH])
    return Ack(version, sys.intern(status), printable(error)[:_MAX_ERROR_LENGTH] if error else None, at)


@attrs.define(slots=True, eq=False)
class Gone:
    connection: str
    ack: Ack | None
    left: float
    before_restart: Ack | None = None
    is_mute: bool = False


@attrs.define(slots=True, eq=False)
class Roll:
    """The instances of one key.

    Attributes:
        live: The connected instances with their last acknowledgements.
        counts: How many of them have acknowledged each version with each status.
        gone: The instances that have left, by name.
        former: What connected instances acknowledged before the restart, if they have acknowledged nothing since.
        gone_former: How many of those that have left acknowledged something before the restart, and nothing since.
    """

    live: dict[Instance, Ack | None] = attrs.field(factory=dict)
    counts: dict[tuple[str, str], int] = attrs.field(factory=dict)
    gone: dict[str, Gone] = attrs.field(factory=dict)
    former: dict[Instance, Ack] = attrs.field(factory=dict)
    gone_former: int = 0
    unlisted: int = 0
    changed: float = 0.0

    def put(self, instance: Instance, ack: Ack | None) -> None:
        self.take(instance)
        self.live[instance] = ack
        if ack is not None:
            acknowledged = ack.status, ack.version
            self.counts[acknowledged] = self.counts.get(acknowledged, 0) + 1

    def recall(self, instance: Instance, ack: Ack | None) -> None:
        """Note what an instance acknowledged before the restart, unless it has acknowledged something since."""
        if ack is not None and self.live[instance] is None:
            self.former[instance] = ack

    def put_gone(self, name: str, gone: Gone) -> None:
        if name in self.gone:
            self.take_gone(name)
        self.gone[name] = gone
        if gone.before_restart is not None:
            self.gone_former += 1

    def take_gone(self, name: str) -> Ack | None:
        """Forget an instance that has left. Return what it acknowledged before the restart, if nothing since."""
        gone = self.gone.pop(name, None)
        if gone is None or gone.before_restart is None:
            return None
        self.gone_former -= 1
        return gone.before_restart

    def take(self, instance: Instance) -> Ack | None:
        ack = self.live.pop(instance, None)
        if self.former:
            self.former.pop(instance, None)
        if ack is not None:
            acknowledged = ack.status, ack.version
            self.counts[acknowledged] -= 1
            if not self.counts[acknowledged]:
                del self.counts[acknowledged]
        return ack

    def count(self, version: str | None, split: Split | None = None) -> tuple[int, int]:
        """Return how many connected instances have applied, and how many have rejected, the version expected of them.

        Without a split, this takes the same time for any number of instances.
        """
        if split is None:
            return self.counts.get(("applied", version or ""), 0), self.counts.get(("rejected", version or ""), 0)
        states = Counter(_state_of(ack, split.expected(instance)) for instance, ack in self.live.items() if ack)
        return states["applied"], states["rejected"]

    def see(
        self, version: str | None, state: str | None, split: Split | None = None
    ) -> Iterator[tuple[str, str, Instance | None]]:
        """Yield the name and connection of each instance in a state (None means any state), unordered.

        The third item is the instance, or None if it has left.

        Args:
            split: The versions that are expected of the instances during a roll-out. Without it, `version` is.
        """
        if state != "gone":
            for instance, ack in self.live.items():
                if state is None or state == _state_of(ack, version if split is None else split.expected(instance)):
                    yield instance.name, instance.connection, instance
        if state is None or state == "gone":
            for name, gone in self.gone.items():
                yield name, gone.connection, None

    def seen(self, version: str | None, name: str, instance: Instance | None, split: Split | None = None) -> Seen:
        """Return an instance at this moment. See `see` for `split`."""
        if instance is None:
            gone = self.gone[name]
            seen = name, gone.connection, "gone", gone.left, gone.ack
            return Seen(*seen, before_restart=gone.before_restart, is_mute=gone.is_mute)
        ack = self.live[instance]
        expected, changed = None, self.changed
        if split is not None and split.is_reached(instance):
            expected = version = split.candidate.target
            changed = max(changed, split.candidate.stepped)
        state = _state_of(ack, version)
        since = ack.at if ack is not None and state != "silent" else max(instance.since, changed)
        former = self.former.get(instance)
        is_mute = not instance.can_acknowledge
        row = name, instance.connection, state, since, ack
        return Seen(*row, before_restart=former, expected=expected, is_mute=is_mute)


def _state_of(ack: Ack | None, version: str | None) -> str:
    """Return the state of a connected instance."""
    return ack.status if ack is not None and version is not None and ack.version == version else "silent"


def is_memorable(instance: Instance, ack: Ack | None) -> bool:
    """Whether there is something to remember. If an instance gave no name and acknowledged nothing, there isn't."""
    return ack is not None or instance.name != instance.connection

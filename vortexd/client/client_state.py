"""What a client knows between connections: the state of each key, and what the application said of it. Pure."""

import attrs

from ..core.model import Key
from .replica import Replica


@attrs.frozen
class Ack:
    """What an application did with a version; `status` is "applied" or "rejected"."""

    version: str
    status: str
    error: str | None = None


@attrs.define(eq=False)
class ClientState:
    """What is known.

    Attributes:
        key: The main subscription, as the server names it; None before the first state.
        main: Its state.
        others: The keys that patterns match.
        acks: What the application said last of each key: a server may be another one, or have forgotten it.
        size: How many bytes all documents have as compact JSON.
    """

    key: Key | None = None
    main: Replica = attrs.field(factory=Replica)
    others: dict[Key, Replica] = attrs.field(factory=dict)
    acks: dict[Key, Ack] = attrs.field(factory=dict)
    size: int = 0

    def replica(self, key: Key) -> Replica | None:
        """The state of a key, where it is one of these."""
        return self.main if key == self.key else self.others.get(key)

    def forget(self, key: Key) -> Replica | None:
        """Drop one of the others; returns what it was."""
        self.acks.pop(key, None)
        return self.others.pop(key, None)

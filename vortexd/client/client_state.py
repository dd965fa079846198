"""The client's state between connections: each key's document, and the application's acknowledgements. Pure."""

import attrs

from ..core.model import Key
from .replica import Replica


@attrs.frozen
class Ack:
    """How an application handled a version; `status` is "applied" or "rejected"."""

    version: str
    status: str
    error: str | None = None


@attrs.define(eq=False)
class ClientState:
    """The state that outlives connections.

    Attributes:
        key: The key of the main subscription, as the server names it. None before the first state message.
        main: The state of that key.
        others: The states of the keys that patterns match.
        acks: The last acknowledgement of each key, to be repeated to a server that is new or has forgotten it.
        size: The size of all documents as compact JSON, in bytes.
        is_sent_on: A server that was behind has sent the client on, and no server has sent a state since then. The next server must not
            send the client on again.
    """

    key: Key | None = None
    main: Replica = attrs.field(factory=Replica)
    others: dict[Key, Replica] = attrs.field(factory=dict)
    acks: dict[Key, Ack] = attrs.field(factory=dict)
    size: int = 0
    is_sent_on: bool = False

    def replica(self, key: Key) -> Replica | None:
        """Return the state of a key, or None if the key isn't followed."""
        return self.main if key == self.key else self.others.get(key)

    def forget(self, key: Key) -> Replica | None:
        """Drop a key that patterns matched, and return its last state."""
        self.acks.pop(key, None)
        return self.others.pop(key, None)

"""The nodes of a cluster as the store lists them: their records, their signs of life, and the leader.

Readings and events arrive. The state of each node leaves, for /status, for metrics, and for `membership`. A record
outlives its node's sign of life, so a node that went away is still listed.
"""

from collections.abc import Callable, Iterable

from ..core.model import ClusterMember
from ..settings.cluster import is_node
from .engine import Entry, Event
from .keys import ALIVE, MEMBERS, Keys
from .records import SERVING, Member, Unusable
from .warnings import RecordWarnings

AWAY = "away"


class Roster:
    """The nodes of a cluster.

    Args:
        monotonic: Returns the seconds of a clock that is never set.
    """

    def __init__(self, keys: Keys, monotonic: Callable[[], float], warnings: RecordWarnings) -> None:
        self._keys = keys
        self._monotonic = monotonic
        self._warnings = warnings
        self._members: dict[str, Member] = {}
        self._entries: dict[str, Entry] = {}
        # The revision of a record whose node has no sign of life, and when this node noticed that. A node that comes
        # back writes its record anew.
        self._away_since: dict[str, tuple[int, float]] = {}
        # The process and the state of each node, and when this node noticed the last change of them.
        self._nodes: dict[str, tuple[bytes | None, str]] = {}
        self._changed_at = monotonic()

    def read(self, entries: Iterable[Entry]) -> None:
        """Take a reading of all entries of the cluster."""
        self._entries, self._members = {}, {}
        for entry in entries:
            self._put(entry)
        self._note_changes()

    def take(self, events: Iterable[Event]) -> None:
        """Take the events of a watch."""
        for event in events:
            if event.entry is not None:
                self._put(event.entry)
            else:
                self._entries.pop(event.key, None)
                self._members.pop(self._keys.node_of(event.key, MEMBERS), None)
                self._warnings.usable(event.key)
        self._note_changes()

    def _put(self, entry: Entry) -> None:
        node = self._keys.node_of(entry.key, MEMBERS)
        if node:
            try:
                self._members[node] = Member.parse(entry.value)
            except Unusable as error:
                self._members.pop(node, None)
                self._warnings.unusable(entry.key, str(error))
            else:
                self._warnings.usable(entry.key)
        if node or entry.key == self._keys.leader or self._keys.node_of(entry.key, ALIVE):
            self._entries[entry.key] = entry

    def _note_changes(self) -> None:
        now = self._monotonic()
        nodes = {node: (self._process_of(node), member.state) for node, member in self._members.items()}
        if nodes != self._nodes:
            self._nodes, self._changed_at = nodes, now
        away = dict[str, tuple[int, float]]()
        for node in self._members:
            if self._keys.alive(node) not in self._entries:
                before, revision = self._away_since.get(node), self._entries[self._keys.member(node)].modified
                away[node] = before if before is not None and before[0] == revision else (revision, now)
        self._away_since = away

    def _process_of(self, node: str) -> bytes | None:
        alive = self._entries.get(self._keys.alive(node))
        return alive.value if alive is not None else None

    def entry(self, key: str) -> Entry | None:
        """Return the record or the sign of life of a node, or the entry of the leader. Return None if there is none."""
        return self._entries.get(key)

    @property
    def leader(self) -> str | None:
        """The node that leads. None if there is none, or if its entry names no node."""
        entry = self._entries.get(self._keys.leader)
        name = entry.value.decode(errors="replace") if entry is not None else ""
        return name if is_node(name) else None

    @property
    def has_publisher(self) -> bool:
        """Whether a node serves that publishes its state if it leads."""
        return any(
            member.publishes and member.state == SERVING and self._keys.alive(node) in self._entries
            for node, member in self._members.items()
        )

    @property
    def away(self) -> dict[str, float]:
        """The nodes that are away, each with the seconds since this node noticed it."""
        now = self._monotonic()
        return {node: now - since for node, (_, since) in self._away_since.items()}

    @property
    def steady_for(self) -> float:
        """The seconds since this node has noticed that a node came, restarted, drained, went away or left."""
        return self._monotonic() - self._changed_at

    def members(self) -> tuple[ClusterMember, ...]:
        """Return all nodes whose records can be read, by name."""
        away = self.away
        return tuple(
            ClusterMember(
                node,
                AWAY if node in away else member.state,
                member.version,
                member.address,
                member.started,
                away.get(node),
            )
            for node, member in sorted(self._members.items())
        )

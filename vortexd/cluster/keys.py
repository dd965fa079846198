"""The names of all entries of a cluster in the store. Pure.

All of them begin with the prefix of the cluster, so two clusters in one store don't meet. A cluster's name and a node's
name have no slash.
"""

import attrs

from ..settings.cluster import is_node

MEMBERS, ALIVE, HINTS, FLEET, ORDER = "members/", "alive/", "hints/", "fleet/", "order/"
# Records of keys that all nodes share.
PINS, ROLLOUTS = "pins/", "rollouts/"

_DIGITS = frozenset("0123456789abcdef")


@attrs.frozen
class Keys:
    """The names of the entries of one cluster.

    Args:
        cluster: The name of the cluster.
    """

    cluster: str

    @property
    def prefix(self) -> str:
        """The beginning of every name."""
        return f"/vortexd/{self.cluster}/"

    @property
    def leader(self) -> str:
        """The entry of the leader, under its lease. Its value is the leader's name."""
        return f"{self.prefix}leader"

    @property
    def published(self) -> str:
        """The announcement of the newest published version, without a lease."""
        return f"{self.prefix}published"

    def member(self, node: str) -> str:
        """The record of a node, without a lease."""
        return f"{self.prefix}{MEMBERS}{node}"

    def alive(self, node: str) -> str:
        """The sign of life of a node, under its lease. Its value identifies the process."""
        return f"{self.prefix}{ALIVE}{node}"

    def hint(self, node: str) -> str:
        """The newest hint of a node, without a lease."""
        return f"{self.prefix}{HINTS}{node}"

    @property
    def secret(self) -> str:
        """The secret of the cluster, without a lease. It authenticates the questions between nodes."""
        return f"{self.prefix}secret"

    @property
    def epoch(self) -> str:
        """The record of the epoch, without a lease. The numbers of one epoch compare."""
        return f"{self.prefix}epoch"

    def numbered(self, name: str) -> str:
        """The numbered publications of a label, without a lease.

        Args:
            name: As `positions.Position.name`.
        """
        return f"{self.prefix}{ORDER}{name}"

    def is_numbered(self, key: str) -> bool:
        """Return whether an entry is the one of the numbered publications of a label."""
        return key.startswith(self.prefix + ORDER)

    def record(self, kind: str, name: str) -> str:
        """A record of a key, without a lease.

        Args:
            kind: PINS or ROLLOUTS.
            name: As in `record_of`.
        """
        return f"{self.prefix}{kind}{name}"

    def record_of(self, kind: str, key: str) -> str:
        """Return the name of a record of a kind: 32 hexadecimal digits. Return "" if an entry isn't such a record."""
        name = key.removeprefix(self.prefix + kind) if key.startswith(self.prefix + kind) else ""
        return name if len(name) == 32 and set(name) <= _DIGITS else ""

    def summary(self, node: str, number: int) -> str:
        """A part of a node's summary, under its lease."""
        return f"{self.prefix}{FLEET}{node}/{number}"

    def part_of(self, key: str) -> tuple[str, int] | None:
        """Return the node and the number of a part of a summary, or None if an entry isn't such a part."""
        node, slash, number = key.removeprefix(self.prefix + FLEET).partition("/")
        if not key.startswith(self.prefix + FLEET) or not is_node(node) or not slash:
            return None
        is_number = number.isascii() and number.isdigit() and len(number) <= 3 and str(int(number)) == number
        return (node, int(number)) if is_number else None

    def node_of(self, key: str, kind: str) -> str:
        """Return the node that an entry of a kind belongs to, or "" if it isn't such an entry.

        Other programs may have written other names, of any bytes. Such an entry belongs to no node.

        Args:
            kind: `MEMBERS`, `ALIVE` or `HINTS`.
        """
        start = self.prefix + kind
        node = key.removeprefix(start) if key.startswith(start) else ""
        return node if is_node(node) else ""

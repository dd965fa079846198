"""The most bytes and entries that a node reads of its cluster, so that another program can't fill its memory by way of etcd.

The limits follow from the number of member records: each node has a record, a sign of life, a hint and a summary, and
each of them is bounded. So are the records of labels. Readings and events arrive. An error leaves if there is more. Each
entry takes memory and time, however small it is, and may be a warning. So the bytes alone wouldn't bound that.
"""

from collections.abc import Iterable

from .engine import ENTRIES, Engine, EngineError, Event, Reading, TooMuch, size_of
from .keys import MEMBERS, Keys
from .positions import RECORD_BYTES
from .records import HINT_BYTES, MEMBER_BYTES
from .shared_records import PINS, ROLLOUTS
from .summaries import MOST_PARTS, PART_BYTES

# The entries of one node: the record, the hint, the parts of the summary, and last the sign of life and all names.
NODE_BYTES = MEMBER_BYTES + HINT_BYTES + MOST_PARTS * PART_BYTES + 8_192
# The entries that belong to no node: almost all of them are the records of labels. So many labels fit with the largest
# records. With one source a record has about 4 KB, so 16 times as many fit.
LABELS = 1_024
# The records of pins and roll-outs are few, and may be large.
SHARED_BYTES = LABELS * RECORD_BYTES + sum(each.most * each.max_bytes for each in (PINS, ROLLOUTS))
# The numbers of these entries.
SHARED_ENTRIES, NODE_ENTRIES = 16 * LABELS, MOST_PARTS + 4
# Nodes that may join between the reading of the member records and that of all entries.
SPARE_NODES = 8
# The most nodes, and so the most member records that count.
MOST_NODES = 256
# Seconds until the next attempt, with jitter. Each attempt reads as many bytes as the limit allows.
PAUSE = 60.0


class OverQuota(EngineError):
    """The entries of the cluster have more bytes than its nodes write. An operator has to act."""


class Quota:
    """The entries of the cluster and their bytes.

    Args:
        keys: The names of the cluster's entries.
    """

    def __init__(self, keys: Keys) -> None:
        self._prefix = keys.prefix
        self._members = keys.prefix + MEMBERS
        # The bytes of each entry with its name, and their sum. The limit bounds the names, too.
        self._sizes: dict[str, int] = {}
        self._size = 0
        self._nodes = 0

    async def read(self, engine: Engine) -> Reading:
        """Read all entries.

        Raises:
            OverQuota: See the class.
        """
        try:
            members = await engine.read(
                prefix=self._members, most_bytes=MOST_NODES * (MEMBER_BYTES + len(self._members) + 64)
            )
            nodes = len(members.entries)
            reading = await engine.read(
                prefix=self._prefix, most_bytes=_most_bytes(nodes), most_entries=_most_entries(nodes)
            )
        except TooMuch as error:
            raise _over(str(error)) from None
        self._sizes = {entry.key: size_of([entry]) for entry in reading.entries}
        self._size = sum(self._sizes.values())
        self._nodes = sum(map(self._is_member, self._sizes))
        return reading

    def take(self, events: Iterable[Event]) -> None:
        """Take the events of a watch.

        Raises:
            OverQuota: See the class.
        """
        for event in events:
            before = self._sizes.pop(event.key, None)
            self._size -= before or 0
            self._nodes += (event.entry is not None) * self._is_member(event.key)
            self._nodes -= (before is not None) * self._is_member(event.key)
            if event.entry is not None:
                self._sizes[event.key] = size_of([event.entry])
                self._size += self._sizes[event.key]
        most = _most_bytes(self._nodes)
        if self._size > most:
            raise _over(str(TooMuch(self._prefix, most)))
        most = _most_entries(self._nodes)
        if len(self._sizes) > most:
            raise _over(str(TooMuch(self._prefix, most, ENTRIES)))

    def _is_member(self, key: str) -> bool:
        return key.startswith(self._members)


def _most_bytes(nodes: int) -> int:
    return SHARED_BYTES + NODE_BYTES * min(nodes + SPARE_NODES, MOST_NODES)


def _most_entries(nodes: int) -> int:
    return SHARED_ENTRIES + NODE_ENTRIES * min(nodes + SPARE_NODES, MOST_NODES)


def _over(reason: str) -> OverQuota:
    return OverQuota(
        f"{reason}, which is more than its nodes write; delete the keys there that no node has written, and let no other "
        "user of etcd write there"
    )

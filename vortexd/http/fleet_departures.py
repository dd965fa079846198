"""Asks the other nodes of a cluster which instances have moved there while this node restarted.

When a node stops, its clients connect to other nodes. After the restart it remembers them as gone, although they are
connected. So it asks the other nodes for these names, ever more rarely, and forgets an instance that another node has an
acknowledgement of. If the instance hasn't acknowledged anything there, only this node knows what it acknowledged before.
Then it stays in the list, and `merge` shows this with the connected instance. A question only reads.
"""

from collections.abc import Sequence
from typing import Protocol

import trio

from ..fleet import Fleet, NodePages, Question, Record, records_of
from .key_filter import MOST

# Seconds between two rounds of questions. The last one is later than the default of `fleet.forget_after`.
PAUSES = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 600.0)
# The instances of one question. A page also has an entry for each key, and a name may have several connections.
AT_ONCE = 400


class Nodes(Protocol):
    """The other nodes of a cluster."""

    async def pages(self, question: Question) -> NodePages:
        """Return a page of each other node whose instances or counts are known."""
        ...


class FleetDepartures:
    """Forgets instances that are gone here, and are connected to other nodes."""

    def __init__(self, fleet: Fleet, nodes: Nodes) -> None:
        self._fleet = fleet
        self._nodes = nodes

    async def run(self) -> None:
        """Ask some times after the start, and return."""
        for pause in PAUSES:
            await trio.sleep(pause)
            records = records_of((), self._fleet.gone(self._fleet.most_records))
            records.sort(key=lambda each: (each.key.application, each.key.profile, each.key.label, each.name))
            for start in range(0, len(records), AT_ONCE):
                await self._ask(records[start : start + AT_ONCE])

    async def _ask(self, records: Sequence[Record]) -> None:
        keys = tuple(dict.fromkeys(each.key for each in records))
        names = tuple(dict.fromkeys(each.name for each in records))
        found = await self._nodes.pages(Question(keys, limit=MOST, names=names))
        connected = {
            (state.key, row.name): row.ack
            for page in found.pages
            for state in page.keys
            for row in state.instances
            if row.state != "gone"
        }
        # A node of a former version lists other instances as well.
        places = [((each.key, each.name), each.ack) for each in records if (each.key, each.name) in connected]
        self._fleet.give_up(place for place, ack in places if ack is None or connected[place] is not None)

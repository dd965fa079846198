"""Tells the other workers which instances have connected here, so that none of them counts an instance as gone that moved.

A client that reconnects may reach another worker than before, most of all after a restart. The worker that remembers it
as gone forgets it then, and hands over what the instance acknowledged before the restart. The worker where the client is
connected shows that.
"""

from itertools import islice

import orjson
import trio

from ..core.model import Key
from ..fleet import Ack, Fleet, Instance
from ..process.peers import Peers

_NAME = "fleet arrivals"
# Seconds in which arrivals are collected.
PAUSE = 0.5
# The arrivals of one question.
AT_ONCE = 1_000
# The most arrivals that wait for a worker that is starting. Instances beyond it count as gone there until it forgets them.
MOST = 100_000


class FleetArrivals:
    """Tells the other workers which instances have connected here, and answers them."""

    def __init__(self, fleet: Fleet, peers: Peers) -> None:
        self._fleet = fleet
        self._peers = peers
        self._waiting: dict[tuple[Key, str], Instance] = {}
        self._news = trio.Event()
        if peers.are_there:
            fleet.report_arrivals(self._arrived)
            peers.answer(_NAME, self._answer)

    def _arrived(self, key: Key, instance: Instance) -> None:
        if len(self._waiting) < MOST:
            self._waiting[key, instance.name] = instance
            self._news.set()

    async def run(self) -> None:
        """Tell the other workers in batches. Never returns."""
        while True:
            await self._news.wait()
            await trio.sleep(PAUSE)
            while await self._tell():
                pass
            if not self._waiting:
                self._news = trio.Event()

    async def _tell(self) -> bool:
        """Tell one batch. Return whether there is another one, and all workers have answered."""
        known = len(self._waiting)
        # Mostly no worker remembers an instance that is gone. Then no names are sent.
        gone = await self._peers.ask(_NAME, "[]")
        batch = dict(islice(self._waiting.items(), AT_ONCE if any(gone.texts.values()) else known))
        if any(gone.texts.values()):
            names = [[key.application, key.profile, key.label, name] for key, name in batch]
            gone = await self._peers.ask(_NAME, orjson.dumps(names).decode())
            for text in gone.texts.values():
                self._take(text, batch)
        if len(gone.texts) < self._peers.count - 1:
            # A worker is starting, or busy. It is told later.
            return False
        for place, instance in batch.items():
            if self._waiting.get(place) is instance:
                del self._waiting[place]
        return bool(self._waiting)

    def _take(self, text: str, batch: dict[tuple[Key, str], Instance]) -> None:
        for application, profile, label, name, *ack in orjson.loads(text) if text else ():
            key = Key(application, profile, label)
            self._fleet.take_over(key, batch[key, name], Ack(*ack))

    def _answer(self, text: str) -> str:
        """Answer another worker at once. The answer to an empty list is "[]" if an instance is gone, and else ""."""
        names = orjson.loads(text)
        if not names:
            return "[]" if self._fleet.has_gone else ""
        former = self._fleet.give_up((Key(*parts), name) for *parts, name in names)
        return orjson.dumps(
            [
                [key.application, key.profile, key.label, name, ack.version, ack.status, ack.error, ack.at]
                for key, name, ack in former
            ]
        ).decode()

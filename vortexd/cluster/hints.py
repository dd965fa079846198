"""Hints between nodes: a webhook or a new commit at one node makes the sources of the others look at once.

Webhooks, the news of this node's sources, and the events of a watch arrive. Records leave for the store, and requests
to look leave for the sources. A hint carries no configuration, so a hint that is lost, late or repeated does no harm. All
hints that arise until the next write become one record. A record says which state a source has found. So a node that has
it neither looks again nor says the same once more, and one push makes few records, however many nodes there are.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

import structlog
import trio

from .engine import Engine, EngineError, Entry, Event, Put
from .keys import HINTS, Keys
from .records import Hint, Push, Unusable, bounded_push, fitted
from .store_state import StoreState
from .warnings import RecordWarnings

log = structlog.get_logger()

# The least seconds between two writes of one process.
BETWEEN = 0.3
# The most seconds that the news of a source waits. All nodes that a webhook has reached have the same news. The first
# to write it spares the others the write.
NEWS_DELAY = 0.5
# Seconds until the next attempt after a failure, with jitter.
_AGAIN, _AGAIN_AT_MOST = 1.0, 10.0
_PART = "hints"
# The sources whose announced states are remembered. Other programs may write to the store, so there is a limit.
_MOST_KNOWN = 256


class Looking(Protocol):
    """The part of the sources that hints need."""

    def notified(self, addresses: Collection[str], refs: Collection[str]) -> int:
        """Make each source look that a webhook concerns. Return the number of these sources."""
        ...

    def behind(self, name: str, state: str) -> int:
        """Make each source look that reads this remote, unless it has found this state. Return their number."""
        ...


class Hints:
    """Writes the hints of this process, and acts on those of others.

    Args:
        node: The name of this node.
        process: Identifies this process. It has no hyphen.
        sources: The sources that look.
        state: Hears of failures.
        uniform: Returns a random number between two others, for jitter.
        now: Returns the seconds since the epoch.

    Attributes:
        announced: The number of records that this process has written.
        heard: The number of records of others that it has acted on.
    """

    def __init__(
        self,
        keys: Keys,
        node: str,
        process: str,
        sources: Looking,
        state: StoreState,
        warnings: RecordWarnings,
        uniform: Callable[[float, float], float],
        now: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._node = node
        self._process = process
        self._sources = sources
        self._state = state
        self._warnings = warnings
        self._uniform = uniform
        self._now = now
        self._numbers = itertools.count(1)
        self._push: Push | None = None
        # The news that no record has yet, and the newest states that records have: the state of each source.
        self._news: dict[str, str] = {}
        self._known: dict[str, str] = {}
        self._arisen = trio.Event()
        self._is_urgent = trio.Event()
        self.announced = 0
        self.heard = 0

    # From here to the others.

    def announce_push(self, addresses: Collection[str], refs: Collection[str]) -> None:
        """Tell the others of a webhook, without waiting."""
        push = bounded_push([*addresses], [*refs])
        self._push = push if self._push is None else self._push | push
        self._arisen.set()
        self._is_urgent.set()

    def announce_news(self, name: str, state: str) -> None:
        """Tell the others that a source has found a new state of its remote, unless another node has said so."""
        if self._known.get(name) != state:
            self._news[name] = state
            self._arisen.set()

    async def run(self, engine: Engine) -> None:
        """Write the hints until this is cancelled. Raises no error of the store."""
        pause = _AGAIN
        while True:
            await self._arisen.wait()
            with trio.move_on_after(self._uniform(0.0, NEWS_DELAY)):
                await self._is_urgent.wait()
            if await self._write(engine):
                pause = _AGAIN
                await trio.sleep(BETWEEN)
            else:
                await trio.sleep(pause * self._uniform(0.5, 1.0))
                pause = min(2 * pause, _AGAIN_AT_MOST)

    async def _write(self, engine: Engine) -> bool:
        """Write one record with everything that has arisen. Return False if it has to be written again."""
        push, news = self._push, {name: each for name, each in self._news.items() if self._known.get(name) != each}
        self._push, self._news = None, {}
        self._arisen, self._is_urgent = trio.Event(), trio.Event()
        if push is None and not news:
            # Another node has announced the same, perhaps after a failure of this one.
            self._state.worked(_PART)
            return True
        hint = fitted(Hint(f"{self._process}-{next(self._numbers)}", push, news, round(self._now(), 3)))
        is_written = False
        try:
            await engine.commit([Put(self._keys.hint(self._node), hint.encoded())])
            is_written = True
        except EngineError as error:
            # If the outcome is unknown, a second record does no harm.
            self._state.failed(_PART, str(error))
            return False
        finally:
            if not is_written:
                self._take_back(push, news)
        self._state.worked(_PART)
        self.announced += 1
        self._learn(news)
        log.info("hint announced", webhook=push is not None, sources=len(news))
        return True

    def _take_back(self, push: Push | None, news: dict[str, str]) -> None:
        """Keep what couldn't be written, beside what has arisen since."""
        if push is not None:
            self._push = push if self._push is None else self._push | push
            self._is_urgent.set()
        self._news = {**news, **self._news}
        self._arisen.set()

    # From the others to here.

    def read(self, entries: Iterable[Entry]) -> None:
        """Learn from a reading of the cluster which states are announced. The caller makes all sources look."""
        for entry in sorted(entries, key=lambda entry: entry.modified):
            if self._keys.node_of(entry.key, HINTS) and (hint := self._parsed(entry)) is not None:
                self._learn(hint.sources)

    def take(self, events: Collection[Event]) -> None:
        """Act on the hints in the events of a watch."""
        for event in events:
            node = self._keys.node_of(event.key, HINTS)
            hint = self._parsed(event.entry) if node and event.entry is not None else None
            if hint is not None and hint.process != self._process:
                self._hear(node, hint)

    def _parsed(self, entry: Entry) -> Hint | None:
        try:
            hint = Hint.parse(entry.value)
        except Unusable as error:
            self._warnings.unusable(entry.key, str(error))
            return None
        self._warnings.usable(entry.key)
        return hint

    def _hear(self, node: str, hint: Hint) -> None:
        self.heard += 1
        self._learn(hint.sources)
        count = self._sources.notified(hint.push.addresses, hint.push.refs) if hint.push is not None else 0
        count += sum(self._sources.behind(name, state) for name, state in hint.sources.items())
        if count:
            log.info("hint heard", node=node, sources=count, consequence="these sources fetch now")

    def _learn(self, news: Mapping[str, str]) -> None:
        """Remember the states that a record has. The sources that were named last stay."""
        for name, state in news.items():
            self._known.pop(name, None)
            self._known[name] = state
        while len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

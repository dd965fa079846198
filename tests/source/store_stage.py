"""A stage for tests of sources that read a store: a store in memory, a source on it, and what it has published."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Protocol

import pytest
import trio

from tests.cluster.memory_engine import MemoryEngine, MemoryStore
from vortexd.cluster.engine import Engine
from vortexd.core.model import Tree


class Most(Random):
    """Jitter that is always the longest."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Runs(Protocol):
    """The part of a source that the stage needs."""

    def run(self, publish: Callable[[Tree], Awaitable[None]]) -> Awaitable[None]: ...


class StoreStage:
    """A store in memory, and everything that a source on it has published.

    Attributes:
        refusal: An error in place of the next engines, or None.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self.store = MemoryStore()
        self.engines: list[MemoryEngine] = []
        self.trees: list[Tree] = []
        self.refusal: Exception | None = None
        self._nursery = nursery

    def start(self, source: Runs) -> None:
        """Run a source until the test ends."""
        self._nursery.start_soon(source.run, self.publish)

    def engine(self) -> Engine:
        """Make an engine for a source."""
        if self.refusal is not None:
            raise self.refusal
        self.engines.append(self.make())
        return self.engines[-1]

    def make(self) -> MemoryEngine:
        """Make an engine on the store. A test may replace it."""
        return MemoryEngine(self.store)

    async def publish(self, tree: Tree) -> None:
        self.trees.append(tree)
        await trio.lowlevel.checkpoint()


def run_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run functions in place of threads. The clock of a test would not wait for a real thread."""

    async def run_sync(function: Callable[..., object], *arguments: object, **options: object) -> object:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    monkeypatch.setattr("vortexd.aio.threads.run_sync", run_sync)

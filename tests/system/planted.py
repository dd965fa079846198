"""Runs vortexd with a planted fault. By that, tests show that the checker of histories would find it.

python -m tests.system.planted FAULT ARGUMENTS...
"""

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import trio

from vortexd.__main__ import main
from vortexd.cluster import generations, positions
from vortexd.cluster.engine import Committed, Condition, Engine, Write
from vortexd.cluster.etcd.engine import EtcdEngine
from vortexd.cluster.keys import ORDER
from vortexd.cluster.published.head import Head, Places
from vortexd.cluster.published.manifest import Manifest, tree_of
from vortexd.cluster.published.packing import Content, unpack
from vortexd.cluster.records import Unusable
from vortexd.core.model import Tree
from vortexd.pipeline.pipeline import Pipeline
from vortexd.source.published import reading
from vortexd.source.published.settings import PublishedSettings

from .process import Server

# Seconds until a node writes a number that it has chosen.
NUMBERED_AFTER = 1.5
FAULTS: dict[str, Callable[[], None]] = {}


def fault(plant: Callable[[], None]) -> Callable[[], None]:
    """Name a fault like its function."""
    FAULTS[plant.__name__] = plant
    return plant


def running(plant: Callable[[], None]) -> type[Server]:
    """Return a server with this fault."""

    class Faulty(Server):
        @classmethod
        def command(cls) -> list[str]:
            return [sys.executable, "-m", __name__, plant.__name__]

    return Faulty


@fault
def apply_before_all_hashes() -> None:
    """A published state is applied with the chunks that are there. Files of missing chunks keep their former content."""
    former: dict[str, Mapping[str, bytes]] = {}

    async def chunks(
        engine: Engine, head: Head, settings: PublishedSettings, sizes: Mapping[str, int]
    ) -> dict[str, bytes]:
        places, found = Places(settings.cluster), dict[str, bytes]()
        for name in sizes:
            for entry in (await engine.read([places.chunk(name)])).entries:
                found[name] = entry.value
        return found

    def assembled(
        head: Head,
        manifest: Manifest,
        settings: PublishedSettings,
        wanted: Sequence[Content],
        known: Mapping[str, bytes],
        found: Mapping[str, bytes],
    ) -> tuple[Tree, Mapping[str, bytes]]:
        contents = dict(known)
        for each in wanted:
            with contextlib.suppress(Unusable, KeyError):
                contents.setdefault(each.digest, unpack(each, manifest.chunks, found))
        tree = tree_of(manifest, [contents.get(each.digest) for each in manifest.contents], str)
        labels = {
            label: attrs.evolve(
                files,
                contents={**{path: former[label][path] for path in files.unreadable}, **files.contents},
                unreadable={},
            )
            for label, files in tree.labels.items()
        }
        former.update({label: files.contents for label, files in labels.items()})
        return attrs.evolve(tree, labels=labels), contents

    replace(reading, "_chunks", chunks)
    replace(reading, "_assembled", assembled)


@fault
def forget_the_generation() -> None:
    """A node takes no client to be ahead of it, whatever generation the client claims."""
    replace(Pipeline, "is_ahead", lambda *arguments: False)


@fault
def number_late() -> None:
    """A node takes long to number a publication. This alone makes no two numbers alike."""
    _number_late(lambda conditions: conditions)


@fault
def skip_the_fence() -> None:
    """A node takes long to number a publication, and doesn't look whether another node was faster."""
    _number_late(lambda conditions: ())


def _number_late(kept: Callable[[Sequence[Condition]], Sequence[Condition]]) -> None:
    punctual = EtcdEngine.commit

    async def commit(engine: EtcdEngine, writes: Sequence[Write], conditions: Sequence[Condition] = ()) -> Committed:
        if any(f"/{ORDER}" in each.key for each in writes):
            await trio.sleep(NUMBERED_AFTER)
            conditions = kept(conditions)
        return await punctual(engine, writes, conditions)

    # A number is at least the time in seconds, which would hide most faults.
    counted: Callable[..., object] = positions.numbered_next
    replace(generations, "numbered_next", lambda *arguments: counted(*arguments[:-1], 0.0))
    replace(EtcdEngine, "commit", commit)


def replace(owner: Any, name: str, new: object) -> None:
    """Replace a part of the product that must exist."""
    getattr(owner, name)
    setattr(owner, name, new)


if __name__ == "__main__":
    FAULTS[sys.argv.pop(1)]()
    sys.exit(main())

"""Finds the former documents of keys in the states before the served one, for clients that resume after a restart.

A key and a version arrive. The documents that the key had in former states are added to its history in the store, until
one has the version. A document is what its hash says, so it doesn't matter which state it comes from.

The invariant: the work is bounded. Former states are read one after the other, and each once. Only the labels that
differ from the served ones are kept, within a limit of bytes. Each state is resolved once for a key. However often another
state is served, walks through the former states have a pause between them. A client waits for a limited time, and then
gets a snapshot.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol, TypeAlias

import attrs
import structlog
import trio

from ..aio import threads
from ..core.errors import FormatError, ResolveError, SourceError, UnknownLabel
from ..core.model import Config, Files, Key, Tree
from ..resolve.tree import ParsedFiles, ParsedTree, parse_tree
from .served import ServedState
from .state import State
from .store import Store

log = structlog.get_logger()

# Where a former state is, in the terms of the sources. This one stands for the served state.
Place: TypeAlias = tuple[int, int]
_SERVED: Place = 0, 0
# Seconds that a client waits for a former state. Then it gets a snapshot.
PATIENCE = 2.0
# Seconds from the beginning of a walk through the former states, or from its failure, until the next one may begin.
AGAIN = 10.0
# The most keys that are looked up at a time.
MOST_KEYS = 64
# The most bytes of former states, as they are estimated.
MOST_BYTES = 67_108_864
# A file of a former state that the served state has, too, takes this many bytes. A file that differs takes this many
# times its size in addition, because it is parsed.
FILE_BYTES, PARSED = 512, 8
_VERSION = re.compile(r"[0-9a-f]{16}")


class FormerSources(Protocol):
    """The part of the sources that has former states."""

    @property
    def has_former(self) -> bool:
        """Whether there may be former states."""
        ...

    async def former(self, before: Place) -> tuple[Place, Tree] | None:
        """Read the state before the one at a place. Return its place and the state, or None if there is none.

        Raises:
            SourceError: It can't be read now.
        """
        ...


@attrs.define(eq=False)
class Former:
    """A former state.

    Attributes:
        labels: The labels whose files differ from those of the served state.
        bytes: Its size, as it is estimated.
        parsed: The parsed labels. A thread parses a label when a key needs it.
    """

    labels: Mapping[str, Files]
    bytes: int
    parsed: dict[str, ParsedFiles] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Limits:
    """The limits that all `FormerStates` of a server share.

    Attributes:
        reading: Limits how many states are read at a time.
        resolving: Limits the threads that parse and resolve.
        again_at: When the next walk through the former states may begin.
    """

    reading: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))
    resolving: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))
    again_at: float = 0.0


@attrs.frozen(slots=True, eq=False)
class _Examined:
    """The number of states in which a key was looked up.

    Attributes:
        owner: Identifies the `FormerStates` without keeping its states alive.
    """

    owner: object
    count: int


class FormerStates:
    """Finds former documents of keys; see the module. The states that it keeps last as long as one served state.

    Args:
        served: The served state.
        store: Takes the documents.
        sources: Reads former states.
        limits: The limits that all objects of this class share.
    """

    def __init__(self, served: ServedState, store: Store, sources: FormerSources, limits: Limits) -> None:
        self._served = served
        self._store = store
        self._sources = sources
        self._limits = limits
        self._flight = threads.SingleFlight()
        # The states that were read, the newest first, and the place of the last one.
        self._states: list[Former] = []
        self._place = _SERVED
        self._room = MOST_BYTES
        self._is_complete = False
        # Whether the walk through the states has begun and may go on.
        self._has_begun = False
        # The number of clients that wait for each key.
        self._waiting: Counter[Key] = Counter()

    def may_know(self, key: Key, version: str) -> bool:
        """Return whether `find` may find a document that isn't in the history of a key."""
        if not self._store.has_room(key) or _VERSION.fullmatch(version) is None:
            return False
        if self._examined(key) < len(self._states):
            return True
        return not self._is_complete and (self._has_begun or trio.current_time() >= self._limits.again_at)

    async def find(self, key: Key, version: str) -> None:
        """Look a version of a key up in former states, until it is in the key's history. Takes a limited time."""
        if key not in self._waiting and len(self._waiting) >= MOST_KEYS:
            return
        self._waiting[key] += 1
        read = len(self._states)
        try:
            with trio.move_on_after(PATIENCE) as scope:
                while self.may_know(key, version) and not self._store.knows(key, version):
                    await self._flight.shared(key, partial(self._examine, key))
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
        if scope.cancelled_caught and read == len(self._states) and not self._is_complete:
            self._failed(f"no further one within {PATIENCE:g} s")

    async def find_files(self, key: Key, version: str) -> Sequence[Sequence[ParsedFiles]] | None:
        """Return the layers of each label of a key in the newest former state in which it has a version, or None.

        Takes a limited time.
        """
        number = 0
        with trio.move_on_after(PATIENCE):
            while True:
                if number >= len(self._states):
                    async with self._limits.reading:
                        if number >= len(self._states):
                            await self._read()
                if number >= len(self._states):
                    break
                resolve = partial(_layers_of, self._states[number], self._served, key, version)
                found = await threads.run_sync(resolve, abandon_on_cancel=True, limiter=self._limits.resolving)
                if found is not None:
                    return found
                number += 1
        return None

    def _examined(self, key: Key) -> int:
        """Return the number of states in which a key was looked up."""
        note = self._store.note_of(key)
        return note.count if isinstance(note, _Examined) and note.owner is self._flight else 0

    async def _examine(self, key: Key) -> None:
        """Look a key up in the next state."""
        number = self._examined(key)
        if number >= len(self._states):
            async with self._limits.reading:
                if number >= len(self._states):
                    await self._read()
        if number >= len(self._states):
            return
        former, config = self._states[number], None
        if not former.labels.keys().isdisjoint(key.labels):
            resolve = partial(_resolved, former, self._served, key)
            config = await threads.run_sync(resolve, abandon_on_cancel=True, limiter=self._limits.resolving)
        # The store has the number, so it ends with the history of the key. Clients can invent any number of keys.
        self._store.note(key, _Examined(self._flight, number + 1))
        if config is not None:
            self._store.recall(config)

    async def _read(self) -> None:
        """Read the next state, if there is one."""
        if self._is_complete:
            return
        if not self._has_begun:
            self._has_begun = True
            self._limits.again_at = trio.current_time() + AGAIN
        try:
            found = await self._sources.former(self._place)
        except SourceError as error:
            self._failed(str(error))
            return
        if found is None:
            self._is_complete = True
            return
        place, tree = found
        compare = partial(_different, tree, self._served.tree)
        former = await threads.run_sync(compare, abandon_on_cancel=True, limiter=self._limits.resolving)
        self._room -= former.bytes
        if self._room < 0:
            self._is_complete = True
            log.info("former states left out", reason=f"they take more than {MOST_BYTES} bytes", read=len(self._states))
            return
        self._place = place
        self._states.append(former)

    def _failed(self, reason: str) -> None:
        """Let no client wait for further states for some time."""
        if self._has_begun:
            log.info(
                "former states unreadable",
                reason=reason,
                consequence="clients that resume from a state before the start get a snapshot",
            )
        self._has_begun = False
        self._limits.again_at = trio.current_time() + AGAIN


def _different(former: Tree, served: Tree) -> Former:
    """Keep the labels of a former state that differ from the served ones. Equal contents become the served objects."""
    labels: dict[str, Files] = {}
    size = 0
    for label, files in former.labels.items():
        now = served.labels.get(label)
        if now is None or [*map(_parts, _layers(files))] == [*map(_parts, _layers(now))]:
            continue
        contents = {layer.root: layer.contents for layer in _layers(now)}
        layers = [_shared(layer, contents.get(layer.root, {})) for layer in _layers(files)]
        labels[label] = attrs.evolve(layers[0], others=tuple(layers[1:]))
        size += sum(_size_of(layer, contents.get(layer.root, {})) for layer in layers)
    return Former(labels, size)


def _layers(files: Files) -> tuple[Files, ...]:
    return (files, *files.others)


def _parts(files: Files) -> tuple[object, ...]:
    """Return everything that documents depend on."""
    return files.root, files.locations, files.applications, files.group, files.contents, files.unreadable


def _shared(files: Files, now: Mapping[str, bytes]) -> Files:
    contents = {path: now[path] if now.get(path) == each else each for path, each in files.contents.items()}
    return attrs.evolve(files, contents=contents, others=(), edits=None)


def _size_of(files: Files, now: Mapping[str, bytes]) -> int:
    different = sum(len(each) for path, each in files.contents.items() if now.get(path) is not each)
    return FILE_BYTES * len(files.contents) + PARSED * different


def _resolved(former: Former, served: ServedState, key: Key) -> Config | None:
    """Resolve a key in a former state. Return None if it can't be resolved there."""
    try:
        return _state(former, served, key).resolve(key)
    except (UnknownLabel, FormatError, ResolveError):
        return None


def _layers_of(former: Former, served: ServedState, key: Key, version: str) -> Sequence[Sequence[ParsedFiles]] | None:
    """Return the layers of each label of a key in a former state, if it has a version there."""
    state = _state(former, served, key)
    try:
        return state.layers(key) if state.resolve(key).version == version else None
    except (UnknownLabel, FormatError, ResolveError):
        return None


def _state(former: Former, served: ServedState, key: Key) -> State:
    labels = {label: _parsed(former, served, label) for label in key.labels if label in served.state.labels}
    state = served.state
    return State(labels, state.default_label, state.decryptor, state.overrides)


def _parsed(former: Former, served: ServedState, label: str) -> ParsedFiles:
    """Return the parsed files of a label in a former state. A label that doesn't differ is the served one."""
    now = served.state.labels[label]
    if label not in former.labels:
        return now
    if label not in former.parsed:
        # Unchanged files aren't parsed again. Today's content must not replace a file that was broken in that state.
        before, nothing = ParsedTree({label: now}, label), ParsedTree({}, label)
        tree = Tree({label: former.labels[label]}, label)
        former.parsed[label] = parse_tree(tree, served.formats, before, nothing).labels[label]
    return former.parsed[label]

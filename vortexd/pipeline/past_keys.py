"""Reads a key at commits: the files of some layers arrive as they were, and the document of the key leaves.

A source without commits may keep versions of its files, which count as commits. A layer without either counts as it is now. The limits, the decryptor and the overrides are those of the served state.

The invariant: one layer is parsed anew only if its commit is another one, and then only the files that differ from those of
a similar commit.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeAlias

import attrs
import trio

from ..aio import threads
from ..core.commits import Commit, PastFiles
from ..core.errors import FormatError, ResolveError
from ..core.model import Files, Key
from ..resolve.locations import is_plain
from ..resolve.spring import selection
from ..resolve.tree import ParsedFiles
from .former_commits import parsed_with
from .served import ServedState
from .state import State

# The layers of each label of a key, the strongest first.
Layers: TypeAlias = Sequence[Sequence[ParsedFiles]]
# The paths that decide about a key in a layer. None if every path may.
_Reads: TypeAlias = frozenset[str] | None
# The files of a label in which no layer serves the key.
_NOTHING = ParsedFiles(Files({}), {}, {})


class Commits(Protocol):
    """The part of the sources that knows commits."""

    def commits(self, root: str, commit: str) -> Sequence[Commit]:
        """Return the newest commits of the label that serves this commit now, the newest first."""
        ...

    async def at(self, root: str, commit: str, near: PastFiles | None) -> PastFiles | None:
        """Read the files of a commit. Return None if it can't be served.

        Raises:
            SourceError: It can't be read now.
        """
        ...

    async def versions(self, files: Files) -> Sequence[Commit]:
        """Return the versions that the source of some files keeps, the newest first."""
        ...

    async def version(self, files: Files, id: str, near: PastFiles | None) -> PastFiles | None:
        """Read the files of a version. Return None if it isn't kept."""
        ...

    async def subject(self, root: str, commit: str) -> str:
        """Return the first line of a commit's message.

        Raises:
            SourceError: It can't be read now.
        """
        ...


@attrs.frozen(slots=True, eq=False)
class Document:
    """The document of a key at a commit, as JSON."""

    version: str
    body: bytes


@attrs.frozen(slots=True, eq=False)
class PastLayer:
    """A layer at a commit.

    Attributes:
        found: The files of the commit. None if it can't be served, or for the state before the first commit.
        parsed: The parsed files, or those of a newer commit if this one can't be served.
        is_usable: Whether the commit can be served.
    """

    found: PastFiles | None
    parsed: ParsedFiles
    is_usable: bool = True


@attrs.frozen(slots=True, eq=False)
class PastKey:
    """A key at a commit.

    Attributes:
        layers: The layers that have commits, by their numbers in the timeline.
        reads: For each of these layers, the paths that decide about the key. None if every path may.
        document: The document. None if the key can't be resolved.
    """

    layers: Mapping[int, PastLayer]
    reads: Mapping[int, _Reads]
    document: Document | None

    def may_differ(self, layers: Sequence[int], commit: Commit) -> bool:
        """Return whether a commit in some layers may have another document than its parent."""
        return any((reads := self.reads[each]) is None or not reads.isdisjoint(commit.paths) for each in layers)


def commit_of(files: Files) -> str | None:
    """Return the commit that some files are from, or None if their source has no commits."""
    # Of several groups of sources, none has a revision, but each has an origin.
    return files.revision or (files.origin.commit if files.origin is not None else None)


class PastKeys:
    """Reads a key at commits; see the module.

    Args:
        layers: The layers of each label of the key, as they are now.
        numbers: The numbers in the timeline of those that have commits, by their places: label and position.
        resolving: Limits the threads that parse and resolve.
    """

    def __init__(
        self,
        commits: Commits,
        served: ServedState,
        key: Key,
        layers: Layers,
        numbers: Mapping[tuple[int, int], int],
        resolving: trio.CapacityLimiter,
    ) -> None:
        self._commits = commits
        self._served = served
        self._key = key
        self._layers = layers
        self._numbers = numbers
        self._resolving = resolving
        self._now = {number: layers[label][position] for (label, position), number in numbers.items()}

    async def read(self, commits: Mapping[int, str | None], near: PastKey | None) -> PastKey:
        """Read the key at commits.

        Args:
            commits: The commit of each layer that differs from `near`. None means the state before the first commit.
            near: The key at similar commits. None means that `commits` has all layers.
        """
        found: dict[int, PastFiles | None] = {}
        for number, commit in commits.items():
            if commit is not None:
                former = near.layers[number].found if near is not None else None
                files = self._now[number].files
                if commit_of(files) is None:
                    found[number] = await self._commits.version(files, commit, former)
                else:
                    found[number] = await self._commits.at(files.root, commit, former)
        resolve = partial(self._resolved, commits, found, near)
        return await threads.run_sync(resolve, abandon_on_cancel=True, limiter=self._resolving)

    def _resolved(
        self, commits: Mapping[int, str | None], found: Mapping[int, PastFiles | None], near: PastKey | None
    ) -> PastKey:
        """Resolve the key. This runs in a thread, so it uses only immutable objects."""
        layers = dict(near.layers) if near is not None else {}
        reads = dict(near.reads) if near is not None else {}
        for number, commit in commits.items():
            similar = layers[number].parsed if number in layers else self._now[number]
            layers[number] = self._parsed(commit, found.get(number), similar)
            reads[number] = self._reads(number, layers[number])
        return PastKey(layers, reads, self._document(layers))

    def _parsed(self, commit: str | None, found: PastFiles | None, similar: ParsedFiles) -> PastLayer:
        if commit is not None and found is None:
            return PastLayer(None, similar, is_usable=False)
        # The order of several labels depends on whether their files come from commits. The empty state does, too.
        files = found.files if found is not None else Files({}, origin=similar.files.origin)
        return PastLayer(found, parsed_with(files, similar, self._served))

    def _reads(self, number: int, layer: PastLayer) -> _Reads:
        files = layer.parsed.files
        # Which directories a pattern matches depends on all files.
        if not layer.is_usable or not is_plain(files.locations):
            return None
        # Several label directories are searched together, so a file in one may import a file from another one.
        if commit_of(self._now[number].files) is None and len(self._key.labels) > 1:
            return None
        try:
            return _paths(selection(layer.parsed, self._key).reads, layer.found)
        except ResolveError:
            return None

    def _document(self, layers: Mapping[int, PastLayer]) -> Document | None:
        if not all(each.is_usable for each in layers.values()):
            return None
        state = self._served.state
        labels: dict[str, ParsedFiles] = {}
        for name, there in zip(self._key.labels, self._stacks(layers), strict=True):
            labels[name] = attrs.evolve(there[0], others=tuple(there[1:])) if there else _NOTHING
        try:
            config = State(labels, state.default_label, state.decryptor, state.overrides).resolve(self._key)
        except (FormatError, ResolveError):
            return None
        return Document(config.version, config.body)

    def layers_of(self, past: PastKey) -> Layers:
        """Return the layers of each label of the key as they are at a place that was read."""
        return self._stacks(past.layers)

    def _stacks(self, layers: Mapping[int, PastLayer]) -> list[list[ParsedFiles]]:
        found: list[list[ParsedFiles]] = []
        for label, stack in enumerate(self._layers):
            numbers = [self._numbers.get((label, position)) for position in range(len(stack))]
            found.append(
                [
                    attrs.evolve(layer, others=()) if number is None else layers[number].parsed
                    for layer, number in zip(stack, numbers, strict=True)
                ]
            )
        return found


def _paths(reads: Mapping[str, str], found: PastFiles | None) -> frozenset[str]:
    """Return the paths that decide about the content of some paths: also those on the ways of links."""
    paths = set(reads)
    for link, way in (found.ways if found is not None else {}).items():
        if link in reads:
            for path in way:
                paths.add(path)
                paths.update(_directories(path))
    return frozenset(paths)


def _directories(path: str) -> Iterator[str]:
    """Yield the directories that contain a path. Each may have been a link."""
    return (path[:end] for end, character in enumerate(path) if character == "/")

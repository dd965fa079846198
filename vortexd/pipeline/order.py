"""The generations of the served labels: the order in which the nodes of a cluster publish.

Committed publications and the numbers that the cluster gives to their labels arrive. The generation of each configuration
leaves, and whether a client is ahead of this server. A number may come after its publication, if the store was away.
Without a cluster there are no generations, and no client is ahead.

The invariant: if a configuration has a generation, its content is the one of that publication of the label. A document that
hasn't changed since keeps the generation of the publication that brought it. If that one has no number, a later number holds
for it as well, because the document is still the same. If a label goes back to a state that had a number before, that number
doesn't count, because clients would ignore such a change as an old one. The cluster gives the state another number.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import attrs
import trio

from ..core.generation import Generation
from ..core.model import Config, Key, Moment, Tree

# The numbered publications of a label to remember. An older document gets the oldest of their generations.
_MOST = 64


class Numbering(Protocol):
    """Numbers the publications of labels, alike at all nodes of a cluster."""

    def begin(self, tree: Tree) -> None:
        """Begin to find or to give the numbers of the labels of a tree, which is published soon. Never waits."""
        ...

    async def settle(self, tree: Tree) -> None:
        """Wait a bounded time until the numbers of a tree are known. Raises nothing."""
        ...

    def numbers(self, tree: Tree) -> Mapping[str, Generation]:
        """Return the generations that are known of the labels of a tree."""
        ...

    def is_behind(self, label: str) -> bool:
        """Return whether another node has published a newer state of a label."""
        ...

    def report(self, changed: Callable[[], None]) -> None:
        """From now on call this function when numbers are known that weren't, or when `is_behind` may have changed."""
        ...


@attrs.define(slots=True)
class _Numbered:
    """A publication that brought another state of a label.

    Attributes:
        sequence: Counts the publications of this process.
        generation: None until the cluster has given it one.
        is_back: Whether an earlier one has a higher number.
    """

    sequence: int
    generation: Generation | None
    is_back: bool = False


def _numbered(earlier: Sequence[_Numbered], sequence: int, generation: Generation | None) -> _Numbered:
    is_back = generation is not None and any(
        each.generation is not None and each.generation.is_ahead_of(generation) for each in earlier
    )
    return _Numbered(sequence, generation, is_back)


class Order:
    """The generations of the served labels; see the module."""

    def __init__(self) -> None:
        self._numbering: Numbering | None = None
        self._sequence = 0
        self._tree: Tree | None = None
        self._labels: dict[str, list[_Numbered]] = {}
        self._changed = trio.Event()

    def number_by(self, numbering: Numbering) -> None:
        """Take the numbers of a cluster from now on."""
        self._numbering = numbering
        numbering.report(self._refresh)

    @property
    def is_kept(self) -> bool:
        """Whether there is an order: this server belongs to a cluster."""
        return self._numbering is not None

    # Publications.

    def begin(self, tree: Tree) -> None:
        """Begin to number a tree that is published soon."""
        if self._numbering is not None:
            self._numbering.begin(tree)

    async def settle(self, tree: Tree) -> None:
        """Wait a bounded time for the numbers of a tree, before it is committed."""
        if self._numbering is not None:
            await self._numbering.settle(tree)

    def commit(self, tree: Tree, moment: Moment) -> None:
        """Number a publication. Call this in the step that commits it.

        Args:
            moment: The moment of the publication, which all its configurations share.
        """
        self._sequence += 1
        moment.sequence = self._sequence
        if self._numbering is None:
            return
        before, self._tree = self._tree, tree
        numbers = self._numbering.numbers(tree)
        for label in self._labels.keys() - tree.labels.keys():
            del self._labels[label]
        for label, files in tree.labels.items():
            generation, publications = numbers.get(label), self._labels.setdefault(label, [])
            is_same = before is not None and before.labels.get(label) is files
            if not is_same and (not publications or publications[-1].generation != generation or generation is None):
                publications.append(_numbered(publications, self._sequence, generation))
                del publications[:-_MOST]
        self._refresh()

    def _refresh(self) -> None:
        """Take the numbers of the committed tree that are known now."""
        if self._numbering is None or self._tree is None:
            return
        for label, generation in self._numbering.numbers(self._tree).items():
            publications = self._labels.get(label)
            if not publications or publications[-1].generation == generation:
                continue
            newest = publications[-1]
            if newest.generation is not None:
                # The numbers began anew, so those of the former epoch mean nothing.
                publications.clear()
            else:
                publications.pop()
            publications.append(_numbered(publications, newest.sequence, generation))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # Questions.

    def generation(self, config: Config) -> Generation | None:
        """Return the generation of a configuration that is served now, or None if it has none.

        A key of several labels has none, because each of its labels has an order of its own. A pinned key has none, because
        its content is that of no publication. Neither has the stable version of a key in a roll-out.
        """
        if self._numbering is None or config.pinned is not None or config.is_stable:
            return None
        found: Generation | None = None
        for each in reversed(self._labels.get(config.key.label, ())):
            if each.generation is not None and not each.is_back:
                found = each.generation
            if each.sequence <= config.published.sequence:
                break
        return found

    def current(self, label: str) -> Generation | None:
        """Return the generation of the state of a label that is served now, or None if it has none."""
        publications = self._labels.get(label)
        return publications[-1].generation if publications else None

    def is_ahead(self, key: Key, claimed: Generation | None, is_known: Callable[[], bool]) -> bool:
        """Return whether a client has a newer state of a key than this server.

        The client's version must differ from the served one.

        Args:
            claimed: The generation that the client claims, or None. If it is of another epoch, it doesn't count.
            is_known: Returns whether the client's version is a former version here. Called only if the generation doesn't
                decide. Then a version that isn't known is newer, if another node has published a newer state of the label.
        """
        if self._numbering is None:
            return False
        current = self.current(key.label)
        if claimed is not None and current is not None and claimed.epoch == current.epoch:
            return claimed.is_ahead_of(current)
        return self._numbering.is_behind(key.label) and not is_known()

    async def wait_changed(self) -> None:
        """Wait for the next publication or number."""
        await self._changed.wait()

"""Merges several sources: the trees of each arrive, and one `Tree` leaves.

The source that is listed first takes precedence.

Each source fails alone. Its last content stays in the merged tree until it has new content. Nothing is published before
each source has been read once, because an application must not start with half of its configuration.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import TypeAlias

import attrs
import structlog
import trio

from ..aio import threads
from ..aio.locks import Held
from ..core.commits import Commit, PastFiles
from ..core.errors import SourceError
from ..core.model import Files, SourceReport, Tree
from ..core.pushes import Branch, NewCommit, PushError, PushFault
from ..settings.root import Settings
from ..settings.state_directory import state_directory
from .base import (
    CommitOrder,
    CommitReader,
    FormerReader,
    LabelKeeper,
    LabelLoader,
    LabelsInUse,
    NewsReporter,
    PastReader,
    Publish,
    Pusher,
    Refreshable,
    Rememberer,
    Source,
    StateReader,
    Surroundings,
    VersionReader,
)
from .memory import forget_others

log = structlog.get_logger()

# Where a former state is: the position of its source, and its number there. 0 and 0 stand for the present state.
FormerPlace: TypeAlias = tuple[int, int]


@attrs.frozen
class Place:
    """The place of a source among the others.

    Attributes:
        applications: The patterns, as in `SourceSettings.applications`.
        group: The number of the source's group. Consecutive sources with patterns, and the first source without
            patterns after them, are alternatives and form one group.
    """

    applications: tuple[str, ...]
    group: int


def places(patterns: Sequence[tuple[str, ...]]) -> list[Place]:
    """Return the places of sources with these patterns, in their order."""
    found, group = [], 0
    for each in patterns:
        found.append(Place(each, group))
        group += not each
    return found


class Sources:
    """All sources of a daemon.

    Args:
        sources: The sources, the strongest first.
        patterns: For each source the applications and profiles that it is for; empty means everything.
        begin: Called in a thread before the sources run, or None.
        labels_in_use: The function for `keep_labels`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        patterns: Sequence[tuple[str, ...]],
        begin: Callable[[], None] | None = None,
        labels_in_use: LabelsInUse = frozenset,
    ) -> None:
        self._begin = begin
        self._sources = tuple(sources)
        self._places = places(patterns)
        self._trees: dict[int, Tree] = {}
        self._merged: dict[str, Files] = {}
        self._publishing = trio.Lock()
        self._published = trio.Event()
        self._running = trio.CancelScope()
        self._common: FormerReader | None = None
        self.keep_labels(labels_in_use)
        self._report: Callable[[str, str], None] = _report_nothing

    async def run(self, publish: Publish) -> None:
        """Run all sources, each in a task of its own. Never returns."""
        while True:
            with trio.CancelScope() as self._running:
                if self._begin is not None:
                    await threads.run_sync(self._begin)
                async with trio.open_nursery() as nursery:
                    for number, source in enumerate(self._sources):
                        task = partial(source.run, partial(self._take, self._trees, number, publish))
                        nursery.start_soon(task, name=f"source {source.name}")

    def replace(self, others: "Sources") -> None:
        """End these sources and run others in their place.

        The old content is served until all others have been read once.

        Args:
            others: The new sources. Their own `run` isn't called.
        """
        self._sources, self._places, self._begin = others._sources, others._places, others._begin
        self._trees, self._merged = {}, {}
        self.keep_labels(self._labels_in_use)
        self.report_news(self._report)
        self._running.cancel()

    async def _take(self, trees: dict[int, Tree], number: int, publish: Publish, tree: Tree) -> None:
        async with Held(self._publishing):
            if trees is not self._trees:
                return  # this tree is from a source that was replaced while it waited for the lock
            trees[number] = tree
            if len(trees) < len(self._sources):
                log.info("source read", source=self._sources[number].name, waiting=len(self._sources) - len(trees))
                return
            merged = merge([trees[index] for index in range(len(self._sources))], self._places, self._merged)
            self._merged = dict(merged.labels)
            self._published.set()
            await publish(attrs.evolve(merged, noticed=tree.noticed))

    async def wait_published(self) -> None:
        """Wait until all sources have been read once."""
        await self._published.wait()

    async def stand_in(self, publish: Publish, tree: Tree) -> None:
        """Publish a state in place of the sources, unless all of them have been read by now."""
        async with self._publishing:
            if not self._published.is_set():
                await publish(tree)

    def keep_labels(self, in_use: LabelsInUse) -> None:
        """Make every source that forgets labels keep the labels that this function returns."""
        self._labels_in_use = in_use
        for each in self._sources:
            if isinstance(each, LabelKeeper):
                each.keep_labels(in_use)

    def report_news(self, report: Callable[[str, str], None]) -> None:
        """From now on report each new state of a remote that a source has published: the source's name, and the state."""
        self._report = report
        for each in self._sources:
            if isinstance(each, NewsReporter):
                each.report_news(partial(report, each.name))

    # Requests from other parts.

    @property
    def can_fetch(self) -> bool:
        """Whether there is a source that can fetch at once."""
        return any(isinstance(each, Refreshable) for each in self._sources)

    def fetch_now(self, uri: str | None = None) -> int:
        """Make sources fetch at once, without waiting for them. Return the number of these sources.

        Args:
            uri: The name of the sources that fetch; None means all sources.
        """
        found = [each for each in self._sources if isinstance(each, Refreshable) and uri in (None, each.name)]
        for each in found:
            each.fetch_now()
        return len(found)

    def behind(self, name: str, state: str) -> int:
        """Make each source fetch at once that reads a remote, unless it has published this state of the remote.

        Return the number of these sources.

        Args:
            name: The name of the source that reads the remote on another server.
            state: As in `NewsReporter.remote_state`.
        """
        reporters = [each for each in self._sources if isinstance(each, NewsReporter)]
        found = [each for each in reporters if each.remote_state != state and each.is_meant([name], ())]
        for each in found:
            each.fetch_now()
        return len(found)

    def notified(self, addresses: Collection[str], refs: Collection[str]) -> int:
        """Make each source that a webhook concerns fetch at once. Return the number of these sources.

        Args:
            addresses: The addresses of the repository, in any spelling. If empty, any repository matches.
            refs: The full names of the branches and tags that were pushed or deleted. If empty, any ref matches.
        """
        found = self._meant(addresses, refs)
        for each in found:
            each.fetch_now()
        return len(found)

    async def wait_looked(self, addresses: Collection[str], refs: Collection[str]) -> None:
        """Wait until the sources that `notified` chose have looked at their remotes. Cancelling it does no harm."""
        async with trio.open_nursery() as nursery:
            for each in self._meant(addresses, refs):
                nursery.start_soon(each.wait_looked)

    def _meant(self, addresses: Collection[str], refs: Collection[str]) -> list[Refreshable]:
        return [each for each in self._sources if isinstance(each, Refreshable) and each.is_meant(addresses, refs)]

    async def load(self, label: str) -> bool:
        """Read a label that a source has but hasn't read yet. Return whether the label may be served now."""
        found = [await each.load(label) for each in self._sources if isinstance(each, LabelLoader)]
        return any(found)

    async def before(self, root: str, commit: str) -> Files | None:
        """Read the commit before a given commit, from the sources whose files have this root.

        Return None if there is none.

        Args:
            root: The root, as in `Files.root`.
        """
        for each in self._sources:
            if isinstance(each, PastReader) and each.root == root and (found := await each.before(commit)) is not None:
                return found
        return None

    def commits(self, root: str, commit: str) -> Sequence[Commit]:
        """Return the newest commits of the label that serves this commit now, as `base.CommitReader` does.

        Return nothing if no source with this root knows them.
        """
        found = (each.commits(commit) for each in self._sources if isinstance(each, CommitReader) and each.root == root)
        return next(filter(None, found), ())

    async def at(self, root: str, commit: str, near: PastFiles | None) -> PastFiles | None:
        """Read the files of a commit, as `base.CommitReader` does, from the first source with this root."""
        return await self._commit_reader(root).at(commit, near)

    async def subject(self, root: str, commit: str) -> str:
        """Return the first line of a commit's message, as `base.CommitReader` does."""
        return await self._commit_reader(root).subject(commit)

    def _commit_reader(self, root: str) -> CommitReader:
        for each in self._sources:
            if isinstance(each, CommitReader) and each.root == root:
                return each
        raise SourceError("no source has the commits of this key")

    async def versions(self, files: Files) -> Sequence[Commit]:
        """Return the kept versions of the source of some files, as `base.VersionReader` does.

        Return nothing if the source keeps none.
        """
        reader = self._version_reader(files.root)
        return () if reader is None else await reader.versions()

    async def version(self, files: Files, id: str, near: PastFiles | None) -> PastFiles | None:
        """Read the files of a version, as `base.VersionReader` does. Return None if the source keeps none."""
        reader = self._version_reader(files.root)
        return None if reader is None else await reader.version(files, id, near)

    def _version_reader(self, root: str) -> VersionReader | None:
        return next((each for each in self._sources if isinstance(each, VersionReader) and each.root == root), None)

    def branch(self, root: str, label: str) -> Branch | None:
        """Return the branch that serves a label, or None if no source with this root is a repository.

        Raises:
            RemoteError: The label isn't a branch there.
            SourceError: The sources haven't been read yet.
        """
        if len(self._trees) < len(self._sources):
            raise SourceError("the sources are being read")
        for number, each in enumerate(self._sources):
            if isinstance(each, Pusher) and each.root == root:
                own = self._own_label(number, label)
                labels = [other for other in self._merged if self._own_label(number, other) == own]
                return attrs.evolve(each.branch(own), labels=labels)
        return None

    def _own_label(self, number: int, label: str) -> str:
        """Return the label of a source that is merged under a label, as `merge` does it."""
        tree, default = self._trees[number], self._trees[0].default_label
        return tree.default_label if label == default and label not in tree.labels else label

    async def commit(self, root: str, new: NewCommit) -> str:
        """Make a commit, as `base.Pusher` does, in the first source with this root."""
        return await self._pusher(root).commit(new)

    async def push(self, root: str, branch: str, head: str, commit: str) -> None:
        """Push a commit, as `base.Pusher` does, from the first source with this root."""
        await self._pusher(root).push(branch, head, commit)

    def _pusher(self, root: str) -> Pusher:
        for each in self._sources:
            if isinstance(each, Pusher) and each.root == root:
                return each
        # A reload may have replaced the sources meanwhile.
        raise PushError("no source has this repository", PushFault.LOCAL)

    def has_commits(self, root: str) -> bool:
        """Return whether the files with this root come from a source that has commits here."""
        return any(isinstance(each, CommitOrder) and each.root == root for each in self._sources)

    def may_copy(self, root: str) -> bool:
        """Return whether the bytes of the source with this root may be copied to the state directory."""
        found = [each for each in self._sources if each.status.report().root == root]
        return all(each.remembered_root is not None for each in found if isinstance(each, Rememberer))

    async def state_at(self, root: str, commit: str) -> Files:
        """Read a commit as the source with this root reads a label. It doesn't wait for a publication.

        Raises:
            SourceError: No source can read it.
        """
        failure = SourceError("no source has the commit")
        for each in self._sources:
            if isinstance(each, StateReader) and each.root == root:
                try:
                    return await each.state_at(commit)
                except SourceError as error:
                    failure = error
        raise failure

    def is_current(self, root: str) -> bool:
        """Return whether no source with this root has failed in its last attempt."""
        return not any(each.status.report().is_failing for each in self._sources if each.status.report().root == root)

    async def is_before(self, root: str, commit: str, other: str) -> bool | None:
        """Return whether a commit is an ancestor of another one, or None if no source with this root can tell."""
        for each in self._sources:
            if isinstance(each, CommitOrder) and each.root == root:
                found = await each.is_before(commit, other)
                if found is not None:
                    return found
        return None

    def read_former_from(self, common: FormerReader | None) -> None:
        """From now on read former states only from this reader, which has states of all sources together.

        None means that each source has its own.
        """
        self._common = common

    def present(self) -> Collection[Files]:
        """Return the files of each label, as they were published last."""
        return self._merged.values()

    @property
    def has_former(self) -> bool:
        """Whether there may be former states."""
        return self._common is not None or any(isinstance(each, FormerReader) for each in self._sources)

    async def former(self, before: FormerPlace = (0, 0)) -> tuple[FormerPlace, Tree] | None:
        """Read a former state of one source, with the present states of all others.

        Such a state may never have been served. The caller compares the versions of the keys.

        Return its place, and the state. Return None if there is none.

        Args:
            before: The place of a state, as this method has returned it. The state before it is read, or the newest
                former state of the next source that has one.

        Raises:
            SourceError: The state can't be read now.
        """
        position, number = before
        if self._common is not None:
            found = await self._common.former(number)
            return ((0, found[0]), found[1]) if found is not None else None
        # Other sources may replace these meanwhile.
        sources, trees, where = self._sources, self._trees, self._places
        if len(trees) < len(sources):
            raise SourceError("the sources are being read")
        for index, each in enumerate(sources[position:], position):
            if isinstance(each, FormerReader) and (found := await each.former(number)) is not None:
                layers = [found[1] if other == index else trees[other] for other in range(len(sources))]
                return (index, found[0]), merge(layers, where, self._merged)
            number = 0
        return None

    def reports(self) -> list[SourceReport]:
        """Return the current state of each source."""
        return [each.status.report() for each in self._sources]


def _report_nothing(name: str, state: str) -> None:
    """Stands for the listener of `report_news` if there is none."""


def open_sources(
    settings: Settings,
    environ: Mapping[str, str],
    random: Random,
    own: Sequence[str] = (),
    memory: Path | None = None,
    labels_in_use: LabelsInUse = frozenset,
) -> Sources:
    """Make the sources that the settings name. Nothing is opened before they run.

    Args:
        environ: The environment, which may name the state directory.
        random: Makes jitter.
        own: Files and directories of vortexd itself, which are never served.
        memory: The directory for last good content, from `memory_directory`.
        labels_in_use: The function for `Sources.keep_labels`.
    """
    state = state_directory(settings.server.state_directory, environ)
    sources: list[Source] = []
    for each in settings.source:
        sources.append(each.open(Surroundings(random, state, own, memory, tuple(sources))))
    roots = [each.remembered_root for each in sources if isinstance(each, Rememberer)]
    kept = [root for root in roots if root is not None]
    begin = partial(forget_others, memory, kept) if memory is not None else None
    return Sources(sources, [each.applications for each in settings.source], begin, labels_in_use)


def merge(trees: Sequence[Tree], where: Sequence[Place], before: Mapping[str, Files]) -> Tree:
    """Merge several trees into one, the strongest first. The result has each label that a tree has by name.

    The default label of the result is that of the first tree. Under it, each other tree contributes its own default
    label.

    Args:
        before: The labels of the last merge. If a label is made of the same files, its object is reused.
    """
    default = trees[0].default_label
    labels: dict[str, Files] = {}
    for label in dict.fromkeys([default, *(each for tree in trees for each in tree.labels)]):
        parts = [(_files(tree, label, default), place) for tree, place in zip(trees, where, strict=True)]
        layers = [
            _placed(layer, place, where)
            for files, place in parts
            if files is not None
            for layer in (files, *files.others)
        ]
        if layers:
            labels[label] = _stacked(layers, before.get(label))
    return Tree(labels, default)


def _files(tree: Tree, label: str, default: str) -> Files | None:
    own = tree.labels.get(label)
    if own is None and label == default:
        own = tree.labels.get(tree.default_label)
    return tree.shared if own is None else own


def _placed(files: Files, place: Place, where: Sequence[Place]) -> Files:
    # With several groups of sources, no single commit is the version of all. Spring sends null in this case.
    revision = files.revision if where[-1].group == where[0].group else None
    # A published state has layers of its own. Their groups stay apart, also from those of other sources.
    group = place.group + files.group * len(where)
    applications = place.applications or files.applications
    return attrs.evolve(files, applications=applications, group=group, revision=revision, others=())


def _stacked(layers: Sequence[Files], before: Files | None) -> Files:
    merged = attrs.evolve(layers[0], others=tuple(layers[1:]))
    if before is not None and _parts(before) == _parts(merged):
        return before
    return merged


def _parts(files: Files) -> list[tuple[object, ...]]:
    """Return the objects that a stack of files is made of. If two stacks have the same objects, they are equal."""
    return [
        (
            *(
                id(each.contents),
                id(each.unreadable),
                each.root,
                each.locations,
                each.revision,
                each.origin,
                each.group,
            ),
            each.position,
        )
        for each in (files, *files.others)
    ]

"""Assembles the trees of a repository.

Labels and the objects that they point to arrive, and a `Tree` leaves if it is new.
Unchanged parts are shared: if a label hasn't moved, the next tree has the same object for it. If a label can't be read,
it keeps its former state. If it has none, it is left out.
"""

from collections.abc import Iterator, Mapping, Sequence

import attrs
import structlog

from ...core.commits import Commit, PastFiles
from ...core.errors import SourceError
from ...core.model import Files, Tree
from ..status import SourceStatus
from .history import GitPast, Histories, History, edits_through
from .labels import locations_of, obstructed
from .mirror import Mirror
from .notices import Notices
from .settings import GitSettings
from .snapshots import SUBMODULE, LabelError, Snapshot, Snapshots

log = structlog.get_logger()


@attrs.frozen(slots=True, eq=False)
class Loaded:
    """A label that was read.

    Attributes:
        id: The id of the object that the branch or tag pointed to.
    """

    id: str
    snapshot: Snapshot
    history: History


class TreeAssembly:
    """Assembles trees; see the module. One call at a time: the caller holds the lock of the mirror's objects.

    Args:
        name: The name of the source.
    """

    def __init__(
        self,
        name: str,
        mirror: Mirror,
        snapshots: Snapshots,
        histories: Histories,
        settings: GitSettings,
        status: SourceStatus,
        notices: Notices,
    ) -> None:
        self._name = name
        self._mirror = mirror
        self._settings = settings
        self._status = status
        self._notices = notices
        self._snapshots = snapshots
        self._histories = histories
        self._loaded: dict[str, Loaded] = {}
        self._published: Tree | None = None
        self._skipped: dict[str, str] = {}

    @property
    def loaded(self) -> Mapping[str, Loaded]:
        """The labels of the last reading."""
        return self._loaded

    @property
    def published(self) -> Tree | None:
        """The last published tree. None if there is none, or if it isn't known whether the last one was published."""
        return self._published

    def is_before(self, commit: str, other: str) -> bool:
        """Return whether the histories in memory show that a commit is an ancestor of another one, which is loaded."""
        histories = (each.history for each in self._loaded.values() if each.snapshot.origin.commit == other)
        return any(step.origin.commit == commit for history in histories for step in history.steps[1:])

    def is_skipped(self, label: str) -> bool:
        """Return whether the last attempt to read a label failed."""
        return label in self._skipped

    async def assemble(self, wanted: Mapping[str, str], default: str, noticed: float) -> Tree | None:
        """Read labels and make a tree of them. Return None if it would be the same as the published tree.

        The caller publishes the tree and then calls `has_published`. Until then no tree counts as published. So if the
        publication is cancelled, the next call doesn't conclude that nothing is new.

        Args:
            wanted: The labels to read, and the object that each of them points to.
            default: The default label.
            noticed: When the change was noticed, in seconds since the epoch.
        """
        loaded: dict[str, Loaded] = {}
        for label, id in wanted.items():
            found = await self._load(label, id, loaded)
            if found is not None:
                loaded[label] = found
        before, self._loaded = self._loaded, loaded
        self._snapshots.forget_all_but(each.snapshot for each in loaded.values())
        self._histories.forget_all_but([each.history for each in loaded.values()])
        former = self._published
        if former is not None and former.default_label == default and _same(before, loaded):
            return None
        self._notices.not_followed(each.snapshot.not_followed for each in loaded.values())
        self._notices.obstructed(self._obstructed(loaded))
        labels = former.labels if former else {}
        files = {
            label: labels[label] if label in labels and before.get(label) is each else self._files(label, each)
            for label, each in loaded.items()
        }
        self._published = None
        return Tree(files, default, noticed=noticed)

    def has_published(self, tree: Tree) -> None:
        """Record that a tree of `assemble` was published."""
        self._published = tree

    async def before(self, commit: str) -> Files | None:
        """Return the files of the commit before a given commit.

        Return None if there is none or it can't be read now. The files aren't kept.
        """
        loaded = [each.snapshot for each in self._loaded.values()]
        near = next((each for each in loaded if each.origin.commit == commit), loaded[0] if loaded else None)
        try:
            parent = await self._snapshots.parent(commit)
            snapshot = await self._snapshots.read(parent, near, ()) if parent is not None else None
        except SourceError as error:
            log.info("commit not read", source=self._name, reason=str(error))
            return None
        finally:
            # If its blobs were kept, they would count towards the limit when the next commit is read.
            self._snapshots.forget_all_but((each.snapshot for each in self._loaded.values()), at_once=True)
        if snapshot is None:
            return None
        origin = snapshot.origin
        return Files(snapshot.contents, snapshot.unreadable, revision=origin.commit, origin=origin)

    def commits(self, commit: str) -> Sequence[Commit]:
        """See `base.CommitReader`."""
        for each in self._loaded.values():
            steps = each.history.steps
            # A newer commit than the served one may have been read already.
            number = next((number for number, step in enumerate(steps) if step.origin.commit == commit), None)
            if number is not None:
                return [Commit(step.origin, step.parent, step.before.keys()) for step in steps[number:]]
        return ()

    async def at(self, commit: str, near: PastFiles | None) -> PastFiles | None:
        """See `base.CommitReader`. The files aren't kept."""
        loaded = [each.snapshot for each in self._loaded.values()]
        known = near.snapshot if near is not None else None
        start, changes = next(iter(loaded), None), None
        if isinstance(known, Snapshot):
            start, changes = known, self._changes(known.origin.commit, commit)
        try:
            snapshot = await self._snapshots.read(commit, start, loaded, changes)
        except LabelError as error:
            log.info("commit not read", source=self._name, reason=str(error))
            return None
        finally:
            # As in `before`.
            self._snapshots.forget_all_but((each.snapshot for each in self._loaded.values()), at_once=True)
        origin = snapshot.origin
        files = Files(snapshot.contents, snapshot.unreadable, revision=origin.commit, origin=origin)
        return PastFiles(files, {link: way.through for link, way in snapshot.ways.items()}, snapshot)

    async def state_at(self, commit: str) -> Files:
        """See `base.StateReader`. The search paths are those of the label "".

        Raises:
            SourceError: It can't be read or served.
        """
        snapshot = await self._snapshots.read(commit, None, ())
        return self._files("", Loaded(commit, snapshot, await self._histories.read(commit)))

    def _changes(self, newer: str, older: str) -> Mapping[str, str | None] | None:
        """Return the changes from a commit to an older one of the same label, as `Snapshots.read` takes them.

        Return None if only git can say what they are.
        """
        for each in self._loaded.values():
            changes = each.history.changes(newer, older)
            if changes is not None:
                return changes
        return None

    async def subject(self, commit: str) -> str:
        """See `base.CommitReader`."""
        return await self._snapshots.subject(commit)

    async def _load(self, label: str, id: str, loaded: Mapping[str, Loaded]) -> Loaded | None:
        former = self._loaded.get(label)
        if former is not None and former.id == id:
            return former
        near = former or next(iter(loaded.values()), None)
        known = (each.snapshot for them in (self._loaded, loaded) for each in them.values())
        try:
            snapshot = await self._snapshots.read(id, near.snapshot if near else None, known)
        except LabelError as error:
            if self._skipped.get(label) != str(error):
                consequence = "it stays as it was" if former else "it isn't served"
                log.warning("label skipped", source=self._name, label=label, reason=str(error), consequence=consequence)
                self._status.noted(f"label {label} skipped: {error}")
            self._skipped[label] = str(error)
            return former
        self._skipped.pop(label, None)
        former_history = former.history if former else None
        history = await self._histories.read(snapshot.origin.commit, former_history, snapshot.step)
        return Loaded(id, snapshot, history)

    def _files(self, label: str, loaded: Loaded) -> Files:
        snapshot = loaded.snapshot
        return Files(
            snapshot.contents,
            snapshot.unreadable,
            self._name + "/",
            locations_of(self._settings.search_paths, label),
            snapshot.origin.commit,
            snapshot.origin,
            edits=edits_through(loaded.history.edits, snapshot.ways),
            past=GitPast(self._mirror, self._settings, loaded.history, snapshot.ways),
            trailers=loaded.history.trailers,
        )

    def _obstructed(self, loaded: Mapping[str, Loaded]) -> Iterator[tuple[str, str]]:
        for label, each in loaded.items():
            locations = locations_of(self._settings.search_paths, label)
            if len(locations) > 1:
                submodules = [path for path, why in each.snapshot.unreadable.items() if why == SUBMODULE]
                yield from obstructed(locations, submodules)


def _same(one: Mapping[str, Loaded], other: Mapping[str, Loaded]) -> bool:
    """Return whether the same labels lead to the same commits."""
    return {label: each.id for label, each in one.items()} == {label: each.id for label, each in other.items()}

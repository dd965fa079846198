"""Reads the wanted labels from a mirror and publishes them, each time the repository or the requests of clients change.

Refs and the labels that clients ask for arrive. Whole `Tree`s leave. Two tasks read, one at a time. One task fetches.
The other reads labels that clients ask for, which may happen during a fetch.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import structlog
import trio

from ...aio import threads
from ...core.commits import Commit, PastFiles
from ...core.errors import SourceError
from ...core.model import Files
from ..base import LabelsInUse, Publish
from ..status import SourceStatus
from .assembly import TreeAssembly
from .history import Histories
from .labels import default_label, labels_of
from .mirror import Mirror
from .notices import Notices
from .objects import Objects
from .refs import Ref
from .settings import GitSettings
from .snapshots import Snapshots
from .wanted_labels import WantedLabels

log = structlog.get_logger()
T = TypeVar("T")


class MirrorReader:
    """Publishes the labels of a mirror; see the module.

    Args:
        name: The name of the source.

    Attributes:
        objects: The mirror's objects. The caller keeps them open while anything is read.
        noticed: When the change was noticed that is read next, in seconds since the epoch.
        unpacked: The number of labels that have moved since the mirror was packed. Each has brought at least one
            object.
    """

    def __init__(
        self, name: str, mirror: Mirror, settings: GitSettings, status: SourceStatus, notices: Notices
    ) -> None:
        self._name = name
        self._mirror = mirror
        self._settings = settings
        self._status = status
        self._notices = notices
        self._wanted = WantedLabels(settings)
        self._wishes: dict[str, trio.Event] = {}
        self._wished = trio.Event()
        # The task that holds this lock may use the mirror's objects, and publish.
        self._reading = trio.Lock()
        self.objects = Objects(mirror.git, settings.read_timeout)
        self._assembly = self._assembly_of(self.objects)
        self.noticed = 0.0
        self.unpacked = 0

    def _assembly_of(self, objects: Objects) -> TreeAssembly:
        mirror, settings = self._mirror, self._settings
        snapshots = Snapshots(mirror, objects, settings)
        return TreeAssembly(self._name, mirror, snapshots, Histories(mirror), settings, self._status, self._notices)

    @property
    def has_published(self) -> bool:
        """Whether a tree was published. If that isn't known, it is False."""
        return self._assembly.published is not None

    @property
    def revision(self) -> str | None:
        """The published commit of the default label."""
        tree = self._assembly.published
        files = tree.labels.get(tree.default_label) if tree else None
        return files.revision if files else None

    def keep_labels(self, in_use: LabelsInUse) -> None:
        """See `base.LabelKeeper`."""
        self._wanted.in_use = in_use

    def ref(self, label: str) -> Ref | None:
        """Return the branch or tag of a label, as the last fetch has found it. Return None if there is none."""
        return self._wanted.known.get(label)

    async def restart(self) -> None:
        """Read from a mirror that was made anew."""
        async with self._reading:
            await self.objects.restart()

    # Labels that clients ask for.

    async def load(self, label: str) -> bool:
        """Publish a label that exists and that no client has asked for yet. Return whether it may be served now.

        If there is no such label, this returns at once. Cancelling it does no harm.
        """
        if label in self._assembly.loaded:
            # The label was read, but its publication may not be finished.
            with trio.move_on_after(self._settings.read_timeout):
                async with self._reading:
                    return True
        if not self._may_exist(label):
            return False
        wish = self._wishes.setdefault(label, trio.Event())
        self._wished.set()
        with trio.move_on_after(self._settings.read_timeout):
            await wish.wait()
        return label in self._assembly.loaded

    def _may_exist(self, label: str) -> bool:
        is_skipped = label in self._wanted.known and self._assembly.is_skipped(label)
        return self._wanted.may_exist(label) and not is_skipped

    async def before(self, commit: str) -> Files | None:
        """See `base.PastReader`. The commit doesn't become a label, and its files aren't kept."""
        if not self._assembly.loaded:
            return None
        with trio.move_on_after(self._settings.read_timeout):
            async with self._reading:
                return await self._assembly.before(commit)
        return None

    def commits(self, commit: str) -> Sequence[Commit]:
        """See `base.CommitReader`."""
        return self._assembly.commits(commit)

    async def at(self, commit: str, near: PastFiles | None) -> PastFiles | None:
        """See `base.CommitReader`."""
        return await self._past(partial(self._assembly.at, commit, near))

    async def subject(self, commit: str) -> str:
        """See `base.CommitReader`."""
        return await self._past(partial(self._assembly.subject, commit))

    async def _past(self, read: Callable[[], Awaitable[T]]) -> T:
        """Read something of a commit, in turn with publications.

        Raises:
            SourceError: It can't be read now.
        """
        if not self._assembly.loaded:
            raise SourceError(f"{self._name} hasn't been read yet")
        with trio.move_on_after(self._settings.read_timeout):
            async with self._reading:
                return await read()
        raise SourceError(f"a commit of {self._name} wasn't read within {self._settings.read_timeout:g} s")

    async def state_at(self, commit: str) -> Files:
        """See `base.StateReader`. The publication that needs this holds the lock, so it has objects of its own."""
        async with Objects(self._mirror.git, self._settings.read_timeout) as objects:
            return await self._assembly_of(objects).state_at(commit)

    async def is_before(self, commit: str, other: str) -> bool | None:
        """See `base.CommitOrder`. This doesn't wait for a publication."""
        if self._assembly.is_before(commit, other):
            return True
        return await self._mirror.is_before(commit, other)

    async def grant_wishes(self, publish: Publish) -> None:
        """Read the labels that clients ask for. Never returns."""
        while True:
            await self._wished.wait()
            self._wished = trio.Event()
            wishes, self._wishes = self._wishes, {}
            self.noticed = time.time()
            try:
                async with self._reading:
                    for label in wishes:
                        await self._ask(label)
                    await self._publish(publish)
            except SourceError as error:
                log.warning("labels not read", source=self._name, reason=str(error))
            finally:
                for event in wishes.values():
                    event.set()

    async def _ask(self, label: str) -> None:
        known = self._wanted.known
        if label not in known:
            names = frozenset(ref.name for ref in known.values())
            if not self._wanted.is_commit(label) or not await self._mirror.holds(label, names):
                self._wanted.refuse(label)
                return
        self._wanted.ask(label)

    # From refs to a tree.

    async def read(self, publish: Publish, refs: Mapping[str, Ref]) -> None:
        """Publish the content of these refs of the mirror, if it is new.

        Raises:
            SourceError: No label can be served, or the mirror can't be read.
        """
        async with self._reading:
            labels, left_out = await threads.run_sync(labels_of, refs, self._settings.labels)
            self._notices.left_out(left_out)
            if not labels:
                # If all branches are gone at once, that is an accident. A repository without any isn't an empty
                # configuration.
                raise SourceError(f"{self._name} has no branch or tag that is served")
            moved, commits = self._wanted.update(labels)
            self.unpacked += moved
            for commit in commits:
                self._wanted.forget(commit)
                await self._ask(commit)
            await self._publish(publish)

    async def _publish(self, publish: Publish) -> None:
        known, is_set = self._wanted.known, bool(self._settings.default_label)
        default = default_label(self._settings.default_label, self._mirror.head, known)
        if problem := self._notices.default_label(default, is_set, known):
            self._status.noted(problem)
        newest = await self._mirror.newest() if self._wanted.are_many else ()
        wanted = self._wanted.to_read(default, newest, self._assembly.loaded)
        tree = await self._assembly.assemble(wanted, default, self.noticed)
        if tree is not None:
            await publish(tree)
            self._assembly.has_published(tree)
            self._status.serves(self.revision)

"""The git source: a repository, each branch and tag of which is a label.

What arrives are the time and "fetch now"; what leaves are whole `Tree`s, one for each push however many labels and files it touched. A
fetch, a failure and a rebuilt mirror never touch what was published before. Two tasks publish, one at a time: the one that
fetches, and the one that reads labels somebody asked for while a fetch may be under way.
"""

import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from random import Random

import attrs
import structlog
import trio

from ...aio import threads
from ...core.errors import SourceError
from ...core.model import Files, Tree
from ..base import LabelsInUse, Publish, Surroundings
from ..status import SourceStatus
from .history import GitPast, Histories, History, edits_through
from .labels import COMMIT, default_label, first_labels, labels_of, locations_of, may_be_served, obstructed
from .mirror import Fetched, Mirror, mirror_name
from .notices import Notices
from .objects import Objects
from .process import GitError
from .refs import Ref
from .remotes import parse_remote
from .repositories import may_be_one_of, repository_of
from .settings import GitSettings
from .snapshots import SUBMODULE, LabelError, Snapshot, Snapshots

log = structlog.get_logger()

# With a mirror from before, the first state waits this long for the remote, so that a start doesn't go back in time without need.
_START_PATIENCE = 5.0
# Failures are followed by longer and longer waits, and all waits differ a little: instances that started together part.
_LONGEST_WAIT = 300.0
_JITTER = 0.1
# How often the wait between two fetches that hooks ask for doubles while they fail: half a minute, by default.
_MOST_DOUBLINGS = 5
# Pushes after which the mirror is packed.
_TIDY_AFTER = 200
# A default branch that was changed without a push is followed after so many fetches.
_ASK_HEAD_AFTER = 20
# Answers to "is this commit served?" that were no.
_REFUSED_COMMITS = 1_024


@attrs.frozen(slots=True, eq=False)
class Loaded:
    """A label that was read.

    Attributes:
        id: Of the object that the branch or tag pointed to.
    """

    id: str
    snapshot: Snapshot
    history: History


class GitSource:
    """A repository; a `base.Source`.

    Args:
        directory: Where mirrors are kept; it is ours.
        random: For jitter.
        status: What it reports to.
        number: Tells sources of the same repository apart.
    """

    def __init__(
        self,
        settings: GitSettings,
        directory: Path,
        random: Random,
        status: SourceStatus | None = None,
        number: int = 0,
    ) -> None:
        self._settings = settings
        self._remote = parse_remote(settings.uri)
        self._status = status or SourceStatus(self.name, settings.kind, settings.max_staleness, root=self.name + "/")
        name = mirror_name(self._remote)
        self._mirror = Mirror(directory / (f"{number}-{name}" if number else name), self._remote, settings)
        self._objects = Objects(self._mirror.git, settings.read_timeout)
        self._snapshots = Snapshots(self._mirror, self._objects, settings)
        self._histories = Histories(self._mirror)
        self._random = random
        self._hint = trio.Event()
        # How many looks at the remote have begun and ended; the event tells of the next end.
        self._begun = self._ended = 0
        self._looked = trio.Event()
        # Whoever holds it may use the mirror's objects, and publish.
        self._reading = trio.Lock()
        self._labels: Mapping[str, Ref] = {}
        self._loaded: dict[str, Loaded] = {}
        self._asked: OrderedDict[str, None] = OrderedDict()
        self._refused: OrderedDict[str, None] = OrderedDict()
        self._published: Tree | None = None
        self._wishes: dict[str, trio.Event] = {}
        self._wished = trio.Event()
        self._fetched = 0
        self._noticed = 0.0
        self._trouble: str | None = None
        self._skipped: dict[str, str] = {}
        self._notices = Notices(self.name)
        # Fetches since the remote was asked for its default branch; None where something has changed since, or it never was.
        self._head_age: int | None = None
        self._labels_in_use: LabelsInUse = frozenset

    @property
    def name(self) -> str:
        """The address, without credentials."""
        return self._remote.uri

    @property
    def root(self) -> str:
        """What goes before the path of a file; see `Files.root`."""
        return self.name + "/"

    @property
    def status(self) -> SourceStatus:
        """See `base.Source`."""
        return self._status

    def fetch_now(self) -> None:
        """Fetch soon: at once, or `hook_interval` after the last fetch began. However often it is called until then, that is one fetch."""
        self._hint.set()

    async def wait_looked(self) -> None:
        """Wait until a look at the remote that begins from now on has ended, well or not. Call `fetch_now` before."""
        wanted = self._begun + 1
        while self._ended < wanted:
            await self._looked.wait()

    def is_meant(self, addresses: Collection[str], refs: Collection[str]) -> bool:
        """See `base.Refreshable`."""
        # A text that is no address can't narrow anything down.
        repositories = {repository_of(address) for address in addresses} - {""}
        is_ours = not repositories or may_be_one_of(repository_of(self.name), repositories)
        return is_ours and (not refs or any(may_be_served(ref, self._settings.labels) for ref in refs))

    def keep_labels(self, in_use: LabelsInUse) -> None:
        """See `base.LabelKeeper`."""
        self._labels_in_use = in_use

    async def load(self, label: str) -> bool:
        """Bring a label into what is published that exists and wasn't asked for yet. Returns whether it may be there now.

        Returns at once where there is no such label. Cancelling it does no harm.
        """
        if label in self._loaded:
            # It may be on its way.
            with trio.move_on_after(self._settings.read_timeout):
                async with self._reading:
                    return True
        if not self._may_exist(label):
            return False
        wish = self._wishes.setdefault(label, trio.Event())
        self._wished.set()
        with trio.move_on_after(self._settings.read_timeout):
            await wish.wait()
        return label in self._loaded

    async def before(self, commit: str) -> Files | None:
        """What the commit before one holds; None where there is none, or where it can't be read now.

        It becomes no label, and isn't kept. Cancelling it does no harm.
        """
        loaded = [each.snapshot for each in self._loaded.values()]
        if not loaded:
            return None
        near = next((each for each in loaded if each.origin.commit == commit), loaded[0])
        with trio.move_on_after(self._settings.read_timeout):
            async with self._reading:
                try:
                    parent = await self._snapshots.parent(commit)
                    snapshot = await self._snapshots.read(parent, near, ()) if parent is not None else None
                except SourceError as error:
                    log.info("commit not read", source=self.name, reason=str(error))
                    return None
                finally:
                    # They must not be in the way of a commit to come, whose blobs count together with those that are held.
                    self._snapshots.forget_all_but((each.snapshot for each in self._loaded.values()), at_once=True)
                if snapshot is None:
                    return None
                origin = snapshot.origin
                return Files(snapshot.contents, snapshot.unreadable, revision=origin.commit, origin=origin)
        return None

    def _may_exist(self, label: str) -> bool:
        if label in self._labels:
            return label not in self._skipped
        is_commit = self._settings.commits and COMMIT.fullmatch(label) is not None
        return is_commit and label not in self._refused

    async def run(self, publish: Publish) -> None:
        """See `base.Source`. Inside run the fetches, and the reading of labels that are asked for."""
        while True:
            try:
                with self._mirror.owned():
                    async with self._objects:
                        has_state = await self._mirror.prepare()
                        async with trio.open_nursery() as nursery:
                            nursery.start_soon(self._grant, publish, name=f"labels of {self.name}")
                            await self._fetch_for_ever(publish, has_state)
            except SourceError as error:
                self._is_ill(str(error))
            await trio.sleep(self._settings.refresh_interval)

    async def _fetch_for_ever(self, publish: Publish, has_state: bool) -> None:
        failures = 0
        timeout = min(_START_PATIENCE, self._settings.fetch_timeout) if has_state else self._settings.fetch_timeout
        while True:
            self._hint = trio.Event()
            self._begun += 1
            began = trio.current_time()
            try:
                await self._refresh(publish, timeout, failures)
                failures = 0
                self._is_well()
                await self._tidy()
            except SourceError as error:
                failures += 1
                self._is_ill(str(error))
                if self._published is None and has_state:
                    await self._serve_mirror(publish)
            self._ended = self._begun
            self._looked.set()
            self._looked = trio.Event()
            timeout = self._settings.fetch_timeout
            with trio.move_on_after(self._wait(failures)):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._wait_for_room, nursery.cancel_scope)
                    await self._hint.wait()
                    # What is hinted at meanwhile is in the next fetch, too: a storm of hooks, or one at a remote that fails, is few of them.
                    await trio.sleep_until(began + self._settings.hook_interval * 2.0 ** min(failures, _MOST_DOUBLINGS))
                    nursery.cancel_scope.cancel()

    async def _wait_for_room(self, waiting: trio.CancelScope) -> None:
        """End the wait for the next fetch once a full disk has room again: the remote needs no back-off then."""
        await self._mirror.wait_for_room()
        waiting.cancel()

    async def _tidy(self) -> None:
        """Pack the mirror now and then; what it costs doesn't depend on how often anything is pushed."""
        if self._fetched < _TIDY_AFTER:
            return
        self._fetched = 0
        try:
            await self._mirror.tidy()
        except GitError as error:
            log.info("mirror not packed", source=self.name, reason=str(error))

    def _wait(self, failures: int) -> float:
        interval = self._settings.refresh_interval
        if failures:
            interval = max(interval, min(interval * 2.0 ** min(failures - 1, 16), _LONGEST_WAIT))
        return interval * self._random.uniform(1 - _JITTER, 1 + _JITTER)

    async def _refresh(self, publish: Publish, timeout: float, failures: int) -> None:
        self._noticed = time.time()
        try:
            await self._take(publish, await self._mirror.fetch(timeout), timeout)
        except GitError as error:
            # To make a mirror anew costs the remote as much as a first fetch: after the first failure, the second, the fourth, the eighth.
            is_due = failures & (failures - 1) == 0
            if not is_due or not await self._mirror.is_at_fault(error):
                raise
            fetched = await self._mirror.rebuild()
            async with self._reading:
                await self._objects.restart()
            await self._take(publish, fetched, timeout)

    async def _take(self, publish: Publish, fetched: Fetched, timeout: float) -> None:
        """Publish the refs that a fetch has brought, follow the remote's default branch, and report the refs that it couldn't bring.

        Raises:
            SourceError: Nothing can be served, or refs are out of date.
        """
        is_due = self._is_head_due(fetched)
        # It is another round trip. While the default branch is still there, a push is published without waiting for it.
        is_first = is_due and (self._published is None or self._mirror.head not in fetched.refs)
        if is_first:
            await self._mirror.follow_head(timeout)
        refused = {name: why for name, why in fetched.refused.items() if may_be_served(name, self._settings.labels)}
        for sentence in self._notices.refused(refused, fetched.refs):
            self._status.noted(sentence)
        try:
            await self._read(publish, fetched.refs)
        except GitError:
            raise
        except SourceError as error:
            raise SourceError(fetched.problem or next(iter(refused.values()), str(error))) from None
        if is_due and not is_first and await self._mirror.follow_head(timeout):
            await self._read(publish, fetched.refs)
        if is_due:
            self._head_age = 0
        if fetched.problem:
            raise SourceError(fetched.problem)

    def _is_head_due(self, fetched: Fetched) -> bool:
        """Whether the remote's default branch may be another one by now."""
        if self._settings.default_label:
            return False
        if fetched.is_new:
            self._head_age = None
        if self._head_age is None:
            return True
        self._head_age += 1
        return self._head_age >= _ASK_HEAD_AFTER

    async def _serve_mirror(self, publish: Publish) -> None:
        try:
            await self._read(publish, await self._mirror.refs())
            log.warning("served from the mirror", source=self.name, consequence="it may be old")
        except SourceError as error:
            log.warning("mirror unreadable", source=self.name, reason=str(error))

    # Labels that are asked for.

    async def _grant(self, publish: Publish) -> None:
        """Read the labels that are wished for, for ever."""
        while True:
            await self._wished.wait()
            self._wished = trio.Event()
            wishes, self._wishes = self._wishes, {}
            self._noticed = time.time()
            try:
                async with self._reading:
                    for label in wishes:
                        await self._ask(label)
                    await self._publish(publish)
            except SourceError as error:
                log.warning("labels not read", source=self.name, reason=str(error))
            finally:
                for event in wishes.values():
                    event.set()

    async def _ask(self, label: str) -> None:
        if label not in self._labels:
            names = frozenset(ref.name for ref in self._labels.values())
            is_commit = self._settings.commits and COMMIT.fullmatch(label) is not None
            if not is_commit or not await self._mirror.holds(label, names):
                self._refused[label] = None
                while len(self._refused) > _REFUSED_COMMITS:
                    self._refused.popitem(last=False)
                return
        self._asked[label] = None
        self._asked.move_to_end(label)
        in_use = self._labels_in_use()
        idle = [each for each in self._asked if each not in in_use and each != label]
        for each in idle[: max(0, len(self._asked) - self._settings.loaded_labels)]:
            del self._asked[each]

    # From refs to a tree.

    async def _read(self, publish: Publish, refs: Mapping[str, Ref]) -> None:
        """Publish what these refs of the mirror hold, if it is something new."""
        async with self._reading:
            labels, left_out = await threads.run_sync(labels_of, refs, self._settings.labels)
            self._notices.left_out(left_out)
            if not labels:
                # All branches at once are deleted by accident; and a repository without any is no configuration.
                raise SourceError(f"{self.name} has no branch or tag that is served")
            if labels != self._labels:
                # One object at least for each label that has moved.
                self._fetched += sum(1 for label, ref in labels.items() if self._labels.get(label) != ref)
                self._labels = labels
                self._refused.clear()
                for commit in [each for each in self._asked if each not in labels]:
                    del self._asked[commit]
                    await self._ask(commit)
            await self._publish(publish)

    async def _publish(self, publish: Publish) -> None:
        default = default_label(self._settings.default_label, self._mirror.head, self._labels)
        if problem := self._notices.default_label(default, bool(self._settings.default_label), self._labels):
            self._status.noted(problem)
        loaded: dict[str, Loaded] = {}
        for label in await self._wanted(default):
            found = await self._load(label, loaded)
            if found is not None:
                loaded[label] = found
        before, self._loaded = self._loaded, loaded
        self._snapshots.forget_all_but(each.snapshot for each in loaded.values())
        self._histories.forget_all_but([each.history for each in loaded.values()])
        is_same = self._published is not None and self._published.default_label == default and _same(before, loaded)
        if is_same:
            return
        self._notices.not_followed(each.snapshot.not_followed for each in loaded.values())
        self._notices.obstructed(self._obstructed(loaded))
        former = self._published.labels if self._published else {}
        files = {
            label: former[label] if label in former and before.get(label) is each else self._files(label, each)
            for label, each in loaded.items()
        }
        tree = Tree(files, default, noticed=self._noticed)
        # Not before it is published: whoever cancels this must not make the next look believe that nothing is new.
        self._published = None
        await publish(tree)
        self._published = tree
        self._status.serves(loaded[default].snapshot.origin.commit if default in loaded else None)

    async def _wanted(self, default: str) -> list[str]:
        """The labels to read: the first ones, and those that were asked for and still are there."""
        if len(self._labels) <= self._settings.loaded_labels:
            first = list(self._labels)
        else:
            newest = await self._mirror.newest()
            first = first_labels(self._labels, newest, default, self._settings.loaded_labels)
        held = self._labels_in_use()
        in_use = [label for label in self._loaded if label in held and label in self._labels]
        return list(dict.fromkeys([*first, *self._asked, *in_use]))

    async def _load(self, label: str, loaded: Mapping[str, Loaded]) -> Loaded | None:
        id = self._labels[label].id if label in self._labels else label
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
                log.warning("label skipped", source=self.name, label=label, reason=str(error), consequence=consequence)
                self._status.noted(f"label {label} skipped: {error}")
            self._skipped[label] = str(error)
            return former
        self._skipped.pop(label, None)
        history = await self._histories.read(snapshot.origin.commit, former.history if former else None)
        return Loaded(id, snapshot, history)

    def _files(self, label: str, loaded: Loaded) -> Files:
        snapshot = loaded.snapshot
        locations = locations_of(self._settings.search_paths, label)
        return Files(
            snapshot.contents,
            snapshot.unreadable,
            self.root,
            locations,
            snapshot.origin.commit,
            snapshot.origin,
            edits=edits_through(loaded.history.edits, snapshot.ways),
            past=GitPast(self._mirror, self._settings, loaded.history, snapshot.ways),
        )

    def _obstructed(self, loaded: Mapping[str, Loaded]) -> Iterator[tuple[str, str]]:
        for label, each in loaded.items():
            locations = locations_of(self._settings.search_paths, label)
            if len(locations) > 1:
                submodules = [path for path, why in each.snapshot.unreadable.items() if why == SUBMODULE]
                yield from obstructed(locations, submodules)

    # How it is.

    def _is_well(self) -> None:
        self._status.succeeded(self._revision())
        if self._trouble is not None:
            log.info("source readable again", source=self.name)
        self._trouble = None

    def _revision(self) -> str | None:
        files = self._published.labels.get(self._published.default_label) if self._published else None
        return files.revision if files else None

    def _is_ill(self, reason: str) -> None:
        self._status.failed(reason)
        if reason != self._trouble:
            log.warning(
                "source unreadable", source=self.name, reason=reason, consequence="what is served stays as it is"
            )
        self._trouble = reason


def open_git(settings: GitSettings, surroundings: Surroundings) -> GitSource:
    """The source that settings name. Sources of the same repository have a mirror each."""
    address = parse_remote(settings.uri).uri
    number = sum(1 for each in surroundings.opened if isinstance(each, GitSource) and each.name == address)
    return GitSource(settings, surroundings.state / "git", surroundings.random, number=number)


def _same(one: Mapping[str, Loaded], other: Mapping[str, Loaded]) -> bool:
    """Whether the same labels lead to the same commits."""
    return {label: each.id for label, each in one.items()} == {label: each.id for label, each in other.items()}

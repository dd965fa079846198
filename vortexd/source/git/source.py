"""The git source: serves a repository. Each branch and tag is a label.

The time and "fetch now" arrive. Whole `Tree`s leave: the changes of a fetch are published together, in any number of
labels and files. A fetch, a failure or a rebuilt mirror never changes the trees that were published before. `schedule`
decides when to fetch, and `reader` publishes.
"""

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from random import Random

import structlog
import trio

from ...core.commits import Commit, PastFiles
from ...core.errors import RemoteError, SourceError
from ...core.model import Files
from ...core.pushes import Branch, NewCommit
from ..base import LabelsInUse, Publish, Surroundings
from ..status import SourceStatus
from .labels import may_be_served
from .mirror import Fetched, Mirror, mirror_name
from .notices import Notices
from .process import GitError
from .push import Push
from .reader import MirrorReader
from .refs import BRANCH
from .remotes import parse_remote
from .repositories import may_be_one_of, repository_of
from .schedule import DefaultBranchSchedule, FetchSchedule
from .settings import GitSettings

log = structlog.get_logger()

# The mirror is packed after this many labels have moved.
_TIDY_AFTER = 200


class GitSource:
    """A repository. This `base.Source` also fetches on request, loads and keeps labels, and reads earlier commits.

    Args:
        directory: The directory of the mirrors. Only this process uses it.
        random: Makes jitter.
        status: Records the state of the source.
        number: Distinguishes sources with the same repository.
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
        self._status = status or SourceStatus(self.name, settings.kind, settings.max_staleness, root=self.root)
        name = mirror_name(self._remote)
        self._mirror = Mirror(directory / (f"{number}-{name}" if number else name), self._remote, settings)
        self._notices = Notices(self.name)
        self._reader = MirrorReader(self.name, self._mirror, settings, self._status, self._notices)
        self._push = Push(self._mirror.git)
        self._schedule = FetchSchedule(settings, random.uniform)
        self._head = DefaultBranchSchedule(is_followed=not settings.default_label)
        self._hint = trio.Event()
        self._remote_state = ""
        self._report: Callable[[str], None] | None = None
        # How many looks at the remote have begun and ended. The event is set at the next end.
        self._begun = self._ended = 0
        self._looked = trio.Event()

    @property
    def name(self) -> str:
        """The address, without credentials."""
        return self._remote.uri

    @property
    def root(self) -> str:
        """The prefix of the paths of files; see `Files.root`."""
        return self.name + "/"

    @property
    def status(self) -> SourceStatus:
        """See `base.Source`."""
        return self._status

    def fetch_now(self) -> None:
        """Fetch at once, or `hook_interval` after the last fetch began.

        Further calls until then cause no other fetch.
        """
        self._hint.set()

    async def wait_looked(self) -> None:
        """Wait until a look at the remote that begins after this call has ended, even if it failed.

        Call `fetch_now` first.
        """
        wanted = self._begun + 1
        while self._ended < wanted:
            await self._looked.wait()

    def is_meant(self, addresses: Collection[str], refs: Collection[str]) -> bool:
        """See `base.Refreshable`."""
        # If a text isn't an address, it can't exclude any source.
        repositories = {repository_of(address) for address in addresses} - {""}
        is_ours = not repositories or may_be_one_of(repository_of(self.name), repositories)
        return is_ours and (not refs or any(may_be_served(ref, self._settings.labels) for ref in refs))

    @property
    def remote_state(self) -> str:
        """See `base.NewsReporter`."""
        return self._remote_state

    def report_news(self, report: Callable[[str], None]) -> None:
        """See `base.NewsReporter`."""
        self._report = report

    def keep_labels(self, in_use: LabelsInUse) -> None:
        """See `base.LabelKeeper`."""
        self._reader.keep_labels(in_use)

    async def load(self, label: str) -> bool:
        """See `base.LabelLoader`. If there is no such label, this returns at once."""
        return await self._reader.load(label)

    async def before(self, commit: str) -> Files | None:
        """See `base.PastReader`."""
        return await self._reader.before(commit)

    def commits(self, commit: str) -> Sequence[Commit]:
        """See `base.CommitReader`."""
        return self._reader.commits(commit)

    async def at(self, commit: str, near: PastFiles | None) -> PastFiles | None:
        """See `base.CommitReader`."""
        return await self._reader.at(commit, near)

    async def subject(self, commit: str) -> str:
        """See `base.CommitReader`."""
        return await self._reader.subject(commit)

    async def state_at(self, commit: str) -> Files:
        """See `base.StateReader`."""
        return await self._reader.state_at(commit)

    async def is_before(self, commit: str, other: str) -> bool | None:
        """See `base.CommitOrder`."""
        return await self._reader.is_before(commit, other)

    def branch(self, label: str) -> Branch:
        """See `base.Pusher`."""
        ref = self._reader.ref(label)
        if ref is None:
            raise RemoteError("the label is no branch, so nothing can be pushed to it", 409)
        if not ref.name.startswith(BRANCH):
            raise RemoteError("the label is a tag, and only a branch can be pushed to", 409)
        return Branch(self.name, label, ref.id, (), self._settings.push)

    async def commit(self, new: NewCommit) -> str:
        """See `base.Pusher`."""
        return await self._push.commit(new)

    async def push(self, branch: str, head: str, commit: str) -> None:
        """See `base.Pusher`."""
        await self._push.push(branch, head, commit)

    async def run(self, publish: Publish) -> None:
        """See `base.Source`. This runs the fetches, and a task that reads the labels that clients ask for."""
        while True:
            try:
                with self._mirror.owned():
                    async with self._reader.objects:
                        has_state = await self._mirror.prepare()
                        async with trio.open_nursery() as nursery:
                            nursery.start_soon(self._reader.grant_wishes, publish, name=f"labels of {self.name}")
                            await self._fetch_for_ever(publish, has_state)
            except SourceError as error:
                self._status.failed(str(error))
            await trio.sleep(self._settings.refresh_interval)

    async def _fetch_for_ever(self, publish: Publish, has_state: bool) -> None:
        self._schedule.start(has_state=has_state)
        while True:
            self._hint = trio.Event()
            self._begun += 1
            self._schedule.begin(trio.current_time())
            try:
                await self._refresh(publish)
                self._schedule.end(is_done=True)
                self._status.succeeded(self._reader.revision)
                await self._tidy()
            except SourceError as error:
                self._schedule.end(is_done=False)
                self._status.failed(str(error))
                if not self._reader.has_published and has_state:
                    await self._serve_mirror(publish)
            self._ended = self._begun
            self._looked.set()
            self._looked = trio.Event()
            with trio.move_on_after(self._schedule.wait()):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._wait_for_room, nursery.cancel_scope)
                    await self._hint.wait()
                    # Hints up to then cause the same fetch.
                    await trio.sleep_until(self._schedule.earliest())
                    nursery.cancel_scope.cancel()

    async def _wait_for_room(self, waiting: trio.CancelScope) -> None:
        """End the wait for the next fetch once a full disk has room again.

        The remote isn't at fault, so it needs no back-off.
        """
        await self._mirror.wait_for_room()
        waiting.cancel()

    async def _tidy(self) -> None:
        """Pack the mirror now and then. The cost doesn't depend on the number of pushes."""
        if self._reader.unpacked < _TIDY_AFTER:
            return
        self._reader.unpacked = 0
        try:
            await self._mirror.tidy()
        except GitError as error:
            log.info("mirror not packed", source=self.name, reason=str(error))

    async def _refresh(self, publish: Publish) -> None:
        self._reader.noticed = time.time()
        timeout = self._schedule.timeout
        try:
            await self._take(publish, await self._mirror.fetch(timeout), timeout)
        except GitError as error:
            if not self._schedule.may_rebuild or not await self._mirror.is_at_fault(error):
                raise
            fetched = await self._mirror.rebuild()
            await self._reader.restart()
            await self._take(publish, fetched, timeout)

    async def _take(self, publish: Publish, fetched: Fetched, timeout: float) -> None:
        """Publish the refs of a fetch, and follow the remote's default branch.

        Report the refs that couldn't be fetched.        Raises:
            SourceError: No label can be served, or refs are out of date.
        """
        is_due = self._head.is_due(is_new=fetched.is_new)
        # Asking takes another round trip. If the former default branch still exists, the push is published first.
        is_first = is_due and (not self._reader.has_published or self._mirror.head not in fetched.refs)
        if is_first:
            await self._mirror.follow_head(timeout)
        refused = {name: why for name, why in fetched.refused.items() if may_be_served(name, self._settings.labels)}
        for sentence in self._notices.refused(refused, fetched.refs):
            self._status.noted(sentence)
        try:
            await self._reader.read(publish, fetched.refs)
        except GitError:
            raise
        except SourceError as error:
            raise SourceError(fetched.problem or next(iter(refused.values()), str(error))) from None
        if is_due and not is_first and await self._mirror.follow_head(timeout):
            await self._reader.read(publish, fetched.refs)
        if is_due:
            self._head.asked()
        if fetched.problem:
            raise SourceError(fetched.problem)
        self._published(fetched.state)

    def _published(self, state: str) -> None:
        """Report the state of the remote that is published now, if it is new."""
        before, self._remote_state = self._remote_state, state
        if state != before and self._report is not None:
            self._report(state)

    async def _serve_mirror(self, publish: Publish) -> None:
        try:
            await self._reader.read(publish, await self._mirror.refs())
            log.warning("served from the mirror", source=self.name, consequence="the content may be old")
        except SourceError as error:
            log.warning("mirror unreadable", source=self.name, reason=str(error))


def open_git(settings: GitSettings, surroundings: Surroundings) -> GitSource:
    """Make the source that the settings name. Sources of the same repository have a mirror each."""
    address = parse_remote(settings.uri).uri
    number = sum(1 for each in surroundings.opened if isinstance(each, GitSource) and each.name == address)
    return GitSource(settings, surroundings.state / "git", surroundings.random, number=number)

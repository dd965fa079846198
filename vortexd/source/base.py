"""The contract between sources and other parts: a source hands over a whole `Tree` each time its content has changed.

Every source implements `Source`. The other protocols are abilities that a kind may have. A caller that needs an ability
checks each source for it with isinstance.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from random import Random
from typing import Protocol, TypeAlias, runtime_checkable

import attrs

from ..core.commits import Commit, PastFiles
from ..core.model import Files, Tree
from ..core.pushes import Branch, NewCommit
from .status import SourceStatus

Publish: TypeAlias = Callable[[Tree], Awaitable[None]]
LabelsInUse: TypeAlias = Callable[[], Collection[str]]


class Source(Protocol):
    """A source of configuration."""

    @property
    def name(self) -> str:
        """A short name for logs and metrics. It contains no credentials."""
        ...

    @property
    def status(self) -> SourceStatus:
        """The state of the source, for /status, metrics and readiness."""
        ...

    async def run(self, publish: Publish) -> None:
        """Read the source until it is cancelled, and hand over each new state once it has settled.

        The first state is published as soon as it can be read. `publish` is awaited. Changes that come meanwhile are
        read as one state afterwards. If the source can't be read, it logs each reason once and tries again, and the
        last state stays in force. Returns only by cancellation. A partial state is never handed over.
        """
        ...


@attrs.frozen
class Surroundings:
    """Everything that a source needs from the daemon. The rest comes from the source's settings.

    Attributes:
        random: Makes jitter.
        state: The state directory of this process.
        own: Files and directories of vortexd itself, which are never served.
        memory: The directory in which sources keep the last good content of their files, or None if nothing is kept.
        opened: The sources that are listed before this one.
    """

    random: Random
    state: Path
    own: Sequence[str] = ()
    memory: Path | None = None
    opened: Sequence[Source] = ()


# Abilities.


@runtime_checkable
class Refreshable(Protocol):
    """A source that reads something remote from time to time, and at once when a caller asks for it."""

    def fetch_now(self) -> None:
        """Begin a fetch soon, and return without waiting. Several calls before the fetch begins cause one fetch."""
        ...

    async def wait_looked(self) -> None:
        """Wait until a look at the remote that begins after this call has ended, even if it failed.

        Call `fetch_now` first.
        """
        ...

    def is_meant(self, addresses: Collection[str], refs: Collection[str]) -> bool:
        """Return whether a webhook for these repositories, branches and tags can change what this source serves.

        Args:
            addresses: The addresses of the repository, in any spelling. If empty, any repository matches.
            refs: The full names of branches and tags. If empty, any ref matches.
        """
        ...


@runtime_checkable
class NewsReporter(Refreshable, Protocol):
    """A source that reports each new state of its remote that it finds and publishes."""

    @property
    def remote_state(self) -> str:
        """Identifies the newest state of the remote that was published, alike on all servers. "" if none was."""
        ...

    def report_news(self, report: Callable[[str], None]) -> None:
        """From now on call this function with each new `remote_state`, once it is published."""
        ...


@runtime_checkable
class LabelLoader(Protocol):
    """A source that reads some labels only when a client asks for them."""

    async def load(self, label: str) -> bool:
        """Read a label and publish it. Return whether the label may be served now. Cancelling it does no harm."""
        ...


@runtime_checkable
class LabelKeeper(Protocol):
    """A source that forgets labels that no client has asked for lately."""

    def keep_labels(self, in_use: LabelsInUse) -> None:
        """From now on keep every label that this function returns."""
        ...


@runtime_checkable
class PastReader(Protocol):
    """A source that can read the commits before its states."""

    @property
    def root(self) -> str:
        """The root of the files from this source, as in `Files.root`."""
        ...

    async def before(self, commit: str) -> Files | None:
        """Read the commit before a given commit.

        Return None if there is none or it can't be read now. Cancelling it does no harm.
        """
        ...


@runtime_checkable
class CommitReader(Protocol):
    """A source whose labels are commits, which it can read one by one."""

    @property
    def root(self) -> str:
        """The root of the files from this source, as in `Files.root`."""
        ...

    def commits(self, commit: str) -> Sequence[Commit]:
        """Return the newest commits of the label that serves this commit now, along first parents, the newest first.

        Return nothing if no label serves it. At most `EDIT_COMMITS` commits are known.
        """
        ...

    async def at(self, commit: str, near: PastFiles | None) -> PastFiles | None:
        """Read the files of a commit. Return None if it can't be served, for example because it has too many files.

        Cancelling it does no harm.

        Args:
            near: The files of a similar commit, or None.

        Raises:
            SourceError: It can't be read now.
        """
        ...

    async def subject(self, commit: str) -> str:
        """Return the first line of a commit's message, as `commits.subject_of` does.

        Raises:
            SourceError: It can't be read now.
        """
        ...


@runtime_checkable
class VersionReader(Protocol):
    """A source without commits that keeps former versions of its files."""

    @property
    def root(self) -> str:
        """The root of the files from this source, as in `Files.root`."""
        ...

    async def versions(self) -> Sequence[Commit]:
        """Return the versions that are kept, the newest first. They have no author.

        The oldest one has an unknown parent. Cancelling it does no harm.
        """
        ...

    async def version(self, files: Files, id: str, near: PastFiles | None) -> PastFiles | None:
        """Read the files of a version. Return None if it isn't kept. Cancelling it does no harm.

        Args:
            files: The present files of the label whose files are read.
            near: The files of a similar version, or None.
        """
        ...


@runtime_checkable
class StateReader(Protocol):
    """A source that can read a commit as it reads a label."""

    @property
    def root(self) -> str:
        """The root of the files from this source, as in `Files.root`."""
        ...

    async def state_at(self, commit: str) -> Files:
        """Read a commit, with its history. It doesn't wait for a publication of the source.

        Raises:
            SourceError: It can't be read.
        """
        ...


@runtime_checkable
class Pusher(CommitReader, Protocol):
    """A source whose labels are branches of a repository, to which it can push commits."""

    def branch(self, label: str) -> Branch:
        """Return the branch that serves a label. Its `labels` are empty.

        Raises:
            RemoteError: There is no such label, or it isn't a branch.
        """
        ...

    async def commit(self, new: NewCommit) -> str:
        """Make a commit that no branch has yet. Return its id. Cancelling it does no harm.

        Raises:
            PushError: It can't be made.
        """
        ...

    async def push(self, branch: str, head: str, commit: str) -> None:
        """Push a commit of `commit` to a branch, whose newest commit must be `head` at the remote.

        Raises:
            PushError: The push has failed, or it isn't known whether it has arrived.
        """
        ...


@runtime_checkable
class CommitOrder(Protocol):
    """A source whose states are commits, each with a history."""

    @property
    def root(self) -> str:
        """The root of the files from this source, as in `Files.root`."""
        ...

    async def is_before(self, commit: str, other: str) -> bool | None:
        """Return whether a commit is an ancestor of another one. Cancelling it does no harm.

        Return None if this source doesn't have both commits, or they can't be read now.
        """
        ...


@runtime_checkable
class FormerReader(Protocol):
    """A source that can read the states that were published before its present one, in any process."""

    async def former(self, before: int = 0) -> tuple[int, Tree] | None:
        """Read the state before a given one. Return its number, and the state.

        Return None if there is none. Cancelling it does no harm.

        Args:
            before: The number of a state, as this method has returned it; 0 means the present state.

        Raises:
            SourceError: The state can't be read now.
        """
        ...


@runtime_checkable
class Rememberer(Protocol):
    """A source that may keep the last good content of its files in `Surroundings.memory`."""

    @property
    def remembered_root(self) -> str | None:
        """The root under which this source keeps it, as in `memory.directory_for`, or None if it keeps nothing."""
        ...

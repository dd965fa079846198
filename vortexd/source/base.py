"""The contract between sources and the rest: a source hands over a whole `Tree` each time its content has changed.

Every source has `Source`. The other protocols are abilities that a kind may have; whoever needs one asks each source for it with isinstance.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from random import Random
from typing import Protocol, TypeAlias, runtime_checkable

import attrs

from ..core.model import Files, Tree
from .status import SourceStatus

Publish: TypeAlias = Callable[[Tree], Awaitable[None]]
LabelsInUse: TypeAlias = Callable[[], Collection[str]]


class Source(Protocol):
    """A place that configuration comes from."""

    @property
    def name(self) -> str:
        """A short name for logs and metrics; holds no credentials."""
        ...

    @property
    def status(self) -> SourceStatus:
        """How it is; for /status, metrics and readiness."""
        ...

    async def run(self, publish: Publish) -> None:
        """Read the source for ever, and hand over each settled new state.

        The first state is published as soon as it can be read. `publish` is awaited, so what changes meanwhile is read as
        one state afterwards. A source that can't be read is logged once per reason, and tried again; the state before it
        stands. Returns only by cancellation; no half state is ever handed over.
        """
        ...


@attrs.frozen
class Surroundings:
    """The daemon's part of what a source is made of; its settings are the other part.

    Attributes:
        random: For jitter.
        state: The state directory of this process.
        own: Files and directories that are vortexd's own, and never served.
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
    """A source that reads something remote from time to time, and at once when it is asked to."""

    def fetch_now(self) -> None:
        """Fetch soon, without waiting for it. Several calls before the fetch begins are one fetch."""
        ...

    async def wait_looked(self) -> None:
        """Wait until a look at the remote that begins from now on has ended, well or not. Call `fetch_now` before."""
        ...

    def is_meant(self, addresses: Collection[str], refs: Collection[str]) -> bool:
        """Whether a webhook for these repositories, branches and tags can change what this source serves.

        Args:
            addresses: Of the repository, in any spelling; none means any.
            refs: The full names of branches and tags; none means any.
        """
        ...


@runtime_checkable
class LabelLoader(Protocol):
    """A source that reads some labels only when a client asks for them."""

    async def load(self, label: str) -> bool:
        """Read a label and publish it. Returns whether it may be there now. Cancelling it does no harm."""
        ...


@runtime_checkable
class LabelKeeper(Protocol):
    """A source that forgets labels which nobody has asked for lately."""

    def keep_labels(self, in_use: LabelsInUse) -> None:
        """Forget no label that this function returns, from now on."""
        ...


@runtime_checkable
class PastReader(Protocol):
    """A source whose states have commits before them."""

    @property
    def root(self) -> str:
        """As `Files.root` of what this source gives."""
        ...

    async def before(self, commit: str) -> Files | None:
        """Read the commit before one, or return None if there is none or it can't be read now. Cancelling it does no harm."""
        ...


@runtime_checkable
class Rememberer(Protocol):
    """A source that may keep its last good content in `Surroundings.memory`."""

    @property
    def remembered_root(self) -> str | None:
        """The root under which this source keeps it, as of `memory.directory_for`, or None if it keeps nothing."""
        ...

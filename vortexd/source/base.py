"""What every source is to the rest: something that hands over a whole `Tree` each time it has become a new one."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from ..core.model import Tree
from .status import SourceStatus

Publish = Callable[[Tree], Awaitable[None]]


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

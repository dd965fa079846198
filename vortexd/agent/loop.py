"""The agent at work: configurations in, items applied at their time, and the server told what became of each version.

One task follows each configuration, and one works on each item; none of them waits for another but for the moment in which a file is replaced. The invariant: an
acknowledgement names the version that was applied or refused, and comes once all items of its configuration have come to it.
"""

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import attrs
import structlog
import trio

from ..core.errors import VortexdError
from ..core.model import Key
from .commands import Failure
from .item import Item, Outcome, State, Subject
from .pacing import Pace

log = structlog.get_logger()

# What an acknowledgement may take; the next connection doesn't need it.
_ACK_TIMEOUT = 5.0
# Until a server that has refused us is asked again: a token may have been renewed.
_RETRY = 60.0


class AgentError(VortexdError):
    """What keeps the agent from its work: one sentence that says what to do."""


class Watched(Protocol):
    """A configuration that is kept up to date, as `vortexd.client.watch` yields it."""

    @property
    def key(self) -> Key | None: ...
    @property
    def version(self) -> str | None: ...
    @property
    def document(self) -> dict[str, Any]: ...
    @property
    def state(self) -> object: ...
    def __aiter__(self) -> AsyncIterator[Any]: ...
    async def ack(self, version: str, status: str, error: str | None = None) -> None: ...


Watch = Callable[[Subject], AbstractAsyncContextManager[Watched]]


def state_of(subject: Subject, watched: Watched) -> State | None:
    """What a configuration is now; None where it has ended. The label is the server's own, where that is known."""
    # All in one go: no await may come between the version and the document that it is of.
    if watched.version is None:
        return None
    label = watched.key.label if watched.key is not None else subject.label
    return State(attrs.evolve(subject, label=label), watched.version, watched.document)


@attrs.define(eq=False)
class Verdicts:
    """What the items of one configuration say of its versions. Pure.

    Attributes:
        has_stderr: Whether the end of stderr is told.
    """

    count: int
    has_stderr: bool = True
    _outcomes: dict[str, Outcome] = attrs.field(init=False, factory=dict)

    def note(self, name: str, outcome: Outcome) -> tuple[str, str, str | None] | None:
        """Note what became of an item; the acknowledgement, once all items have come to this version."""
        self._outcomes[name] = outcome
        if len(self._outcomes) < self.count or any(each.version != outcome.version for each in self._outcomes.values()):
            return None
        failed = [(name, each.failure) for name, each in self._outcomes.items() if each.failure is not None]
        if not failed:
            return outcome.version, "applied", None
        return (
            outcome.version,
            "rejected",
            "\n".join(f"{name}: {told(failure, self.has_stderr)}" for name, failure in failed),
        )


def told(failure: Failure, has_stderr: bool) -> str:
    """A failure for the server, or for whoever has started the agent at a terminal."""
    return f"{failure.reason}\n{failure.stderr}" if has_stderr and failure.stderr else failure.reason


class Reconciler:
    """Keeps the items of one configuration in step with it.

    Args:
        watch: Follows a configuration.
        chance: Draws a number from 0 to 1, for the splay.
        on_outcome: Is told of each, by the item's name.
    """

    def __init__(
        self,
        subject: Subject,
        items: Sequence[Item],
        watch: Watch,
        chance: Callable[[], float],
        on_outcome: Callable[[str, Outcome], None],
        *,
        has_stderr: bool,
    ) -> None:
        self._subject = subject
        self._items = items
        self._watch = watch
        self._chance = chance
        self._on_outcome = on_outcome
        self._verdicts = Verdicts(len(items), has_stderr)
        self._paces = {
            each.name: Pace(each.settings.quiet_period, each.settings.max_wait, each.settings.splay) for each in items
        }
        self._state: State | None = None
        self._notifier = trio.Event()
        # Counts what is to be done at once, whatever the pace.
        self._urgency = 0

    async def run(self) -> None:
        """Follow the configuration until cancelled; a server that refuses us is asked again after a while."""
        while True:
            try:
                async with self._watch(self._subject) as watched:
                    await self._follow(watched)
            except* VortexdError as group:
                await self._wait(reason_of(group))

    async def once(self) -> list[tuple[str, Outcome]]:
        """Bring every item to the first state, tell the server, and return what became of each, by its name.

        Raises:
            VortexdError: The configuration can't be had.
        """
        async with self._watch(self._subject) as watched:
            state = self._first(watched)
            outcomes = []
            for item in self._items:
                outcome = await item.apply(state)
                await self._tell(watched, item, outcome)
                outcomes.append((item.name, outcome))
            return outcomes

    async def preview(self) -> list[tuple[str, str | Failure]]:
        """What would change, by item; nothing is changed, and the server isn't told."""
        async with self._watch(self._subject) as watched:
            state = self._first(watched)
            found: list[tuple[str, str | Failure]] = []
            for item in self._items:
                try:
                    found.append((item.name, await item.preview(state)))
                except Failure as failure:
                    found.append((item.name, failure))
            return found

    def again(self) -> None:
        """Render everything again at once: a template has changed, or what made it fail is mended."""
        self._urgency += 1
        self._wake()

    async def _follow(self, watched: Watched) -> None:
        async with trio.open_nursery() as nursery:
            for item in self._items:
                nursery.start_soon(self._work, item, watched, name=f"item {item.name}")
            self._urgency += 1
            self._take(watched)
            async for _ in watched:
                self._take(watched)
            # What is known is worked on all the same.
            await self._wait(f"{self._subject}: {watched.state}")
            nursery.cancel_scope.cancel()

    async def _wait(self, reason: str) -> None:
        log.error("configuration can't be followed", reason=reason, retry_seconds=_RETRY)
        await trio.sleep(_RETRY * (0.5 + self._chance()))

    def _first(self, watched: Watched) -> State:
        self._take(watched)
        if self._state is None:
            raise AgentError(f"there is no configuration {self._subject}")
        return self._state

    def _take(self, watched: Watched) -> None:
        state = state_of(self._subject, watched)
        if state is None:
            log.warning(
                "configuration has ended", configuration=str(self._subject), consequence="files stay as they are"
            )
            return
        self._state = state
        for pace in self._paces.values():
            pace.note(trio.current_time(), self._chance())
        self._wake()

    def _wake(self) -> None:
        self._notifier.set()
        self._notifier = trio.Event()

    async def _work(self, item: Item, watched: Watched) -> None:
        """Apply each version to one item when it is time."""
        pace = self._paces[item.name]
        urgency = 0
        while True:
            notifier = self._notifier
            is_due = pace.take(trio.current_time())
            if self._state is not None and (is_due or urgency != self._urgency):
                urgency = self._urgency
                pace.clear()
                outcome = await item.apply(self._state)
                await self._tell(watched, item, outcome)
            else:
                with trio.move_on_at(math.inf if pace.due is None else pace.due):
                    await notifier.wait()

    async def _tell(self, watched: Watched, item: Item, outcome: Outcome) -> None:
        _log(item, outcome)
        self._on_outcome(item.name, outcome)
        verdict = self._verdicts.note(item.name, outcome)
        if verdict is not None:
            with trio.move_on_after(_ACK_TIMEOUT):
                await watched.ack(*verdict)


def _log(item: Item, outcome: Outcome) -> None:
    """What became of a version, without what commands have said: that may be a secret."""
    if outcome.failure is not None:
        log.warning("rejected", item=item.name, version=outcome.version, reason=outcome.failure.reason)
    elif outcome.has_changed:
        log.info("applied", item=item.name, version=outcome.version)
    else:
        log.debug("nothing to do", item=item.name, version=outcome.version)


def reason_of(error: BaseException) -> str:
    """A sentence for the first leaf of a group; errors without text are named by their type."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__

"""The agent at work: follows configurations, applies items when they are due, and reports each version to the server.

One task follows each configuration, and one works on each item. They wait for each other only while a file is replaced. Invariant: an
acknowledgement names the version that was applied or rejected. It is sent after all items of its configuration have reached that version.
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

# Seconds that an acknowledgement may take. If it is lost, the next connection repeats it.
_ACK_TIMEOUT = 5.0
# Seconds until the agent asks a server again that has refused it; its token may have been renewed by then.
_RETRY = 60.0


class AgentError(VortexdError):
    """The agent can't do its work. The text is one sentence that names the remedy."""


class Watched(Protocol):
    """A configuration that the client keeps up to date, as `vortexd.client.watch` yields it."""

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
    """Return the current state of a configuration, or None if it has ended. The label is the server's, if it is known."""
    # No await may come between reading the version and reading its document.
    if watched.version is None:
        return None
    label = watched.key.label if watched.key is not None else subject.label
    return State(attrs.evolve(subject, label=label), watched.version, watched.document)


@attrs.define(eq=False)
class Verdicts:
    """The outcomes of all items of one configuration. Pure.

    Attributes:
        has_stderr: Whether reports include the end of stderr.
    """

    count: int
    has_stderr: bool = True
    _outcomes: dict[str, Outcome] = attrs.field(init=False, factory=dict)

    def note(self, name: str, outcome: Outcome) -> tuple[str, str, str | None] | None:
        """Record an item's outcome. Return the acknowledgement, once all items have reached this version."""
        self._outcomes[name] = outcome
        if len(self._outcomes) < self.count or any(each.version != outcome.version for each in self._outcomes.values()):
            return None
        failed = [(name, each.failure) for name, each in self._outcomes.items() if each.failure is not None]
        if not failed:
            return outcome.version, "applied", None
        return (
            outcome.version,
            "rejected",
            "\n".join(f"{name}: {failure_text(failure, self.has_stderr)}" for name, failure in failed),
        )


def failure_text(failure: Failure, has_stderr: bool) -> str:
    """Return the text of a failure, for the server or for the terminal."""
    return f"{failure.reason}\n{failure.stderr}" if has_stderr and failure.stderr else failure.reason


class Reconciler:
    """Keeps all items of one configuration in step with it.

    Args:
        watch: Follows a configuration.
        chance: Returns a random number from 0 to 1, for the splay.
        on_outcome: Called with each item's name and outcome.
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
        # Counts the requests to apply every item at once, without waiting for the pace.
        self._urgency = 0

    async def run(self) -> None:
        """Follow the configuration until cancelled. If the server refuses the agent, try again after a while."""
        while True:
            try:
                async with self._watch(self._subject) as watched:
                    await self._follow(watched)
            except* VortexdError as group:
                await self._wait(reason_of(group))

    async def once(self) -> list[tuple[str, Outcome]]:
        """Bring every item to the first state, report to the server, and return each item's name and outcome.

        Raises:
            VortexdError: The configuration isn't available.
        """
        async with self._watch(self._subject) as watched:
            state = self._first(watched)
            outcomes = []
            for item in self._items:
                outcome = await item.apply(state)
                await self._report(watched, item, outcome)
                outcomes.append((item.name, outcome))
            return outcomes

    async def preview(self) -> list[tuple[str, str | Failure]]:
        """Return the changes that each item would make. Nothing is changed, and the server gets no report."""
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
        """Render everything again at once, because a template has changed or the cause of a failure is fixed."""
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
            # Until then, the items keep working with the last known state.
            await self._wait(f"{self._subject}: {watched.state}")
            nursery.cancel_scope.cancel()

    async def _wait(self, reason: str) -> None:
        log.error("the agent can't follow the configuration", reason=reason, retry_seconds=_RETRY)
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
        """Apply each version to one item when it is due."""
        pace = self._paces[item.name]
        urgency = 0
        while True:
            notifier = self._notifier
            is_due = pace.take(trio.current_time())
            if self._state is not None and (is_due or urgency != self._urgency):
                urgency = self._urgency
                pace.clear()
                outcome = await item.apply(self._state)
                await self._report(watched, item, outcome)
            else:
                with trio.move_on_at(math.inf if pace.due is None else pace.due):
                    await notifier.wait()

    async def _report(self, watched: Watched, item: Item, outcome: Outcome) -> None:
        _log(item, outcome)
        self._on_outcome(item.name, outcome)
        verdict = self._verdicts.note(item.name, outcome)
        if verdict is not None:
            with trio.move_on_after(_ACK_TIMEOUT):
                await watched.ack(*verdict)


def _log(item: Item, outcome: Outcome) -> None:
    """Log an outcome without the output of commands, which may hold secrets."""
    if outcome.failure is not None:
        log.warning("rejected", item=item.name, version=outcome.version, reason=outcome.failure.reason)
    elif outcome.has_changed:
        log.info("applied", item=item.name, version=outcome.version)
    else:
        log.debug("nothing to do", item=item.name, version=outcome.version)


def reason_of(error: BaseException) -> str:
    """Return the text of the first error in a group. An error without text is named by its type."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__

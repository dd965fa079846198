"""The agent as a process: makes items and reconcilers from the settings, starts them, and stops them in order.

Before it writes anything, the agent locks every target and opens its state directory. If that fails, the agent ends at once. After that,
only a signal ends it. If one item fails, the agent reports that failure, and the other items go on.
"""

import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import attrs
import structlog
import trio

from ..core.errors import VortexdError
from ..process.systemd import Notifier
from .commands import Failure
from .item import Hook, Item, Outcome, Subject, TemplateItem, hook_name, subject_of
from .loop import Reconciler, Watch, reason_of
from .record import Record, make_private
from .settings import Settings

log = structlog.get_logger()
T = TypeVar("T")


@attrs.frozen
class Results(Generic[T]):
    """The results of items, by their names.

    Attributes:
        errors: Why some configurations weren't available; their items were left alone.
    """

    items: tuple[tuple[str, T], ...]
    errors: tuple[str, ...]


@contextmanager
def reconcilers(
    settings: Settings,
    directory: Path,
    watch: Watch,
    on_outcome: Callable[[str, Outcome], None],
    *,
    writes: bool = True,
    chance: Callable[[], float] = random.random,
) -> Iterator[list[Reconciler]]:
    """Make the reconcilers for all configurations that the settings name. Every target stays locked for as long as the context lasts.

    Args:
        directory: The state directory.
        writes: Whether to lock the targets; false for a preview.

    Raises:
        StartError: A target can't be locked, or the state directory can't be used.
    """
    if writes:
        make_private(directory)
    lock = trio.Lock()
    templates = [TemplateItem(each, Record(directory, each.target), lock) for each in settings.template]
    hooks = [Hook(each, Record(directory, hook_name(each)), lock) for each in settings.hook]
    groups: dict[Subject, list[Item]] = {}
    items: list[Item] = [*templates, *hooks]
    for item in items:
        groups.setdefault(subject_of(item.settings), []).append(item)
    with ExitStack() as stack:
        for template in templates if writes else ():
            stack.enter_context(template.target.locked())
        yield [
            Reconciler(subject, items, watch, chance, on_outcome, has_stderr=settings.agent.report_stderr)
            for subject, items in groups.items()
        ]


async def run(settings: Settings, directory: Path, watch: Watch, environment: Mapping[str, str]) -> None:
    """Keep everything in step until SIGTERM or SIGINT. SIGHUP renders everything again.

    Raises:
        StartError: A target can't be locked, or the state directory can't be used.
    """
    notifier = Notifier(environment, os.getpid())
    status_line = _StatusLine(notifier)
    with reconcilers(settings, directory, watch, status_line.note) as active:
        async with trio.open_nursery() as nursery:
            await nursery.start(_handle_signals, active, nursery.cancel_scope, notifier)
            for each in active:
                nursery.start_soon(each.run)
            notifier.ready(f"keeping {len(settings.template)} files and {len(settings.hook)} hooks")
            log.info("ready", templates=len(settings.template), hooks=len(settings.hook))
            if notifier.watchdog is not None:
                nursery.start_soon(status_line.feed_watchdog, notifier.watchdog / 3)
    log.info("stopped")


async def once(settings: Settings, directory: Path, watch: Watch) -> Results[Outcome]:
    """Apply every configuration once, all at the same time, and report to the server.

    Raises:
        StartError: A target can't be locked, or the state directory can't be used.
    """
    with reconcilers(settings, directory, watch, _ignore) as active:
        return await _gathered([each.once for each in active])


async def preview(settings: Settings, directory: Path, watch: Watch) -> Results[str | Failure]:
    """Return the changes that `once` would make, as diffs."""
    with reconcilers(settings, directory, watch, _ignore, writes=False) as active:
        return await _gathered([each.preview for each in active])


async def _gathered(functions: Sequence[Callable[[], Awaitable[list[tuple[str, T]]]]]) -> Results[T]:
    results: list[list[tuple[str, T]]] = [[] for _ in functions]
    errors: list[str] = []

    async def call(function: Callable[[], Awaitable[list[tuple[str, T]]]], found: list[tuple[str, T]]) -> None:
        try:
            found += await function()
        except* VortexdError as group:
            errors.append(reason_of(group))

    async with trio.open_nursery() as nursery:
        for function, found in zip(functions, results, strict=True):
            nursery.start_soon(call, function, found)
    return Results(tuple(each for found in results for each in found), tuple(errors))


def _ignore(name: str, outcome: Outcome) -> None:
    pass


async def _handle_signals(
    active: Sequence[Reconciler],
    scope: trio.CancelScope,
    notifier: Notifier,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
        task_status.started()
        async for number in received:
            if number != signal.SIGHUP:
                notifier.stopping()
                scope.cancel()
                return
            log.info("rendering everything again")
            for each in active:
                each.again()


@attrs.define(eq=False)
class _StatusLine:
    """Updates the status line of `systemctl status`, and feeds systemd's watchdog."""

    notifier: Notifier
    _rejected: dict[str, str] = attrs.field(init=False, factory=dict)

    def note(self, name: str, outcome: Outcome) -> None:
        if outcome.failure is None:
            self._rejected.pop(name, None)
        else:
            self._rejected[name] = outcome.failure.reason
        self._send()

    async def feed_watchdog(self, interval: float) -> None:
        while True:
            self._send()
            await trio.sleep(interval)

    def _send(self) -> None:
        rejected = ", ".join(f"{name}: {reason}" for name, reason in self._rejected.items())
        self.notifier.status(f"rejected: {rejected}"[:500] if rejected else "everything is as configured")

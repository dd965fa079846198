"""A command whose environment is a configuration: started, and started anew or signalled when that changes.

    running ──change──▶ stopped ─▶ started with the new environment ─┬─ still there after `settle` ─▶ applied
                                                                      └─ failed ─▶ rejected, started with the one before

The invariant: the command ends when it ends by itself or when we are told to end, and then its status is ours; no configuration leaves it stopped.
"""

import contextlib
import math
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

import attrs
import structlog
import trio

from ..client.backoff import delay_before
from .commands import TOKEN_VARIABLES, Failure, ending
from .environment import variables_of
from .item import State, Subject
from .loop import AgentError, Watched, state_of
from .pacing import Pace

log = structlog.get_logger()

# What is handed on; the first three are meant to end it.
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_FORWARDED = (*_ENDING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# Those that a terminal sends to everything in its foreground by itself.
_OF_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
_REAP_TIMEOUT = 10.0
_ACK_TIMEOUT = 5.0


@attrs.frozen
class Plan:
    """What to run, and how.

    Attributes:
        command: The program and its arguments.
        prefix: What the names of variables begin with.
        told_by: The signal that says that the configuration has changed; None starts the command anew.
        stop_timeout: Seconds from SIGTERM to SIGKILL.
        settle: Seconds that it has to run before a configuration counts as taken.
        pace: When to act on changes.
    """

    command: Sequence[str]
    prefix: str = ""
    told_by: signal.Signals | None = None
    stop_timeout: float = 10.0
    settle: float = 3.0
    pace: Pace = attrs.field(factory=lambda: Pace(1.0, 10.0))


class Child:
    """Runs the command of a plan while it is in its context's `run`.

    Args:
        environment: Our own. Its variables win over those of the configuration.
        chance: Draws a number from 0 to 1.
    """

    def __init__(
        self, plan: Plan, subject: Subject, environment: Mapping[str, str], chance: Callable[[], float]
    ) -> None:
        self._plan = plan
        self._subject = subject
        self._own = {name: value for name, value in environment.items() if name not in TOKEN_VARIABLES}
        self._chance = chance
        self._process: trio.Process | None = None
        self._state: State | None = None
        self._notifier = trio.Event()
        self._told_to_end = trio.Event()
        self._shares_group = _is_in_foreground()
        self._failures = 0
        self._status = 0

    async def run(self, watched: Watched) -> int:
        """Run the command until it ends, and return its exit status, or 128 and the signal that ended it.

        Raises:
            AgentError: The first configuration can't be an environment.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self._forward, nursery)
            nursery.start_soon(self._follow, watched)
            try:
                status = await self._live(watched)
            finally:
                await self._reap()
            nursery.cancel_scope.cancel()
        return status

    # The configuration.

    def _take(self, watched: Watched) -> None:
        self._state = state_of(self._subject, watched) or self._state

    async def _follow(self, watched: Watched) -> None:
        async for _ in watched:
            self._take(watched)
            self._plan.pace.note(trio.current_time(), self._chance())
            self._notifier.set()
            self._notifier = trio.Event()
        # No reason to end what runs.
        log.error("configuration isn't followed any more", configuration=str(self._subject), reason=str(watched.state))

    def _environment(self, state: State) -> dict[str, str]:
        """The environment for a configuration.

        Raises:
            Failure: Several keys have one name.
        """
        variables = variables_of(state.document, self._plan.prefix)
        if variables.collisions:
            told = "; ".join(f"{name} stands for {' and '.join(keys)}" for name, keys in variables.collisions.items())
            raise Failure(f"variables collide: {told}"[:1_000])
        if variables.left_out:
            log.warning(
                "keys left out of the environment",
                keys=list(variables.left_out),
                reason="no variable may be made of them",
            )
        return {**variables.values, **self._own}

    # The life of the command.

    async def _live(self, watched: Watched) -> int:
        self._take(watched)
        if self._state is None:
            raise AgentError(f"there is no configuration {self._subject}")
        state = self._state
        try:
            environment = self._environment(state)
        except Failure as collision:
            await self._tell(watched, state, collision)
            raise AgentError(collision.reason) from None
        try:
            await self._start(environment)
        except OSError as error:
            await self._tell(watched, state, _not_started(error))
            log.error("the command can't be started", reason=(error.strerror or "error").lower())
            return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
        await self._tell(watched, state, await self._settled())
        while await self._change_comes():
            assert self._state is not None
            state = self._state
            if self._plan.told_by is None:
                environment, failure = await self._restart(state, environment)
            else:
                failure = await self._signal(self._plan.told_by)
            await self._tell(watched, state, failure)
        return self._status

    async def _change_comes(self) -> bool:
        """Wait for a change that is due; false when the command has ended."""
        pace = self._plan.pace
        while self._is_running():
            if self._told_to_end.is_set():
                await self._ended()
                return False
            notifier = self._notifier
            if pace.take(trio.current_time()):
                return True
            with trio.move_on_at(math.inf if pace.due is None else pace.due):
                await _first_of(notifier.wait, self._ended, self._told_to_end.wait)
        return False

    async def _restart(self, state: State, environment: dict[str, str]) -> tuple[dict[str, str], Failure | None]:
        """Give the command the environment of a new configuration; back to the one before where it doesn't live with it."""
        try:
            new = self._environment(state)
        except Failure as collision:
            return environment, collision
        if new == environment:
            return environment, None
        log.info("starting the command anew", version=state.version)
        await self._stop()
        if self._told_to_end.is_set():
            return environment, None
        failure = await self._tried(new)
        if failure is None or self._told_to_end.is_set():
            self._failures = 0
            return new, None
        self._failures += 1
        with trio.move_on_after(delay_before(self._failures, self._chance())):
            await self._told_to_end.wait()
        if not self._told_to_end.is_set():
            with contextlib.suppress(OSError):
                await self._start(environment)
        return environment, failure

    async def _tried(self, environment: dict[str, str]) -> Failure | None:
        try:
            await self._start(environment)
        except OSError as error:
            return _not_started(error)
        return await self._settled()

    async def _signal(self, number: signal.Signals) -> Failure | None:
        self._send(number)
        return await self._settled()

    async def _start(self, environment: dict[str, str]) -> None:
        # A group of its own can be ended as a whole; but a terminal lets only its foreground group read.
        group = None if self._shares_group else 0
        self._process = await trio.lowlevel.open_process(list(self._plan.command), env=environment, process_group=group)

    async def _settled(self) -> Failure | None:
        """Wait until the command has run long enough; why it hasn't, where it ended with a failure."""
        with trio.move_on_after(self._plan.settle):
            await self._ended()
            if self._status and not self._told_to_end.is_set():
                assert self._process is not None
                return Failure(f"the command {ending(self._process.returncode or 0)} within {self._plan.settle:g} s")
        return None

    async def _stop(self) -> None:
        """End the command, and all that it has started in its group."""
        self._send(signal.SIGTERM)
        with trio.move_on_after(self._plan.stop_timeout):
            await self._ended()
        await self._reap()

    async def _reap(self) -> None:
        """Kill what is left of the command and its group; cancelled or not."""
        if self._process is None:
            return
        self._send(signal.SIGKILL)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _REAP_TIMEOUT):
            await self._ended()

    async def _ended(self) -> None:
        if self._process is not None:
            returned = await self._process.wait()
            self._status = returned if returned >= 0 else 128 - returned

    def _is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def _send(self, number: signal.Signals) -> None:
        """Signal the command, and for the last time its whole group."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL and not self._shares_group:
                os.killpg(self._process.pid, number)
            elif self._process.returncode is None:
                self._process.send_signal(number)

    async def _tell(self, watched: Watched, state: State, failure: Failure | None) -> None:
        if self._told_to_end.is_set():
            # Whether it would have lived with this version nobody knows now.
            return
        if failure is None:
            log.info("applied", version=state.version)
        else:
            log.warning("rejected", version=state.version, reason=failure.reason)
        with trio.move_on_after(_ACK_TIMEOUT):
            await watched.ack(state.version, "rejected" if failure else "applied", failure.reason if failure else None)

    async def _forward(
        self, nursery: trio.Nursery, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(*_FORWARDED) as received:
            task_status.started()
            async for number in received:
                if number in _ENDING and not self._told_to_end.is_set():
                    self._told_to_end.set()
                    nursery.start_soon(self._kill_late)
                if self._is_running() and not (self._shares_group and number in _OF_TERMINAL):
                    self._send(signal.Signals(number))

    async def _kill_late(self) -> None:
        await trio.sleep(self._plan.stop_timeout)
        if self._is_running():
            self._send(signal.SIGKILL)


async def _first_of(*functions: Callable[[], object]) -> None:
    """Wait for the first of several to return."""
    async with trio.open_nursery() as nursery:

        async def wait(function: Callable[[], object]) -> None:
            await function()  # type: ignore[misc]
            nursery.cancel_scope.cancel()

        for function in functions:
            nursery.start_soon(wait, function)


def _not_started(error: OSError) -> Failure:
    return Failure(f"the command can't be started: {(error.strerror or 'error').lower()}")


def _is_in_foreground() -> bool:
    """Whether we are what a terminal has in its foreground."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return False

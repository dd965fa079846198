"""Runs a command with a configuration as its environment. When the configuration changes, restarts or signals the command.

    running ──change──▶ stopped ─▶ started with the new environment ─┬─ still running after `settle` ─▶ applied
                                                                      └─ failed ─▶ rejected, started with the old environment

Invariant: the command ends only by itself, or because the agent was asked to end; its exit status becomes the agent's. A bad
configuration never leaves the command stopped.
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

# Signals that the agent forwards to the command. The first three also end it.
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_FORWARDED = (*_ENDING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# A terminal sends these to every process in its foreground group.
_OF_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
_REAP_TIMEOUT = 10.0
_ACK_TIMEOUT = 5.0


@attrs.frozen
class Plan:
    """The command to run, and how to run it.

    Attributes:
        command: The program and its arguments.
        prefix: Put in front of every variable's name.
        reload_signal: The signal that announces a change of configuration. None: restart the command instead.
        stop_timeout: Seconds from SIGTERM to SIGKILL.
        settle: Seconds that the command must run before a configuration counts as applied.
        pace: When to act on changes.
    """

    command: Sequence[str]
    prefix: str = ""
    reload_signal: signal.Signals | None = None
    stop_timeout: float = 10.0
    settle: float = 3.0
    pace: Pace = attrs.field(factory=lambda: Pace(1.0, 10.0))


class Child:
    """Runs the command of a plan, for as long as `run` lasts.

    Args:
        environment: The agent's own environment. Its variables win over those of the configuration.
        chance: Returns a random number from 0 to 1.
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
        self._stop_requested = trio.Event()
        self._shares_group = _is_in_foreground()
        self._failures = 0
        self._status = 0

    async def run(self, watched: Watched) -> int:
        """Run the command until it ends. Return its exit status; if a signal ended it, 128 plus the signal's number.

        Raises:
            AgentError: The first configuration can't become an environment.
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
        # The command keeps running with the configuration that it has.
        log.error(
            "the agent has stopped following the configuration",
            configuration=str(self._subject),
            reason=str(watched.state),
        )

    def _environment(self, state: State) -> dict[str, str]:
        """Build the environment for a configuration.

        Raises:
            Failure: Several keys map to the same variable.
        """
        variables = variables_of(state.document, self._plan.prefix)
        if variables.collisions:
            told = "; ".join(f"{name} stands for {' and '.join(keys)}" for name, keys in variables.collisions.items())
            raise Failure(f"variables collide: {told}"[:1_000])
        if variables.left_out:
            log.warning(
                "keys left out of the environment",
                keys=list(variables.left_out),
                reason="these keys can't become variables",
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
            await self._report(watched, state, collision)
            raise AgentError(collision.reason) from None
        try:
            await self._start(environment)
        except OSError as error:
            await self._report(watched, state, _not_started(error))
            log.error("can't start the command", reason=(error.strerror or "error").lower())
            return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
        await self._report(watched, state, await self._settled())
        while await self._change_comes():
            assert self._state is not None
            state = self._state
            if self._plan.reload_signal is None:
                environment, failure = await self._restart(state, environment)
            else:
                failure = await self._signal(self._plan.reload_signal)
            await self._report(watched, state, failure)
        return self._status

    async def _change_comes(self) -> bool:
        """Wait until a change is due. Return false if the command has ended."""
        pace = self._plan.pace
        while self._is_running():
            if self._stop_requested.is_set():
                await self._ended()
                return False
            notifier = self._notifier
            if pace.take(trio.current_time()):
                return True
            with trio.move_on_at(math.inf if pace.due is None else pace.due):
                await _first_of(notifier.wait, self._ended, self._stop_requested.wait)
        return False

    async def _restart(self, state: State, environment: dict[str, str]) -> tuple[dict[str, str], Failure | None]:
        """Restart the command with a new configuration's environment. If it fails, restart it with the old environment."""
        try:
            new = self._environment(state)
        except Failure as collision:
            return environment, collision
        if new == environment:
            return environment, None
        log.info("restarting the command", version=state.version)
        await self._stop()
        if self._stop_requested.is_set():
            return environment, None
        failure = await self._tried(new)
        if failure is None or self._stop_requested.is_set():
            self._failures = 0
            return new, None
        self._failures += 1
        with trio.move_on_after(delay_before(self._failures, self._chance())):
            await self._stop_requested.wait()
        if not self._stop_requested.is_set():
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
        # A process group of its own can be killed as a whole. But a terminal lets only its foreground group read from it.
        group = None if self._shares_group else 0
        self._process = await trio.lowlevel.open_process(list(self._plan.command), env=environment, process_group=group)

    async def _settled(self) -> Failure | None:
        """Wait until the command has run for `settle` seconds. If it ends before that with a failure, return the failure."""
        with trio.move_on_after(self._plan.settle):
            await self._ended()
            if self._status and not self._stop_requested.is_set():
                assert self._process is not None
                return Failure(f"the command {ending(self._process.returncode or 0)} within {self._plan.settle:g} s")
        return None

    async def _stop(self) -> None:
        """Stop the command, and every process of its group."""
        self._send(signal.SIGTERM)
        with trio.move_on_after(self._plan.stop_timeout):
            await self._ended()
        await self._reap()

    async def _reap(self) -> None:
        """Kill the rest of the command and its group, even during cancellation."""
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
        """Send a signal to the command. SIGKILL goes to its whole group."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL and not self._shares_group:
                os.killpg(self._process.pid, number)
            elif self._process.returncode is None:
                self._process.send_signal(number)

    async def _report(self, watched: Watched, state: State, failure: Failure | None) -> None:
        if self._stop_requested.is_set():
            # The agent is stopping the command, so nobody knows whether it accepts this version.
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
                if number in _ENDING and not self._stop_requested.is_set():
                    self._stop_requested.set()
                    nursery.start_soon(self._kill_late)
                if self._is_running() and not (self._shares_group and number in _OF_TERMINAL):
                    self._send(signal.Signals(number))

    async def _kill_late(self) -> None:
        await trio.sleep(self._plan.stop_timeout)
        if self._is_running():
            self._send(signal.SIGKILL)


async def _first_of(*functions: Callable[[], object]) -> None:
    """Wait until the first of several functions returns."""
    async with trio.open_nursery() as nursery:

        async def wait(function: Callable[[], object]) -> None:
            await function()  # type: ignore[misc]
            nursery.cancel_scope.cancel()

        for function in functions:
            nursery.start_soon(wait, function)


def _not_started(error: OSError) -> Failure:
    return Failure(f"can't start the command: {(error.strerror or 'error').lower()}")


def _is_in_foreground() -> bool:
    """Whether the agent belongs to the terminal's foreground process group."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return False

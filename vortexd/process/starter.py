"""Starts workers: as forks of the fork server, or as programs of their own after the fork server has failed.

Either way a worker is a child of this process, in a session of its own, and reads its assignment from its environment. The
invariant: a worker whose start counts as failed has a link that nobody answers, so it ends by itself.
"""

import array
import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import orjson
import structlog
import trio

from .assignment import VARIABLE, encode
from .fork_server import SERVER_VARIABLE
from .forked import ForkedProcess, adopting

log = structlog.get_logger()

# Seconds for an answer of the fork server. Before the first one it imports all of vortexd.
_TIMEOUT = 60.0
# Seconds to wait for the fork server to end after it was killed.
_GRACE = 2.0
_ANSWER_BYTES = 32
_VARIABLES_OF_SYSTEMD = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class WorkerProcess(Protocol):
    """A process that the supervisor waits for."""

    @property
    def pid(self) -> int:
        """The process id."""
        ...

    @property
    def returncode(self) -> int | None:
        """The exit status, or None if `wait` has not returned yet."""
        ...

    async def wait(self) -> int:
        """Wait for its end, and return the exit status, or the negative number of the signal that ended it."""
        ...

    def send_signal(self, signal: int, /) -> None:
        """Send a signal."""
        ...

    def kill(self) -> None:
        """Send SIGKILL."""
        ...


class ForkServerError(Exception):
    """The fork server can't be used."""


class Starter:
    """Starts workers. Use it with `async with`, which starts and ends the fork server.

    Args:
        command: The command of a worker, which is also that of the fork server (see `cli.worker`).
        settings: The settings for the workers, as `assignment` reads them.
    """

    def __init__(self, command: Sequence[str], settings: bytes) -> None:
        self._command = list(command)
        self._settings = settings
        self._server: _ForkServer | None = None

    async def __aenter__(self) -> "Starter":
        """Start the fork server, which imports modules while the caller continues.

        It also imports the modules that this process has needed for its settings.
        """
        modules = sorted(name for name in sys.modules if name.startswith("vortexd."))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            request = orjson.dumps({"control": theirs.fileno(), "modules": modules}).decode()
            process = await self._run(SERVER_VARIABLE, request, [theirs.fileno()])
        self._server = _ForkServer(process, trio.socket.from_stdlib_socket(ours))
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the fork server. Workers continue."""
        server, self._server = self._server, None
        if server is not None:
            await server.aclose()

    async def start(
        self, values: Mapping[str, object], listening: Sequence[int]
    ) -> tuple[WorkerProcess, socket.socket]:
        """Start a worker.

        Args:
            values: The values of its assignment beside the descriptors.
            listening: The descriptors of its listening sockets. They may be closed while this function waits.

        Returns:
            The process, and the socket to it.
        """
        with contextlib.ExitStack() as stack:
            duplicates = [stack.enter_context(_closing(os.dup(fd))) for fd in listening]
            server = self._server
            if server is not None:
                try:
                    return await self._fork(server, values, duplicates)
                except ForkServerError as error:
                    await self._give_up(server, str(error))
            return await self._execute(values, duplicates)

    async def _give_up(self, server: "_ForkServer", reason: str) -> None:
        # Another start may have noticed it first.
        if self._server is server:
            self._server = None
            log.warning("fork server failed", reason=reason)
            await server.aclose()

    async def _fork(
        self, server: "_ForkServer", values: Mapping[str, object], listening: Sequence[int]
    ) -> tuple[WorkerProcess, socket.socket]:
        with self._link() as (ours, fds):
            return await server.fork(orjson.dumps(values), [*fds, *listening]), ours

    async def _execute(
        self, values: Mapping[str, object], listening: Sequence[int]
    ) -> tuple[WorkerProcess, socket.socket]:
        with self._link() as (ours, fds):
            passed = [*fds, *listening]
            return await self._run(VARIABLE, encode(values, passed), passed), ours

    async def _run(self, variable: str, value: str, fds: Sequence[int]) -> trio.Process:
        environment = {name: text for name, text in os.environ.items() if name not in _VARIABLES_OF_SYSTEMD}
        return await trio.lowlevel.open_process(
            self._command,
            pass_fds=fds,
            env={**environment, variable: value},
            # A terminal's Ctrl-C is meant for the supervisor, which forwards it to the workers.
            start_new_session=True,
        )

    @contextlib.contextmanager
    def _link(self) -> Iterator[tuple[socket.socket, list[int]]]:
        """Yield our end of a link, and the descriptors of a worker's end and of its settings. If it fails, close all."""
        ours, theirs = socket.socketpair()
        with theirs, _in_memory(self._settings) as memory:
            try:
                yield ours, [theirs.fileno(), memory]
            except BaseException:
                ours.close()
                raise


class _ForkServer:
    """The supervisor's end of the fork server."""

    def __init__(self, process: trio.Process, control: trio.socket.SocketType) -> None:
        self._process = process
        self._control = control
        self._lock = trio.Lock()

    async def fork(self, request: bytes, fds: Sequence[int]) -> ForkedProcess:
        """Fork a worker.

        Raises:
            ForkServerError: The server has ended, has failed, or doesn't answer.
        """
        try:
            async with self._lock:
                with adopting(), trio.fail_after(_TIMEOUT):
                    return await self._ask(request, fds)
        except trio.TooSlowError:
            raise ForkServerError(f"silent for {_TIMEOUT:g} s") from None
        except trio.ClosedResourceError:
            raise ForkServerError("closed") from None
        except ConnectionError:
            raise ForkServerError("it has ended") from None
        except OSError as error:
            raise ForkServerError((error.strerror or "I/O error").lower()) from None

    async def _ask(self, request: bytes, fds: Sequence[int]) -> ForkedProcess:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        await self._control.sendmsg([request], [rights])
        answer = await self._control.recv(_ANSWER_BYTES)
        if not answer:
            raise ForkServerError("it has ended")
        if not int(answer):
            raise ForkServerError("it can't fork")
        return ForkedProcess(int(answer))

    async def aclose(self) -> None:
        """Kill the server, which has no state to lose. Cancellation doesn't interrupt this."""
        self._control.close()
        self._process.kill()
        with trio.CancelScope(shield=True), trio.move_on_after(_GRACE):
            await self._process.wait()


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    """Yield a descriptor from which the data can be read."""
    with _closing(os.memfd_create("vortexd-settings")) as fd:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd

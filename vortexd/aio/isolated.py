"""Work in a separate process with bounds on memory and time. Hostile input can make parsing and rendering expensive.

The caller names a module with a function `work` and sends requests. The function's values come back. Requests and
values are encoded by `marshal` (text, numbers, lists, mappings), so nothing that comes back is ever executed. The calls
block, so use them in a thread.

The process starts with the first request and serves one request at a time. It is killed at its deadline, by `close`,
and when the interpreter exits. It ends by itself when its pipes are closed, so it never outlives its parent.
"""

import atexit
import contextlib
import json
import marshal
import os
import select
import signal
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..core.errors import VortexdError

HEADER = struct.Struct("!Q")
# The exit status of a process that ran out of memory.
OUT_OF_MEMORY = 3
# The child uses the parent's search path. `-P` keeps the working directory out of it, which may belong to another user.
_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from vortexd.aio.isolated_main import main; main(sys.argv[2:])"
_READ = 65_536
# A process that gets less than one part in this many of a processor counts as stuck.
_PATIENCE = 10
# Seconds to wait for the process to end after its pipe has been closed.
_GRACE = 5.0
# Signals that a process gets for a fault in its own code. In a thread the same fault would end the whole daemon.
_CRASHES = frozenset(
    (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGSYS, signal.SIGTRAP)
)

_known: "weakref.WeakSet[Isolated]" = weakref.WeakSet()


class Unavailable(VortexdError):
    """No process can be started now, because the machine or the user's limits have none to spare."""


class Exceeded(VortexdError):
    """The work exceeded a limit, or failed. The text completes a sentence whose subject is the work."""


class Died(Exceeded):
    """The process ended or got stuck for an unknown reason, for example because the machine ran out of memory.

    Another process may be able to do the work.

    Attributes:
        is_crash: Whether a signal for a fault in its own code ended the process. The work may have caused the fault.
    """

    def __init__(self, reason: str, *, is_crash: bool = False) -> None:
        super().__init__(reason)
        self.is_crash = is_crash


class _Ended(Exception):
    """The process has closed its pipe."""


class Isolated:
    """One process for the `work` of one module. It starts when it is needed, and again after it was killed.

    Use it in one thread at a time.

    Args:
        module: The module's full name. `work` takes a request and its content and yields values. Values should be
            small, because the interpreter lock is held while a value is decoded.
        memory_bytes: The address space that the process may take in addition to its size when it begins to work.
        cpu_seconds: The processor time of one request.
        command: The command that starts the process. By default, it is this interpreter.
        clock_seconds: The time of one request by the clock. By default, it is ten times `cpu_seconds`.
    """

    def __init__(
        self,
        module: str,
        memory_bytes: int,
        cpu_seconds: int,
        command: Sequence[str] | None = None,
        clock_seconds: float | None = None,
    ) -> None:
        bounds = (module, str(memory_bytes), str(cpu_seconds))
        self._command = command or (sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), *bounds)
        self._memory_bytes = memory_bytes
        self._cpu_seconds = cpu_seconds
        self._clock_seconds = clock_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._received = bytearray()
        self._is_killed = False
        _known.add(self)

    def __enter__(self) -> "Isolated":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, request: Any, content: bytes = b"") -> Iterator[Any]:
        """Send a request, and yield the values of the work. If the caller stops reading early, the process is killed.

        Args:
            content: Bytes that belong to the request. They may be large, and they aren't copied.

        Raises:
            Unavailable: No process can be started.
            Exceeded: The work took too much memory or processor time, or failed.
            Died: The process ended in another way, or missed the deadline. The next request starts another process.
        """
        process = self._started()
        seconds = self._cpu_seconds * _PATIENCE if self._clock_seconds is None else self._clock_seconds
        deadline = time.monotonic() + seconds
        has_ended = False
        try:
            self._send(process, (marshal.dumps(request), content), deadline)
            while True:
                kind, value = self._receive(process, deadline)
                if kind == "value":
                    yield value
                    continue
                has_ended = kind == "end"
                if has_ended:
                    return
                raise Exceeded(self._too_much_memory() if kind == "memory" else f"fails unexpectedly: {value}")
        except _Ended:
            raise self._end_of(process) from None
        except TimeoutError:
            # By default the processor limit applies first, unless the machine gives the process almost no processor time.
            raise Died(f"takes longer than {seconds:g} s") from None
        finally:
            if not has_ended:
                self.close()

    def close(self) -> None:
        """Kill the process, if it runs. The next request starts another process."""
        process, self._process = self._process, None
        self._received.clear()
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None  # we asked for both pipes
            pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)

    def kill(self) -> None:
        """End the process for good, from another thread. The waiting thread gets an error, and no process starts again."""
        self._is_killed = True
        if (process := self._process) is not None:
            process.kill()

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._process.poll() is not None:
            # It has ended since the last request, so this request isn't the cause.
            self.close()
        if self._process is None:
            if self._is_killed:
                raise Unavailable("this program is ending")
            # glibc reserves address space for each thread that allocates memory. It would count against the limit.
            environment = os.environ | {"MALLOC_ARENA_MAX": "1"}
            try:
                self._process = subprocess.Popen(
                    self._command,
                    bufsize=0,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    # The interpreter's report of an error may contain a value.
                    stderr=subprocess.DEVNULL,
                    env=environment,
                )
            except OSError as error:
                raise Unavailable(os.strerror(error.errno or 0)) from None
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None  # we asked for both pipes
                os.set_blocking(pipe.fileno(), False)
        return self._process

    def _send(self, process: "subprocess.Popen[bytes]", parts: Iterable[bytes], deadline: float) -> None:
        assert process.stdin is not None
        for part in parts:
            for left in (memoryview(HEADER.pack(len(part))), memoryview(part)):
                while left:
                    _wait(process.stdin.fileno(), select.POLLOUT, deadline)
                    try:
                        left = left[os.write(process.stdin.fileno(), left) :]
                    except BrokenPipeError:
                        raise _Ended from None

    def _receive(self, process: "subprocess.Popen[bytes]", deadline: float) -> tuple[str, Any]:
        self._fill(process, HEADER.size, deadline)
        (size,) = HEADER.unpack_from(self._received)
        self._fill(process, HEADER.size + size, deadline)
        kind, value = marshal.loads(self._received[HEADER.size : HEADER.size + size])
        del self._received[: HEADER.size + size]
        return kind, value

    def _fill(self, process: "subprocess.Popen[bytes]", size: int, deadline: float) -> None:
        assert process.stdout is not None
        while len(self._received) < size:
            _wait(process.stdout.fileno(), select.POLLIN, deadline)
            more = os.read(process.stdout.fileno(), _READ)
            if not more:
                raise _Ended
            self._received += more

    def _end_of(self, process: "subprocess.Popen[bytes]") -> Exceeded:
        """Explain why the process has ended by itself."""
        try:
            status = process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return Died("fails unexpectedly: its process has closed its pipe")
        if status == -signal.SIGXCPU:
            return Exceeded(f"takes more than {self._cpu_seconds} s of processor time")
        if status == OUT_OF_MEMORY:
            return Exceeded(self._too_much_memory())
        cause = f"was killed by signal {-status}" if status < 0 else f"has ended with status {status}"
        return Died(f"fails unexpectedly: its process {cause}", is_crash=-status in _CRASHES)

    def _too_much_memory(self) -> str:
        return f"takes more than {self._memory_bytes} bytes of memory"


def _wait(descriptor: int, events: int, deadline: float) -> None:
    """Wait until a pipe is ready, or its other end is closed.

    Raises:
        TimeoutError: The deadline passed first.
    """
    poll = select.poll()
    poll.register(descriptor, events)
    if not poll.poll(max(deadline - time.monotonic(), 0) * 1_000):
        raise TimeoutError


@atexit.register
def kill_all() -> None:
    """Kill every process that is still working. Its thread may have been abandoned."""
    for isolated in list(_known):
        isolated.kill()

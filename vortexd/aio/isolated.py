"""Work in a process of its own, within bounds of memory and time: parsing and rendering that hostile input can make expensive.

In come the name of a module with a function `work`, and requests to it; out come the values that the function yields. Requests and values are
what `marshal` writes (text, numbers, lists, mappings), so nothing that comes back is ever executed. The calls block: use them in a thread.

The process starts with the first request and serves one request at a time. It is killed at its deadline, by `close`, and when the interpreter
exits. It ends by itself when its pipes are closed, so it never outlives the process that started it.
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
# The status of a process that ran out of memory.
OUT_OF_MEMORY = 3
# The parent's own search path. `-P` keeps the working directory out of it, which may be somebody else's.
_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from vortexd.aio.isolated_main import main; main(sys.argv[2:])"
_READ = 65_536
# A process that gets less than this share of a processor is as good as stuck.
_PATIENCE = 10
# From the end of a process's pipe to its end.
_GRACE = 5.0
# What a process gets for a fault of its own: it would get the same in the thread of whoever asked.
_CRASHES = frozenset(
    (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGSYS, signal.SIGTRAP)
)

_known: "weakref.WeakSet[Isolated]" = weakref.WeakSet()


class Unavailable(VortexdError):
    """No process can be started now: the machine, or the limits of this user, have none to spare."""


class Exceeded(VortexdError):
    """The work took more than it may, or failed. The text is the end of a sentence that begins with the work."""


class Died(Exceeded):
    """The process ended or got stuck for no reason that is known, as when the machine runs out of memory. Another one may do the work.

    Attributes:
        is_crash: The process was ended by a signal for a fault in its own code, which the work may have caused.
    """

    def __init__(self, reason: str, *, is_crash: bool = False) -> None:
        super().__init__(reason)
        self.is_crash = is_crash


class _Ended(Exception):
    """The process has closed its pipe."""


class Isolated:
    """One process for the `work` of one module, started when it is needed, and again after it was killed.

    Use it in one thread at a time.

    Args:
        module: Its full name. `work` takes a request and its content and yields values; while one is read the interpreter is held, so none should be large.
        memory_bytes: Address space that the process may take beyond what it has when it begins to work.
        cpu_seconds: Processor time of one request. By the clock a request may take ten times as long.
        command: What to start; by default this interpreter.
    """

    def __init__(self, module: str, memory_bytes: int, cpu_seconds: int, command: Sequence[str] | None = None) -> None:
        bounds = (module, str(memory_bytes), str(cpu_seconds))
        self._command = command or (sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), *bounds)
        self._memory_bytes = memory_bytes
        self._cpu_seconds = cpu_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._received = bytearray()
        self._is_over = False
        _known.add(self)

    def __enter__(self) -> "Isolated":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, request: Any, content: bytes = b"") -> Iterator[Any]:
        """Have a request worked at, and yield what comes of it. Whoever stops reading before the end kills the process.

        Args:
            content: What goes with the request and may be large; it isn't copied.

        Raises:
            Unavailable: No process can be started.
            Exceeded: The work took too much memory or processor time, or failed.
            Died: The process ended in another way, or missed the deadline. The next request starts another.
        """
        process = self._started()
        deadline = time.monotonic() + self._cpu_seconds * _PATIENCE
        is_over = False
        try:
            self._send(process, (marshal.dumps(request), content), deadline)
            while True:
                kind, value = self._receive(process, deadline)
                if kind == "value":
                    yield value
                    continue
                is_over = kind == "end"
                if is_over:
                    return
                raise Exceeded(self._too_much_memory() if kind == "memory" else f"fails unexpectedly: {value}")
        except _Ended:
            raise self._end_of(process) from None
        except TimeoutError:
            # Its own limit comes first, unless the machine gives it next to no processor time.
            raise Died(f"takes longer than {self._cpu_seconds * _PATIENCE} s") from None
        finally:
            if not is_over:
                self.close()

    def close(self) -> None:
        """Kill the process, if there is one. The next request starts another."""
        process, self._process = self._process, None
        self._received.clear()
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None  # both are ours
            pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)

    def kill(self) -> None:
        """End the process from another thread, for good: the one that waits for it is told that it has ended, and none is started again."""
        self._is_over = True
        if (process := self._process) is not None:
            process.kill()

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            if self._is_over:
                raise Unavailable("this program is ending")
            # glibc reserves address space for each thread that allocates, which would count.
            environment = os.environ | {"MALLOC_ARENA_MAX": "1"}
            try:
                self._process = subprocess.Popen(
                    self._command,
                    bufsize=0,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    # What an interpreter prints of an error may hold a value.
                    stderr=subprocess.DEVNULL,
                    env=environment,
                )
            except OSError as error:
                raise Unavailable(os.strerror(error.errno or 0)) from None
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None  # both are ours
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
        """Why a process has ended by itself."""
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
    """Wait until a pipe can be used, or its other end is closed.

    Raises:
        TimeoutError: The deadline has come before.
    """
    poll = select.poll()
    poll.register(descriptor, events)
    if not poll.poll(max(deadline - time.monotonic(), 0) * 1_000):
        raise TimeoutError


@atexit.register
def kill_all() -> None:
    """Kill every process that is still at work: its thread may have been abandoned."""
    for isolated in list(_known):
        isolated.kill()

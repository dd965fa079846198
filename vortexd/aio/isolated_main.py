"""The child process of `isolated`. It handles one request after the other, within limits that it sets for itself.

A separate thread reads the requests. So the process ends at once when its parent has closed the pipe.
"""

import importlib
import marshal
import os
import queue
import resource
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .isolated import HEADER, OUT_OF_MEMORY

_STDIN, _STDOUT = 0, 1
# The approximate address space of an interpreter, for machines that don't report it.
_ADDRESS_SPACE = 268_435_456
_Requests = queue.SimpleQueue[tuple[Any, bytes]]


def main(arguments: Sequence[str]) -> None:
    """Handle requests until the standard input ends.

    Args:
        arguments: The full name of a module with a function `work`, the limit of memory in bytes, and the limit of
            processor time for each request in seconds.
    """
    module, memory_bytes, cpu_seconds = arguments
    # Ctrl-C is meant for the parent process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work = importlib.import_module(module).work
    requests: _Requests = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, _address_space() + int(memory_bytes))
    try:
        while True:
            request, content = requests.get()
            used = resource.getrusage(resource.RUSAGE_SELF)
            # At the hard limit the system kills a process with SIGKILL. A second earlier, it sends SIGXCPU, which names the cause.
            _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + int(cpu_seconds), below=1)
            _serve(work, request, content)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def _serve(work: Callable[[Any, bytes], Iterable[Any]], request: Any, content: bytes) -> None:
    try:
        for value in work(request, content):
            _send("value", value)
        _send("end", None)
    except MemoryError:
        _send("memory", None)
    except Exception as error:  # noqa: BLE001  # the parent reports it with the file at fault
        # The text of an error may contain a value of the file.
        place = traceback.extract_tb(error.__traceback__)[-1]
        _send("fault", f"{type(error).__name__} in {os.path.basename(place.filename)}:{place.lineno}")


def _limit(kind: int, value: int, below: int = 0) -> None:
    """Set a limit. It stays at least `below` under the user's hard limit."""
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, max(hard - below, 0)), hard))


def _address_space() -> int:
    """Return the address space that this process has mapped already."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return _ADDRESS_SPACE


def _listen(requests: _Requests) -> None:
    try:
        while True:
            (size,) = HEADER.unpack(_read(HEADER.size))
            request = marshal.loads(_read(size))
            (size,) = HEADER.unpack(_read(HEADER.size))
            requests.put((request, bytes(_read(size))))
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def _read(size: int) -> bytearray:
    content = bytearray()
    while len(content) < size:
        more = os.read(_STDIN, min(size - len(content), 1_048_576))
        if not more:
            os._exit(0)
        content += more
    return content


def _send(kind: str, value: Any) -> None:
    try:
        content = marshal.dumps((kind, value))
        left = memoryview(HEADER.pack(len(content)) + content)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    while left:
        left = left[os.write(_STDOUT, left) :]

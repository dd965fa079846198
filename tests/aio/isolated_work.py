"""A module for the tests of `isolated`. Its function `work` behaves as its argument tells it."""

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any


class _NoMemory(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]  # a property, because reading it has to raise
        raise MemoryError


class Nameless(Exception, metaclass=_NoMemory):
    """Its name takes more memory than there is."""


def work(request: Any, content: bytes) -> Iterator[Any]:
    match request:
        case "echo":
            yield content
        case ["count", number]:
            yield from range(number)
        case "pid":
            yield os.getpid()
        case "arenas":
            yield os.environ["MALLOC_ARENA_MAX"]
        case "limits":
            kinds = (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_CORE)
            yield [resource.getrlimit(kind)[0] for kind in kinds]
        case "fill":
            filled = []
            while True:
                filled.append(bytearray(1_000_000))
        case ["burn", seconds]:
            while time.process_time() < seconds:
                pass
            yield "burnt"
        case ["large", size]:
            yield "x" * size
        case "spin":
            yield "begun"
            while True:
                pass
        case "sleep":
            time.sleep(60)
        case "fail":
            yield 1
            raise ValueError("hunter2")
        case "fail without memory to say so":
            raise Nameless
        case ["signal", number]:
            # Another thread could handle a signal to the process later. A signal to this thread takes effect at once.
            signal.pthread_kill(threading.get_ident(), number)
            yield "alive"
        case ["exit", status]:
            os._exit(status)
        case "hang up":
            os.close(1)
            signal.pause()

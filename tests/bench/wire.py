"""Compiles and runs the C programs of the benchmarks: `wire.c` has many clients in one thread, and the loop of send(2)."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import attrs

from . import compiler
from .compiler import CLIENT_CORE, SERVER_CORE, on_core

_SOURCE = Path(__file__).with_name("wire.c")


def build(directory: Path) -> Path:
    """Compile the programs into a directory. Returns the path; see `compiler.build`."""
    return compiler.build(_SOURCE, directory)


@attrs.frozen
class Reached:
    """When the first and the last client got a message, by time.monotonic(), and the bytes of its frame."""

    first: float
    last: float
    bytes: int


class Program:
    """One of the programs, running. Use it with `with`."""

    def __init__(self, arguments: Sequence[object], core: int) -> None:
        self._process = subprocess.Popen(
            [*on_core(core), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            text=True,
        )

    def send(self, line: str) -> None:
        """Give a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def answer(self) -> list[float]:
        """Return the numbers of the next answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("wire has ended; see its message")
        return [float(each) for each in line.split() if each != "connected"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


class Clients(Program):
    """C clients that are connected. `path` is None for the floor, which has no handshake.

    Attributes:
        seconds: The time that the connections took.
    """

    def __init__(self, program: Path, port: int, count: int, path: str | None, core: int = CLIENT_CORE) -> None:
        super().__init__([program, "clients", port, count, path or "-"], core)
        [self.seconds] = self.answer()

    def wait(self, text: str, seconds: float) -> None:
        """Begin to wait until a text has reached every client. Give the trigger after this."""
        self.send(f"wait {text} {seconds}")

    def reached(self) -> Reached:
        """Return the result of `wait`."""
        first, last, size, missing = self.answer()
        if missing:
            raise TimeoutError(f"{missing:.0f} clients were not reached")
        return Reached(first, last, int(size))

    def idle(self, seconds: float) -> int:
        """Answer heartbeats for so many seconds. Returns their number."""
        self.send(f"idle {seconds}")
        return int(self.answer()[0])


class Floor(Program):
    """The loop of send(2), with as many connections as it waits for."""

    def __init__(self, program: Path, count: int, core: int = SERVER_CORE) -> None:
        super().__init__([program, "floor", count], core)
        [port] = self.answer()
        self.port = int(port)

    def publish(self, text: str, size: int) -> tuple[float, float]:
        """Send a frame with this text to each connection. Returns the beginning and the processor's seconds."""
        self.send(f"{text} {size}")
        began, _, cpu = self.answer()
        return began, cpu

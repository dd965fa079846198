"""What a server must offer to be measured: how it is installed and started, and what a client says to it."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import attrs

from ...system.process import private_bytes
from ..compiler import SERVER_CORE, on_core

# Building may take this long, in seconds, and starting and stopping.
_INSTALL_SECONDS = 1200
_START_SECONDS = 60
_STOP_SECONDS = 10


class Unavailable(Exception):
    """A peer can't be installed or measured here. The text is the reason."""


@attrs.frozen
class Conversation:
    """What a client of clients.c says, and what it waits for.

    Attributes:
        hello: Sent after the handshake.
        ready: The client is open when a frame contains this. If it is empty, it is open after the handshake.
        ping: A message of the server that the client answers with `pong`.
    """

    path: str = "/"
    hello: str = ""
    ready: str = ""
    ping: str = ""
    pong: str = ""

    def arguments(self) -> list[str]:
        """Return the arguments of clients.c."""
        return [self.path, self.hello, self.ready, self.ping, self.pong]


class Running(ABC):
    """A server that runs. Use it with `with`."""

    port: int

    @abstractmethod
    def pids(self) -> list[int]:
        """Return its processes."""

    @abstractmethod
    def publish(self, text: str) -> None:
        """Send a text without blanks to all clients."""

    @abstractmethod
    def stop(self) -> None:
        """End it. Nothing is left running."""

    def private_bytes(self) -> int:
        """Return the private memory of its processes."""
        return sum(private_bytes(each) for each in self.pids())

    def cpu_seconds(self) -> float:
        """Return the processor time of its processes so far, in the kernel and outside."""
        # The number of a process's clock: clock_getcpuclockid(3). It counts nanoseconds, /proc/PID/stat hundredths of a second.
        return sum(time.clock_gettime((~each << 3) | 2) for each in self.pids())

    def descriptors(self) -> int:
        """Return the number of open files of its processes."""
        return sum(len(os.listdir(f"/proc/{each}/fd")) for each in self.pids())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Program(Running):
    """A server that is one command, with its output in `log`.

    Args:
        publish: Sends a text to all clients.
        directory: Where it runs. Its output is written there.
        processes: The command has started so many processes when the server is ready.
    """

    def __init__(
        self,
        command: Sequence[object],
        port: int,
        publish: Callable[[str], None],
        directory: Path,
        processes: int = 1,
    ) -> None:
        self.port = port
        self._processes = processes
        self._publish = publish
        self._log = directory / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*server_prefix(), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except ConnectionRefusedError:
                time.sleep(0.02)
            else:
                if len(self.pids()) >= self._processes:
                    return
                time.sleep(0.02)
        raise Unavailable(f"it didn't start: {last_line(self._log.read_text())}")

    def pids(self) -> list[int]:
        if self._process.poll() is not None:
            raise Unavailable(f"it ended: {last_line(self._log.read_text())}")
        found = [self._process.pid]
        for each in found:
            found += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
        return found

    def publish(self, text: str) -> None:
        self._publish(text)

    def stop(self) -> None:
        # A descriptor still means the same process when its number belongs to another one.
        left: list[int] = []
        try:
            with contextlib.suppress(Unavailable, OSError):
                left += map(os.pidfd_open, self.pids())
            self._process.terminate()
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            for each in left:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(each, signal.SIGKILL)
                os.close(each)
            self._process.kill()
            self._process.wait()


class Peer(ABC):
    """A server to measure."""

    name: str
    conversation = Conversation()

    @abstractmethod
    def install(self, cache: Path) -> str:
        """Install it into a directory of its own, if it isn't there yet. Returns its version.

        Raises:
            Unavailable: A tool is missing, or a step failed.
        """

    @abstractmethod
    def start(self, directory: Path, heartbeat: float) -> Running:
        """Start it in an empty directory. It sends a ping to each client every `heartbeat` seconds."""


def server_prefix() -> list[str]:
    """Return the start of the command of a server. It runs on its core, and gets SIGTERM if this process is killed."""
    return [*(["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []), *on_core(SERVER_CORE)]


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def tool(name: str) -> str:
    """Return the path of a program.

    Raises:
        Unavailable: It isn't installed.
    """
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"there is no {name}")
    return found


def step(command: Sequence[object], directory: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run one step of an installation. Returns its output.

    Raises:
        Unavailable: It failed, or took too long.
    """
    # The reason is for a person who reads the table: no paths of this machine.
    words = [str(each) for each in command]
    name = " ".join(Path(each).name if each.startswith("/") else each for each in words)
    process = subprocess.Popen(
        words,
        cwd=directory,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=_INSTALL_SECONDS)
    except BaseException as error:
        # A tool that builds has started others. They are all in the process group of its session.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise Unavailable(f"{name} took more than {_INSTALL_SECONDS} s") from None
        raise
    if process.returncode:
        raise Unavailable(f"{name} failed: {last_line(output)}")
    return output


def replace(path: Path, text: str) -> None:
    """Write a file, unless it has this content."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def post(port: int, path: str, body: str, headers: str = "") -> None:
    """Send a POST request as one segment, and wait for the response."""
    request = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), 20) as one:
        one.sendall((request + body).encode())
        answer = one.recv(4_096)
    if not answer.startswith(b"HTTP/1.1 2"):
        raise Unavailable(f"it didn't publish: {answer[:100]!r}")


def last_line(output: str) -> str:
    """Return the last line that has text."""
    return next((each.strip() for each in reversed(output.splitlines()) if each.strip()), "without a message")

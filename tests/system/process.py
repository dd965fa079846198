"""The real daemon as a separate process, for system tests and benchmarks."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

# Prepares a socket as systemd does before it starts a service.
_HAND_OVER = """
import os, sys
fd = int(sys.argv[1])
os.dup2(fd, 3) if fd != 3 else os.set_inheritable(3, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])
"""


def private_bytes(pid: int | str) -> int:
    """Return the private memory of a process: Private_Dirty + Private_Clean of all mappings."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * sum(int(kib) for kib in re.findall(r"^Private_(?:Dirty|Clean):\s+(\d+)", rollup, re.MULTILINE))


class Server:
    """A running vortexd on a free port of 127.0.0.1, serving a directory. Use it with `with`.

    Args:
        settings: The text of a vortexd.toml, instead of the command line.
        listening: A socket to pass on as systemd does.
        environment: Variables beside those of this process.
        prefix: A command that runs it, such as prlimit.
    """

    # The module to run; a benchmark replaces it.
    module = "vortexd"
    # Seconds until it must be ready; a benchmark with a large tree needs more.
    ready_within = 60.0

    def __init__(
        self,
        source: Path,
        *arguments: str,
        settings: str = "",
        listening: socket.socket | None = None,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        command = [*prefix, *self.command()]
        if listening is not None:
            command = [sys.executable, "-c", _HAND_OVER, str(listening.fileno()), *command]
        if settings:
            path = source.parent / "vortexd.toml"
            path.write_text(settings)
            command += ["--config", str(path)]
        else:
            command += ["--source", str(source), "--bind", "127.0.0.1:0"]
        self._log = open(source.parent / "vortexd.log", "w+")  # noqa: SIM115 - closed in stop
        began = time.monotonic()
        self.process = subprocess.Popen(
            [*command, "--log-format", "json", *arguments],
            stdout=self._log,
            stderr=self._log,
            text=True,
            pass_fds=[listening.fileno()] if listening is not None else [],
            # A settings file would let it use the state directory of the user who runs the tests.
            env={**os.environ, "XDG_STATE_HOME": str(source.parent / "state"), **(environment or {})},
        )
        try:
            self.port = self._wait_ready()
        except BaseException:
            self.process.kill()
            self.process.wait(10)
            self._log.close()
            raise
        self.seconds_to_ready = time.monotonic() - began

    @classmethod
    def command(cls) -> list[str]:
        """Return the command that starts it, without arguments."""
        return [sys.executable, "-m", cls.module]

    def _wait_ready(self) -> int:
        deadline = time.monotonic() + self.ready_within
        while time.monotonic() < deadline:
            found = re.search(r'"ready".*https?://[\d.]+:(\d+)|https?://[\d.]+:(\d+).*"ready"', self.output())
            if found:
                return int(found[1] or found[2])
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        raise RuntimeError(f"vortexd did not start:\n{self.output()}")

    def output(self) -> str:
        """Return its whole output so far."""
        return Path(self._log.name).read_text()

    def private_bytes(self) -> int:
        """Return its private memory: Private_Dirty + Private_Clean of all mappings."""
        return private_bytes(self.process.pid)

    def cpu_seconds(self) -> float:
        """Return the processor time of all threads so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cpu_nanoseconds(self) -> int:
        """Return the processor time of the threads that run now."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((each / "schedstat").read_text().split()[0]) for each in tasks)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 35.0) -> int:
        """Send a signal, wait for the end, and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout)
        self._log.close()
        return status

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        if not self._log.closed:
            self._log.close()

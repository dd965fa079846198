"""vortexd itself, with the optional module in C and without it. The rename of a file publishes."""

import contextlib
import platform
import subprocess
from pathlib import Path

from vortexd.aio.native import VARIABLE

from ...system.process import Server
from .base import Conversation, Peer, Running, Unavailable, server_prefix, step

# The default. A heartbeat with a shorter interval waits for it.
_TIMEOUT = 10.0
_SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
# Otherwise vortexd tidies that of the person who runs this.
state_directory = "{directory}/state"
[realtime]
heartbeat_interval = {heartbeat}
heartbeat_timeout = {timeout}
[[source]]
path = "{source}"
"""


class Vortexd(Peer):
    name = "vortexd"
    conversation = Conversation("/ws/billing/prod", ready='"type":"config_snapshot"')
    # What `--version` says about how it writes to sockets, and the value of the variable with which it says so.
    sockets = "native"
    variable = "on"

    def install(self, cache: Path) -> str:
        found = step([*Server.command(), "--version"], Path.cwd(), {VARIABLE: self.variable})
        if f"sockets: {self.sockets}" not in found:
            raise Unavailable("vortexd-native isn't installed")
        return f"{found.split()[1]}, {platform.python_implementation()} {platform.python_version()}"

    def start(self, directory: Path, heartbeat: float) -> "Daemon":
        return Daemon(directory, heartbeat, {VARIABLE: self.variable})


class PureVortexd(Vortexd):
    name = "vortexd without vortexd-native"
    sockets = "python"
    variable = "off"


class Daemon(Running):
    """A vortexd that serves one file."""

    def __init__(self, directory: Path, heartbeat: float, environment: dict[str, str]) -> None:
        self._source = directory / "config"
        self._source.mkdir()
        self.publish("first")
        timeout = min(_TIMEOUT, heartbeat / 2)
        settings = _SETTINGS.format(heartbeat=heartbeat, timeout=timeout, directory=directory, source=self._source)
        self._server = Server(self._source, settings=settings, environment=environment, prefix=server_prefix())
        self.port = self._server.port

    def pids(self) -> list[int]:
        return [self._server.process.pid]

    def publish(self, text: str) -> None:
        temporary = self._source / ".billing.tmp"
        temporary.write_text(f"name: {text}\n")
        temporary.rename(self._source / "billing.yml")

    def stop(self) -> None:
        # The server ends at the end of the block, whatever happens.
        with self._server, contextlib.suppress(subprocess.TimeoutExpired):
            self._server.stop()

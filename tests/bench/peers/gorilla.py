"""Go with gorilla/websocket."""

from pathlib import Path

from . import go
from .base import Peer, Program, free_port, post, step

_VERSION = "v1.5.3"


class Gorilla(Peer):
    name = "gorilla"

    def install(self, cache: Path) -> str:
        source = Path(__file__).with_name("gorilla.go")
        self._program = go.build(source, "github.com/gorilla/websocket", _VERSION, cache)
        return f"{_VERSION}, {step(['go', 'env', 'GOVERSION'], cache).strip()}"

    def start(self, directory: Path, heartbeat: float) -> Program:
        port = free_port()
        return Program([self._program, port, heartbeat], port, lambda text: post(port, "/", text), directory)

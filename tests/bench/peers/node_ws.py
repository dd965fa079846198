"""Node.js with the package ws."""

import json
import shutil
from pathlib import Path

from .base import Peer, Program, free_port, post, step, tool

_VERSION = "8.23.0"


class NodeWs(Peer):
    name = "node ws"

    def install(self, cache: Path) -> str:
        node = tool("node")
        package = cache / "node_modules/ws/package.json"
        if not package.exists() or json.loads(package.read_text())["version"] != _VERSION:
            step([tool("npm"), "install", "--no-save", "--prefix", cache, f"ws@{_VERSION}"], cache)
        shutil.copy(Path(__file__).with_name("node_ws.js"), cache / "server.js")
        self._command = [node, cache / "server.js"]
        return f"{_VERSION}, node {step([node, '--version'], cache).strip()}"

    def start(self, directory: Path, heartbeat: float) -> Program:
        port = free_port()
        return Program([*self._command, port, heartbeat], port, lambda text: post(port, "/", text), directory)

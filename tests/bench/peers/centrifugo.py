"""Centrifugo, with one channel in memory."""

import json
from pathlib import Path

from . import go
from .base import Conversation, Peer, Program, free_port, post

_VERSION = "v6.9.1"


class Centrifugo(Peer):
    name = "Centrifugo"
    conversation = Conversation(
        "/connection/websocket",
        hello='{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"news"}}',
        ready='"id":2,"subscribe"',
        ping="{}",
        pong="{}",
    )

    def install(self, cache: Path) -> str:
        self._program = go.install("github.com/centrifugal/centrifugo/v6", _VERSION, cache)
        return _VERSION

    def start(self, directory: Path, heartbeat: float) -> Program:
        port = free_port()
        settings = {
            "http_server": {"address": "127.0.0.1", "port": port},
            "http_api": {"insecure": True},
            "log": {"level": "error"},
            "client": {
                "insecure": True,
                "ping_interval": f"{heartbeat}s",
                "pong_timeout": f"{heartbeat / 2}s",
            },
            "channel": {"without_namespace": {"allow_subscribe_for_client": True}},
        }
        (directory / "config.json").write_text(json.dumps(settings))

        def publish(text: str) -> None:
            body = json.dumps({"channel": "news", "data": text})
            post(port, "/api/publish", body, "Content-Type: application/json\r\n")

        return Program([self._program, "--config", directory / "config.json"], port, publish, directory)

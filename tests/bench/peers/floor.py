"""The floor: a C program with a loop of accept and a loop of send."""

from pathlib import Path

from ..compiler import NoCompiler, build
from .base import Conversation, Peer, Program, Unavailable, free_port, post, step


class Floor(Peer):
    name = "C loop"
    conversation = Conversation()

    def install(self, cache: Path) -> str:
        try:
            self._program = build(Path(__file__).with_name("floor.c"), cache)
        except NoCompiler as error:
            raise Unavailable(str(error)) from None
        return "cc " + step(["cc", "-dumpfullversion"], cache).strip()

    def start(self, directory: Path, heartbeat: float) -> Program:
        port = free_port()
        return Program([self._program, port, heartbeat], port, lambda text: post(port, "/", text), directory)

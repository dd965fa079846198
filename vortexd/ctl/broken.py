"""Warns while a watched configuration reads broken files, is pinned, or is held back by the gate.

The server's answers about the configuration arrive, one now and then. A warning leaves each time other files are broken, and
each time that a pin or a label of the gate is another.
"""

import sys
from collections.abc import Callable

import trio

from ..aio import threads
from .conditions import sentences
from .configuration import warn
from .errors import CtlError
from .server import Answer, Refused

# Seconds between two requests.
INTERVAL = 5.0
HEADER = "x-vortex-broken"


class BrokenFiles:
    """Knows which files of one configuration are broken, and whether it is pinned or held back.

    Args:
        ask: Asks the server for the configuration, without its document. It blocks.
    """

    def __init__(self, ask: Callable[[], Answer]) -> None:
        self._ask = ask
        self._named = ""
        self._conditions: list[str] = []

    def note(self, answer: Answer) -> None:
        """Print a warning if an answer names other files, another pin or another held-back state than the one before it."""
        named = answer.headers.get(HEADER, "")
        if named and named != self._named:
            warn(
                f"this configuration holds old content or lacks a file, because files on the server are broken: {named}"
            )
        elif self._named and not named:
            print("vortexctl: no file of this configuration is broken any more", file=sys.stderr)
        self._named = named
        now = [*sentences(answer.headers)]
        for sentence in now:
            if sentence not in self._conditions:
                warn(sentence)
        if self._conditions and not now:
            print("vortexctl: this configuration is neither pinned nor held back any more", file=sys.stderr)
        self._conditions = now

    async def run(self) -> None:
        """Ask again and again. Return if the token may not read the configuration."""
        while True:
            await trio.sleep(INTERVAL)
            try:
                answer = await threads.run_sync(self._ask, abandon_on_cancel=True)
            except Refused as error:
                if error.code in (401, 403):
                    return
            except CtlError:
                pass  # the client prints that the server can't be reached
            else:
                self.note(answer)

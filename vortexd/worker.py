"""One of several workers: what `supervisor.py` starts as `python -m vortexd.worker`. A whole daemon, on sockets that were bound for it.

It ends when its supervisor says so, or is gone; SIGTERM and SIGINT are the supervisor's, so that a terminal's Ctrl-C and a `kill` of the whole
group begin one drain and not two.
"""

import os
import pickle
import signal
import socket
import sys
from collections.abc import MutableMapping

import attrs
import orjson
import structlog

from .peers import Seat
from .settings import Settings
from .source.composite import state_directory
from .supervisor import VARIABLE


@attrs.frozen
class Post:
    """What a worker is told.

    Attributes:
        listening: The sockets to accept from.
        settings: Those of the supervisor.
    """

    seat: Seat
    listening: tuple[socket.socket, ...]
    settings: Settings

    def own(self, settings: Settings) -> Settings:
        """Settings as they are for this worker: a state directory of its own, and its part of the connections.

        The first one has that of a daemon that is alone, so that mirrors survive a change of the number.
        """
        server = settings.server
        directory = state_directory(server.state_directory, os.environ)
        return attrs.evolve(
            settings,
            server=attrs.evolve(
                server,
                state_directory=str(directory / f"worker-{self.seat.number}" if self.seat.number else directory),
                connections=-(-server.connections // self.seat.count),
            ),
        )


def take_post(environment: MutableMapping[str, str]) -> Post:
    """Take what the supervisor has left, out of the environment and of open descriptors.

    Raises:
        KeyError: There is no supervisor.
    """
    told = orjson.loads(environment.pop(VARIABLE))
    for fd in (*told["listening"], told["link"]):
        os.set_inheritable(fd, False)
    with open(told["settings"], "rb") as file:
        # By our own supervisor, through memory that nobody else has.
        settings = pickle.load(file)
    seat = Seat(told["number"], told["count"], socket.socket(fileno=told["link"]), told["watchdog"])
    return Post(seat, tuple(socket.socket(fileno=fd) for fd in told["listening"]), settings)


def main() -> int:
    """Run a worker, and return its exit status."""
    from . import cli

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    try:
        post = take_post(os.environ)
    except KeyError:
        print("vortexd: error: a worker is started by vortexd; see server.workers", file=sys.stderr)
        return 2
    structlog.contextvars.bind_contextvars(worker=post.seat.number)
    return cli.work(sys.argv[1:], post)


if __name__ == "__main__":
    sys.exit(main())

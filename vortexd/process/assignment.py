"""What a supervisor hands to each worker that it starts: its number, its sockets, the link to the others and the settings."""

import os
import pickle
import socket
from collections.abc import MutableMapping

import attrs
import orjson

from ..settings.sections import Settings
from ..settings.state_directory import state_directory
from .peers import WorkerSlot
from .supervisor import VARIABLE


@attrs.frozen
class WorkerAssignment:
    """What a worker is told.

    Attributes:
        listening: The sockets to accept from.
        settings: Those of the supervisor.
    """

    slot: WorkerSlot
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
                state_directory=str(directory / f"worker-{self.slot.number}" if self.slot.number else directory),
                connections=-(-server.connections // self.slot.count),
            ),
        )


def take_assignment(environment: MutableMapping[str, str]) -> WorkerAssignment:
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
    slot = WorkerSlot(told["number"], told["count"], socket.socket(fileno=told["link"]), told["watchdog"])
    return WorkerAssignment(slot, tuple(socket.socket(fileno=fd) for fd in told["listening"]), settings)

"""The data that a supervisor passes to each worker: its number, its sockets, the link to the supervisor, and the settings."""

import os
import pickle
import socket
from collections.abc import Mapping, MutableMapping, Sequence

import attrs
import orjson

from ..settings.root import Settings
from ..settings.state_directory import state_directory
from .peers import WorkerSlot

# The environment variable with the data for a worker.
VARIABLE = "VORTEXD_WORKER"


@attrs.frozen
class WorkerAssignment:
    """The data that a worker receives from its supervisor.

    Attributes:
        listening: The sockets that the worker accepts connections from.
        settings: The settings of the supervisor.
    """

    slot: WorkerSlot
    listening: tuple[socket.socket, ...]
    settings: Settings

    def own(self, settings: Settings) -> Settings:
        """Return the settings of this worker: its own state directory, and its share of the connections.

        The first worker has the state directory of a single daemon. So mirrors survive a change of the number of workers.
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


def encode(values: Mapping[str, object], fds: Sequence[int]) -> str:
    """Encode an assignment for the environment of a worker.

    Args:
        values: The number of the worker, the count of workers, and the seconds of the watchdog.
        fds: The descriptors of the link, of the settings, and of the listening sockets, in this order.
    """
    link, settings, *listening = fds
    return orjson.dumps({**values, "link": link, "settings": settings, "listening": listening}).decode()


def take_assignment(environment: MutableMapping[str, str]) -> WorkerAssignment:
    """Take the supervisor's data from the environment and from inherited descriptors.

    Raises:
        KeyError: There is no supervisor.
    """
    assigned = orjson.loads(environment.pop(VARIABLE))
    for fd in (*assigned["listening"], assigned["link"]):
        os.set_inheritable(fd, False)
    with open(assigned["settings"], "rb") as file:
        # The supervisor wrote this data, and no other process can change it.
        settings = pickle.load(file)
    slot = WorkerSlot(
        assigned["number"], assigned["count"], socket.socket(fileno=assigned["link"]), assigned["watchdog"]
    )
    return WorkerAssignment(slot, tuple(socket.socket(fileno=fd) for fd in assigned["listening"]), settings)

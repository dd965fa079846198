"""A lot and sockets that a test controls, for the parts of the parking lot."""

import os
from array import array
from collections.abc import Callable, Sequence
from typing import Any, cast

from tests.fakes import KEY
from vortexd.core.model import Key
from vortexd.protocol.close import CloseReason
from vortexd.realtime.forms import Form, web_socket_form
from vortexd.realtime.parked import Parked, Subscriptions
from vortexd.realtime.versions import Versions
from vortexd.settings.realtime import RealtimeSettings


class FakeAdmission:
    """The rights of one client."""

    def __init__(self, principal: object, *, is_allowed: bool = True) -> None:
        self.principal = principal
        self.is_allowed = is_allowed
        self.asked = 0

    def may(self, right: object, where: object) -> bool:
        self.asked += 1
        return self.is_allowed


ANYBODY = object()


class FakeLot:
    """Holds connections without sockets; the descriptors are only numbers.

    Attributes:
        woken: The connections that were woken, with the arguments.
        ended: The connections that were ended or closed.
        leaving: Called with each connection that leaves.
    """

    def __init__(self) -> None:
        self.parked: dict[int, Parked] = {}
        self.leaving: Callable[[Parked], None] = lambda _: None
        self.woken: list[tuple[Parked, bytes, bytes, Sequence[Key]]] = []
        self.ended: list[tuple[Parked, CloseReason]] = []
        self.closed: list[tuple[Parked, CloseReason]] = []
        self.settings = RealtimeSettings()

    def add(
        self,
        version: str = "1",
        *,
        key: Key = KEY,
        fd: int | None = None,
        window_bits: int | None = None,
        form: Form | None = None,
        admission: Any = None,
        next_ping: float = 0.0,
        settings: RealtimeSettings | None = None,
        more: Subscriptions | None = None,
    ) -> Parked:
        """Park a connection."""
        nothing = cast(Any, None)
        fd = 100 + len(self.parked) if fd is None else fd
        admission = admission or FakeAdmission(ANYBODY)
        versions = Versions({key: version}) if more is not None else version
        made = Parked(
            *(nothing, fd, key, versions, admission, form or web_socket_form(window_bits), nothing, next_ping),
            settings or self.settings,
            more,
        )
        self.parked[fd] = made
        return made

    def parked_at(self, fd: int) -> Parked | None:
        return self.parked.get(fd)

    def __contains__(self, parked: Parked) -> bool:
        return self.parked.get(parked.fd) is parked

    def wake(self, parked: Parked, received: bytes = b"", unsent: bytes = b"", missed: Sequence[Key] = ()) -> object:
        self._leave(parked)
        self.woken.append((parked, received, unsent, missed))
        return None

    def _leave(self, parked: Parked) -> None:
        del self.parked[parked.fd]
        self.leaving(parked)

    def close(self, parked: Parked, reason: CloseReason) -> None:
        self._leave(parked)
        self.closed.append((parked, reason))

    def end(self, parked: Parked, reason: CloseReason) -> None:
        self._leave(parked)
        self.ended.append((parked, reason))


class FakeSockets:
    """Sockets by their descriptors.

    Attributes:
        results: The result of a write, for the descriptors that don't take a whole frame.
        waiting: The data to be received by descriptor. A pong is PONG.
        writes: The calls: descriptors and frame.
    """

    name = "fake"

    def __init__(self) -> None:
        self.results: dict[int, int] = {}
        self.waiting: dict[int, bytes] = {}
        self.writes: list[tuple[list[int], bytes]] = []

    def write_all(self, descriptors: "list[int] | array[int]", frame: bytes) -> list[tuple[int, int]]:
        self.writes.append((list(descriptors), bytes(frame)))
        return [(index, self.results[fd]) for index, fd in enumerate(descriptors) if fd in self.results]

    def write(self, descriptor: int, data: bytes, /) -> int:
        return os.write(descriptor, data)

    def receive(self, descriptor: int, /) -> bytes | None:
        return self.waiting.pop(descriptor, None)

    def receive_pongs(self, descriptors: list[int], most: int) -> tuple[int, int, list[tuple[int, bytes | None]]]:
        exceptions: list[tuple[int, bytes | None]] = []
        taken = size = others = 0
        for index, fd in enumerate(descriptors):
            if others == most:
                break
            taken += 1
            data = self.waiting.pop(fd, None)
            if data == PONG:
                size += len(PONG)
            else:
                exceptions.append((index, data))
                others += data is not None
        return taken, size, exceptions


PONG = b"\x8a\x80\0\0\0\0"

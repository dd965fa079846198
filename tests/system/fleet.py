"""Recording WebSocket clients of a real process: they follow, resume, reconnect by themselves, and record every message.

All records become one history, which `tests.pipeline_runs.history.check` compares with the promises of the protocol.
"""

import contextlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import trio
from wsproto.events import CloseConnection, Ping, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from tests.fakes import Client
from tests.pipeline_runs.history import SENT_ON, STATES, VALIDATORS, Event, Publisher, Recorder, Validator, check

_RETRY = 0.02
# A proxy may name the node in this header of the answer to a handshake.
NODE_HEADER = b"vortexd-node"


class Fleet:
    """The clients of one server, which may stop and restart on the same port.

    Args:
        nursery: The nursery in which they run.
        host: The server's host.
        port: The server's port.
        patience: Seconds until a client gives up a connection that has brought no state.
    """

    def __init__(self, nursery: trio.Nursery, port: int, host: str = "127.0.0.1", patience: float = math.inf) -> None:
        self.history: list[Event] = []
        self.publisher = Publisher(self.history.append, trio.current_time)
        self.followers: list[Follower] = []
        self._nursery = nursery
        self.address = host, port
        self.patience = patience
        self.is_over = False

    def follow(self, key: str, count: int = 1) -> "list[Follower]":
        """Start this many further clients that follow `application:profile:label`."""
        new = [Follower(self, f"client {len(self.followers) + number}", key) for number in range(count)]
        self.followers += new
        for follower in new:
            self._nursery.start_soon(follower.run)
        return new

    def publishing(self, documents: Mapping[str, object]) -> None:
        """Set the expected document of each key, before the file is written."""
        self.publisher.publishing(documents)

    async def wait_all(self, documents: Mapping[str, object], seconds: float = 20) -> None:
        """Wait until every client has the expected document of its key."""
        with trio.fail_after(seconds):
            await wait_until(
                lambda: all(each.document == documents.get(each.key) and each.version for each in self.followers)
            )

    async def wait_answered(self, seconds: float = 10) -> None:
        """Wait until no client has opened a connection and has no state on it yet. A history must not end in between.

        If the time is over, `stop` names the clients that have no state.
        """
        with trio.move_on_after(seconds):
            await wait_until(lambda: not any(each.is_unanswered for each in self.followers))

    def stop(self, validators: Iterable[Validator] = VALIDATORS) -> None:
        """Stop all clients, and compare their records with the promises of the protocol."""
        self.is_over = True
        for follower in self.followers:
            follower.scope.cancel()
        violations = check(self.history, validators)
        assert not violations, "\n".join(map(str, violations[:10]))


class Follower:
    """One client.

    Attributes:
        claims_generation: Whether it sends the generation of its state with each handshake, as the protocol asks.
    """

    def __init__(self, fleet: Fleet, name: str, key: str) -> None:
        self._fleet = fleet
        self.key = key
        self.recorder = Recorder(fleet.history.append, trio.current_time, name, key)
        self.scope = trio.CancelScope()
        self.connections = 0
        self.is_unanswered = False
        self.claims_generation = True
        # Whether it was sent on since its last state, and the seconds until it may come back.
        self._is_sent_on = False
        self._pause = 0.0
        self._connection = trio.CancelScope()
        self.closes: list[int] = []
        self.messages = 0

    @property
    def version(self) -> str | None:
        return self.recorder.version

    @property
    def document(self) -> Any:
        return self.recorder.documents.get(self.key)

    def hang_up(self) -> None:
        """Drop the connection without a close frame. The client then reconnects."""
        self._connection.cancel()

    async def run(self) -> None:
        """Follow until the fleet is stopped."""
        with self.scope:
            while not self._fleet.is_over:
                with contextlib.suppress(OSError, trio.BrokenResourceError, RemoteProtocolError):
                    with trio.CancelScope() as self._connection:
                        await self._follow()
                await trio.sleep(max(self._pause, _RETRY))
                self._pause = 0.0

    async def _follow(self) -> None:
        version, generation = self.version, self.recorder.generation if self.claims_generation else None
        async with await trio.open_tcp_stream(*self._fleet.address) as stream:
            client = Client(stream, self._target(version, generation))
            # The answer may be newer than the state at the time of the request, but never older.
            self.recorder.opened(version, generation)
            self.is_unanswered = True
            await stream.send_all(client.head())
            try:
                with trio.CancelScope(deadline=trio.current_time() + self._fleet.patience) as waiting:
                    answer = await client.opened()
                    self.recorder.answered(dict(answer.extra_headers).get(NODE_HEADER, b"").decode())
                    self.connections += 1
                    await self._read(client, waiting)
            except AssertionError:
                pass  # refused: it is starting or stopping
            finally:
                self.is_unanswered = False
                self.recorder.closed()

    def _target(self, version: str | None, generation: str | None) -> str:
        application, profile, label = self.key.split(":")
        query = {"last_version": version, "generation": generation, "sent_on": "1" if self._is_sent_on else None}
        return f"/ws/{application}/{profile}?label={label}" + "".join(
            f"&{name}={value}" for name, value in query.items() if value
        )

    async def _read(self, client: Client, waiting: trio.CancelScope) -> None:
        """Read until the end. Once there is a state, `waiting` has no deadline any more."""
        parts: list[str] = []
        while True:
            match await client.event():
                case TextMessage(data=data, message_finished=is_finished):
                    parts.append(data)
                    if is_finished:
                        self._take(json.loads("".join(parts)), waiting)
                        parts.clear()
                case Ping() as ping:
                    # If the server's close frame arrived together with the ping, no pong can follow.
                    with contextlib.suppress(LocalProtocolError):
                        await client.send_event(ping.response())
                case CloseConnection(code=code) as close:
                    self.closes.append(int(code))
                    if code != 1006:
                        with contextlib.suppress(LocalProtocolError):
                            await client.send_event(close.response())
                    return

    def _take(self, message: dict[str, Any], waiting: trio.CancelScope) -> None:
        kind = self.recorder.received(message)
        self.messages += 1
        if kind in STATES:
            self.is_unanswered = self._is_sent_on = False
            waiting.deadline = math.inf
        elif kind == SENT_ON:
            self._is_sent_on = True
            self._pause = message["reconnect_after_ms"] / 1_000


async def wait_until(is_true: Callable[[], object]) -> None:
    """Wait for an effect of another process."""
    while not is_true():  # noqa: ASYNC110
        await trio.sleep(0.005)


def save(path: Path, text: str) -> None:
    """Replace a file by rename."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.rename(path)

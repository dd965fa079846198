"""Measures one server: with connections, a message to all of them, and all of them coming back; or idle with heartbeats."""

import contextlib
import queue
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs

from ..compiler import CLIENT_CORE, on_core
from .base import Conversation, Peer, Running, Unavailable
from .figures import Sample, heartbeats, windows

# So many connections are made at the same time to measure handshakes.
_TOGETHER = 64
# A message, its frame included.
MESSAGE_BYTES = 300
# So many messages to each number of clients count, after one that doesn't.
_MESSAGES = 5
# So many clients connect before the first figure. A server that loads code for its first client has done so then.
_FIRST = 100
# No answer of the clients may take longer, in seconds.
_ANSWER_SECONDS = 60
# A server is left alone for so long, in seconds, before a figure, and after the last client was reached.
_PAUSE = 0.3
_SETTLING = 0.05
# With fewer heartbeats in an interval, the figure would be that of something else.
_FEWEST_HEARTBEATS = 0.7
# What ends the measurement of one server, and not the benchmark.
FAILURES = (Unavailable, OSError, RuntimeError)
# No heartbeat within a visit.
_NEVER = 3_600.0


@attrs.frozen
class Sizes:
    """How many clients there are.

    Attributes:
        idle: For the memory of idle connections and the handshakes. As many come back at once.
        few, many: For messages.
        beating: For heartbeats.
        heartbeat: Seconds between two heartbeats of an idle client.
    """

    idle: int = 5_000
    few: int = 1_000
    many: int = 9_000
    beating: int = 10_000
    heartbeat: float = 30.0

    def most(self) -> int:
        """Return how many clients are connected to one server at the most."""
        return max(self.idle, self.few, self.many, self.beating)


QUICK = Sizes(idle=300, few=100, many=300, beating=300, heartbeat=6.0)


class Clients:
    """Clients in C of one server, on the core of the clients. Use it with `with`.

    Args:
        program: That of clients.c.
    """

    def __init__(self, program: Path, port: int, conversation: Conversation) -> None:
        command = [*on_core(CLIENT_CORE), str(program), str(port), *conversation.arguments()]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._answers: queue.Queue[str] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _ended(self) -> Unavailable:
        assert self._process.stderr is not None
        return Unavailable(f"the clients ended: {self._process.stderr.read().strip()}")

    def _answer(self) -> list[float]:
        try:
            line = self._answers.get(timeout=_ANSWER_SECONDS)
        except queue.Empty:
            raise Unavailable(f"not all clients were answered in {_ANSWER_SECONDS} s") from None
        if not line:
            raise self._ended()
        return [float(each) for each in line.split()]

    def open(self, count: int, together: int = _TOGETHER) -> tuple[float, float]:
        """Connect until `count` are open. Returns the seconds, and how many were refused."""
        self._say(f"open {count} {together}")
        seconds, refused = self._answer()
        return seconds, refused

    def expect(self, text: str) -> None:
        """Wait for a message from now on. Send it after this."""
        self._say(f"wait {text}")
        self._answer()

    def reached(self) -> tuple[float, float, int]:
        """Return when the expected message reached the first and the last client, by time.monotonic(), and its bytes."""
        first, last, size = self._answer()
        return first, last, int(size)

    def pongs(self) -> float:
        """Return how many heartbeats were answered so far."""
        self._say("pongs")
        return self._answer()[0]

    def close(self) -> None:
        """Close all connections."""
        self._say("close")
        self._answer()

    def __enter__(self) -> "Clients":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        for each in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert each is not None
            # What was written and not read is lost.
            with contextlib.suppress(BrokenPipeError):
                each.close()


def visit(peer: Peer, program: Path, sizes: Sizes) -> Sample:
    """Start a server, measure everything but heartbeats, and end it."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        server = stack.enter_context(peer.start(Path(directory), _NEVER))
        clients = stack.enter_context(Clients(program, server.port, peer.conversation))
        time.sleep(_PAUSE)
        descriptors = server.descriptors()
        idle = _connect(server, clients, sizes.idle)
        _leave(server, clients, descriptors)
        few = _send(server, clients, sizes.few, "few")
        many = _send(server, clients, sizes.many, "many")
        _leave(server, clients, descriptors)
        return Sample(*idle, *few, *many, *clients.open(sizes.idle, sizes.idle))


def _connect(server: Running, clients: Clients, count: int) -> tuple[float, float, float]:
    """Return the memory of each connection, handshakes per second, and the processor time of each."""
    clients.open(_FIRST)
    time.sleep(_PAUSE)
    memory, cpu = server.private_bytes(), server.cpu_seconds()
    seconds, _ = clients.open(count)
    cpu = server.cpu_seconds() - cpu
    time.sleep(_PAUSE)
    more = count - _FIRST
    return (server.private_bytes() - memory) / more, more / seconds, cpu / more


def _send(server: Running, clients: Clients, count: int, name: str) -> tuple[float, float, float]:
    """Return the medians of spread, time from the trigger to the last client, and processor time of one message to one client.

    Args:
        name: Each message contains it. A client that has just connected may receive the last message before it.
    """
    clients.open(count)
    results, padding = [], 0
    for number in range(1 + _MESSAGES):
        time.sleep(_PAUSE)
        text = f"{name}{number:04}"
        clients.expect(text)
        cpu, began = server.cpu_seconds(), time.monotonic()
        server.publish(text + "x" * padding)
        first, last, size = clients.reached()
        time.sleep(_SETTLING)
        if number == 0:
            padding = max(0, MESSAGE_BYTES - size)
        else:
            results.append((last - first, last - began, (server.cpu_seconds() - cpu) / count))
    spread, whole, each = (statistics.median(values) for values in zip(*results, strict=True))
    return spread, whole, each


def _leave(server: Running, clients: Clients, descriptors: int) -> None:
    """Close all clients, and wait until the server has noticed."""
    clients.close()
    deadline = time.monotonic() + _ANSWER_SECONDS
    while server.descriptors() > descriptors:
        if time.monotonic() > deadline:
            raise Unavailable("it keeps connections that its clients have closed")
        time.sleep(0.02)
    time.sleep(_PAUSE)


def idle(
    peers: Sequence[Peer], program: Path, sizes: Sizes, count: int, fail: Callable[[Peer, Exception], None]
) -> dict[str, list[float]]:
    """Return for each server the shares of a core that it takes with idle clients and heartbeats, in `count` windows.

    All servers run side by side, since each is busy for a small share only. A window is one interval of the heartbeats, so
    that each client gets one in it.

    Args:
        fail: Called with a server that can't be measured, and the reason.
    """
    with ExitStack() as stack:
        idles = []
        for peer in peers:
            try:
                idles.append(_Idle(peer, program, sizes, stack))
            except FAILURES as error:
                fail(peer, error)
        # What follows handshakes, such as a garbage collection, is over after this.
        time.sleep(min(5.0, sizes.heartbeat))
        began = time.monotonic()
        for number in range(count + 2):
            time.sleep(max(0.0, began + number * sizes.heartbeat / 2 - time.monotonic()))
            for each in list(idles):
                try:
                    each.read()
                except FAILURES as error:
                    fail(each.peer, error)
                    idles.remove(each)
        shares = {}
        for each in idles:
            found = heartbeats(each.pongs, sizes.beating)
            if found < _FEWEST_HEARTBEATS:
                fail(each.peer, Unavailable(f"its clients got {found:.2f} heartbeats in each interval"))
            else:
                shares[each.peer.name] = windows(each.readings, sizes.heartbeat)
    return shares


class _Idle:
    """A server with idle clients. The stack ends them."""

    def __init__(self, peer: Peer, program: Path, sizes: Sizes, stack: ExitStack) -> None:
        with ExitStack() as own:
            directory = own.enter_context(tempfile.TemporaryDirectory())
            self.peer = peer
            self.server = own.enter_context(peer.start(Path(directory), sizes.heartbeat))
            self.clients = own.enter_context(Clients(program, self.server.port, peer.conversation))
            self.clients.open(sizes.beating)
            self.readings: list[float] = []
            self.pongs: list[float] = []
            stack.push(own.pop_all())

    def read(self) -> None:
        """Note the processor time of the server, and the heartbeats that its clients have answered."""
        self.readings.append(self.server.cpu_seconds())
        self.pongs.append(self.clients.pongs())

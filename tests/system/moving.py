"""A cluster whose clients move: HAProxy in front of the nodes, a link to git for each node, and clients that reconnect all the time.

Recording clients, and clients of the real library, reach the nodes through HAProxy. They leave their connections at
random, so each of them sees all nodes in turn. All records become one history, with the commits in their order.
"""

import json
import random
import re
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trio

from tests.pipeline_runs.generations import MOVING, prompt
from tests.pipeline_runs.history import OPENED, SENT_ON, STATES, Event, Recorder, Validator, check, forward, version_of
from vortexd.client import address, watch
from vortexd.client import link as client_link
from vortexd.client.protocol import Conversation
from vortexd.core.model import Key

from ..repository import Repository
from .fleet import NODE_HEADER, Fleet, Follower, wait_until
from .link import Link
from .test_cluster_faults import KEY, Stand, document
from .test_faults import free_port
from .test_git import find, git_daemon, needs, wait_for

_EXAMPLE = Path(__file__).parents[2] / "conf" / "cluster" / "haproxy.cfg"
# The key that clients of the library follow by a pattern.
OTHER = "billing:default:main"
# Seconds until a client gives up a connection without a state, for example to a node that is frozen.
PATIENCE = 5.0
# The close code of a server that is behind its client.
_BEHIND = 4421


def front_of(ports: Mapping[str, int], port: int) -> str:
    """Return the settings of HAProxy in front of nodes: those of conf/cluster, with faster checks, and the name of the node in each answer."""
    text = _EXAMPLE.read_text()
    text = re.sub(r"^ *server .*\n", "", text, flags=re.MULTILINE)
    for found, new in (
        ("bind 127.0.0.1:8888", f"bind 127.0.0.1:{port}"),
        ("balance roundrobin", f"balance roundrobin\n    http-response set-header {NODE_HEADER.decode()} %s"),
        ("check inter 2s fall 2 rise 1", "check inter 500ms fall 2 rise 1"),
        ("timeout connect 5s", "timeout connect 2s"),
    ):
        assert text.count(found) == 1, found
        text = text.replace(found, new)
    return text + "".join(f"    server {node} 127.0.0.1:{each}\n" for node, each in ports.items())


@contextmanager
def haproxy(directory: Path, text: str, port: int) -> Iterator[None]:
    """Run HAProxy with these settings."""
    needs(("haproxy", "haproxy"))
    settings = directory / "haproxy.cfg"
    settings.write_text(text)
    command = [find("haproxy") or "", "-db", "-f", str(settings)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield
    finally:
        process.kill()
        process.wait(10)


class Remote:
    """A repository behind git's own daemon. Each node reaches it through a link of its own, by the same address."""

    def __init__(self, repository: Repository, stack: ExitStack) -> None:
        self._stack = stack
        self._port, _ = stack.enter_context(git_daemon(repository.path.parent))
        self.uri = f"git://127.0.0.1:{self._port}/{repository.path.name}"
        self.links: dict[str, Link] = {}

    def environment(self, node: str, home: Path) -> dict[str, str]:
        """Return the variables by which a node runs a git that turns to the node's link instead of the daemon."""
        if node not in self.links:
            self.links[node] = self._stack.enter_context(Link(self._port))
            programs = home / "bin"
            programs.mkdir()
            option = f'url."git://127.0.0.1:{self.links[node].port}/".insteadOf="git://127.0.0.1:{self._port}/"'
            script = programs / "git"
            script.write_text(f'#!/bin/sh\nexec {find("git")} -c {option} "$@"\n')
            script.chmod(0o755)
        return {"PATH": f"{home / 'bin'}:/usr/local/bin:/usr/bin:/bin"}


# The recorder of the client that this task belongs to.
_recorder: ContextVar["_LibraryRecorder"] = ContextVar("recorder")


class _LibraryRecorder(Recorder):
    """Records a client of the library."""

    is_open = False
    is_unanswered = False

    def requested(self, target: str) -> None:
        """A connection begins with this request."""
        if self.is_open:
            self.closed()
        query = parse_qs(urlsplit(target).query)
        [version], [generation] = (query.get(name, [None]) for name in ("last_version", "generation"))
        self.is_open = self.is_unanswered = True
        self.opened(version, generation)


class _RecordedConversation(Conversation):
    """The library's end of a connection. It records all messages but those of other keys, which the library may ignore."""

    def receive(self, text: str | bytes, now: float) -> Any:
        recorder, message = _recorder.get(), json.loads(text)
        is_other = message.get("app") not in (None, KEY.partition(":")[0])
        if not is_other and recorder.received(message) in STATES:
            recorder.is_unanswered = False
        return super().receive(text, now)


@contextmanager
def recording() -> Iterator[None]:
    """Record what clients of the library send and receive, if they have a recorder."""
    target = address.target

    def recorded_target(*arguments: Any, **named: Any) -> str:
        text = target(*arguments, **named)
        _recorder.get().requested(text)
        return text

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_link, "target", recorded_target)
        patch.setattr(client_link, "Conversation", _RecordedConversation)
        yield


class LibraryClient:
    """A client of the real library, which follows another key by a pattern.

    Args:
        urls: The servers that it knows.

    Attributes:
        documents: The document of each key, as the program has it.
        seen: All documents that changes have brought to the program.
    """

    def __init__(self, fleet: Fleet, name: str, urls: Collection[str]) -> None:
        self._fleet = fleet
        self._urls = [*urls]
        self._stream: trio.SocketStream | None = None
        self.recorder = _LibraryRecorder(fleet.history.append, trio.current_time, name, KEY)
        self.documents: dict[str, Any] = {}
        self.seen: list[Any] = []

    @property
    def is_unanswered(self) -> bool:
        """Whether its connection has brought no state yet."""
        return self.recorder.is_unanswered

    def hang_up(self) -> None:
        """Break the connection. The library reconnects."""
        if self._stream is not None:
            with suppress(OSError):
                self._stream.socket.shutdown(socket.SHUT_RDWR)

    async def _connect(self, server: address.Address) -> trio.SocketStream:
        assert server.port is not None
        self._stream = await trio.open_tcp_stream(server.host, server.port)
        return self._stream

    async def run(self) -> None:
        """Follow until this is cancelled. Inside `recording`."""
        _recorder.set(self.recorder)
        timeouts = client_link.Timeouts(connect=PATIENCE)
        application, profile, label = KEY.split(":")
        async with watch(
            self._urls, application, profile, label, patterns=[OTHER], connect=self._connect, timeouts=timeouts
        ) as config:
            self.documents[KEY] = dict(config)
            for key, document in config.others.items():
                self._has(key, document, None)
            async for change in config:
                self._has(change.key, change.document, change.version)

    def _has(self, key: Key, document: Any, version: str | None) -> None:
        """Take a change, as the program sees it. Record it if it is one of the other key."""
        self.documents[str(key)] = document
        self.seen.append(document)
        if str(key) == OTHER:
            app, profile, label = OTHER.split(":")
            message = {"type": "config_snapshot", "app": app, "profile": profile, "label": label, "config": document}
            self.recorder.received(message | {"version": version or version_of(document)})


class MovingStand(Stand):
    """A cluster behind HAProxy, with clients that move. Its nodes run. A document has its two halves in two files.

    Attributes:
        movers: All clients that record. `fleets` has it as well, so `push` tells it each commit.
        library: The clients of the library.
        halted: For each node, the times between which its process was stopped.
        chosen: Makes all random choices.
    """

    def __init__(self, directory: Path, endpoints: Mapping[str, Sequence[str]], stack: ExitStack, seed: int) -> None:
        super().__init__(directory, endpoints)
        self.cluster = directory.name
        self.chosen = random.Random(seed)
        stack.callback(self.end)
        self.remote = Remote(self.repository, stack)
        self.uri = self.remote.uri
        self.port = free_port()
        stack.enter_context(haproxy(directory, front_of(self.ports, self.port), self.port))
        self.halted: dict[str, list[tuple[float, float]]] = {node: [] for node in self.ports}
        self.library: list[LibraryClient] = []
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.begin, self.ports))

    def files(self, number: int) -> dict[str, str]:
        """See `Stand`."""
        contents = {"orders": {"first": number}, "orders-dev": {"second": number}, "billing": {"number": number}}
        return {f"{name}.json": json.dumps(content) for name, content in contents.items()}

    def documents(self, number: int) -> dict[str, dict[str, int]]:
        """See `Stand`."""
        return {KEY: document(number), OTHER: {"number": number}}

    def environment(self, node: str) -> dict[str, str]:
        """See `Stand`."""
        return self.remote.environment(node, self.home(node))

    @asynccontextmanager
    async def moving(
        self,
        count: int,
        interval: float,
        library: int = 2,
        validators: Iterable[Validator] = MOVING,
        slack: float = 2.0,
        planted: str = "",
    ) -> AsyncIterator[None]:
        """Let clients move. At the end, let them come to rest, and compare what they were sent with what was pushed.

        Args:
            count: The number of clients that record.
            interval: Seconds between two moves of each client, on average.
            library: The number of further clients of the library.
            slack: Seconds that this machine may add to each answer.
            planted: The validator that finds the fault of this stand. Then the clients need not come to rest.
        """
        with recording():
            async with trio.open_nursery() as nursery:
                self.movers = Fleet(nursery, self.port, patience=PATIENCE)
                self.fleets = {"": self.movers}
                self.movers.publishing(self.documents(self.number))
                self.movers.follow(KEY, count)
                front, direct = (
                    f"ws://127.0.0.1:{self.port}",
                    [f"ws://127.0.0.1:{port}" for port in self.ports.values()],
                )
                self.library = [
                    LibraryClient(self.movers, f"library {number}", direct if number % 2 else [front])
                    for number in range(library)
                ]
                for client in self.library:
                    nursery.start_soon(client.run)
                await self.arrived()
                moves = trio.CancelScope()
                nursery.start_soon(self._move, moves, interval)
                yield
                moves.cancel()
                if not planted:
                    await self._rest()
                print(self.summary())
                self.movers.stop(())
                violations = check(self.movers.history, [*validators, prompt(halted=self.halted, slack=slack)])
                if planted:
                    assert planted in {each.validator for each in violations}
                else:
                    assert not violations, "\n".join(map(str, violations[:10]))
                nursery.cancel_scope.cancel()

    async def _rest(self) -> None:
        """Let nodes and clients agree, and push at each node once more."""
        await self.agreed()
        for node in self.nodes:
            await self.push(node)
            await self.arrived()
        await self.agreed()
        await self.movers.wait_answered()
        # The message before the close and its code say the same.
        sent_on = Counter(each.client for each in self.movers.history if each.kind == SENT_ON)
        for number, follower in enumerate(self.movers.followers):
            assert follower.closes.count(_BEHIND) <= sent_on[f"client {number}"]

    async def arrived(self, *nodes: str, seconds: float = 60) -> None:
        """Wait until all clients have the newest document."""
        wanted = document(self.number)
        await self.movers.wait_all({KEY: wanted}, seconds)
        with trio.fail_after(seconds):
            await wait_until(lambda: all(each.documents == self.documents(self.number) for each in self.library))

    @asynccontextmanager
    async def frozen(self, node: str) -> AsyncIterator[None]:
        """Stop the process of a node, and let it run again at the end."""
        began = trio.current_time()
        self.nodes[node].process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.nodes[node].process.send_signal(signal.SIGCONT)
            # The process needs a moment until it has answered everything that waits.
            self.halted[node].append((began, trio.current_time() + 1))

    def count(self, is_one: Callable[[Event], bool]) -> int:
        """Count events of the clients that move."""
        return sum(map(is_one, self.movers.history))

    def summary(self) -> str:
        """Return the counts of what has happened to the clients, on one line."""
        opened = self.count(lambda each: each.kind == OPENED)
        sent_on = self.count(lambda each: each.kind == SENT_ON)
        stale = self.count(lambda each: each.is_stale)
        ordered = self.count(lambda each: each.kind in STATES and each.generation is not None)
        back = len(check(self.movers.history, [forward]))
        return (
            f"{self.number} commits, {opened} connections, {ordered} states with a generation, {sent_on} sent on, "
            f"{stale} stale, {back} steps back without a mark"
        )

    async def _move(self, scope: trio.CancelScope, interval: float) -> None:
        """Let one client after the other move, each at a random time."""
        with scope:
            clients: list[Follower | LibraryClient] = [*self.movers.followers, *self.library]
            while True:
                await trio.sleep(interval / len(clients) * self.chosen.uniform(0.5, 1.5))
                client = self.chosen.choice(clients)
                # Most clients wait for their first state. A few go on before it.
                if not client.is_unanswered or self.chosen.random() < 0.1:
                    client.hang_up()

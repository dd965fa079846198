"""Clients that move between the nodes of a cluster while parts of it fail, with real parts: etcd, vortexd and HAProxy.

The checker of histories finds that nothing is lost, that no client goes back except by a snapshot that is marked as
stale, that no client has half a commit, that a client is sent on at most once, and that no client waits long. Planted
faults show that it would find them. VORTEXD_LONG=1 runs longer rounds with 1,000 clients, and more kinds of faults. The
rounds print their seed, and take one from VORTEXD_SEED.
"""

import base64
import json
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio

from tests.pipeline_runs.generations import WHILE_AWAY, numbered
from tests.pipeline_runs.history import CHANGE, IN_SYNC, SENT_ON, STATES, check
from vortexd.cluster.published.packing import CHUNK_BYTES

from ..cluster.etcd_servers import EtcdServers, etcd_program
from . import planted
from .fleet import Fleet
from .link import Link
from .moving import LibraryClient, MovingStand, recording
from .process import Server
from .test_cluster import events, get, members, webhook
from .test_cluster_faults import KEY, LEASE, Stand, aside, ask_etcd, document, needs_etcdctl, put, until
from .test_published import number

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(etcd_program() is None, reason="there is no etcd; on Debian, apt-get install etcd-server"),
]

IS_LONG = bool(os.environ.get("VORTEXD_LONG"))
SEED = int(os.environ.get("VORTEXD_SEED") or random.SystemRandom().randrange(2**32))
# The number of clients, and the seconds between two moves of each.
COUNT, INTERVAL = (1_000, 8.0) if IS_LONG else (60, 1.5)


class Place:
    """A stand of several nodes on three members of etcd, each node with links of its own to the members."""

    def __init__(self, directory: Path, nodes: str, stack: ExitStack) -> None:
        (directory / "etcd").mkdir()
        self.peers: list[Link] = []

        def through(port: int) -> int:
            self.peers.append(stack.enter_context(Link(port)))
            return self.peers[-1].port

        self.servers = stack.enter_context(EtcdServers(directory / "etcd", through=through))
        ports = [urlsplit(each).port or 0 for each in self.servers.endpoints]
        self.links = {node: [stack.enter_context(Link(port)) for port in ports] for node in nodes}
        endpoints = {
            node: [f"http://127.0.0.1:{each.port}" for each in [*links[number:], *links[:number]]]
            for number, (node, links) in enumerate(self.links.items())
        }
        print(f"VORTEXD_SEED={SEED}")
        (directory / "moves").mkdir()
        self.stand = MovingStand(directory / "moves", endpoints, stack, SEED)

    async def restarted(self) -> None:
        """Start all members of etcd, and wait until they are ready."""
        for member in range(3):
            self.servers.start(member)
        for member in range(3):
            await aside(self.servers.wait_ready, member)


@pytest.fixture(scope="module", params=["ab", "abc"] if IS_LONG else ["abc"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path_factory.mktemp("moves"), request.param, stack)


async def only_one_node_with_a_link_to_git(place: Place) -> None:
    """The others are behind for so long that clients are sent on from one of them to another, and take its state."""
    stand = place.stand
    behind = [node for node in stand.nodes if node != "a"]
    for node in behind:
        stand.remote.links[node].cut()
    try:
        for _ in range(2):
            await stand.push("a")
            await trio.sleep(max(INTERVAL, 2.5))
    finally:
        for node in behind:
            stand.remote.links[node].mend()
    for node in behind:
        await aside(webhook, stand.nodes[node])
    await stand.arrived()


async def a_node_that_is_killed(place: Place) -> None:
    stand = place.stand
    node = stand.chosen.choice([*stand.nodes])
    [other, *_] = [each for each in stand.nodes if each != node]
    stand.nodes[node].process.kill()
    await stand.push(other)
    await stand.arrived()
    await aside(stand.begin, node)
    await stand.push(node)
    await stand.arrived()


async def a_node_that_is_frozen(place: Place) -> None:
    """One node neither answers nor fetches for a while, and then it has clients and an old state."""
    stand = place.stand
    node = stand.chosen.choice([*stand.nodes])
    [other, *_] = [each for each in stand.nodes if each != node]
    async with stand.frozen(node):
        await stand.push(other)
        await trio.sleep(INTERVAL)
    await stand.arrived()


async def a_node_that_is_frozen_for_longer_than_its_lease(place: Place) -> None:
    """The node may have been the leader. When it runs again, another node leads."""
    stand = place.stand
    node = get(stand.nodes["a"], "/status")["cluster"]["leader"]
    [other, *_] = [each for each in stand.nodes if each != node]
    async with stand.frozen(node):
        await stand.push(other)
        await until(lambda: get(stand.nodes[other], "/status")["cluster"]["leader"] not in (node, None), LEASE)
        await stand.push(other)
    await stand.arrived()


async def compaction_under_a_watch(place: Place) -> None:
    stand, endpoint = place.stand, place.servers.endpoints[0]
    async with stand.frozen("b"):
        for link in place.links["b"]:
            link.cut()
        try:
            await stand.push("a")
            await trio.sleep(1)
            revision = await aside(put, endpoint, "/other", b"")
            await aside(ask_etcd, endpoint, "kv/compaction", {"revision": str(revision), "physical": True})
        finally:
            for link in place.links["b"]:
                link.mend()
    await stand.arrived()


async def a_node_without_a_link_to_etcd(place: Place) -> None:
    stand = place.stand
    for link in place.links["a"]:
        link.cut()
    try:
        await until(lambda: stand.is_store("a", "AWAY"))
        await stand.push("a")
        await trio.sleep(INTERVAL)
        await stand.push("b")
        await trio.sleep(INTERVAL)
    finally:
        for link in place.links["a"]:
            link.mend()
    await stand.arrived()


async def members_of_etcd_without_links(place: Place) -> None:
    stand = place.stand
    for link in place.peers:
        link.cut()
    try:
        await until(lambda: all(stand.is_store(node, "AWAY") for node in stand.nodes))
        for node in stand.nodes:
            await stand.push(node)
            await trio.sleep(INTERVAL / 2)
    finally:
        for link in place.peers:
            link.mend()
    await stand.arrived()


async def a_leader_of_etcd_that_is_killed(place: Place) -> None:
    """There is no other leader for one or two seconds. A state that is pushed meanwhile may have no number at first."""
    stand = place.stand
    states = [await aside(ask_etcd, each, "maintenance/status", {}) for each in place.servers.endpoints]
    [member] = [number for number, each in enumerate(states) if each["header"]["member_id"] == each["leader"]]
    place.servers.kill(member)
    try:
        await stand.push("a")
        await stand.arrived()
    finally:
        place.servers.start(member)
    await aside(place.servers.wait_ready, member)


async def a_full_restart(place: Place) -> None:
    """Everything is killed. What is pushed meanwhile is there afterwards, but not at once at a node without a link to git."""
    stand, servers = place.stand, place.servers
    for server in stand.nodes.values():
        server.process.kill()
    for member in range(3):
        servers.kill(member)
    await stand.push("")
    await place.restarted()
    link = stand.remote.links["b"]
    link.cut()
    try:
        for node in [*stand.nodes]:
            await aside(stand.begin, node)
        await trio.sleep(INTERVAL)
    finally:
        link.mend()
    await aside(webhook, stand.nodes["b"])
    await stand.arrived()


async def an_etcd_restored_from_a_backup(place: Place) -> None:
    """The revision runs backwards, so the numbers of the restored etcd are those of former commits."""
    stand, servers = place.stand, place.servers
    backup = stand.home("backup") / "etcd.db"
    await aside(servers.save, backup)
    for _ in range(20):
        await aside(put, servers.endpoints[0], "/other", b"")
    for node in stand.nodes:
        await stand.push(node)
        await stand.arrived()
    for member in range(3):
        servers.kill(member)
    await until(lambda: all(stand.is_store(node, "AWAY") for node in stand.nodes))
    await aside(servers.restore, backup)
    await place.restarted()
    await stand.push("b")
    await trio.sleep(INTERVAL)
    await stand.arrived()


Round = Callable[[Place], Awaitable[None]]
# In these rounds, every state has a generation.
ORDERED: list[Round] = [
    only_one_node_with_a_link_to_git,
    a_node_that_is_killed,
    a_node_that_is_frozen,
    a_node_that_is_frozen_for_longer_than_its_lease,
    compaction_under_a_watch,
    a_full_restart,
]
# Here a node may publish a state while it can't reach etcd. Such a state has no generation at first.
UNORDERED: list[Any] = [
    a_node_without_a_link_to_etcd,
    members_of_etcd_without_links,
    a_leader_of_etcd_that_is_killed,
    pytest.param(an_etcd_restored_from_a_backup, marks=needs_etcdctl),
]


async def test_clients_that_move_lose_nothing_and_go_back_only_by_a_mark(place: Place) -> None:
    rounds = ORDERED if IS_LONG else [only_one_node_with_a_link_to_git, a_node_that_is_killed, a_node_that_is_frozen]
    stand = place.stand
    async with stand.moving(COUNT, INTERVAL):
        for round in rounds:
            await round(place)
    # So the rounds were of the kind that generations are for.
    assert stand.count(lambda each: each.kind == SENT_ON) > 0
    assert stand.count(lambda each: each.is_stale) > 0


@pytest.mark.skipif(not IS_LONG, reason="these rounds take minutes")
@pytest.mark.parametrize("round", UNORDERED)
async def test_clients_that_move_while_etcd_is_away_go_back_only_if_nothing_orders_their_states(
    place: Place, round: Round
) -> None:
    async with place.stand.moving(COUNT, INTERVAL, validators=WHILE_AWAY):
        await round(place)


@pytest.mark.skipif(not IS_LONG, reason="it takes half a minute")
async def test_a_client_does_not_see_a_state_between_two_publications_of_what_it_has(
    place: Place, tmp_path: Path
) -> None:
    """The client has a content that came back, and node b is still at its first publication. Then node b catches up."""
    with ExitStack() as stack, recording():
        stand = MovingStand(tmp_path, dict.fromkeys("ab", place.servers.endpoints), stack, SEED)
        link = stand.remote.links["b"]
        async with trio.open_nursery() as nursery:
            stand.movers = Fleet(nursery, stand.port)
            stand.fleets = {"": stand.movers}
            stand.movers.publishing(stand.documents(0))
            client = LibraryClient(stand.movers, "one", [f"ws://127.0.0.1:{stand.ports[node]}" for node in "ab"])
            stand.library = [client]
            nursery.start_soon(client.run)
            await stand.arrived()
            link.silence_before(b"PACK")
            await stand.push("a")
            assert await aside(link.is_holding.wait, 20)
            await stand.arrived()
            stand.number = -1
            await stand.push("a")
            await stand.arrived()

            states = [each for each in stand.movers.history if each.key == KEY and each.kind in STATES]
            client.seen.clear()
            client.hang_up()

            def has_followed(kinds: list[str]) -> bool:
                new = [each for each in stand.movers.history if each.key == KEY and each.kind in STATES]
                return [each.kind for each in new[len(states) :]] == kinds

            await until(lambda: has_followed([IN_SYNC]))
            link.mend()
            # The server sends the state between, and then the newest one. The program sees neither.
            await until(lambda: has_followed([IN_SYNC, CHANGE, CHANGE]))
            await trio.sleep(0.2)
            assert client.seen == []
            assert client.documents[KEY] == document(0)
            nursery.cancel_scope.cancel()


class WorkersStand(MovingStand):
    """Each node has two workers, which fetch independently."""

    def settings(self, node: str, name: str = "", workers: int = 2) -> str:
        """See `Stand`."""
        return super().settings(node, name, workers)

    def complaints(self) -> list[str]:
        """See `Stand`. The metrics of workers have other names."""
        expected = dict.fromkeys(self.nodes, "serving")
        return [node for node, server in self.nodes.items() if members(server) != expected]


@pytest.mark.skipif(not IS_LONG, reason="it takes a minute")
async def test_clients_that_move_between_workers_go_back_only_by_a_mark(place: Place, tmp_path: Path) -> None:
    with ExitStack() as stack:
        stand = WorkersStand(tmp_path, dict.fromkeys("ab", place.servers.endpoints), stack, SEED)
        async with stand.moving(100, 1.0):
            for round in range(4):
                # Some clients reach the worker that hasn't published yet.
                for _ in range(4):
                    await stand.push("ab"[round % 2])
                    await trio.sleep(0.3)
                await stand.arrived()
                stand.remote.links["b"].cut()
                try:
                    await stand.push("a")
                    await trio.sleep(4)
                finally:
                    stand.remote.links["b"].mend()
                await aside(webhook, stand.nodes["b"])
                await stand.arrived()


class ForgetfulStand(MovingStand):
    """Node b doesn't see that a client is ahead of it."""

    def program(self, node: str) -> type[Server]:
        """See `Stand`."""
        return planted.running(planted.forget_the_generation) if node == "b" else Server


async def test_the_checker_finds_a_node_that_forgets_the_generation(place: Place, tmp_path: Path) -> None:
    with ExitStack() as stack:
        stand = ForgetfulStand(tmp_path, dict.fromkeys("ab", place.servers.endpoints), stack, SEED)
        async with stand.moving(20, 0.5, planted="forward"):
            stand.remote.links["b"].cut()
            await stand.push("a")
            await until(lambda: stand.is_served("a"))
            await trio.sleep(1.5)


class LateStand(MovingStand):
    """Both nodes take long to number a publication."""

    plant = staticmethod(planted.number_late)

    def program(self, node: str) -> type[Server]:
        """See `Stand`."""
        return planted.running(self.plant)


class FencelessStand(LateStand):
    """Both nodes number a publication without looking at what the other one has done meanwhile."""

    plant = staticmethod(planted.skip_the_fence)


@pytest.mark.parametrize("kind", [FencelessStand, LateStand] if IS_LONG else [FencelessStand])
async def test_the_checker_finds_two_nodes_that_skip_the_fence(
    place: Place, tmp_path: Path, kind: type[LateStand]
) -> None:
    with ExitStack() as stack:
        stand = kind(tmp_path, dict.fromkeys("ab", place.servers.endpoints), stack, SEED)
        is_found = "numbered" if kind is FencelessStand else ""
        # A client can go back while a publication has no number yet. That isn't what this test is about.
        async with stand.moving(20, 0.5, validators=[numbered], planted=is_found):
            links = stand.remote.links
            for _ in range(4):
                links["b"].cut()
                await stand.push("a")
                await until(lambda: stand.is_served("a"))
                links["a"].cut()
                links["b"].mend()
                # Node b chooses a number before node a has written the same one.
                await stand.push("b")
                await trio.sleep(2 * planted.NUMBERED_AFTER + 0.5)
                links["a"].mend()
                await aside(webhook, stand.nodes["a"])
                await stand.arrived()
                if check(stand.movers.history, [numbered]):
                    break


class PublishedStand(Stand):
    """Node p publishes from git. Nodes r and q have no other source; q applies states before it has verified them."""

    cluster = "published"

    def files(self, number: int) -> dict[str, str]:
        """See `Stand`. Each file is so large that its chunk has no other one."""
        padding = "#" * (CHUNK_BYTES // 2 + 1)
        return {"orders.yml": f"first: {number}\n{padding}\n", "orders-dev.yml": f"second: {number}\n{padding}\n"}

    def program(self, node: str) -> type[Server]:
        """See `Stand`."""
        return planted.running(planted.apply_before_all_hashes) if node == "q" else Server

    def settings(self, node: str, name: str = "", workers: int = 1) -> str:
        """See `Stand`."""
        text = super().settings(node, name, workers)
        if node == "p":
            return text + "publish = true\n"
        server, _, cluster = text.partition("[[source]]")
        endpoints = json.dumps([*self.endpoints[node]])
        source = f'[[source]]\nkind = "published"\ncluster = "{self.cluster}"\nendpoints = {endpoints}\n'
        return f"{server}{source}[cluster]{cluster.partition('[cluster]')[2]}"


async def test_the_checker_finds_a_node_that_applies_a_state_before_all_hashes(place: Place, tmp_path: Path) -> None:
    endpoints = place.servers.endpoints
    endpoint = endpoints[0]
    stand = PublishedStand(tmp_path, dict.fromkeys("prq", endpoints))

    def chunks() -> dict[str, bytes]:
        prefix = base64.b64encode(b"/vortexd-published/published/chunks/").decode()
        end = base64.b64encode(b"/vortexd-published/published/chunks0").decode()
        found = ask_etcd(endpoint, "kv/range", {"key": prefix, "range_end": end}).get("kvs", ())
        return {each["key"]: base64.b64decode(each["value"]) for each in found}

    def chunk_of(content: bytes) -> str | None:
        return next((key for key, value in chunks().items() if value.startswith(content)), None)

    with ExitStack() as stack:
        stack.callback(stand.end)
        await aside(stand.begin, "p")
        await until(lambda: number(stand.nodes["p"]) == 1)
        for node in ("r", "q"):
            await aside(stand.begin, node)
        async with trio.open_nursery() as nursery:
            stand.fleets = {node: Fleet(nursery, stand.ports[node]) for node in ("r", "q")}
            for fleet in stand.fleets.values():
                fleet.publishing({KEY: document(0)})
                fleet.follow(KEY, 2)
            await stand.arrived("r", "q")
            for node in stand.fleets:
                stand.nodes[node].process.send_signal(signal.SIGSTOP)
            await stand.push("p")
            await until(lambda: number(stand.nodes["p"]) == 2 and chunk_of(b"second: 1\n"))
            await aside(ask_etcd, endpoint, "kv/deleterange", {"key": await aside(chunk_of, b"second: 1\n")})
            for node in stand.fleets:
                stand.nodes[node].process.send_signal(signal.SIGCONT)
            await stand.fleets["q"].wait_all({KEY: {"first": 1, "second": 0}})
            await until(lambda: events(stand.nodes["r"], "source unreadable"))
            await stand.push("p")
            await stand.arrived("r", "q")
            nursery.cancel_scope.cancel()
    assert not check(stand.fleets["r"].history)
    assert "atomic" in {each.validator for each in check(stand.fleets["q"].history)}

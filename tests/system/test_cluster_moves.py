"""Clients that move between the nodes of a cluster while parts of it fail, with real parts: etcd, vortexd and HAProxy.

The checker of histories finds that nothing is lost, that no client goes back except by a snapshot that is marked as
stale, that no client has half a commit, that a client is sent on at most once, and that no client waits long. Planted
faults show that it would find them. VORTEXD_LONG=1 runs longer rounds with 1,000 clients, and more kinds of faults. The
rounds print their seed, and take one from VORTEXD_SEED.
"""

import os
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio

from tests.pipeline_runs.generations import WHILE_AWAY

from ..cluster.etcd_servers import EtcdServers, etcd_program
from .link import Link
from .moving import MovingStand
from .test_cluster import get, webhook
from .test_cluster_faults import LEASE, aside, ask_etcd, put, until

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
        self.stand = MovingStand(directory, endpoints, stack, SEED)
        for node in nodes:
            self.stand.begin(node)


@pytest.fixture(scope="module", params=["ab", "abc"] if IS_LONG else ["abc"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path_factory.mktemp("moves"), request.param, stack)


async def a_node_without_a_link_to_git(place: Place) -> None:
    """One node is behind for a while, because it can't fetch."""
    stand = place.stand
    link = stand.remote.links["b"]
    link.cut()
    try:
        for _ in range(2):
            await stand.push("a")
            await trio.sleep(INTERVAL)
    finally:
        link.mend()
    await aside(webhook, stand.nodes["b"])
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


async def a_member_of_etcd_that_is_killed(place: Place) -> None:
    stand = place.stand
    number = stand.chosen.randrange(3)
    place.servers.kill(number)
    try:
        await stand.push("a")
        await stand.arrived()
    finally:
        place.servers.start(number)
    await aside(place.servers.wait_ready, number)


async def a_full_restart(place: Place) -> None:
    """Everything is killed. What is pushed meanwhile is there afterwards."""
    stand, servers = place.stand, place.servers
    for server in stand.nodes.values():
        server.process.kill()
    for number in range(3):
        servers.kill(number)
    await stand.push("")
    for number in range(3):
        servers.start(number)
    for number in range(3):
        await aside(servers.wait_ready, number)
    for node in [*stand.nodes]:
        await aside(stand.begin, node)
    await stand.arrived()


Round = Callable[[Place], Awaitable[None]]
# In these rounds, every state has a generation.
ORDERED: list[Round] = [
    a_node_without_a_link_to_git,
    a_node_that_is_killed,
    a_node_that_is_frozen,
    a_node_that_is_frozen_for_longer_than_its_lease,
    compaction_under_a_watch,
    a_member_of_etcd_that_is_killed,
]
# Here a node may publish a state while it can't reach etcd. Such a state has no generation at first.
UNORDERED: list[Round] = [a_node_without_a_link_to_etcd, members_of_etcd_without_links, a_full_restart]


async def test_clients_that_move_lose_nothing_and_go_back_only_by_a_mark(place: Place) -> None:
    rounds = ORDERED if IS_LONG else [a_node_without_a_link_to_git, a_node_that_is_killed, a_node_that_is_frozen]
    async with place.stand.moving(COUNT, INTERVAL):
        for round in rounds:
            await round(place)


@pytest.mark.skipif(not IS_LONG, reason="these rounds take minutes")
@pytest.mark.parametrize("round", UNORDERED)
async def test_clients_that_move_while_etcd_is_away_go_back_only_if_nothing_orders_their_states(
    place: Place, round: Round
) -> None:
    async with place.stand.moving(COUNT, INTERVAL, validators=WHILE_AWAY):
        await round(place)

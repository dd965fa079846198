"""Roll-outs of two real nodes on a real etcd: one fleet, one share, one outcome, whichever node leads, dies or restarts."""

import contextlib
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from ..cluster.etcd_servers import EtcdServers, etcd_program, free_ports
from ..repository import Repository
from .process import Server
from .test_broken import ask
from .test_cluster import members, webhook
from .test_pins import sent
from .test_rollouts import Instance, events, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(etcd_program() is None, reason="there is no etcd; on Debian, apt-get install etcd-server"),
    # trio-websocket leaves the socket of a connection that is refused.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

COUNT = 40
WORKERS = {"a": 1, "b": 2}
# Each Python process imports a module of this name at its start, so all processes of a node have this clock.
CUSTOM = "sitecustomize.py"
BEHIND = """
import time
now = time.time
time.time = lambda: now() - 1.5
"""
# The instances of each step.
FIRST, SECOND = 1, 20
SETTINGS = """
[server]
bind = ["127.0.0.1:{port}"]
workers = {workers}
drain_timeout = 2
state_directory = "{state}"
[[source]]
kind = "git"
uri = "{uri}"
schemes = ["file"]
refresh_interval = 3600
[cluster]
name = "{cluster}"
node = "{node}"
advertise = "http://127.0.0.1:{port}"
endpoints = {endpoints}
[[rollout]]
applications = ["*"]
steps = [1, 50, 100]
within = 60
"""
_names = iter(range(1_000_000))


class Nodes:
    """Two nodes of one cluster, on one repository. The clock of node b is behind. A node keeps its port and its state when it starts again."""

    def __init__(self, directory: Path, etcd: EtcdServers) -> None:
        self._directory = directory
        self._etcd = etcd
        self._cluster = f"rollouts-{next(_names)}"
        self._ports = dict(zip("ab", free_ports(2), strict=True))
        self.repository = Repository(directory / "config.git")
        self.repository.commit({"README": "x"})
        self.servers: dict[str, Server] = {}
        # The output of processes that have ended.
        self._former: list[Server] = []

    async def start(self, node: str) -> None:
        directory = self._directory / f"{node}-{next(_names)}"
        directory.mkdir()
        settings = SETTINGS.format(
            port=self._ports[node],
            workers=WORKERS[node],
            state=self._directory / node,
            uri=self.repository.uri,
            cluster=self._cluster,
            node=node,
            endpoints=json.dumps(self._etcd.endpoints),
        )
        if node == "b":
            (directory / CUSTOM).write_text(BEHIND)
        start = partial(Server, directory / "x", settings=settings, environment={"PYTHONPATH": str(directory)})
        self.servers[node] = await trio.to_thread.run_sync(start)

    async def stop(self, node: str, number: int) -> None:
        server = self.servers.pop(node)
        await trio.to_thread.run_sync(server.stop, number)
        self._former.append(server)

    def push(self, application: str, value: int, at: str) -> None:
        """Commit a value, and let one node fetch it. The other node hears a hint."""
        self.repository.commit({f"{application}.yml": f"a: {value}\n"})
        webhook(self.servers[at])

    @property
    def leader(self) -> str:
        """The node that takes the steps, or "" while the nodes don't agree."""
        found = {ask(each, "/status")[1]["cluster"]["leader"] for each in self.servers.values()}
        leader = found.pop()
        return leader if leader in self.servers and not found else ""

    @property
    def other(self) -> str:
        """The node that doesn't lead."""
        return "b" if self.leader == "a" else "a"

    def is_complete(self) -> bool:
        everyone = dict.fromkeys(self.servers, "serving")
        return all(members(each) == everyone for each in self.servers.values()) and bool(self.leader)

    def events(self, name: str, application: str = "") -> list[Any]:
        """Return the events of the logs of all processes, in their order."""
        found = [each for server in (*self._former, *self.servers.values()) for each in events(server, name)]
        mine = [each for each in found if not application or each["key"] == f"{application}:dev:main"]
        return sorted(mine, key=lambda each: str(each["timestamp"]))

    def steps(self, application: str) -> list[tuple[int, int, int]]:
        """Return the steps that have begun, with their shares and with the named instances."""
        return [
            (each["step"], each["share"], each["named"]) for each in self.events("roll-out step begun", application)
        ]

    def served(self, application: str) -> list[Any]:
        """Return what each node serves to a reader without a name. Each worker has a turn, most probably."""
        found = [
            {ask(each, f"/main/{application}-dev.json")[1].get("a") for _ in range(12)}
            for each in self.servers.values()
        ]
        return [values.pop() if len(values) == 1 else values for values in found]

    def end(self) -> None:
        for each in self.servers.values():
            each.__exit__()


class Member(Instance):
    """A named client that may stay away for a while."""

    is_away = False

    async def _connect(self) -> None:
        while self.is_away:  # noqa: ASYNC110
            await trio.sleep(0.02)
        await super()._connect()


class Fleet:
    """Named clients of one application. Those with even numbers are at node a, and the others at node b."""

    def __init__(self, nodes: Nodes, application: str, count: int = COUNT) -> None:
        self.application = application
        # The values that instances may acknowledge, and the answer to each of them.
        self.silent: Callable[[str], bool] = lambda name: False
        self.rejects: Callable[[str], bool] = lambda name: False
        self.places = {f"web-{number:02}": "ab"[number % 2] for number in range(count)}
        self.instances = {
            name: Member(nodes.servers[node], name, partial(self._say, name), application)
            for name, node in self.places.items()
        }

    def _say(self, name: str, value: Any) -> str | None:
        if value != 2:
            return "applied"
        return None if self.silent(name) else "rejected" if self.rejects(name) else "applied"

    def move(self, names: Collection[str], node: str, nodes: Nodes) -> None:
        """Let instances connect to another node."""
        for name in names:
            self.places[name] = node
            self.instances[name].move_to(nodes.servers[node])
        self.reconnect(names)

    def reconnect(self, names: Collection[str] = ()) -> None:
        """Let instances connect again. They acknowledge the version that they have."""
        for name in names or self.instances:
            self.instances[name].scope.cancel()

    def leave(self, names: Collection[str]) -> None:
        """Let instances stay away until `come_back`."""
        for name in names:
            self.instances[name].is_away = True
        self.reconnect(names)

    def come_back(self) -> None:
        """Let all instances connect again that have left."""
        for each in self.instances.values():
            each.is_away = False

    def at(self, node: str) -> set[str]:
        return {name for name, place in self.places.items() if place == node}

    def having(self, value: Any) -> set[str]:
        return {name for name, each in self.instances.items() if each.value == value}

    @property
    def values(self) -> Counter[Any]:
        return Counter(each.value for each in self.instances.values())

    @property
    def histories(self) -> set[tuple[Any, ...]]:
        return {tuple(each.values) for each in self.instances.values()}

    async def all_have(self, value: Any, seconds: float = 30) -> None:
        await until(lambda: self.values == {value: len(self.instances)}, seconds)

    async def reach(self, count: int, seconds: float = 30) -> set[str]:
        """Wait until so many instances have the candidate. Return them once it is sure that no other one gets it."""
        await until(lambda: self.values[2] >= count, seconds)
        await self.stays(count)
        return self.having(2)

    async def stays(self, count: int, seconds: float = 0.8) -> None:
        """Check that for a while so many instances have the candidate."""
        with trio.move_on_after(seconds):
            while True:
                assert (self.values[1], self.values[2]) == (len(self.instances) - count, count)
                await trio.sleep(0.02)


@contextlib.asynccontextmanager
async def following(nodes: Nodes, application: str, count: int = COUNT) -> AsyncIterator[Fleet]:
    """Connect a fleet to both nodes. All of it has value 1."""
    nodes.push(application, 1, "a")
    await until(lambda: nodes.served(application) == [1, 1])
    fleet = Fleet(nodes, application, count)
    async with trio.open_nursery() as nursery:
        for each in fleet.instances.values():
            nursery.start_soon(each.run)
        await fleet.all_have(1)
        yield fleet
        nursery.cancel_scope.cancel()


def shown(server: Server, application: str) -> list[Any]:
    """Return what the API says about the roll-outs of an application."""
    return [each for each in ask(server, "/api/v1/rollouts")[1]["rollouts"] if each["application"] == application]


def act(server: Server, application: str, name: str) -> tuple[int, Any]:
    key = {"application": application, "profile": "dev", "label": "main"}
    return sent(server, "/api/v1/rollouts", "POST", json.dumps({**key, "act": name, "reason": "why"}).encode())


def listed(server: Server) -> str:
    program = Path(sys.executable).with_name("vortexctl")
    url = f"http://127.0.0.1:{server.port}"
    found = subprocess.run([program, "rollout", "list", "--server", url], capture_output=True, check=True)
    return found.stdout.decode()


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServers]:
    with EtcdServers(tmp_path_factory.mktemp("etcd"), 1) as servers:
        yield servers


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, etcd: EtcdServers) -> Iterator[Nodes]:
    nodes = Nodes(tmp_path_factory.mktemp("nodes"), etcd)
    try:
        yield nodes
    finally:
        nodes.end()


@pytest.fixture
def nodes(started: Nodes) -> Nodes:
    """Two nodes that run and know each other. A node that the former test has ended starts again."""

    async def start() -> None:
        async with trio.open_nursery() as nursery:
            for node in {*"ab"} - started.servers.keys():
                nursery.start_soon(started.start, node)
        await until(started.is_complete)

    trio.run(start)
    return started


async def test_each_step_has_its_share_of_the_whole_fleet_and_acknowledgements_of_either_node_count(
    nodes: Nodes,
) -> None:
    async with following(nodes, "steps") as fleet:
        fleet.silent = lambda name: True
        nodes.push("steps", 2, nodes.other)
        # One instance at both nodes together, and not at each of them.
        reached = await fleet.reach(FIRST)
        fleet.silent = lambda name: name not in reached
        fleet.reconnect(reached)
        reached = await fleet.reach(SECOND)
        assert {fleet.places[name] for name in reached} == {"a", "b"}
        fleet.silent = lambda name: fleet.places[name] == "b"
        fleet.reconnect(reached)
        await fleet.stays(SECOND)
        fleet.silent = lambda name: False
        fleet.reconnect(reached)
        await fleet.all_have(2)
        await until(lambda: nodes.served("steps") == [2, 2])

        assert nodes.steps("steps") == [(1, 1, COUNT), (2, 50, COUNT), (3, 100, COUNT)]
        assert len(nodes.events("roll-out begun", "steps")) == 1
        await until(lambda: len(nodes.events("roll-out done", "steps")) == 1)
        assert fleet.histories == {(1, 2)}


@pytest.mark.parametrize("leads", [True, False], ids=["at the leader", "at the other node"])
async def test_one_rejection_brings_all_back_at_both_nodes(nodes: Nodes, leads: bool) -> None:
    name = f"rejected{leads}".lower()
    async with following(nodes, name) as fleet:
        node = nodes.leader if leads else nodes.other
        asked: list[str] = []

        def rejects(instance: str) -> bool:
            """Let the first step pass. In the second one, a single instance of this node rejects the value."""
            asked.append(instance)
            mine = [each for each in asked[1:] if fleet.places[each] == node]
            return mine == [instance]

        fleet.rejects = rejects
        nodes.push(name, 2, "a")
        await until(lambda: bool(nodes.events("roll-out halted", name)))
        await fleet.all_have(1)
        servers = [*nodes.servers.values()]
        await until(lambda: all([each["status"] for each in shown(server, name)] == ["halted"] for server in servers))

        [halted] = nodes.events("roll-out halted", name)
        assert "no such pool" in halted["reason"]
        assert [each[0]["reason"] for each in (shown(server, name) for server in servers)] == [halted["reason"]] * 2
        for server in servers:
            [found] = [each for each in ask(server, "/status")[1]["rollouts"] if each["application"] == name]
            assert (found["status"], found["reason"]) == ("halted", halted["reason"])
            [line] = [each for each in listed(server).splitlines() if each.startswith(f"{name}:")]
            assert "halted" in line
            assert halted["reason"] in line
        assert nodes.served(name) == [1, 1]
        tried = [each for each in fleet.instances.values() if 2 in each.values]
        assert FIRST < len(tried) <= SECOND
        assert {tuple(each.values) for each in tried} == {(1, 2, 1)}
        assert fleet.histories == {(1,), (1, 2, 1)}


async def test_people_act_at_the_node_that_does_not_lead(nodes: Nodes) -> None:
    async with following(nodes, "people") as fleet:
        leader, other = nodes.servers[nodes.leader], nodes.servers[nodes.other]
        halts = partial(nodes.events, "roll-out halted", "people")
        fleet.rejects = lambda name: True
        nodes.push("people", 2, "a")
        await until(lambda: len(halts()) == 1)
        await until(lambda: shown(other, "people")[0]["status"] == "halted")

        assert act(other, "people", "resume")[0] == 200
        await until(lambda: len(halts()) == 2)
        await until(lambda: shown(other, "people")[0]["status"] == "halted")
        assert act(other, "people", "abort")[0] == 200
        await until(lambda: shown(leader, "people")[0]["status"] == "aborted")
        assert [act(each, "people", "resume")[0] for each in (leader, other)] == [409, 409]
        await fleet.all_have(1)
        assert fleet.histories == {(1,), (1, 2, 1, 2, 1)}

        fleet.rejects = lambda name: False
        assert act(other, "people", "promote")[0] == 200
        await fleet.all_have(2)
        await until(lambda: nodes.served("people") == [2, 2])
        assert fleet.histories == {(1, 2), (1, 2, 1, 2, 1, 2)}
        acts = [(each["act"], each["outcome"]) for each in ask(other, "/api/v1/audit")[1]["entries"]]
        assert {("rollout resume", "done"), ("rollout abort", "done"), ("rollout promote", "done")} <= set(acts)


async def test_a_roll_out_that_is_resumed_at_the_other_node_goes_on_to_its_end(nodes: Nodes) -> None:
    async with following(nodes, "resumed") as fleet:
        other = nodes.servers[nodes.other]
        fleet.rejects = lambda name: True
        nodes.push("resumed", 2, "a")
        await until(lambda: bool(nodes.events("roll-out halted", "resumed")))
        await until(lambda: shown(other, "resumed")[0]["status"] == "halted")
        await fleet.all_have(1)
        fleet.rejects = lambda name: False
        assert act(other, "resumed", "resume")[0] == 200
        await fleet.all_have(2)
        await until(lambda: nodes.served("resumed") == [2, 2])

        assert nodes.steps("resumed") == [(1, 1, COUNT), (1, 1, COUNT), (2, 50, COUNT), (3, 100, COUNT)]
        assert fleet.histories == {(1, 2), (1, 2, 1, 2)}


async def test_a_revert_that_one_node_reads_first_brings_all_back(nodes: Nodes) -> None:
    async with following(nodes, "reverted") as fleet:
        fleet.silent = lambda name: fleet.values[2] > FIRST
        nodes.push("reverted", 2, nodes.leader)
        await fleet.reach(SECOND)
        nodes.push("reverted", 1, nodes.other)
        await fleet.all_have(1)
        await until(lambda: all(shown(each, "reverted") == [] for each in nodes.servers.values()))
        await fleet.stays(0)

        assert fleet.histories == {(1,), (1, 2, 1)}


async def test_another_change_begins_anew_and_no_instance_has_both_candidates(nodes: Nodes) -> None:
    async with following(nodes, "again") as fleet:
        fleet.silent = lambda name: fleet.values[2] > FIRST
        nodes.push("again", 2, nodes.leader)
        await fleet.reach(SECOND)
        nodes.push("again", 3, nodes.other)
        await fleet.all_have(3)
        await until(lambda: nodes.served("again") == [3, 3])

        steps = [(1, 1, COUNT), (2, 50, COUNT)]
        assert nodes.steps("again") == [*steps, *steps, (3, 100, COUNT)]
        assert fleet.histories == {(1, 3), (1, 2, 1, 3)}


async def test_a_killed_leader_is_followed_by_the_other_node_and_nobody_else_gets_the_candidate(nodes: Nodes) -> None:
    async with following(nodes, "killed") as fleet:
        fleet.silent = lambda name: fleet.values[2] > FIRST
        nodes.push("killed", 2, "a")
        reached = await fleet.reach(SECOND)
        leader, other = nodes.leader, nodes.other
        await nodes.stop(leader, signal.SIGKILL)
        fleet.move(fleet.at(leader), other, nodes)
        while not nodes.leader:
            await fleet.stays(SECOND)
        await fleet.stays(SECOND)
        assert fleet.having(2) == reached
        fleet.silent = lambda name: False
        fleet.reconnect()
        await fleet.all_have(2)
        await until(lambda: bool(nodes.events("roll-out done", "killed")))

        assert nodes.served("killed") == [2]
        assert nodes.steps("killed") == [(1, 1, COUNT), (2, 50, COUNT), (3, 100, COUNT)]
        assert fleet.histories == {(1, 2)}


async def test_without_etcd_nobody_gets_the_candidate_and_the_roll_out_goes_on_when_it_is_back(
    nodes: Nodes, etcd: EtcdServers
) -> None:
    async with following(nodes, "away") as fleet:
        fleet.silent = lambda name: True
        nodes.push("away", 2, "a")
        reached = await fleet.reach(FIRST)
        servers = nodes.servers.values()
        etcd.kill(0)
        try:
            await until(lambda: {store(each) for each in servers} == {"AWAY"})
            fleet.silent = lambda name: False
            fleet.reconnect()
            await fleet.stays(FIRST, 2)
            assert fleet.having(2) == reached
            assert nodes.served("away") == [1, 1]
            [instance] = reached
            for each in servers:
                assert ask(each, f"/main/away-dev.json?instance={instance}")[1]["a"] == 2
                assert act(each, "away", "promote")[0] == 503
            await fleet.stays(FIRST)
        finally:
            etcd.start(0)
            etcd.wait_ready(0)
        await fleet.all_have(2)
        await until(lambda: nodes.served("away") == [2, 2])

        assert nodes.steps("away") == [(1, 1, COUNT), (2, 50, COUNT), (3, 100, COUNT)]
        assert fleet.histories == {(1, 2)}


def store(server: Server) -> str:
    found: str = ask(server, "/status")[1]["cluster"]["store"]["status"]
    return found


async def test_a_change_that_comes_without_etcd_begins_when_it_is_back(nodes: Nodes, etcd: EtcdServers) -> None:
    async with following(nodes, "later") as fleet:
        etcd.kill(0)
        try:
            await until(lambda: {store(each) for each in nodes.servers.values()} == {"AWAY"})
            nodes.push("later", 2, "a")
            await until(lambda: [each["status"] for each in shown(nodes.servers["a"], "later")] == ["waiting"])
            fleet.reconnect()
            await fleet.stays(0)
            assert shown(nodes.servers["a"], "later")[0]["problem"]
        finally:
            etcd.start(0)
            etcd.wait_ready(0)
        await fleet.all_have(2)
        await until(lambda: nodes.served("later") == [2, 2])

        assert nodes.steps("later") == [(1, 1, COUNT), (2, 50, COUNT), (3, 100, COUNT)]
        assert len(nodes.events("roll-out begun", "later")) == 1
        assert fleet.histories == {(1, 2)}


async def test_a_step_waits_for_the_instances_of_a_node_that_was_killed_and_restarts(nodes: Nodes) -> None:
    async with following(nodes, "restarted") as fleet:
        fleet.silent = lambda name: True
        nodes.push("restarted", 2, "a")
        [first] = await fleet.reach(FIRST)
        leader, other = nodes.leader, nodes.other
        fleet.move([first], leader, nodes)
        fleet.leave(fleet.at(other))
        await nodes.stop(other, signal.SIGKILL)
        await nodes.start(other)
        # The node answers, but its instances aren't back. A step now would be a share of the leader's instances.
        fleet.silent = lambda name: False
        fleet.reconnect([first])
        await fleet.stays(FIRST, 1.5)
        fleet.come_back()
        await fleet.all_have(2)
        await until(lambda: nodes.served("restarted") == [2, 2])

        assert nodes.steps("restarted") == [(1, 1, COUNT), (2, 50, COUNT), (3, 100, COUNT)]
        assert fleet.histories == {(1, 2)}


async def test_a_leader_that_restarts_takes_no_instance_beyond_the_share_with_it(nodes: Nodes) -> None:
    async with following(nodes, "rolling") as fleet:
        fleet.silent = lambda name: True
        nodes.push("rolling", 2, "a")
        [first] = await fleet.reach(FIRST)
        leader, other = nodes.leader, nodes.other
        fleet.move([first], other, nodes)
        there = fleet.at(leader)
        fleet.leave(there)
        await nodes.stop(leader, signal.SIGTERM)
        fleet.silent = lambda name: name != first
        fleet.reconnect([first])
        await fleet.stays(FIRST, 2)
        # A load balancer lets them come to the node that is left.
        fleet.move(there, other, nodes)
        fleet.come_back()
        reached = await fleet.reach(SECOND)
        assert nodes.steps("rolling") == [(1, 1, COUNT), (2, 50, COUNT)]

        await nodes.start(leader)
        fleet.move(there, leader, nodes)
        await fleet.stays(SECOND)
        assert fleet.having(2) == reached
        fleet.silent = lambda name: False
        fleet.reconnect()
        await fleet.all_have(2)
        await until(lambda: nodes.served("rolling") == [2, 2])
        assert nodes.steps("rolling")[2:] == [(3, 100, COUNT)]
        assert fleet.histories == {(1, 2)}

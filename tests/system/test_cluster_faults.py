"""Faults of a cluster with real parts: two vortexd, three members of etcd, and links between them that are cut.

During each fault, each node serves. After it, each node serves the newest commit; the members, /status, the metrics and
the log agree; and the checker of histories finds that no client of a node went backwards. VORTEXD_LONG=1 runs more
rounds, with random faults. They print their seed, and take one from VORTEXD_SEED.
"""

import base64
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio

from ..certificates import make
from ..cluster.etcd_servers import EtcdServers, etcd_program
from ..repository import Repository
from .fleet import Fleet
from .link import Link
from .process import Server
from .test_cluster import events, get, members, webhook
from .test_faults import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(etcd_program() is None, reason="there is no etcd; on Debian, apt-get install etcd-server"),
]

IS_LONG = bool(os.environ.get("VORTEXD_LONG"))
SEED = int(os.environ.get("VORTEXD_SEED") or random.SystemRandom().randrange(2**32))
KEY = "orders:dev:main"
# Seconds until a lease of a node that is lost has ended, with a margin.
LEASE = 25
NEVER = 3600


def document(number: int) -> dict[str, int]:
    """Two halves that belong together."""
    return {"first": number, "second": number}


async def aside(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function that blocks, while the clients go on."""
    return await trio.to_thread.run_sync(function, *arguments)


async def until(is_true: Callable[[], object], seconds: float = 40) -> None:
    with trio.move_on_after(seconds):
        while not await aside(is_true):  # noqa: ASYNC110
            await trio.sleep(0.05)
        return
    raise AssertionError("it didn't come true in time")


class Stand:
    """A repository, and the nodes of one cluster on it.

    Attributes:
        endpoints: The addresses of etcd for each node, by name.
        uri: The address from which the nodes fetch.
        nodes: The nodes that run, by name.
        ports: The port of each node, by name.
        fleets: Clients that stay on one node each, while `following` runs.
    """

    # The name of the cluster.
    cluster = "faults"

    def __init__(self, directory: Path, endpoints: Mapping[str, Sequence[str]], more: str = "") -> None:
        self._directory = directory
        self.endpoints = endpoints
        self.more = more
        self.repository = Repository(directory / "config.git")
        self.uri = self.repository.uri
        self.number = 0
        self.repository.commit(self.files(0))
        self.nodes: dict[str, Server] = {}
        self.fleets: dict[str, Fleet] = {}
        self.ports = {node: free_port() for node in endpoints}

    def files(self, number: int) -> dict[str, str]:
        """Return the files of a commit. They make up its document."""
        return {"orders.json": json.dumps(document(number))}

    def documents(self, number: int) -> dict[str, dict[str, int]]:
        """Return the document of each key after a commit."""
        return {KEY: document(number)}

    def program(self, node: str) -> type[Server]:
        """Return the program of a node."""
        return Server

    def environment(self, node: str) -> dict[str, str]:
        """Return variables for a node, beside those of this process."""
        return {}

    def settings(self, node: str, name: str = "", workers: int = 1) -> str:
        endpoints = self.endpoints.get(node) or [*self.endpoints.values()][-1]
        return (
            f'[server]\nbind = ["127.0.0.1:{self.ports.get(node, 0)}"]\ndrain_timeout = 3.0\nworkers = {workers}\n'
            f'state_directory = "{self.home(node)}/state"\n'
            f'[[source]]\nkind = "git"\nuri = "{self.uri}"\nschemes = ["file", "git"]\n'
            f"refresh_interval = {NEVER}\nhook_interval = 0.1\n"
            f'[cluster]\nname = "{name or self.cluster}"\nnode = "{node}"\n'
            f"endpoints = {json.dumps([*endpoints])}\n{self.more}"
        )

    def home(self, node: str) -> Path:
        path = self._directory / node
        path.mkdir(exist_ok=True)
        return path

    def begin(self, node: str) -> None:
        """Start a node. Its former process, if there was one, has ended or ends now."""
        if node in self.nodes:
            self.nodes[node].__exit__()
        program, environment = self.program(node), self.environment(node)
        self.nodes[node] = program(self.home(node) / "x", settings=self.settings(node), environment=environment)

    def end(self) -> None:
        for server in self.nodes.values():
            server.__exit__()

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow each node with clients. At the end, compare what they were sent with what was pushed."""
        async with trio.open_nursery() as nursery:
            self.fleets = {node: Fleet(nursery, self.ports[node]) for node in self.nodes}
            for fleet in self.fleets.values():
                fleet.publishing(self.documents(self.number))
                fleet.follow(KEY, 3)
                await fleet.wait_all({KEY: document(self.number)})
            yield
            await self.all_well()
            for fleet in self.fleets.values():
                await fleet.wait_answered()
                fleet.stop()
            nursery.cancel_scope.cancel()

    async def push(self, at: str) -> None:
        """Commit a new document, and send the webhook to one node, or to none."""
        self.number += 1
        for fleet in self.fleets.values():
            fleet.publishing(self.documents(self.number))
        await aside(self.repository.commit, self.files(self.number))
        if at:
            await aside(webhook, self.nodes[at])

    async def push_and_announce(self, at: str) -> None:
        """Push, and wait until the node's hint of the new state is written, which is the last one of a push."""
        key = base64.b64encode(f"/vortexd/{self.cluster}/hints/{at}".encode()).decode()

        def announced() -> object:
            found = ask_etcd(self.endpoints["b"][0], "kv/range", {"key": key}).get("kvs")
            return json.loads(base64.b64decode(found[0]["value"]))["sources"] if found else None

        before = await aside(announced)
        await self.push(at)
        await self.arrived(at)
        await until(lambda: announced() not in (before, None, {}))

    async def arrived(self, *nodes: str, seconds: float = 40) -> None:
        """Wait until the clients of these nodes have the newest document."""
        for node in nodes or self.nodes:
            await self.fleets[node].wait_all({KEY: document(self.number)}, seconds)

    async def all_well(self) -> None:
        """Wait until the nodes agree. Then one push at each node reaches all of them."""
        await self.agreed()
        for node in self.nodes:
            await self.push(node)
            await self.arrived()
        # A node whose former process was killed gets a new lease only when the former lease has ended.
        await self.agreed()

    async def agreed(self, seconds: float = 60) -> None:
        """Wait until nothing contradicts that all is well."""
        deadline = trio.current_time() + seconds
        while found := await aside(self.complaints):
            assert trio.current_time() < deadline, found
            await trio.sleep(0.1)

    def complaints(self) -> list[str]:
        """Everything in which /status, the metrics and the log of the nodes don't say that all is well."""
        found = []
        leaders = set()
        expected = dict.fromkeys(sorted(self.nodes), "serving")
        for node, server in self.nodes.items():
            status, text = get(server, "/status"), get(server, "/metrics")
            cluster = status["cluster"]
            listed = {each["node"]: each["state"] for each in cluster["members"]}
            leaders.add(cluster["leader"])
            away, back = (len(events(server, f"cluster store {each}")) for each in ("away", "back"))
            checks = {
                "the store is up": cluster["store"]["status"] == "UP",
                "the metric says that the store is up": metric(text, "vortexd_cluster_store_up") == 1,
                "all members serve": listed == expected,
                "the metric counts them": metric(text, 'vortexd_cluster_members{state="serving"}') == len(expected),
                "the metric counts no other": metric(text, 'vortexd_cluster_members{state="away"}') == 0,
                "each failure of the store has ended": away == back,
                "the source is up": [each["status"] for each in status["sources"]] == ["UP"],
                "nothing is an error": not re.search(r'"level": "error"|Traceback', server.output()),
            }
            found += [f"{node}: not true: {name}" for name, is_true in checks.items() if not is_true]
        if len(leaders) != 1 or not leaders <= self.nodes.keys():
            found.append(f"leaders: {leaders}")
        return found

    def is_served(self, node: str) -> bool:
        """Whether a node serves the newest commit."""
        sources = get(self.nodes[node], "/orders/dev")["propertySources"]
        served: dict[str, int] = {}
        for each in reversed(sources):
            served |= each["source"]
        return served == document(self.number)

    def is_store(self, node: str, status: str) -> bool:
        """Whether the state of the store is this at a node, by /status, the metric and the log."""
        server = self.nodes[node]
        is_up = status == "UP"
        away, back = (len(events(server, f"cluster store {each}")) for each in ("away", "back"))
        return bool(
            get(server, "/status")["cluster"]["store"]["status"] == status
            and metric(get(server, "/metrics"), "vortexd_cluster_store_up") == is_up
            and (away == back) == is_up
        )


def metric(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} ([\d.]+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


class Place:
    """A stand on three members of etcd. Node a reaches them through `links`, and they reach each other through `peers`."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        (directory / "etcd").mkdir()
        self.peers: list[Link] = []

        def through(port: int) -> int:
            self.peers.append(stack.enter_context(Link(port)))
            return self.peers[-1].port

        self.servers = stack.enter_context(EtcdServers(directory / "etcd", through=through))
        ports = [urlsplit(each).port or 0 for each in self.servers.endpoints]
        self.links = [stack.enter_context(Link(port)) for port in ports]
        linked = [f"http://127.0.0.1:{each.port}" for each in self.links]
        # Node b turns to another member first, so the two nodes watch at different members.
        self.stand = Stand(directory, {"a": linked, "b": [*self.servers.endpoints[1:], self.servers.endpoints[0]]})
        stack.callback(self.stand.end)
        for node in ("a", "b"):
            self.stand.begin(node)

    async def ready(self, *numbers: int) -> None:
        for number in numbers:
            await aside(self.servers.wait_ready, number)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path_factory.mktemp("faults"), stack)


def ask_etcd(endpoint: str, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(f"{endpoint}/v3/{path}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def put(endpoint: str, key: str, value: bytes) -> int:
    """Write a key, and return the revision."""
    body = {"key": base64.b64encode(key.encode()).decode(), "value": base64.b64encode(value).decode()}
    return int(ask_etcd(endpoint, "kv/put", body)["header"]["revision"])


async def test_one_member_of_etcd_that_is_killed_or_frozen_holds_up_nothing(place: Place) -> None:
    stand, servers = place.stand, place.servers
    chosen = random.Random(SEED)
    print(f"VORTEXD_SEED={SEED}")
    async with stand.following():
        # The test of a full restart kills members in the short form, too.
        for round in range(12 if IS_LONG else 1):
            is_killed, number = round % 2 == 1, chosen.randrange(3)
            (servers.kill if is_killed else servers.freeze)(number)
            try:
                # The other two go on, after an election if the leader is the one.
                await stand.push("a")
                await stand.arrived()
            finally:
                (servers.start if is_killed else servers.resume)(number)
            await place.ready(number)


async def test_a_node_that_is_killed_or_frozen_has_the_newest_commit_when_it_is_back(place: Place) -> None:
    stand = place.stand
    async with stand.following():
        for round in range(4 if IS_LONG else 2):
            is_killed = round % 2 == 0
            stand.nodes["b"].process.send_signal(signal.SIGKILL if is_killed else signal.SIGSTOP)
            try:
                await stand.push("a")
                await stand.arrived("a")
                if IS_LONG:
                    await until(lambda: members(stand.nodes["a"]) == {"a": "serving", "b": "away"}, LEASE)
                    await until(lambda: get(stand.nodes["a"], "/status")["cluster"]["leader"] == "a", LEASE)
            finally:
                if is_killed:
                    await aside(stand.begin, "b")
                else:
                    stand.nodes["b"].process.send_signal(signal.SIGCONT)
            await stand.arrived()
            await stand.agreed()


@pytest.mark.parametrize("is_silent", [False, True])
async def test_a_node_without_a_link_to_etcd_serves_and_is_back_with_the_newest_commit(
    place: Place, is_silent: bool
) -> None:
    stand = place.stand
    if is_silent and not IS_LONG:
        pytest.skip("a link that falls silent is noticed after 10 to 20 seconds")
    async with stand.following():
        for link in place.links:
            (link.silence if is_silent else link.cut)()
        try:
            await until(lambda: stand.is_store("a", "AWAY"))
            assert get(stand.nodes["a"], "/ready") == {"status": "UP"}
            await stand.push("a")
            await stand.arrived("a")
            await stand.push_and_announce("b")
            if IS_LONG:
                await until(lambda: members(stand.nodes["b"])["a"] == "away", LEASE)
        finally:
            for link in place.links:
                link.mend()
        await stand.arrived()


async def test_compaction_while_a_watch_is_interrupted_makes_the_node_read_anew(place: Place) -> None:
    stand, endpoint = place.stand, place.servers.endpoints[0]
    async with stand.following():
        # The node sleeps, so it tries to go on with its watch only when the revisions are gone.
        stand.nodes["a"].process.send_signal(signal.SIGSTOP)
        try:
            for link in place.links:
                link.cut()
            await stand.push_and_announce("b")
            revision = await aside(put, endpoint, "/other", b"")
            await aside(ask_etcd, endpoint, "kv/compaction", {"revision": str(revision), "physical": True})
        finally:
            for link in place.links:
                link.mend()
            stand.nodes["a"].process.send_signal(signal.SIGCONT)
        await stand.arrived()
        assert events(stand.nodes["a"], "cluster read anew")


async def test_without_links_between_the_members_etcd_is_away_and_comes_back(place: Place) -> None:
    stand = place.stand
    async with stand.following():
        for count in (1, 3, 1, 2, 3) if IS_LONG else (3,):
            for link in place.peers[:count]:
                (link.silence if IS_LONG and count == 2 else link.cut)()
            try:
                if count == 3:
                    await until(lambda: stand.is_store("a", "AWAY") and stand.is_store("b", "AWAY"))
                await stand.push("a")
                await stand.arrived("a")
            finally:
                for link in place.peers:
                    link.mend()
            await stand.arrived()


async def test_a_full_restart_of_etcd_reaches_all_workers_and_mixes_no_clusters(place: Place) -> None:
    stand, servers = place.stand, place.servers
    with (
        await aside(partial(Server, stand.home("w") / "x", settings=stand.settings("w", "other", 2))) as workers,
        await aside(partial(Server, stand.home("v") / "x", settings=stand.settings("v", "other"))) as fourth,
    ):

        def is_well() -> bool:
            text = get(workers, "/metrics")
            ups = [metric(text, f'vortexd_cluster_store_up{{worker="{each}"}}') for each in (0, 1)]
            return ups == [1, 1] and members(workers) == members(fourth) == {"w": "serving", "v": "serving"}

        def served() -> set[int]:
            answers = [get(workers, "/orders/dev")["propertySources"][0]["source"]["first"] for _ in range(20)]
            return {*answers, get(fourth, "/orders/dev")["propertySources"][0]["source"]["first"]}

        await until(is_well)
        async with stand.following():
            for _ in range(3 if IS_LONG else 1):
                for number in range(3):
                    servers.kill(number)
                await until(lambda: stand.is_store("a", "AWAY") and stand.is_store("b", "AWAY"))
                await stand.push("b")
                await stand.arrived("b")
                for number in range(3):
                    servers.start(number)
                await place.ready(0, 1, 2)
                await stand.arrived()
                await until(is_well)
                # Each process of the other cluster fetches once, because it has read etcd anew.
                before = {stand.number}
                await until(lambda: served() == {stand.number}, 10)
                # A process whose watch ends once more reads etcd anew, and fetches a second time.
                await trio.sleep(2)
                # The hints of the cluster are none for the other cluster.
                await stand.push("a")
                await stand.arrived()
                await trio.sleep(1)
                assert await aside(served) == before
                await aside(webhook, fourth)
                await until(lambda: served() == {stand.number})
        assert await aside(workers.stop) == 0
        assert await aside(fourth.stop) == 0
        assert not events(workers, "cluster node name taken")


@pytest.mark.parametrize("is_stopped_twice", [False, True] if IS_LONG else [False])
async def test_a_node_ends_in_bounded_time_while_etcd_hangs(place: Place, is_stopped_twice: bool) -> None:
    stand, servers = place.stand, place.servers
    async with stand.following():
        for number in range(3):
            servers.freeze(number)
        try:
            began = time.monotonic()
            stand.nodes["b"].process.send_signal(signal.SIGTERM)
            if is_stopped_twice:
                await trio.sleep(1)
                stand.nodes["b"].process.send_signal(signal.SIGTERM)
            # The drain, and then the farewells to etcd.
            status = await aside(partial(stand.nodes["b"].process.wait, 20))
            assert time.monotonic() - began < 3 + 6
            assert is_stopped_twice or status == 0
        finally:
            for number in range(3):
                servers.resume(number)
        await place.ready(0, 1, 2)
        await aside(stand.begin, "b")


def ctl(endpoint: str, *arguments: str, ca: Path | None = None, text: str = "") -> None:
    trusted = [] if ca is None else ["--cacert", str(ca)]
    subprocess.run(
        ["etcdctl", "--endpoints", endpoint, *trusted, *arguments],
        check=True,
        capture_output=True,
        input=text.encode(),
        env={"ETCDCTL_API": "3", "PATH": "/usr/local/bin:/usr/bin:/bin"},
        timeout=30,
    )


needs_etcdctl = pytest.mark.skipif(
    shutil.which("etcdctl") is None, reason="there is no etcdctl; on Debian, apt-get install etcd-client"
)


@needs_etcdctl
async def test_an_etcd_without_space_is_reported_and_is_back_after_the_alarm(tmp_path: Path) -> None:
    (tmp_path / "etcd").mkdir()
    with EtcdServers(tmp_path / "etcd", 1, ["--quota-backend-bytes", "4194304"]) as servers, ExitStack() as stack:
        [endpoint] = servers.endpoints
        stand = Stand(tmp_path, {"a": [endpoint], "b": [endpoint]})
        stack.callback(stand.end)
        for node in ("a", "b"):
            await aside(stand.begin, node)
        await stand.agreed()
        async with stand.following():
            with pytest.raises(urllib.error.HTTPError) as refused:
                for _ in range(20):
                    revision = await aside(put, endpoint, "/filler", bytes(900_000))
            refused.value.close()
            await stand.push("a")
            await stand.arrived("a")
            await until(lambda: stand.is_store("a", "AWAY"))
            for line in (
                get(stand.nodes["a"], "/status")["cluster"]["store"]["last_error"],
                events(stand.nodes["a"], "cluster store away")[-1]["reason"],
            ):
                assert "no space left" in line
                assert "etcdctl alarm disarm" in line
            # A hint couldn't be written. So node b has to look by itself.
            await aside(webhook, stand.nodes["b"])
            await stand.arrived("b")
            # These are the commands of the page for operators.
            await aside(partial(ctl, endpoint, "compact", str(revision)))
            await aside(partial(ctl, endpoint, "defrag"))
            await aside(partial(ctl, endpoint, "alarm", "disarm"))
            await until(lambda: stand.is_store("a", "UP"))


@needs_etcdctl
async def test_with_tls_and_a_user_nodes_outlive_a_restart_of_etcd_and_a_new_password(tmp_path: Path) -> None:
    (tmp_path / "etcd").mkdir()
    certificate, key = make(tmp_path)
    with EtcdServers(tmp_path / "etcd", 1, tls=(certificate, key)) as servers, ExitStack() as stack:
        [endpoint] = servers.endpoints
        admin = partial(ctl, endpoint, ca=certificate)
        for line in (
            "user add root:root",
            "user grant-role root root",
            "role add vortexd",
            "role grant-permission vortexd --prefix=true readwrite /vortexd/faults/",
            "user add vortexd:first",
            "user grant-role vortexd vortexd",
            "auth enable",
        ):
            await aside(admin, *line.split())
        password = tmp_path / "password"
        password.touch(0o600)
        password.write_text("first\n")
        more = f'user = "vortexd"\npassword_file = "{password}"\nca_file = "{certificate}"\n'
        stand = Stand(tmp_path, {"a": [endpoint], "b": [endpoint]}, more)
        stack.callback(stand.end)
        for node in ("a", "b"):
            await aside(stand.begin, node)
        await stand.agreed()
        async with stand.following():
            # etcd forgets its tokens. The nodes ask for new ones.
            servers.kill(0)
            await until(lambda: stand.is_store("a", "AWAY"))
            servers.start(0)
            await stand.agreed()
            for each in stand.nodes.values():
                assert not [line for line in events(each, "cluster store away") if "refuses" in line["reason"]]

            # Node a is told. Node b reads the file by itself when it needs a new token.
            passwd = "--user root:root user passwd vortexd --interactive=false"
            await aside(partial(admin, *passwd.split(), text="second\n"))
            password.write_text("second\n")
            stand.nodes["a"].process.send_signal(signal.SIGHUP)
            await until(lambda: events(stand.nodes["a"], "reloaded"))


@needs_etcdctl
async def test_an_etcd_that_is_restored_from_a_backup_is_read_anew(tmp_path: Path) -> None:
    directory = tmp_path / "etcd"
    directory.mkdir()
    with EtcdServers(directory, 1) as servers, ExitStack() as stack:
        [endpoint] = servers.endpoints
        stand = Stand(tmp_path, {"a": [endpoint], "b": [endpoint]})
        stack.callback(stand.end)
        for node in ("a", "b"):
            await aside(stand.begin, node)
        await stand.agreed()
        async with stand.following():
            backup = tmp_path / "etcd.db"
            await aside(servers.save, backup)
            for _ in range(20):
                await aside(put, endpoint, "/other", b"")
            await stand.push("a")
            await stand.arrived()
            servers.kill(0)
            await until(lambda: stand.is_store("a", "AWAY") and stand.is_store("b", "AWAY"))
            await aside(servers.restore, backup)
            servers.start(0)
            await aside(servers.wait_ready, 0)
            await stand.push("b")
            await stand.arrived()

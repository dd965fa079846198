"""Real vortexd and a real etcd: a node with git publishes, and a node without git serves it, also while git is away."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import trio
from trio_websocket import open_websocket_url

from ..cluster.etcd_servers import EtcdServers, etcd_program
from ..repository import Repository
from .process import Server
from .test_cluster import Cluster, ctl, events, get, size, until, webhook

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServers]:
    if etcd_program() is None:
        pytest.skip("there is no etcd")
    with EtcdServers(tmp_path_factory.mktemp("etcd")) as servers:
        yield servers


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "config.git")
    made.commit({"orders-dev.yml": "size: 1\n", "large.bin": "0123456789abcdef" * 100_000})
    return made


class Published(Cluster):
    """Starts nodes that publish, and nodes that have no source but what is published."""

    def publishing(self, node: str, versions: int = 2) -> str:
        return self.settings(node) + f"publish = true\npublished_versions = {versions}\n"

    def reading(self, node: str) -> str:
        endpoints = json.dumps(self.endpoints)
        return (
            f'[server]\nbind = ["127.0.0.1:0"]\nstate_directory = "{self.directory(node)}/state"\n'
            f'[[source]]\nkind = "published"\ncluster = "{self.name}"\nendpoints = {endpoints}\n'
            f'[cluster]\nname = "{self.name}"\nnode = "{node}"\nendpoints = {endpoints}\n'
        )


@pytest.fixture
def cluster(tmp_path: Path, repository: Repository, servers: EtcdServers) -> Published:
    return Published(tmp_path, repository, servers.endpoints)


def version(server: Server) -> str:
    found: str = get(server, "/orders/dev")["version"]
    return found


def open_websocket(port: int) -> socket.socket:
    """Open a WebSocket that never answers a close frame."""
    opened = socket.create_connection(("127.0.0.1", port))
    opened.sendall(
        b"GET /ws/orders/dev HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert opened.recv(100).startswith(b"HTTP/1.1 101")
    return opened


def number(server: Server) -> int:
    published = get(server, "/status")["cluster"].get("published")
    return published["number"] if published is not None else 0


async def first_message(port: int, version: str) -> dict[str, Any]:
    """Connect as a client that has a version, and return the first message."""
    address = f"ws://127.0.0.1:{port}/ws/orders/dev?last_version={version}"
    with trio.fail_after(20):
        async with open_websocket_url(address) as connection:
            found: dict[str, Any] = json.loads(await connection.get_message())
            return found


def document(server: Server) -> tuple[str, Any]:
    """Return the version and the document of a key."""
    message = trio.run(first_message, server.port, "")
    return message["version"], message["config"]


def resumed(server: Server, version: str) -> dict[str, Any]:
    return trio.run(first_message, server.port, version)


def has_size(server: Server, wanted: int) -> bool:
    return size(server) == wanted


FILLER = "".join(f"setting-{number}: {'x' * 40}\n" for number in range(20))


def test_after_a_restart_of_everything_a_client_resumes_from_each_kept_version(cluster: Published) -> None:
    known: list[tuple[str, Any]] = []
    with (
        cluster.start("a", cluster.publishing("a", 3)) as a,
        cluster.start("b", cluster.reading("b")) as b,
    ):
        for each in range(4):
            cluster.repository.commit({"orders-dev.yml": f"size: {each}\nonly-{each}: true\n{FILLER}"})
            webhook(a)
            until(partial(has_size, b, each))
            known.append(document(b))
        until(lambda: number(b) == 5)
        # The oldest version is deleted a moment after the newest one is written.
        time.sleep(1)
        assert (a.stop(), b.stop()) == (0, 0)
    with cluster.start("b", cluster.reading("b")) as b, cluster.start("a", cluster.publishing("a", 3)) as a:
        assert document(b) == document(a) == known[-1]
        for node in (b, a):
            for version, before in known[1:-1]:
                message = resumed(node, version)
                assert (message["type"], message["old_version"]) == ("config_change", version)
                assert message["new_version"] == known[-1][0]
                assert jsonpatch.apply_patch(before, message["diff"]) == known[-1][1]
            assert resumed(node, known[0][0])["type"] == "config_snapshot"
            assert resumed(node, "0" * 16)["type"] == "config_snapshot"
            assert resumed(node, known[-1][0])["type"] == "in_sync"


def test_a_node_without_git_serves_what_another_publishes_also_while_git_is_away(cluster: Published) -> None:
    with cluster.start("a", cluster.publishing("a")) as a:
        until(lambda: number(a) == 1)
        with cluster.start("b", cluster.reading("b")) as b:
            until(lambda: number(b) == 1)
            assert (size(b), version(b)) == (1, version(a))
            one, other = (get(each, "/orders/dev")["propertySources"] for each in (a, b))
            assert one == other

            began = time.monotonic()
            cluster.repository.commit({"orders-dev.yml": "size: 2\n"})
            webhook(a)
            until(lambda: size(b) == 2, 5)
            print(f"from the webhook at a to the response of b: {time.monotonic() - began:.3f} s")
            said = get(b, "/status")
            assert (said["cluster"]["published"]["number"], said["cluster"]["published"]["by"]) == (2, "a")
            assert said["sources"][0]["kind"] == "published"
            assert said["sources"][0]["revision"] == version(a)
            assert get(a, "/status")["cluster"]["publishing"] == {"status": "UP", "last_error": None}
            assert "vortexd_cluster_published_version 2.0" in get(b, "/metrics")

            # Git is gone, and the node that publishes was killed.
            cluster.repository.path.rename(cluster.repository.path.with_name("away.git"))
            a.stop(signal.SIGKILL)
            assert size(b) == 2
            assert b.stop() == 0
    with cluster.start("b", cluster.reading("b")) as b, cluster.start("c", cluster.reading("c")) as c:
        assert (size(b), size(c)) == (2, 2)
        assert get(b, "/ready") == {"status": "UP"}


def test_a_new_node_that_publishes_starts_from_etcd_while_git_does_not_answer(cluster: Published) -> None:
    with cluster.start("a", cluster.publishing("a")) as a:
        until(lambda: number(a) == 1)
        before = get(a, "/orders/dev")
        assert a.stop() == 0
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = cluster.publishing("b").replace(
            f'uri = "{cluster.repository.uri}"\nschemes = ["file"]',
            f'uri = "git://127.0.0.1:{silent.getsockname()[1]}/config.git"\nschemes = ["git"]',
        )
        with cluster.start("b", settings) as b:
            assert get(b, "/orders/dev") == before
            assert get(b, "/ready") == {"status": "UP"}
            [event] = events(b, "published state stands in")
            assert event["source"] == f"published:{cluster.name}"
            assert b.stop() == 0


def test_a_node_that_publishes_serves_its_sources_again_once_git_is_back(cluster: Published) -> None:
    with cluster.start("a", cluster.publishing("a")) as a:
        until(lambda: number(a) == 1)
        assert a.stop() == 0
    away = cluster.repository.path.with_name("away.git")
    cluster.repository.path.rename(away)
    settings = cluster.publishing("b").replace("refresh_interval = 3600", "refresh_interval = 1")
    with cluster.start("b", settings) as b:
        assert size(b) == 1
        until(lambda: get(b, "/status")["cluster"]["leader"] == "b")
        assert get(b, "/status")["sources"][0]["status"] != "UP"
        # It leads, but what it has read from etcd isn't published again.
        assert number(b) == 1
        away.rename(cluster.repository.path)
        cluster.repository.commit({"orders-dev.yml": "size: 2\n"})
        until(lambda: size(b) == 2, 30)
        until(lambda: number(b) == 2)


def test_a_node_that_publishes_takes_the_lead_from_one_that_does_not(cluster: Published) -> None:
    with cluster.start("a", cluster.publishing("a")) as a:
        until(lambda: number(a) == 1)
        with cluster.start("b", cluster.reading("b")) as b:
            assert a.stop() == 0
            until(lambda: get(b, "/status")["cluster"]["leader"] == "b")
            cluster.repository.commit({"orders-dev.yml": "size: 2\n"})
            with cluster.start("a", cluster.publishing("a")):
                until(lambda: size(b) == 2, 10)
                assert get(b, "/status")["cluster"]["leader"] == "a"


def test_a_leader_that_drains_leaves_the_lead_and_the_publishing_to_another_node_at_once(cluster: Published) -> None:
    with cluster.start("a", cluster.publishing("a")) as a, cluster.start("b", cluster.publishing("b")) as b:
        until(lambda: number(b) == 1)
        leader, other, name = (a, b, "b") if get(a, "/status")["cluster"]["leader"] == "a" else (b, a, "a")
        with open_websocket(leader.port), ThreadPoolExecutor(1) as thread:
            stopped = thread.submit(leader.stop)
            took = until(lambda: get(other, "/status")["cluster"]["leader"] == name, 5)
            cluster.repository.commit({"orders-dev.yml": "size: 2\n"})
            webhook(other)
            until(lambda: number(other) == 2, 5)
            # The client holds up the end of the former leader.
            assert not stopped.done()
            assert get(other, "/status")["cluster"]["published"]["by"] == name
            print(f"from SIGTERM to the new leader: {took:.3f} s")
        assert stopped.result() == 0


def test_a_new_node_waits_for_a_chunk_that_is_missing_and_the_publisher_repairs_it(
    cluster: Published, servers: EtcdServers
) -> None:
    with cluster.start("a", cluster.publishing("a")) as a:
        until(lambda: number(a) == 1)
        ctl(servers, "del", "--prefix", f"/vortexd-published/{cluster.name}/chunks/")
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(cluster.start, "b", cluster.reading("b"))
            time.sleep(3)
            assert not waiting.done()
            assert a.stop() == 0
            with cluster.start("a", cluster.publishing("a")), waiting.result() as b:
                assert size(b) == 1
                [event] = events(b, "source unreadable")
                assert "which etcd doesn't have; wait for the next version, or restart" in event["reason"]


def test_a_reader_keeps_its_state_while_etcd_is_cut_off(cluster: Published, servers: EtcdServers) -> None:
    with (
        cluster.start("a", cluster.publishing("a")) as a,
        cluster.start("b", cluster.reading("b")) as b,
    ):
        until(lambda: number(b) == 1 and size(b) == 1)
        for each in range(3):
            servers.kill(each)
        try:
            until(lambda: get(b, "/status")["sources"][0]["status"] == "STALE", 30)
            cluster.repository.commit({"orders-dev.yml": "size: 2\n"})
            webhook(a)
            until(lambda: size(a) == 2)
            assert size(b) == 1
        finally:
            for each in range(3):
                servers.start(each)
            for each in range(3):
                servers.wait_ready(each)
        until(lambda: size(b) == 2, 60)
        assert len(events(a, "publication failed")) <= 1

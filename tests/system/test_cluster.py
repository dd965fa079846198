"""Several real vortexd on one bare repository and a real etcd of three members: one push reaches all of them."""

import json
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..cluster.etcd_servers import EtcdServers, etcd_program
from ..repository import Repository
from .process import Server

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
    made.commit({"orders-dev.yml": "size: 1\n"})
    return made


_names = iter(range(1_000_000))


class Cluster:
    """Starts nodes of one cluster."""

    def __init__(self, directory: Path, repository: Repository, endpoints: list[str]) -> None:
        self.name = f"test-{next(_names)}"
        self.repository = repository
        self.endpoints = endpoints
        self._directory = directory

    def settings(self, node: str, endpoints: list[str] | None = None, interval: float = 3600, **server: Any) -> str:
        own = "".join(f"{name} = {value}\n" for name, value in server.items())
        return (
            f'[server]\nbind = ["127.0.0.1:0"]\nstate_directory = "{self.directory(node)}/state"\n{own}'
            f'[[source]]\nkind = "git"\nuri = "{self.repository.uri}"\nschemes = ["file"]\n'
            f"refresh_interval = {interval}\n"
            f'[cluster]\nname = "{self.name}"\nnode = "{node}"\nadvertise = "http://{node}.example:8888"\n'
            f"endpoints = {json.dumps(endpoints or self.endpoints)}\n"
        )

    def directory(self, node: str) -> Path:
        path = self._directory / node
        path.mkdir(exist_ok=True)
        return path

    def start(self, node: str, settings: str = "") -> Server:
        return Server(self.directory(node) / "x", settings=settings or self.settings(node))


@pytest.fixture
def cluster(tmp_path: Path, repository: Repository, servers: EtcdServers) -> Cluster:
    return Cluster(tmp_path, repository, servers.endpoints)


def get(server: Server, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as response:
        body = response.read()
    return body.decode() if path == "/metrics" else json.loads(body)


def size(server: Server) -> int:
    found: int = get(server, "/orders/dev")["propertySources"][0]["source"]["size"]
    return found


def webhook(server: Server) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/monitor", b'{"path": "orders"}', {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10):
        pass


def until(is_true: Callable[[], object], seconds: float = 20) -> float:
    """Wait until something is true, and return the seconds that it took."""
    began = time.monotonic()
    while not is_true():
        assert time.monotonic() < began + seconds, "it didn't come true in time"
        time.sleep(0.02)
    return time.monotonic() - began


def members(server: Server) -> dict[str, str]:
    return {each["node"]: each["state"] for each in get(server, "/status")["cluster"]["members"]}


def events(server: Server, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in server.output().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def test_a_webhook_at_one_node_makes_the_other_serve_the_commit(cluster: Cluster) -> None:
    with cluster.start("a") as a, cluster.start("b") as b:
        until(lambda: members(a) == members(b) == {"a": "serving", "b": "serving"})
        assert (size(a), size(b)) == (1, 1)
        cluster.repository.commit({"orders-dev.yml": "size: 2\n"})
        webhook(a)
        until(lambda: size(b) == 2, 3)
        assert size(a) == 2

        [said, other] = [get(each, "/status")["cluster"] for each in (a, b)]
        assert (said["name"], said["node"], other["node"]) == (cluster.name, "a", "b")
        assert said["store"]["status"] == "UP"
        assert said["members"] == other["members"]
        assert said["leader"] == other["leader"] in ("a", "b")
        assert said["members"][0]["address"] == "http://a.example:8888"
        assert 'vortexd_cluster_members{state="serving"} 2.0' in get(b, "/metrics")
        assert re.search(r'vortexd_cluster_hints_total{direction="announced"} [1-9]', get(a, "/metrics"))
        assert re.search(r'vortexd_cluster_hints_total{direction="heard"} [1-9]', get(b, "/metrics"))


def test_a_commit_that_one_node_notices_reaches_the_other(cluster: Cluster) -> None:
    with cluster.start("a", cluster.settings("a", interval=0.3)) as a, cluster.start("b") as b:
        until(lambda: members(b) == {"a": "serving", "b": "serving"})
        cluster.repository.commit({"orders-dev.yml": "size: 2\n"})
        until(lambda: size(b) == 2, 5)
        assert size(a) == 2


def test_nodes_go_on_without_etcd_and_look_when_it_is_back(cluster: Cluster, servers: EtcdServers) -> None:
    with cluster.start("a") as a, cluster.start("b") as b:
        until(lambda: members(a) == members(b) == {"a": "serving", "b": "serving"})
        for number in range(3):
            servers.kill(number)
        try:
            until(lambda: get(a, "/status")["cluster"]["store"]["status"] == "AWAY", 30)
            until(lambda: get(b, "/status")["cluster"]["store"]["status"] == "AWAY", 30)
            cluster.repository.commit({"orders-dev.yml": "size: 2\n"})
            webhook(a)
            until(lambda: size(a) == 2)
            assert size(b) == 1
            assert get(a, "/ready") == {"status": "UP"}
            assert "vortexd_cluster_store_up 0.0" in get(a, "/metrics")
            assert get(a, "/status")["cluster"]["store"]["last_error"]
        finally:
            for number in range(3):
                servers.start(number)
            for number in range(3):
                servers.wait_ready(number)
        until(lambda: size(b) == 2, 30)
        until(lambda: members(a) == members(b) == {"a": "serving", "b": "serving"}, 40)
        until(lambda: all(get(each, "/status")["cluster"]["store"]["status"] == "UP" for each in (a, b)), 30)
        for each in (a, b):
            assert len(events(each, "cluster store away")) == 1
            assert len(events(each, "cluster store back")) == 1


def test_a_node_that_drains_leaves_and_is_back_after_its_restart(cluster: Cluster) -> None:
    with cluster.start("a") as a:
        with cluster.start("b") as b:
            until(lambda: members(a) == {"a": "serving", "b": "serving"})
            began = time.monotonic()
            assert b.stop() == 0
            assert time.monotonic() - began < 10
            until(lambda: members(a) == {"a": "serving"}, 5)
        cluster.repository.commit({"orders-dev.yml": "size: 2\n"})
        with cluster.start("b") as b:
            # It fetches at its start, and tells the others of the commit that they don't know.
            until(lambda: size(b) == 2, 5)
            until(lambda: size(a) == 2, 5)
            until(lambda: members(a) == {"a": "serving", "b": "serving"}, 5)


def test_a_node_that_was_killed_is_away_until_it_is_back(cluster: Cluster) -> None:
    with cluster.start("a") as a:
        with cluster.start("b") as b:
            until(lambda: members(a) == {"a": "serving", "b": "serving"})
            b.stop(signal.SIGKILL)
        until(lambda: members(a) == {"a": "serving", "b": "away"}, 40)
        assert get(a, "/status")["cluster"]["leader"] in ("a", None)
        with cluster.start("b") as b:
            until(lambda: members(a) == {"a": "serving", "b": "serving"}, 10)
            until(lambda: get(b, "/status")["cluster"]["leader"] == "a", 10)


def test_every_worker_hears_hints_and_one_of_them_is_the_member(cluster: Cluster) -> None:
    with cluster.start("a", cluster.settings("a", workers=2)) as a, cluster.start("b") as b:
        until(lambda: members(b) == {"a": "serving", "b": "serving"})
        until(lambda: get(a, "/status")["cluster"]["store"]["status"] == "UP")

        def sizes() -> set[int]:
            return {size(a) for _ in range(20)}

        cluster.repository.commit({"orders-dev.yml": "size: 2\n"})
        webhook(b)
        until(lambda: sizes() == {2}, 5)
        said = get(a, "/status")
        [other] = said["workers"].values()
        assert said["cluster"]["members"] == other["cluster"]["members"]
        assert 'vortexd_cluster_store_up{worker="0"} 1.0' in get(a, "/metrics")
        assert 'vortexd_cluster_store_up{worker="1"} 1.0' in get(a, "/metrics")
        assert not events(a, "cluster node name taken")
        assert a.stop() == 0
        until(lambda: members(b) == {"b": "serving"}, 5)


def test_a_reload_with_other_endpoints_reaches_the_store(cluster: Cluster) -> None:
    wrong = cluster.settings("a", ["http://127.0.0.1:9"])
    with cluster.start("a", wrong) as a:
        until(lambda: events(a, "cluster store away"))
        assert get(a, "/status")["cluster"]["store"]["status"] == "AWAY"
        assert get(a, "/ready") == {"status": "UP"}
        (cluster.directory("a") / "vortexd.toml").write_text(cluster.settings("a"))
        a.process.send_signal(signal.SIGHUP)
        until(lambda: members(a) == {"a": "serving"}, 10)
        assert len(events(a, "cluster store away")) == 1


def test_two_clusters_in_one_etcd_do_not_meet(cluster: Cluster, tmp_path: Path) -> None:
    other = Cluster(tmp_path, cluster.repository, cluster.endpoints)
    assert other.name != cluster.name
    with cluster.start("a") as a, other.start("b") as b:
        until(lambda: members(a) == {"a": "serving"} and members(b) == {"b": "serving"})
        cluster.repository.commit({"orders-dev.yml": "size: 2\n"})
        webhook(a)
        until(lambda: size(a) == 2)
        time.sleep(1.5)
        assert size(b) == 1


@pytest.mark.skipif(etcd_program() is None, reason="there is no etcd")
def test_a_user_who_may_write_the_prefix_of_the_cluster_needs_no_other_right(
    tmp_path: Path, repository: Repository
) -> None:
    (tmp_path / "data").mkdir()
    with EtcdServers(tmp_path / "data", 1) as servers:
        cluster = Cluster(tmp_path, repository, servers.endpoints)
        ctl(servers, "user", "add", "root:root")
        ctl(servers, "user", "grant-role", "root", "root")
        ctl(servers, "role", "add", "vortexd")
        ctl(servers, "role", "grant-permission", "vortexd", "--prefix=true", "readwrite", f"/vortexd/{cluster.name}/")
        ctl(servers, "user", "add", "vortexd:secret")
        ctl(servers, "user", "grant-role", "vortexd", "vortexd")
        ctl(servers, "auth", "enable")
        password = tmp_path / "password"
        password.write_text("wrong\n")
        password.chmod(0o600)
        login = f'user = "vortexd"\npassword_file = "{password}"\n'
        with cluster.start("a", cluster.settings("a") + login) as a:
            until(lambda: events(a, "cluster store away"))
            assert get(a, "/ready") == {"status": "UP"}
            password.write_text("secret\n")
            a.process.send_signal(signal.SIGHUP)
            until(lambda: members(a) == {"a": "serving"}, 15)
            with cluster.start("b", cluster.settings("b") + login) as b:
                until(lambda: members(a) == {"a": "serving", "b": "serving"})
                repository.commit({"orders-dev.yml": "size: 2\n"})
                webhook(b)
                until(lambda: size(a) == 2, 5)
                assert b.stop() == 0
                until(lambda: members(a) == {"a": "serving"}, 5)


def ctl(servers: EtcdServers, *arguments: str) -> None:
    subprocess.run(
        ["etcdctl", "--endpoints", servers.endpoints[0], *arguments],
        check=True,
        capture_output=True,
        env={"ETCDCTL_API": "3", "PATH": "/usr/local/bin:/usr/bin:/bin"},
        timeout=30,
    )


@pytest.mark.parametrize("has_cluster", [False, True])
def test_nothing_of_the_cluster_is_loaded_without_one(
    tmp_path: Path, repository: Repository, has_cluster: bool
) -> None:
    # The second time shows that the list has what is loaded. No etcd is needed for that.
    cluster = Cluster(tmp_path, repository, ["http://127.0.0.1:9"])
    settings = cluster.settings("a")
    if not has_cluster:
        settings = settings.partition("[cluster]")[0]
    with Server(
        cluster.directory("a") / "x", settings=settings, environment={"PYTHONPROFILEIMPORTTIME": "1"}
    ) as server:
        assert has_cluster == ("cluster" in get(server, "/status"))
        assert has_cluster == ("vortexd_cluster" in get(server, "/metrics"))
        webhook(server)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: events(server, "reloaded"))
        assert server.stop() == 0
        loaded = set(re.findall(r"^import time:.*\| +([\w.]+)$", server.output(), re.MULTILINE))
    assert {"vortexd.http.monitor", "vortexd.source.git.source"} <= loaded
    assert has_cluster == any(each.startswith("vortexd.cluster") for each in loaded)
    assert has_cluster == ("vortexd.cluster.node" in loaded)

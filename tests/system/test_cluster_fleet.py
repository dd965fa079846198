"""One fleet of three real vortexd on a real etcd of three members: every node shows all instances, also while one is away."""

import json
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests import certificates

from ..cluster.etcd_servers import EtcdServers, etcd_program, free_ports
from .browser import CHROMIUM, open_page
from .fleet import save
from .process import Server
from .test_fleet import connected, key, say, states, until, vortexctl
from .test_restart import before

pytestmark = [
    pytest.mark.skipif(etcd_program() is None, reason="there is no etcd"),
    pytest.mark.slow,
]

SETTINGS = """
[server]
bind = ["127.0.0.1:{port}"]
workers = {workers}
drain_timeout = 2
state_directory = "{state}"
[realtime]
heartbeat_interval = 300
[[source]]
path = "{source}"
quiet = 0.02
[cluster]
name = "fleet"
node = "{node}"
endpoints = {endpoints}
advertise = "{advertise}"
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    save(directory / "billing.yml", "number: 0\n")
    return directory


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServers]:
    (tmp_path / "etcd").mkdir()
    with EtcdServers(tmp_path / "etcd") as servers:
        yield servers


class Nodes:
    """Starts nodes of one cluster."""

    def __init__(self, directory: Path, source: Path, etcd: EtcdServers) -> None:
        self._directory = directory
        self._source = source
        self._etcd = etcd

    def start(
        self, node: str, *, workers: int = 1, has_address: bool = True, tls: tuple[Path, Path] | None = None
    ) -> Server:
        directory = self._directory / node
        directory.mkdir(exist_ok=True)
        [port] = free_ports(1)
        settings = SETTINGS.format(
            port=port,
            workers=workers,
            state=directory / "state",
            source=self._source,
            node=node,
            endpoints=json.dumps(self._etcd.endpoints),
            advertise=f"{'https://localhost' if tls else 'http://127.0.0.1'}:{port}" if has_address else "",
        )
        if tls is not None:
            settings += f'ca_file = "{tls[0]}"\n[tls]\ncertificate = "{tls[0]}"\nkey = "{tls[1]}"\n'
        return Server(directory / "x", settings=settings)


@pytest.fixture
def nodes(tmp_path: Path, source: Path, etcd: EtcdServers) -> Nodes:
    return Nodes(tmp_path, source, etcd)


def fleet(server: Server) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/api/v1/fleet?app=billing", timeout=20) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def node_states(server: Server) -> dict[str, str]:
    return {each["name"]: each["state"] for each in fleet(server)["nodes"]}


def forget(server: Server, node: str) -> "subprocess.CompletedProcess[bytes]":
    program = Path(sys.executable).with_name("vortexctl")
    url = f"http://127.0.0.1:{server.port}"
    return subprocess.run([program, "cluster", "forget", node, "--server", url], capture_output=True, check=False)


async def test_each_node_shows_all_instances_and_names_a_node_that_is_away(nodes: Nodes, source: Path) -> None:
    with nodes.start("a") as a, nodes.start("b", workers=2) as b, nodes.start("c") as c:
        everyone = dict.fromkeys("abc", "serving")
        until(lambda: all(node_states(each) == everyone for each in (a, b, c)), 40)
        async with connected(a, "a1") as at_a, connected(b, "b1", "b2") as at_b, connected(c, "c1") as at_c:
            clients = at_a | at_b | at_c
            for name, client in clients.items():
                await say(a, client, *(("rejected", "no room") if name == "b2" else ()))
            expected = dict.fromkeys(clients, "applied") | {"b2": "rejected"}
            until(lambda: all(states(each) == expected for each in (a, b, c)))
            assert [(75.0, 4)] * 3 == [(key(each)["percent"], key(each)["counts"]["connected"]) for each in (a, b, c)]
            await say(a, clients["b2"])
            waited = await vortexctl("wait", c)
            assert (0, b"") == (waited.returncode, waited.stderr)
            assert "4 of 4 applied (100 %)" in waited.stdout.decode()

            # A new version.
            old = key(a)["version"]
            save(source / "billing.yml", "number: 1\n")
            until(lambda: all(key(each)["version"] != old for each in (a, b, c)))
            for client in clients.values():
                await say(a, client)
            waited = await vortexctl("wait", b, "--not-version", old)
            assert 0 == waited.returncode

            # A summary is written at most a second later.
            await trio.sleep(1.5)
            # A frozen node doesn't answer. Later, etcd doesn't hear of it, and it is away.
            c.process.send_signal(signal.SIGSTOP)
            silent = fleet(a)
            assert 1 == silent["nodes_silent"]
            assert "serving" == node_states(a)["c"]
            assert [("c", "last", "it hasn't answered in 2 s")] == [
                (each["name"], each["counts"], each["reason"]) for each in silent["nodes"] if each["silent"]
            ]
            (counted,) = silent["keys"]
            assert (4, 4, 99.99) == (counted["counts"]["connected"], counted["counts"]["applied"], counted["percent"])
            waited = await vortexctl("wait", a, "--timeout", "1s")
            assert 1 == waited.returncode
            assert "vortexctl: node c: it hasn't answered in 2 s; its counts are those of " in waited.stderr.decode()
            until(lambda: node_states(a)["c"] == "away", 40)
            (counted,) = fleet(a)["keys"]
            assert (3, 3, 1, 75.0) == (
                *(counted["counts"][name] for name in ("connected", "applied", "away")),
                counted["percent"],
            )
            assert {"a1", "b1", "b2"} == {each["name"] for each in counted["instances"]}
            waited = await vortexctl("wait", b, "--timeout", "2s", "--percent", "10")
            assert 1 == waited.returncode
            assert "vortexctl: node c: it is away; its counts are those of " in waited.stderr.decode()
            assert "100 %" not in (waited.stdout + waited.stderr).decode()

            if CHROMIUM is not None:
                async with open_page() as page:
                    await page.go(f"http://127.0.0.1:{a.port}/console/#clients")
                    body = "document.querySelector('#clients-body')"
                    await page.wait(f"{body}?.innerText.includes('it is away')")
                    shown = (await page.evaluate(f"{body}.innerText")).replace("\t", " ")
                    assert "75 % 3 0 0 0 1" in shown
                    assert "a serving counted now –" in shown
                    assert "c away counted until " in shown
                    assert [] == page.complaints

            # It is back.
            c.process.send_signal(signal.SIGCONT)
            until(lambda: node_states(a)["c"] == "serving", 40)
            until(lambda: fleet(a)["nodes_silent"] == 0)
            waited = await vortexctl("wait", a)
            assert 0 == waited.returncode

            # A node that runs isn't forgotten, and one that was killed is.
            assert (3, b"isn't away") == (
                (found := forget(a, "c")).returncode,
                found.stderr[found.stderr.find(b"isn't") :][:10],
            )
            c.stop(signal.SIGKILL)
            until(lambda: node_states(b)["c"] == "away", 40)
            assert (0, b"forgotten: c\n") == ((found := forget(b, "c")).returncode, found.stdout)
            until(lambda: node_states(a) == node_states(b) == {"a": "serving", "b": "serving"})
            waited = await vortexctl("wait", a)
            assert (0, "3 of 3 applied (100 %)") == (waited.returncode, waited.stdout.decode().strip()[-22:])


async def test_a_node_without_an_address_is_counted_and_its_instances_are_not_listed(nodes: Nodes) -> None:
    with nodes.start("a") as a, nodes.start("b", has_address=False) as b:
        until(lambda: node_states(a) == node_states(b) == {"a": "serving", "b": "serving"}, 40)
        async with connected(a, "a1") as at_a, connected(b, "b1") as at_b:
            for client in (at_a | at_b).values():
                await say(a, client)
            until(lambda: (key(a)["counts"].get("applied"), states(a)) == (2, {"a1": "applied"}))
            assert {"a1": "applied", "b1": "applied"} == states(b)
            [found] = [each for each in fleet(a)["nodes"] if each["reason"]]
            assert ("b", False, "it advertises no address; set its cluster.advertise") == (
                found["name"],
                found["silent"],
                found["reason"],
            )
            assert 0 == (await vortexctl("wait", a)).returncode


def test_a_question_without_the_secret_is_refused(nodes: Nodes) -> None:
    with nodes.start("a") as a:
        until(lambda: node_states(a) == {"a": "serving"}, 40)
        request = urllib.request.Request(f"http://127.0.0.1:{a.port}/api/v1/cluster/fleet", b"{}", method="POST")
        for _ in range(2):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=20)
            assert refused.value.code in (403, 503)
            refused.value.close()
        until(lambda: _refusal(request) == 403)
        assert 1 == a.output().count("cluster question refused")


def _refusal(request: urllib.request.Request) -> int:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    refused.value.close()
    return int(refused.value.code)


def test_nodes_ask_each_other_over_tls(nodes: Nodes, tmp_path: Path) -> None:
    tls = certificates.make(tmp_path)
    context = ssl.create_default_context(cafile=tls[0])

    def seen(server: Server) -> list[tuple[str, str, bool]]:
        url = f"https://localhost:{server.port}/api/v1/fleet"
        with urllib.request.urlopen(url, timeout=20, context=context) as answer:
            return [(each["name"], each["counts"], each["silent"]) for each in json.loads(answer.read())["nodes"]]

    with nodes.start("a", tls=tls) as a, nodes.start("b", tls=tls) as b:
        everyone = [("a", "current", False), ("b", "current", False)]
        until(lambda: seen(a) == seen(b) == everyone, 40)
        with urllib.request.urlopen(f"https://localhost:{a.port}/metrics", timeout=20, context=context) as answer:
            assert b'vortexd_cluster_questions_total{outcome="answered"} ' in answer.read()


async def test_a_client_that_moved_while_its_node_restarted_is_shown_once_with_what_it_acknowledged_before(
    nodes: Nodes,
) -> None:
    with nodes.start("b", workers=2) as b:
        with nodes.start("a") as a:
            until(lambda: all(node_states(each) == {"a": "serving", "b": "serving"} for each in (a, b)), 40)
            async with connected(a, "moves", "leaves") as clients:
                for client in clients.values():
                    await say(a, client)
                until(lambda: states(b) == {"moves": "applied", "leaves": "applied"})
                assert 0 == a.stop()
        async with connected(b, "moves") as clients:
            with nodes.start("a") as a:
                until(lambda: all(node_states(each) == {"a": "serving", "b": "serving"} for each in (a, b)), 40)
                expected = {"moves": ("silent", "applied"), "leaves": ("gone", "applied")}
                until(lambda: before(a) == before(b) == expected)
                assert (1, 0) == tuple(key(a)["counts"][name] for name in ("connected", "applied"))
                waited = await vortexctl("wait", a, "--timeout", "1s")
                assert 1 == waited.returncode

                await say(b, clients["moves"])
                until(lambda: before(a) == before(b) == expected | {"moves": ("applied", None)})
                # The node that restarted asks the other one for those who are gone.
                until(lambda: key(a)["counts"]["gone"] == key(b)["counts"]["gone"] == 1, 60)
                waited = await vortexctl("wait", a)
                assert 0 == waited.returncode

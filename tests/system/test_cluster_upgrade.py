"""An upgrade node by node: a node of the last version without generations, and a node of this version, in one cluster.

The former version comes from the repository of this checkout. VORTEXD_LONG=1 runs the test.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import trio

from vortexd.client import watch

from ..cluster.etcd_servers import EtcdServers, etcd_program
from .process import Server
from .test_cluster_faults import KEY, Stand, aside, until

# The last version whose nodes give publications no order.
FORMER = "7de6be3"
ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("VORTEXD_LONG"), reason="it takes a minute"),
    pytest.mark.skipif(etcd_program() is None, reason="there is no etcd; on Debian, apt-get install etcd-server"),
]


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """The files of the former version."""
    packed = subprocess.run(["git", "-C", str(ROOT), "archive", FORMER, "vortexd"], capture_output=True, check=False)
    if packed.returncode:
        pytest.skip(f"this checkout doesn't have the commit {FORMER}")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(tmp_path / "former", filter="data")
    return tmp_path / "former"


class UpgradedStand(Stand):
    """A cluster whose nodes have different versions.

    Attributes:
        versions: The directory of each node's version.
        epochs: The epochs of all generations that clients have got.
    """

    def __init__(self, directory: Path, endpoints: Sequence[str], versions: dict[str, Path]) -> None:
        super().__init__(directory, dict.fromkeys(versions, endpoints))
        self.versions = versions
        self.epochs: set[str] = set()

    def settings(self, node: str, name: str = "", workers: int = 1) -> str:
        """See `Stand`. The nodes ask each other for their clients, and publish."""
        more = f'publish = true\nadvertise = "http://127.0.0.1:{self.ports[node]}"\n'
        return super().settings(node, name, workers) + more

    def program(self, node: str) -> type[Server]:
        """See `Stand`."""
        directory = self.versions[node]

        class Versioned(Server):
            @classmethod
            def command(cls) -> list[str]:
                # Python looks in the current directory first.
                return ["env", "-C", str(directory), sys.executable, "-m", "vortexd"]

        return Versioned

    def lines(self, node: str) -> list[dict[str, Any]]:
        """Return the log of a node since its last start."""
        output = self.nodes[node].output()
        assert "Traceback" not in output
        return [json.loads(line) for line in output.splitlines() if line.startswith("{")]

    async def check(self) -> None:
        """Wait until both nodes are well, push at each, and check what both say of the fleet and the log."""
        await self.agreed()
        for node in [*self.nodes]:
            await self.push(node)
            await self.arrived()
        for node, server in self.nodes.items():
            await until(partial(self.is_whole, server))
            counts = Counter(self.complained(node))
            assert not counts or max(counts.values()) == 1, (node, counts)
            # Only this version has generations.
            generations = [each.recorder.generation for each in self.fleets[node].followers]
            assert [each is not None for each in generations] == [self.versions[node] == ROOT] * len(generations)
            self.epochs |= {each.partition(".")[0] for each in generations if each is not None}
        await self.agreed()

    def is_whole(self, server: Server) -> bool:
        """Whether a node shows both nodes, and that the instances of both have applied the newest version."""
        with urlopen(f"http://127.0.0.1:{server.port}/api/v1/fleet?app=orders", timeout=20) as answer:
            found = json.load(answer)
        nodes = {each["name"]: each["state"] for each in found["nodes"] if not each["silent"]}
        instances = {each["name"] for key in found["keys"] for each in key["instances"] if each["state"] == "applied"}
        return nodes == {"a": "serving", "b": "serving"} and instances == {"at a", "at b"}

    def complained(self, node: str) -> list[str]:
        """Return what a node has warned of. It has warned only of records that it can't read."""
        usual = {"no authentication", "webhooks unsigned"}
        found = [each for each in self.lines(node) if each["level"] != "info" and each["event"] not in usual]
        # A node that publishes never replaces a version of a newer format.
        expected = {"cluster record unusable"} | ({"publication failed"} if self.versions[node] != ROOT else set())
        assert {each["event"] for each in found} <= expected, found
        return [f"{each['event']} {each.get('key', '')}" for each in found]


async def follow(port: int, instance: str) -> None:
    """Follow one node, and acknowledge each version."""
    async with watch(f"ws://127.0.0.1:{port}", *KEY.split(":"), instance=instance) as config:
        assert config.version is not None
        await config.ack(config.version, "applied")
        async for change in config:
            if change.version is not None:
                await config.ack(change.version, "applied")


async def test_nodes_of_two_versions_are_one_cluster_forth_and_back(tmp_path: Path, former: Path) -> None:
    (tmp_path / "etcd").mkdir()
    with EtcdServers(tmp_path / "etcd") as servers, ExitStack() as stack:
        stand = UpgradedStand(tmp_path, servers.endpoints, {"a": former, "b": former})
        stack.callback(stand.end)
        for node in ("a", "b"):
            await aside(stand.begin, node)
        async with stand.following(), trio.open_nursery() as nursery:
            for node in stand.nodes:
                nursery.start_soon(follow, stand.ports[node], f"at {node}")
            await stand.check()
            for node, version in (("b", ROOT), ("a", ROOT), ("b", former), ("b", ROOT), ("a", former), ("b", former)):
                stand.versions[node] = version
                assert await aside(stand.nodes[node].stop) == 0
                await aside(stand.begin, node)
                await stand.check()
            nursery.cancel_scope.cancel()
        # The nodes of the former version kept the records of the others.
        assert len(stand.epochs) == 1

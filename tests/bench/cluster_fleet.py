"""The cost of the fleet's summaries in etcd: many nodes whose counts change all the time, on a real etcd of three members.

Each node is the real one, with its lease, its watch and its summary; only its instances are made up. The figures are those
of etcd itself: committed proposals, which are all writes, the bytes between it and the nodes, and processor time. The memory
is that of all nodes in this process, divided by their number: what each node knows of all others.
"""

import argparse
import os
import re
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from random import Random
from urllib.request import urlopen

import trio

from tests.cluster.etcd_servers import EtcdServers
from tests.system.fleet import wait_until
from tests.system.process import private_bytes
from vortexd.cluster.node import Node
from vortexd.core.model import Key
from vortexd.fleet import KeyState
from vortexd.settings.cluster import ClusterSettings

# The aim of the design.
AIM = 150


class _NoSources:
    """Takes hints, and fetches nothing."""

    def fetch_now(self) -> int:
        return 0

    def notified(self, addresses: Collection[str], refs: Collection[str]) -> int:
        return 0

    def behind(self, name: str, state: str) -> int:
        return 0

    def has_commits(self, root: str) -> bool:
        return False

    def is_current(self, root: str) -> bool:
        return True

    async def is_before(self, root: str, commit: str, other: str) -> bool | None:
        return None

    async def wait_looked(self, addresses: Collection[str], refs: Collection[str]) -> None:
        pass


class _Instances:
    """The instances of one node. Some of them acknowledge a new version between any two counts."""

    def __init__(self, instances: int, keys: int, random: Random) -> None:
        self._each = instances // keys
        self._keys = [Key(f"application-{number}", "production", "main") for number in range(keys)]
        self._random = random
        self.is_busy = False

    async def counts(self) -> Sequence[KeyState]:
        await trio.lowlevel.checkpoint()
        applied = self._random.randrange(self._each) if self.is_busy else self._each
        return [KeyState(key, "0123456789abcdef", 1e9, self._each, applied, 0, 3, 0) for key in self._keys]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; see `tests.bench.__main__`."""
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--instances", type=int, default=10_000, help="of each node")
    parser.add_argument("--keys", type=int, default=50, help="that each node has instances of")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase")


def run(arguments: argparse.Namespace) -> None:
    """Measure a fleet at rest, and one in which every count changes all the time."""
    with tempfile.TemporaryDirectory() as directory, EtcdServers(Path(directory)) as servers:
        trio.run(_measure, servers, arguments)


async def _measure(servers: EtcdServers, arguments: argparse.Namespace) -> None:
    settings = ClusterSettings(name="bench", endpoints=tuple(servers.endpoints))
    fleets = [_Instances(arguments.instances, arguments.keys, Random(number)) for number in range(arguments.nodes)]
    memory = private_bytes("self")
    async with trio.open_nursery() as nursery:
        for number, each in enumerate(fleets):
            node = Node(settings, f"node-{number:03}", "1", _NoSources(), is_member=True, counts=each.counts)
            nursery.start_soon(node.run)
        with trio.fail_after(120):
            await wait_until(lambda: len(node.report().members) == arguments.nodes and node.report().summaries > 0)
        await trio.sleep(5)
        print(f"{arguments.nodes} nodes, {arguments.instances:,} instances and {arguments.keys} keys at each")
        for is_busy in (False, True):
            for each in fleets:
                each.is_busy = is_busy
            await trio.sleep(5)
            await _phase(servers, "every count changes" if is_busy else "at rest", arguments.seconds)
        each_node = (private_bytes("self") - memory) / arguments.nodes
        print(f"  {each_node / 1_000:.0f} KB of memory for each node's part in the cluster")
        nursery.cancel_scope.cancel()


async def _phase(servers: EtcdServers, name: str, seconds: float) -> None:
    before, cpu, began = await _totals(servers), _cpu(servers), time.monotonic()
    own = time.process_time()
    await trio.sleep(seconds)
    took = time.monotonic() - began
    writes, received, sent = ((new - old) / took for old, new in zip(before, await _totals(servers), strict=True))
    print(
        f"  {name}: {writes:.1f} writes/s in etcd (aim: less than {AIM}), "
        f"{(_cpu(servers) - cpu) / took:.0%} of a processor for its three members, "
        f"{(time.process_time() - own) / took:.0%} for all nodes; "
        f"etcd received {received / 1_000:.0f} KB/s and sent {sent / 1_000:.0f} KB/s"
    )


async def _totals(servers: EtcdServers) -> tuple[float, float, float]:
    """Return the writes, and the bytes that all members have received from clients and have sent to them."""

    def read(endpoint: str) -> str:
        with urlopen(f"{endpoint}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def value(text: str, name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        assert found is not None
        return float(found[1])

    texts = [await trio.to_thread.run_sync(read, each) for each in servers.endpoints]
    received, sent = (
        sum(value(each, f"etcd_network_client_grpc_{direction}_bytes_total") for each in texts)
        for direction in ("received", "sent")
    )
    # Each member counts all writes.
    return value(texts[0], "etcd_server_proposals_committed_total"), received, sent


def _cpu(servers: EtcdServers) -> float:
    """Return the processor seconds of all members."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in servers.pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")

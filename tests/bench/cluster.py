"""The time from a webhook at one node of a cluster to the last of N clients of another node, beside that of a single server.

python -m tests.bench cluster --clients 1000 --changes 20. It needs etcd on the search path, or in $VORTEXD_ETCD.

The single server and the cluster have a repository each, and take turns. The time runs from the request of the webhook to
the last message.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs

from vortexd.ctl.load import Clients

from ..cluster.etcd_servers import EtcdServers
from ..repository import Repository
from ..system.process import Server

# Slightly more than the default of `hook_interval`. After an earlier second push, the server would wait.
_HOOK_INTERVAL = 1.1
# Until etcd's writes are counted, the last new state must have been written.
_SETTLED = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--files", type=int, default=100)


@attrs.frozen(eq=False)
class _Place:
    """A repository, the port of the server that its webhook calls, and the clients of the same or of another server."""

    repository: Repository
    port: int
    clients: Clients
    totals: list[float] = attrs.field(factory=list)

    def push(self, number: int) -> None:
        """Change one file, and measure the milliseconds from the webhook to the last client."""
        self.repository.commit({"app7.yml": _document(7, number)})
        # The server answers only after its fetch.
        hook = threading.Thread(target=self._call)
        began = time.monotonic()
        hook.start()
        self.totals.append(1_000 * (max(self.clients.wait(f'"value":{number}'.encode(), 30)) - began))
        hook.join()

    def _call(self) -> None:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/monitor", b'{"path": "app7.yml"}', headers)
        with urllib.request.urlopen(request, timeout=30):
            pass


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        (directory / "etcd").mkdir()
        etcd = stack.enter_context(EtcdServers(directory / "etcd"))
        alone = _place(stack, directory / "alone", arguments, [])
        cluster = _place(stack, directory / "cluster", arguments, etcd.endpoints)
        before = _revision(etcd)
        for number in range(1, arguments.changes + 1):
            for each in (alone, cluster):
                time.sleep(_HOOK_INTERVAL)
                each.push(number)
        time.sleep(_SETTLED)
        writes = (_revision(etcd) - before) / arguments.changes
        for title, each in (("a single server", alone), ("the webhook at one node, clients at another", cluster)):
            print(f"{title}, {arguments.clients} clients, {arguments.files} files: {_figures(each.totals)}")
            each.clients.close()
        more = [two - one for one, two in zip(alone.totals, cluster.totals, strict=True)]
        print(f"the other node's clients are later by {_figures(more)}")
        print(f"writes to etcd for each push: {writes:.1f}")


def _figures(milliseconds: Sequence[float]) -> str:
    ordered = sorted(milliseconds)
    low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    return f"median {statistics.median(ordered):.0f} ms, 80 % within {low:.0f} to {high:.0f} ms"


def _place(stack: ExitStack, home: Path, arguments: argparse.Namespace, endpoints: list[str]) -> _Place:
    """Start one server, or two nodes, on a new repository, and connect clients to the last one."""
    home.mkdir()
    repository = Repository(home / "config.git")
    repository.commit({f"app{number}.yml": _document(number, 0) for number in range(arguments.files)})
    servers = []
    for node in ("a", "b") if endpoints else ("a",):
        (home / node).mkdir()
        settings = (
            f'[server]\nbind = ["127.0.0.1:0"]\nstate_directory = "{home / node / "state"}"\n[[source]]\nkind = "git"\n'
            f'uri = "{repository.uri}"\nschemes = ["file"]\nrefresh_interval = 3600\n'
        )
        if endpoints:
            settings += f'[cluster]\nname = "bench"\nnode = "{node}"\nendpoints = {json.dumps(endpoints)}\n'
        servers.append(stack.enter_context(Server(home / node / "x", settings=settings)))
    clients = Clients("127.0.0.1", servers[-1].port)
    clients.connect(arguments.clients, lambda _: "/ws/app7/prod")
    return _Place(repository, servers[0].port, clients)


def _document(number: int, size: int) -> str:
    values = "".join(f"  key{index}: value {index} {number}\n" for index in range(40))
    return f"service:\n{values}pool:\n  size: {size}\n"


def _revision(etcd: EtcdServers) -> int:
    """Return etcd's revision. Each write raises it by one."""
    request = urllib.request.Request(f"{etcd.endpoints[0]}/v3/kv/range", b'{"key": "AA=="}')
    with urllib.request.urlopen(request, timeout=10) as response:
        return int(json.load(response)["header"]["revision"])

"""The cost of a push by the number of files and of keys in use: one file changed, as a ratio to the smallest tree, with its stages.

python -m tests.bench git --rounds 10
python -m tests.bench git --rounds 10 --directories
python -m tests.bench git --cases 100x1 --clients 1000

Each repository has a server of its own, a client that subscribes to the keys, and clients of the changed key. The
servers take turns in each round. The time runs from the request of the hook that follows a push to the last message.

git keeps each directory as one object, with an entry for each file. So `git fetch` takes longer for a large directory.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from vortexd.ctl.load import Clients

from ..repository import Repository
from ..system.process import Server
from .client import WAIT, Client

# The number of files, and the number of keys in use. The smallest tree is the floor.
CASES = ((100, 10), (1_000, 10), (10_000, 10), (10_000, 10_000))
_SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
state_directory = "{directory}/state"
[[source]]
kind = "git"
uri = "{uri}"
schemes = ["file"]
refresh_interval = 3600
files = 100000
[realtime]
queue_messages = 100000
queue_bytes = 100000000
heartbeat_interval = 3600
"""
# Slightly more than the default of `hook_interval`. After an earlier second push, the server would wait.
_HOOK_INTERVAL = 1.1
_STAGES = ("fetch", "read", "parse", "list", "compare", "resolve", "broadcast", "publish")


class StopwatchServer(Server):
    """vortexd with measured stages; see `git_server`."""

    module = "tests.bench.git_server"
    ready_within = WAIT

    def spent(self) -> list[dict[str, float]]:
        """Return the milliseconds of each stage, for each publication that had a change."""
        lines = [json.loads(line) for line in self.output().splitlines() if line.startswith('{"spent"')]
        return [line["spent"] for line in lines if line["spent"].get("broadcast")]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clients", type=int, default=10, help="clients of the changed key")
    parser.add_argument(
        "--directories", action="store_true", help="100 files in each directory, instead of one directory"
    )
    parser.add_argument("--cases", default="", help="only these, as 10000x10000,100x10")


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    cases = [tuple(map(int, each.split("x"))) for each in arguments.cases.split(",") if each] or CASES
    with contextlib.ExitStack() as stack:
        trees = [
            stack.enter_context(_Pushed(files, keys, arguments.clients, has_directories=arguments.directories))
            for files, keys in cases
        ]
        found: dict[_Pushed, list[_Sample]] = {tree: [] for tree in trees}
        for _ in range(arguments.rounds):
            time.sleep(_HOOK_INTERVAL)
            for tree in trees:
                found[tree].append(tree.push())
        floor = found[trees[0]]
        for tree, samples in found.items():
            _report(tree, samples, floor)


@attrs.frozen
class _Sample:
    seconds: float
    cpu: float


def _report(tree: "_Pushed", samples: Sequence[_Sample], floor: Sequence[_Sample]) -> None:
    times = sorted(each.seconds for each in samples)
    median, first = statistics.median(times), statistics.median(each.seconds for each in floor)
    cpu, first_cpu = (statistics.median(each.cpu for each in some) for some in (samples, floor))
    print(
        f"{tree.files:>6} files, {tree.keys:>6} keys: {1_000 * median:.1f} ms"
        f" ({1_000 * times[0]:.1f} to {1_000 * times[-1]:.1f}), {median / first:.2f} x;"
        f" server {1_000 * cpu:.1f} ms CPU, {cpu / first_cpu:.2f} x;",
        ", ".join(f"{stage} {taken:.1f}" for stage, taken in tree.stages(len(samples)).items()),
        flush=True,
    )


class _Pushed:
    """A repository, its server, a client that subscribes to keys, and clients of the changed key."""

    def __init__(self, files: int, keys: int, clients: int, *, has_directories: bool) -> None:
        self.files = files
        self.keys = keys
        self._clients = clients
        self._has_directories = has_directories
        self._number = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "_Pushed":
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self._repository = Repository(directory / "config.git")
            self._repository.commit({self._path(number): document(number, 0) for number in range(self.files)})
            settings = _SETTINGS.format(directory=directory, uri=self._repository.uri)
            self._server = StopwatchServer(directory / "x", settings=settings)
            stack.enter_context(self._server)
            application = self._path(0).removesuffix(".yml").replace("/", "(_)")
            subscriber = stack.enter_context(Client(self._server.port, application))
            if self.keys > 1:
                subscriber.send({"type": "subscribe", "patterns": ["*hot*:default"]})
                # The client has the key of its main subscription already.
                subscriber.wait(b'"type":"config_snapshot"', self.keys - 1)
            self._connected = Clients("127.0.0.1", self._server.port)
            self._connected.connect(self._clients, lambda _: f"/ws/{application}/default")
            stack.callback(self._connected.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _path(self, number: int) -> str:
        directory = f"d{number // 100}/" if self._has_directories else ""
        return f"{directory}{'hot' if number < self.keys else 'cold'}{number}.yml"

    def push(self) -> _Sample:
        """Change the file of one key in the repository, send the request of a hook, and wait for the change."""
        self._number += 1
        self._repository.commit({self._path(0): document(0, self._number)})
        hook = urllib.request.Request(
            f"http://127.0.0.1:{self._server.port}/monitor",
            b'{"path": "hot0.yml"}',
            {"Content-Type": "application/json"},
        )
        cpu, began = self._server.cpu_nanoseconds(), time.monotonic()
        urllib.request.urlopen(hook, timeout=WAIT).close()
        reached = max(self._connected.wait(f'"value":{self._number}}}'.encode(), WAIT))
        return _Sample(reached - began, (self._server.cpu_nanoseconds() - cpu) / 1e9)

    def stages(self, count: int) -> Mapping[str, float]:
        """Return the median of each stage of the last publications, in milliseconds."""
        rows = self._server.spent()[-count:]
        return {stage: statistics.median(row.get(stage, 0.0) for row in rows) for stage in _STAGES}


def document(number: int, size: int) -> str:
    """Make a file of about 2,000 bytes."""
    values = "".join(f"  key{index}: value {index} of number {number}, with some more text\n" for index in range(40))
    return f"service:\n{values}pool:\n  size: {size}\n"

"""The cost of a change by the number of files and keys: one file saved, and application.yml saved, each as a ratio to the smallest tree.

python -m tests.bench cost --rounds 5
python -m tests.bench cost --every-key

With `--every-key`, the smallest tree and the largest count, and only application.yml is saved, which changes every key. A
third tree has one file of 900,000 bytes, of which one value changes. The time of each subscription is printed, too.

Each tree has a server of its own and one client that subscribes to the keys. The servers take turns in each round, and
the debounce is off. The time runs from before the rename to the last message. The processor time is that of the
server meanwhile. The largest delay of a ping on another connection, and the memory of the server, follow.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from ..system.process import Server
from .client import WAIT, Client

# The number of files, and the number of keys in use. The smallest tree is the floor.
CASES = ((100, 10), (1_000, 10), (10_000, 10), (10_000, 1_000), (10_000, 10_000))
_FILE_BYTES = 2_000
_LARGE_BYTES = 900_000
_SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
[[source]]
path = "{source}"
files = 100000
quiet = 0
quiet_one_file = 0
scan_interval = {scan}
[realtime]
queue_messages = 100000
queue_bytes = 100000000
messages_per_second = 1000
heartbeat_interval = 3600
"""
# The pause between two pings, in seconds.
_BEAT = 0.003
# Both clients are threads of this process. With Python's default of 5 ms, a ping would also measure how long its thread
# waits for the thread that reads 10,000 messages.
_SWITCH_INTERVAL = 0.0005


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scan", type=float, default=3600.0, help="seconds between the scans that only check")
    parser.add_argument("--cases", default="", help="only these, as 10000x1000,100x10")
    parser.add_argument(
        "--every-key", action="store_true", help="change every key of few and of 10,000, and one value of a large file"
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    sys.setswitchinterval(_SWITCH_INTERVAL)
    given = [tuple(map(int, each.split("x"))) for each in arguments.cases.split(",") if each]
    cases: Sequence[tuple[int, ...]] = given or CASES
    saves = [("one file saved", _Tree.save_one), ("application.yml saved", _Tree.save_shared)]
    if arguments.every_key:
        cases, saves = (CASES[0], CASES[-1]), saves[1:]
    with contextlib.ExitStack() as stack:
        trees = [stack.enter_context(_Tree(files, keys, arguments.scan)) for files, keys in cases]
        if arguments.every_key:
            saves.append((f"one value of a file of {_LARGE_BYTES:,} bytes saved", _Tree.save_one))
            trees.append(stack.enter_context(_Tree(2, 1, arguments.scan, _LARGE_BYTES)))
        for name, save in saves:
            found: dict[_Tree, list[_Sample]] = {tree: [] for tree in trees}
            for _ in range(arguments.rounds):
                for tree in trees:
                    time.sleep(0.5)
                    found[tree].append(save(tree))
            print(name)
            first = found[trees[0]]
            floor = statistics.median(each.seconds for each in first), statistics.median(each.cpu for each in first)
            for tree, samples in found.items():
                _report(tree, samples, *floor)


@attrs.frozen
class _Sample:
    seconds: float
    cpu: float
    lag: float
    resident: int
    peak: int


def _report(tree: "_Tree", samples: Sequence[_Sample], floor: float, cpu_floor: float) -> None:
    times = sorted(each.seconds for each in samples)
    median = statistics.median(times)
    spread = f"{1_000 * times[0]:.1f} to {1_000 * times[-1]:.1f}"
    cpu = statistics.median(each.cpu for each in samples)
    lag = max(each.lag for each in samples)
    memory = f"{samples[-1].resident / 1e6:.0f} MB, peak {max(each.peak for each in samples) / 1e6:.0f} MB"
    print(
        f"  {tree.files:>6} files, {tree.keys:>6} keys: {1_000 * median:.1f} ms ({spread}), {median / floor:.2f} x; "
        f"server {1_000 * cpu:.1f} ms CPU, {cpu / cpu_floor:.2f} x; longest answer to a ping {1_000 * lag:.0f} ms; {memory}"
    )


class _Server(Server):
    ready_within = WAIT


class _Tree:
    """A directory, its server, a client that subscribes to keys, and another that sends pings."""

    def __init__(self, files: int, keys: int, scan: float, file_bytes: int = _FILE_BYTES) -> None:
        self._file_bytes = file_bytes
        self.files = files
        self.keys = keys
        self._scan = scan
        self._number = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "_Tree":
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self._source = directory / "config"
            self._source.mkdir()
            for number in range(self.files - 1):
                kind = "hot" if number < self.keys else "cold"
                (self._source / f"{kind}{number}.yml").write_text(_document("service", 0, self._file_bytes))
            (self._source / "application.yml").write_text(_document("shared", 0))
            settings = _SETTINGS.format(source=self._source, scan=self._scan)
            self._server = stack.enter_context(_Server(self._source, settings=settings))
            self._client = stack.enter_context(Client(self._server.port, "hot0"))
            began = time.monotonic()
            self._client.send({"type": "subscribe", "patterns": ["hot*:default"]})
            # The client has the key of its main subscription already.
            self._client.wait(b'"type":"config_snapshot"', min(self.keys, self.files - 1) - 1)
            print(f"{self.files} files, {self.keys} keys: subscribed in {time.monotonic() - began:.2f} s")
            self._witness = stack.enter_context(_Witness(self._server.port))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def save_one(self) -> _Sample:
        """Save the file of one key, and wait for its change."""
        return self._save("hot0.yml", _document("service", self._next(), self._file_bytes), 1)

    def save_shared(self) -> _Sample:
        """Save the file that all keys read, and wait for the change of each."""
        return self._save("application.yml", _document("shared", self._next()), min(self.keys, self.files - 1))

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _save(self, name: str, text: str, count: int) -> _Sample:
        temporary = self._source / ".new.tmp"
        temporary.write_text(text)
        process = Path(f"/proc/{self._server.process.pid}")
        (process / "clear_refs").write_text("5")
        with self._witness.watching() as witness:
            cpu = self._cpu()
            began = time.monotonic()
            temporary.rename(self._source / name)
            self._client.wait(f'"value":{self._number}}}'.encode(), count)
            seconds = time.monotonic() - began
            cpu = self._cpu() - cpu
        status = (process / "status").read_text()
        resident, peak = (1024 * int(status.partition(f"{each}:")[2].split()[0]) for each in ("VmRSS", "VmHWM"))
        return _Sample(seconds, cpu, witness.lag, resident, peak)

    def _cpu(self) -> float:
        """Return the processor time of all threads of the server, in seconds. On a busy machine it says more than the time."""
        tasks = Path(f"/proc/{self._server.process.pid}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in tasks) / 1e9


def _document(top: str, number: int, size: int = _FILE_BYTES) -> str:
    lines = [f"{top}:", f"  number: {number}"]
    length = sum(map(len, lines))
    while length < size:
        index = len(lines)
        group = [f"  group{index}:", f"    url: https://host{index}.example.com/path", f"    timeout: {index}"]
        lines += group
        length += sum(map(len, group))
    return "\n".join(lines) + "\n"


class _Witness:
    """A client that sends one ping after the other."""

    def __init__(self, port: int) -> None:
        self._client = Client(port, "witness")
        self._is_over = threading.Event()
        self.lag = 0.0

    def __enter__(self) -> "_Witness":
        return self

    def __exit__(self, *exit: object) -> None:
        self._client.__exit__(*exit)

    @contextlib.contextmanager
    def watching(self):  # type: ignore[no-untyped-def]
        """Send pings until the end of the `with`, and keep the longest delay."""
        self.lag = 0.0
        self._is_over.clear()
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            thread.join(WAIT)

    def _run(self) -> None:
        while not self._is_over.wait(_BEAT):
            self.lag = max(self.lag, self._client.ping())

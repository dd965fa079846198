"""The start of vortexd on the example: the time until it is ready, the time of vortexctl's commands, and the memory of one process and of workers.

python -m tests.bench start [--rounds 5] [--workers 4] [--before CHECKOUT] [--python PYTHON] [--seconds 100]

With --before, a checkout of an earlier version and this one alternate in each round. Only ratios within one run count. A first round, which isn't
counted, fills the caches of compiled modules. A round that fails is reported and left out. No round begins after --seconds. Memory is sampled
several times. Processor time is that of the process and of the children that live. `--python` names an interpreter whose environment has no
development extras, to measure what users have.
"""

import argparse
import os
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from ..system.process import private_bytes

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
workers = {workers}
[[source]]
path = "{example}"
"""
# Seconds that a start, an end and a command may take.
LIMIT = 20.0
# Seconds from READY=1 to the first sample of memory, and between samples.
REST, INTERVAL = 0.5, 0.1
SAMPLES = 5
FORK_SERVER = "vortexd-forks"
# Commands of vortexctl; {address} is that of the server.
COMMANDS = {
    "vortexctl get": ["get", "billing", "prod", "--server", "{address}"],
    "vortexctl fleet": ["fleet", "--server", "{address}"],
    "vortexctl --version": ["--version"],
    "vortexctl --help": ["--help"],
}
# The figures of one version by name, with all their values.
Figures = dict[str, list[float]]


@attrs.frozen
class Version:
    """A version to measure.

    Attributes:
        checkout: The directory that contains the packages vortexd and conf.
        python: The interpreter that runs it.
        directory: For its settings, its state and the caches of its modules.
    """

    checkout: Path
    python: str
    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables of each of its processes. The modules that it compiles are kept, whatever the caller's variables say."""
        kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        caches = {"PYTHONPATH": str(self.checkout), "PYTHONPYCACHEPREFIX": str(self.directory / "caches")}
        return {**kept, **caches, "XDG_STATE_HOME": str(self.directory / "state")}


@attrs.frozen
class Started:
    """A server that is ready."""

    pid: int
    address: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--before", type=Path, help="a checkout to compare with")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs vortexd")
    parser.add_argument("--seconds", type=float, default=100.0, help="after this time no round begins")


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    checkouts = {"now": ROOT, **({"before": arguments.before.resolve()} if arguments.before else {})}
    end = time.monotonic() + arguments.seconds
    figures: dict[str, Figures] = {name: defaultdict(list) for name in checkouts}
    with tempfile.TemporaryDirectory() as text:
        versions = {}
        for name, checkout in checkouts.items():
            versions[name] = Version(checkout, arguments.python, Path(text) / name)
            versions[name].directory.mkdir()
        done = rounds(versions, arguments.workers, arguments.rounds, figures, lambda: time.monotonic() < end)
    print(f"{done} of {arguments.rounds} rounds")
    for line in table(figures):
        print(line)


def rounds(
    versions: dict[str, Version],
    workers: int,
    count: int,
    figures: dict[str, Figures],
    is_time_left: Callable[[], bool],
) -> int:
    """Measure the versions by turns, and return how many rounds all of them have completed.

    The first round fills caches, and has no figures. A round that fails adds no figure of any version.
    """
    done = 0
    for number in range(count + 1):
        if number and not is_time_left():
            break
        found: dict[str, Figures] = {}
        try:
            for name, version in versions.items():
                found[name] = defaultdict(list)
                measure(version, workers, found[name])
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            print(f"round {number} failed: {error}", file=sys.stderr)
            continue
        if number:
            done += 1
            for name, each in found.items():
                for figure, values in each.items():
                    figures[name][figure] += values
    return done


def table(figures: dict[str, Figures]) -> Iterator[str]:
    """Yield the lines of the result: each figure with its median and spread for each version."""
    for figure in next(iter(figures.values())):
        yield f"{figure}:"
        for name, each in figures.items():
            values = each[figure]
            yield f"    {name:6} median {statistics.median(values):.3g}, {min(values):.3g} to {max(values):.3g}"


def measure(version: Version, workers: int, figures: Figures) -> None:
    """Measure one version once."""
    with started(version, 1, "one process", figures) as server:
        for name, words in COMMANDS.items():
            command(version, name, [word.format(address=server.address) for word in words], figures)
        figures["one process, private MB"] += sampled(lambda: [private_bytes(server.pid) / 1e6])
    with started(version, workers, f"{workers} workers", figures) as server:
        each = [pid for pid in children(server.pid) if name_of(pid) != FORK_SERVER]
        everything = [server.pid, *children(server.pid)]
        if len(each) != workers:
            raise RuntimeError(f"{len(each)} of {workers} workers run")
        figures[f"each of {workers} workers, PSS MB"] += sampled(lambda: [pss(pid) for pid in each])
        figures[f"each of {workers} workers, private MB"] += [private_bytes(pid) / 1e6 for pid in each]
        figures[f"supervisor, {workers} workers and the rest, PSS MB"].append(sum(map(pss, everything)))


def sampled(sample: Callable[[], list[float]]) -> list[float]:
    """Take several samples after a rest."""
    time.sleep(REST)
    found = []
    for _ in range(SAMPLES):
        found += sample()
        time.sleep(INTERVAL)
    return found


def command(version: Version, name: str, words: Sequence[str], figures: Figures) -> None:
    """Run a command of vortexctl, and measure it."""
    words = [version.python, "-m", "vortexd.ctl", *words]
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(words, cwd=version.directory, env=version.environment, stdout=subprocess.DEVNULL) as process:
        # A wait with a timeout would look only every 50 ms.
        limit = threading.Timer(LIMIT, process.kill)
        limit.start()
        status = process.wait()
        limit.cancel()
    figures[f"{name}, s"].append(time.monotonic() - began)
    if status:
        raise RuntimeError(f"{name} ended with {status}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    figures[f"{name}, s of processor time"].append(used)


@contextmanager
def started(version: Version, workers: int, name: str, figures: Figures) -> Iterator[Started]:
    """Start a server, and yield it when it has sent READY=1. End it afterwards, whatever it does."""
    settings, log, notices = (version.directory / each for each in ("vortexd.toml", "log", "notices"))
    settings.write_text(SETTINGS.format(workers=workers, example=ROOT / "conf/example"))
    notices.unlink(missing_ok=True)
    words = [version.python, "-m", "vortexd", "--config", str(settings), "--log-format", "json"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified, log.open("wb") as output:
        notified.bind(str(notices))
        environment = {**version.environment, "NOTIFY_SOCKET": str(notices)}
        began = time.monotonic()
        # Python would import vortexd from the working directory first. A file takes any output, which a pipe doesn't.
        process = subprocess.Popen(words, cwd=version.directory, env=environment, stdout=output, stderr=output)
        try:
            wait_ready(process, notified, log)
            figures[f"{name}, s to ready"].append(time.monotonic() - began)
            pids = [process.pid, *children(process.pid)]
            figures[f"{name}, s of processor time to ready"].append(sum(map(processor_seconds, pids)))
            yield Started(process.pid, address(log.read_text()))
        finally:
            end(process)


def wait_ready(process: "subprocess.Popen[bytes]", notified: socket.socket, log: Path) -> None:
    """Wait until the server has sent READY=1.

    Raises:
        RuntimeError: It has ended, or isn't ready in time.
    """
    notified.settimeout(0.2)
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        try:
            if b"READY=1" in notified.recv(4_096).split(b"\n"):
                return
        except TimeoutError:
            if process.poll() is not None:
                break
    raise RuntimeError(f"vortexd is not ready:\n{log.read_text()}")


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a server. If it doesn't end in time, kill it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(LIMIT)
        raise


def address(log: str) -> str:
    """Find the address of a server in its log."""
    found = re.search(r'"ready", "addresses": \["([^"]+)"\]', log)
    if found is None:
        raise RuntimeError(f"the log has no address:\n{log}")
    return found[1]


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(each) for task in tasks for each in task.read_text().split()]


def name_of(pid: int) -> str:
    """Return the name of a process."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def pss(pid: int) -> float:
    """Return the proportional share of memory in MB: shared pages are divided among the processes that share them."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)
    assert found
    return int(found[1]) * 1024 / 1e6


def processor_seconds(pid: int) -> float:
    """Return the processor time of the threads of a process that run now."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((each / "schedstat").read_text().split()[0]) for each in tasks) / 1e9

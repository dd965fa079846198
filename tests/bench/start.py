"""The start of vortexd on the example: the time to `ready`, the time of `vortexctl get`, and the memory of one process and of workers.

python -m tests.bench start [--rounds 5] [--workers 4] [--before CHECKOUT]

With --before, a checkout of an earlier version and this one alternate in each round. Only ratios within one run count. Processor time is that of
the process and of the children that it has waited for. Run it in an environment without the development extras to measure what users have.
"""

import argparse
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..system.process import private_bytes

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
workers = {workers}
[[source]]
path = "{example}"
"""
# Seconds from `ready` to the measurement of memory.
REST = 1.0
FORK_SERVER = "vortexd-forks"
# The figures of one version by name, a value for each round.
Figures = dict[str, list[float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--before", type=Path, help="a checkout to compare with")


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    checkouts = {"now": ROOT, **({"before": arguments.before.resolve()} if arguments.before else {})}
    figures: dict[str, Figures] = {name: defaultdict(list) for name in checkouts}
    for _ in range(arguments.rounds):
        for name, checkout in checkouts.items():
            measure(checkout, arguments.workers, figures[name])
    for figure in figures["now"]:
        print(f"{figure}:")
        for name in checkouts:
            values = figures[name][figure]
            text = f"median {statistics.median(values):.3g}, {min(values):.3g} to {max(values):.3g}"
            print(f"    {name:6} {text}")


def measure(checkout: Path, workers: int, figures: Figures) -> None:
    """Measure one version once."""
    with tempfile.TemporaryDirectory() as directory:
        with started(checkout, Path(directory), 1, figures) as (process, address):
            began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, "-m", "vortexd.ctl", "get", "billing", "prod", "--server", address]
            subprocess.run(
                command, cwd=directory, env=environment(checkout, directory), stdout=subprocess.DEVNULL, check=True
            )
            figures["vortexctl get, s"].append(time.monotonic() - began)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            figures["vortexctl get, s of processor time"].append(used)
            time.sleep(REST)
            figures["one process, private MB"].append(private_bytes(process.pid) / 1e6)
        with started(checkout, Path(directory), workers, figures) as (process, _):
            time.sleep(REST)
            each = [pid for pid in children(process.pid) if name_of(pid) != FORK_SERVER]
            everything = [process.pid, *children(process.pid)]
            figures[f"each of {workers} workers, PSS MB"].append(statistics.mean(map(pss, each)))
            figures[f"each of {workers} workers, private MB"].append(statistics.mean(map(private_bytes, each)) / 1e6)
            figures[f"supervisor, {workers} workers and the rest, PSS MB"].append(sum(map(pss, everything)))


@contextmanager
def started(
    checkout: Path, directory: Path, workers: int, figures: Figures
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start a server, and yield it with its address. End it afterwards."""
    settings = directory / "vortexd.toml"
    settings.write_text(SETTINGS.format(workers=workers, example=ROOT / "conf/example"))
    began = time.monotonic()
    command = [sys.executable, "-m", "vortexd", "--config", str(settings), "--log-format", "json"]
    # Python would import vortexd from the working directory first.
    process = subprocess.Popen(
        command, cwd=directory, env=environment(checkout, str(directory)), stderr=subprocess.PIPE, text=True
    )
    try:
        address = wait_ready(process, workers)
        name = "one process" if workers == 1 else f"{workers} workers"
        figures[f"{name}, s to ready"].append(time.monotonic() - began)
        pids = [process.pid, *children(process.pid)]
        figures[f"{name}, s of processor time to ready"].append(sum(map(processor_seconds, pids)))
        yield process, address
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def wait_ready(process: "subprocess.Popen[str]", workers: int) -> str:
    """Wait until all workers are ready, and return the address."""
    assert process.stderr is not None
    is_ready = re.compile(r'"ready", "addresses": \["([^"]+)"\]' + (r', "workers"' if workers > 1 else ""))
    for line in process.stderr:
        if found := is_ready.search(line):
            return found[1]
    raise RuntimeError("vortexd did not start")


def environment(checkout: Path, directory: str) -> dict[str, str]:
    """Return the environment in which Python finds a checkout, and vortexd keeps its state."""
    return {**os.environ, "PYTHONPATH": str(checkout), "XDG_STATE_HOME": directory}


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
    """Return the processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

"""Requests per second for one document (new, 304, HTTP/2, two workers), compared with a bare quart-trio "hello" on Hypercorn in the same run.

python -m tests.bench http

Each server runs on one processor, and the clients on another, if there are two. Other load on the machine takes
time from both. So the rate is also stated per second of the server's processor time: that is the rate on one idle core.
"""

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs

from ..certificates import make
from ..system.process import Server
from .compiler import NoCompiler, build, on_core
from .report import percentiles

_TARGET = "/billing/prod"
# The resolution of a process's time in /proc, in seconds.
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
workers = {workers}
{tls}
[[source]]
path = "{source}"
"""


@attrs.frozen
class Kind:
    """A server, and the requests that it gets.

    Attributes:
        pid: The process of the server. Its children count, too.
        client: The command that sends the requests and prints the latencies as JSON.
    """

    name: str
    pid: int
    client: Sequence[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--keys", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each slice")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--processors", type=int, nargs=2, default=[0, 1], metavar=("SERVER", "CLIENT"), help="numbers, from 0 on"
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
        directory = Path(text)
        kinds = [*start(directory, arguments, stack)]
        results: dict[str, list[tuple[float, float, float]]] = {each.name: [] for each in kinds}
        for _ in range(arguments.rounds):
            # The slices alternate, because the machine's other load varies.
            for each in kinds:
                results[each.name].append(measure(each, arguments))
    for name, slices in results.items():
        show(name, slices, results["hello"])
    pairs = [*zip(results["2 workers"], results["1 worker"], strict=True)]
    print(
        f"2 workers over 1 worker: {statistics.median(two[0] / one[0] for two, one in pairs):.2f} requests/s, "
        f"{statistics.median(two[1] / one[1] for two, one in pairs):.2f} per second of processor time"
    )


def show(name: str, slices: Sequence[tuple[float, float, float]], floor: Sequence[tuple[float, float, float]]) -> None:
    """Print the medians and the spread of a kind, and its ratios to the yardstick."""
    rates, busy, tails = zip(*slices, strict=True)
    ratios = [one[1] / other[1] for one, other in zip(slices, floor, strict=True)]
    print(
        f"{name}: {statistics.median(rates):,.0f} requests/s, p99 {1_000 * statistics.median(tails):.1f} ms; per second "
        f"of processor time {statistics.median(busy):,.0f} ({min(busy):,.0f}-{max(busy):,.0f}), "
        f"{statistics.median(ratios):.1f} times hello"
    )


def start(directory: Path, arguments: argparse.Namespace, stack: ExitStack) -> Iterator[Kind]:
    """Start all servers, each in its own directory, and yield what is measured on them."""
    ours, theirs = map(on_core, arguments.processors)
    plain = serve(directory / "plain", arguments.keys, stack, ours)
    # Several workers need all processors.
    workers = [serve(directory / f"of{count}", arguments.keys, stack, workers=count) for count in (1, 2)]
    tls = serve(directory / "tls", arguments.keys, stack, ours, has_tls=True)
    floor, floor_port = stack.enter_context(hello(ours))
    etag = validator(plain.port)
    client = client_command(directory)

    def asks(port: int, status: str = "200", *headers: str) -> list[str]:
        given = [str(port), str(arguments.seconds), str(arguments.connections), status, _TARGET, *headers]
        return [*client, *given]

    yield Kind("hello", floor, [*theirs, *asks(floor_port)])
    yield Kind("fresh", plain.process.pid, [*theirs, *asks(plain.port)])
    yield Kind("304", plain.process.pid, [*theirs, *asks(plain.port, "304", f"If-None-Match: {etag}")])
    given = [str(tls.port), str(arguments.seconds), str(arguments.connections), _TARGET]
    yield Kind("HTTP/2", tls.process.pid, [*theirs, sys.executable, "-m", "tests.bench.requests2", *given])
    for server, name in zip(workers, ("1 worker", "2 workers"), strict=True):
        yield Kind(name, server.process.pid, asks(server.port))


def serve(
    directory: Path,
    keys: int,
    stack: ExitStack,
    prefix: Sequence[str] = (),
    *,
    workers: int = 1,
    has_tls: bool = False,
) -> Server:
    """Start vortexd with one document of this many keys.

    Args:
        prefix: A command that runs it on one processor.
    """
    source = directory / "config"
    source.mkdir(parents=True)
    lines = [f"section{number % 5}.name{number}: value of {number}" for number in range(keys)]
    (source / "billing.yml").write_text("\n".join(lines))
    tls = ""
    if has_tls:
        certificate, key = make(directory)
        tls = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"'
    text = _SETTINGS.format(workers=workers, tls=tls, source=source)
    return stack.enter_context(Server(source, settings=text, prefix=prefix))


def client_command(directory: Path) -> list[str]:
    """Return the command of the client: the program in C if there is a compiler, because a client in Python is slower than the server."""
    try:
        return [str(build(Path(__file__).with_name("requests.c"), directory))]
    except NoCompiler as error:
        print(f"{error}; the client in Python limits the rates")
        return [sys.executable, "-m", "tests.bench.requests"]


def measure(kind: Kind, arguments: argparse.Namespace) -> tuple[float, float, float]:
    """Measure one slice. Returns requests per second, requests per second of processor time, and the p99 in seconds."""
    before = cpu_seconds(kind.pid)
    latencies = json.loads(subprocess.run(kind.client, check=True, stdout=subprocess.PIPE).stdout)
    used = max(_TICK, cpu_seconds(kind.pid) - before)
    return len(latencies) / arguments.seconds, len(latencies) / used, percentiles(latencies)[1]


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and its children so far."""
    total = 0.0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = path.read_text().partition(" (")
        except OSError:
            # The process has ended.
            continue
        fields = rest.rpartition(")")[2].split()
        if pid in (int(number), int(fields[1])):
            total += (int(fields[11]) + int(fields[12])) * _TICK
    return total


@contextmanager
def hello(prefix: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Run the yardstick server in a separate process, on a free port. Yields its process and its port.

    Args:
        prefix: A command that runs it on one processor.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = [*prefix, sys.executable, "-m", "tests.bench.hello", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(10)


def validator(port: int) -> str:
    """The ETag of the document."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", _TARGET)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.headers["ETag"]

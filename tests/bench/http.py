"""Requests per second for one document (new, 304, HTTP/2, two workers), compared with a bare quart-trio "hello" on Hypercorn in the same run.

python -m tests.bench http

Each server runs on one processor, and the clients on another, if there are two. Other load on the machine takes
time from both. So the rate is also stated per second of the server's processor time: that is the rate on one idle core.

Two workers and their clients share all processors. So the clients' processor time limits the rate, and a client that runs on another processor than
its worker costs both more. Two separate servers with the same clients show what the machine allows: the servers share nothing.
"""

import argparse
import contextlib
import http.client
import json
import resource
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
        pids: The processes of the server. Their children count, too.
        clients: The commands that send the requests at the same time and print the latencies as JSON.
    """

    name: str
    pids: Sequence[int]
    clients: Sequence[Sequence[str]]


@attrs.frozen
class Slice:
    """What was measured on a server in a slice of time.

    Attributes:
        rate: Requests per second.
        server: Processor time of the server for a request, in seconds.
        client: Processor time of the clients for a request, in seconds.
        tail: The p99 of the latencies, in seconds.
    """

    rate: float
    server: float
    client: float
    tail: float


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
        results: dict[str, list[Slice]] = {each.name: [] for each in kinds}
        for _ in range(arguments.rounds):
            # The slices alternate, because the machine's other load varies.
            for each in kinds:
                results[each.name].append(measure(each, arguments))
    for name, slices in results.items():
        show(name, slices, results["hello"])
    for name in ("2 workers", "2 servers"):
        print(f"{name} over 1 worker: {scaling(results[name], results['1 worker'])}")


def show(name: str, slices: Sequence[Slice], floor: Sequence[Slice]) -> None:
    """Print the medians and the spread of a kind, and its ratios to the yardstick."""
    busy = [1 / each.server for each in slices]
    ratios = [other.server / one.server for one, other in zip(slices, floor, strict=True)]
    print(
        f"{name}: {statistics.median(each.rate for each in slices):,.0f} requests/s, "
        f"p99 {1_000 * statistics.median(each.tail for each in slices):.1f} ms; per second "
        f"of processor time {statistics.median(busy):,.0f} ({min(busy):,.0f}-{max(busy):,.0f}), "
        f"{statistics.median(ratios):.1f} times hello; "
        f"a request takes {1e6 * statistics.median(each.server for each in slices):.0f} us, "
        f"and {1e6 * statistics.median(each.client for each in slices):.0f} us of the client"
    )


def scaling(two: Sequence[Slice], one: Sequence[Slice]) -> str:
    """Compare two processes with one: as measured, with a processor for each, and the most that two processors allow with these clients."""
    pairs = [*zip(two, one, strict=True)]
    rates = statistics.median(each.rate / other.rate for each, other in pairs)
    own = statistics.median(2 * other.server / each.server for each, other in pairs)
    most = statistics.median(2 * other.server / (each.server + each.client) for each, other in pairs)
    return (
        f"{rates:.2f} as measured; {own:.2f} by processor time, if each has a processor of its own; "
        f"at most {most:.2f} on two processors that the clients share"
    )


def start(directory: Path, arguments: argparse.Namespace, stack: ExitStack) -> Iterator[Kind]:
    """Start all servers, each in its own directory, and yield what is measured on them."""
    ours, theirs = map(on_core, arguments.processors)
    plain = serve(directory / "plain", arguments.keys, stack, ours)
    # Several workers need all processors.
    one, two, other = (
        serve(directory / name, arguments.keys, stack, workers=count)
        for name, count in (("one", 1), ("two", 2), ("other", 1))
    )
    for pid in family(two.process.pid):
        share_priority(pid)
    tls = serve(directory / "tls", arguments.keys, stack, ours, has_tls=True)
    floor, floor_port = stack.enter_context(hello(ours))
    etag = validator(plain.port)
    client = client_command(directory)

    def asks(port: int | str, *headers: str, status: str = "200", clients: int = 1) -> list[str]:
        connections = arguments.connections // clients
        return [*client, str(port), str(arguments.seconds), str(connections), status, _TARGET, *headers]

    yield Kind("hello", [floor], [[*theirs, *asks(floor_port)]])
    yield Kind("fresh", [plain.process.pid], [[*theirs, *asks(plain.port)]])
    unchanged = asks(plain.port, f"If-None-Match: {etag}", status="304")
    yield Kind("304", [plain.process.pid], [[*theirs, *unchanged]])
    given = [str(tls.port), str(arguments.seconds), str(arguments.connections), _TARGET]
    yield Kind("HTTP/2", [tls.process.pid], [[*theirs, sys.executable, "-m", "tests.bench.requests2", *given]])
    yield Kind("1 worker", [one.process.pid], 2 * [asks(one.port, clients=2)])
    yield Kind("2 workers", [two.process.pid], 2 * [asks(two.port, clients=2)])
    pids, ports = [one.process.pid, other.process.pid], f"{one.port},{other.port}"
    yield Kind("2 servers", pids, 2 * [asks(ports, clients=2)])


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


def measure(kind: Kind, arguments: argparse.Namespace) -> Slice:
    """Measure one slice."""
    before, of_clients = cpu_seconds(kind.pids), resource.getrusage(resource.RUSAGE_CHILDREN)
    with ExitStack() as stack:
        clients = [stack.enter_context(subprocess.Popen(each, stdout=subprocess.PIPE)) for each in kind.clients]
        latencies = [latency for each in clients for latency in json.loads(each.communicate()[0])]
    if any(each.returncode for each in clients):
        raise RuntimeError(f"a client of {kind.name} has failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    count = len(latencies)
    client = after.ru_utime + after.ru_stime - of_clients.ru_utime - of_clients.ru_stime
    server = cpu_seconds(kind.pids) - before
    return Slice(count / arguments.seconds, server / count, client / count, percentiles(latencies)[1])


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the processor time of the threads of processes and of their children."""
    everything = [each for pid in pids for each in family(pid)]
    tasks = [task for pid in everything for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def family(pid: int) -> list[int]:
    """Return a process and its children."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(int(each) for task in tasks for each in task.read_text().split())]


def share_priority(pid: int) -> None:
    """Give a process the priority of this one. A worker has a session of its own, which Linux schedules as a group of its own."""
    with contextlib.suppress(OSError):
        own = Path("/proc/self/autogroup").read_text().split()[-1]
        Path(f"/proc/{pid}/autogroup").write_text(own)


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

"""Requests per second and p99 for one document (new and 304), compared with a bare quart-trio "hello" on Hypercorn in the same run.

python -m tests.bench http
"""

import argparse
import http.client
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..system.process import Server
from .report import percentiles

_TARGET = "/billing/prod"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--keys", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each slice")
    parser.add_argument("--rounds", type=int, default=10)


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "config"
        source.mkdir()
        lines = [f"section{number % 5}.name{number}: value of {number}" for number in range(arguments.keys)]
        (source / "billing.yml").write_text("\n".join(lines))
        with Server(source) as server, hello() as port:
            etag = validator(server.port)
            kinds = {
                "hello": (port, "200", ()),
                "fresh": (server.port, "200", ()),
                "304": (server.port, "304", (f"If-None-Match: {etag}",)),
            }
            results = measure(kinds, arguments)
            server.stop()
    floor = results["hello"]
    for name, slices in results.items():
        rates, tails = zip(*slices, strict=True)
        rate, tail = statistics.median(rates), statistics.median(tails)
        ratios = [one / other for one, (other, _) in zip(rates, floor, strict=True)]
        tail_ratios = [one / other for one, (_, other) in zip(tails, floor, strict=True)]
        print(
            f"{name}: {rate:,.0f} requests/s, p99 {1_000 * tail:.1f} ms; over hello: "
            f"{statistics.median(ratios):.2f} requests/s, {statistics.median(tail_ratios):.2f} p99"
        )


def measure(
    kinds: Mapping[str, tuple[int, str, tuple[str, ...]]], arguments: argparse.Namespace
) -> dict[str, list[tuple[float, float]]]:
    """Return requests per second and p99 of each slice. The slices alternate, because the machine's other load varies."""
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
    for _ in range(arguments.rounds):
        for name, (port, status, headers) in kinds.items():
            given = [str(port), str(arguments.seconds), str(arguments.connections), status, _TARGET, *headers]
            command = [sys.executable, "-m", "tests.bench.requests", *given]
            latencies = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            results[name].append((len(latencies) / arguments.seconds, percentiles(latencies)[1]))
    return results


@contextmanager
def hello() -> Iterator[int]:
    """Run the yardstick server in a separate process, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.hello", str(port)], stderr=subprocess.DEVNULL)
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
        yield port
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

"""The time from the rename of a file to the last of N clients, memory per idle connection, and start-up. Prints one line per figure.

python -m tests.bench push --clients 1000 --changes 20
"""

import argparse
import socket
import tempfile
import time
from pathlib import Path

from vortexd.ctl.load import Clients

from ..system.process import Server
from .report import DEBOUNCE, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--changes", type=int, default=20)


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "config"
        source.mkdir()
        write(source, 0)
        with Server(source) as server:
            print(f"start-up to ready: {server.seconds_to_ready:.3f} s")
            before = server.private_bytes()
            clients = Clients("127.0.0.1", server.port)
            seconds = clients.connect(arguments.clients, lambda _: "/ws/billing/prod")
            print(f"{arguments.clients} clients connected in {seconds:.2f} s")
            time.sleep(1)
            after = server.private_bytes()
            print(f"private memory per idle connection: {(after - before) / arguments.clients:,.0f} B")
            lasts, everyone = [], []
            for number in range(1, arguments.changes + 1):
                began = write(source, number)
                times = clients.wait(f'"value":{number}'.encode(), 30)
                lasts.append(max(times) - began)
                everyone += [moment - began for moment in times]
            report("rename to client, all", everyone)
            report("rename to last client", lasts)
            print(f"of which debounce: {DEBOUNCE * 1000:.0f} ms")
            report("floor: a loop of send to as many socket pairs", floor(arguments.clients, arguments.changes))
            clients.close()
            print(f"exit status after SIGTERM: {server.stop()}")


def write(source: Path, number: int) -> float:
    """Replace the file by rename, as deployments do. Return the time of the rename."""
    temporary = source / ".billing.tmp"
    values = "".join(f"  key{index}: value {index}\n" for index in range(50))
    temporary.write_text(f"service:\n{values}pool:\n  size: {number}\n")
    temporary.rename(source / "billing.yml")
    return time.monotonic()


def floor(count: int, rounds: int) -> list[float]:
    """Measure the bare system calls: 300 bytes to each of as many socket pairs."""
    pairs = [socket.socketpair() for _ in range(count)]
    seconds = []
    for _ in range(rounds):
        began = time.monotonic()
        for one, _ in pairs:
            one.send(b"x" * 300)
        seconds.append(time.monotonic() - began)
        for _, other in pairs:
            other.recv(300)
    for pair in pairs:
        for each in pair:
            each.close()
    return seconds

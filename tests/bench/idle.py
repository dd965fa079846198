"""The processor time of a server with nobody connected, and with N idle clients that answer heartbeats: shares of one core.

The server runs on one core, and clients in C on the other. The same server is measured first alone and then with clients.

python -m tests.bench idle --clients 9000 --seconds 60
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ..system.process import Server
from . import wire
from .compiler import SERVER_CORE, on_core

SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
[realtime]
heartbeat_interval = {interval}
[[source]]
path = "{source}"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, default=9_000)
    parser.add_argument("--seconds", type=float, default=30.0, help="of one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--interval", type=float, default=30.0, help="of the heartbeats")


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    count, seconds, rounds = arguments.clients, arguments.seconds, arguments.rounds
    with tempfile.TemporaryDirectory() as directory:
        program = wire.build(Path(directory))
        source = Path(directory) / "config"
        source.mkdir()
        (source / "billing.yml").write_text("pool:\n  size: 1\n")
        settings = SETTINGS.format(source=source, interval=arguments.interval)
        with Server(source, settings=settings, prefix=on_core(SERVER_CORE)) as server:
            time.sleep(3)
            alone = [share(server, lambda: time.sleep(seconds), seconds) for _ in range(rounds)]
            report("nobody connected", alone)
            with wire.Clients(program, server.port, count, "/ws/billing/prod") as clients:
                # All clients get their first heartbeat within one interval.
                clients.idle(arguments.interval)
                answered: list[int] = []
                busy = [share(server, lambda: answered.append(clients.idle(seconds)), seconds) for _ in range(rounds)]
                report(f"{count} idle clients with a heartbeat every {arguments.interval:g} s", busy)
                used = sum(busy) / 100 * seconds / max(sum(answered), 1)
                print(f"    {sum(answered)} heartbeats answered; {used * 1e6:.1f} us each")


def share(server: Server, meanwhile: Callable[[], object], seconds: float) -> float:
    """Return the processor time of the server meanwhile, in per cent of one core."""
    before = server.cpu_nanoseconds()
    meanwhile()
    return (server.cpu_nanoseconds() - before) / 1e7 / seconds


def report(name: str, shares: list[float]) -> None:
    """Print the median with the range."""
    print(f"{name}: {statistics.median(shares):.3f} % ({min(shares):.3f}-{max(shares):.3f}) of a core")

"""The fan-out of one change beside the C loop of send(2) to as many sockets: times from first to last client, and CPU per message.

The server and the loop run on one core, and clients in C on the other. All of them take part in each round, in an order that
is drawn anew for each round. In a fixed order, the one that follows an idle or a busy neighbour would always have the colder
or the warmer caches, which is several percent with 9,000 clients. A server with one client shows the part of a change that
doesn't depend on the number of clients. Give --python to run a server without vortexd-native in the same rounds, and
--before for the server of another checkout.

python -m tests.bench fanout --clients 1000 --rounds 15
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

import attrs

from vortexd.aio.native import VARIABLE, load_native, name_of

from ..system.process import Server
from . import wire
from .compiler import SERVER_CORE, on_core

# Heartbeats would disturb the figures, so there are none within the run.
SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
connections_per_address = 0
[realtime]
heartbeat_interval = 3600.0
[[source]]
path = "{source}"
"""
# Everything that a publication causes has ended after this time, in seconds.
_PAUSE = 0.4
_ONE, _LOOP = "one client", "loop"


@attrs.frozen
class Round:
    """One fan-out, in seconds.

    Attributes:
        spread: From the first to the last client.
        whole: From the trigger to the last client. The product's includes the time in which the file must be quiet.
        cpu: The processor's time of the server for the whole change.
    """

    spread: float
    whole: float
    cpu: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--python", action="store_true", help="also a server that writes without vortexd-native")
    parser.add_argument("--before", type=Path, metavar="DIR", help="also the server of another checkout")


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    count = arguments.clients
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        program = wire.build(directory)
        size, runs = 0, {}
        for name, (clients, environment) in kinds(arguments).items():
            source = directory / name / "config"
            source.mkdir(parents=True)
            save(source, "begin")
            server = stack.enter_context(
                Server(
                    source,
                    settings=SETTINGS.format(source=source),
                    environment=environment,
                    prefix=on_core(SERVER_CORE),
                )
            )
            crowd = stack.enter_context(wire.Clients(program, server.port, clients, "/ws/billing/prod"))
            runs[name] = product(server, crowd, source)
            crowd.wait("warm", 60)
            save(source, "warm")
            size = crowd.reached().bytes
        floor = stack.enter_context(wire.Floor(program, count))
        runs[_LOOP] = loop(floor, stack.enter_context(wire.Clients(program, floor.port, count, None)), size)
        rounds: dict[str, list[Round]] = {name: [] for name in runs}
        # The order is the same in each run of the benchmark.
        order = Random(0)
        for number in range(arguments.rounds):
            for name in order.sample([*runs], len(runs)):
                rounds[name].append(runs[name](f"round{number:06}"))
        print(f"{count} clients, {size} B, {arguments.rounds} rounds: medians and quartiles, and ratios to the loop")
        for name, measured in rounds.items():
            report(name, measured, rounds[_LOOP], rounds[_ONE], count)


def kinds(arguments: argparse.Namespace) -> dict[str, tuple[int, dict[str, str]]]:
    """Return the servers to run, each with its number of clients and its environment."""
    count = arguments.clients
    found: dict[str, tuple[int, dict[str, str]]] = {name_of(load_native()): (count, {})}
    if arguments.python:
        found["python"] = count, {VARIABLE: "off"}
    if arguments.before is not None:
        found["before"] = count, {"PYTHONPATH": str(arguments.before.resolve()), "PYTHONSAFEPATH": "1"}
    return found | {_ONE: (1, {})}


def product(server: Server, clients: wire.Clients, source: Path) -> Callable[[str], Round]:
    """Return what makes one round of the product. The trigger is the rename of a file."""

    def one(text: str) -> Round:
        time.sleep(_PAUSE)
        clients.wait(text, 60)
        before = server.cpu_nanoseconds()
        began = save(source, text)
        reached = clients.reached()
        time.sleep(_PAUSE)
        cpu = (server.cpu_nanoseconds() - before) / 1e9
        return Round(reached.last - reached.first, reached.last - began, cpu)

    return one


def loop(floor: wire.Floor, clients: wire.Clients, size: int) -> Callable[[str], Round]:
    """Return what makes one round of the loop."""

    def one(text: str) -> Round:
        time.sleep(_PAUSE)
        clients.wait(text, 60)
        time.sleep(0.02)
        began, cpu = floor.publish(text, size)
        reached = clients.reached()
        return Round(reached.last - reached.first, reached.last - began, cpu)

    return one


def save(source: Path, text: str) -> float:
    """Replace the file by rename. Returns the time of the rename."""
    temporary = source / ".billing.tmp"
    temporary.write_text(f"service:\n  name: {text}\n  size: 1\n")
    began = time.monotonic()
    temporary.rename(source / "billing.yml")
    return began


def report(name: str, rounds: Sequence[Round], floor: Sequence[Round], single: Sequence[Round], count: int) -> None:
    """Print the figures of one server, or of the loop."""
    if name == _ONE:
        cpu = statistics.median(each.cpu for each in rounds)
        print(f"    {name}: {1e3 * cpu:.2f} ms of CPU for a change")
        return
    fixed = 0.0 if name == _LOOP else statistics.median(each.cpu for each in single)
    parts = [
        figure("spread", "ms", [1e3 * each.spread for each in rounds], [1e3 * each.spread for each in floor]),
        figure("whole", "ms", [1e3 * each.whole for each in rounds], [1e3 * each.whole for each in floor]),
    ]
    loops = [1e6 * each.cpu / count for each in floor]
    parts.append(figure("CPU per message", "us", [1e6 * each.cpu / count for each in rounds], loops))
    if name != _LOOP:
        more = [1e6 * (each.cpu - fixed) / count for each in rounds]
        parts.append(figure("without the part of one client", "us", more, loops))
    print(f"    {name}: " + "; ".join(parts))


def figure(name: str, unit: str, values: Sequence[float], floor: Sequence[float]) -> str:
    """Return the median with the quartiles, and the ratio of the medians."""
    low, middle, high = statistics.quantiles(values, n=4)
    ratio = middle / statistics.median(floor)
    return f"{name} {middle:.2f} {unit} ({low:.2f}-{high:.2f}), {ratio:.2f}"

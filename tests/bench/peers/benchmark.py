"""Runs the servers in turn, round by round, and prints the table."""

import argparse
import os
import platform
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..compiler import CLIENT_CORE, SERVER_CORE, NoCompiler, build
from . import measures
from .axum import Axum
from .base import Peer, Unavailable, last_line
from .centrifugo import Centrifugo
from .figures import Column, Row, Sample, counted, notes, table
from .floor import Floor
from .gorilla import Gorilla
from .measures import MESSAGE_BYTES, QUICK, Sizes
from .nats import Nats
from .nchan import Nchan
from .node_ws import NodeWs
from .vortexd import PureVortexd, Vortexd

PEERS: Sequence[type[Peer]] = (Floor, Vortexd, PureVortexd, NodeWs, Gorilla, Axum, Nchan, Centrifugo, Nats)
_CACHE = Path(__file__).parent.parent / ".peers"
# No round begins if it would probably end later than this, in seconds. With the heartbeats, a run then takes less than 15 minutes.
_VISITS_SECONDS = 700
# Open files that a server needs beside its connections.
_RESERVE = 1_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    names = [each.name for each in PEERS]
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="300 clients: only to try the benchmark")
    parser.add_argument("--only", action="append", choices=names, help="one of the servers; may be repeated")
    parser.add_argument(
        "--cache", type=Path, default=_CACHE, help="where peers are built, tests/bench/.peers by default"
    )
    parser.add_argument("--install-only", action="store_true", help="build the peers, and measure nothing")


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    sizes = QUICK if arguments.quick else Sizes()
    _raise_limit(sizes.most() + _RESERVE)
    _end_by_signals()
    peers = [each() for each in PEERS if not arguments.only or each.name in arguments.only]
    cache: Path = arguments.cache.resolve()
    versions, reasons = install(peers, cache)
    with tempfile.TemporaryDirectory() as directory:
        try:
            program = build(Path(__file__).with_name("clients.c"), Path(directory))
        except NoCompiler as error:
            print(f"skipped: {error}, and the clients are a C program")
            return
        if arguments.install_only:
            return
        began = time.monotonic()
        samples, rounds = visit(peers, lambda peer: measures.visit(peer, program, sizes), arguments.rounds, reasons)
        left = [each for each in peers if each.name not in reasons]
        _note(f"heartbeats: {(rounds + 1) * sizes.heartbeat / 2:.0f} s")
        shares = measures.idle(left, program, sizes, rounds, lambda peer, error: _skip(peer, error, reasons))
    rows = [
        Row(name, versions.get(name, ""), samples.get(name, ()), shares.get(name, ()), reasons.get(name, ""))
        for name in (each.name for each in peers)
    ]
    print(report(rows, sizes, rounds))
    print(
        f"\nMeasured on {time.strftime('%Y-%m-%d')} in {time.monotonic() - began:.0f} s by `{command(arguments)}`, "
        f"on Linux {platform.release().partition('-')[0]} with {os.cpu_count()} cores."
    )


def report(rows: Sequence[Row], sizes: Sizes, rounds: int) -> str:
    """Return the text for README."""
    floor = f"÷ {Floor.name}"
    connections = [
        Column(f"Private memory of each of {sizes.idle:,} idle connections, B", "idle_bytes"),
        Column("Handshakes per second", "handshakes"),
        Column("CPU of each, µs", "handshake_cpu", 1e6),
        Column(f"{sizes.idle:,} clients come back at once, s", "back", 1, 2),
        Column("Refused", "refused"),
        Column(f"CPU with {sizes.beating:,} idle clients, % of a core", "idle", 100, 2),
    ]
    messages = []
    for name, count in (("few", sizes.few), ("many", sizes.many)):
        messages += [
            Column(f"{count:,} clients: first to last, ms", f"{name}_spread", 1e3, 1, floor),
            Column("Trigger to last, ms", f"{name}_whole", 1e3, 1),
            Column("CPU per message, µs", f"{name}_cpu", 1e6, 1),
        ]
    parts = [
        table(rows, connections, Floor.name, has_versions=True),
        f"One message of {MESSAGE_BYTES} B to all clients:",
        table(rows, messages, Floor.name, has_versions=False),
        notes(rows),
        _method(sizes, rounds),
    ]
    return "\n\n".join(filter(None, parts))


def _method(sizes: Sizes, rounds: int) -> str:
    return (
        f"The figures are medians of {counted(rounds, 'round')}, with the range. In each round, each server ran alone, in turn, on core {SERVER_CORE}. "
        f"The clients, one C program, ran on core {CLIENT_CORE}. Idle clients got a heartbeat every {sizes.heartbeat:g} s; "
        f"for their CPU, all servers ran side by side, in {counted(rounds, 'window')} of {sizes.heartbeat:g} s. "
        "The trigger of vortexd is the rename of a file, which vortexd publishes after 20 ms. The trigger of the others is a request."
    )


def install(peers: list[Peer], cache: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Install all peers. Returns the versions, and the reasons of those that can't be had."""
    versions: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for peer in peers:
        directory = cache / type(peer).__name__.lower()
        directory.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        try:
            versions[peer.name] = peer.install(directory)
        except (Unavailable, OSError, ValueError, subprocess.SubprocessError) as error:
            _skip(peer, error, reasons)
        else:
            _note(f"installed: {peer.name} {versions[peer.name]} in {time.monotonic() - began:.0f} s")
    return versions, reasons


def visit(
    peers: Sequence[Peer],
    measure: Callable[[Peer], Sample],
    rounds: int,
    reasons: dict[str, str],
    clock: Callable[[], float] = time.monotonic,
) -> tuple[dict[str, list[Sample]], int]:
    """Measure all servers in turn. One that fails twice in a round gets a reason, and no further round.

    Returns:
        The samples, and the number of rounds. It is less than `rounds` if the time is over.
    """
    samples: dict[str, list[Sample]] = {}
    began = clock()
    for number in range(rounds):
        started = clock()
        for peer in turn(peers, number):
            if peer.name not in reasons:
                _measure(peer, measure, samples, reasons, f"round {number + 1} of {rounds}")
        ended = clock()
        if ended - began + (ended - started) > _VISITS_SECONDS:
            return samples, number + 1
    return samples, rounds


def turn(peers: Sequence[Peer], number: int) -> Sequence[Peer]:
    """Return the order of the servers in a round. Another one is the first each time."""
    first = number % max(1, len(peers))
    return (*peers[first:], *peers[:first])


def _measure(
    peer: Peer,
    measure: Callable[[Peer], Sample],
    samples: dict[str, list[Sample]],
    reasons: dict[str, str],
    title: str,
) -> None:
    """Measure one server, once more if that fails."""
    began = time.monotonic()
    try:
        try:
            sample = measure(peer)
        except measures.FAILURES as error:
            _note(f"{title}: {peer.name} once more: {last_line(str(error))}")
            sample = measure(peer)
    except measures.FAILURES as error:
        _skip(peer, error, reasons)
    else:
        samples.setdefault(peer.name, []).append(sample)
        _note(f"{title}: {peer.name} in {time.monotonic() - began:.1f} s")


def _skip(peer: Peer, error: Exception, reasons: dict[str, str]) -> None:
    reasons[peer.name] = last_line(str(error))
    _note(f"skipped: {peer.name}: {reasons[peer.name]}")


def _raise_limit(needed: int) -> None:
    """Let this process and its children open as many files as they may. End if that is too few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if 0 <= most < needed:
        raise SystemExit(f"a process may open only {most} files, and this needs {needed}")


def _end_by_signals() -> None:
    """Let the first signal end the run as an exception does, with all that it has started. Others are ignored meanwhile."""
    # nohup has this process ignore SIGHUP.
    ending = [
        each for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) != signal.SIG_IGN
    ]

    def end(number: int, _: object) -> None:
        for each in ending:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for each in ending:
        signal.signal(each, end)


def command(arguments: argparse.Namespace) -> str:
    """Return the command that repeats the run. Where the peers were built changes no figure."""
    parts = ["python", "-m", "tests.bench", "peers", "--rounds", str(arguments.rounds)]
    if arguments.quick:
        parts.append("--quick")
    for each in arguments.only or ():
        parts += ["--only", each]
    return shlex.join(parts)


def _note(text: str) -> None:
    """Tell a person at the terminal. The table alone is on standard output."""
    print(text, file=sys.stderr, flush=True)

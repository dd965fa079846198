"""Runs the servers in turn, round by round, and prints the table."""

import argparse
import resource
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..compiler import CLIENT_CORE, SERVER_CORE, NoCompiler, build
from . import measures
from .axum import Axum
from .base import Peer, Unavailable, last_line
from .centrifugo import Centrifugo
from .figures import Column, Row, Sample, absent, table
from .floor import Floor
from .gorilla import Gorilla
from .measures import MESSAGE_BYTES, QUICK, Sizes
from .nats import Nats
from .nchan import Nchan
from .node_ws import NodeWs
from .vortexd import Vortexd

PEERS: Sequence[type[Peer]] = (Floor, Vortexd, NodeWs, Gorilla, Axum, Nchan, Centrifugo, Nats)
_CACHE = Path(__file__).parent.parent / ".peers"
# Open files that a server needs beside its connections.
_RESERVE = 1_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    names = [each.name for each in PEERS]
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the clients: only to try the benchmark")
    parser.add_argument("--only", action="append", choices=names, help="one of the servers; may be repeated")
    parser.add_argument(
        "--cache", type=Path, default=_CACHE, help="where peers are built, tests/bench/.peers by default"
    )
    parser.add_argument("--install-only", action="store_true", help="build the peers, and measure nothing")


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    sizes = QUICK if arguments.quick else Sizes()
    _raise_limit(sizes.many + _RESERVE)
    peers = [each() for each in PEERS if not arguments.only or each.name in arguments.only]
    cache: Path = arguments.cache.resolve()
    versions, reasons = _install(peers, cache)
    with tempfile.TemporaryDirectory() as directory:
        try:
            program = build(Path(__file__).with_name("clients.c"), Path(directory))
        except NoCompiler as error:
            print(f"skipped: {error}, and the clients are a C program")
            return
        if arguments.install_only:
            return
        began = time.monotonic()
        samples = _visit(peers, program, sizes, arguments.rounds, reasons)
        left = [each for each in peers if each.name not in reasons]
        _note(f"heartbeats: {(arguments.rounds + 1) * sizes.heartbeat / 2:.0f} s")
        shares = measures.idle(left, program, sizes, arguments.rounds, lambda peer, error: _skip(peer, error, reasons))
    rows = [
        Row(name, versions.get(name, ""), samples.get(name, ()), shares.get(name, ()), reasons.get(name, ""))
        for name in (each.name for each in peers)
    ]
    print(report(rows, sizes, arguments.rounds))
    print(f"\nMeasured in {time.monotonic() - began:.0f} s with `{_command()}`.")


def report(rows: Sequence[Row], sizes: Sizes, rounds: int) -> str:
    """Return the text for README."""
    columns = [
        Column(f"Private memory per idle connection, B: {sizes.few:,}", "few_bytes"),
        Column(f"{sizes.many:,}", "many_bytes"),
        Column(f"{MESSAGE_BYTES} B to {sizes.reached:,} clients: first to last, ms", "spread", 1e3, 1),
        Column("trigger to last, ms", "whole", 1e3, 1),
        Column("CPU per message, µs", "message_cpu", 1e6, 1),
        Column("Handshakes per second", "handshakes"),
        Column("CPU each, µs", "handshake_cpu", 1e6),
        Column(f"{sizes.many:,} come back at once: s", "back", 1, 2),
        Column("refused", "refused"),
    ]
    idle = f"CPU with {sizes.many:,} idle, heartbeats each {sizes.heartbeat:g} s, % of a core"
    text = table(rows, columns, Floor.name, "ratio to the C loop", idle)
    how = (
        f"Medians of {rounds} alternating rounds, with the range. Each server runs on core {SERVER_CORE}, "
        f"and the clients, one C program, run on core {CLIENT_CORE}."
    )
    return "\n\n".join(filter(None, (text, how, absent(rows))))


def _install(peers: list[Peer], cache: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Install all peers. Returns the versions, and the reasons of those that can't be had."""
    versions: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for peer in peers:
        directory = cache / type(peer).__name__.lower()
        directory.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        try:
            versions[peer.name] = peer.install(directory)
        except Unavailable as error:
            _skip(peer, error, reasons)
        else:
            _note(f"installed: {peer.name} {versions[peer.name]} in {time.monotonic() - began:.0f} s")
    return versions, reasons


def _visit(
    peers: Sequence[Peer], program: Path, sizes: Sizes, rounds: int, reasons: dict[str, str]
) -> dict[str, list[Sample]]:
    """Measure all servers in turn. One that fails gets a reason, and no further round."""
    samples: dict[str, list[Sample]] = {}
    for number, peer in _turns(peers, rounds):
        if peer.name in reasons:
            continue
        began = time.monotonic()
        try:
            samples.setdefault(peer.name, []).append(measures.visit(peer, program, sizes))
        except measures.FAILURES as error:
            _skip(peer, error, reasons)
        else:
            _note(f"round {number + 1} of {rounds}: {peer.name} in {time.monotonic() - began:.1f} s")
    return samples


def _turns(peers: Sequence[Peer], rounds: int) -> Iterator[tuple[int, Peer]]:
    """Yield all servers in each round. Another one is the first each time."""
    for number in range(rounds):
        first = number % max(1, len(peers))
        for peer in (*peers[first:], *peers[:first]):
            yield number, peer


def _skip(peer: Peer, error: Exception, reasons: dict[str, str]) -> None:
    reasons[peer.name] = last_line(str(error))
    _note(f"skipped: {peer.name}: {reasons[peer.name]}")


def _raise_limit(needed: int) -> None:
    """Let this process and its children open as many files as they may. End if that is too few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if 0 <= most < needed:
        raise SystemExit(f"a process may open only {most} files, and this needs {needed}")


def _command() -> str:
    return shlex.join(["python", "-m", "tests.bench", *sys.argv[1:]])


def _note(text: str) -> None:
    """Tell a person at the terminal. The table alone is on standard output."""
    print(text, file=sys.stderr, flush=True)

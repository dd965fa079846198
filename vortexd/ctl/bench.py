"""Measure vortexd under load: connections, changes and idle time, compared with the cost of the system calls alone.

Each change is followed by a round of the floor, so that both have the same machine. The figures are medians and
quartiles over the rounds.

The arguments name a running server and a file that it serves. Without them, the benchmark starts a daemon on a temporary directory. It
prints figures. However the command ends, it restores the file.
"""

import argparse
import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from .errors import CtlError
from .load import Clients
from .server import read_token

_TIMEOUT = 30.0
_START_TIMEOUT = 30.0
# Connections that are open before memory is measured, so that structures made only once aren't counted.
_FIRST = 100
_FLOOR_PAUSE = 0.1
# The size of a message for one changed value, with the names around it.
_FLOOR_BYTES = 300
_LAG = re.compile(r'^vortexd_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)


@attrs.frozen
class Target:
    """The server to measure.

    Attributes:
        path: The path of the WebSocket, with its query.
        file: The file to change; the server serves it.
        pid: The server's process ID. None: don't measure its memory.
    """

    host: str
    port: int
    path: str
    file: Path
    pid: int | None
    token: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command; see `cli.COMMANDS`."""
    parser.add_argument(
        "url", nargs="?", help="ws://HOST:PORT/ws/APP/PROFILE; without it, the benchmark starts a daemon"
    )
    parser.add_argument(
        "--file", type=Path, help="a YAML or properties file of APP; the benchmark changes and restores it"
    )
    parser.add_argument(
        "--pid", type=int, help="the server's process ID, if it runs on this machine, to measure its memory"
    )
    parser.add_argument("--token-file", type=Path, help="a file with the token; else $VORTEXCTL_TOKEN")
    parser.add_argument("--connections", type=_count, default=1_000, metavar="N")
    parser.add_argument("--changes", type=_count, default=20, metavar="K")
    parser.add_argument(
        "--idle", type=float, default=0.0, metavar="SECONDS", help="keep the connections open and idle for so long"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark. Return 1 if a message was lost."""
    _allow_descriptors(arguments.connections)
    progress = _progress if sys.stderr.isatty() else lambda _: None
    with ExitStack() as stack:
        # SIGTERM ends the command as Ctrl-C does, so that the file is restored.
        former = signal.signal(signal.SIGTERM, signal.default_int_handler)
        stack.callback(signal.signal, signal.SIGTERM, former)
        target = _target(arguments) if arguments.url else stack.enter_context(_own_server())
        save = stack.enter_context(_changing(target.file))
        figures = _measure(target, save, arguments.connections, arguments.changes, arguments.idle, progress)
    progress("")
    print(json.dumps(figures) if arguments.json else _table(figures))
    return 1 if figures["lost"] else 0


def _count(text: str) -> int:
    with suppress(ValueError):
        if (number := int(text)) >= 1:
            return number
    raise argparse.ArgumentTypeError("must be a whole number, and at least 1")


def _allow_descriptors(count: int) -> None:
    """Raise the limit of descriptors as far as possible. The clients of the server and those of the floor are open together."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and 2 * count + 256 > hard:
        raise CtlError(
            f"{count} connections, and as many for the floor, need more than {hard} descriptors; "
            "raise ulimit -n, or use fewer connections",
            2,
        )


def _target(arguments: argparse.Namespace) -> Target:
    parts = urlsplit(arguments.url)
    if parts.scheme != "ws" or not parts.hostname or not parts.path.startswith("/ws/"):
        raise CtlError("the URL must be ws://HOST:PORT/ws/APP/PROFILE", 2)
    if arguments.file is None:
        raise CtlError(
            "--file must name a file that the server serves for APP; the benchmark changes it, and restores it at the end",
            2,
        )
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return Target(
        parts.hostname, parts.port or 80, path, arguments.file, arguments.pid, read_token(arguments.token_file)
    )


# A server started by the benchmark.


@contextmanager
def _own_server() -> Iterator[Target]:
    with tempfile.TemporaryDirectory(prefix="vortexctl-bench-") as directory:
        source = Path(directory) / "config"
        source.mkdir()
        file = source / "bench.yml"
        file.write_text("service:\n" + "".join(f"  key{number}: value {number}\n" for number in range(50)))
        log = Path(directory) / "log"
        with log.open("w") as opened:
            command = [sys.executable, "-m", "vortexd", "--source", str(source), "--bind", "127.0.0.1:0"]
            process = subprocess.Popen([*command, "--log-format", "json"], stdout=opened, stderr=opened)
        try:
            yield Target("127.0.0.1", _port_of(process, log), "/ws/bench/default", file, process.pid, None)
        finally:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _port_of(process: "subprocess.Popen[bytes]", log: Path) -> int:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if '"event": "ready"' in line:
                return int(json.loads(line)["addresses"][0].rpartition(":")[2])
        time.sleep(0.01)
    raise CtlError(f"the daemon didn't start: {log.read_text()[-500:]}")


# The file that changes.


@contextmanager
def _changing(file: Path) -> Iterator[Callable[[int], float]]:
    """Yield a function that saves the file with a number in it, by rename. Restore the file at the end.

    The function returns the time just before the rename.
    """
    suffix = file.suffix.lstrip(".")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CtlError(f"{file} can't be read: {(error.strerror or 'I/O error').lower()}", 2) from None
    if suffix not in ("yml", "yaml", "properties"):
        raise CtlError(f"{file} is neither YAML nor properties", 2)
    separator = b"=" if suffix == "properties" else b": "

    def save(number: int) -> float:
        # The key goes to the end of the file. In a YAML file of several documents, it goes into the last document.
        return _replace(file, content.rstrip(b"\n") + b"\nvortexctlbench" + separator + _mark(number) + b"\n")

    try:
        yield save
    finally:
        _replace(file, content)


def _mark(number: int) -> bytes:
    """Return a text that occurs in no other change."""
    return b"change-%d-of-vortexctl" % number


def _replace(file: Path, content: bytes) -> float:
    """Replace a file by rename. Return the time just before the rename."""
    temporary = file.with_name(f".{file.name}.vortexctl")
    try:
        temporary.write_bytes(content)
        shutil.copymode(file, temporary)
        began = time.monotonic()
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CtlError(f"{file} can't be changed: {(error.strerror or 'I/O error').lower()}", 2) from None
    return began


# Measuring.


@attrs.frozen
class _Rounds:
    """The times of all changes, in seconds, and the number of lost messages.

    Attributes:
        whole: From the trigger to the last client, for each change.
        spread: From the first client to the last, for each change.
        floor_spread: The same as `spread` for a bare loop of `send`.
    """

    whole: list[float] = attrs.field(factory=list)
    spread: list[float] = attrs.field(factory=list)
    floor_spread: list[float] = attrs.field(factory=list)
    lost: int = 0


def _measure(
    target: Target,
    save: Callable[[int], float],
    count: int,
    changes: int,
    idle: float,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    clients = Clients(target.host, target.port, target.token)
    try:
        first = min(_FIRST, count)
        seconds = clients.connect(first, lambda _: target.path)
        before = _private_bytes(target.pid)
        seconds += clients.connect(
            count - first, lambda _: target.path, progress=lambda number: progress(f"{number} of {count} connected")
        )
        time.sleep(0.5)
        after = _private_bytes(target.pid)
        with _floor(count) as floor:
            rounds = _alternate(clients, save, floor, changes, progress)
        used = busy = None
        if idle:
            progress(f"idle for {idle:g} s")
            used = _cpu_seconds(target.pid)
            clients.idle(idle)
            busy = _cpu_seconds(target.pid)
        lag = _loop_lag(target)
    except (ConnectionError, TimeoutError) as error:
        raise CtlError(str(error)) from None
    except OSError as error:
        raise CtlError(
            f"{target.host}:{target.port} can't be reached: {(error.strerror or str(error)).lower()}"
        ) from None
    finally:
        clients.close()
    return {
        "connections": count,
        "changes": changes,
        "connects_per_second": round(count / seconds),
        "save_to_last_ms": _quartiles(rounds.whole),
        "first_to_last_ms": _quartiles(rounds.spread),
        "floor_first_to_last_ms": _quartiles(rounds.floor_spread),
        "first_to_last_over_floor": _ratio(rounds.spread, rounds.floor_spread),
        "loop_lag_p99_ms": lag,
        "private_bytes_per_connection": (
            round((after - before) / (count - first))
            if before is not None and after is not None and count > first
            else None
        ),
        "idle_cpu_percent": round(100 * (busy - used) / idle, 2) if used is not None and busy is not None else None,
        "lost": rounds.lost,
    }


def _alternate(
    clients: Clients,
    save: Callable[[int], float],
    floor: Callable[[int], Sequence[float]],
    changes: int,
    progress: Callable[[str], None],
) -> _Rounds:
    """Change the file and wait for all clients, and then run a round of the floor, again and again."""
    rounds, lost = _Rounds(), 0
    for number in range(1, changes + 1):
        progress(f"change {number} of {changes}")
        began = save(number)
        reached = clients.reach(_mark(number), _TIMEOUT)
        lost += reached.missing
        if reached.times:
            rounds.whole.append(max(reached.times) - began)
            rounds.spread.append(max(reached.times) - min(reached.times))
        times = floor(number)
        rounds.floor_spread.append(max(times) - min(times))
    return attrs.evolve(rounds, lost=lost)


@contextmanager
def _floor(count: int) -> Iterator[Callable[[int], Sequence[float]]]:
    """Yield a function that runs a bare loop of `send` over as many sockets, and returns when each client has received."""
    command = [sys.executable, "-m", "vortexd.ctl.floor", str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        output, to = process.stdout, process.stdin
        clients = Clients("127.0.0.1", int(output.readline()))

        def run_round(number: int) -> Sequence[float]:
            # Let the machine rest as it does between two changes, so that processor and caches are as cold for both.
            time.sleep(_FLOOR_PAUSE)
            to.write(f"round {number};".ljust(_FLOOR_BYTES, "x") + "\n")
            to.flush()
            times = clients.wait(b"round %d;" % number, _TIMEOUT)
            output.readline()
            return times

        try:
            clients.connect(count, lambda _: "/")
            yield run_round
        finally:
            clients.close()
            process.stdin.close()
            process.kill()


def _private_bytes(pid: int | None) -> int | None:
    """Return the memory that only this process has written to: Private_Dirty of all its mappings, in bytes."""
    if pid is None:
        return None
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError as error:
        raise CtlError(f"the memory of process {pid} can't be read: {(error.strerror or 'error').lower()}", 2) from None
    return 1_024 * sum(int(kib) for kib in re.findall(r"^Private_Dirty:\s+(\d+)", rollup, re.MULTILINE))


def _cpu_seconds(pid: int | None) -> float | None:
    if pid is None:
        return None
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _loop_lag(target: Target) -> float | None:
    """Return the bound below which 99 % of the server's loop lags lie, in milliseconds. None if its metrics can't be read."""
    request = urllib.request.Request(f"http://{target.host}:{target.port}/metrics")
    if target.token:
        request.add_header("Authorization", f"Bearer {target.token}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            buckets = [(float(bound), float(number)) for bound, number in _LAG.findall(answer.read().decode())]
    except (urllib.error.URLError, OSError, ValueError):
        return None
    if not buckets or not buckets[-1][1]:
        return None
    return next(1_000 * bound for bound, number in buckets if number >= 0.99 * buckets[-1][1])


# The output.


def _quartiles(seconds: Sequence[float]) -> dict[str, float] | None:
    """Return the median and the quartiles in milliseconds, or None without values."""
    if not seconds:
        return None
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else 3 * [seconds[0]]
    return {"median": round(1_000 * middle, 1), "p25": round(1_000 * low, 1), "p75": round(1_000 * high, 1)}


def _ratio(seconds: Sequence[float], floor: Sequence[float]) -> float | None:
    """Return the ratio of the medians, or None without values."""
    if not seconds or not floor or not statistics.median(floor):
        return None
    return round(statistics.median(seconds) / statistics.median(floor), 2)


_ROWS = {
    "connections": "connections",
    "changes": "changes",
    "connects_per_second": "connected per second",
    "save_to_last_ms": "from save to the last client, ms",
    "first_to_last_ms": "from the first client to the last, ms",
    "floor_first_to_last_ms": "the same of a loop of send, ms",
    "first_to_last_over_floor": "ratio of these medians",
    "loop_lag_p99_ms": "loop lag of the server, p99 below, ms",
    "private_bytes_per_connection": "private memory per connection, bytes",
    "idle_cpu_percent": "processor while idle, % of a core",
    "lost": "messages lost",
}


def _table(figures: dict[str, Any]) -> str:
    lines = []
    for name, words in _ROWS.items():
        value = figures[name]
        if isinstance(value, dict):
            value = "  ".join(f"{percentile} {number:g}" for percentile, number in value.items())
        lines.append(f"{words:38}  {'not measured' if value is None else value}")
    return "\n".join(lines)


def _progress(text: str) -> None:
    print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

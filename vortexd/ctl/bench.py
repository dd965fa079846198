"""Measure a vortexd under load: connections, changes and idle time, beside what the system calls alone cost.

In goes the URL of a running server with a file that it serves, or nothing: then a daemon is started on a temporary directory. Out come
figures. The file is left as it was found, however the command ends.
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
# Connections that are open before memory is measured: what is made once for all is made then.
_FIRST = 100
_FLOOR_PAUSE = 0.1
# What one changed value costs on the wire, with the names around it.
_FLOOR_BYTES = 300
_LAG = re.compile(r'^vortexd_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)


@attrs.frozen
class Target:
    """What is measured.

    Attributes:
        path: Of the WebSocket, with its query.
        file: What is changed; the server serves it.
        pid: Of the server, or None: its memory isn't measured.
    """

    host: str
    port: int
    path: str
    file: Path
    pid: int | None
    token: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `cli.COMMANDS`."""
    parser.add_argument("url", nargs="?", help="ws://HOST:PORT/ws/APP/PROFILE; without it, a daemon is started")
    parser.add_argument("--file", type=Path, help="a YAML or properties file of APP, which is changed and put back")
    parser.add_argument("--pid", type=int, help="of the server on this machine, to measure its memory")
    parser.add_argument("--token-file", type=Path, help="a file with the token; else $VORTEXCTL_TOKEN")
    parser.add_argument("--connections", type=_count, default=1_000, metavar="N")
    parser.add_argument("--changes", type=_count, default=20, metavar="K")
    parser.add_argument("--idle", type=float, default=0.0, metavar="SECONDS", help="hold the connections for a time")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of a table")


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark. Returns 1 where a message was lost."""
    _allow_descriptors(arguments.connections)
    progress = _progress if sys.stderr.isatty() else lambda _: None
    with ExitStack() as stack:
        # SIGTERM ends it as Ctrl-C does, so that the file is put back.
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
    """Raise the limit as far as it goes: two for each connection, for the floor has as many, one after the other."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and count + 256 > hard:
        raise CtlError(f"{count} connections need more descriptors than {hard}; see ulimit -n, or ask for fewer", 2)


def _target(arguments: argparse.Namespace) -> Target:
    parts = urlsplit(arguments.url)
    if parts.scheme != "ws" or not parts.hostname or not parts.path.startswith("/ws/"):
        raise CtlError("the URL is ws://HOST:PORT/ws/APP/PROFILE", 2)
    if arguments.file is None:
        raise CtlError("--file names a file that the server serves for APP; it is changed, and put back at the end", 2)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return Target(
        parts.hostname, parts.port or 80, path, arguments.file, arguments.pid, read_token(arguments.token_file)
    )


# A server of our own.


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
    raise CtlError(f"the daemon did not start: {log.read_text()[-500:]}")


# What is changed.


@contextmanager
def _changing(file: Path) -> Iterator[Callable[[int], float]]:
    """Gives what saves the file with a number in it, by rename, and returns when; puts the file back at the end."""
    suffix = file.suffix.lstrip(".")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CtlError(f"{file} can't be read: {(error.strerror or 'I/O error').lower()}", 2) from None
    if suffix not in ("yml", "yaml", "properties"):
        raise CtlError(f"{file} is neither YAML nor properties", 2)
    separator = b"=" if suffix == "properties" else b": "

    def save(number: int) -> float:
        # Behind what is there; a YAML file of several documents gets it in its last one.
        _replace(file, content.rstrip(b"\n") + b"\nvortexctlbench" + separator + _mark(number) + b"\n")
        return time.monotonic()

    try:
        yield save
    finally:
        _replace(file, content)


def _mark(number: int) -> bytes:
    """What no other change has in it."""
    return b"change-%d-of-vortexctl" % number


def _replace(file: Path, content: bytes) -> None:
    temporary = file.with_name(f".{file.name}.vortexctl")
    try:
        temporary.write_bytes(content)
        shutil.copymode(file, temporary)
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CtlError(f"{file} can't be changed: {(error.strerror or 'I/O error').lower()}", 2) from None


# Measuring.


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
        saved: list[float] = []
        published: list[float] = []
        lost = 0
        used = busy = None
        for number in range(1, changes + 1):
            progress(f"change {number} of {changes}")
            began = save(number)
            reached = clients.reach(_mark(number), _TIMEOUT)
            lost += reached.missing
            saved += [moment - began for moment in reached.times]
            if reached.published is not None:
                published += [max(moment - reached.published, 0.0) for moment in reached.times]
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
    progress("the floor")
    floor = _floor(count, changes)
    return {
        "connections": count,
        "changes": changes,
        "connects_per_second": round(count / seconds),
        "save_to_client_ms": _percentiles(saved),
        "publish_to_client_ms": _percentiles(published),
        "floor_ms": _percentiles(floor),
        "p99_over_floor": round(_p99(published) / _p99(floor), 2) if published and floor else None,
        "loop_lag_p99_ms": lag,
        "private_bytes_per_connection": (
            round((after - before) / (count - first))
            if before is not None and after is not None and count > first
            else None
        ),
        "idle_cpu_percent": round(100 * (busy - used) / idle, 2) if used is not None and busy is not None else None,
        "lost": lost,
    }


def _floor(count: int, rounds: int) -> list[float]:
    """The times from the beginning of a bare loop of send to each client, over as many sockets."""
    command = [sys.executable, "-m", "vortexd.ctl.floor", str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        clients = Clients("127.0.0.1", int(process.stdout.readline()))
        try:
            clients.connect(count, lambda _: "/")
            seconds: list[float] = []
            for number in range(rounds):
                # As long as the server waits between two changes: caches and processor are as cold for one as for the other.
                time.sleep(_FLOOR_PAUSE)
                text = f"round {number};".ljust(_FLOOR_BYTES, "x")
                process.stdin.write(text + "\n")
                process.stdin.flush()
                times = clients.wait(b"round %d;" % number, _TIMEOUT)
                began = float(process.stdout.readline())
                seconds += [moment - began for moment in times]
        finally:
            clients.close()
            process.stdin.close()
            process.kill()
    return seconds


def _private_bytes(pid: int | None) -> int | None:
    """Memory that is a process's own alone and written to: Private_Dirty of all its mappings."""
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
    """The bound below which 99 % of the server's loop lags were, in milliseconds; None where its metrics may not be read."""
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


# What is printed.


def _p99(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else seconds[0]


def _percentiles(seconds: Sequence[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    figures = {"p50": statistics.median(seconds), "p99": _p99(seconds), "max": max(seconds)}
    return {name: round(1_000 * value, 1) for name, value in figures.items()}


_ROWS = {
    "connections": "connections",
    "changes": "changes",
    "connects_per_second": "connected per second",
    "save_to_client_ms": "from save to client, ms",
    "publish_to_client_ms": "from publish to client, ms",
    "floor_ms": "floor: a loop of send, ms",
    "p99_over_floor": "p99 over the floor's",
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

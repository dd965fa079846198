"""The time of a roll-back, from the request to the last client, with its parts. A hook after a plain push is the floor.

python -m tests.bench rollback --rounds 10 --clients 1000 --files 100

In each round, a commit is made in the repository, and a hook makes the server fetch it. Then one request rolls the key back
to the commit before. `plan`, `commit` and `push` are parts of the request. `fetch`, `read` and `publish` follow the push.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vortexd.ctl.load import Clients

from ..repository import Repository
from .client import WAIT
from .git import StopwatchServer, document

_SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
state_directory = "{directory}/state"
[[source]]
kind = "git"
uri = "{uri}"
schemes = ["file"]
push = true
refresh_interval = 3600
hook_interval = 0
[realtime]
heartbeat_interval = 3600
"""
_PARTS = ("plan", "commit", "push")
_STAGES = ("fetch", "read", "publish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--files", type=int, default=100)


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        repository = Repository(directory / "config.git")
        repository.commit({f"app{number}.yml": document(number, 0) for number in range(arguments.files)})
        settings = _SETTINGS.format(directory=directory, uri=repository.uri)
        server = StopwatchServer(directory / "x", settings=settings)
        stack.enter_context(server)
        clients = Clients("127.0.0.1", server.port)
        clients.connect(arguments.clients, lambda _: "/ws/app0/default")
        stack.callback(clients.close)
        pushes, rollbacks, answers = [], [], []
        for number in range(1, arguments.rounds + 1):
            before = repository.git("rev-parse", "main").strip()
            head = repository.commit({"app0.yml": document(0, number)})
            pushes.append(_timed(clients, server, "/monitor", {"path": "app0.yml"}, number)[0])
            time.sleep(0.2)
            order = {"application": "app0", "profile": "default", "to": before, "reason": "x", "expected": head}
            taken, answered = _timed(clients, server, "/api/v1/rollback", order, 0)
            rollbacks.append(taken)
            answers.append(answered)
            time.sleep(0.2)
        _print("push, hook to last client", pushes)
        _print("roll-back, request to last client", rollbacks)
        _print("roll-back, request to answer", answers)
        for name, seconds in _parts(server, arguments.rounds).items():
            _print(f"  {name}", seconds)


def _timed(
    clients: Clients, server: StopwatchServer, path: str, body: Mapping[str, Any], value: int
) -> tuple[float, float]:
    """Return the seconds from a request to the last client that has a value, and to the answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    began = time.monotonic()
    urllib.request.urlopen(request, timeout=WAIT).close()
    answered = time.monotonic()
    reached = max(clients.wait(f'"value":{value}}}'.encode(), WAIT))
    return reached - began, answered - began


def _parts(server: StopwatchServer, rounds: int) -> Mapping[str, Sequence[float]]:
    lines = [json.loads(line) for line in server.output().splitlines() if '"rolled back"' in line]
    found = {part: [line[f"{part}_seconds"] for line in lines] for part in _PARTS}
    # The publications of pushes and of roll-backs take turns.
    spent = server.spent()[-2 * rounds :][1::2]
    return found | {stage: [row.get(stage, 0.0) / 1_000 for row in spent] for stage in _STAGES}


def _print(name: str, seconds: Sequence[float]) -> None:
    ordered = sorted(1_000 * each for each in seconds)
    print(f"{name}: {statistics.median(ordered):.1f} ms ({ordered[0]:.1f} to {ordered[-1]:.1f})", flush=True)

"""The gate with the real process: a refused commit, a restart of the process that validates, and an exception by an administrator."""

import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from ..repository import Repository
from .process import Server
from .test_broken import ask, git_settings, until

SCHEMA = '{"properties": {"port": {"type": "integer"}}, "required": ["port"]}'


def let_through(server: Server, state: str) -> int:
    body = json.dumps({"label": "main", "state": state, "reason": "incident 7"}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/api/v1/gate", body, method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        status: int = answer.status
        return status


def gates(server: Server) -> list[Any]:
    """What each worker holds back: the commits."""
    status = ask(server, "/status")[1]
    workers = [status, *status.get("workers", {}).values()]
    return [[each["state"] for each in worker.get("gate", ())] for worker in workers]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_refused_commit_is_held_back_until_it_is_corrected_or_let_through(tmp_path: Path, workers: int) -> None:
    repository = Repository(tmp_path / "config.git")
    first = repository.commit({"shop.yml": "port: 1\n", "shop.schema.json": SCHEMA})
    settings = git_settings(tmp_path / "state", repository).replace("[server]\n", f"[server]\nworkers = {workers}\n")
    with Server(tmp_path / "x", settings=f"{settings}[[gate]]\nsource_schemas = true\ntimeout = 30.0\n") as server:
        assert first == ask(server, "/shop/default")[1]["version"]
        bad = repository.commit({"shop.yml": "port: hunter2\n"})
        until(lambda: gates(server) == [[bad]] * workers)
        status, body, headers = ask(server, "/shop/default")
        assert (200, first) == (status, body["version"])
        assert 'keyword="type";rule="shop.schema.json";file="shop.yml";line=1' in headers["X-Vortex-Held-Back"]
        assert "hunter2" not in str(headers)

        for pid in validators(server.process.pid):
            os.kill(pid, signal.SIGKILL)
        good = repository.commit({"shop.yml": "port: 2\n"})
        until(lambda: gates(server) == [[]] * workers)
        assert good == ask(server, "/shop/default")[1]["version"]

        worse = repository.commit({"shop.yml": "name: x\n"})
        until(lambda: gates(server) == [[worse]] * workers)
        assert 204 == let_through(server, worse)
        until(lambda: gates(server) == [[]] * workers)
        assert worse == ask(server, "/shop/default")[1]["version"]


def validators(pid: int) -> list[int]:
    """The processes below a process that validate."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            if b"vortexd.gate.validation" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
            found += validators(child)
    return found

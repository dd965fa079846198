"""The real daemon on real git servers: a repository of this machine, git's own daemon."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import open_websocket_url

from ..repository import Repository
from .process import Server

COMMON = "".join(f"key{number}: a value\n" for number in range(20))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "config.git")
    made.commit({"application.yml": COMMON, "orders-dev.yml": "size: 1\n"})
    return made


def settings(state: Path, uri: str, **keys: Any) -> str:
    lines = [f"{name} = {json.dumps(value)}" for name, value in keys.items()]
    return (
        f'[server]\nbind = ["127.0.0.1:0"]\nstate_directory = "{state}"\n'
        f'[[source]]\nkind = "git"\nuri = "{uri}"\nschemes = ["file", "git", "http", "ssh"]\nrefresh_interval = 0.2\n'
        + "\n".join(lines)
        + "\n"
    )


def get(port: int, path: str) -> tuple[Any, Message]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return json.load(answer), answer.headers


def until(port: int, path: str, wanted: Any) -> None:
    """Ask until the first property source is this."""
    deadline = time.monotonic() + 20
    while get(port, path)[0]["propertySources"][0]["source"] != wanted:
        assert time.monotonic() < deadline, get(port, path)
        time.sleep(0.02)


def test_a_push_reaches_http_and_websocket_clients_with_its_origin(repository: Repository, tmp_path: Path) -> None:
    first = repository.git("rev-parse", "main").strip()
    with Server(tmp_path / "x", settings=settings(tmp_path / "state", repository.uri)) as server:
        body, headers = get(server.port, "/orders/dev")
        assert (first, "") == (body["version"], body["state"])
        assert [f"{repository.uri}/orders-dev.yml", f"{repository.uri}/application.yml"] == [
            source["name"] for source in body["propertySources"]
        ]
        assert "X-Vortex-Stale" not in headers

        async def watch() -> tuple[Any, Any, str]:
            async with open_websocket_url(f"ws://127.0.0.1:{server.port}/ws/orders/dev") as client:
                snapshot = json.loads(await client.get_message())
                pushed = repository.commit({"orders-dev.yml": "size: 2\n"}, author="Grace Hopper <g@example.org>")
                with trio.fail_after(20):
                    return snapshot, json.loads(await client.get_message()), pushed

        snapshot, change, pushed = trio.run(watch)
        assert first == snapshot["origin"]["commit"]
        assert "config_change" == change["type"]
        assert (pushed, "Grace Hopper") == (change["origin"]["commit"], change["origin"]["author"])
        assert [{"op": "replace", "path": "/size", "value": 2}] == change["diff"]
        until(server.port, "/orders/dev", {"size": 2})
        [source] = get(server.port, "/status")[0]["sources"]
        assert ("git", pushed, "UP") == (source["kind"], source["revision"], source["status"])
        assert 0 == server.stop()


def test_what_can_not_be_fetched_is_served_and_called_stale(repository: Repository, tmp_path: Path) -> None:
    text = settings(tmp_path / "state", repository.uri, max_staleness=0.5)
    with Server(tmp_path / "x", settings=text) as server:
        repository.path.rename(tmp_path / "away")
        deadline = time.monotonic() + 20
        while "X-Vortex-Stale" not in get(server.port, "/orders/dev")[1]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        while not is_out_of_service(server.port):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10).read().decode()
        assert 'vortexd_source_failing{number="0"' in metrics
        (tmp_path / "away").rename(repository.path)
        while is_out_of_service(server.port):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert 0 == server.stop()


def is_out_of_service(port: int) -> bool:
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=10).status != 200
    except urllib.error.HTTPError as error:
        return error.code == 503


def test_a_directory_goes_over_a_repository(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "overrides").mkdir()
    (tmp_path / "overrides/application.yml").write_text("size: 9\n")
    text = f'[[source]]\npath = "{tmp_path / "overrides"}"\n' + settings(tmp_path / "state", repository.uri)
    with Server(tmp_path / "x", settings=text) as server:
        body, _ = get(server.port, "/orders/dev")
        assert (None, None) == (body["version"], body["state"])
        assert [{"size": 9}, {"size": 1}] == [source["source"] for source in body["propertySources"][:2]]
        assert 0 == server.stop()


def test_R22_a_client_resumes_at_another_instance(repository: Repository, tmp_path: Path) -> None:
    text = settings(tmp_path / "one", repository.uri)
    with Server(tmp_path / "x", settings=text) as one:
        (tmp_path / "b").mkdir()
        with Server(tmp_path / "b" / "x", settings=text.replace('/one"', '/two"')) as two:

            async def version(port: int, query: str = "") -> Any:
                async with open_websocket_url(f"ws://127.0.0.1:{port}/ws/orders/dev{query}") as client:
                    return json.loads(await client.get_message())

            first = trio.run(version, one.port)
            again = trio.run(version, two.port, f"?last_version={first['version']}")
            assert ("in_sync", first["version"]) == (again["type"], again["version"])
            assert [0, 0] == [one.stop(), two.stop()]


@contextmanager
def git_daemon(base: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        ["git", "daemon", "--listen=127.0.0.1", f"--port={port}", "--export-all", f"--base-path={base}", str(base)],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_git_daemon(repository: Repository, tmp_path: Path) -> None:
    with git_daemon(tmp_path) as port:
        text = settings(tmp_path / "state", f"git://127.0.0.1:{port}/config.git")
        with Server(tmp_path / "x", settings=text) as server:
            until(server.port, "/orders/dev", {"size": 1})
            repository.commit({"orders-dev.yml": "size: 2\n"})
            until(server.port, "/orders/dev", {"size": 2})
            assert 0 == server.stop()

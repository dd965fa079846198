"""A push as teams push: git, a webhook, and clients that receive the change at once; and remotes that misbehave in every way."""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.pipeline_runs.history import CHANGE, IN_SYNC, OPENED, SNAPSHOT

from ..repository import Repository
from .fleet import Fleet
from .process import Server
from .test_git import children, free_port, get, needs, until
from .test_git import settings as of_git

KEY = "orders:dev:main"
FILLER = "x" * 200


def content(number: int) -> dict[str, str | bytes | None]:
    return {"orders.yml": f"number: {number}\nfiller: {FILLER}\n"}


def document(number: int) -> dict[str, Any]:
    return {"filler": FILLER, "number": number}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "config.git")
    made.commit(content(0))
    return made


def hook(repository: Repository, port: int, secret: str) -> None:
    """Install a hook, as an administrator does for a repository without webhooks."""
    path = repository.path / "hooks" / "post-receive"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f"#!/bin/sh\ncurl -fsS -m 10 -H 'Content-Type: application/json' -H 'X-Gitlab-Token: {secret}' "
        f'-d \'{{"path": "orders.yml"}}\' http://127.0.0.1:{port}/monitor >&2\n'
    )
    path.chmod(0o755)


def test_a_real_push_with_a_hook_is_live_at_once(repository: Repository, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    text = of_git(tmp_path / "state", repository.uri).replace("refresh_interval = 0.2", "refresh_interval = 3600.0")
    with Server(tmp_path / "x", settings=f'{text}[monitor]\nsecret = "{secret}"\n') as server:
        hook(repository, server.port, "s3cret")
        work = tmp_path / "work"
        run = partial(subprocess.run, check=True, capture_output=True, text=True, cwd=work)
        subprocess.run(["git", "clone", "-q", repository.uri, str(work)], check=True)
        for number in range(1, 4):
            (work / "orders.yml").write_text(f"number: {number}\nfiller: {FILLER}\n")
            run(["git", "-c", "user.name=Ada", "-c", "user.email=a@example.org", "commit", "-qam", "change"])
            pushed = run(["git", "push", "-q", "origin", "main"])
            assert '["orders"]' in pushed.stderr
            until(server.port, "/orders/dev", {"number": number, "filler": FILLER})
        assert 0 == server.stop()
        assert "s3cret" not in server.output()
        assert "webhooks unsigned" not in server.output()


HAPROXY = """
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
    retries 3
    option redispatch
frontend all
    bind 127.0.0.1:{port}
    default_backend vortexd
backend vortexd
    balance roundrobin
    option httpchk GET /ready
    server one 127.0.0.1:{one} check inter 100ms fall 1 rise 1
    server two 127.0.0.1:{two} check inter 100ms fall 1 rise 1
"""


async def test_R22_a_rolling_restart_behind_one_address_loses_nothing(repository: Repository, tmp_path: Path) -> None:
    needs(("haproxy", "haproxy"))
    ports = [free_port(), free_port()]
    front = free_port()

    def start(number: int) -> Server:
        directory = tmp_path / f"instance{number}"
        directory.mkdir(exist_ok=True)
        text = of_git(tmp_path / f"state{number}", repository.uri)
        text = text.replace("127.0.0.1:0", f"127.0.0.1:{ports[number]}").replace(
            "[server]", "[server]\ndrain_timeout = 2.0"
        )
        return Server(directory / "x", settings=text)

    async def started(number: int) -> Server:
        return await trio.to_thread.run_sync(start, number)

    servers = [await started(0), await started(1)]
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(HAPROXY.format(port=front, one=ports[0], two=ports[1]))
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    proxy = await trio.lowlevel.open_process([program, "-db", "-f", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        async with trio.open_nursery() as nursery:
            fleet = Fleet(nursery, front)
            fleet.publishing({KEY: document(0)})
            fleet.follow(KEY, 6)
            await fleet.wait_all({KEY: document(0)})
            for turn in range(4):
                number = turn + 1
                fleet.publishing({KEY: document(number)})
                await trio.to_thread.run_sync(repository.commit, content(number))
                await fleet.wait_all({KEY: document(number)})
                assert 0 == await trio.to_thread.run_sync(servers[turn % 2].stop)
                servers[turn % 2] = await started(turn % 2)
            # Instances fetch at different times. A client that moves may briefly receive an older state, but never a wrong state.
            fleet.is_over = True
            events = list(fleet.history)
            for follower in fleet.followers:
                follower.scope.cancel()
            nursery.cancel_scope.cancel()
        published = {event.new_version: event.body_hash for event in events if not event.client}
        states = [event for event in events if event.kind in (SNAPSHOT, CHANGE, IN_SYNC)]
        assert all(published[event.new_version] == event.body_hash for event in states)
        resumed = [event for event in events if event.kind == OPENED and event.old_version]
        answered = [event for event in states if event.connection > 1]
        assert resumed
        assert {IN_SYNC, CHANGE} & {event.kind for event in answered}
        for server in servers:
            assert 0 == await trio.to_thread.run_sync(server.stop)
    finally:
        proxy.kill()
        await proxy.wait()
        for server in servers:
            server.__exit__()


class Remote:
    """A repository over plain HTTP; the test controls its server."""

    def __init__(self, directory: Path) -> None:
        self.mode = "well"
        self.elsewhere = socket.create_server(("127.0.0.1", 0))
        self.is_over = threading.Event()
        remote = self

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *arguments: object) -> None:
                pass

            def do_GET(self) -> None:
                match remote.mode:
                    case "well":
                        super().do_GET()
                    case "500":
                        self.send_error(500)
                    case "redirect":
                        self.send_response(302)
                        port = remote.elsewhere.getsockname()[1]
                        self.send_header("Location", f"http://127.0.0.1:{port}{self.path}")
                        self.end_headers()
                    case "drip":
                        self.send_response(200)
                        self.send_header("Content-Length", "1000000")
                        self.end_headers()
                        while not remote.is_over.wait(1.0):
                            try:
                                self.wfile.write(b"x")
                            except OSError:
                                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory)))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}/config.git"

    def close(self) -> None:
        self.is_over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.elsewhere.close()


@pytest.fixture
def remote(repository: Repository) -> Iterator[Remote]:
    repository.git("update-server-info")
    remote = Remote(repository.path.parent)
    yield remote
    remote.close()


def is_stale(port: int) -> bool:
    return str(get(port, "/status")[0]["sources"][0]["status"]) == "STALE"


def wait(is_true: Any) -> None:
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("mode", ["500", "drip", "redirect", "404"])
def test_R4_G08_a_remote_that_misbehaves_slows_nobody(
    mode: str, repository: Repository, remote: Remote, tmp_path: Path
) -> None:
    text = of_git(tmp_path / "state", remote.uri, fetch_timeout=2.5)
    with Server(tmp_path / "x", settings=text) as server:
        until(server.port, "/orders/dev", {"number": 0, "filler": FILLER})
        if mode == "404":
            repository.path.rename(tmp_path / "away")
        else:
            remote.mode = mode
        wait(lambda: is_stale(server.port))
        began = time.monotonic()
        for _ in range(20):
            assert 0 == get(server.port, "/orders/dev")[0]["propertySources"][0]["source"]["number"]
        assert time.monotonic() - began < 5
        if mode == "404":
            (tmp_path / "away").rename(repository.path)
        remote.elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            remote.elsewhere.accept()
        repository.commit(content(1))
        repository.git("update-server-info")
        remote.mode = "well"
        until(server.port, "/orders/dev", {"number": 1, "filler": FILLER})
        # Two processes that read the mirror, and one that fetches.
        assert len(children(server.process.pid)) <= 3
        assert 0 == server.stop()


def test_R4_a_name_that_is_not_found_any_more_slows_nobody(
    repository: Repository, remote: Remote, tmp_path: Path
) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a mount namespace needs root and unshare")
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost config.invalid\n")
    prefix = ["unshare", "-m", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh"]
    probe = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"a mount namespace can't be made here: {probe.stderr.strip()}")
    text = of_git(tmp_path / "state", remote.uri.replace("127.0.0.1", "config.invalid"), fetch_timeout=2.0)
    with Server(tmp_path / "x", settings=text, prefix=prefix) as server:
        until(server.port, "/orders/dev", {"number": 0, "filler": FILLER})
        hosts.write_text("127.0.0.1 localhost\n")
        wait(lambda: is_stale(server.port))
        began = time.monotonic()
        for _ in range(20):
            assert 0 == get(server.port, "/orders/dev")[0]["propertySources"][0]["source"]["number"]
        assert time.monotonic() - began < 5
        assert "UP" == get(server.port, "/ready")[0]["status"]
        repository.commit(content(1))
        repository.git("update-server-info")
        hosts.write_text("127.0.0.1 localhost config.invalid\n")
        until(server.port, "/orders/dev", {"number": 1, "filler": FILLER})
        assert 0 == server.stop()


def test_R3_a_mirror_that_is_damaged_under_a_running_daemon_is_made_anew(
    repository: Repository, tmp_path: Path
) -> None:
    with Server(tmp_path / "x", settings=of_git(tmp_path / "state", repository.uri)) as server:
        until(server.port, "/orders/dev", {"number": 0, "filler": FILLER})
        packs = [
            path for path in (tmp_path / "state").rglob("*") if path.is_file() and path.suffix in (".pack", ".idx")
        ]
        loose = [path for path in (tmp_path / "state").rglob("objects/??/*") if path.is_file()]
        assert packs or loose
        for path in (*packs, *loose):
            path.chmod(0o600)
            path.write_bytes(b"\0" * path.stat().st_size)
        for head in (tmp_path / "state").rglob("HEAD"):
            head.write_text("")
        assert {"number": 0, "filler": FILLER} == get(server.port, "/orders/dev")[0]["propertySources"][0]["source"]
        repository.commit(content(1))
        deadline = time.monotonic() + 20
        while get(server.port, "/orders/dev")[0]["propertySources"][0]["source"]["number"] != 1:
            assert "UP" == get(server.port, "/ready")[0]["status"]
            assert time.monotonic() < deadline
        assert 0 == server.stop()


@pytest.fixture
def counted(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """Return an environment in which each call of git is recorded, and the file with the records."""
    real, calls, place = shutil.which("git"), tmp_path / "calls", tmp_path / "bin"
    place.mkdir()
    calls.touch()
    wrapper = place / "git"
    wrapper.write_text(f'#!/bin/sh\necho "$*" >>{calls}\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    return {"PATH": f"{place}:{os.environ['PATH']}"}, calls


def fetches(calls: Path) -> int:
    return sum("fetch" in line.split() for line in calls.read_text().splitlines())


def test_a_thousand_hooks_in_a_row_are_a_handful_of_fetches(
    repository: Repository, tmp_path: Path, counted: tuple[dict[str, str], Path]
) -> None:
    environment, calls = counted
    text = of_git(tmp_path / "state", repository.uri).replace("refresh_interval = 0.2", "refresh_interval = 3600.0")
    with Server(tmp_path / "x", settings=text, environment=environment) as server:
        body = json.dumps({"path": "orders.yml"}).encode()
        request = (
            b"POST /monitor HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % len(body)
        ) + body
        first = fetches(calls)
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", server.port), 20) as one:
            for number in range(1_000):
                if number == 999:
                    repository.commit(content(1))
                one.sendall(request)
                answer = b""
                while b'["orders"]' not in answer:
                    answer += one.recv(4_096)
        # The state after the very last hook is served, too.
        until(server.port, "/orders/dev", {"number": 1, "filler": FILLER})
        seconds = time.monotonic() - began
        assert 1 <= first
        # One fetch at once, then one a second (`hook_interval`).
        assert 1 <= fetches(calls) - first <= seconds + 2
        assert 0 == server.stop()
        assert 1 == server.output().count('"webhooks unsigned"')

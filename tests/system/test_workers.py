"""Several real workers on one port: they serve the same state, restart one by one, and stop together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from .fleet import Fleet, save, wait_until
from .process import Server, private_bytes

pytestmark = pytest.mark.counted

SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
workers = 2
drain_timeout = 2
[realtime]
park_after = 0.2
[[source]]
kind = "{kind}"
{where}
[encryption]
"""
BEFORE = {"shared": 1, "text": "x" * 200}
AFTER = {"shared": 2, "text": "x" * 200}
FORK_SERVER = "vortexd-forks"
LAST = {"shared": 3, "text": "x" * 200}


def text(document: dict[str, object]) -> str:
    return "".join(f"{key}: {value}\n" for key, value in document.items())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    (directory / "application.yml").write_text(text(BEFORE))
    return directory


@pytest.fixture
def notifications(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(20)
        yield receiver


def serving(source: Path, **environment: str) -> Server:
    settings = SETTINGS.format(kind="files", where=f'path = "{source}"')
    server = Server(source, settings=settings, environment=environment)
    until(lambda: '"workers": 2' in server.output())
    return server


def until(is_true: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it didn't come true in time"
        time.sleep(0.01)


def children(server: Server | subprocess.Popen[bytes]) -> list[int]:
    """Return the workers, oldest first."""
    return [pid for pid, name in descendants(server) if name != FORK_SERVER]


def fork_server(server: Server) -> int:
    """Return the process that forks the workers."""
    (pid,) = [pid for pid, name in descendants(server) if name == FORK_SERVER]
    return pid


def descendants(server: Server | subprocess.Popen[bytes]) -> list[tuple[int, str]]:
    """Return the children of a supervisor and their names, oldest first."""
    process = server.process if isinstance(server, Server) else server
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    pids = sorted(int(pid) for each in tasks for pid in each.read_text().split())
    return [(pid, name_of(pid)) for pid in pids]


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        return ""


def is_alive(pid: int) -> bool:
    try:
        return "Z" != Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def get(server: Server, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as response:
        body = response.read()
    return json.loads(body) if path != "/metrics" else body.decode()


def events(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.output().splitlines() if line.startswith("{")]


def metrics(server: Server, name: str) -> dict[str, float]:
    """Return the values of a metric by worker."""
    found: defaultdict[str, float] = defaultdict(float)
    for line in get(server, "/metrics").splitlines():
        if line.startswith(name + "{"):
            found[line.partition('worker="')[2][0]] += float(line.rpartition(" ")[2])
    return dict(found)


async def test_clients_of_all_workers_get_a_change_and_outlive_one_of_them(source: Path) -> None:
    with serving(source) as server:
        async with trio.open_nursery() as nursery:
            fleet = Fleet(nursery, server.port)
            key = "billing:prod:main"
            fleet.publishing({key: BEFORE})
            fleet.follow(key, 40)
            await fleet.wait_all({key: BEFORE})
            counts = metrics(server, "vortexd_connections")

            fleet.publishing({key: AFTER})
            await trio.to_thread.run_sync(save, source / "application.yml", text(AFTER))
            await fleet.wait_all({key: AFTER})

            before = children(server)
            os.kill(before[0], signal.SIGKILL)
            await wait_until(lambda: len(after := children(server)) == 2 and before[0] not in after)
            await fleet.wait_all({key: AFTER})
            await wait_until(lambda: sum(metrics(server, "vortexd_connections").values()) == 40)
            fleet.publishing({key: LAST})
            await trio.to_thread.run_sync(save, source / "application.yml", text(LAST))
            await fleet.wait_all({key: LAST})
            fleet.stop()
        restarts = metrics(server, "vortexd_worker_restarts_total")
        moved = sum(each.connections > 1 for each in fleet.followers)
        assert 0 == server.stop()

    assert 40 == sum(counts.values())
    # The kernel distributes the connections among the workers.
    assert all(count > 0 for count in counts.values())
    assert [0.0, 1.0] == sorted(restarts.values())
    assert 0 < moved < 40
    assert [-9] == [each["status"] for each in events(server) if each["event"] == "worker ended"]


async def test_R11_a_drain_is_that_of_all_workers(source: Path) -> None:
    with serving(source) as server:
        async with trio.open_nursery() as nursery:
            fleet = Fleet(nursery, server.port)
            fleet.publishing({"billing:prod:main": BEFORE})
            fleet.follow("billing:prod:main", 30)
            await fleet.wait_all({"billing:prod:main": BEFORE})
            workers = children(server)
            status = await trio.to_thread.run_sync(server.stop)
            closes = [each.closes for each in fleet.followers]
            fleet.stop()

    assert 0 == status
    assert [[1001]] * 30 == closes
    assert not any(map(is_alive, workers))


def test_systemd_is_told_of_all_as_of_one(source: Path, notifications: socket.socket) -> None:
    with serving(source, NOTIFY_SOCKET=notifications.getsockname(), WATCHDOG_USEC="600000") as server:
        said: list[str] = []
        while not any("2 of 2 workers" in each for each in said):
            said.append(notifications.recv(1_000).decode())
        server.process.send_signal(signal.SIGHUP)
        while "READY=1\nSTATUS=reloaded" not in said:
            said.append(notifications.recv(1_000).decode())
        assert 0 == server.stop()
        while not said[-1].startswith("STOPPING=1"):
            said.append(notifications.recv(1_000).decode())

    turns = [each.partition("\n")[0] for each in said if not each.startswith("WATCHDOG")]
    assert ["READY=1", "FDSTOREREMOVE=1", "FDSTORE=1", "FDSTORE=1", "RELOADING=1", "READY=1", "STOPPING=1"] == turns
    assert 2 == sum(each["event"] == "reloaded" for each in events(server))


def test_a_reload_is_for_the_supervisor_too_and_what_waits_for_a_restart_is_in_the_status(
    source: Path, notifications: socket.socket
) -> None:
    with serving(source, NOTIFY_SOCKET=notifications.getsockname()) as server:
        file = source.parent / "vortexd.toml"
        file.write_text(file.read_text().replace("workers = 2", "workers = 3") + '[log]\nlevel = "error"\n')
        server.process.send_signal(signal.SIGHUP)
        said = b""
        while b"READY=1\nSTATUS=reloaded; restart needed for server.workers" not in said:
            said = notifications.recv(1_000)
        assert 0 == server.stop()

    assert "stopped" not in [each["event"] for each in events(server)]


def test_all_workers_have_one_audit_log_which_outlives_them(source: Path, tmp_path: Path) -> None:
    def audited(server: Server) -> list[tuple[str, int, str]]:
        found = get(server, "/api/v1/audit")
        assert found["stored"]
        return [(each["act"], each["worker"], each["outcome"]) for each in found["entries"]]

    with serving(source, STATE_DIRECTORY=str(tmp_path / "state")) as server:
        assert [] == audited(server)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(audited(server)) == 2)
        for pid in children(server):
            os.kill(pid, signal.SIGKILL)
        until(lambda: is_replaced(server, 2))
        # Whichever worker answers.
        assert all({("reload", 0, "done"), ("reload", 1, "done")} == set(audited(server)) for _ in range(8))
        assert 0 == server.stop()
    # A worker that replaces another reads the settings again, too.
    logged = sum(each["event"] == "audit" for each in events(server))
    assert logged >= 2
    with serving(source, STATE_DIRECTORY=str(tmp_path / "state")) as server:
        assert logged == len(audited(server))


def test_L09_a_worker_whose_loop_is_stuck_is_killed_and_replaced(source: Path, notifications: socket.socket) -> None:
    with serving(source, NOTIFY_SOCKET=notifications.getsockname(), WATCHDOG_USEC="1500000") as server:
        stuck = children(server)[0]
        os.kill(stuck, signal.SIGSTOP)
        until(lambda: not is_alive(stuck))
        until(lambda: len(children(server)) == 2)
        assert 0 == server.stop()

    (killed,) = [each for each in events(server) if each["event"] == "worker killed"]
    assert "silent for 1.5 s" == killed["reason"]


def is_replaced(server: Server, count: int) -> bool:
    """Whether so many workers have ended, and the one after the last is ready."""
    *ended, since = server.output().split('"worker ended"')
    return count == len(ended) and '"ready"' in since


def test_workers_are_forks_that_share_memory_and_look_like_workers_that_are_not(source: Path) -> None:
    with serving(source) as server:
        workers = children(server)
        commands = {Path(f"/proc/{pid}/cmdline").read_text() for pid in workers}
        sizes = [private_bytes(pid) for pid in workers]
        threads = os.listdir(f"/proc/{fork_server(server)}/task")

        os.kill(fork_server(server), signal.SIGKILL)
        for count in (1, 2):
            os.kill(children(server)[0], signal.SIGKILL)
            until(partial(is_replaced, server, count), 30)
        assert commands == {Path(f"/proc/{pid}/cmdline").read_text() for pid in children(server)}
        alone = private_bytes(children(server)[0])
        assert {"shared": 1} == {"shared": get(server, "/billing/prod")["propertySources"][0]["source"]["shared"]}
        assert 0 == server.stop()

    assert ["vortexd.cli.worker"] == [command.split("\0")[2] for command in commands]
    assert 1 == len(threads)
    assert max(sizes) < 25_000_000 < alone
    assert 1 == [each["event"] for each in events(server)].count("fork server failed")


def test_workers_end_with_a_supervisor_that_is_killed(source: Path) -> None:
    with serving(source) as server:
        workers = [*children(server), fork_server(server)]
        assert -9 == server.stop(signal.SIGKILL)
        until(lambda: not any(map(is_alive, workers)))


def test_a_worker_that_never_served_ends_all(source: Path) -> None:
    (source.parent / "vortexd.toml").write_text(
        SETTINGS.format(kind="git", where='uri = "https://127.0.0.1:1/none.git"').replace(
            "workers = 2", f'workers = 2\nstate_directory = "{source.parent}/state"'
        )
    )
    command = [sys.executable, "-m", "vortexd", "--config", str(source.parent / "vortexd.toml")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: len(children(process)) == 2)
        os.kill(children(process)[0], signal.SIGKILL)

        assert 1 == process.wait(20)
    finally:
        process.kill()
        process.wait()


def test_a_port_that_another_vortexd_shares_among_its_workers_is_in_use(source: Path) -> None:
    with serving(source) as server:
        settings = (source.parent / "vortexd.toml").read_text().replace("127.0.0.1:0", f"127.0.0.1:{server.port}")
        (source.parent / "other.toml").write_text(settings)
        command = [sys.executable, "-m", "vortexd", "--config", str(source.parent / "other.toml")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

        assert (1, True) == (done.returncode, "another process listens there" in done.stderr)
        assert 0 == server.stop()

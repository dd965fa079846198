"""The units under a real systemd: installed by `vortexd install-units`, started, reloaded, stuck, stopped under load and updated.

They run in their own namespaces if the machine allows that; see `machine`. Otherwise all tests are skipped with the reason.
"""

import contextlib
import json
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import SystemRandom

import attrs
import pytest
import trio

from .fleet import Fleet, save, wait_until
from .machine import DROP_IN, PROGRAM, Machine

KEY = "shop:dev:main"
SERVICE, SOCKET = "vortexd.service", "vortexd.socket"
OVERRIDES = Path("/etc/systemd/system")
SETTINGS = """
[server]
bind = ["127.0.0.1:{port}"]
[realtime]
heartbeat_interval = {heartbeat}
[[source]]
path = "/etc/vortexd/config"
scan_interval = 0.2
"""


@attrs.frozen
class Installed:
    """Start a machine with vortexd on a port."""

    machine: Machine
    port: int

    def put(self, path: str, text: str) -> None:
        save(self.machine.path(path), text)

    def override(self, unit: str, text: str) -> None:
        """Change a unit in a drop-in."""
        directory = self.machine.path(f"{OVERRIDES}/{unit}.d")
        directory.mkdir(exist_ok=True)
        (directory / "test.conf").write_text(text)
        self.machine.run("systemctl", "daemon-reload")

    def settings(self, heartbeat: float = 30.0) -> None:
        self.put("/etc/vortexd/vortexd.toml", SETTINGS.format(port=self.port, heartbeat=heartbeat))

    def serve(self, number: int) -> None:
        self.put("/etc/vortexd/config/shop.json", json.dumps(document(number)))

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as response:
            body: bytes = response.read()
        return body


def document(number: int) -> dict[str, object]:
    return {"filler": "x" * 200, "number": number}


def free_port() -> int:
    """Return a port that the kernel gives to no outgoing connection before the daemon uses it."""
    while True:
        port = SystemRandom().randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("machine")) as machine:
        machine.run(PROGRAM, "install-units")
        yield machine


@pytest.fixture
def installed(machine: Machine) -> Iterator[Installed]:
    installed = Installed(machine, free_port())
    installed.settings()
    installed.serve(0)
    installed.override(SERVICE, DROP_IN)
    yield installed
    machine.run("systemctl", "stop", SERVICE, SOCKET)
    machine.run("systemctl", "reset-failed")
    machine.path("/run/vortexd.log").unlink(missing_ok=True)


@asynccontextmanager
async def following(installed: Installed, count: int) -> AsyncIterator[Fleet]:
    async with trio.open_nursery() as nursery:
        fleet = Fleet(nursery, installed.port)
        fleet.publishing({KEY: document(0)})
        fleet.follow(KEY, count)
        await fleet.wait_all({KEY: document(0)})
        yield fleet
        fleet.stop()
        nursery.cancel_scope.cancel()


async def systemctl(installed: Installed, *arguments: str) -> None:
    await trio.to_thread.run_sync(partial(installed.machine.run, "systemctl", *arguments))


def test_it_is_started_once_it_serves_as_nobody_who_was_there_before(installed: Installed) -> None:
    installed.machine.run("systemctl", "start", SERVICE)

    # `start` has waited for READY=1, so no further wait is needed.
    assert b'"number":0' in installed.get("/shop/dev")
    assert "running" == installed.machine.show("SubState")
    assert "vortexd" not in Path("/etc/passwd").read_text()
    uid = installed.machine.run("stat", "-c", "%u", f"/proc/{installed.machine.show('MainPID')}").strip()
    assert 61_184 <= int(uid) <= 65_519  # the range of DynamicUser=
    state = installed.machine.path("/var/lib/private/vortexd").stat()
    assert (int(uid), 0o700) == (state.st_uid, state.st_mode & 0o777)


def test_a_file_that_is_roots_alone_is_handed_over_as_a_credential(installed: Installed) -> None:
    token, _, entry = installed.machine.run(PROGRAM, "token", "new", "me").partition("\n")
    installed.put("/etc/vortexd/tokens.toml", entry[entry.index("[[token]]") :])
    installed.machine.path("/etc/vortexd/tokens.toml").chmod(0o600)
    installed.override(SERVICE, f"{DROP_IN}LoadCredential=tokens:/etc/vortexd/tokens.toml\n")
    settings = SETTINGS.format(port=installed.port, heartbeat=30.0)
    installed.put("/etc/vortexd/vortexd.toml", f'{settings}[auth]\ntokens = ["$CREDENTIALS_DIRECTORY/tokens"]\n')
    installed.machine.run("systemctl", "start", SERVICE)

    with pytest.raises(urllib.error.HTTPError) as caught:
        installed.get("/shop/dev")
    with caught.value as refused:
        assert 401 == refused.code
    assert b'"number":0' in installed.get(f"/shop/dev?token={token}")
    assert token not in installed.machine.log()


async def test_a_reload_is_in_force_and_in_the_status_and_loses_nobody(installed: Installed) -> None:
    await systemctl(installed, "start", SERVICE)
    async with following(installed, 5) as fleet:
        pid = installed.machine.show("MainPID")
        installed.put(
            "/etc/vortexd/vortexd.toml",
            SETTINGS.format(port=1, heartbeat=30.0).replace("scan_interval = 0.2", "scan_interval = 0.3"),
        )
        await systemctl(installed, "reload", SERVICE)
        await wait_until(lambda: "restart needed for server.bind" in installed.machine.show("StatusText"))
        installed.put("/etc/vortexd/vortexd.toml", "[server")
        await systemctl(installed, "reload", SERVICE)
        await wait_until(lambda: "reload refused" in installed.machine.show("StatusText"))
        fleet.publishing({KEY: document(1)})
        installed.serve(1)
        await fleet.wait_all({KEY: document(1)})

        assert {1} == {each.connections for each in fleet.followers}
        assert (pid, "0") == (installed.machine.show("MainPID"), installed.machine.show("NRestarts"))


async def test_L09_a_loop_that_is_stuck_is_started_again_and_refuses_nobody(installed: Installed) -> None:
    installed.override(SERVICE, f"{DROP_IN}WatchdogSec=2\n")
    await systemctl(installed, "start", SERVICE)
    async with following(installed, 5) as fleet, knocking(installed.port) as refused:
        pid = installed.machine.signal_main(signal.SIGSTOP)
        await wait_until(lambda: installed.machine.show("NRestarts") == "1")
        fleet.publishing({KEY: document(1)})
        installed.serve(1)
        await fleet.wait_all({KEY: document(1)}, 30)

        assert str(pid) != installed.machine.show("MainPID")
    # Connections that the stuck process had accepted end with it.
    assert {"reset"} >= set(refused)


async def test_it_stops_under_load_within_its_time_and_says_goodbye(installed: Installed) -> None:
    await systemctl(installed, "start", SERVICE)
    async with following(installed, 100) as fleet:
        for each in fleet.followers:
            each.closes.clear()
        fleet.is_over = True
        with trio.fail_after(35):
            await systemctl(installed, "stop", SERVICE)
        with trio.fail_after(5):
            await wait_until(lambda: all(each.closes for each in fleet.followers))

        assert {(1001,)} == {tuple(each.closes) for each in fleet.followers}
    assert ("success", "0", "inactive") == tuple(
        installed.machine.show(name) for name in ("Result", "ExecMainStatus", "ActiveState")
    )


@pytest.mark.parametrize("by_socket", [False, True], ids=["descriptor store", "socket unit"])
async def test_an_update_refuses_no_connection_and_every_client_comes_back(
    installed: Installed, by_socket: bool
) -> None:
    if by_socket:
        installed.override(SOCKET, f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{installed.port}\n")
        await systemctl(installed, "start", SOCKET)
    await systemctl(installed, "start", SERVICE)
    async with following(installed, 20) as fleet, knocking(installed.port) as refused:
        pid = installed.machine.show("MainPID")
        assert "unchanged" in await trio.to_thread.run_sync(installed.machine.run, PROGRAM, "install-units")
        await systemctl(installed, "daemon-reload")
        await systemctl(installed, "restart", SERVICE)
        fleet.publishing({KEY: document(1)})
        installed.serve(1)
        await fleet.wait_all({KEY: document(1)})

        assert pid != installed.machine.show("MainPID")
        assert {2} == {each.connections for each in fleet.followers}
    assert [] == refused
    if by_socket:
        installed.machine.path(f"{OVERRIDES}/{SOCKET}.d/test.conf").unlink()


@asynccontextmanager
async def knocking(port: int) -> AsyncIterator[list[str]]:
    """Send a request every few milliseconds on a new connection, and collect the failures."""
    refused: list[str] = []

    async def knock() -> None:
        try:
            with trio.fail_after(30):
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    await stream.send_all(b"GET /shop/dev HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    answer = bytes(await stream.receive_some(100))
        except trio.BrokenResourceError:
            refused.append("reset")
        except (OSError, trio.TooSlowError) as error:
            refused.append(str(error) or "too slow")
        else:
            if not answer.startswith(b"HTTP/1.1 200"):
                refused.append(answer.decode() or "closed")

    async def go_on(knocks: trio.Nursery) -> None:
        while True:
            knocks.start_soon(knock)
            await trio.sleep(0.02)

    # Wait for all requests that have begun.
    async with trio.open_nursery() as knocks, trio.open_nursery() as nursery:
        nursery.start_soon(go_on, knocks)
        yield refused
        nursery.cancel_scope.cancel()


def test_what_was_installed_is_removed_and_what_was_changed_stays(installed: Installed) -> None:
    said = installed.machine.run(PROGRAM, "uninstall-units")
    again = installed.machine.run(PROGRAM, "install-units")

    assert "/usr/local/lib/systemd/system/vortexd.service: removed" in said
    assert "/etc/vortexd/vortexd.toml: not removed, because it was changed" in said
    assert "/usr/local/lib/systemd/system/vortexd.service: installed" in again
    assert "/etc/vortexd/vortexd.toml: left as it is" in again

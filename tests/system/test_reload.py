"""SIGHUP on the real process: new settings apply to open connections, and no connection is lost."""

import json
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import open_websocket_url

from .fleet import wait_until
from .process import Server

FILLER = "filler: " + "x" * 200


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ("config", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shop.yml").write_text(f"from: {name}\n{FILLER}\n")
    return tmp_path / "config"


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(20)
        yield receiver


def settings(source: Path, bind: str = "127.0.0.1:0", heartbeat: float = 30.0, more: str = "") -> str:
    return f"""
        [server]
        bind = ["{bind}"]
        [realtime]
        heartbeat_interval = {heartbeat}
        [[source]]
        path = "{source}"
        {more}
    """


def until(supervisor: socket.socket, text: str) -> str:
    """Return the next message that contains a text."""
    while text not in (said := supervisor.recv(4_000).decode()):
        pass
    return said


async def next_message(websocket: Any, kind: str) -> dict[str, Any]:
    with trio.fail_after(10):
        while True:
            message: dict[str, Any] = json.loads(await websocket.get_message())
            if message["type"] == kind:
                return message


def reloads(server: Server) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    done = next(line for line in lines if line.startswith('vortexd_reloads_total{outcome="done"}'))
    return int(float(done.rpartition(" ")[2]))


async def test_R14_other_settings_reach_those_who_are_connected_and_a_storm_of_signals_loses_nobody(
    source: Path, supervisor: socket.socket
) -> None:
    environment = {"NOTIFY_SOCKET": supervisor.getsockname(), "WATCHDOG_USEC": "300000"}
    with Server(source, settings=settings(source), environment=environment) as server:
        async with AsyncExitStack() as stack:
            url = f"ws://127.0.0.1:{server.port}/ws/shop/dev"
            clients = [await stack.enter_async_context(open_websocket_url(url)) for _ in range(20)]
            assert {"config"} == {(await next_message(each, "config_snapshot"))["config"]["from"] for each in clients}

            (source.parent / "vortexd.toml").write_text(
                settings(source.parent / "other", "127.0.0.1:1", 12.0, '[log]\nlevel = "debug"')
            )
            server.process.send_signal(signal.SIGHUP)
            changes = [await next_message(each, "config_change") for each in clients]
            said = await trio.to_thread.run_sync(until, supervisor, "restart needed for server.bind")
            status = await trio.to_thread.run_sync(until, supervisor, "WebSocket connections")

            for _ in range(1_000):
                server.process.send_signal(signal.SIGHUP)
                await trio.sleep(0.0005)
            await wait_until(lambda: 2 <= reloads(server))
            async with open_websocket_url(url, subprotocols=["vortex.v1"]) as another:
                assert 12_000 == (await next_message(another, "hello"))["heartbeat_interval_ms"]
                assert "other" == (await next_message(another, "config_snapshot"))["config"]["from"]
            (source.parent / "other" / "shop.yml").write_text(f"from: again\n{FILLER}\n")
            after = [await next_message(each, "config_change") for each in clients]
            count = await trio.to_thread.run_sync(reloads, server)
        assert 0 == server.stop()

    assert {"/from"} == {change["diff"][0]["path"] for change in (*changes, *after)}
    assert "READY=1" == said.partition("\n")[0]
    assert "all sources fresh" in status
    assert "restart needed for server.bind" in status
    # Four changes a second.
    assert 2 <= count <= 20
    assert '"level": "debug"' in server_log(source)


def server_log(source: Path) -> str:
    return (source.parent / "vortexd.log").read_text()


def test_R13_signals_to_reload_that_come_while_it_stops_do_not_change_the_exit_status(source: Path) -> None:
    with Server(source, settings=settings(source)) as server:
        for _ in range(20):
            server.process.send_signal(signal.SIGHUP)
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 20
        while server.process.poll() is None and time.monotonic() < deadline:
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.001)

        assert 0 == server.stop()

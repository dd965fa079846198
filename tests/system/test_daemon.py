"""The real process: it starts, serves, publishes changes and drains, and its error output is right."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, open_websocket_url, wrap_client_stream

from .process import Server

pytestmark = pytest.mark.counted

# Large enough that a patch is shorter than the document.
BILLING = "pool:\n  size: {}\n  name: " + "billing " * 20 + "\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    (directory / "application.yml").write_text("shared: 1\n")
    (directory / "billing.yml").write_text(BILLING.format(10))
    return directory


@pytest.fixture
def server(source: Path) -> Iterator[Server]:
    with Server(source) as server:
        yield server


def get(server: Server, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, lower(response.headers), response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, lower(error.headers), error.read()


def lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def rename_to(path: Path, text: str) -> None:
    temporary = path.with_name(".new")
    temporary.write_text(text)
    temporary.rename(path)


async def next_message(websocket: Any, kind: str) -> dict[str, Any]:
    with trio.fail_after(10):
        while True:
            message: dict[str, Any] = json.loads(await websocket.get_message())
            if message["type"] == kind:
                return message


def test_http_answers_as_spring_does_and_304_for_what_is_known(server: Server) -> None:
    status, headers, body = get(server, "/billing/prod")

    assert status == 200
    answer = json.loads(body)
    assert (answer["name"], answer["profiles"], answer["label"]) == ("billing", ["prod"], None)
    assert [each["source"] for each in answer["propertySources"]] == [
        {"pool.size": 10, "pool.name": ("billing " * 20).strip()},
        {"shared": 1},
    ]
    assert get(server, "/billing/prod", **{"If-None-Match": headers["etag"]})[0] == 304


def test_health_and_readiness_and_metrics_are_served(server: Server) -> None:
    assert [get(server, path)[0] for path in ("/health", "/ready", "/metrics")] == [200, 200, 200]


async def test_a_rename_reaches_a_websocket_client_as_a_diff(server: Server, source: Path) -> None:
    async with open_websocket_url(f"ws://127.0.0.1:{server.port}/ws/billing/prod") as websocket:
        snapshot = await next_message(websocket, "config_snapshot")
        rename_to(source / "billing.yml", BILLING.format(11))
        change = await next_message(websocket, "config_change")

    assert snapshot["config"] == {"pool": {"size": 10, "name": ("billing " * 20).strip()}, "shared": 1}
    assert change["old_version"] == snapshot["version"]
    assert change["diff"] == [{"op": "replace", "path": "/pool/size", "value": 11}]


async def test_a_broken_file_changes_nothing_and_is_logged_with_its_line_once(server: Server, source: Path) -> None:
    async with open_websocket_url(f"ws://127.0.0.1:{server.port}/ws/billing/prod") as websocket:
        await next_message(websocket, "config_snapshot")
        rename_to(source / "billing.yml", "pool:\n  size: 12\n  size: 13\n")
        await wait_until(lambda: '"configuration file broken"' in server.output())
        rename_to(source / "search.yml", "index: 1\n")
        await wait_until(
            lambda: json.loads(get(server, "/search/prod")[2])["propertySources"][0]["source"] == {"index": 1}
        )

        assert json.loads(get(server, "/billing/prod")[2])["propertySources"][0]["source"]["pool.size"] == 10
        rename_to(source / "billing.yml", BILLING.format(14))
        assert (await next_message(websocket, "config_change"))["diff"][0]["value"] == 14
    lines = [json.loads(line) for line in server.output().splitlines() if "configuration file broken" in line]
    assert [(line["file"], line["line"]) for line in lines] == [("billing.yml", 3)]


async def wait_until(is_true: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        # Another process can't set an Event of this process.
        while not await trio.to_thread.run_sync(is_true):  # noqa: ASYNC110
            await trio.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_closes_clients_with_1001_and_exits_0(server: Server, number: int) -> None:
    # Use a separate stream: trio-websocket leaves a client's stream open when the server closes first.
    async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream, trio.open_nursery() as nursery:
        websocket = await wrap_client_stream(nursery, stream, "localhost", "/ws/billing/prod")
        await next_message(websocket, "config_snapshot")
        server.process.send_signal(number)
        closing = await next_message(websocket, "connection_closing")
        with pytest.raises(ConnectionClosed) as caught:
            await next_message(websocket, "none")
        nursery.cancel_scope.cancel()

    assert closing["reconnect_after_ms"] > 0
    assert caught.value.reason is not None
    assert caught.value.reason.code == 1001
    assert server.stop() == 0
    assert "Traceback" not in server.output()


def test_clients_that_stop_reading_do_not_hold_the_end_up(source: Path) -> None:
    (source / "large.yml").write_text("".join(f"key{number}: {'x' * 1000}\n" for number in range(5_000)))
    settings = f'[server]\nbind = ["127.0.0.1:0"]\ndrain_timeout = 3.0\n[[source]]\npath = "{source}"\n'
    with Server(source, settings=settings) as server:
        sockets = [stalled(server, "/large/prod", websocket=websocket) for websocket in (False, True)]
        began = time.monotonic()

        assert server.stop(timeout=30) == 0
        # The drain, and the time for the closing handshake after it.
        assert time.monotonic() - began < 3 + 5 + 2
        for each in sockets:
            each.close()


def stalled(server: Server, path: str, *, websocket: bool) -> socket.socket:
    """Request a large document, read the first bytes, and then stop reading."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", server.port))
    upgrade = (
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    )
    target = f"/ws{path}" if websocket else path
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{upgrade if websocket else ''}\r\n".encode())
    assert connection.recv(100).startswith(b"HTTP/1.1 101" if websocket else b"HTTP/1.1 200")
    return connection


def test_a_second_signal_ends_at_once(source: Path) -> None:
    (source / "large.yml").write_text("".join(f"key{number}: {'x' * 1000}\n" for number in range(5_000)))
    with Server(source) as server:
        connection = stalled(server, "/large/prod", websocket=False)
        server.process.send_signal(signal.SIGTERM)
        wait_for_output(server, '"stopping"')
        began = time.monotonic()

        assert server.stop() == 0
        assert time.monotonic() - began < 2
        connection.close()


def test_R12_who_was_accepted_before_the_stop_is_answered_behind_it(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        # The server accepts connections in the order in which they arrive.
        assert 200 == get(server, "/health")[0]
        server.process.send_signal(signal.SIGTERM)
        wait_for_output(server, '"stopping"')
        connection.sendall(b"GET /billing/dev HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert 0 == server.stop()


def test_R12_a_silent_connection_holds_no_drain_up(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        assert 200 == get(server, "/health")[0]
        began = time.monotonic()

        assert 0 == server.stop()
        assert time.monotonic() - began < 5
        assert b"" == connection.recv(100)


def wait_for_output(server: Server, text: str) -> None:
    deadline = time.monotonic() + 10
    while text not in server.output():
        assert time.monotonic() < deadline, server.output()
        time.sleep(0.01)


def vortexd(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "vortexd", *arguments], capture_output=True, text=True, timeout=30)


def test_a_port_in_use_is_one_clear_line_and_status_1(source: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        ended = vortexd("--source", str(source), "--bind", address)

    assert ended.returncode == 1
    errors = [line for line in ended.stderr.splitlines() if "error" in line]
    assert len(errors) == 1
    assert address in errors[0]
    assert "in use" in errors[0]


def test_a_missing_directory_is_one_clear_line_and_status_2(tmp_path: Path) -> None:
    ended = vortexd("--source", str(tmp_path / "nowhere"))

    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert str(tmp_path / "nowhere") in ended.stderr


def test_every_error_of_a_settings_file_is_printed_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "vortexd.toml"
    path.write_text('[server]\nbind = ["127.0.0.1:x"]\ndrian_timeout = 3\n[log]\nlevel = 7\n')
    ended = vortexd("--config", str(path), "--check")

    assert ended.returncode == 2
    for text in ("server.bind[0]", "server.drian_timeout", "drain_timeout", "log.level"):
        assert text in ended.stderr


def test_R13_signals_that_come_behind_the_drain_do_not_change_the_exit_status(server: Server) -> None:
    server.process.send_signal(signal.SIGTERM)
    # Send each one only when the process sleeps or has ended: a flood would keep it from getting there.
    while server.process.poll() is None:
        time.sleep(0.001)
        server.process.send_signal(signal.SIGTERM)

    assert 0 == server.stop()


def test_while_requests_in_flight_are_finished_nobody_new_is_let_in(source: Path) -> None:
    """The server closes its port before the drain waits for clients."""
    with Server(source) as server, socket.create_connection(("127.0.0.1", server.port), timeout=10) as slow:
        slow.sendall(
            b"POST /monitor HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 20\r\nConnection: close\r\n\r\n{"
        )
        # The server has accepted the connection, so it answers a later request.
        assert 200 == get(server, "/health")[0]
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 3
        while True:
            try:
                socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
            except ConnectionRefusedError:
                break
            assert time.monotonic() < deadline
            time.sleep(0.01)
        slow.sendall(b'"path": "billing.yml')
        assert slow.recv(65_536).startswith(b"HTTP/1.1 ")
        assert 0 == server.process.wait(30)


def test_a_directory_without_configuration_is_served_and_said(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    with Server(tmp_path / "config") as server:
        assert 200 == get(server, "/billing/dev")[0]
        [said] = [json.loads(line) for line in server.output().splitlines() if '"no configuration"' in line]

    assert ("warning", f"file:{tmp_path}/config/") == (said["level"], said["source"])

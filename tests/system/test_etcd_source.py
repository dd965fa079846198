"""A source of kind etcd, with the real process and a real etcd: programs write keys, and clients get every change."""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import trio
import trio_websocket

from tests.certificates import make
from tests.cluster.etcd_servers import EtcdServers, etcd_program

from .process import Server
from .test_broken import ask, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(etcd_program() is None, reason="there is no etcd; on Debian, apt-get install etcd-server"),
]


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def call(etcd: EtcdServers, path: str, body: Mapping[str, Any], token: str = "") -> Any:
    """Call etcd's gateway, as a program that writes configuration does."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": token} if token else {})
    request = Request(f"{etcd.endpoints[0]}/v3/{path}", json.dumps(body).encode(), headers)
    with urlopen(request, timeout=10, context=etcd.context) as answer:
        return json.load(answer)


def write(etcd: EtcdServers, files: Mapping[str, str], token: str = "") -> None:
    """Write files in one transaction."""
    puts = [{"request_put": {"key": coded(f"/config/{path}"), "value": coded(text)}} for path, text in files.items()]
    assert call(etcd, "kv/txn", {"success": puts}, token)["succeeded"]


def settings(etcd: EtcdServers, more: str = "") -> str:
    return (
        f'[server]\nbind = ["127.0.0.1:0"]\n[[source]]\nkind = "etcd"\nprefix = "/config/"\n'
        f"endpoints = {json.dumps(etcd.endpoints)}\n{more}"
    )


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServers]:
    (tmp_path / "etcd").mkdir()
    with EtcdServers(tmp_path / "etcd", 1) as etcd:
        yield etcd


def source_of(server: Server) -> dict[str, Any]:
    [source] = ask(server, "/status")[1]["sources"]
    assert isinstance(source, dict)
    return source


def test_a_transaction_reaches_a_client_whole_and_survives_an_outage_of_etcd(tmp_path: Path, etcd: EtcdServers) -> None:
    write(etcd, {"shop.yml": "a: 1\n", "application.yml": "b: 1\n"})
    messages: list[dict[str, Any]] = []

    async def watch(server: Server) -> None:
        url = f"ws://127.0.0.1:{server.port}/ws/shop/prod"
        with trio.fail_after(60):
            async with trio_websocket.open_websocket_url(url) as socket:
                messages.append(json.loads(await socket.get_message()))
                await trio.to_thread.run_sync(write, etcd, {"shop.yml": "a: 2\n", "application.yml": "b: 2\n"})
                messages.append(json.loads(await socket.get_message()))
                etcd.kill(0)
                await trio.to_thread.run_sync(until, lambda: source_of(server)["status"] == "STALE")
                assert 200 == ask(server, "/shop/prod")[0] == ask(server, "/ready")[0]
                assert "etcd" in source_of(server)["last_error"] or "127.0.0.1" in source_of(server)["last_error"]
                etcd.start(0)
                await trio.to_thread.run_sync(etcd.wait_ready, 0)
                await trio.to_thread.run_sync(write, etcd, {"shop.yml": "a: 3\n"})
                messages.append(json.loads(await socket.get_message()))

    with Server(tmp_path / "x", settings=settings(etcd)) as server:
        trio.run(watch, server)
        until(lambda: source_of(server)["status"] == "UP")
        assert source_of(server)["kind"] == "etcd"
        _, body, _ = ask(server, "/shop/prod")
        names = [each["name"] for each in body["propertySources"]]
        assert names == ["etcd:/config/shop.yml", "etcd:/config/application.yml"]
        assert 0 == server.stop()
    assert [each["type"] for each in messages] == ["config_snapshot", "config_change", "config_change"]
    assert messages[0]["config"] == {"a": 1, "b": 1}
    assert sorted(each["path"] for each in messages[1]["diff"]) == ["/a", "/b"]
    assert [each["path"] for each in messages[2]["diff"]] == ["/a"]


def test_a_broken_file_keeps_its_last_good_content_and_is_named_everywhere(tmp_path: Path, etcd: EtcdServers) -> None:
    write(etcd, {"shop.yml": "a: 1\n"})
    with Server(tmp_path / "x", settings=settings(etcd)) as server:
        write(etcd, {"shop.yml": "a: [1\n"})
        until(lambda: source_of(server)["status"] == "DEGRADED")
        status, body, headers = ask(server, "/shop/prod")
        assert (status, body["propertySources"][0]["source"]) == (200, {"a": 1})
        assert "shop.yml" in headers["X-Vortex-Broken"]
        [broken] = source_of(server)["broken"]
        assert (broken["file"], broken["line"]) == ("shop.yml", 1)
        write(etcd, {"shop.yml": "a: 2\n"})
        until(lambda: source_of(server)["status"] == "UP")
        assert 0 == server.stop()


def test_a_set_of_files_beyond_one_transaction_is_published_by_its_marker(tmp_path: Path, etcd: EtcdServers) -> None:
    def write_all(value: int) -> None:
        for start in (0, 100, 200):
            write(etcd, {f"app{number}.yml": f"a: {value}\n" for number in range(start, start + 100)})

    write_all(1)
    write(etcd, {".published": "1"})
    with Server(tmp_path / "x", settings=settings(etcd, 'marker = ".published"\n')) as server:
        write_all(2)
        time.sleep(0.5)
        values = {ask(server, f"/app{number}/prod")[1]["propertySources"][0]["source"]["a"] for number in (0, 150, 299)}
        assert values == {1}
        write(etcd, {".published": "2"})
        until(lambda: ask(server, "/app299/prod")[1]["propertySources"][0]["source"] == {"a": 2})
        assert {"a": 2} == ask(server, "/app0/prod")[1]["propertySources"][0]["source"]
        assert 0 == server.stop()


def test_an_etcd_with_tls_and_users_is_read_by_a_user_with_the_right_and_refuses_others(tmp_path: Path) -> None:
    certificate, key = make(tmp_path)
    (tmp_path / "etcd").mkdir()
    password = tmp_path / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    access = f'user = "vortexd"\npassword_file = "{password}"\nca_file = "{certificate}"\n'
    with EtcdServers(tmp_path / "etcd", 1, ("--auth-token-ttl", "2"), (certificate, key)) as etcd:
        for path, body in (
            ("auth/user/add", {"name": "root", "password": "r"}),
            ("auth/role/add", {"name": "root"}),
            ("auth/user/grant", {"user": "root", "role": "root"}),
            ("auth/user/add", {"name": "vortexd", "password": "secret"}),
            ("auth/role/add", {"name": "reader"}),
            (
                "auth/role/grant",
                {
                    "name": "reader",
                    "perm": {"permType": "READ", "key": coded("/config/"), "range_end": coded("/config0")},
                },
            ),
            ("auth/user/grant", {"user": "vortexd", "role": "reader"}),
            ("auth/enable", {}),
        ):
            call(etcd, path, body)
        root = call(etcd, "auth/authenticate", {"name": "root", "password": "r"})["token"]
        write(etcd, {"shop.yml": "a: 1\n"}, root)
        with Server(tmp_path / "x", settings=settings(etcd, access)) as server:
            assert {"a": 1} == ask(server, "/shop/prod")[1]["propertySources"][0]["source"]
            # Longer than a token lives, and than a watch without events.
            time.sleep(13)
            root = call(etcd, "auth/authenticate", {"name": "root", "password": "r"})["token"]
            write(etcd, {"shop.yml": "a: 2\n"}, root)
            until(lambda: ask(server, "/shop/prod")[1]["propertySources"][0]["source"] == {"a": 2})
            call(etcd, "auth/user/revoke", {"name": "vortexd", "role": "reader"}, root)
            refused = "etcd refuses it: permission denied; grant a role of the user the right to these keys"
            until(lambda: source_of(server)["last_error"] == refused)
            assert {"a": 2} == ask(server, "/shop/prod")[1]["propertySources"][0]["source"]
            assert "secret" not in server.output()
            assert 0 == server.stop()

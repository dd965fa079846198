"""The real daemon with an encryption key: decrypted snapshots, a new key at SIGHUP, and no secret in its output."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import trio
from trio_websocket import open_websocket_url

from vortexd.encryption.ciphers import AesEncryptor

from .process import Server

FILLER = "filler: " + "x" * 300


def cipher(password: str, text: str) -> str:
    return "{cipher}" + AesEncryptor(password).encrypt(text)


def put(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "config"
    source.mkdir()
    (source / "shop.yml").write_text(
        f"a: '{cipher('old-password', 'hunter-old')}'\nb: '{cipher('new-password', 'hunter-new')}'\n{FILLER}\n"
    )
    put(tmp_path / "key", "old-password\n")
    return source


def settings(source: Path) -> str:
    return f'[server]\nbind = ["127.0.0.1:0"]\n[[source]]\npath = "{source}"\n[encryption]\nkey_file = "key"\n'


async def next_message(websocket: Any, kind: str) -> dict[str, Any]:
    with trio.fail_after(10):
        while True:
            message: dict[str, Any] = json.loads(await websocket.get_message())
            if message["type"] == kind:
                return message


def post(server: Server, path: str, text: str) -> str:
    request = Request(f"http://127.0.0.1:{server.port}{path}", text.encode(), {"Content-Type": "text/plain"})
    with urlopen(request, timeout=10) as answer:
        found: bytes = answer.read()
    return found.decode()


async def wait_for(server: Server, text: str) -> None:
    with trio.fail_after(10):
        while text not in server.output():  # noqa: ASYNC110 - nothing signals it
            await trio.sleep(0.01)


async def test_another_key_at_SIGHUP_publishes_what_it_reads_and_a_wrong_one_changes_nothing(source: Path) -> None:
    with Server(source, settings=settings(source)) as server:
        async with open_websocket_url(f"ws://127.0.0.1:{server.port}/ws/shop/dev") as websocket:
            snapshot = await next_message(websocket, "config_snapshot")
            assert ("hunter-old", {"b": "<n/a>"}) == (snapshot["config"]["a"], snapshot["config"]["invalid"])

            put(source.parent / "key", "two\nlines\n")
            server.process.send_signal(signal.SIGHUP)
            await wait_for(server, "reload refused")
            put(source.parent / "key", "new-password\n")
            server.process.send_signal(signal.SIGHUP)
            change = await next_message(websocket, "config_change")

        assert snapshot["version"] == change["old_version"]
        assert {"/a", "/b", "/invalid/a", "/invalid/b"} >= {each["path"] for each in change["diff"]}
        assert "hunter-new" in str(change["diff"])
        encrypted = await trio.to_thread.run_sync(post, server, "/encrypt", "hunter-sent")
        assert "hunter-sent" == await trio.to_thread.run_sync(post, server, "/decrypt", encrypted)
        output = server.output()

    assert not [secret for secret in ("hunter", "old-password", "new-password") if secret in output]


def test_check_reads_the_key_and_says_what_is_wrong_with_it(source: Path) -> None:
    key = source.parent / "key"
    key.chmod(0o644)
    (source.parent / "vortexd.toml").write_text(settings(source))
    command = [sys.executable, "-m", "vortexd", "--config", str(source.parent / "vortexd.toml"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=30)

    assert (2, True) == (checked.returncode, f"{key}: is open to other users; run chmod 600 on it" in checked.stderr)

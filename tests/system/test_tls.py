"""TLS as clients see it: HTTP and WebSockets, a new certificate by SIGHUP, and those who don't speak it."""

import signal
import socket
import ssl
import urllib.request
from pathlib import Path

import pytest
import trio
from trio_websocket import open_websocket_url

from tests.certificates import make

from .fleet import save, wait_until
from .process import Server

SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
[tls]
certificate = "{certificate}"
key = "{key}"
[[source]]
path = "{source}"
quiet = 0.02
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    save(directory / "billing.yml", f"number: 0\nfiller: {'x' * 300}\n")
    return directory


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


def get(port: int, context: ssl.SSLContext) -> int:
    with urllib.request.urlopen(f"https://localhost:{port}/billing/prod", timeout=10, context=context) as answer:
        status: int = answer.status
        return status


async def test_both_protocols_are_encrypted_and_a_new_certificate_ends_nothing(tmp_path: Path, source: Path) -> None:
    certificate, key = make(tmp_path)
    with Server(source, settings=SETTINGS.format(certificate=certificate, key=key, source=source)) as server:
        old = trusting(certificate)
        url = f"wss://localhost:{server.port}/ws/billing/prod"
        assert 200 == await trio.to_thread.run_sync(get, server.port, old)
        with trio.fail_after(20):
            async with open_websocket_url(url, old) as websocket:
                assert "config_snapshot" in await websocket.get_message()
                make(tmp_path)
                server.process.send_signal(signal.SIGHUP)
                await wait_until(lambda: '"reloaded"' in server.output())
                save(source / "billing.yml", f"number: 1\nfiller: {'x' * 300}\n")
                assert "config_change" in await websocket.get_message()
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            await trio.to_thread.run_sync(get, server.port, old)
        assert 200 == await trio.to_thread.run_sync(get, server.port, trusting(certificate))

        key.write_text("nonsense")
        server.process.send_signal(signal.SIGHUP)
        await wait_until(lambda: '"reload refused"' in server.output())
        assert 200 == await trio.to_thread.run_sync(get, server.port, trusting(certificate))
        assert 0 == server.stop()


def test_who_does_not_speak_tls_is_told_so_and_holds_nothing_up(tmp_path: Path, source: Path) -> None:
    certificate, key = make(tmp_path)
    with Server(source, settings=SETTINGS.format(certificate=certificate, key=key, source=source)) as server:
        with socket.create_connection(("127.0.0.1", server.port), 10) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            told = plain.recv(4_096)
        with socket.create_connection(("127.0.0.1", server.port), 10) as garbage:
            garbage.sendall(b"\x16\x03\x01garbage" * 20)
            garbage.recv(4_096)
        silent = socket.create_connection(("127.0.0.1", server.port), 10)

        assert told.startswith(b"HTTP/1.1 400")
        assert b"https://" in told
        assert 200 == get(server.port, trusting(certificate))
        assert 0 == server.stop()
        silent.close()
        assert "Traceback" not in server.output()

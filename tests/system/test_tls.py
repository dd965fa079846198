"""TLS from the client's side: HTTP and WebSockets, a new certificate at SIGHUP, and peers that don't speak TLS."""

import http.client
import signal
import socket
import ssl
import urllib.request
from pathlib import Path

import pytest
import trio
from trio_websocket import ConnectionClosed, open_websocket_url, wrap_client_stream

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


MUTUAL = """client_ca = "{authority}"
client_certificates = "{mode}"
[auth]
tokens = ["tokens.toml"]
[[source]]"""
CERTIFICATES = """[[certificate]]
name = "billing"
uri = "spiffe://example/billing"
rights = ["read", "subscribe"]
patterns = ["billing:*"]
[[certificate]]
name = "shop"
dns = "shop.example"
rights = ["read", "subscribe"]
patterns = ["shop:*"]
"""


async def test_W16_a_client_is_known_by_its_certificate_until_that_is_withdrawn(tmp_path: Path, source: Path) -> None:
    certificate, key = make(tmp_path)
    signer = make(tmp_path, "authority")
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(signer[0].read_bytes())
    clients = {
        name: make(tmp_path, name, signer=signer, uri=uri)
        for name, uri in (("one.example", "spiffe://example/billing"), ("shop.example", None), ("else.example", None))
    }
    stranger = make(tmp_path, "billing", uri="spiffe://example/billing")
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(CERTIFICATES)
    tokens.chmod(0o600)
    settings = SETTINGS.replace("[[source]]", MUTUAL).format(
        certificate=certificate, key=key, source=source, authority=authorities, mode="optional"
    )

    def context(name: str) -> ssl.SSLContext:
        made = trusting(certificate)
        if name:
            made.load_cert_chain(*(stranger if name == "stranger" else clients[name]))
        return made

    def status(port: int, name: str = "") -> int:
        asking = http.client.HTTPSConnection("localhost", port, timeout=10, context=context(name))
        try:
            asking.request("GET", "/billing/prod")
            with asking.getresponse() as answer:
                return answer.status
        except OSError:
            return 0
        finally:
            asking.close()

    with Server(source, settings=settings) as server:
        found = {name: status(server.port, name) for name in ("", *clients, "stranger")}
        assert {"": 401, "one.example": 200, "shop.example": 403, "else.example": 401, "stranger": 0} == found

        with trio.fail_after(20):
            async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream, trio.open_nursery() as nursery:
                encrypted = trio.SSLStream(stream, context("one.example"), server_hostname="localhost")
                websocket = await wrap_client_stream(nursery, encrypted, "localhost", "/ws/billing/prod")
                assert "config_snapshot" in await websocket.get_message()
                # A further authority ends no connection.
                authorities.write_bytes(signer[0].read_bytes() + stranger[0].read_bytes())
                server.process.send_signal(signal.SIGHUP)
                await wait_until(lambda: server.output().count('"reloaded"') == 1)
                assert 200 == status(server.port, "stranger")
                save(source / "billing.yml", f"number: 1\nfiller: {'x' * 300}\n")
                assert "config_change" in await websocket.get_message()
                tokens.write_text(CERTIFICATES[CERTIFICATES.index('[[certificate]]\nname = "shop') :])
                server.process.send_signal(signal.SIGHUP)
                with pytest.raises(ConnectionClosed):
                    while True:
                        await websocket.get_message()
                assert websocket.closed is not None
                assert 4401 == websocket.closed.code
            await wait_until(lambda: server.output().count('"reloaded"') == 2)
        assert 401 == status(server.port, "one.example")
        path = source.parent / "vortexd.toml"
        path.write_text(path.read_text().replace("optional", "required"))
        server.process.send_signal(signal.SIGHUP)
        await wait_until(lambda: server.output().count('"reloaded"') == 3)
        assert (0, 403) == (status(server.port), status(server.port, "shop.example"))
        assert 0 == server.stop()

"""Real proxies with the configurations of conf/proxies: WebSockets stay open, paths arrive unchanged, and the server sees the clients' addresses."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio_websocket import wrap_client_stream

from tests.certificates import make
from tests.repository import Repository
from vortexd.auth.tokens import entry_of, new_token

from .process import Server

SNIPPETS = Path(__file__).parents[2] / "conf" / "proxies"
FILLER = "filler: " + "x" * 300 + "\n"
# The clients' address; proxies connect from 127.0.0.1.
CLIENT = "127.0.0.2"
SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
trusted_proxies = ["127.0.0.1"]
{server}
state_directory = "{state}"
[auth]
tokens = ["tokens.toml"]
hosts = ["localhost"]
[[source]]
kind = "git"
uri = "{uri}"
schemes = ["file"]
refresh_interval = 0.1
"""
TLS = '[tls]\ncertificate = "localhost.crt"\nkey = "localhost.key"\n'


def program(name: str, package: str) -> str:
    """Return a proxy's program. Install it if that is allowed; otherwise skip the test."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    if shutil.which(name, path=path) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package],
            capture_output=True,
            timeout=300,
            check=False,
        )
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"there is no {name}, and it can't be installed")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number: int = listening.getsockname()[1]
        return number


def snippet(name: str, upstream: int, **replaced: str) -> str:
    """Return a configuration of conf/proxies with another upstream, and with some texts replaced."""
    text = (SNIPPETS / name).read_text().replace(":8888", f":{upstream}")
    for old, new in replaced.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextmanager
def running(command: list[str], port: int, directory: Path) -> Iterator[None]:
    """Run a proxy, and wait until it accepts connections."""
    environment = {**os.environ, "HOME": str(directory), "XDG_DATA_HOME": str(directory)}
    with (directory / "proxy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                told = (directory / "proxy.log").read_text()
                assert process.poll() is None, told
                assert time.monotonic() < deadline, told
                time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)


def nginx(port: int, upstream: int, directory: Path) -> list[str]:
    found = program("nginx", "nginx-light")
    replaced = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "config.example.com": "localhost",
        "/etc/nginx/tls/config": f"{directory}/localhost",
        "/var/log/nginx/": f"{directory}/nginx-",
    }
    text = snippet("nginx.conf", upstream, **replaced)
    around = f"pid {directory}/nginx.pid;\nerror_log {directory}/error.log;\ndaemon off;\n"
    (directory / "nginx.conf").write_text(f"{around}events {{}}\nhttp {{\n{text}\n}}\n")
    return [found, "-c", str(directory / "nginx.conf")]


def haproxy(port: int, upstream: int, directory: Path, name: str = "haproxy.cfg") -> list[str]:
    found = program("haproxy", "haproxy")
    both = (directory / "localhost.crt").read_text() + (directory / "localhost.key").read_text()
    (directory / "both.pem").write_text(both)
    text = snippet(name, upstream, **{"bind :443": f"bind 127.0.0.1:{port}"})
    (directory / name).write_text(text.replace("/etc/haproxy/tls/config.pem", str(directory / "both.pem")))
    return [found, "-db", "-f", str(directory / name)]


def haproxy_tcp(port: int, upstream: int, directory: Path) -> list[str]:
    return haproxy(port, upstream, directory, "haproxy-tcp.cfg")


def caddy(port: int, upstream: int, directory: Path) -> list[str]:
    found = program("caddy", "caddy")
    site = f"https://localhost:{port} {{\n\ttls {directory}/localhost.crt {directory}/localhost.key\n\tbind 127.0.0.1"
    text = snippet("Caddyfile", upstream, **{"config.example.com {": site})
    options = "{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system " + str(directory) + "\n}\n"
    (directory / "Caddyfile").write_text(options + text)
    return [found, "run", "--config", str(directory / "Caddyfile"), "--adapter", "caddyfile"]


@attrs.frozen
class Front:
    """Run a proxy in front of vortexd."""

    port: int
    token: str
    context: ssl.SSLContext
    repository: Repository

    async def connect(self) -> "trio.SSLStream[trio.SocketStream]":
        stream = await trio.open_tcp_stream("127.0.0.1", self.port, local_address=CLIENT)
        return trio.SSLStream(stream, self.context, server_hostname="localhost", https_compatible=True)

    async def get(self, target: str, *headers: str) -> tuple[int, dict[str, Any]]:
        lines = (f"GET {target} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.token}", *headers)
        async with await self.connect() as stream:
            await stream.send_all("\r\n".join((*lines, "Connection: close", "", "")).encode())
            answer = b"".join([part async for part in stream])
        head, _, body = answer.partition(b"\r\n\r\n")
        if b"chunked" in head.lower():
            body = body.partition(b"\r\n")[2].rpartition(b"\r\n0")[0]
        return int(head.split()[1]), json.loads(body)


@pytest.fixture(params=[nginx, haproxy, haproxy_tcp, caddy])
def front(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Front]:
    certificate, _ = make(tmp_path)
    token = new_token()
    (tmp_path / "tokens.toml").write_text(entry_of("client", token, ["read", "subscribe", "admin"]))
    (tmp_path / "tokens.toml").chmod(0o600)
    repository = Repository(tmp_path / "config.git")
    repository.commit({"billing.yml": "number: 0\n" + FILLER})
    repository.commit({"billing.yml": "number: 10\n" + FILLER}, "release/1.0")
    by_tcp = request.param is haproxy_tcp
    settings = SETTINGS.format(
        server="proxy_protocol = true" if by_tcp else "", state=tmp_path / "state", uri=repository.uri
    )
    with Server(tmp_path / "x", settings=settings + (TLS if by_tcp else "")) as server:
        port = free_port()
        with running(request.param(port, server.port, tmp_path), port, tmp_path):
            yield Front(port, token, ssl.create_default_context(cafile=str(certificate)), repository)
        assert 0 == server.stop()
        assert [] == [log.name for log in tmp_path.glob("*.log") if token in log.read_text()]


async def wait_ready(front: Front) -> None:
    """Wait until the proxy's own check has found the server ready."""
    while (await front.get("/billing/prod"))[0] == 503:  # noqa: ASYNC110
        await trio.sleep(0.05)


async def test_behind_a_real_proxy_everything_is_as_without_it(front: Front) -> None:
    with trio.fail_after(30):
        await wait_ready(front)
        for label in ("release%2F1.0", "release(_)1.0"):
            status, environment = await front.get(
                f"/billing/prod/{label}?token={front.token}", "Forwarded: for=192.0.2.66"
            )
            assert (200, "release/1.0") == (status, environment["label"])

        headers = [(b"Authorization", b"Bearer " + front.token.encode()), (b"X-Forwarded-For", b"192.0.2.66")]
        async with trio.open_nursery() as nursery:
            stream = await front.connect()
            websocket = await wrap_client_stream(
                nursery, stream, "localhost", "/ws/billing/prod", extra_headers=headers
            )
            assert "config_snapshot" in await websocket.get_message()
            status, found = await front.get("/api/v1/connections")
            assert (200, [CLIENT]) == (status, [each["peer"] for each in found["connections"]])
            await trio.to_thread.run_sync(front.repository.commit, {"billing.yml": "number: 1\n" + FILLER})
            assert "config_change" in await websocket.get_message()
            await websocket.aclose()

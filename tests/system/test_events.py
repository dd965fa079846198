"""Server-Sent Events of the real daemon: curl, proxies that buffer, HTTP/2, drain, kill -9, slow readers, and a crowd that comes back."""

import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import trio

from tests.certificates import make
from vortexd.auth.tokens import digest_of

from .process import Server
from .test_proxies import CLIENT, SNIPPETS, Front, free_port, front, program, running, wait_ready

__all__ = ["front"]

SETTINGS = """
[server]
bind = ["127.0.0.1:{port}"]
state_directory = "{state}"
{server}
[[source]]
path = "{source}"
{more}
"""
_PATH = "/api/v1/events/billing/prod"


class Stream:
    """curl -N, and the events that it has printed."""

    def __init__(self, url: str, *options: str) -> None:
        self.process = subprocess.Popen(
            ["curl", "-sSN", "--max-time", "60", *options, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.events: list[dict[str, str]] = []
        self._has_more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        fields: dict[str, str] = {}
        for line in self.process.stdout:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            else:
                with self._has_more:
                    self.events.append(fields)
                    self._has_more.notify_all()
                fields = {}
        with self._has_more:
            self._has_more.notify_all()

    def wait(self, kind: str, within: float = 10.0, **members: Any) -> dict[str, str]:
        """Wait for an event of a type, whose data has these members."""

        def found() -> dict[str, str] | None:
            for each in self.events:
                data = orjson.loads(each.get("data", "{}"))
                if each.get("event") == kind and all(data.get(name) == value for name, value in members.items()):
                    return each
            return None

        with self._has_more:
            assert self._has_more.wait_for(found, within), (kind, members, self.events)
            event = found()
        assert event is not None
        return event

    def ended(self, within: float = 20.0) -> int:
        """Wait for the end of curl, and return its exit status."""
        status = self.process.wait(within)
        self._reader.join(10)
        return status

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(10)
        self._reader.join(10)
        for each in (self.process.stdout, self.process.stderr):
            assert each is not None
            each.close()


def save(source: Path, number: int) -> None:
    part = source.parent / "part"
    part.write_text(f"number: {number}\nfiller: {'x' * 300}\n")
    part.rename(source / "billing.yml")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    found = tmp_path / "config"
    found.mkdir()
    save(found, 0)
    return found


@contextmanager
def serving(source: Path, *, port: int = 0, server: str = "", more: str = "") -> Iterator[Server]:
    text = SETTINGS.format(port=port, state=source.parent / "state", source=source, server=server, more=more)
    with Server(source, settings=text) as running:
        yield running


def url(server: Server, query: str = "", scheme: str = "http") -> str:
    return f"{scheme}://localhost:{server.port}{_PATH}{query}"


def changed(stream: Stream, source: Path, number: int, within: float = 3.0) -> str:
    """Save a file, and wait for the change, whose id this returns."""
    before = len(stream.events)
    save(source, number)
    stream.wait("config_change", within, diff=[{"op": "replace", "path": "/number", "value": number}])
    assert len(stream.events) > before
    return stream.events[-1]["id"]


@pytest.mark.parametrize("options", [(), ("--http1.0",), ("--http2",)], ids=["1.1", "1.0", "h2c is ignored"])
def test_curl_shows_a_change_live(source: Path, options: tuple[str, ...]) -> None:
    with serving(source) as server, Stream(url(server), *options) as stream:
        stream.wait("config_snapshot")
        for number in range(1, 4):
            changed(stream, source, number)

        assert ["hello", "config_snapshot", *["config_change"] * 3] == [each.get("event") for each in stream.events[1:]]
        assert 1_000 <= int(stream.events[0]["retry"]) <= 3_000


@pytest.mark.parametrize("option", ["--http2", "--http1.1"])
def test_streams_over_tls(source: Path, option: str) -> None:
    certificate = make(source.parent, "localhost")
    names = sorted(source.parent.glob("localhost*"))
    assert names, certificate
    tls = f'[tls]\ncertificate = "{source.parent}/localhost.crt"\nkey = "{source.parent}/localhost.key"\n'
    with serving(source, more=tls) as server:
        address = url(server, "?pattern=billing:*", "https")
        with Stream(address, "-k", option) as stream, Stream(address, "-k", option):
            stream.wait("config_snapshot", profile="default")
            changed(stream, source, 1)
            assert 0 == server.stop()
            stream.wait("connection_closing")
            assert 0 == stream.ended()


def nginx(directory: Path, port: int, upstream: int) -> list[str]:
    binary = program("nginx", "nginx-light")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    file = directory / "nginx.conf"
    file.write_text(
        f"daemon off; pid {directory}/pid; error_log stderr; events {{}} http {{ access_log off;"
        + "".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
        + f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{upstream}; }} }} }}"
    )
    return [binary, "-p", str(directory), "-c", str(file)]


def haproxy(directory: Path, port: int, upstream: int, options: str = "") -> list[str]:
    binary = program("haproxy", "haproxy")
    file = directory / "haproxy.cfg"
    file.write_text(
        f"defaults\n mode http\n{options} timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
        f"frontend f\n bind 127.0.0.1:{port}\n default_backend b\nbackend b\n server s 127.0.0.1:{upstream}\n"
    )
    return [binary, "-db", "-f", str(file)]


def caddy(directory: Path, port: int, upstream: int, more: str = "", options: str = "") -> list[str]:
    binary = program("caddy", "caddy")
    file = directory / "Caddyfile"
    file.write_text(
        f"{{\n admin off\n auto_https off\n storage file_system {directory}\n}}\n"
        f"http://127.0.0.1:{port} {{\n{more}\n reverse_proxy 127.0.0.1:{upstream} {{\n {options}\n }}\n}}\n"
    )
    return [binary, "run", "--config", str(file), "--adapter", "caddyfile"]


def caddy_that_buffers(directory: Path, port: int, upstream: int) -> list[str]:
    """It flushes other responses only once a minute."""
    return caddy(directory, port, upstream, options="flush_interval 60s")


def caddy_that_compresses(directory: Path, port: int, upstream: int) -> list[str]:
    """It compresses with the lines of conf/proxies/Caddyfile, which are a comment there."""
    lines = re.findall(r"^\t# ((?:@compressed|encode) .*)$", (SNIPPETS / "Caddyfile").read_text(), re.MULTILINE)
    assert 2 == len(lines)
    return caddy(directory, port, upstream, "\n".join(lines))


@pytest.mark.parametrize("proxy", [nginx, haproxy, caddy, caddy_that_buffers, caddy_that_compresses])
def test_a_proxy_with_its_default_buffering_passes_each_event_on(
    source: Path, tmp_path: Path, proxy: Callable[[Path, int, int], list[str]]
) -> None:
    """The client accepts compressed responses, as a browser does."""
    port = free_port()
    with serving(source) as server, running(proxy(tmp_path, port, server.port), port, tmp_path):
        with Stream(f"http://127.0.0.1:{port}{_PATH}", "--compressed") as stream:
            stream.wait("config_snapshot")
            for number in range(1, 4):
                changed(stream, source, number)
        if proxy is caddy_that_compresses:
            command = ["curl", "-sSi", "--compressed", "--max-time", "10", f"http://127.0.0.1:{port}/openapi.json"]
            shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
            assert "Content-Encoding: gzip" in shown.split("\n\n")[0]


@pytest.mark.parametrize("option", ["--http1.1", "--http2"])
def test_a_proxy_with_our_configuration_passes_each_event_on(front: Front, tmp_path: Path, option: str) -> None:
    """Each proxy of conf/proxies, with TLS. A client of HTTP/2 gets it if the proxy offers it."""
    trio.run(wait_ready, front)
    tls = [option, "--compressed", "--cacert", str(tmp_path / "localhost.crt"), "--interface", CLIENT]
    token = ["-H", f"Authorization: Bearer {front.token}"]
    with Stream(f"https://localhost:{front.port}{_PATH}", *tls, *token) as stream:
        stream.wait("config_snapshot")
        for number in range(1, 4):
            front.repository.commit({"billing.yml": f"number: {number}\nfiller: {'x' * 300}\n"})
            stream.wait("config_change", diff=[{"op": "replace", "path": "/number", "value": number}])


def test_a_stop_ends_each_stream_with_an_announcement(source: Path) -> None:
    with serving(source) as server, Stream(url(server)) as one, Stream(url(server, "?pattern=*")) as other:
        one.wait("config_snapshot")
        other.wait("subscribed")
        began = time.monotonic()
        assert 0 == server.stop()
        assert time.monotonic() - began < 10
        for each in (one, other):
            each.wait("connection_closing")
            assert 0 == each.ended()


@pytest.mark.parametrize("query", ["", "?pattern=billing:*"], ids=["one key", "patterns"])
def test_a_client_resumes_at_the_server_that_follows_a_killed_one(source: Path, query: str) -> None:
    with serving(source) as server:
        with Stream(url(server, query)) as stream:
            stream.wait("config_snapshot")
            if query:
                stream.wait("config_snapshot", profile="default")
            last = changed(stream, source, 1)
            if query:
                for profile in ("prod", "default"):
                    stream.wait("config_change", profile=profile)
                last = stream.events[-1]["id"]
            server.stop(signal.SIGKILL)
            assert 0 != stream.ended()
    with serving(source) as server, Stream(url(server, query), "-H", f"Last-Event-ID: {last}") as stream:
        stream.wait("in_sync", profile="prod")
        if query:
            stream.wait("in_sync", profile="default")


def test_workers_accept_the_cursors_of_each_other(source: Path) -> None:
    with serving(source, server="workers = 2") as server:
        lasts = []
        for _ in range(4):
            with Stream(url(server, "?pattern=billing:*")) as stream:
                lasts.append(stream.wait("config_snapshot")["id"])
        for last in lasts * 2:
            with Stream(url(server, "?pattern=billing:*"), "-H", f"Last-Event-ID: {last}") as stream:
                stream.wait("in_sync", profile="prod")


def test_a_token_that_expires_ends_the_stream(source: Path) -> None:
    token = "vt_" + "a" * 43
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 5))
    tokens = source.parent / "tokens.toml"
    tokens.write_text(
        f'[[token]]\nname = "ci"\nsha256 = "{digest_of(token)}"\nrights = ["subscribe"]\npatterns = ["*"]\n'
        f'expires = "{expires}"\n'
    )
    tokens.chmod(0o600)
    with serving(source, more=f'[auth]\ntokens = ["{tokens}"]\n') as server:
        with Stream(url(server, f"?token={token}")) as stream:
            stream.wait("config_snapshot")
            time.sleep(5.5)
            save(source, 1)
            assert '{"code":4401,"reason":"unauthorized"}' == stream.wait("close")["data"]
            assert 0 == stream.ended()
        with Stream(url(server, f"?token={token}"), "-o", "/dev/null", "-w", "event: %{http_code}\n\n") as refused:
            refused.wait("401")
        assert token not in server.output()


def test_a_client_that_does_not_read_is_closed_and_the_others_get_each_change(source: Path) -> None:
    more = "[realtime]\nwrite_timeout = 1.0\n"
    with serving(source, more=more) as server, Stream(url(server)) as stream:
        stream.wait("config_snapshot")
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            slow.connect(("127.0.0.1", server.port))
            slow.sendall(f"GET {_PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            for number in range(1, 41):
                part = source.parent / "part"
                part.write_text(f"number: {number}\nfiller: {'y' * 400_000}{number}\n")
                began = time.monotonic()
                part.rename(source / "billing.yml")
                while not any(
                    f'"number":{number}' in each.get("data", "") or f"y{number}" in each.get("data", "")
                    for each in stream.events
                ):
                    assert time.monotonic() - began < 5
                    time.sleep(0.01)
                if 'vortexd_connections_closed_total{reason="slow"} 1.0' in metrics(server):
                    return
            raise AssertionError(metrics(server))


def metrics(server: Server) -> str:
    return subprocess.run(
        ["curl", "-sS", f"http://127.0.0.1:{server.port}/metrics"],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    ).stdout


def test_a_hundred_clients_that_lost_their_server_come_back_and_resume(source: Path) -> None:
    port = free_port()
    with serving(source, port=port) as server:
        crowd = [connect(server.port) for _ in range(100)]
        lasts = [read_until(each, b"event: config_snapshot") for each in crowd]
        server.stop(signal.SIGKILL)
        for each in crowd:
            each.close()
    save(source, 1)
    with serving(source, port=port) as server:
        crowd = [connect(server.port, last) for last in lasts]
        for each in crowd:
            read_until(each, b"event: config_snapshot")
        save(source, 2)
        for each in crowd:
            read_until(each, b'"value":2')
            each.close()


def connect(port: int, last: str = "") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), 10)
    more = f"Last-Event-ID: {last}\r\n" if last else ""
    made.sendall(f"GET {_PATH} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode())
    return made


def read_until(connection: socket.socket, text: bytes) -> str:
    """Read to the end of an event with this text, and return its id."""
    read = b""
    connection.settimeout(10)
    while text not in read or not read.endswith(b"\n\n\r\n"):
        data = connection.recv(65_536)
        assert data, read
        read += data
    names: list[bytes] = re.findall(rb"^id: (.*)$", read, re.MULTILINE)
    return names[-1].decode()


def test_a_stream_may_follow_other_requests_of_its_connection(source: Path) -> None:
    """A proxy keeps its connections open. A request with a body makes another part of the server read the next head."""
    body = b"POST /billing/prod HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"
    plain = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    stream = f"GET {_PATH} HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\n\r\n".encode()
    with serving(source) as server:
        for before in (plain, body, plain + body, b""):
            with socket.create_connection(("127.0.0.1", server.port), 10) as made:
                made.sendall(before)
                if before:
                    assert made.recv(65_536).startswith(b"HTTP/1.1")
                    time.sleep(0.2)
                made.sendall(stream)
                read_until(made, b"event: config_snapshot")
                assert "vortexd_event_streams 1.0" in metrics(server)


def test_a_client_behind_a_trusted_proxy_counts_by_its_own_address(source: Path) -> None:
    limits = 'trusted_proxies = ["127.0.0.1"]\nconnections_per_address = 1'
    with serving(source, server=limits, more="[auth]\nopen = true\n") as server:
        address = url(server)
        with Stream(address, "-H", "X-Forwarded-For: 192.0.2.1") as first:
            first.wait("config_snapshot")
            status = ["-o", "/dev/null", "-w", "event: %{http_code}\n\n", "--max-time", "3"]
            with Stream(address, "-H", "X-Forwarded-For: 192.0.2.1", *status) as refused:
                refused.wait("429")
            with Stream(address, "-H", "X-Forwarded-For: 192.0.2.2") as other:
                other.wait("config_snapshot")
        with Stream(address, "-H", "X-Forwarded-For: 192.0.2.1") as again:
            again.wait("config_snapshot")

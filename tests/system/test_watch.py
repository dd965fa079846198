"""Long polls of the real daemon: changes, 200 requests at once, workers, TLS and HTTP/2, a proxy, SIGTERM, and clients that are killed."""

import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import orjson
import pytest
import trio

from tests.certificates import make
from vortexd.auth.tokens import digest_of

from ..repository import Repository
from . import test_rollouts as rollouts
from .process import Server
from .test_broken import until
from .test_events import haproxy, nginx, save, serving
from .test_proxies import free_port, running

PATH = "/api/v1/watch/billing/prod"
ORDINARY = "/billing/prod"


@attrs.frozen
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def version(self) -> str:
        return self.headers["x-vortex-version"]


class Client:
    """One connection over HTTP/1.1."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self._file = self.socket.makefile("rb")

    def send(self, query: str = "", path: str = PATH, *headers: str) -> None:
        lines = [f"GET {path}{query} HTTP/1.1", "Host: localhost", *headers, "", ""]
        self.socket.sendall("\r\n".join(lines).encode())

    def read(self, within: float = 20.0) -> Answer:
        self.socket.settimeout(within)
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        return Answer(status, headers, self._file.read(int(headers.get("content-length", "0"))))

    def ask(self, query: str = "", path: str = PATH, *headers: str) -> Answer:
        self.send(query, path, *headers)
        return self.read()

    def has_answer(self) -> bool:
        self.socket.settimeout(0.2)
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except TimeoutError:
            return False

    def is_ended(self) -> bool:
        self.socket.settimeout(10)
        return self._file.read(1) == b""

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    found = tmp_path / "config"
    found.mkdir()
    save(found, 0)
    return found


def metric(server: Server, name: str) -> float:
    """The sum of a metric over all workers."""
    with Client(server.port) as client:
        text = client.ask(path="/metrics").body.decode()
    return sum(float(each) for each in re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))


def wait_waiting(server: Server, count: int, within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while (found := metric(server, "vortexd_waiting_requests")) != count:
        assert time.monotonic() < deadline, (found, count)
        time.sleep(0.02)


@contextmanager
def crowd(server: Server, count: int, query: str = "") -> Iterator[list[Client]]:
    """Clients that wait for a change."""
    with ExitStack() as clients:
        found = [clients.enter_context(Client(server.port)) for _ in range(count)]
        version = found[0].ask().version
        for each in found:
            each.send(f"?version={version}&wait=60{query}")
        wait_waiting(server, count)
        yield found


def test_a_change_answers_a_request_on_a_connection_that_stays(source: Path) -> None:
    with serving(source) as server, Client(server.port) as client:
        version = client.ask().version
        for number in range(1, 4):
            client.send(f"?version={version}&wait=60")
            wait_waiting(server, 1)
            assert not client.has_answer()
            save(source, number)
            answer = client.read()
            ordinary = client.ask(path=ORDINARY)

            assert (200, False) == (answer.status, answer.version == version)
            assert answer.body == ordinary.body
            for each in (answer, ordinary):
                each.headers.pop("date")
            assert answer.headers == ordinary.headers
            version = answer.version
        assert 304 == client.ask(f"?version={version}&wait=1s").status
        tag = client.ask().headers["etag"]
        assert 304 == client.ask("?wait=1", PATH, f"If-None-Match: {tag}").status
        assert 3 == metric(server, 'vortexd_waits_total{outcome="changed"}')


def test_no_deadline_of_the_server_ends_a_request_that_waits(source: Path) -> None:
    # On a busy machine, the first request takes a while, because it imports modules.
    times = "request_timeout = 2\nkeep_alive_timeout = 2\nhead_timeout = 2\nwrite_timeout = 2\n"
    with serving(source, server=times) as server, crowd(server, 3) as clients:
        time.sleep(3)
        wait_waiting(server, 3)
        save(source, 1)
        assert [200] * 3 == [each.read().status for each in clients]


def test_a_request_that_follows_one_with_a_body_waits_as_any_other(source: Path) -> None:
    with serving(source, server="request_timeout = 2\n") as server, Client(server.port) as client:
        version = client.ask().version
        body = b"POST /billing/prod HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
        client.socket.sendall(body)
        assert 405 == client.read().status
        client.send(f"?version={version}&wait=60")
        wait_waiting(server, 1)
        time.sleep(3)
        wait_waiting(server, 1)
        save(source, 1)
        assert 200 == client.read().status


@pytest.mark.parametrize("workers", [1, 2])
def test_a_change_answers_200_requests(source: Path, workers: int) -> None:
    with serving(source, server=f"workers = {workers}\n") as server, crowd(server, 200) as clients:
        save(source, 1)
        answers = [each.read() for each in clients]

        assert {200} == {each.status for each in answers}
        assert 1 == len({each.version for each in answers}) == len({each.body for each in answers})
        wait_waiting(server, 0)
        assert 200 == metric(server, "vortexd_waits_total")


def test_clients_that_are_killed_are_freed_at_once(source: Path) -> None:
    with serving(source) as server:
        with crowd(server, 20) as clients:
            for each in clients[:10]:
                # A reset, as of a program that was killed with unread bytes.
                each.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                each.close()
            wait_waiting(server, 10, 2)
            save(source, 1)
            assert {200} == {each.read().status for each in clients[10:]}
        with Client(server.port) as client:
            version = client.ask().version
        url = f"http://127.0.0.1:{server.port}{PATH}?version={version}"
        with subprocess.Popen(["curl", "-sS", url], stdout=subprocess.DEVNULL) as curl:
            wait_waiting(server, 1)
            curl.kill()
            wait_waiting(server, 0, 2)


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_answers_503_and_closes(source: Path, workers: int) -> None:
    with serving(source, server=f"workers = {workers}\n") as server, crowd(server, 50) as clients:
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        for each in clients:
            answer = each.read()
            assert (503, "close") == (answer.status, answer.headers["connection"])
            assert 1 <= int(answer.headers["retry-after"]) <= 3
            assert each.is_ended()
        assert 0 == server.stop()
        assert time.monotonic() - began < 10


def test_limits_leave_room_for_other_requests(source: Path) -> None:
    more = "[http]\nwatches_per_client = 5\n"
    with serving(source, more=more) as server, crowd(server, 5), Client(server.port) as client:
        version = client.ask().version
        refused = client.ask(f"?version={version}")
        assert (429, "1") == (refused.status, refused.headers["retry-after"])
        assert 200 == client.ask(path=ORDINARY).status


def test_half_of_the_connections_stay_free(source: Path) -> None:
    with serving(source, server="connections = 20\n") as server, crowd(server, 10), Client(server.port) as client:
        refused = client.ask(f"?version={client.ask().version}")
        assert (503, "1") == (refused.status, refused.headers["retry-after"])
        assert 200 == client.ask(path=ORDINARY).status


def tls(directory: Path) -> str:
    """Make a certificate, and return the settings that name it."""
    certificate, key = make(directory, "localhost")
    return f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'


@pytest.mark.parametrize("option", ["--http2", "--http1.1"])
def test_over_tls(source: Path, option: str) -> None:
    with serving(source, more=tls(source.parent)) as server:
        url = f"https://localhost:{server.port}{PATH}"
        curl = ["curl", "-sSki", "--max-time", "30", option]
        first = subprocess.run([*curl, url], capture_output=True, text=True, check=True, timeout=40).stdout
        version = re.search(r"x-vortex-version: (\w+)", first)
        assert version is not None
        for change, status in ((True, "200"), (False, "503")):
            with subprocess.Popen([*curl, f"{url}?version={version[1]}"], stdout=subprocess.PIPE, text=True) as waiting:
                time.sleep(1)
                assert waiting.poll() is None
                if change:
                    save(source, 1)
                else:
                    server.process.send_signal(signal.SIGTERM)
                shown = waiting.communicate(timeout=20)[0]
                assert status == shown.split()[1]
                version = re.search(r"x-vortex-version: (\w+)", shown) or version
                assert (option == "--http1.1" and not change) == ("connection: close" in shown.lower())
        assert 0 == server.stop()


@pytest.mark.parametrize("option", ["--http2", "--http1.1"])
def test_over_tls_a_client_that_is_killed_is_freed_at_once(source: Path, option: str) -> None:
    with serving(source, more=tls(source.parent)) as server:
        curl = ["curl", "-sSk", "--max-time", "30", option]

        def waits(count: int) -> bool:
            url = f"https://localhost:{server.port}/metrics"
            text = subprocess.run([*curl, url], capture_output=True, text=True, check=True, timeout=40).stdout
            return f"\nvortexd_waiting_requests {count}.0\n" in text

        url = f"https://localhost:{server.port}{PATH}"
        headers = subprocess.run([*curl, "-i", url], capture_output=True, text=True, check=True, timeout=40).stdout
        version = re.search(r"x-vortex-version: (\w+)", headers)
        assert version is not None
        with subprocess.Popen([*curl, f"{url}?version={version[1]}"], stdout=subprocess.DEVNULL) as waiting:
            until(lambda: waits(1))
            waiting.kill()
            until(lambda: waits(0))


def haproxy_that_passes_ends_on(directory: Path, port: int, upstream: int) -> list[str]:
    """It closes its own connection when the client has left."""
    return haproxy(directory, port, upstream, " option abortonclose\n")


@pytest.mark.parametrize("proxy", [nginx, haproxy_that_passes_ends_on])
def test_behind_a_proxy(source: Path, tmp_path: Path, proxy: Callable[[Path, int, int], list[str]]) -> None:
    port = free_port()
    with serving(source) as server, running(proxy(tmp_path, port, server.port), port, tmp_path):
        with Client(port) as client:
            version = client.ask().version
            client.send(f"?version={version}&wait=30")
            wait_waiting(server, 1)
            save(source, 1)
            assert 200 == client.read().status
        with Client(port) as client:
            client.send(f"?version={client.ask().version}&wait=30")
            wait_waiting(server, 1)
        wait_waiting(server, 0, 5)


def test_the_expiry_and_the_withdrawal_of_a_token_end_the_wait(source: Path) -> None:
    soon, later = "vt_" + "a" * 43, "vt_" + "b" * 43
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6))
    tokens = source.parent / "tokens.toml"

    def entry(token: str, more: str = "") -> str:
        grants = 'rights = ["read", "admin"]\npatterns = ["*"]\n'
        return f'[[token]]\nname = "{token[3]}"\nsha256 = "{digest_of(token)}"\n{grants}{more}'

    tokens.write_text(entry(soon, f'expires = "{expires}"\n') + entry(later))
    tokens.chmod(0o600)
    with serving(source, more=f'[auth]\ntokens = ["{tokens}"]\n') as server, ExitStack() as stack:
        clients = [stack.enter_context(Client(server.port)) for _ in range(2)]
        for client, token in zip(clients, (soon, later), strict=True):
            bearer = f"Authorization: Bearer {token}"
            client.send(f"?version={client.ask('', PATH, bearer).version}", PATH, bearer)
        assert 401 == clients[0].read().status
        assert not clients[1].has_answer()
        tokens.write_text(entry("vt_" + "c" * 43))
        server.process.send_signal(signal.SIGHUP)
        assert 401 == clients[1].read().status


class Poller:
    """A client that polls for the newest configuration of `shop`, over one connection."""

    def __init__(self, server: Server, query: str, *headers: str) -> None:
        self._server, self._query = server, query
        self._more = "".join(f"{each}\r\n" for each in headers)
        self.values: list[int] = []

    async def run(self) -> None:
        version = ""
        async with await trio.open_tcp_stream("127.0.0.1", self._server.port) as stream:
            while True:
                target = f"/api/v1/watch/shop/dev?label=main&version={version}&wait=60{self._query}"
                await stream.send_all(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{self._more}\r\n".encode())
                version = await self._read(stream)

    async def _read(self, stream: trio.SocketStream) -> str:
        answer = b""
        while True:
            answer += await stream.receive_some()
            head, end, body = answer.decode().lower().partition("\r\n\r\n")
            headers = dict(each.split(": ", 1) for each in head.splitlines()[1:])
            if end and len(body) >= int(headers["content-length"]):
                break
        assert head.startswith("http/1.1 200 ")
        self.values.append(orjson.loads(body)["propertysources"][0]["source"]["a"])
        return headers["x-vortex-version"]


@pytest.mark.parametrize("workers", [1, 2])
async def test_requests_follow_their_instances_to_the_candidate_and_back(tmp_path: Path, workers: int) -> None:
    """The instances that the roll-out reaches don't acknowledge it, so that it stays at its first step."""
    repository = Repository(tmp_path / "config.git")
    repository.commit({"shop.yml": "a: 1\n"})
    rule = rollouts.RULE.replace("20", "60")
    with rollouts.serving(tmp_path, repository, workers, rule) as server:
        fleet = rollouts.Fleet(server, 40, lambda _, value: "applied" if value == 1 else None)
        names = [each.name for each in fleet.instances]
        named = [(name, Poller(server, f"&instance={name}")) for name in names]
        named += [(name, Poller(server, "", f"X-Vortex-Instance: {name}")) for name in names[:20]]
        unnamed, canary = Poller(server, ""), Poller(server, "&canary=true")
        pollers = [*(each for _, each in named), unnamed, canary]
        async with trio.open_nursery() as nursery:
            for run in (*(each.run for each in fleet.instances), *(each.run for each in pollers)):
                nursery.start_soon(run)
            await fleet.all_have(1)
            await rollouts.until(lambda: [1] * len(pollers) == [one for each in pollers for one in each.values])
            repository.commit({"shop.yml": "a: 2\n"})
            await rollouts.until(lambda: sum(2 in each.values for each in fleet.instances) == 4)
            reached = {each.name for each in fleet.instances if 2 in each.values}

            def have(*values: int) -> bool:
                are_right = ([1, *(values if name in reached else ())] == each.values for name, each in named)
                return [1, *values] == canary.values and all(are_right)

            await rollouts.until(lambda: have(2))
            assert [1] == unnamed.values
            assert 200 == rollouts.act(server, "abort")[0]
            await rollouts.until(lambda: have(2, 1))
            assert [1] == unnamed.values
            assert 200 == rollouts.act(server, "promote")[0]
            await rollouts.until(lambda: all(2 == each.values[-1] for each in pollers))
            nursery.cancel_scope.cancel()

        assert [1, 2] == unnamed.values

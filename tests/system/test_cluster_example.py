"""The files of conf/cluster, as they are except for ports and the repository: etcd, three nodes, and HAProxy in front."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from vortexd.auth.tokens import entry_of, new_token

from ..cluster.etcd_servers import etcd_program, free_ports
from ..repository import Repository

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "conf" / "cluster"
COMMAND = re.compile(r"^(etcd|vortexd|haproxy) (.*)$", re.MULTILINE)
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The files that no program reads.
APART = ("README.md", ".gitignore")


def test_the_commands_of_its_readme_name_each_file_once() -> None:
    named = [words.split()[-1] for _, words in COMMAND.findall((EXAMPLE / "README.md").read_text())]
    assert sorted(named) == sorted(path.name for path in EXAMPLE.iterdir() if path.name not in APART)


def test_the_files_of_the_nodes_differ_only_in_their_numbers() -> None:
    for kind in ("etcd-{}.yml", "vortexd-{}.toml"):
        lines = [
            re.sub(
                rf"(etcd|node|vortexd)-{number}(?!=)|888{number}|member {number}|node {number}", "N", text, flags=re.I
            )
            for number in (1, 2, 3)
            for text in [(EXAMPLE / kind.format(number)).read_text()]
        ]
        own = [
            [line for line in each.splitlines() if "listen" not in line and "advertise" not in line] for each in lines
        ]
        assert own[0] == own[1] == own[2]


@contextmanager
def running(command: list[str], directory: Path, name: str) -> Iterator[None]:
    """Run a program in the directory of the files until the block ends."""
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()


def copied(directory: Path, uri: str) -> dict[int, int]:
    """Copy the files with free ports and another repository. Return the new port for each of theirs."""
    texts = {path.name: path.read_text() for path in EXAMPLE.iterdir() if path.name not in APART}
    used = sorted({int(port) for text in texts.values() for port in re.findall(r"127\.0\.0\.1:(\d+)", text)})
    ports = dict(zip(used, free_ports(len(used)), strict=True))
    for name, text in texts.items():
        text = re.sub(r"127\.0\.0\.1:(\d+)", lambda found: f"127.0.0.1:{ports[int(found[1])]}", text)
        (directory / name).write_text(text.replace("file:///srv/config.git", uri))
    return ports


def programs() -> dict[str, list[str] | None]:
    """Return the command of each program of the example, or None if the machine has none."""
    proxy = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    etcd = etcd_program()
    return {
        "etcd": [etcd] if etcd else None,
        "vortexd": [sys.executable, "-m", "vortexd"],
        "haproxy": [proxy] if proxy else None,
    }


def ask(port: int, path: str, headers: dict[str, str], body: bytes | None = None) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def until(is_true: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something is true. A refused connection and a status of 4xx or 5xx count as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if is_true():
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise AssertionError("it didn't come true in time") from error
        assert time.monotonic() < deadline, "it didn't come true in time"
        time.sleep(0.05)


@pytest.mark.skipif(etcd_program() is None, reason="there is no etcd")
def test_a_webhook_through_the_proxy_reaches_all_three_nodes(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "config.git")
    repository.commit({"orders-dev.yml": "size: 1\n"})
    place = tmp_path / "cluster"
    place.mkdir()
    ports = copied(place, repository.uri)
    token = made(place)
    bearer = {"Authorization": f"Bearer {token}"}
    nodes = [ports[each] for each in (8881, 8882, 8883)]

    def sizes() -> list[int]:
        return [ask(each, "/orders/dev", bearer)["propertySources"][0]["source"]["size"] for each in (*nodes, front)]

    front = ports[8888] if programs()["haproxy"] else nodes[0]
    with started(place):
        until(lambda: sizes() == [1] * 4)
        until(lambda: all(listed(ask(each, "/status", bearer)) == ["serving"] * 3 for each in nodes))
        repository.commit({"orders-dev.yml": "size: 2\n"})
        push(front, "s3cret")
        until(lambda: sizes() == [2] * 4, 10)
        with pytest.raises(urllib.error.HTTPError):
            ask(front, "/status", {})
    assert token not in "".join(path.read_text() for path in place.glob("*.log"))


@pytest.mark.skipif(etcd_program() is None or programs()["haproxy"] is None, reason="there is no etcd or no HAProxy")
def test_a_client_that_a_node_sends_on_meets_another_node(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "config.git")
    repository.commit({"orders-dev.yml": "size: 1\n"})
    place = tmp_path / "cluster"
    place.mkdir()
    ports = copied(place, repository.uri)
    token = made(place)
    bearer = {"Authorization": f"Bearer {token}"}
    nodes = [ports[each] for each in (8881, 8882, 8883)]

    def epoch() -> str | None:
        orders = [ask(each, "/status", bearer)["cluster"]["order"] for each in nodes]
        found: str | None = orders[0]["epoch"] if all(each["epoch"] == orders[0]["epoch"] for each in orders) else None
        return found

    def served_by(status: int = 101) -> list[str]:
        """The nodes of all WebSockets that have ended, or of the responses with another status, in this order."""
        [log] = place.glob("*-haproxy.log")
        return re.findall(rf" vortexd/(\S+) \S+ {status} ", log.read_text())

    with started(place):
        until(lambda: all(ask(each, "/orders/dev", bearer) for each in nodes) and epoch())
        # HAProxy may still take a node for down.
        until(lambda: ask(ports[8888], "/orders/dev", bearer) and len({*served_by(200)[-3:]}) == 3)
        trio.run(
            _move_often, ports[8888], [(b"Authorization", f"Bearer {token}".encode())], f"{epoch()}.{2**53}", served_by
        )


@pytest.mark.skipif(etcd_program() is None or programs()["haproxy"] is None, reason="there is no etcd or no HAProxy")
def test_the_commands_of_its_readme_lead_from_no_repository_to_a_configuration_at_the_proxy(tmp_path: Path) -> None:
    place, git = tmp_path / "cluster", tmp_path / "config.git"
    place.mkdir()
    ports = copied(place, f"file://{git}")
    shutil.copy(EXAMPLE / ".gitignore", place)
    blocks = BLOCK.findall((EXAMPLE / "README.md").read_text())
    [starts] = [number for number, block in enumerate(blocks) if COMMAND.search(block)]
    environment = os.environ | {
        f"GIT_{who}_{what}": "a" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"

    def run(block: str) -> str:
        text = block.replace("/srv/config.git", str(git))
        text = re.sub(r"127\.0\.0\.1:(\d+)", lambda found: f"127.0.0.1:{ports[int(found[1])]}", text)
        command = ["bash", "-e", "-c", text.replace("curl ", "curl -sS --fail ")]
        return subprocess.run(command, cwd=place, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    def is_ready(port: int) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=10):
                return True
        except urllib.error.HTTPError as error:
            assert 503 == error.code
            return False

    nodes = [ports[each] for each in (8881, 8882, 8883)]
    for block in blocks[1:starts]:  # The first one sets PATH.
        run(block)
    assert {0o600} == {(place / name).stat().st_mode & 0o777 for name in ("token.txt", "tokens.toml", "webhook.secret")}
    commit, hook, status, configuration = blocks[starts + 1 :]
    with started(place):
        until(lambda: not any(is_ready(each) for each in nodes))
        bearer = {"Authorization": f"Bearer {(place / 'token.txt').read_text().splitlines()[0]}"}
        until(lambda: all(listed(ask(each, "/status", bearer)) == ["serving"] * 3 for each in nodes))
        run(commit)
        assert not any(is_ready(each) for each in nodes)
        run(hook)
        until(lambda: all(is_ready(each) for each in nodes), 10)
        assert ["serving"] * 3 == listed(json.loads(run(status)))
        until(lambda: is_ready(ports[8888]), 10)
        assert {"size": 1} == json.loads(run(configuration))["propertySources"][0]["source"]
    made_here = {path.name for path in place.iterdir()} - {path.name for path in EXAMPLE.iterdir()}
    subprocess.run(["git", "init", "--quiet", "."], cwd=place, check=True)
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", *made_here], cwd=place, stdout=subprocess.PIPE, text=True
    )
    assert {name for name in made_here if not name.endswith(".log")} == set(ignored.stdout.split())


async def _move_often(
    port: int, headers: list[tuple[bytes, bytes]], claim: str, served_by: Callable[[], list[str]]
) -> None:
    """Check three times that a client which a node sends on meets another node.

    Args:
        port: The port of HAProxy.
        claim: A generation that is higher than that of any node. So each node is behind.
        served_by: Returns the nodes of all WebSockets that have ended, in this order.
    """
    target = "/ws/orders/dev"
    async with AsyncExitStack() as held:
        for _ in range(5):  # One node has fewer connections than the others, as the node that sends clients on has.
            await held.enter_async_context(_connected(port, target, headers))
        for number in range(1, 4):
            with trio.fail_after(20):
                async with _connected(port, f"{target}?last_version=x&generation={claim}", headers) as client:
                    assert "connection_closing" == json.loads(await client.get_message())["type"]
                    with pytest.raises(ConnectionClosed) as closed:
                        await client.get_message()
                assert closed.value.reason is not None
                assert 4421 == closed.value.reason.code
                await trio.to_thread.run_sync(until, lambda: len(served_by()) == 2 * number - 1)  # noqa: B023
                async with _connected(port, f"{target}?last_version=x&generation={claim}&sent_on=1", headers) as client:
                    first = json.loads(await client.get_message())
                await trio.to_thread.run_sync(until, lambda: len(served_by()) == 2 * number)  # noqa: B023
            assert ("config_snapshot", True) == (first["type"], first["stale"])
            left, met = served_by()[-2:]
            assert left != met


@asynccontextmanager
async def _connected(port: int, target: str, headers: list[tuple[bytes, bytes]]) -> AsyncIterator[WebSocketConnection]:
    """Open a WebSocket until the block ends."""
    # Use a separate stream: trio-websocket leaves a client's stream open when the server closes first.
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream, trio.open_nursery() as nursery:
        yield await wrap_client_stream(nursery, stream, "localhost", target, extra_headers=headers)
        nursery.cancel_scope.cancel()


@contextmanager
def started(place: Path) -> Iterator[None]:
    """Run the commands of the README, except for programs that the machine doesn't have, until the block ends."""
    found = programs()
    with ExitStack() as stack:
        for number, (name, words) in enumerate(COMMAND.findall((EXAMPLE / "README.md").read_text())):
            if (program := found[name]) is not None:
                stack.enter_context(running([*program, *words.split()], place, f"{number}-{name}"))
        yield


def made(place: Path) -> str:
    """Make the files that the README lets its reader make. Return the token."""
    token = new_token()
    files = {"tokens.toml": entry_of("operator", token, ["read", "subscribe", "admin"]), "webhook.secret": "s3cret\n"}
    for name, content in files.items():
        (place / name).touch(0o600)
        (place / name).write_text(content)
    return token


def listed(status: Any) -> list[str]:
    return [each["state"] for each in status["cluster"]["members"]]


def push(port: int, secret: str) -> None:
    headers = {"Content-Type": "application/json", "X-Gitlab-Token": secret}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/monitor", b'{"path": "orders"}', headers)
    with urllib.request.urlopen(request, timeout=10):
        pass

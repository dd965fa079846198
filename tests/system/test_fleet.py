"""The fleet of the real process: clients that apply, reject, stay silent, and are killed."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fakes import Client

from .fleet import save
from .process import Server

SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
workers = {workers}
drain_timeout = 2
[[source]]
path = "{source}"
quiet = 0.02
[fleet]
applications = ["billing"]
"""
VICTIM = """
import sys, trio, vortexd.client

async def main():
    async with vortexd.client.watch(sys.argv[1], "billing", "prod", instance="victim"):
        await trio.sleep_forever()

trio.run(main)
"""
WORKERS = [1, pytest.param(2, id="two workers")]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    save(directory / "billing.yml", "number: 0\n")
    return directory


@pytest.fixture(params=WORKERS)
def server(source: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(source, settings=SETTINGS.format(workers=request.param, source=source)) as server:
        until(lambda: request.param == 1 or f'"workers": {request.param}' in server.output())
        yield server


def until(is_true: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it didn't come true in time"
        time.sleep(0.02)


def ask(server: Server, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=20) as answer:
        text: str = answer.read().decode()
    return text


def key(server: Server) -> dict[str, Any]:
    found = json.loads(ask(server, "/api/v1/fleet?app=billing&profile=prod"))["keys"]
    return dict(found[0]) if found else {"instances": [], "counts": {}, "version": None}


def states(server: Server) -> dict[str, str]:
    return {each["name"]: each["state"] for each in key(server)["instances"]}


@asynccontextmanager
async def connected(server: Server, *names: str) -> AsyncIterator[dict[str, Client]]:
    """Return clients by their names, after their first messages."""
    async with AsyncExitStack() as stack:
        clients = {}
        for name in names:
            stream = await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", server.port))
            clients[name] = client = Client(stream, f"/ws/billing/prod?instance={name}")
            await stream.send_all(client.head())
            await client.opened()
            assert "config_snapshot" == (await client.message())["type"]
        yield clients


async def say(server: Server, client: Client, status: str = "applied", error: str | None = None) -> None:
    await client.send({"type": "ack", "version": key(server)["version"], "status": status, "error": error})


async def vortexctl(command: str, server: Server, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    whole = [str(Path(sys.executable).with_name("vortexctl")), command, "--server", f"http://127.0.0.1:{server.port}"]
    whole += ["--app", "billing", "--profile", "prod", "--timeout", "20s", *arguments]
    return await trio.run_process(whole, check=False, capture_stdout=True, capture_stderr=True)


@pytest.fixture
def victim(server: Server) -> Iterator["subprocess.Popen[bytes]"]:
    """A client in a separate process."""
    url = f"ws://127.0.0.1:{server.port}"
    with subprocess.Popen([sys.executable, "-c", VICTIM, url], stdout=subprocess.DEVNULL) as process:
        yield process
        process.kill()


async def test_a_change_is_followed_to_each_instance_whichever_worker_it_is_connected_to(
    server: Server, source: Path, victim: "subprocess.Popen[bytes]"
) -> None:
    names = ["applies", "rejects", "silent", "steady"]
    async with connected(server, *names) as clients:
        for name in ("applies", "rejects", "steady"):
            await say(server, clients[name])
        until(lambda: list(states(server).values()).count("applied") == 3 and "victim" in states(server))
        old = key(server)
        assert (60.0, 5) == (old["percent"], old["counts"]["connected"])

        save(source / "billing.yml", "number: 1\n")
        until(lambda: key(server)["version"] != old["version"] and set(states(server).values()) == {"silent"})
        await say(server, clients["applies"])
        await say(server, clients["steady"])
        await say(server, clients["rejects"], "rejected", "the pool is too small")
        victim.kill()
        waiting = await vortexctl("wait", server)
        assert (1, "vortexctl: rejected by rejects (billing:prod:main): the pool is too small") == (
            waiting.returncode,
            waiting.stderr.decode().splitlines()[-1],
        )
        await say(server, clients["silent"])
        share = ("--ignore-rejected", "--percent", "75", "--min", "3", "--not-version", old["version"])
        waiting = await vortexctl("wait", server, *share)
        assert (0, b"") == (waiting.returncode, waiting.stderr)
        assert "3 of 4 applied (75 %), 1 rejected" in waiting.stdout.decode()
        expected = dict.fromkeys(names, "applied") | {"rejects": "rejected", "victim": "gone"}
        until(lambda: states(server) == expected)
        new = key(server)
        samples = [each for each in ask(server, "/metrics").splitlines() if each.startswith("vortexd_fleet_instances{")]

    assert (75.0, 4) == (new["percent"], new["counts"]["connected"])
    (reason,) = (each["ack"]["error"] for each in new["instances"] if each["state"] == "rejected")
    assert "the pool is too small" == reason
    assert reason not in server.output() + "".join(samples)
    assert 1.0 == sum(
        float(each.split()[-1]) for each in samples if 'app="billing"' in each and 'state="rejected"' in each
    )

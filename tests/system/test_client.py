"""The client against the real process, which is killed, restarted, stopped and replaced."""

import hashlib
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from tests.certificates import make
from vortexd.client import Config, Connected, Failed, Stale, watch

from .process import Server


def write(source: Path, pool: int) -> None:
    (source / "shop.yml").write_text(f"pool: {pool}\nfiller: {'x' * 300}\n")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.mkdir()
    write(path, 1)
    return path


async def started(source: Path, port: int = 0, more: str = "") -> Server:
    """A server on a port that another server can take over."""
    bind = f'[server]\nbind = ["127.0.0.1:{port}"]\n{more}\n[[source]]\nkind = "files"\npath = "{source}"\n'
    return await trio.to_thread.run_sync(lambda: Server(source, settings=bind))


async def becomes(config: Config, kind: type) -> float:
    """Wait for a state, and return when it came."""
    with trio.fail_after(20):
        async for state in config.states():
            if isinstance(state, kind):
                break
    return time.monotonic()


async def change_of(config: Config) -> tuple[object, object]:
    """Return the next change: its patch, and the pool in the new document."""
    with trio.fail_after(20):
        change = await anext(config)
    assert change.document is not None
    return change.patch, change.document["pool"]


async def test_after_a_kill_the_client_is_in_sync_within_five_seconds_of_the_server(source: Path) -> None:
    server = await started(source)
    async with watch(f"ws://127.0.0.1:{server.port}", "shop") as config:
        server.stop(signal.SIGKILL)
        await becomes(config, Stale)
        assert 1 == config["pool"]
        with await started(source, server.port):
            back = time.monotonic()
            assert 5.0 > await becomes(config, Connected) - back
            assert config.take() is None


async def test_what_changed_while_the_server_was_away_is_one_change(source: Path) -> None:
    server = await started(source)
    async with watch(f"ws://127.0.0.1:{server.port}", "shop") as config:
        server.stop(signal.SIGKILL)
        await becomes(config, Stale)
        write(source, 2)
        with await started(source, server.port):
            assert ([{"op": "replace", "path": "/pool", "value": 2}], 2) == await change_of(config)
            assert Connected() == config.state
            assert config.take() is None


async def test_an_orderly_restart_is_waited_out(source: Path) -> None:
    server = await started(source)
    async with watch(f"ws://127.0.0.1:{server.port}", "shop") as config:
        assert 0 == await trio.to_thread.run_sync(server.stop)
        await becomes(config, Stale)
        with await started(source, server.port):
            await becomes(config, Connected)


async def test_another_server_takes_over_where_one_is_gone(source: Path) -> None:
    one = await started(source)
    with await started(source) as other:
        urls = [f"ws://127.0.0.1:{server.port}" for server in (one, other)]
        async with watch(urls, "shop") as config:
            one.stop(signal.SIGKILL)
            await becomes(config, Stale)
            await becomes(config, Connected)
            write(source, 2)
            assert 2 == (await change_of(config))[1]


async def test_a_token_that_is_withdrawn_ends_it_and_the_next_one_begins_anew(source: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"

    def admit(token: str) -> None:
        hashed = hashlib.sha256(token.encode()).hexdigest()
        tokens.write_text(
            f'[[token]]\nname = "shop"\nsha256 = "{hashed}"\nrights = ["subscribe"]\npatterns = ["shop:*:*"]\n'
        )
        tokens.chmod(0o600)

    held = ["vt_" + secrets.token_urlsafe(32)]
    admit(held[0])
    with await started(source, more=f'[auth]\ntokens = ["{tokens}"]') as server:
        url, another = f"ws://127.0.0.1:{server.port}", "vt_" + secrets.token_urlsafe(32)
        async with (
            watch(url, "shop", token=held[0]) as fixed,
            watch(url, "shop", token=lambda: held[-1]) as renewed,
        ):
            admit(another)
            server.process.send_signal(signal.SIGHUP)
            await becomes(fixed, Failed)
            await becomes(renewed, Stale)
            held.append(another)
            await becomes(renewed, Connected)
        assert held[0][3:] not in server.output()


async def test_a_server_with_a_certificate_of_its_own_is_trusted_by_its_file_alone(
    source: Path, tmp_path: Path
) -> None:
    certificate, key = make(tmp_path)
    more = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"'
    with await started(source, more=more) as server:
        url = f"wss://localhost:{server.port}"
        async with watch(url, "shop", ca_file=certificate) as config:
            assert 1 == config["pool"]


async def test_a_unix_socket_is_an_address(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "vortexd.sock"
    with await trio.to_thread.run_sync(lambda: Server(source, "--bind", f"unix:{path}")):
        async with watch(f"unix://{path}", "shop") as config:
            assert 1 == config["pool"]


def examples() -> dict[str, str]:
    """The programs of the README, and the one that it describes."""
    programs = re.findall(r"^```python\n(.*?)^```", Path("README.md").read_text(), re.MULTILINE | re.DOTALL)
    [on_trio] = [program for program in programs if "trio.run" in program]
    [in_threads] = [program for program in programs if "vortexd.client.blocking" in program]
    on_asyncio = (
        on_trio.replace("import trio, vortexd.client", "import asyncio, vortexd.client.asyncio")
        .replace("vortexd.client.watch", "vortexd.client.asyncio.watch")
        .replace("trio.run(main)", "asyncio.run(main())")
    )
    return {"trio": on_trio, "asyncio": on_asyncio, "threads": in_threads}


@pytest.mark.parametrize("kind", ["trio", "asyncio", "threads"])
def test_the_examples_of_the_readme_do_what_they_say(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "config"
    shutil.copytree("conf/example", source)
    with Server(source) as server:
        program = examples()[kind].replace("127.0.0.1:8888", f"127.0.0.1:{server.port}")
        command = [sys.executable, "-u", "-c", program]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            size = int(running.stdout.readline())
            file = source / "billing-prod.yml"
            file.write_text(file.read_text().replace(f"size: {size}", f"size: {size + 1}"))
            assert f"'/database/pool/size', 'value': {size + 1}" in running.stdout.readline()
            running.send_signal(signal.SIGINT)
            running.wait(10)

"""A wrong URL, a wrong token and a server that is down, with the client of each kind and the real server.

Each says so within seconds, keeps the last good state, and comes back by itself.
"""

import asyncio
import hashlib
import secrets
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import vortexd.client
import vortexd.client.asyncio
import vortexd.client.blocking
from vortexd.client import Connected, Failed, Stale, WatchFailed

from .process import Server

# Less than a person waits before looking for the reason.
SECONDS = 5.0
# The client's attempts have grown apart by the time that a server is back.
BACK_OFF = 20.0


@attrs.frozen
class Settings:
    pool: int


class Kind:
    """A kind of client. `use` enters `watch` and `bound`, and runs a function of the configuration and the object in a thread."""

    def __init__(self, name: str) -> None:
        self.name = name

    def use(self, do: Callable[[Any, Any], None], url: str, **options: Any) -> None:
        match self.name:
            case "trio":
                trio.run(self._on_trio, do, url, options)
            case "asyncio":
                asyncio.run(self._on_asyncio(do, url, options))
            case "threads":
                with vortexd.client.blocking.watch(url, "shop", **options) as config:
                    with config.bound(Settings) as live:
                        do(config, live)

    async def _on_trio(self, do: Callable[[Any, Any], None], url: str, options: dict[str, Any]) -> None:
        async with vortexd.client.watch(url, "shop", **options) as config:
            async with config.bound(Settings) as live:
                await trio.to_thread.run_sync(do, config, live)

    async def _on_asyncio(self, do: Callable[[Any, Any], Awaitable[None] | None], url: str, options: Any) -> None:
        async with vortexd.client.asyncio.watch(url, "shop", **options) as config:
            async with config.bound(Settings) as live:
                await asyncio.to_thread(do, config, live)


@pytest.fixture(params=["trio", "asyncio", "threads"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.mkdir()
    write(path, 1)
    return path


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that no server listens at. It stays bound, so that nobody else takes it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def write(source: Path, pool: int) -> None:
    (source / "shop.yml").write_text(f"pool: {pool}\n")


def started(source: Path, port: int = 0, more: str = "") -> Server:
    bind = f'[server]\nbind = ["127.0.0.1:{port}"]\n{more}\n[[source]]\nkind = "files"\npath = "{source}"\n'
    return Server(source, settings=bind)


def until(is_true: Callable[[], object], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def unreached(_: object, __: object) -> None:
    raise AssertionError("the block isn't entered")


def test_a_url_without_a_server_is_logged_within_seconds_and_raised_at_the_timeout(
    kind: Kind, closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    with pytest.raises(WatchFailed, match=r"^no configuration after 4 s: ws://127\.0\.0\.1:\d+: Connection refused$"):
        kind.use(unreached, f"ws://127.0.0.1:{closed_port}", start_timeout=4.0)

    assert SECONDS > time.monotonic() - began
    assert "no configuration after 3 s, and still trying" in caplog.text


def test_a_server_that_isnt_vortexd_is_raised_within_seconds(kind: Kind, closed_port: int) -> None:
    began = time.monotonic()
    with pytest.raises(WatchFailed):
        kind.use(unreached, f"ws://127.0.0.1:{closed_port}/elsewhere", start_timeout=1.0)

    assert SECONDS > time.monotonic() - began


@pytest.mark.parametrize("url", ["http//127.0.0.1", "ftp://127.0.0.1", "ws://user:secret@127.0.0.1"])
def test_a_malformed_url_is_raised_at_once(kind: Kind, url: str) -> None:
    with pytest.raises(ValueError, match=r"^the address of a server "):
        kind.use(unreached, url)


def test_a_path_that_the_server_doesnt_have_is_raised_within_seconds(kind: Kind, source: Path) -> None:
    with started(source) as server:
        began = time.monotonic()
        with pytest.raises(WatchFailed, match="refused with 404"):
            kind.use(unreached, f"ws://127.0.0.1:{server.port}/elsewhere")

        assert SECONDS > time.monotonic() - began


def token(directory: Path) -> tuple[str, str]:
    """A token, and the settings of a server that accepts it alone."""
    held = "vt_" + secrets.token_urlsafe(32)
    file = directory / "tokens.toml"
    hashed = hashlib.sha256(held.encode()).hexdigest()
    file.write_text(f'[[token]]\nname = "shop"\nsha256 = "{hashed}"\nrights = ["subscribe"]\npatterns = ["shop:*:*"]\n')
    file.chmod(0o600)
    return held, f'[auth]\ntokens = ["{file}"]'


def test_a_wrong_token_is_raised_within_seconds(kind: Kind, source: Path, tmp_path: Path) -> None:
    held, more = token(tmp_path)
    with started(source, more=more) as server:
        began = time.monotonic()
        with pytest.raises(WatchFailed, match="refused with 401"):
            kind.use(unreached, f"ws://127.0.0.1:{server.port}", token=held[:-1] + "x")

        assert SECONDS > time.monotonic() - began


def test_a_token_that_is_withdrawn_keeps_the_last_good_object_and_fails_within_seconds(
    kind: Kind, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held, more = token(tmp_path)
    with started(source, more=more) as server:

        def withdraw(config: Any, live: Any) -> None:
            token(tmp_path)
            server.process.send_signal(signal.SIGHUP)
            until(lambda: isinstance(config.state, Failed))
            assert (Settings(1), 1, None) == (live.value, config["pool"], live.error)

        kind.use(withdraw, f"ws://127.0.0.1:{server.port}", token=held)

    assert "the client has stopped following the configuration" in caplog.text


def test_without_the_right_to_read_a_rejection_names_the_key_alone(kind: Kind, source: Path, tmp_path: Path) -> None:
    held, more = token(tmp_path)
    with started(source, more=more) as server:

        def break_it(config: Any, live: Any) -> None:
            (source / "shop.yml").write_text("pool: ten\n")
            until(lambda: live.error)
            assert (Settings(1), 'pool: "ten" isn\'t an integer') == (live.value, str(live.error))

        kind.use(break_it, f"ws://127.0.0.1:{server.port}", token=held)


def test_a_server_that_goes_leaves_the_last_good_object_and_its_successor_is_found(
    kind: Kind, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = started(source)

    def outlive(config: Any, live: Any) -> None:
        first.stop(signal.SIGKILL)
        until(lambda: isinstance(config.state, Stale))
        assert (Settings(1), 1) == (live.value, config["pool"])
        write(source, 2)
        with started(source, first.port):
            until(lambda: isinstance(config.state, Connected), BACK_OFF)
            until(lambda: live.value == Settings(2))
            # The new connection explains, too.
            (source / "shop.yml").write_text("pool: ten\n")
            until(lambda: live.error)
            assert 'pool: "ten" isn\'t an integer (shop.yml:1)' == str(live.error)

    try:
        kind.use(outlive, f"ws://127.0.0.1:{first.port}")
    finally:
        first.__exit__()
    assert f"connection to ws://127.0.0.1:{first.port} lost" in caplog.text

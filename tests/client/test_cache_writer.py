"""How `watch` keeps the file of the last known good configuration. Without threads, so that the clock can jump."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from vortexd.client import Connected, Failed, LastKnownGood, Stale, WatchFailed, last_known_good, watch
from vortexd.client import cache_writer as keeper_module
from vortexd.client.address import subject_of
from vortexd.client.last_known_good import Saved, load, save
from vortexd.client.link import Timeouts
from vortexd.client.replica import version_of
from vortexd.core.generation import Generation
from vortexd.core.model import Key

from .said import KEY, change, in_sync, message, ping, snapshot
from .server import URL, Servers

OLD, NEW = {"pool": 1}, {"pool": 2}
PATCH = [{"op": "replace", "path": "/pool", "value": 2}]
BACK = [{"op": "replace", "path": "/pool", "value": 1}]
SUBJECT = subject_of("orders", "dev", None, "")
HASTE = Timeouts(close=5)


@pytest.fixture
def file(tmp_path: Path) -> LastKnownGood:
    return LastKnownGood(tmp_path / "config.json", patience=0.05)


@pytest.fixture
def saved(file: LastKnownGood) -> Saved:
    saved = Saved(KEY, version_of(OLD), OLD, time.time() - 60)
    save(file, SUBJECT, saved)
    return saved


def kept(file: LastKnownGood) -> Saved | None:
    return load(file, SUBJECT, time.time())


def damage(file: LastKnownGood) -> None:
    Path(file.path).write_text("{")


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(do: Callable[[], object]) -> object:
        await trio.lowlevel.checkpoint()
        return do()

    monkeypatch.setattr(keeper_module, "_in_thread", at_once)


async def kept_version(file: LastKnownGood) -> str | None:
    """Return the content of the file after all tasks have become idle."""
    await trio.testing.wait_all_tasks_blocked()
    saved = kept(file)
    return saved.version if saved is not None else None


async def test_what_a_server_says_is_kept_and_each_change(
    autojump_clock: MockClock, servers: Servers, file: LastKnownGood
) -> None:
    async with servers.watching(snapshot(OLD), last_known_good=file) as (_, peer):
        assert version_of(OLD) == await kept_version(file)
        await peer.say(change(OLD, NEW, PATCH))
        assert version_of(NEW) == await kept_version(file)


async def test_the_generation_is_kept_with_each_version_and_when_it_rises(
    autojump_clock: MockClock, servers: Servers, file: LastKnownGood
) -> None:
    async def kept_pair() -> tuple[str, str]:
        await trio.testing.wait_all_tasks_blocked()
        saved = kept(file)
        assert saved is not None
        return saved.version, str(saved.generation)

    async with servers.watching(snapshot(OLD, generation="a.7"), last_known_good=file) as (_, peer):
        assert (version_of(OLD), "a.7") == await kept_pair()
        await peer.say(change(OLD, NEW, PATCH, generation="a.8"))
        assert (version_of(NEW), "a.8") == await kept_pair()
        await peer.vanish()
        again = await servers.opened()
        await again.say(in_sync(NEW, generation="a.9"))
        assert (version_of(NEW), "a.9") == await kept_pair()
        await again.say(change(NEW, OLD, BACK))
        assert (version_of(OLD), "None") == await kept_pair()
        await again.vanish()


async def test_the_first_handshake_names_the_generation_of_the_file(
    autojump_clock: MockClock, servers: Servers, file: LastKnownGood
) -> None:
    save(file, SUBJECT, Saved(KEY, version_of(OLD), OLD, time.time() - 60, Generation("a", 7)))
    async with servers.watching(in_sync(OLD), last_known_good=attrs.evolve(file, patience=10.0)) as (_, peer):
        assert f"last_version={version_of(OLD)}&generation=a.7&" in peer.target


async def test_a_heartbeat_alone_does_not_rewrite_the_file(
    autojump_clock: MockClock, servers: Servers, file: LastKnownGood, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = []

    def noted(*arguments: Any) -> None:
        writes.append(arguments)
        save(*arguments)

    monkeypatch.setattr(last_known_good, "save", noted)
    async with servers.watching(snapshot(OLD, generation="a.7"), last_known_good=file) as (_, peer):
        await peer.say(ping(OLD))
        await kept_version(file)
        assert 1 == len(writes)
        await peer.say(in_sync(OLD, generation="a.8"), ping(OLD), ping(OLD))
        await kept_version(file)

        assert 2 == len(writes)


async def test_a_short_life_is_long_enough_to_keep_it(
    autojump_clock: MockClock, servers: Servers, file: LastKnownGood
) -> None:
    async with servers.watching(snapshot(OLD), last_known_good=file, timeouts=HASTE):
        pass

    assert version_of(OLD) == getattr(kept(file), "version", None)


async def test_while_every_server_is_away_it_is_what_an_application_begins_with(
    autojump_clock: MockClock, servers: Servers, file: LastKnownGood, saved: Saved, caplog: pytest.LogCaptureFixture
) -> None:
    servers.away.add(URL)
    async with watch(URL, "orders", "dev", connect=servers.connect, last_known_good=file) as config:
        assert OLD == dict(config)
        assert isinstance(config.state, Stale)
        assert saved.confirmed_at == config.state.since
        assert config.confirmed_at is None
        servers.away.clear()
        peer = await servers.opened()
        assert f"last_version={version_of(OLD)}" in peer.target
        await peer.say(in_sync(OLD))
        async for state in config.states():
            if state == Connected():
                break
        assert config.take() is None
        await peer.vanish()

    assert "starting with the last known good configuration" in caplog.text


async def test_what_changed_since_then_is_one_change_with_its_patch(
    autojump_clock: MockClock, servers: Servers, file: LastKnownGood, saved: Saved
) -> None:
    servers.away.add(URL)
    async with watch(URL, "orders", "dev", connect=servers.connect, last_known_good=file) as config:
        servers.away.clear()
        peer = await servers.opened()
        await peer.say(snapshot(NEW))
        step = await anext(config)

        assert (version_of(OLD), NEW, PATCH) == (step.old_version, step.document, step.patch)
        await peer.vanish()


async def test_a_server_that_answers_in_time_is_what_counts(
    autojump_clock: MockClock, servers: Servers, file: LastKnownGood, saved: Saved
) -> None:
    file = LastKnownGood(file.path, patience=10)
    async with servers.watching(change(OLD, NEW, PATCH), last_known_good=file) as (config, _):
        assert (NEW, Connected()) == (config.document, config.state)


async def test_a_server_that_says_no_leaves_an_application_with_what_it_had(
    autojump_clock: MockClock, servers: Servers, file: LastKnownGood, saved: Saved
) -> None:
    async def refuse() -> None:
        await (await servers.peer()).refuse(403)

    file = LastKnownGood(file.path, patience=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse)
        async with watch(URL, "orders", "dev", connect=servers.connect, last_known_good=file) as config:
            assert OLD == config.document
            assert isinstance(config.state, Failed)


async def test_a_key_that_ended_is_kept_no_longer(
    autojump_clock: MockClock, servers: Servers, file: LastKnownGood
) -> None:
    async with servers.watching(snapshot(OLD), last_known_good=file) as (_, peer):
        assert version_of(OLD) == await kept_version(file)
        await peer.say(message("config_removed", KEY, old_version=version_of(OLD)))
        assert None is await kept_version(file)


async def test_a_file_that_can_not_be_used_is_named_and_not_used(
    autojump_clock: MockClock, servers: Servers, file: LastKnownGood, saved: Saved, caplog: pytest.LogCaptureFixture
) -> None:
    servers.away.add(URL)
    damage(file)
    with pytest.raises(WatchFailed):
        async with watch(URL, "orders", "dev", connect=servers.connect, last_known_good=file, start_timeout=0.05):
            pytest.fail("there is nothing to begin with")

    assert f"{file.path} is damaged" in caplog.text


async def test_a_heartbeat_keeps_it_young(
    autojump_clock: MockClock, servers: Servers, file: LastKnownGood, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "_CONFIRM_INTERVAL", 0.0)
    async with servers.watching(snapshot(OLD), last_known_good=file) as (_, peer):
        assert version_of(OLD) == await kept_version(file)
        first = kept(file)
        await trio.sleep(10)
        await peer.say(ping(OLD))
        await kept_version(file)

        assert first != kept(file)


async def test_a_time_to_come_is_put_right(autojump_clock: MockClock, servers: Servers, file: LastKnownGood) -> None:
    """The clock was ahead when the file was written. Otherwise the file would exceed `max_age` only years too late."""
    save(file, SUBJECT, Saved(KEY, version_of(OLD), OLD, time.time() + 1e8))

    async with servers.watching(in_sync(OLD), last_known_good=file):
        await kept_version(file)

    assert (now := kept(file)) is not None
    assert time.time() >= now.confirmed_at


async def test_where_it_can_not_be_written_the_application_goes_on_and_is_told_once(
    autojump_clock: MockClock, servers: Servers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with servers.watching(snapshot(OLD), last_known_good=tmp_path / "nowhere" / "file") as (config, peer):
        await peer.say(change(OLD, NEW, PATCH))
        await anext(config)
        await peer.say(ping(NEW), ping(NEW))

    assert 1 == caplog.text.count("can't keep the last known good configuration")


async def test_keys_of_patterns_are_not_kept(autojump_clock: MockClock, servers: Servers, file: LastKnownGood) -> None:
    async with servers.watching(snapshot(OLD), last_known_good=file, patterns=["billing"]) as (config, peer):
        await peer.heard()
        await peer.say(snapshot(NEW, Key("billing", "dev", "main")))
        await anext(config)
        assert version_of(OLD) == await kept_version(file)

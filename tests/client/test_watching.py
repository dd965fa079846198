"""`watch` against servers at the other end of memory streams. The clock jumps, so no test sleeps."""

import json
import logging
from typing import Any, assert_type

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from vortexd.client import BindError, Connected, Stale
from vortexd.client.address import parse_address
from vortexd.client.replica import version_of
from vortexd.client.streams import connector, reason_of
from vortexd.core.model import Key

from .said import KEY, change, in_sync, message, snapshot
from .server import URL, Servers, settle

OLD, NEW, THIRD = {"pool": {"size": 1}}, {"pool": {"size": 2}}, {"pool": {"size": 3}}
PATCH = [{"op": "replace", "path": "/pool/size", "value": 2}]
PATCH_2 = [{"op": "replace", "path": "/pool/size", "value": 3}]
OTHER = Key("billing", "dev", "main")
BAD = {"pool": {"size": "ten"}}
TO_BAD = [{"op": "replace", "path": "/pool/size", "value": "ten"}]
FROM_BAD = PATCH_2
PROBLEM = 'pool.size: "ten" isn\'t an integer'


@attrs.frozen
class Pool:
    size: int


@attrs.frozen
class Settings:
    pool: Pool


def explained(document: dict[str, Any]) -> bytes:
    """A server's whole response about the size of the pool in a document."""
    held = {"key": "pool.size", "layer": 0, "held_by": [{"outcome": "wins", "line": 3}]}
    layers = [{"file": "orders.yml", "name": "file:orders.yml"}]
    body = json.dumps({"version": version_of(document), "layers": layers, "keys": [held]}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def explain(servers: Servers, document: dict[str, Any]) -> bytes:
    """Answer the next connection, and return its request."""
    peer = await servers.peer()
    request = bytes(await peer.stream.receive_some(65_536))
    await peer.stream.send_all(explained(document))
    return request


async def test_it_begins_with_the_document_as_a_mapping(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (config, _):
        assert OLD == dict(config)
        assert 1 == config["pool"]["size"]
        assert (KEY, version_of(OLD), Connected()) == (config.key, config.version, config.state)


async def test_a_change_comes_with_its_patch_and_the_new_document(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        await peer.say(change(OLD, NEW, PATCH))
        step = await anext(config)

        assert (KEY, version_of(OLD), version_of(NEW)) == (step.key, step.old_version, step.version)
        assert (PATCH, NEW) == (step.patch, step.document)
        assert NEW == config.document


async def test_who_is_slow_gets_one_change_from_what_it_saw_to_the_newest(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        await peer.say(change(OLD, NEW, PATCH), change(NEW, THIRD, PATCH_2))
        await settle()
        step = await anext(config)

        assert (version_of(OLD), version_of(THIRD), PATCH_2) == (step.old_version, step.version, step.patch)
        assert config.take() is None


async def test_keys_of_patterns_come_in_the_same_stream(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD), patterns=["billing"]) as (config, peer):
        assert {"type": "subscribe", "patterns": ["billing:*:*"]} == await peer.heard()
        await peer.say(snapshot(NEW, OTHER))
        step = await anext(config)

        assert (OTHER, None, NEW) == (step.key, step.old_version, step.document)
        assert {OTHER: NEW} == config.others
        assert OLD == config.document


async def test_a_key_that_ends_leaves_an_empty_mapping(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        await peer.say(message("config_removed", KEY, old_version=version_of(OLD)))
        step = await anext(config)

        assert (None, None, None) == (step.version, step.document, step.patch)
        assert ({}, None) == (dict(config), config.version)


async def test_after_the_block_the_stream_ends_and_the_document_stays(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(OLD)) as (config, _):
        pass

    assert [] == [step async for step in config]
    assert OLD == config.document


async def test_nobody_at_home_is_said_in_the_systems_words() -> None:
    """Not the reasons of Trio, which only say that all attempts failed."""
    with pytest.raises(OSError, match="all attempts") as caught:
        await connector(None)(parse_address("ws://127.0.0.1:1"))

    assert "Connection refused" == reason_of(caught.value)


async def test_values_are_not_in_what_is_printed(
    autojump_clock: MockClock, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "vortexd"):
        async with servers.watching(snapshot({"password": "hunter2"}), token="s3cret") as (config, peer):
            await peer.vanish()
            await settle()

            assert "hunter2" not in repr(config)
    assert "hunter2" not in caplog.text
    assert "s3cret" not in caplog.text


async def test_states_are_told_one_after_the_other(autojump_clock: MockClock, servers: Servers) -> None:
    seen = []
    async with servers.watching(snapshot(OLD)) as (config, peer):
        async for state in config.states():
            seen.append(type(state))
            if len(seen) == 1:
                await peer.vanish()
            elif len(seen) == 2:
                await (await servers.opened()).say(in_sync(OLD))
            else:
                break

    assert [Connected, Stale, Connected] == seen


async def test_another_status_is_the_callers_mistake(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (config, _):
        with pytest.raises(ValueError, match="status"):
            await config.ack(version_of(OLD), "maybe")


async def test_a_cancelled_wait_loses_no_change(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        with trio.move_on_after(0):
            await anext(config)
        await peer.say(change(OLD, NEW, PATCH))
        await settle()
        with trio.move_on_after(0):
            await anext(config)

        assert PATCH == (await anext(config)).patch


# Objects of models.


async def test_a_document_becomes_an_object(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (config, _):
        assert Settings(Pool(1)) == assert_type(await config.bind(Settings), Settings)
        assert Pool(1) == await config.bind(Pool, prefix="pool")
        assert 1 == len(servers.asked)


async def test_the_problems_of_a_document_have_places_that_the_server_explains(
    autojump_clock: MockClock, servers: Servers
) -> None:
    requests = []

    async def keep_request() -> None:
        requests.append(await explain(servers, BAD))

    async with servers.watching(snapshot(BAD), token="s3cret") as (config, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_request)
            with pytest.raises(BindError) as raised:
                await config.bind(Settings)

    assert f"{PROBLEM} (orders.yml:3)" == str(raised.value)
    assert requests[0].startswith(b"GET /api/v1/explain/orders/dev/main?key=pool.size HTTP/1.1\r\n")
    assert b"Bearer s3cret" in requests[0]


async def test_a_server_that_doesnt_explain_leaves_an_error_without_places_in_time(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(BAD)) as (config, _):
        began = trio.current_time()
        with pytest.raises(BindError) as raised:
            await config.bind(Settings)

        assert PROBLEM == str(raised.value)
        assert 2.0 == trio.current_time() - began


async def test_an_answer_that_doesnt_come_is_waited_for_only_so_long(
    autojump_clock: MockClock, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with servers.watching(snapshot(BAD)) as (config, _):
        monkeypatch.setattr(config, "explain", lambda *_: None)
        began = trio.current_time()
        with pytest.raises(BindError):
            await config.bind(Settings)

        assert 3.0 == trio.current_time() - began


async def test_without_a_connection_nobody_is_asked(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(BAD)) as (config, peer):
        servers.away.add(URL)
        await peer.vanish()
        async for state in config.states():
            if isinstance(state, Stale):
                break
        # The first attempt to reconnect comes at once, and the next one only later.
        await settle()
        began, asked = trio.current_time(), len(servers.asked)
        with pytest.raises(BindError) as raised:
            await config.bind(Settings)

        assert PROBLEM == str(raised.value)
        assert (0.0, asked) == (trio.current_time() - began, len(servers.asked))


async def test_after_the_block_an_object_can_still_be_made(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(BAD)) as (config, _):
        pass
    with pytest.raises(BindError) as raised:
        await config.bind(Settings)

    assert PROBLEM == str(raised.value)
    assert 1 == len(servers.asked)


async def test_a_bound_object_follows_changes_and_keeps_the_last_good_one(
    autojump_clock: MockClock, servers: Servers
) -> None:
    applied: list[Settings] = []

    async with servers.watching(snapshot(OLD)) as (config, peer):
        async with config.bound(Settings, apply=applied.append) as live:
            assert {"version": version_of(OLD), "status": "applied"}.items() <= (await peer.heard()).items()
            await peer.say(change(OLD, BAD, TO_BAD))
            await explain(servers, BAD)
            rejected = await peer.heard()

            assert (version_of(BAD), "rejected") == (rejected["version"], rejected["status"])
            assert "pool.size: isn't an integer (orders.yml:3)" == rejected["error"]
            assert (Settings(Pool(1)), f"{PROBLEM} (orders.yml:3)") == (live.value, str(live.error))
            await peer.say(change(BAD, THIRD, FROM_BAD))

            assert {"version": version_of(THIRD), "status": "applied"}.items() <= (await peer.heard()).items()
            assert (Settings(Pool(3)), None) == (assert_type(live.value, Settings), live.error)
        # The stream of changes is the program's own.
        assert THIRD == (await anext(config)).document
    assert [Settings(Pool(1)), Settings(Pool(3))] == applied


async def test_after_its_block_a_bound_object_stays_as_it_was(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        async with config.bound(Settings) as live:
            pass
        await peer.say(change(OLD, NEW, PATCH))
        await anext(config)
        await settle()

        assert Settings(Pool(1)) == live.value


async def test_a_bound_object_has_the_last_change_when_the_server_refuses_the_client(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        async with config.bound(Settings) as live:
            await peer.say(change(OLD, NEW, PATCH))
            await peer.say_close(4403)
            async for _ in config.states():
                pass
            await settle()

            assert Settings(Pool(2)) == live.value


async def test_a_first_document_that_doesnt_fit_raises_and_is_rejected(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(BAD)) as (config, peer):
        with pytest.raises(BindError) as raised:
            async with config.bound(Settings):
                raise AssertionError("the block isn't entered")

        assert PROBLEM == str(raised.value)
        assert "rejected" == (await peer.heard())["status"]


async def test_an_error_of_the_block_leaves_it_as_it_is(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (config, _):
        with pytest.raises(LookupError, match="of the block"):
            async with config.bound(Settings):
                raise LookupError("of the block")
        with trio.CancelScope() as scope:
            async with config.bound(Settings):
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught

"""`watch` against servers at the other end of memory streams. The clock jumps, so no test sleeps."""

import logging

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from vortexd.client import Connected, Stale
from vortexd.client.address import parse_address
from vortexd.client.replica import version_of
from vortexd.client.streams import connector, reason_of
from vortexd.core.model import Key

from .said import KEY, change, in_sync, message, snapshot
from .server import Servers, settle

OLD, NEW, THIRD = {"pool": {"size": 1}}, {"pool": {"size": 2}}, {"pool": {"size": 3}}
PATCH = [{"op": "replace", "path": "/pool/size", "value": 2}]
PATCH_2 = [{"op": "replace", "path": "/pool/size", "value": 3}]
OTHER = Key("billing", "dev", "main")


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

"""One connection after another, against servers at the other end of memory streams. The clock jumps, so no test sleeps."""

import math
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from vortexd.client import Connected, Failed, Stale, watch
from vortexd.client.link import Timeouts
from vortexd.client.replica import version_of

from .said import change, in_sync, message, ping, snapshot
from .server import URL, Peer, Servers, answering, settle

OLD, NEW, THIRD = {"pool": {"size": 1}}, {"pool": {"size": 2}}, {"pool": {"size": 3}}
PATCH = [{"op": "replace", "path": "/pool/size", "value": 2}]


# The handshake.


async def test_the_request_names_key_and_instance_and_holds_the_token_in_a_header(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(OLD), instance="web:1", token="s3cret") as (_, peer):
        assert "/ws/orders/dev?instance=web%3A1" == peer.target
        assert (b"authorization", b"Bearer s3cret") in peer.request.extra_headers
        assert ["vortex.v1"] == peer.request.subprotocols


async def test_who_comes_back_names_its_version(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (_, peer):
        await peer.vanish()
        again = await servers.opened()

        assert f"last_version={version_of(OLD)}" in again.target


# Reconnecting.


async def test_the_first_retry_is_at_once_and_missing_nothing_is_no_change(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        await trio.sleep(30)
        await peer.say(ping(OLD))
        await trio.sleep(30)
        gone = trio.current_time()
        await peer.vanish()
        again = await servers.opened()
        assert isinstance(config.state, Stale)
        await again.say(in_sync(OLD))
        await settle()

        assert gone == again.at
        assert Connected() == config.state
        assert config.take() is None


async def test_what_changed_meanwhile_is_one_change(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        await peer.vanish()
        again = await servers.opened()
        await again.say(change(OLD, NEW, PATCH))
        step = await anext(config)

        assert (version_of(OLD), NEW, PATCH) == (step.old_version, step.document, step.patch)


async def test_a_server_without_history_sends_everything_and_the_application_gets_a_patch(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        await peer.vanish()
        await (await servers.opened()).say(snapshot(NEW))

        assert PATCH == (await anext(config)).patch


async def test_a_server_that_is_back_has_its_clients_back_within_five_seconds(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(OLD)) as (_, peer):
        servers.away.add(URL)
        await peer.vanish()
        await trio.sleep(600)
        back = trio.current_time()
        servers.away.clear()
        again = await servers.opened()

        assert 5.0 > again.at - back
        assert len(servers.asked) < 900


async def test_the_servers_patience_is_respected(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (_, peer):
        await peer.say(message("connection_closing", reason="the server is stopping", reconnect_after_ms=7_000))
        await settle()
        gone = trio.current_time()
        await peer.close(1001)
        again = await servers.opened()

        assert 7.0 == again.at - gone


async def test_several_servers_are_taken_in_turn(autojump_clock: MockClock, servers: Servers) -> None:
    first, second = "ws://a:1", "ws://b:2"
    servers.away.add(first)
    async with servers.watching(snapshot(OLD), first, second) as (_, peer):
        assert [first, second] == [name for name, _ in servers.asked]
        servers.away = {second}
        await peer.vanish()
        again = await servers.opened()

        assert first == str(again.address)


async def test_a_silent_server_is_left(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (config, _):
        began = trio.current_time()
        again = await servers.opened()

        assert math.isclose(40.0, again.at - began)
        assert isinstance(config.state, Stale)


async def test_a_server_that_ends_each_connection_is_not_asked_again_and_again(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async def greet(peer: Peer) -> None:
        await peer.opened()
        await peer.say(in_sync(OLD))
        await peer.vanish()

    async with servers.watching(snapshot(OLD)) as (_, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answering, servers, greet)
            await peer.vanish()
            await trio.sleep(100)
            nursery.cancel_scope.cancel()

    assert 100 > len(servers.asked)


# A server that refuses.


@pytest.mark.parametrize("code", [1008, 1009, 4401, 4403, 1002])
async def test_a_close_code_that_says_no_ends_it_for_good(
    autojump_clock: MockClock, servers: Servers, code: int
) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        await peer.close(code)
        changes = [step async for step in config]
        await trio.sleep(1_000)

        assert isinstance(config.state, Failed)
        assert str(code) in config.state.reason
        assert [] == changes
        assert OLD == config.document
        assert 1 == len(servers.asked)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_refusal_for_a_while_is_waited_out(autojump_clock: MockClock, servers: Servers, status: int) -> None:
    async def refuse_once() -> None:
        await (await servers.peer()).refuse(status, {"Retry-After": "9"})
        await (await servers.opened()).say(snapshot(OLD))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse_once)
        async with watch(URL, "orders", "dev", connect=servers.connect, timeouts=Timeouts(close=0)):
            assert 9.0 == servers.asked[1][1] - servers.asked[0][1]


async def test_a_label_that_is_gone_for_a_while_is_waited_for(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        await peer.vanish()
        await (await servers.peer()).refuse(404)
        await (await servers.opened()).say(in_sync(OLD))
        await settle()

        assert Connected() == config.state


async def test_one_server_that_says_no_is_no_reason_to_leave_the_others(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async def serve() -> None:
        await (await servers.peer()).refuse(403)
        await (await servers.opened()).say(snapshot(OLD))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        async with watch(
            ["ws://a", "ws://b"], "orders", "dev", connect=servers.connect, timeouts=Timeouts(close=0)
        ) as config:
            assert OLD == config.document


async def test_a_refused_token_is_tried_once_until_there_is_another_one(
    autojump_clock: MockClock, servers: Servers
) -> None:
    tokens = ["old"]
    async with servers.watching(snapshot(OLD), token=lambda: tokens[-1]) as (config, peer):
        await peer.close(4401)
        await trio.sleep(100)
        assert 1 == len(servers.asked)
        assert isinstance(config.state, Stale)
        tokens.append("new")
        again = await servers.opened()

        assert (b"authorization", b"Bearer new") in again.request.extra_headers


# A server that is broken, or hostile.


@pytest.mark.parametrize("text", ["", "[]", "{", '{"type": 1}', "[" * 50_000, '{"type":"config_snapshot"}'])
async def test_a_message_that_is_none_ends_the_connection_and_not_the_application(
    autojump_clock: MockClock, servers: Servers, text: str
) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        await peer.say(text)
        await servers.opened()

        assert OLD == config.document


async def test_a_message_beyond_the_limit_is_not_read_and_not_asked_for_again(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(OLD), max_message_bytes=1_000) as (config, peer):
        await peer.say("x" * 1_001)
        await settle()

        assert isinstance(config.state, Failed)
        assert "max_message_bytes (1000)" in config.state.reason


@pytest.mark.parametrize(
    "answer", [b"", b"\x00\xff" * 50, b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"SSH-2.0-x\r\n\r\n", b"x" * 200_000]
)
async def test_an_answer_that_is_no_handshake_is_one_more_failure(
    autojump_clock: MockClock, servers: Servers, answer: bytes
) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        await peer.vanish()
        strange = await servers.peer()
        await strange.requested()
        if answer:
            await strange.stream.send_all(answer)
        await strange.stream.aclose()
        await (await servers.opened()).say(in_sync(OLD))
        await settle()

        assert Connected() == config.state
        assert 1.0 > servers.asked[-1][1]


async def test_garbage_is_the_servers_mistake_and_no_traceback(
    autojump_clock: MockClock, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        await peer.vanish()
        strange = await servers.peer()
        await strange.requested()
        await strange.stream.send_all(b"\x00\xff garbage \r\n" * 1_000)
        await settle()

        assert isinstance(config.state, Stale)
        assert "the server's answer isn't HTTP" in config.state.reason
    assert "Traceback" not in caplog.text


async def test_a_server_that_never_answers_the_handshake_is_left(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (_, peer):
        await peer.vanish()
        silent = await servers.peer()
        again = await servers.opened()

        # With the jitter that follows a second failure.
        assert 10.0 <= again.at - silent.at <= 10.25


async def test_what_nobody_thought_of_is_logged_and_tried_again(
    autojump_clock: MockClock, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    def token() -> str:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("the vault is closed")
        return "s3cret"

    async with servers.watching(snapshot(OLD), token=token) as (_, peer):
        await peer.vanish()
        await servers.opened()

    assert "the vault is closed" in caplog.text


async def test_a_server_that_does_not_read_is_left(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (config, _):
        servers.stall()
        await config.ack(version_of(OLD), "applied")
        began = trio.current_time()
        again = await servers.opened()

        assert 10.0 == again.at - began


# Acknowledgements.


async def test_an_ack_is_sent_and_said_again_after_a_reconnect(autojump_clock: MockClock, servers: Servers) -> None:
    expected: dict[str, Any] = {
        "type": "ack",
        "version": version_of(OLD),
        "status": "rejected",
        "error": "no",
        "app": "orders",
        "profile": "dev",
        "label": "main",
    }
    async with servers.watching(snapshot(OLD)) as (config, peer):
        await config.ack(version_of(OLD), "rejected", "no")
        assert expected == await peer.heard()
        await peer.vanish()
        again = await servers.opened()
        await again.say(in_sync(OLD))

        assert expected == await again.heard()


async def test_an_ack_waits_for_no_server(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        servers.away.add(URL)
        await peer.vanish()
        await settle()
        await config.ack(version_of(OLD), "applied")
        servers.away.clear()
        again = await servers.opened()
        await again.say(in_sync(OLD))

        assert "applied" == (await again.heard())["status"]


@pytest.mark.parametrize("seed", range(8))
async def test_what_was_acknowledged_before_the_end_is_sent(
    autojump_clock: MockClock, servers: Servers, seed: int
) -> None:
    # Trio runs tasks in random order, so repeat the test.
    said: list[object] = []

    async def listen() -> None:
        peer = await servers.opened()
        await peer.say(snapshot(OLD))
        said.append((await peer.heard())["status"])
        said.append(await peer.left())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        async with watch(URL, "orders", "dev", connect=servers.connect) as config:
            await config.ack(version_of(OLD), "applied")

    assert ["applied", 1000] == said

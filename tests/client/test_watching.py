"""`watch` against servers at the other end of memory streams. The clock jumps, so no test sleeps."""

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from vortexd.client import Connected, Failed, Stale, WatchFailed, watch
from vortexd.client.address import parse_address
from vortexd.client.link import Timeouts
from vortexd.client.replica import version_of
from vortexd.client.streams import connector, reason_of
from vortexd.core.model import Key

from .said import KEY, change, in_sync, message, ping, snapshot
from .server import URL, Peer, Servers

OLD, NEW, THIRD = {"pool": {"size": 1}}, {"pool": {"size": 2}}, {"pool": {"size": 3}}
PATCH = [{"op": "replace", "path": "/pool/size", "value": 2}]
PATCH_2 = [{"op": "replace", "path": "/pool/size", "value": 3}]
OTHER = Key("billing", "dev", "main")


@pytest.fixture
def servers() -> Servers:
    return Servers()


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def answering(servers: Servers, answer: Callable[[Peer], Awaitable[object]]) -> None:
    """Do the same with each connection, forever."""
    while True:
        await answer(await servers.peer())


# The application's view.


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


async def test_leaving_says_goodbye(autojump_clock: MockClock, servers: Servers) -> None:
    left = []

    async def serve() -> None:
        peer = await servers.opened()
        await peer.say(snapshot(OLD))
        left.append(await peer.left())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        async with watch(URL, "orders", "dev", connect=servers.connect):
            pass

    assert [1000] == left


async def test_the_application_sees_its_own_errors_as_they_are(autojump_clock: MockClock, servers: Servers) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(KeyError)):  # the one group is that of `watching` itself
        async with servers.watching(snapshot(OLD)) as (config, _):
            config["missing"]


@pytest.mark.parametrize("error", [KeyError("a"), KeyboardInterrupt(), SystemExit(7), ExceptionGroup("", [KeyError()])])
async def test_what_the_block_raises_is_in_no_group(
    autojump_clock: MockClock, servers: Servers, error: BaseException
) -> None:
    """Ctrl-C must stay Ctrl-C, and `sys.exit` must keep its status."""

    async def serve() -> None:
        await (await servers.opened()).say(snapshot(OLD))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(type(error)) as caught:
            async with watch(URL, "orders", "dev", connect=servers.connect):
                raise error

    assert error is caught.value


async def test_an_error_of_the_block_is_not_lost_to_a_cancellation(autojump_clock: MockClock, servers: Servers) -> None:
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await (await servers.opened()).say(snapshot(OLD))

        nursery.start_soon(serve)
        with pytest.raises(KeyError), trio.CancelScope() as scope:
            async with watch(URL, "orders", "dev", connect=servers.connect) as config:
                scope.cancel()
                config["missing"]


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


@pytest.mark.parametrize("status", [401, 403, 404, 400])
async def test_a_refused_handshake_is_told_where_it_begins(
    autojump_clock: MockClock, servers: Servers, status: int
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answering, servers, lambda peer: peer.refuse(status, body=b'{"message": "no way"}'))
        with pytest.raises(WatchFailed, match=f"refused with {status} no way"):
            async with watch(URL, "orders", "dev", connect=servers.connect):
                pytest.fail("there is nothing to begin with")
        nursery.cancel_scope.cancel()


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


async def test_who_waits_no_longer_is_told_why_there_is_nothing(autojump_clock: MockClock, servers: Servers) -> None:
    servers.away.add(URL)
    with pytest.raises(WatchFailed) as caught:
        async with watch(URL, "orders", "dev", connect=servers.connect, start_timeout=2.5):
            pytest.fail("there is nothing to begin with")
    assert f"no configuration after 2.5 s: {URL}: Connection refused" == str(caught.value)
    assert 2.5 == trio.current_time()


def reminders(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int, str]]:
    return [record for record in caplog.record_tuples if record[2].startswith("no configuration")]


async def test_while_nobody_answers_the_log_says_why_after_a_few_seconds_and_then_each_minute(
    autojump_clock: MockClock, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    servers.away.add(URL)
    with trio.move_on_after(123.5):
        async with watch(URL, "orders", "dev", connect=servers.connect):
            pytest.fail("there is nothing to begin with")

    reason = f"and still trying: {URL}: Connection refused"
    assert [
        ("vortexd.client", logging.WARNING, f"no configuration after {waited} s, {reason}") for waited in (3, 63, 123)
    ] == reminders(caplog)


async def test_a_server_that_is_silent_is_a_reason_too(
    autojump_clock: MockClock, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(WatchFailed, match="^no configuration after 5 s: no server has answered yet$"):
        async with watch(URL, "orders", "dev", connect=servers.connect, start_timeout=5):
            pytest.fail("there is nothing to begin with")

    assert ["no configuration after 3 s, and still trying: no server has answered yet"] == [
        text for _, _, text in reminders(caplog)
    ]


async def test_a_start_within_a_few_seconds_reminds_nobody(
    autojump_clock: MockClock, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve() -> None:
        peer = await servers.opened()
        await trio.sleep(2.9)
        await peer.say(snapshot(OLD))
        await trio.sleep(10)
        await peer.vanish()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        async with watch(URL, "orders", "dev", connect=servers.connect, timeouts=Timeouts(close=0)):
            await trio.sleep(10)

    assert [] == reminders(caplog)


async def test_on_trio_a_start_takes_as_long_as_it_takes(autojump_clock: MockClock, servers: Servers) -> None:
    servers.away.add(URL)

    async def come() -> None:
        await trio.sleep(1_000)
        servers.away.clear()
        await (await servers.opened()).say(snapshot(OLD))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(come)
        async with watch(URL, "orders", "dev", connect=servers.connect, timeouts=Timeouts(close=0)) as config:
            assert OLD == config.document


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
async def test_what_was_acknowledged_before_the_end_isreason_of(
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


async def test_another_status_is_the_callers_mistake(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (config, _):
        with pytest.raises(ValueError, match="status"):
            await config.ack(version_of(OLD), "maybe")


# Cancellation.


@pytest.mark.parametrize("moment", range(12))
async def test_cancelled_at_any_moment_it_ends_at_once_and_leaves_no_stream(
    autojump_clock: MockClock, servers: Servers, moment: int
) -> None:
    """Each parameter cancels one scheduler round later than the one before."""
    peers = []

    async def serve() -> None:
        peers.append(await servers.peer())
        await peers[0].opened()
        await peers[0].say(snapshot(OLD), change(OLD, NEW, PATCH))

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)

            async def follow() -> None:
                async with watch(URL, "orders", "dev", connect=servers.connect) as config:
                    async for _ in config:
                        pass

            nursery.start_soon(follow)
            for _ in range(moment):
                await trio.lowlevel.checkpoint()
            began = trio.current_time()
            scope.cancel()

    assert began == trio.current_time()
    assert scope.cancelled_caught
    for peer in peers:
        with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
            while True:
                await peer.stream.send_all(b"x")


async def test_a_cancelled_wait_loses_no_change(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        with trio.move_on_after(0):
            await anext(config)
        await peer.say(change(OLD, NEW, PATCH))
        await settle()
        with trio.move_on_after(0):
            await anext(config)

        assert PATCH == (await anext(config)).patch

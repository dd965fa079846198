"""One connection after another, against servers at the other end of memory streams. The clock jumps, so no test sleeps."""

import logging
import math
import time
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from vortexd.client import Connected, Failed, Stale, watch
from vortexd.client.address import Address
from vortexd.client.link import Timeouts
from vortexd.client.replica import version_of
from vortexd.core.model import Key

from .said import change, in_sync, message, ping, snapshot
from .server import URL, Peer, Servers, answering, settle

OLD, NEW = {"pool": {"size": 1}}, {"pool": {"size": 2}}
PATCH = [{"op": "replace", "path": "/pool/size", "value": 2}]
OTHER = Key("billing", "dev", "main")


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
        away: object = config.state
        await again.say(in_sync(OLD))
        await settle()

        assert isinstance(away, Stale)
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


async def test_the_servers_delay_also_counts_if_the_connection_then_breaks(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(OLD)) as (_, peer):
        await peer.say(message("connection_closing", reason="the server is stopping", reconnect_after_ms=7_000))
        await settle()
        gone = trio.current_time()
        await peer.vanish()
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


async def say_behind(peer: Peer, milliseconds: int = 300) -> None:
    """Send the client on to another server, as the first answer."""
    text = "another server has a newer state"
    await peer.say(message("connection_closing", reason=text, reconnect_after_ms=milliseconds))
    await settle()
    await peer.close(4421, text)


async def test_who_comes_back_names_the_generation_of_its_version(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD, generation="a.7")) as (_, peer):
        assert "generation" not in peer.target
        await peer.vanish()
        again = await servers.opened()

        assert f"/ws/orders/dev?last_version={version_of(OLD)}&generation=a.7&instance=" in again.target


async def test_a_server_that_is_behind_sends_the_client_on_to_the_next_one_after_its_delay(
    autojump_clock: MockClock, servers: Servers
) -> None:
    first, second, third = "ws://a:1", "ws://b:2", "ws://c:3"
    async with servers.watching(snapshot(OLD, generation="a.7"), first, second, third) as (config, peer):
        await peer.vanish()
        behind = await servers.opened()
        assert (second, False) == (str(behind.address), "sent_on" in behind.target)
        await say_behind(behind)
        gone = trio.current_time()
        again = await servers.opened()

        assert (third, gone + 0.3) == (str(again.address), again.at)
        assert f"last_version={version_of(OLD)}&generation=a.7&sent_on=1&" in again.target
        await again.say(in_sync(OLD, generation="a.7"))
        await settle()
        assert (Connected(), None) == (config.state, config.take())
        await again.vanish()
        last = await servers.opened()

        assert "sent_on" not in last.target


async def test_the_only_server_address_may_be_behind_and_then_gets_the_client_again(
    autojump_clock: MockClock, servers: Servers
) -> None:
    """A load balancer in front of the servers has one address."""
    async with servers.watching(snapshot(NEW, generation="a.7")) as (config, peer):
        await trio.sleep(30)
        await peer.vanish()
        await say_behind(await servers.opened(), 500)
        again = await servers.opened()
        assert "&sent_on=1&" in again.target
        await again.say(snapshot(OLD, generation="a.6", stale=True))
        await settle()

        assert (Connected(is_behind=True), OLD) == (config.state, config.document)


LAG = "the server is behind: this state is older than the one before, and the newer one follows by itself"


def levels_and_texts(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


async def test_a_state_of_a_server_that_is_behind_is_a_warning_until_the_newer_one_comes(
    autojump_clock: MockClock, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vortexd.client")
    async with servers.watching(snapshot(NEW, generation="a.7")) as (config, peer):
        assert not config.is_behind
        await peer.vanish()
        await say_behind(await servers.opened(), 500)
        again = await servers.opened()
        caplog.clear()
        await again.say(snapshot(OLD, generation="a.6", stale=True))
        older = await anext(config)

        assert older.is_behind
        assert (Connected(is_behind=True), True) == (config.state, config.is_behind)
        assert [("WARNING", f"{LAG}; its version is {version_of(OLD)}")] == levels_and_texts(caplog)
        caplog.clear()
        await again.say(change(OLD, NEW, PATCH, generation="a.7"))
        newer = await anext(config)
        await settle()

        assert not newer.is_behind
        assert (Connected(), False) == (config.state, config.is_behind)
        assert [("INFO", f"the server has caught up, version {version_of(NEW)}")] == levels_and_texts(caplog)
        await again.vanish()
        await servers.opened()

        assert not config.is_behind


async def test_a_server_that_always_sends_the_client_on_is_not_asked_again_and_again(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(OLD, generation="a.7")) as (_, peer):
        await peer.vanish()
        targets = []
        began = trio.current_time()
        for _ in range(12):
            behind = await servers.opened()
            targets.append("&sent_on=1&" in behind.target)
            await say_behind(behind, 50)

        assert [False] + 11 * [True] == targets
        assert 1.0 < trio.current_time() - began


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


async def test_a_key_that_has_ended_is_not_acknowledged(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD), patterns=["billing"]) as (config, peer):
        await peer.heard()
        await peer.say(snapshot(NEW, OTHER))
        await settle()
        await peer.say(message("config_removed", OTHER, old_version=version_of(NEW)))
        await settle()
        await config.ack(version_of(NEW), "applied", key=OTHER)
        await config.ack(version_of(OLD), "applied")

        assert "orders" == (await peer.heard())["app"]


async def test_an_acknowledgement_wakes_a_connection_that_waits_for_the_server(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        await trio.sleep(10)
        began = trio.current_time()
        await config.ack(version_of(OLD), "applied")
        await peer.heard()

        assert began == trio.current_time()


# Deadlines.


def test_a_server_has_ten_seconds_for_each_step_and_one_for_the_closing_handshake() -> None:
    assert (10.0, 10.0, 1.0) == (Timeouts().connect, Timeouts().send, Timeouts().close)


async def test_an_address_that_does_not_answer_is_left(autojump_clock: MockClock, servers: Servers) -> None:
    async def connect(address: Address) -> trio.abc.Stream:
        if str(address) == "ws://silent":
            servers.asked.append((str(address), trio.current_time()))
            return await trio.sleep_forever()
        return await servers.connect(address)

    async def serve() -> None:
        await (await servers.opened()).say(snapshot(OLD))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        limits = Timeouts(connect=3.0, close=0)
        async with watch(["ws://silent", URL], "orders", "dev", connect=connect, timeouts=limits) as config:
            assert OLD == config.document

    assert [("ws://silent", 0.0), (URL, 3.0)] == servers.asked


@pytest.mark.parametrize(
    ("limits", "step", "seconds", "reason"),
    [
        (Timeouts(connect=2.0), "handshake", 2.0, "the server doesn't answer"),
        (Timeouts(send=4.0), "send", 4.0, "the server doesn't read"),
    ],
)
async def test_each_deadline_has_its_reason_in_the_state(
    autojump_clock: MockClock, servers: Servers, limits: Timeouts, step: str, seconds: float, reason: str
) -> None:
    async with servers.watching(snapshot(OLD), timeouts=limits) as (config, peer):
        if step == "handshake":
            await peer.vanish()
            await servers.peer()
        else:
            servers.stall()
            await config.ack(version_of(OLD), "applied")
        began = trio.current_time()
        reasons = [str(config.state)]
        async for state in config.states():
            reasons.append(str(state))
            if reason in reasons[-1]:
                break

        assert f"stale: {URL}: {reason}" == reasons[-1]
        assert began + seconds == trio.current_time()


# The end.


async def test_leaving_while_the_client_waits_to_try_again_ends_at_once(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(OLD), timeouts=Timeouts(close=600)) as (_, peer):
        servers.away.add(URL)
        await peer.vanish()
        await trio.sleep(100)
        asked, began = len(servers.asked), trio.current_time()

    assert (asked, began) == (len(servers.asked), trio.current_time())


@pytest.mark.parametrize("step", ["connect", "handshake"])
async def test_leaving_during_an_attempt_ends_at_once(autojump_clock: MockClock, servers: Servers, step: str) -> None:
    attempting, ended = trio.Event(), trio.Event()

    async def connect(address: Address) -> trio.abc.Stream:
        if servers.asked and step == "connect":
            attempting.set()
            return await trio.sleep_forever()
        return await servers.connect(address)

    async def serve() -> None:
        peer = await servers.opened()
        await peer.say(snapshot(OLD))
        await peer.vanish()
        if step == "handshake":
            second = await servers.peer()
            await second.requested()
            attempting.set()
            with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
                while True:
                    await second.stream.send_all(b"x")
                    await trio.sleep(1)
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        limits = Timeouts(connect=600, close=600)
        async with watch(URL, "orders", "dev", connect=connect, timeouts=limits):
            await attempting.wait()
            began = trio.current_time()
        assert began == trio.current_time()
        await ended.wait()


async def test_a_closing_handshake_waits_for_a_deaf_server_no_longer_than_its_limit(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async def serve() -> None:
        peer = await servers.opened()
        await peer.say(snapshot(OLD))
        assert 1000 == await peer.close_code()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        async with watch(URL, "orders", "dev", connect=servers.connect, timeouts=Timeouts(close=7.0)):
            began = trio.current_time()
        assert began + 7.0 == trio.current_time()
        nursery.cancel_scope.cancel()


async def test_once_every_server_has_refused_the_last_reason_stays(
    autojump_clock: MockClock, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    async with servers.watching(snapshot(OLD), "ws://a", "ws://b") as (config, peer):
        await peer.close(4403)
        await (await servers.peer()).refuse(404, body=b'{"message": "no label"}')
        await (await servers.peer()).refuse(400, body=b'{"message": "no way"}')
        await settle()

        assert Failed("ws://b: refused with 400 no way") == config.state
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "the client has stopped following the configuration: ws://b: refused with 400 no way" == record.getMessage()


# Tokens.


async def test_a_fixed_token_that_is_refused_ends_it(autojump_clock: MockClock, servers: Servers) -> None:
    async with servers.watching(snapshot(OLD), token="s3cret") as (config, peer):
        await peer.close(4401)
        await settle()

        assert isinstance(config.state, Failed)
        assert 1 == len(servers.asked)


async def test_a_refused_token_is_used_again_after_another_one_was_accepted(
    autojump_clock: MockClock, servers: Servers
) -> None:
    tokens = ["first"]
    async with servers.watching(snapshot(OLD), token=lambda: tokens[-1]) as (config, peer):
        await peer.close(4401)
        await trio.sleep(10)
        assert str(config.state).endswith("the server refused the token, and there is no other token yet")
        tokens.append("second")
        again = await servers.opened()
        await again.say(in_sync(OLD))
        await settle()
        tokens.append("first")
        await again.vanish()
        last = await servers.opened()

        assert (b"authorization", b"Bearer first") in last.request.extra_headers


# The state and the log.


def logged(caplog: pytest.LogCaptureFixture, beginning: str) -> list[tuple[str, int, str]]:
    return [record for record in caplog.record_tuples if record[2].startswith(beginning)]


async def test_a_lost_connection_is_a_warning_and_later_failures_are_information(
    autojump_clock: MockClock, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vortexd.client")
    async with servers.watching(snapshot(OLD)) as (_, peer):
        servers.away.add(URL)
        await peer.vanish()
        await settle()
        assert [("vortexd.client", logging.WARNING, f"connection to {URL} lost: the connection broke")] == logged(
            caplog, "connection"
        )
        await trio.sleep(10)
        failures = logged(caplog, "can't follow")

    assert len(servers.asked) - 1 == len(failures)
    assert {("vortexd.client", logging.INFO, f"can't follow {URL}: Connection refused")} == set(failures)
    assert [("vortexd.client", logging.INFO, f"configuration is current, version {version_of(OLD)}")] == logged(
        caplog, "configuration is current"
    )


async def test_a_refused_message_is_a_warning_and_the_connection_stays(
    autojump_clock: MockClock, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        await peer.say(message("error", code="RATE_LIMITED", message="too many messages"))
        await settle()

        assert Connected() == config.state
    assert [("vortexd.client", logging.WARNING, "the server refused a message: RATE_LIMITED too many messages")] == (
        logged(caplog, "the server refused")
    )


async def test_a_stale_view_is_stale_since_the_last_sign_of_life_whatever_fails_later(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        await trio.sleep(20)
        await peer.say(ping(OLD))
        servers.away.add(URL)
        # Without a further heartbeat, the client gives the server up after 40 s.
        await trio.sleep(40.01)
        first = config.state
        assert isinstance(first, Stale)
        assert 40.0 == pytest.approx(time.time() - first.since, abs=5.0)
        await trio.sleep(100)

        assert isinstance(config.state, Stale)
        assert first.since == config.state.since


async def test_a_heartbeat_confirms_the_document(
    autojump_clock: MockClock, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        monkeypatch.setattr(time, "time", lambda: 5_000_000_000.0)
        await peer.say(ping(OLD))
        await settle()

        assert 5_000_000_000.0 == config.confirmed_at


async def test_a_server_that_is_back_confirms_the_document(
    autojump_clock: MockClock, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with servers.watching(snapshot(OLD)) as (config, peer):
        await peer.vanish()
        again = await servers.opened()
        monkeypatch.setattr(time, "time", lambda: 5_000_000_000.0)
        await again.say(in_sync(OLD))
        await settle()

        assert 5_000_000_000.0 == config.confirmed_at


async def test_the_servers_delay_also_counts_if_its_last_message_is_invalid(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(OLD)) as (_, peer):
        await peer.say(message("connection_closing", reason="the server is stopping", reconnect_after_ms=7_000), "[")
        began = trio.current_time()
        again = await servers.opened()

        assert 7.0 == again.at - began


async def test_an_error_of_the_client_itself_is_in_the_log_and_in_the_state(
    autojump_clock: MockClock, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    async def connect(address: Address) -> trio.abc.Stream:
        if servers.asked:
            raise RuntimeError("a mistake")
        return await servers.connect(address)

    async def serve() -> None:
        peer = await servers.opened()
        await peer.say(snapshot(OLD))
        await peer.vanish()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        async with watch(URL, "orders", "dev", connect=connect) as config:
            await trio.sleep(1)

            assert f"stale: {URL}: an error in this client; see the log" == str(config.state)
    assert logged(caplog, "connection failed")
    assert "a mistake" in caplog.text

"""Event streams at a server: the same states, limits and rights as on a WebSocket."""

import math
import socket
from collections.abc import AsyncIterator

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from tests.fakes import KEY, wait_until
from vortexd.auth import Authority
from vortexd.core.errors import FormatError, RemoteError
from vortexd.core.model import Config, Key
from vortexd.fleet import Question
from vortexd.realtime.events.opening import limit_silence
from vortexd.realtime.handshake import Refusal
from vortexd.settings.auth import AuthSettings

from ..test_subscriptions import TOKEN, authority
from ..wire import FIRST, end_sending, put, tls_stream_pair
from .streams import EventClient, Streams, tcp_stream_pair

BILLING = Key("billing", "dev", "main")


@pytest.fixture(params=[0.0, 0.5, math.inf], ids=["parked at once", "parked after a while", "never parked"])
async def wire(autojump_clock: MockClock, request: pytest.FixtureRequest) -> AsyncIterator[Streams]:
    """What a client sees must be the same, wherever its stream is."""
    async with trio.open_nursery() as nursery:
        wire = Streams(nursery, park_after=request.param)
        await nursery.start(wire.server.park)
        yield wire
        await wire.close()


@pytest.fixture
async def parking(autojump_clock: MockClock) -> AsyncIterator[Streams]:
    async with trio.open_nursery() as nursery:
        wire = Streams(nursery, park_after=0.0)
        await nursery.start(wire.server.park)
        yield wire
        await wire.close()


# One key.


@pytest.mark.parametrize("is_chunked", [True, False])
async def test_a_stream_begins_with_its_head_the_time_of_a_reconnect_hello_and_the_state(
    autojump_clock: MockClock, wire: Streams, is_chunked: bool
) -> None:
    client = await wire.stream(is_chunked=is_chunked)

    assert b"HEAD" == await client.head()
    first = await client.next()
    assert first is not None
    assert 1_000 <= int(first.text.removeprefix("retry: ")) <= 3_000
    hello = await client.event("hello")
    assert ("snapshot", None) == (hello.data["resume"], hello.name)
    state = await client.event("config_snapshot")
    assert (FIRST, state.data["version"]) == (state.data["config"], state.name)
    assert 1 == len(wire.server) == wire.server.event_streams


@pytest.mark.parametrize(("query", "seen"), [("instance=one", [("one", True)]), ("", [])])
async def test_the_fleet_knows_only_streams_with_names_and_that_they_can_not_acknowledge(
    autojump_clock: MockClock, wire: Streams, query: str, seen: list[tuple[str, bool]]
) -> None:
    await (await wire.stream(query)).begun()
    page = wire.fleet.page(Question((KEY,)), 0.0)

    assert seen == [(each.name, each.is_mute) for state in page.keys for each in state.instances]


async def test_each_change_follows_with_its_version_as_the_id(autojump_clock: MockClock, wire: Streams) -> None:
    clients = [await wire.stream(), await wire.stream(is_chunked=False)]
    for each in clients:
        await each.begun()
    for number in range(1, 4):
        version = wire.publish(number)
        for each in clients:
            change = await each.event("config_change")
            assert version == change.name == change.data["new_version"]
    assert 6 == wire.metrics.counts["sent config_change"]


async def test_a_websocket_and_a_stream_of_the_same_key_get_the_same_messages(
    autojump_clock: MockClock, wire: Streams
) -> None:
    stream, client = await wire.stream(), await wire.open()
    first = await stream.begun()
    assert first.data == await client.message()
    wire.publish(1)
    change = await stream.event("config_change")
    assert change.data == await client.message()


@pytest.mark.parametrize("place", ["last_version=", "last_event_id=", ""])
async def test_a_stream_resumes_from_the_id_of_the_last_event(
    autojump_clock: MockClock, wire: Streams, place: str
) -> None:
    old, new = wire.publish(1), wire.publish(2)
    client = await (wire.stream(place + old) if place else wire.stream(last=old))
    change = await client.begun("config_change")
    assert (old, new) == (change.data["old_version"], change.name)

    client = await (wire.stream(place + new) if place else wire.stream(last=new))
    assert new == (await client.begun("in_sync")).name


@pytest.mark.parametrize("last", ["unknown", "x" * 65, "ä", "x" * 9_000])
async def test_an_unknown_id_gets_the_snapshot(autojump_clock: MockClock, wire: Streams, last: str) -> None:
    await (await wire.stream(last=last)).begun("config_snapshot")


async def test_the_end_of_a_key_makes_the_client_forget_its_id(autojump_clock: MockClock, wire: Streams) -> None:
    client = await wire.stream()
    await client.begun()
    wire.line.publish(None)
    assert "" == (await client.event("config_removed")).name


async def test_a_heartbeat_is_a_comment_and_needs_no_answer(autojump_clock: MockClock, wire: Streams) -> None:
    client = await wire.stream()
    await client.begun()
    began = trio.current_time()
    for _ in range(4):
        beat = await client.next()
        assert beat is not None
        assert ": heartbeat" == beat.text
    assert 75 <= trio.current_time() - began <= 125
    assert 4 == wire.metrics.counts["sent heartbeat"]
    assert 0 == wire.metrics.counts["sent ping"]
    assert 1 == len(wire.server)
    wire.publish(1)
    await client.event("config_change")


@pytest.mark.parametrize("said", [b"x", b"GET / HTTP/1.1\r\n\r\n", b""])
async def test_any_bytes_and_the_end_of_input_end_a_stream(
    autojump_clock: MockClock, wire: Streams, said: bytes
) -> None:
    client = await wire.stream()
    await client.begun()
    await wait_all_tasks_blocked()
    if said:
        put(client.stream, said)
    else:
        end_sending(client.stream)
    await wait_until(lambda: not len(wire.server))

    assert 1 == wire.metrics.counts["connection_closed client"]
    assert len(said) == wire.metrics.counts["bytes_read"]
    assert 0 == wire.line.held.total() == wire.server.event_streams
    assert [] == [each for each in await client.rest() if each.kind is not None]


async def test_a_client_that_has_spoken_before_the_response_gets_the_end(
    autojump_clock: MockClock, wire: Streams
) -> None:
    client = await wire.stream(has_spoken=True)
    await client.head()
    await client.rest()
    await wait_until(lambda: not len(wire.server))
    assert 1 == wire.metrics.counts["connection_closed client"]


async def test_a_drain_announces_the_end_and_ends_the_body(autojump_clock: MockClock, wire: Streams) -> None:
    client = await wire.stream()
    await client.begun()
    await wire.server.drain(1.0)
    said = await client.event("connection_closing")
    assert "the server is stopping" == said.data["reason"]
    assert [] == await client.rest()
    assert client.is_ended
    await wire.ended("drain")
    with pytest.raises(Refusal) as refused:
        await wire.accept()
    assert (503, "1") == (refused.value.status, refused.value.headers["Retry-After"])


# Rights.


def admit(wire: Streams, *patterns: str) -> None:
    """Ask for a token with the right to these patterns, which the requests have. It expires at 2,000 s."""
    wire.gate.replace(AuthSettings(), authority(*patterns, expires_at=2_000.0))
    wire.headers = [(b"authorization", b"Bearer " + TOKEN.encode())]


async def test_a_token_that_expires_in_a_stream_ends_it_with_the_code(autojump_clock: MockClock, wire: Streams) -> None:
    admit(wire, "orders")
    client = await wire.stream()
    await client.begun()
    wire.now = 2_000.0
    wire.publish(1)
    assert {"code": 4401, "reason": "unauthorized"} == (await client.event("close")).data
    assert [] == await client.rest()
    assert client.is_ended
    await wire.ended("unauthorized")


async def test_a_right_that_is_lost_by_a_reload_ends_the_stream(autojump_clock: MockClock, wire: Streams) -> None:
    client = await wire.stream()
    await client.begun()
    wire.gate.replace(AuthSettings(), Authority(anonymous=frozenset()))
    wire.server.recheck()
    assert (await client.event("close")).data["code"] in (4401, 4403)


async def test_a_client_without_the_right_is_refused(autojump_clock: MockClock, wire: Streams) -> None:
    admit(wire, "billing")
    with pytest.raises(RemoteError) as refused:
        await wire.accept()
    assert 403 == refused.value.status
    with pytest.raises(RemoteError) as refused:
        await wire.accept("pattern=orders&pattern=billing", path="billing/dev")
    assert 403 == refused.value.status
    assert 0 == wire.line.held.total()


async def test_the_connections_of_a_token_are_limited(autojump_clock: MockClock, wire: Streams) -> None:
    admit(wire, "orders")
    wire.server.replace(wire.settings, 1)
    client = await wire.stream()
    await client.begun()
    with pytest.raises(Refusal) as refused:
        await wire.accept()
    assert (429, "1") == (refused.value.status, refused.value.headers["Retry-After"])
    await client.stream.aclose()
    await wait_until(lambda: not len(wire.server))
    (await wire.accept()).abandon()


async def test_a_stream_that_is_given_up_holds_nothing(autojump_clock: MockClock, wire: Streams) -> None:
    opened = await wire.accept()
    assert 1 == wire.line.held.total()
    opened.abandon()
    assert 0 == wire.line.held.total() == len(wire.server)


async def test_a_key_that_cannot_be_resolved_is_a_500_and_logged_with_the_route(
    autojump_clock: MockClock, wire: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(key: Key) -> Config:
        raise FormatError("orders.yml", "no", 3)

    monkeypatch.setattr(wire.line, "read", read)
    with capture_logs() as logs, pytest.raises(Refusal) as refused:
        await wire.accept()
    assert 500 == refused.value.status
    assert [("handshake not served", "/api/v1/events/{application}/{profile}")] == [
        (each["event"], each["route"]) for each in logs
    ]


# Patterns.


async def test_patterns_of_the_request_are_subscribed_to(autojump_clock: MockClock, wire: Streams) -> None:
    client = await wire.stream("pattern=billing:*&pattern=ord*")
    main = await client.begun()
    confirmed = await client.event("subscribed")
    assert (["billing:*:*", "ord*:*:*"], None) == (confirmed.data["patterns"], confirmed.name)
    other = await client.event("config_snapshot")
    assert "billing" == other.data["app"]
    assert len({main.name, other.name, main.data["version"]}) == 3
    wire.publish(1)
    wire.publish(1, BILLING)
    names = [(await client.event("config_change")).name for _ in range(2)]
    assert len({*names, other.name}) == 3
    assert all(names)


async def followed(client: EventClient, count: int) -> str:
    """Read so many changes, and return the id of the last one."""
    name = ""
    for _ in range(count):
        name = (await client.event("config_change")).name or ""
    return name


@pytest.mark.parametrize("place", ["header", "query"])
async def test_a_cursor_resumes_each_key(autojump_clock: MockClock, wire: Streams, place: str) -> None:
    client = await wire.stream("pattern=billing:*")
    await client.begun()
    await client.event("subscribed")
    await client.event("config_snapshot")
    wire.publish(1, BILLING)
    last = await followed(client, 1)
    await client.stream.aclose()
    version = wire.publish(2)
    query = "pattern=billing:*" + (f"&last_event_id={last}" if place == "query" else "&last_event_id=x")
    client = await wire.stream(query, last if place == "header" else None)
    assert version == (await client.begun("config_change")).data["new_version"]
    await client.event("subscribed")
    assert "billing" == (await client.event("in_sync")).data["app"]


async def test_a_stream_that_ends_before_it_has_subscribed_keeps_the_versions_of_the_patterns(
    autojump_clock: MockClock, wire: Streams
) -> None:
    client = await wire.stream("pattern=billing:*")
    await client.begun()
    await client.event("subscribed")
    last = (await client.event("config_snapshot")).name
    version = wire.publish(1)
    wire.line.entrance = trio.Event()
    client = await wire.stream("pattern=billing:*", last)
    last = (await client.begun("config_change")).name
    await client.stream.aclose()

    wire.line.entrance = None
    client = await wire.stream("pattern=billing:*", last)
    assert version == (await client.begun("in_sync")).data["version"]
    await client.event("subscribed")
    assert "billing" == (await client.event("in_sync")).data["app"]


async def test_a_key_that_is_gone_is_not_carried_after_the_subscription(
    autojump_clock: MockClock, wire: Streams
) -> None:
    client = await wire.stream("pattern=billing:*")
    await client.begun()
    await client.event("subscribed")
    last = (await client.event("config_snapshot")).name
    assert last is not None
    wire.line.publish(None, BILLING)
    wire.line.registry.vanish(BILLING)
    client = await wire.stream("pattern=billing:*", last)
    await client.begun("in_sync")
    await client.event("subscribed")
    await wait_all_tasks_blocked()
    wire.publish(1)
    name = (await client.event("config_change")).name
    assert name is not None
    assert len(name) < len(last)


@pytest.mark.parametrize("last", ["x", "", "A" * 40, "ä", "A" * 5_000])
async def test_an_invalid_cursor_begins_with_snapshots(autojump_clock: MockClock, wire: Streams, last: str) -> None:
    client = await wire.stream("pattern=billing:*", last)
    await client.begun()
    await client.event("subscribed")
    await client.event("config_snapshot")


async def test_a_cursor_of_another_stream_begins_with_snapshots(autojump_clock: MockClock, wire: Streams) -> None:
    client = await wire.stream("pattern=billing:*")
    last = (await client.begun()).name
    client = await wire.stream("pattern=billing:*&pattern=x*", last)
    await client.begun("config_snapshot")


async def test_a_cursor_of_another_token_begins_with_snapshots(autojump_clock: MockClock, wire: Streams) -> None:
    client = await wire.stream("pattern=billing:*")
    last = (await client.begun()).name
    admit(wire, "orders", "billing")
    client = await wire.stream("pattern=billing:*", last)
    await client.begun("config_snapshot")


async def test_without_a_token_the_address_may_change(autojump_clock: MockClock, wire: Streams) -> None:
    client = await wire.stream("pattern=billing:*")
    last = (await client.begun()).name
    opened = await wire.accept("pattern=billing:*", last, host="192.0.2.7")
    opened.abandon()
    assert opened.target.last_version == wire.line.version_of(KEY)


async def test_too_many_patterns_are_refused(autojump_clock: MockClock, wire: Streams) -> None:
    wire.server.replace(attrs.evolve(wire.settings, patterns=1), 0)
    with pytest.raises(Refusal) as refused:
        await wire.accept("pattern=a&pattern=b")
    assert 400 == refused.value.status
    wire.server.replace(attrs.evolve(wire.settings, distinct_patterns=1), 0)
    with capture_logs() as logs, pytest.raises(Refusal) as refused:
        await wire.accept("pattern=a&pattern=b")
    assert (429, "1") == (refused.value.status, refused.value.headers["Retry-After"])
    assert ["patterns refused"] == [each["event"] for each in logs]
    assert 0 == wire.line.held.total() == len(wire.server.quota)


async def test_a_subscription_that_fails_is_an_error_in_the_stream_as_on_a_websocket(
    autojump_clock: MockClock, wire: Streams
) -> None:
    wire.line.refusal = RemoteError("too many keys")
    client = await wire.stream("pattern=billing:*")
    await client.begun()
    error = await client.event("error")
    assert ("SUBSCRIPTION_FAILED", None) == (error.data["code"], error.name)
    version = wire.publish(1)
    assert version == (await client.event("config_change")).name


async def test_patterns_are_given_back_at_the_end(autojump_clock: MockClock, wire: Streams) -> None:
    client = await wire.stream("pattern=billing:*")
    await client.begun()
    await client.event("subscribed")
    assert 1 == len(wire.server.quota)
    await client.stream.aclose()
    await wait_until(lambda: not len(wire.server))
    assert 0 == len(wire.server.quota) == wire.line.held.total()


# The parking lot.


async def test_quiet_streams_are_parked_at_once_without_tasks(autojump_clock: MockClock, parking: Streams) -> None:
    clients = [await parking.stream() for _ in range(3)]
    for each in clients:
        await each.begun()
    await wait_all_tasks_blocked()
    assert 3 == parking.server.parked == parking.server.event_streams
    shown = next(iter(parking.server.connected()))
    assert ("events", True) == (shown.transport, shown.is_parked)


async def test_parked_streams_with_equal_patterns_share_the_events(autojump_clock: MockClock, parking: Streams) -> None:
    clients = [await parking.stream("pattern=billing:*") for _ in range(3)]
    for each in clients:
        await each.begun()
        await each.event("subscribed")
        await each.event("config_snapshot")
    await parking.parked(3)
    parking.publish(1, BILLING)
    names = {await followed(each, 1) for each in clients}
    assert 1 == len(names)
    assert 3 == parking.server.parked
    client = await parking.stream("pattern=billing:*", names.pop())
    await client.begun("in_sync")
    await client.event("subscribed")
    await client.event("in_sync")


async def test_a_stream_over_tls_is_parked(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        wire = Streams(nursery, tls_stream_pair, park_after=0.0)
        await nursery.start(wire.server.park)
        client = await wire.stream()
        await client.begun()
        await wire.parked()
        version = wire.publish(1)
        assert version == (await client.event("config_change")).name
        await wire.close()


async def test_a_client_that_does_not_read_lags_and_is_closed_in_time(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        wire = Streams(nursery, lockstep_stream_pair, queue_messages=2, write_timeout=10.0)
        client = await wire.stream()
        await client.begun()
        for number in range(1, 8):
            wire.publish(number)
            await wait_all_tasks_blocked()
        assert wire.metrics.counts["lagged"] > 0
        await wait_until(lambda: not len(wire.server))
        assert 1 == wire.metrics.counts["connection_closed slow"]
        assert trio.current_time() >= 10
        await wire.close()


async def test_a_lagging_client_gets_one_event_that_says_so_and_catches_up(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        wire = Streams(nursery, lockstep_stream_pair, queue_messages=2)
        client = await wire.stream()
        await client.begun()
        for number in range(1, 8):
            version = wire.publish(number)
            await wait_all_tasks_blocked()
        kinds, name = [], None
        while name != version:
            event = await client.next()
            assert event is not None
            kinds.append(event.kind)
            name = event.name or name
        assert "lagged" in kinds
        assert "config_change" == kinds[-1]
        await wire.close()


async def test_a_client_that_is_ahead_of_this_server_is_sent_on(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        wire = Streams(nursery)
        wire.line.level = trio.Event()
        client = await wire.stream("last_version=newer&generation=e.7")
        await client.head()
        await client.next()
        assert "another server has a newer state" == (await client.event("connection_closing")).data["reason"]
        assert [] == await client.rest()
        await wire.ended("behind")
        await wire.close()


@pytest.mark.parametrize("is_of_it", [True, False], ids=["of the id's version", "of another version"])
async def test_a_client_with_patterns_that_is_ahead_is_sent_on(autojump_clock: MockClock, is_of_it: bool) -> None:
    """The id of the last event names the version. The generation in the query counts only for that version."""
    async with trio.open_nursery() as nursery:
        wire = Streams(nursery)
        client = await wire.stream("pattern=billing:*")
        first = await client.begun()
        await client.event("subscribed")
        last = (await client.event("config_snapshot")).name
        version = wire.publish(1)
        wire.line.level = trio.Event()
        had = first.data["version"] if is_of_it else version
        query = f"pattern=billing:*&last_version={had}&generation=e.7"
        client = await wire.stream(query, last)
        if is_of_it:
            await client.head()
            await client.next()
            assert "another server has a newer state" == (await client.event("connection_closing")).data["reason"]
            assert [] == await client.rest()
            client = await wire.stream(query + "&sent_on=1", last)
            await client.begun("config_snapshot")
        else:
            assert version == (await client.begun("config_change")).data["new_version"]
            others = [await client.next() for _ in range(2)]
            assert {"subscribed", "in_sync"} == {each.kind for each in others if each is not None}
        await wire.close()


async def test_a_parked_stream_that_is_lost_is_ended_by_the_next_write(
    autojump_clock: MockClock, parking: Streams
) -> None:
    client = await parking.stream()
    await client.begun()
    await parking.parked()
    assert isinstance(client.stream, trio.SocketStream)
    await client.stream.aclose()
    parking.publish(1)
    await wait_until(lambda: not len(parking.server))


# The kernel.


async def test_tcp_ends_a_stream_whose_client_acknowledges_nothing() -> None:
    ours, theirs = tcp_stream_pair()
    async with ours, theirs:
        limit_silence(ours, 12.5)
        assert 12_500 == ours.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


async def test_other_streams_have_no_such_limit() -> None:
    for pair in (memory_stream_pair, tls_stream_pair, socket_pair):
        ours, theirs = pair()
        async with ours, theirs:
            limit_silence(ours, 1.0)


def socket_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    ours, theirs = socket.socketpair()
    return trio.SocketStream(trio.socket.from_stdlib_socket(ours)), trio.SocketStream(
        trio.socket.from_stdlib_socket(theirs)
    )


async def test_the_limit_is_the_longer_of_both_times(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        wire = Streams(nursery, park_after=math.inf, heartbeat_timeout=7.0, write_timeout=3.0)
        ours, theirs = tcp_stream_pair()
        client = await wire.stream(pair=lambda: (ours, theirs))
        await client.begun()
        assert 7_000 == ours.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        await wire.close()

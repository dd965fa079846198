"""What parked connections send: pongs of many at once, and anything else of a few in each round of the loop."""

import json
import os
import select
import socket
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import FakeMetrics
from vortexd.core.model import Key
from vortexd.core.patterns import Pattern, parse_pattern
from vortexd.pipeline.broadcast import Delivery
from vortexd.pipeline.encoder import Payload
from vortexd.protocol.close import CloseReason
from vortexd.realtime import receiving
from vortexd.realtime.first_subscription import Begun
from vortexd.realtime.parked import Parked
from vortexd.realtime.receiving import Receiving
from vortexd.realtime.sockets import NEEDS_TASK, receive_each

from . import both_sockets
from .lot import PONG, FakeLot


class FakeFirstSubscription:
    """Takes first patterns as a test decides.

    Attributes:
        begun: The answer to a subscription; None leaves it to the tasks.
        is_open: Whether connections may subscribe without their tasks.
        asked: The connections that wanted to subscribe, with their patterns.
    """

    def __init__(self) -> None:
        self.begun: Begun | None = None
        self.is_open = False
        self.asked: list[tuple[Parked, tuple[Pattern, ...]]] = []

    def is_possible(self, parked: Parked) -> bool:
        return self.is_open

    def begin(self, parked: Parked, patterns: tuple[Pattern, ...]) -> Begun | None:
        self.asked.append((parked, patterns))
        return self.begun


class Part:
    """A receiver with real sockets, and a lot that a test controls."""

    def __init__(self, name: str) -> None:
        self.lot, self.counters = FakeLot(), FakeMetrics()
        self.epoll = select.epoll()
        self.answers: list[tuple[float, int]] = []
        self.clients: list[socket.socket] = []
        self.ours: list[socket.socket] = []
        self.first = FakeFirstSubscription()
        self.sockets = both_sockets.made(name)
        self.receiving = Receiving(
            self.lot,
            self.epoll,
            self.sockets,
            self.counters,
            cast(Any, self),
            cast(Any, self.first),
            lambda pinged, count: self.answers.append((pinged, count)),
        )

    def silent_for(self, _: object) -> float:
        """Every ack comes too soon, so it wakes. Acks have tests of their own in test_reports.py."""
        return 0.0

    def park(self, pinged: float | None = None) -> Parked:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        parked = self.lot.add(fd=ours.fileno())
        parked.pinged = pinged
        self.epoll.register(ours, select.EPOLLIN | select.EPOLLRDHUP)
        self.ours.append(ours)
        self.clients.append(theirs)
        return parked

    def close(self) -> None:
        for each in (*self.ours, *self.clients):
            each.close()
        self.epoll.close()


@pytest.fixture(params=both_sockets.NAMES)
async def part(request: pytest.FixtureRequest) -> AsyncIterator[Part]:
    made = Part(request.param)
    yield made
    made.close()


async def run(part: Part, seconds: float = 1.0) -> None:
    with trio.move_on_after(seconds):
        await part.receiving.run()


async def test_pongs_are_counted_by_the_time_of_their_heartbeat(autojump_clock: MockClock, part: Part) -> None:
    members = [part.park(pinged) for pinged in (1.0, 2.0, 1.0)]
    for each in part.clients:
        each.send(PONG)
    part.receiving._receive_some()

    assert [None] * 3 == [each.pinged for each in members]
    assert [(1.0, 2), (2.0, 1)] == sorted(part.answers)
    assert (3, 18) == (part.counters.counts["heartbeat_answered"], part.counters.counts["bytes_read"])
    assert ([], []) == (part.lot.woken, part.lot.ended)


async def test_a_pong_that_nobody_expects_wakes(autojump_clock: MockClock, part: Part) -> None:
    parked = part.park()
    part.clients[0].send(PONG)
    part.receiving._receive_some()

    assert [(parked, PONG, b"", ())] == part.lot.woken
    assert [] == part.answers


@pytest.mark.parametrize("pinged", [None, 1.0])
async def test_anything_else_wakes_with_what_was_received(
    autojump_clock: MockClock, part: Part, pinged: float | None
) -> None:
    parked = part.park(pinged)
    part.clients[0].send(PONG + b"more")
    part.receiving._receive_some()

    assert [(parked, PONG + b"more", b"", ())] == part.lot.woken
    # It is unanswered: the tasks see for themselves that the client is alive.
    assert (pinged, []) == (parked.pinged, part.answers)


@pytest.mark.parametrize("pinged", [None, 1.0])
async def test_the_end_of_a_connection_ends_it(autojump_clock: MockClock, part: Part, pinged: float | None) -> None:
    parked = part.park(pinged)
    part.clients[0].close()
    part.receiving._receive_some()

    assert ([(parked, CloseReason.LOST)], []) == (part.lot.ended, part.lot.woken)


@pytest.mark.parametrize("pinged", [None, 1.0])
async def test_a_connection_that_must_write_before_it_reads_wakes_and_others_with_the_same_bytes_do_as_ever(
    autojump_clock: MockClock, part: Part, monkeypatch: pytest.MonkeyPatch, pinged: float | None
) -> None:
    parked, other = part.park(pinged), part.park(pinged)
    for each in part.clients:
        each.send(NEEDS_TASK)

    def receive(descriptor: int) -> bytes | None:
        data = os.read(descriptor, 100)
        return NEEDS_TASK if descriptor == parked.fd else data

    monkeypatch.setattr(part.sockets, "receive", receive)
    monkeypatch.setattr(part.sockets, "receive_pongs", lambda fds, most: receive_each(receive, fds, most))
    part.receiving._receive_some()

    assert {(parked, b""), (other, NEEDS_TASK)} == {(each, received) for each, received, *_ in part.lot.woken}
    assert [] == part.lot.ended


async def test_a_round_handles_a_few_that_have_more_to_say_and_the_next_ones_handle_the_rest(
    autojump_clock: MockClock, part: Part
) -> None:
    most = receiving._HEARD_AT_ONCE
    for number in range(3 * most):
        part.park(1.0 if number % 2 else None)
    for each in part.clients:
        each.send(b"hello")
    woken = []
    for _ in range(4):
        part.receiving._receive_some()
        woken.append(len(part.lot.woken))
        for parked, *_ in part.lot.woken:
            if parked.fd not in part.lot.parked and parked.instance is None:
                parked.instance = cast(Any, "unregistered")
                part.epoll.unregister(parked.fd)

    assert [most, 2 * most, 3 * most, 3 * most] == woken
    assert {b"hello"} == {received for _, received, *_ in part.lot.woken}


async def test_pongs_are_read_however_many_have_more_to_say(autojump_clock: MockClock, part: Part) -> None:
    """The limit of the others doesn't count pongs."""
    members = [part.park(1.0) for _ in range(40)]
    for number, each in enumerate(part.clients):
        each.send(b"hello" if number % 10 == 9 else PONG)
    part.receiving._receive_some()

    assert [(1.0, 36)] == part.answers
    assert members[9::10] == [each for each, *_ in part.lot.woken]


async def test_a_socket_with_nothing_to_read_is_left_alone(autojump_clock: MockClock, part: Part) -> None:
    parked = part.park(1.0)
    assert 0 == part.receiving._receive_pongs([parked])
    part.receiving.receive(parked)

    assert ([], [], [], 1.0) == (part.lot.woken, part.lot.ended, part.answers, parked.pinged)


async def test_one_connection_can_be_read_by_itself(autojump_clock: MockClock, part: Part) -> None:
    parked = part.park(1.0)
    part.clients[0].send(PONG)
    part.receiving.receive(parked)

    assert (None, [(1.0, 1)]) == (parked.pinged, part.answers)
    assert (1, 6) == (part.counters.counts["heartbeat_answered"], part.counters.counts["bytes_read"])


async def test_a_descriptor_that_is_not_in_the_lot_is_skipped(autojump_clock: MockClock, part: Part) -> None:
    parked, other = part.park(), part.park()
    del part.lot.parked[parked.fd]
    for each in part.clients:
        each.send(b"hello")
    part.receiving._receive_some()

    assert [other] == [each for each, *_ in part.lot.woken]
    assert b"hello" == os.read(parked.fd, 100)


async def test_a_connection_that_left_while_another_was_handled_is_left_alone(
    autojump_clock: MockClock, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [part.park(), part.park()]
    for each in part.clients:
        each.send(b"hello")
    wake = part.lot.wake

    def wake_both(parked: Parked, received: bytes = b"") -> object:
        [other] = [each for each in members if each is not parked]
        wake(other)
        return wake(parked, received)

    monkeypatch.setattr(part.lot, "wake", wake_both)
    part.receiving._receive_some()

    assert [b"", b"hello"] == [received for _, received, *_ in part.lot.woken]
    # The bytes of the other one are still in its socket.
    assert b"hello" == os.read(part.lot.woken[0][0].fd, 100)


# The first patterns of a connection.

STATE = Delivery(Key("billing", "dev", "main"), None, "b", Payload(b"{}"))
MISSING = Key("search", "dev", "main")


def subscription(*patterns: str) -> bytes:
    """The frame of a client; its mask is zero."""
    text = json.dumps({"type": "subscribe", "patterns": patterns}).encode()
    return bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text


async def test_a_first_subscription_is_answered_without_tasks(autojump_clock: MockClock, part: Part) -> None:
    parked = part.park(1.0)
    part.first.is_open, part.first.begun = True, Begun(b"answer", [STATE], ())
    part.clients[0].send(data := subscription("billing:*", "search"))
    part.receiving._receive_some()

    assert [(parked, (parse_pattern("billing:*"), parse_pattern("search")))] == part.first.asked
    assert b"answer" == part.clients[0].recv(100)
    assert ([], [], None, [(1.0, 1)]) == (part.lot.woken, part.lot.ended, parked.pinged, part.answers)
    expected = {"bytes_read": len(data), "bytes_written": 6, "message_received subscribe": 1, "sent config_snapshot": 1}
    assert expected == +part.counters.counts


async def test_a_subscription_is_left_to_the_tasks_if_it_is_not_possible_or_must_wait(
    autojump_clock: MockClock, part: Part
) -> None:
    data = subscription("billing:*")
    for part.first.is_open in (False, True):
        parked = part.park(1.0)
        part.clients[-1].send(data)
        part.receiving._receive_some()
        part.epoll.unregister(parked.fd)

        assert (parked, data, b"", ()) == part.lot.woken[-1]
        # The tasks count the message.
        assert (1.0, {}) == (parked.pinged, +part.counters.counts)
    assert 1 == len(part.first.asked)


async def test_the_tasks_write_the_first_states_that_are_missing(autojump_clock: MockClock, part: Part) -> None:
    parked = part.park()
    part.first.is_open, part.first.begun = True, Begun(b"answer", (), [MISSING])
    part.clients[0].send(subscription("*"))
    part.receiving._receive_some()

    assert [(parked, b"", b"", [MISSING])] == part.lot.woken
    assert b"answer" == part.clients[0].recv(100)


@pytest.mark.parametrize(("taken", "rest"), [(0, b"answer"), (2, b"swer")])
async def test_the_tasks_write_the_rest_of_an_answer(
    autojump_clock: MockClock, part: Part, monkeypatch: pytest.MonkeyPatch, taken: int, rest: bytes
) -> None:
    parked = part.park()
    part.first.is_open, part.first.begun = True, Begun(b"answer", [STATE], [MISSING])

    def write(fd: int, data: bytes) -> int:
        if not taken:
            raise BlockingIOError
        return taken

    monkeypatch.setattr(part.sockets, "write", write)
    part.clients[0].send(subscription("*"))
    part.receiving._receive_some()

    assert [(parked, b"", rest, [MISSING])] == part.lot.woken
    # The tasks count the bytes of the rest.
    assert (taken, 1) == (part.counters.counts["bytes_written"], part.counters.counts["sent config_snapshot"])


async def test_a_connection_that_breaks_while_it_subscribes_ends(
    autojump_clock: MockClock, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    parked = part.park()
    part.first.is_open, part.first.begun = True, Begun(b"answer", (), [MISSING])

    def write(fd: int, data: bytes) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(part.sockets, "write", write)
    part.clients[0].send(subscription("*"))
    part.receiving._receive_some()

    assert ([(parked, CloseReason.LOST)], []) == (part.lot.ended, part.lot.woken)


# After pongs, the loop pauses, so that it takes many in one round.


async def test_pongs_alone_cause_a_pause_and_messages_none(autojump_clock: MockClock, part: Part) -> None:
    assert not part.receiving._receive_some()
    for pinged, data, pauses in ((1.0, PONG, True), (None, b"hello", False), (1.0, b"hello", False)):
        parked = part.park(pinged)
        part.clients[-1].send(data)
        assert pauses is part.receiving._receive_some()
        part.epoll.unregister(parked.fd)


async def test_pongs_beside_a_message_cause_no_pause(autojump_clock: MockClock, part: Part) -> None:
    part.park(1.0)
    part.park()
    part.clients[0].send(PONG)
    part.clients[1].send(b"hello")

    assert not part.receiving._receive_some()


async def test_as_many_pongs_as_a_round_takes_cause_no_pause(
    autojump_clock: MockClock, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "_READABLE_AT_ONCE", 3)
    for _ in range(5):
        part.park(1.0)
    for each in part.clients:
        each.send(PONG)

    assert [False, True] == [part.receiving._receive_some() for _ in range(2)]
    assert [(1.0, 3), (1.0, 2)] == part.answers


async def test_the_pause_is_a_few_milliseconds_in_which_pongs_gather(autojump_clock: MockClock, part: Part) -> None:
    for _ in range(3):
        part.park(1.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, part)
        part.clients[0].send(PONG)
        await wait_all_tasks_blocked()
        assert [(1.0, 1)] == part.answers
        part.clients[1].send(PONG)
        part.clients[2].send(PONG)
        await trio.sleep(0.0049)
        await wait_all_tasks_blocked()
        assert [(1.0, 1)] == part.answers
        await trio.sleep(0.0002)
        await wait_all_tasks_blocked()

        assert [(1.0, 1), (1.0, 2)] == part.answers


@pytest.mark.parametrize(("count", "waits"), [(31, False), (32, True)])
async def test_the_answers_to_many_heartbeats_are_awaited_for_a_moment(
    autojump_clock: MockClock, part: Part, count: int, waits: bool
) -> None:
    parked = part.park(1.0)
    part.receiving.expect_answers(count)
    part.clients[0].send(PONG)
    await run(part, 0.004)
    assert waits == (parked.pinged is not None)
    await run(part, 0.002)

    assert parked.pinged is None


async def test_the_answers_to_many_heartbeats_are_received_in_one_round(
    autojump_clock: MockClock, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "_READABLE_AT_ONCE", 2)
    for expects, expected in ((True, [(1.0, 5)]), (False, [(1.0, 2), (1.0, 2), (1.0, 1)])):
        for parked in [part.park(1.0) for _ in range(5)] if not part.clients else part.lot.parked.values():
            parked.pinged = 1.0
        if expects:
            part.receiving.expect_answers(32)
        for each in part.clients:
            each.send(PONG)
        await run(part)

        assert expected == part.answers
        part.answers.clear()

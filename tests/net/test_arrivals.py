"""Connections that have sent no request yet, with socket pairs and a clock that the test sets."""

import errno
import itertools
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests import tls
from vortexd.net.arrivals import Arrival, Arrivals, peek
from vortexd.net.first_bytes import Verdict
from vortexd.net.tls_stream import TlsStream

VERDICTS = {b"w": Verdict.WHOLE, b"p": Verdict.PARTLY, b"u": Verdict.URGENT}


@attrs.define
class Hall:
    """Arrivals whose verdict is the last byte that has come, and what became of them."""

    sockets: list[socket.socket] = attrs.field(factory=list)
    started: list[tuple[str, Verdict]] = attrs.field(factory=list)
    ended: list[str] = attrs.field(factory=list)
    served: list[str] = attrs.field(factory=list)
    requests: list[bytes] = attrs.field(factory=list)
    slots: float = float("inf")
    kept: int = 0
    arrivals: Arrivals = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.arrivals = Arrivals(
            lambda _, data: VERDICTS.get(data[-1:], Verdict.WAIT), self, self._start, self._serve_now
        )

    def _serve_now(self, arrival: Arrival) -> bool:
        self.requests.append(arrival.request)
        is_quick = arrival.host.startswith("quick")
        if is_quick:
            self.served.append(arrival.host)
        return is_quick

    def _start(self, arrival: Arrival, verdict: Verdict) -> None:
        self.started.append((arrival.host, verdict))
        self.slots -= verdict is Verdict.PARTLY

    def has_slot(self, *, is_known: bool = False) -> bool:
        return self.slots > (0 if is_known else self.kept)

    def slot_in(self) -> float:
        return 0.5

    def end(self, arrival: Arrival) -> None:
        assert arrival.socket.fileno() == -1
        self.ended.append(arrival.host)

    def arrive(self, host: str, data: bytes = b"", timeout: float = 10, **more: bool) -> tuple[socket.socket, Arrival]:
        theirs, ours = socket.socketpair()
        self.sockets += [theirs, ours]
        theirs.send(data) if data else None
        now = trio.current_time()
        arrival = Arrival(ours, host, 1, True, None, now, now + timeout, **more)  # type: ignore[arg-type]  # only booleans
        self.arrivals.add(arrival)
        return theirs, arrival

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.started]


@pytest.fixture
def hall() -> Iterator[Hall]:
    made = Hall()
    yield made
    for each in made.sockets:
        each.close()


@pytest.fixture
async def open_hall(hall: Hall) -> AsyncIterator[Hall]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hall.arrivals.run)
        await wait_all_tasks_blocked()
        yield hall
        nursery.cancel_scope.cancel()


async def settled() -> None:
    """Let everybody do what can be done now."""
    for _ in range(3):
        await wait_all_tasks_blocked()


async def test_a_silent_connection_is_no_task(autojump_clock: MockClock, open_hall: Hall) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    for number in range(50):
        open_hall.arrive(str(number))
    await settled()

    assert before == trio.lowlevel.current_statistics().tasks_living
    assert (50, []) == (len(open_hall.arrivals), open_hall.started)


class Refusing:
    """An epoll that refuses to watch another socket."""

    def __init__(self, epoll: Any) -> None:
        self.epoll = epoll

    def register(self, *_: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.epoll, name)


async def test_a_connection_that_can_not_be_watched_is_closed_and_the_others_wait_on(
    autojump_clock: MockClock, open_hall: Hall
) -> None:
    theirs, _ = open_hall.arrive("early")
    arrivals: Any = open_hall.arrivals
    arrivals._epoll = refusing = Refusing(arrivals._epoll)
    with pytest.raises(OSError, match="no space"):
        open_hall.arrive("late")
    assert (["late"], 1) == (open_hall.ended, len(open_hall.arrivals))
    arrivals._epoll = refusing.epoll
    theirs.send(b"w")
    await settled()

    assert (["early"], ["late"]) == (open_hall.names, open_hall.ended)


@pytest.mark.parametrize(("data", "verdict"), VERDICTS.items())
async def test_bytes_that_are_there_or_come_start_a_task_and_stay(
    autojump_clock: MockClock, open_hall: Hall, data: bytes, verdict: Verdict
) -> None:
    _, early = open_hall.arrive("early", b"x" + data)
    theirs, late = open_hall.arrive("late")
    await settled()
    assert [("early", verdict)] == open_hall.started

    theirs.send(b"x")
    await settled()
    theirs.send(data)
    await settled()
    assert [("early", verdict), ("late", verdict)] == open_hall.started
    assert [b"x" + data] * 2 == [peek(each.socket) for each in (early, late)]
    assert (0, []) == (len(open_hall.arrivals), open_hall.ended)
    # It is somebody else's now.
    theirs.send(b"u")
    await settled()
    assert 2 == len(open_hall.started)


async def test_one_task_begins_in_each_round_of_the_loop(autojump_clock: MockClock, open_hall: Hall) -> None:
    for number in range(5):
        open_hall.arrive(str(number), b"w")
    for rounds in range(1, 4):
        await trio.lowlevel.checkpoint()
        assert len(open_hall.started) <= rounds + 1

    await settled()
    assert 5 == len(open_hall.started)


async def test_arrivals_that_need_no_task_get_none_and_sixteen_of_them_share_a_round(
    autojump_clock: MockClock, open_hall: Hall
) -> None:
    for number in range(160):
        open_hall.arrive(f"quick{number}", b"w")
    open_hall.arrive("slow", b"w")
    seen = [0]
    while len(open_hall.served) < 160 or not open_hall.started:
        await trio.lowlevel.checkpoint()
        seen.append(len(open_hall.served))

    assert ["slow"] == open_hall.names
    assert 0 == len(open_hall.arrivals)
    # Two rounds may follow each other between two looks.
    assert 32 >= max(after - before for before, after in itertools.pairwise(seen))
    assert 10 <= len(seen) <= 15


@pytest.mark.parametrize("data", [b"p", b"u"], ids=["partly", "urgent"])
async def test_only_whole_requests_are_served_without_a_task(
    autojump_clock: MockClock, open_hall: Hall, data: bytes
) -> None:
    open_hall.arrive("quick", data)
    await settled()

    assert (["quick"], []) == (open_hall.names, open_hall.served)


async def test_a_closed_arrival_is_not_served(autojump_clock: MockClock, open_hall: Hall) -> None:
    _, arrival = open_hall.arrive("quick", b"w")
    arrival.close()
    await settled()

    assert ([], []) == (open_hall.names, open_hall.served)


async def test_it_is_empty_when_the_last_one_was_served_without_a_task(
    autojump_clock: MockClock, open_hall: Hall
) -> None:
    open_hall.arrive("quick", b"w")
    with trio.fail_after(1):
        await open_hall.arrivals.wait_empty()

    assert 1 == len(open_hall.served)


@pytest.mark.parametrize("data", [b"", b"x"])
async def test_who_goes_away_before_it_has_said_what_it_wants_is_let_go(
    autojump_clock: MockClock, open_hall: Hall, data: bytes
) -> None:
    theirs, _ = open_hall.arrive("a", data)
    gone, _ = open_hall.arrive("gone")
    await settled()
    theirs.close()
    gone.shutdown(socket.SHUT_WR)
    await settled()

    assert ({"a", "gone"}, [], 0) == (set(open_hall.ended), open_hall.started, len(open_hall.arrivals))


async def test_who_has_said_what_it_wants_and_goes_is_heard(autojump_clock: MockClock, open_hall: Hall) -> None:
    theirs, _ = open_hall.arrive("a")
    await settled()
    theirs.send(b"w")
    theirs.close()
    await settled()

    assert (["a"], []) == (open_hall.names, open_hall.ended)


# Time.


async def test_silence_is_ended_at_its_deadline_and_half_a_request_is_told_so(
    autojump_clock: MockClock, open_hall: Hall
) -> None:
    open_hall.arrive("silent", timeout=5)
    _, half = open_hall.arrive("half", b"x", timeout=5)
    _, proxied = open_hall.arrive("proxied", timeout=5, has_proxy_header=True)
    open_hall.arrive("later", timeout=6)
    await trio.sleep(4.9)
    assert ([], []) == (open_hall.ended, open_hall.started)

    await trio.sleep(0.2)
    assert ["silent"] == open_hall.ended
    assert {("half", Verdict.WHOLE), ("proxied", Verdict.WHOLE)} == set(open_hall.started)
    assert half.is_late
    assert proxied.is_late
    await trio.sleep(1)
    assert ["silent", "later"] == open_hall.ended


async def test_who_comes_when_somebody_waits_already_has_its_time_too(
    autojump_clock: MockClock, open_hall: Hall
) -> None:
    theirs, _ = open_hall.arrive("first", timeout=5)
    await trio.sleep(1)
    open_hall.arrive("second", timeout=5)
    theirs.close()
    await trio.sleep(4.9)
    assert ["first"] == open_hall.ended

    await trio.sleep(0.2)
    assert ["first", "second"] == open_hall.ended


async def test_what_a_connection_waits_for_us_does_not_count(autojump_clock: MockClock, open_hall: Hall) -> None:
    open_hall.slots = 0
    await trio.sleep(2)
    theirs, arrival = open_hall.arrive("a", timeout=5)
    await trio.sleep(1)
    theirs.send(b"p")
    await trio.sleep(3)
    open_hall.slots = 1
    await trio.sleep(1)

    assert ["a"] == open_hall.names
    # Its five seconds, and the three in which it waited for us.
    assert 10 <= arrival.deadline <= 10.6
    assert not arrival.is_late
    assert not arrival.has_left


async def test_those_who_wait_can_be_given_less_time(autojump_clock: MockClock, open_hall: Hall) -> None:
    open_hall.arrive("long", timeout=100)
    open_hall.arrive("short", timeout=0.5)
    await settled()
    open_hall.arrivals.shorten_deadlines(1)
    await trio.sleep(0.9)
    assert "long" not in open_hall.ended
    await trio.sleep(0.2)

    assert {"long", "short"} == set(open_hall.ended)


async def test_it_is_empty_once_everybody_has_begun_or_gone(autojump_clock: MockClock, open_hall: Hall) -> None:
    open_hall.slots = 0
    open_hall.arrive("silent", timeout=3)
    open_hall.arrive("partly", b"p")
    is_empty = False

    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait() -> None:
            nonlocal is_empty
            await open_hall.arrivals.wait_empty()
            is_empty = True

        await trio.sleep(2)
        assert not is_empty
        open_hall.slots = 1
        await trio.sleep(0.6)
        assert (["partly"], False) == (open_hall.names, is_empty)
        await trio.sleep(1)
        assert (["silent"], True) == (open_hall.ended, is_empty)


async def test_it_is_empty_when_the_last_one_has_its_task(autojump_clock: MockClock, open_hall: Hall) -> None:
    open_hall.slots = 0
    open_hall.arrive("partly", b"p")
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_hall.arrivals.wait_empty)
            await settled()
            open_hall.slots = 1

    assert ["partly"] == open_hall.names


async def test_everybody_who_is_here_is_counted(autojump_clock: MockClock, open_hall: Hall) -> None:
    for name, data, more in (
        ("silent", b"", {}),
        ("urgent", b"u", {}),
        ("known", b"w", {"is_known": True}),
        ("alone", b"w", {"is_alone": True}),
        ("other", b"p", {}),
    ):
        before = len(open_hall.arrivals)
        open_hall.arrive(name, data, **more)
        assert before + 1 == len(open_hall.arrivals)


# Order and slots.


async def test_who_asks_how_the_daemon_does_goes_first(autojump_clock: MockClock, open_hall: Hall) -> None:
    for number in range(3):
        open_hall.arrive(str(number), b"w")
    open_hall.arrive("urgent", b"u")
    open_hall.arrive("second", b"u")
    await settled()

    assert ["urgent", "second"] == open_hall.names[:2]


async def test_urgent_arrivals_keep_nobody_waiting_for_more_than_a_turn(
    autojump_clock: MockClock, open_hall: Hall
) -> None:
    for number in range(6):
        open_hall.arrive(f"urgent{number}", b"u")
    for number in range(2):
        open_hall.arrive(f"whole{number}", b"w")
    await settled()

    assert {"whole0", "whole1"} == {open_hall.names[2], open_hall.names[5]}
    assert 8 == len(open_hall.names)


async def test_who_came_beyond_the_limit_is_soon_told(autojump_clock: MockClock, open_hall: Hall) -> None:
    for number in range(3):
        open_hall.arrive(str(number), b"w")
    open_hall.arrive("beyond", b"w", is_beyond=True)
    open_hall.arrive("partly", b"p", is_beyond=True)
    await settled()

    assert "beyond" == open_hall.names[0]
    assert ("partly", Verdict.PARTLY) in open_hall.started


async def test_the_newest_and_the_oldest_and_those_that_are_alone_take_turns(
    autojump_clock: MockClock, open_hall: Hall
) -> None:
    for number in range(8):
        open_hall.arrive(f"{number}", b"w")
    for number in range(4):
        open_hall.arrive(f"alone{number}", b"w", is_alone=True)
    await settled()

    assert ["alone0", "7", "alone3", "0", "alone1", "6", "alone2", "1"] == open_hall.names[:8]
    assert 12 == len(set(open_hall.names))


async def test_every_other_turn_is_that_of_addresses_that_are_known(autojump_clock: MockClock, open_hall: Hall) -> None:
    for number in range(5):
        open_hall.arrive(f"{number}", b"w")
        open_hall.arrive(f"known{number}", b"w", is_known=True, is_alone=True)
    await settled()

    assert [f"known{number}" for number in range(5)] == open_hall.names[::2]
    assert {"0", "1", "2", "3", "4"} == set(open_hall.names[1::2])


async def test_those_that_are_known_need_no_turn_where_there_are_no_others(
    autojump_clock: MockClock, open_hall: Hall
) -> None:
    for number in range(3):
        open_hall.arrive(f"{number}", b"w", is_known=True)
    await settled()

    assert ["0", "1", "2"] == open_hall.names


async def test_where_nobody_is_alone_the_newest_and_the_oldest_take_turns(
    autojump_clock: MockClock, open_hall: Hall
) -> None:
    for number in range(6):
        open_hall.arrive(f"{number}", b"w")
    await settled()

    assert {"0", "1", "4", "5"} == set(open_hall.names[:4])


async def test_without_a_slot_whole_requests_go_on_and_others_wait(autojump_clock: MockClock, open_hall: Hall) -> None:
    open_hall.slots = 1
    for name, data in (("one", b"p"), ("two", b"p"), ("whole", b"w"), ("urgent", b"u")):
        open_hall.arrive(name, data)
    await settled()
    assert 3 == len(open_hall.started)
    assert 1 == len(open_hall.arrivals)

    open_hall.slots = 1
    open_hall.arrivals.freed()
    await settled()
    assert {"one", "two", "whole", "urgent"} == set(open_hall.names)


async def test_an_address_that_is_known_goes_ahead_where_slots_are_left_for_it_only(
    autojump_clock: MockClock, open_hall: Hall
) -> None:
    open_hall.slots, open_hall.kept = 2, 2
    open_hall.arrive("stranger", b"p", is_alone=True)
    for name in ("first", "second", "third"):
        open_hall.arrive(name, b"p", is_known=True)
    await settled()

    assert [("first", Verdict.PARTLY), ("second", Verdict.PARTLY)] == open_hall.started
    assert 2 == len(open_hall.arrivals)


async def test_a_slot_that_nobody_tells_of_is_found(autojump_clock: MockClock, open_hall: Hall) -> None:
    open_hall.slots = 0
    open_hall.arrive("a", b"p")
    await trio.sleep(2)
    open_hall.slots = 1
    await trio.sleep(0.6)

    assert ["a"] == open_hall.names


async def test_whole_requests_do_not_keep_others_from_their_slots(autojump_clock: MockClock, open_hall: Hall) -> None:
    for number in range(4):
        open_hall.arrive(f"w{number}", b"w")
        open_hall.arrive(f"p{number}", b"p")
    await settled()

    assert 2 == sum(verdict is Verdict.PARTLY for _, verdict in open_hall.started[:4])


# Leaving.


async def test_who_is_let_go_of_is_not_heard_any_more(autojump_clock: MockClock, open_hall: Hall) -> None:
    theirs, arrival = open_hall.arrive("a")
    await settled()
    open_hall.arrivals.discard(arrival)
    open_hall.arrivals.discard(arrival)
    theirs.send(b"w")
    await settled()
    assert ([], [], 0) == (open_hall.started, open_hall.ended, len(open_hall.arrivals))

    # Nothing is left of it here: it may come again.
    theirs.send(b"x")
    open_hall.arrivals.add(arrival)
    theirs.send(b"w")
    await settled()
    assert ["a"] == open_hall.names


async def test_who_is_closed_while_it_waits_for_us_gets_no_task(autojump_clock: MockClock, open_hall: Hall) -> None:
    open_hall.slots = 0
    _, arrival = open_hall.arrive("a", b"p")
    await settled()
    arrival.close()
    open_hall.slots = 1
    open_hall.arrivals.freed()
    await settled()

    assert ([], 0) == (open_hall.started, len(open_hall.arrivals))


async def test_in_the_end_everybody_is_let_go(autojump_clock: MockClock, hall: Hall) -> None:
    hall.slots = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hall.arrivals.run)
        hall.arrive("silent")
        hall.arrive("partly", b"p")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert {"silent", "partly"} == set(hall.ended)
    assert hall.arrivals._epoll.closed


# One of them.


async def test_a_connection_is_quiet_where_nothing_of_it_is_left_to_read(autojump_clock: MockClock, hall: Hall) -> None:
    theirs, arrival = hall.arrive("a")
    assert arrival.is_quiet()

    theirs.send(b"x")
    assert not arrival.is_quiet()
    arrival.socket.recv(1)
    theirs.close()
    assert arrival.is_quiet()
    arrival.close()
    assert arrival.is_quiet()
    assert b"" == peek(arrival.socket)


async def test_closing_a_connection_tells_its_task(autojump_clock: MockClock, hall: Hall) -> None:
    _, arrival = hall.arrive("a")
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(arrival.socket))
    arrival.stream = stream
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive_some(1)

        await wait_all_tasks_blocked()
        arrival.close()


async def test_a_tls_connection_is_quiet_where_no_byte_is_left_even_of_a_record(autojump_clock: MockClock) -> None:
    ours, peer = tls.with_peer()
    arrival = Arrival(ours, "a", 1, True, None, 0, 0, stream=TlsStream(ours))
    assert arrival.is_quiet()

    peer.socket.send(peer.encrypt(b"data")[:1])
    assert not arrival.is_quiet()
    # The byte is still there.
    assert not arrival.is_quiet()
    arrival.close()
    assert arrival.is_quiet()
    peer.socket.close()


async def test_closing_a_tls_connection_tells_its_task(autojump_clock: MockClock) -> None:
    ours, peer = tls.with_peer()
    stream = TlsStream(ours)
    arrival = Arrival(ours, "a", 1, True, None, 0, 0, stream=stream)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive_some(1)

        await wait_all_tasks_blocked()
        arrival.close()

    assert b"" == peer.socket.recv(1)
    peer.socket.close()


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [("192.0.2.1", 80, "192.0.2.1:80"), ("::1", 80, "[::1]:80"), ("192.0.2.1", None, "192.0.2.1"), ("", 0, "unix")],
)
async def test_a_connection_is_named_in_logs(host: str, port: int | None, text: str) -> None:
    with socket.socket() as made:
        assert text == str(Arrival(made, host, port, True, None, 0, 0))


@pytest.mark.parametrize("host", ["quick", "slow"])
@pytest.mark.parametrize(("size", "is_kept"), [(2_048, True), (2_049, False)])
async def test_a_short_complete_request_is_kept_until_its_turn(
    autojump_clock: MockClock, open_hall: Hall, host: str, size: int, is_kept: bool
) -> None:
    data = b"x" * (size - 1) + b"w"
    theirs, arrival = open_hall.arrive(host, data)
    # It isn't the turn of these bytes: nobody has judged them.
    theirs.send(b"more")
    await settled()

    assert [data if is_kept else b""] == open_hall.requests
    assert b"" == arrival.request
    assert (host == "quick") == (not open_hall.started)
    assert data + b"more" == peek(arrival.socket)


@pytest.mark.parametrize("data", [b"p", b"u", b"x"])
async def test_nothing_is_kept_of_any_other_arrival(autojump_clock: MockClock, hall: Hall, data: bytes) -> None:
    _, arrival = hall.arrive("slow", data)

    assert b"" == arrival.request
    arrival.socket.close()

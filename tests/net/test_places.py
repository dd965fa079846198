"""The limit of connections, and the connections that are closed to make room: with socket pairs and a clock that the test sets."""

import resource
import socket
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.core.errors import RemoteError
from vortexd.net.arrivals import Arrival
from vortexd.net.places import Placed, Places, Standing
from vortexd.net.proxies import Proxies
from vortexd.settings.server import ServerSettings


@attrs.define
class House:
    """Places for eight connections and four of them spare, and those who come."""

    forgotten: list[str] = attrs.field(factory=list)
    freed: int = 0
    sockets: list[socket.socket] = attrs.field(factory=list)
    places: Places = attrs.field(init=False)

    def open(self, **settings: Any) -> None:
        self.places = Places(ServerSettings(**settings), lambda each: self.forgotten.append(each.host), self._free)

    def _free(self) -> None:
        self.freed += 1

    def arrive(self, host: str = "192.0.2.1", *, proxies: Proxies | None = None, data: bytes = b"") -> Arrival:
        theirs, ours = socket.socketpair()
        self.sockets += [theirs, ours]
        now = trio.current_time()
        arrival = Arrival(ours, host, 1, True, proxies, now, now + 10)
        self.places.enter(arrival)
        self.places.waits(arrival)
        if data:
            theirs.send(data)
        return arrival

    def crowd(self, count: int, host: str = "10.0.0.{}") -> list[Arrival]:
        return [self.arrive(host.format(number)) for number in range(count)]


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr("vortexd.net.places._SPARE", 4)
    made = House()
    made.open(connections=8, handshakes=4)
    yield made
    for each in made.sockets:
        each.close()


def is_open(arrival: Arrival) -> bool:
    return arrival.socket.fileno() >= 0


# The limit of connections.


async def test_connections_are_counted_once_in_and_once_out(autojump_clock: MockClock, house: House) -> None:
    first, second = house.arrive("a"), house.arrive("a")
    assert (2, {"a": 2}) == (house.places.count, house.places.by_address)

    house.places.end(first)
    house.places.end(first)
    assert (1, {"a": 1}) == (house.places.count, house.places.by_address)
    house.places.leave("a")
    assert (0, {}) == (house.places.count, house.places.by_address)
    assert is_open(second)


@pytest.mark.parametrize(
    ("descriptors", "limit", "spare"), [(20_000, 19_744, 32), (1_024, 768, 32), (256, 192, 16), (64, 48, 4)]
)
async def test_a_reserve_of_descriptors_is_left_alone(
    descriptors: int, limit: int, spare: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    places = Places(ServerSettings(), lambda _: None)
    for _ in range(limit + spare):
        assert not places.is_full
        places.count += 1

    assert places.is_full
    assert limit == places.most
    assert limit + spare <= descriptors - min(256, descriptors // 4) * 3 // 4
    places.replace(ServerSettings(connections=10))
    places.count = 10 + spare
    assert places.is_full
    assert 10 == places.most
    places.replace(ServerSettings(connections=1_000_000))
    places.count = limit + spare - 1
    assert not places.is_full


async def test_those_beyond_the_limit_are_marked_until_they_have_a_place(
    autojump_clock: MockClock, house: House
) -> None:
    *within, beyond = house.crowd(9)

    assert [False] * 8 == [each.is_beyond for each in within]
    assert beyond.is_beyond


async def test_where_it_is_full_the_first_one_that_is_silent_gives_way_after_a_second(
    autojump_clock: MockClock, house: House
) -> None:
    first, *others = house.crowd(12)
    assert house.places.is_full
    assert not house.places.has_room()
    await trio.sleep(0.99)
    assert not house.places.has_room()

    await trio.sleep(0.01)
    assert house.places.has_room()
    assert (11, ["10.0.0.0"], False) == (house.places.count, house.forgotten, is_open(first))
    assert all(map(is_open, others))
    # Somebody may come: nobody else has to give way.
    assert house.places.has_room()
    assert 1 == len(house.forgotten)
    house.places.end(first)
    assert 11 == house.places.count


async def test_who_has_something_to_be_read_or_is_worked_on_stays(autojump_clock: MockClock, house: House) -> None:
    house.arrive("loud", data=b"x")
    house.places.works(house.arrive("worked on"))
    house.crowd(10)
    await trio.sleep(2)

    assert house.places.has_room()
    assert ["10.0.0.0"] == house.forgotten


async def test_an_address_with_more_than_its_share_gives_way_first_and_sooner(
    autojump_clock: MockClock, house: House
) -> None:
    house.crowd(9)
    crowded = [house.arrive("192.0.2.1") for _ in range(3)]
    await trio.sleep(0.1)

    assert house.places.has_room()
    assert (["192.0.2.1"], False) == (house.forgotten, is_open(crowded[0]))
    house.arrive("10.0.0.9")
    # No more than its share now.
    assert not house.places.has_room()


async def test_proxies_and_unix_sockets_have_no_share(autojump_clock: MockClock, house: House) -> None:
    proxies = Proxies(("192.0.2.1",))
    for _ in range(6):
        house.arrive("192.0.2.1", proxies=proxies)
        house.arrive("")
    await trio.sleep(0.9)
    assert not house.places.has_room()

    await trio.sleep(0.1)
    assert house.places.has_room()
    # Nor are they remembered.
    assert house.arrive("192.0.2.2").is_alone


async def test_those_that_were_refused_give_way_at_once_and_idle_ones_last(
    autojump_clock: MockClock, house: House
) -> None:
    idle = house.arrive("idle")
    house.places.idles(idle)
    house.crowd(10)
    refused = house.arrive("refused")
    house.places.refusal_sent(refused)
    assert house.places.has_room()
    assert ["refused"] == house.forgotten

    house.arrive("more")
    await trio.sleep(1)
    for _ in range(11):
        assert house.places.has_room()
        house.arrive("new", data=b"x")
    assert is_open(idle)
    assert house.places.has_room()
    assert ("idle", False) == (house.forgotten[-1], is_open(idle))


async def test_an_idle_connection_gives_way_a_second_after_it_was_last_used(
    autojump_clock: MockClock, house: House
) -> None:
    idle = house.crowd(12)
    await trio.sleep(5)
    for each in idle:
        house.places.idles(each)
    assert not house.places.has_room()
    await trio.sleep(1)
    house.places.works(idle[0])

    assert house.places.has_room()
    assert ["10.0.0.1"] == house.forgotten


async def test_who_was_idle_and_has_begun_a_request_has_its_second(autojump_clock: MockClock, house: House) -> None:
    reading, *others = house.crowd(12)
    for each in others:
        house.places.works(each)
    house.places.idles(reading)
    await trio.sleep(5)
    house.places.reads(reading)
    assert not house.places.has_room()

    await trio.sleep(1)
    assert house.places.has_room()
    assert ["10.0.0.0"] == house.forgotten


async def test_who_was_told_of_a_refusal_is_not_waited_for(autojump_clock: MockClock, house: House) -> None:
    for each in house.crowd(7):
        house.places.works(each)
    house.places.refusal_sent(house.arrive("refused", data=b"never read"))
    beyond = house.arrive("beyond")
    house.places.works(beyond)
    began = trio.current_time()

    assert not await house.places.make_room(beyond)
    assert began == trio.current_time()


# A place for one beyond the limit.


async def test_one_beyond_the_limit_takes_the_place_of_one_that_is_silent(
    autojump_clock: MockClock, house: House
) -> None:
    house.crowd(8)
    await trio.sleep(1)
    beyond = house.arrive("beyond")
    house.places.works(beyond)

    assert await house.places.make_room(beyond)
    assert (False, 8, ["10.0.0.0"]) == (beyond.is_beyond, house.places.count, house.forgotten)


async def test_it_waits_for_those_that_have_not_been_silent_for_long(autojump_clock: MockClock, house: House) -> None:
    house.crowd(8)
    beyond = house.arrive("beyond")
    house.places.works(beyond)
    began = trio.current_time()

    assert await house.places.make_room(beyond)
    assert 1 == pytest.approx(trio.current_time() - began, abs=0.02)


async def test_it_does_not_wait_where_all_others_have_said_what_they_want(
    autojump_clock: MockClock, house: House
) -> None:
    for each in house.crowd(8):
        house.places.works(each)
    beyond = house.arrive("beyond")
    house.places.works(beyond)
    began = trio.current_time()

    assert not await house.places.make_room(beyond)
    assert (True, began) == (beyond.is_beyond, trio.current_time())


async def test_it_has_a_place_as_soon_as_somebody_leaves(autojump_clock: MockClock, house: House) -> None:
    first, *_ = house.crowd(8)
    beyond = house.arrive("beyond")
    house.places.works(beyond)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait() -> None:
            assert await house.places.make_room(beyond)

        await trio.sleep(0.05)
        house.places.end(first)
    assert 0.05 == pytest.approx(trio.current_time() - began)


async def test_it_waits_for_no_longer_than_a_second(autojump_clock: MockClock, house: House) -> None:
    for number in range(8):
        house.arrive(str(number), data=b"never read")
    beyond = house.arrive("beyond")
    house.places.works(beyond)
    began = trio.current_time()

    assert not await house.places.make_room(beyond)
    assert 1.1 == pytest.approx(trio.current_time() - began)


async def test_waiting_for_room_is_short(autojump_clock: MockClock, house: House) -> None:
    began = trio.current_time()
    await house.places.wait_room()
    assert 0.1 == pytest.approx(trio.current_time() - began)

    house.crowd(12)
    await trio.sleep(0.95)
    began = trio.current_time()
    await house.places.wait_room()
    assert 0.05 == pytest.approx(trio.current_time() - began)
    # It is time, and nobody has given way: they are looked at again soon, not at once.
    await trio.sleep(1)
    began = trio.current_time()
    await house.places.wait_room()
    assert 0.01 == pytest.approx(trio.current_time() - began)


# Slots.


async def test_when_all_slots_are_taken_the_one_that_has_waited_longest_gives_way(
    autojump_clock: MockClock, house: House
) -> None:
    reading = house.crowd(5)
    for each in reading[:4]:
        assert house.places.has_slot()
        house.places.reads(each)
    assert not house.places.has_slot()
    assert 0.1 == pytest.approx(house.places.slot_in())
    await trio.sleep(0.95)
    assert 0.05 == pytest.approx(house.places.slot_in())
    await trio.sleep(0.05)

    assert house.places.has_slot()
    assert ["10.0.0.0"] == house.forgotten
    house.places.reads(reading[4])
    house.places.works(reading[1])
    assert house.places.has_slot()
    assert 1 == len(house.forgotten)


async def test_an_eighth_of_the_slots_is_kept_for_addresses_that_are_known(
    autojump_clock: MockClock, house: House
) -> None:
    house.open(connections=20, handshakes=16)
    reading = house.crowd(16)
    for each in reading[:14]:
        assert house.places.has_slot()
        house.places.reads(each)
    assert not house.places.has_slot()
    for each in reading[14:]:
        assert house.places.has_slot(is_known=True)
        house.places.reads(each)
    assert not house.places.has_slot(is_known=True)
    assert [] == house.forgotten


async def test_a_known_address_does_not_wait_for_a_slot_that_is_kept_for_it(
    autojump_clock: MockClock, house: House
) -> None:
    house.open(connections=20, handshakes=8)
    house.places.has_spoken(house.arrive("192.0.2.7"))
    for each in house.crowd(7):
        house.places.reads(each)
    began = trio.current_time()
    await house.places.wait_reads(house.arrive("192.0.2.7"))
    assert began == trio.current_time()
    await house.places.wait_reads(house.arrive("192.0.2.8"))
    assert 1 == pytest.approx(trio.current_time() - began, abs=0.02)


async def test_only_a_few_waiting_connections_of_an_address_are_known_at_a_time(
    autojump_clock: MockClock, house: House
) -> None:
    house.open(connections=20, handshakes=16)
    house.places.has_spoken(first := house.arrive("192.0.2.7"))
    house.places.works(first)
    waiting = [house.arrive("192.0.2.7") for _ in range(6)]
    assert [True] * 4 + [False] * 2 == [each.is_known for each in waiting]

    house.places.works(waiting[0])
    assert house.arrive("192.0.2.7").is_known is False
    house.places.works(waiting[1])
    house.places.works(waiting[2])
    house.places.works(waiting[3])
    assert house.arrive("192.0.2.7").is_known is True


async def test_what_a_connection_has_waited_for_us_is_not_its_silence(autojump_clock: MockClock, house: House) -> None:
    waiting = house.crowd(4)
    await trio.sleep(5)
    for each in waiting:
        house.places.works(each)
        house.places.reads(each)
    await trio.sleep(0.9)
    assert not house.places.has_slot()
    # It is one wait, however often it is said.
    house.places.reads(waiting[0])
    await trio.sleep(0.1)

    assert house.places.has_slot()
    assert ["10.0.0.0"] == house.forgotten


async def test_a_slot_is_waited_for(autojump_clock: MockClock, house: House) -> None:
    reading = house.crowd(5)
    for each in reading[:4]:
        house.places.reads(each)
    began = trio.current_time()
    standing = Placed(house.places, reading[4])
    await standing.reads()

    assert 1 == pytest.approx(trio.current_time() - began, abs=0.02)
    assert ["10.0.0.0"] == house.forgotten
    await standing.reads()
    assert 1 == pytest.approx(trio.current_time() - began, abs=0.02)


async def test_a_slot_that_gets_free_is_taken_at_once(autojump_clock: MockClock, house: House) -> None:
    reading = house.crowd(5)
    for each in reading[:4]:
        house.places.reads(each)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Placed(house.places, reading[4]).reads)
        await wait_all_tasks_blocked()
        Placed(house.places, reading[2]).works()
        began = trio.current_time()
    assert (began, []) == (trio.current_time(), house.forgotten)
    assert not house.places.has_slot()


async def test_an_idle_connection_has_no_slot(autojump_clock: MockClock, house: House) -> None:
    house.open(connections=8, handshakes=1)
    arrival = house.arrive()
    house.places.reads(arrival)
    assert not house.places.has_slot()

    Placed(house.places, arrival).idles()
    assert house.places.has_slot()
    assert [] == house.forgotten


async def test_somebody_is_told_when_a_connection_is_worked_on_or_ends(autojump_clock: MockClock, house: House) -> None:
    arrival = house.arrive()
    for change in (house.places.works, house.places.idles, house.places.refusal_sent, house.places.end):
        before = house.freed
        change(arrival)
        assert before + 1 == house.freed


# Addresses.


async def test_an_address_is_known_for_an_hour_once_it_has_completed_a_request(
    autojump_clock: MockClock, house: House
) -> None:
    house.open()
    first = house.arrive("a")
    assert not first.is_known
    house.places.has_spoken(first)
    assert [True, False] == [house.arrive(host).is_known for host in ("a", "b")]
    assert not house.arrive("a", proxies=Proxies(("192.0.2.1",))).is_known
    await trio.sleep(3_600)
    assert house.arrive("a").is_known
    await trio.sleep(1)
    assert not house.arrive("a").is_known


async def test_an_address_that_has_to_give_way_is_no_longer_known(autojump_clock: MockClock, house: House) -> None:
    for each in house.crowd(12):
        house.places.has_spoken(each)
    await trio.sleep(1)
    assert house.places.has_room()
    house.places.leave("10.0.0.1")
    again, other = house.arrive("10.0.0.0"), house.arrive("10.0.0.1")

    assert ("suspects", False, False) == (again.address, again.is_known, again.is_alone)
    assert ("10.0.0.1", True) == (other.address, other.is_known)
    await trio.sleep(61)
    assert not house.arrive("10.0.0.0").is_known


async def test_the_first_connection_of_an_address_is_alone(autojump_clock: MockClock, house: House) -> None:
    assert [True, False, True] == [house.arrive(host).is_alone for host in ("a", "a", "b")]


async def test_addresses_that_had_to_give_way_have_one_share_until_they_say_something(
    autojump_clock: MockClock, house: House
) -> None:
    house.crowd(12)
    await trio.sleep(1)
    again = []
    for number in range(3):
        assert house.places.has_room()
        again.append(house.arrive(f"10.0.0.{number}"))
    assert {("suspects", False)} == {(each.address, each.is_alone) for each in again}
    assert ["10.0.0.0", "10.0.0.1", "10.0.0.2"] == house.forgotten
    await trio.sleep(0.1)

    # There are others that have waited for longer.
    assert house.places.has_room()
    assert ("10.0.0.0", False) == (house.forgotten[-1], is_open(again[0]))
    house.places.has_spoken(again[1])
    assert ["10.0.0.1", "suspects"] == [house.arrive(host).address for host in ("10.0.0.1", "10.0.0.2")]
    await trio.sleep(60)
    assert "10.0.0.2" == house.arrive("10.0.0.2").address


@pytest.mark.parametrize(("waited", "seconds"), [(5, 0.25), (0.1, 0.9)])
async def test_who_was_silent_before_has_a_slot_for_a_shorter_time_if_it_has_waited_for_one(
    waited: float, seconds: float, autojump_clock: MockClock, house: House
) -> None:
    house.crowd(12)
    await trio.sleep(1)
    assert house.places.has_room()
    suspect = house.arrive("10.0.0.0")
    await trio.sleep(waited)
    for each in (suspect, house.arrive("a"), house.arrive("b"), house.arrive("c")):
        house.places.works(each)
        house.places.reads(each)
    await trio.sleep(seconds - 0.01)
    assert not house.places.has_slot()

    await trio.sleep(0.02)
    assert house.places.has_slot()
    assert not is_open(suspect)


async def test_a_connection_counts_for_whom_a_proxy_names(autojump_clock: MockClock, house: House) -> None:
    proxies = Proxies(("192.0.2.1",))
    arrival = house.arrive("192.0.2.1", proxies=proxies)
    house.places.reads(arrival)
    house.places.rename(arrival, "203.0.113.7", 80, None)

    assert {"203.0.113.7": 1} == house.places.by_address
    assert ("203.0.113.7", "203.0.113.7:80", 1) == (arrival.address, str(arrival), house.places.count)
    house.places.rename(arrival, "192.0.2.2", None, proxies)
    assert (None, "192.0.2.2") == (arrival.address, str(arrival))
    house.places.end(arrival)
    assert (0, {}) == (house.places.count, house.places.by_address)


async def test_connections_of_several_proxies_share_the_share_of_whom_they_name(
    autojump_clock: MockClock, house: House
) -> None:
    proxies = Proxies(("192.0.2.1",))
    house.crowd(9)
    for arrival in [house.arrive("192.0.2.1", proxies=proxies) for _ in range(3)]:
        house.places.rename(arrival, "203.0.113.7", 80, None)
    await trio.sleep(0.1)

    assert house.places.has_room()
    assert ["203.0.113.7"] == house.forgotten


async def test_an_address_may_have_so_many_and_a_proxy_any_number(autojump_clock: MockClock, house: House) -> None:
    house.open(connections_per_address=2)
    one, two, three = [house.arrive("a") for _ in range(3)]
    assert house.places.has_too_many(three)
    house.places.end(one)
    assert not house.places.has_too_many(two)
    house.places.replace(ServerSettings(connections_per_address=1))
    assert house.places.has_too_many(two)
    assert not house.places.has_too_many(house.arrive("a", proxies=Proxies(("192.0.2.1",))))
    house.places.replace(ServerSettings())
    assert not house.places.has_too_many(three)


# What is logged.


async def test_that_connections_were_closed_is_logged_now_and_then(autojump_clock: MockClock, house: House) -> None:
    house.open(connections=1, handshakes=1)
    house.crowd(40, host="192.0.2.1")
    with capture_logs() as logs:
        await trio.sleep(1)
        for _ in range(3):
            house.places._close_one("connections", house.places._silent)
        assert [
            {"event": "silent connections closed", "log_level": "warning", "open": 39, "for_connections": 1}
        ] == logs
        await trio.sleep(9)
        house.places._close_one("handshakes", house.places._silent)
        assert 1 == len(logs)
        await trio.sleep(1)
        house.places._close_one("connections", house.places._silent)
        assert {"for_connections": 3, "for_handshakes": 1, "open": 35}.items() <= logs[1].items()


async def test_what_no_limit_concerns_may_stand_as_it_likes() -> None:
    standing = Standing()
    standing.works()
    standing.idles()
    await standing.reads()


async def test_a_connection_that_works_on_reports_it_once(house: House) -> None:
    arrival = house.arrive()
    standing = Placed(house.places, arrival)
    freed = []
    for report in (standing.works, standing.works, standing.idles, standing.works, standing.works):
        before = house.freed
        report()
        freed.append(house.freed - before)

    assert [1, 0, 1, 1, 0] == freed
    await standing.reads()
    before = house.freed
    standing.works()
    assert 1 == house.freed - before


# Event streams of HTTP/2.


def test_an_event_stream_counts_as_a_connection_of_its_client() -> None:
    places = Places(ServerSettings(connections=2, connections_per_address=1), lambda _: None)
    places.enter_stream("192.0.2.1", is_limited=True)
    assert (1, 1) == (places.count, places.by_address["192.0.2.1"])
    with pytest.raises(RemoteError) as refused:
        places.enter_stream("192.0.2.1", is_limited=True)
    assert (429, "1") == (refused.value.status, refused.value.headers["Retry-After"])
    places.enter_stream("192.0.2.1", is_limited=False)
    with pytest.raises(RemoteError) as refused:
        places.enter_stream("192.0.2.2", is_limited=True)
    assert (503, "1") == (refused.value.status, refused.value.headers["Retry-After"])
    for _ in range(2):
        places.leave("192.0.2.1")
    assert (0, 0) == (places.count, places.by_address["192.0.2.1"])


def test_without_a_limit_an_address_may_have_any_number() -> None:
    places = Places(ServerSettings(connections_per_address=0), lambda _: None)
    for _ in range(3):
        places.enter_stream("192.0.2.1", is_limited=True)
    assert 3 == places.count


def test_connections_without_places_count_no_streams() -> None:
    Standing().enter_stream("192.0.2.1")
    Standing().leave_stream("192.0.2.1")

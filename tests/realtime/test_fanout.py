"""The fan-out of deliveries to parked connections: who gets which bytes in which call, and who is woken or ended in place of that."""

import errno
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import KEY, FakeMetrics, Rounds
from vortexd.core.model import Key
from vortexd.pipeline.broadcast import Delivery, Subscriber
from vortexd.pipeline.encoder import Payload
from vortexd.pipeline.registry import Registry
from vortexd.protocol.close import CloseReason
from vortexd.realtime import fanout, groups, row
from vortexd.realtime.fanout import FanOut
from vortexd.realtime.forms import frame_of
from vortexd.realtime.groups import Groups
from vortexd.realtime.outgoing import Outgoing
from vortexd.realtime.parked import Parked, Subscriptions

from .lot import ANYBODY, FakeAdmission, FakeLot, FakeSockets

BILLING = Key("billing", "dev", "main")
# Long enough that its compressed form is shorter.
TEXT = b'{"text":"' + b"vortexd " * 40 + b'"}'


def change(old: str | None = "1", new: str | None = "2", payload: bytes = TEXT, key: Key = KEY) -> Delivery:
    return Delivery(key, old, new, Payload(payload), published=0.0)


class Part:
    """A fan-out with a lot and sockets that a test controls."""

    def __init__(self) -> None:
        self.lot, self.sockets, self.counters = FakeLot(), FakeSockets(), FakeMetrics()
        self.outgoing = Outgoing(self.lot.parked_at)
        self.registry: Registry[Subscriber] = Registry()
        self.groups = Groups(self.registry, self.outgoing, self.lot.parked_at)
        self.lot.leaving = self.groups.discard
        self.fanout = FanOut(self.lot, self.outgoing, self.sockets, self.counters)

    async def deliver(self, members: list[Parked], *deliveries: Delivery) -> None:
        """Queue deliveries, and let them all be written."""
        self.queue(members, *deliveries)
        await self.run()

    def queue(self, members: list[Parked], *deliveries: Delivery) -> None:
        """Subscribe connections, and queue deliveries."""
        for member in members:
            self.groups.add(member)
        for each in deliveries:
            for subscriber in self.registry.subscribers(each.key):
                subscriber.deliver(each)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.fanout.run)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()


@pytest.fixture
def part() -> Part:
    return Part()


async def test_all_connections_of_a_batch_get_the_frame_in_one_call_and_their_new_version(
    autojump_clock: MockClock, part: Part
) -> None:
    members, delivery = [part.lot.add() for _ in range(3)], change()
    await part.deliver(members, delivery)
    frame = frame_of(delivery)

    assert [([100, 101, 102], frame)] == part.sockets.writes
    assert ["2"] * 3 == [each.version for each in members]
    counts = part.counters.counts
    assert (3, 3, 3 * len(frame)) == (counts["sent config_change"], counts["delivered"], counts["bytes_written"])
    assert ([], []) == (part.lot.woken, part.lot.ended)


async def test_nothing_is_written_or_counted_for_a_batch_without_connections(
    autojump_clock: MockClock, part: Part
) -> None:
    await part.deliver([], change())

    assert ([], {}) == (part.sockets.writes, {name: count for name, count in part.counters.counts.items() if count})


async def test_deliveries_are_written_in_their_order(autojump_clock: MockClock, part: Part) -> None:
    members = [part.lot.add() for _ in range(2)]
    first, second = change("1", "2"), change("2", "3", b"{}")
    await part.deliver(members, first, second)

    assert [([100, 101], frame_of(first)), ([100, 101], frame_of(second))] == part.sockets.writes
    assert ["3", "3"] == [each.version for each in members]


async def test_a_connection_that_has_left_is_skipped_and_its_descriptor_with_it(
    autojump_clock: MockClock, part: Part
) -> None:
    members = [part.lot.add() for _ in range(3)]
    part.queue(members, change())
    gone = members[1]
    part.lot.end(gone, CloseReason.LOST)
    # Another connection has the descriptor now. It was not subscribed when the change was published.
    other = part.lot.add(fd=101)
    part.groups.add(other)
    await part.run()

    assert [[100, 102]] == [descriptors for descriptors, _ in part.sockets.writes]
    assert ("1", "1") == (gone.version, other.version)


async def test_a_batch_has_the_most_descriptors_that_a_call_takes_and_other_tasks_run_in_between(
    autojump_clock: MockClock, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (fanout, groups, row):
        monkeypatch.setattr(module, "MOST", 4)
    members = [part.lot.add() for _ in range(9)]
    rounds = Rounds.counting()
    at: list[int] = []
    write_all = part.sockets.write_all

    def noting(descriptors: Any, frame: bytes) -> list[tuple[int, int]]:
        at.append(rounds.count)
        return write_all(descriptors, frame)

    monkeypatch.setattr(part.sockets, "write_all", noting)
    await part.deliver(members, change())

    assert [[100, 101, 102, 103], [104, 105, 106, 107], [108]] == [each for each, _ in part.sockets.writes]
    assert 3 == len(set(at))
    assert {"2"} == {each.version for each in members}


async def test_a_short_write_wakes_with_the_rest_of_the_frame(autojump_clock: MockClock, part: Part) -> None:
    members, delivery = [part.lot.add() for _ in range(3)], change()
    part.sockets.results = {101: 10}
    await part.deliver(members, delivery)
    frame = frame_of(delivery)

    assert [(members[1], b"", frame[10:], ())] == part.lot.woken
    # The rest follows before anything else, so it has the new version.
    assert ["2"] * 3 == [each.version for each in members]
    assert 2 * len(frame) + 10 == part.counters.counts["bytes_written"]
    assert 3 == part.counters.counts["sent config_change"]


async def test_a_socket_without_room_wakes_with_the_old_version(autojump_clock: MockClock, part: Part) -> None:
    members, delivery = [part.lot.add() for _ in range(3)], change()
    part.sockets.results = {100: -errno.EAGAIN}
    await part.deliver(members, delivery)

    assert [(members[0], b"", b"", ())] == part.lot.woken
    assert ["1", "2", "2"] == [each.version for each in members]
    assert 2 * len(frame_of(delivery)) == part.counters.counts["bytes_written"]
    assert 2 == part.counters.counts["sent config_change"] == part.counters.counts["delivered"]


@pytest.mark.parametrize("result", [None, 10, -errno.EAGAIN, -errno.EPIPE])
async def test_a_connection_that_is_subscribed_twice_is_written_to_once(
    autojump_clock: MockClock, part: Part, result: int | None
) -> None:
    member, other = part.lot.add(), part.lot.add()
    part.sockets.results = {} if result is None else {100: result}
    await part.deliver([member, member, other], change())

    assert [[100, 101]] == [each for each, _ in part.sockets.writes]
    assert (result is not None) == (1 == len(part.lot.woken) + len(part.lot.ended))
    assert "2" == other.version


@pytest.mark.parametrize("result", [None, 10, -errno.EAGAIN, -errno.EPIPE])
async def test_a_connection_that_stands_twice_in_a_batch_is_written_to_once_in_a_call(
    autojump_clock: MockClock, part: Part, result: int | None
) -> None:
    member, other = part.lot.add(), part.lot.add(admission=FakeAdmission(object()))
    part.sockets.results = {} if result is None else {100: result}
    delivery = change()
    part.queue([member, other], delivery)
    [group] = part.registry.subscribers(KEY)
    # One group, twice.
    group.deliver(delivery)
    await part.run()

    assert [[100, 101]] == [each for each, _ in part.sockets.writes]
    # The second time, they have the new version, or have left already.
    assert [member, other] == [each for each, *_ in (*part.lot.ended, *part.lot.woken)]
    assert "2" == other.version


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ECONNRESET, errno.EIO])
async def test_a_broken_socket_ends_its_connection_only(autojump_clock: MockClock, part: Part, number: int) -> None:
    members = [part.lot.add() for _ in range(3)]
    part.sockets.results = {102: -number}
    await part.deliver(members, change())

    assert [(members[2], CloseReason.LOST)] == part.lot.ended
    assert ["2", "2", "1"] == [each.version for each in members]
    assert 2 == part.counters.counts["sent config_change"]
    assert [] == part.lot.woken


async def test_all_exceptions_of_a_batch_are_handled(autojump_clock: MockClock, part: Part) -> None:
    members = [part.lot.add() for _ in range(5)]
    part.sockets.results = {100: 0, 101: -errno.EAGAIN, 103: -errno.EPIPE, 104: 1}
    delivery = change()
    await part.deliver(members, delivery)
    frame = frame_of(delivery)

    assert [(members[0], frame), (members[1], b""), (members[4], frame[1:])] == [
        (parked, unsent) for parked, _, unsent, _ in part.lot.woken
    ]
    assert [(members[3], CloseReason.LOST)] == part.lot.ended
    assert ["2", "1", "2", "1", "2"] == [each.version for each in members]


# Who needs more than a write.


async def test_a_connection_with_another_version_is_woken_and_the_others_are_written_to(
    autojump_clock: MockClock, part: Part
) -> None:
    members = [part.lot.add("1"), part.lot.add("0"), part.lot.add("1")]
    delivery = change()
    await part.deliver(members, delivery)

    assert [[100, 102]] == [each for each, _ in part.sockets.writes]
    assert [(members[1], b"", b"", [delivery.key])] == part.lot.woken
    assert "0" == members[1].version


async def test_a_whole_document_needs_no_version(autojump_clock: MockClock, part: Part) -> None:
    members = [part.lot.add("1"), part.lot.add("0")]
    await part.deliver(members, change(None, "2"))

    assert [[100, 101]] == [each for each, _ in part.sockets.writes]


async def test_the_end_of_a_key_wakes(autojump_clock: MockClock, part: Part) -> None:
    members = [part.lot.add() for _ in range(2)]
    await part.deliver(members, change("1", None))

    assert ([], members) == (part.sockets.writes, [each for each, *_ in part.lot.woken])


async def test_rights_are_decided_once_for_each_principal_and_those_without_are_woken(
    autojump_clock: MockClock, part: Part
) -> None:
    one, other = object(), object()
    admissions = [
        FakeAdmission(one),
        FakeAdmission(other, is_allowed=False),
        FakeAdmission(one),
        FakeAdmission(other, is_allowed=False),
        FakeAdmission(one),
    ]
    members = [part.lot.add(admission=each) for each in admissions]
    await part.deliver(members, change())

    assert [[100, 102, 104]] == [each for each, _ in part.sockets.writes]
    assert [members[1], members[3]] == [each for each, *_ in part.lot.woken]
    assert [1, 1, 0, 0, 0] == [each.asked for each in admissions]


async def test_rights_are_decided_again_for_the_next_batch(autojump_clock: MockClock, part: Part) -> None:
    admission = FakeAdmission(object())
    member = part.lot.add(admission=admission)
    await part.deliver([member], change("1", "2"))
    admission.is_allowed = False
    await part.deliver([member], change("2", "3"))

    assert 1 == len(part.sockets.writes)
    assert [member] == [each for each, *_ in part.lot.woken]


async def test_rights_are_decided_for_each_principal_of_a_shared_row(
    autojump_clock: MockClock, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_ROWS", 0)
    one, denied, other = object(), object(), object()
    admissions = [
        FakeAdmission(denied, is_allowed=False),
        *(FakeAdmission(principal) for principal in (one, other, one)),
        FakeAdmission(denied, is_allowed=False),
    ]
    members = [part.lot.add(admission=each) for each in admissions]
    delivery = change()
    await part.deliver(members, delivery)

    assert [[101, 102, 103]] == [each for each, _ in part.sockets.writes]
    assert [(members[0], [KEY]), (members[4], [KEY])] == [(parked, missed) for parked, _, _, missed in part.lot.woken]
    assert [1, 1, 1, 0, 0] == [each.asked for each in admissions]
    assert ["1", "2", "2", "2", "1"] == [each.version for each in members]


# Connections that can't take a frame are woken a few at a time.


@pytest.fixture
async def waking(part: Part, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rounds of the loop in which connections are woken, one entry for each connection."""
    rounds, at, wake = Rounds.counting(), list[int](), part.lot.wake

    def noting(parked: Parked, *more: Any, **options: Any) -> object:
        at.append(rounds.count)
        return wake(parked, *more, **options)

    monkeypatch.setattr(part.lot, "wake", noting)
    return at


def counts(rounds: list[int]) -> list[int]:
    return [rounds.count(each) for each in dict.fromkeys(rounds)]


async def test_when_a_key_ends_other_tasks_run_between_the_connections_that_wake(
    autojump_clock: MockClock, part: Part, waking: list[int]
) -> None:
    members = [part.lot.add() for _ in range(10)]
    await part.deliver(members, change("1", None))

    assert [4, 4, 2] == counts(waking)
    assert [(each, [KEY]) for each in members] == [(parked, missed) for parked, _, _, missed in part.lot.woken]
    assert {"1"} == {each.version for each in members}
    assert not part.registry.is_wanted(KEY)


async def test_without_the_right_other_tasks_run_between_the_connections_that_wake(
    autojump_clock: MockClock, part: Part, waking: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_ROWS", 0)
    admissions = [FakeAdmission(object(), is_allowed=number % 2 == 1) for number in range(12)]
    members = [part.lot.add(admission=each) for each in admissions]
    await part.deliver(members, change())

    assert [4, 2] == counts(waking)
    assert members[::2] == [each for each, *_ in part.lot.woken]
    assert [[101, 103, 105, 107, 109, 111]] == [each for each, _ in part.sockets.writes]
    assert ["1", "2"] * 6 == [each.version for each in members]


class Between(trio.abc.Instrument):
    """Calls a function once, in the first pause between two rounds of the loop in which some connections were woken."""

    def __init__(self, waking: list[int], then: Callable[[], None]) -> None:
        self._waking, self._then = waking, then
        self.woken = 0

    def before_io_wait(self, timeout: float) -> None:
        if self._waking and not self.woken:
            self.woken = len(self._waking)
            self._then()


async def during(part: Part, waking: list[int], then: Callable[[], None]) -> None:
    """Run the fan-out, and call a function when the first few connections were woken."""
    between = Between(waking, then)
    trio.lowlevel.add_instrument(between)
    await part.run()
    assert 4 == between.woken


@pytest.mark.parametrize("is_shared", [False, True])
async def test_a_connection_that_waits_to_be_woken_gets_no_later_delivery(
    autojump_clock: MockClock, part: Part, waking: list[int], monkeypatch: pytest.MonkeyPatch, is_shared: bool
) -> None:
    """Even if it has the right again by then. It catches up, because it has missed a change."""
    monkeypatch.setattr(groups, "_ROWS", 0 if is_shared else 64)
    principals = (object(), object()) if is_shared else (ANYBODY,) * 2
    denied = [FakeAdmission(principals[0], is_allowed=False) for _ in range(9)]
    members = [part.lot.add(admission=each) for each in denied]
    allowed = part.lot.add(admission=FakeAdmission(principals[1], is_allowed=is_shared))
    part.queue([*members, allowed], change("1", "2"))

    def again() -> None:
        for each in denied:
            each.is_allowed = True
        part.queue([], change(None, "3"))

    await during(part, waking, again)

    assert [[109], [109]] * is_shared == [each for each, _ in part.sockets.writes]
    # Without the right, a row of one principal wakes whole.
    assert (members if is_shared else [*members, allowed]) == [each for each, *_ in part.lot.woken]
    assert {"1"} == {each.version for each in members}


async def test_a_connection_that_leaves_before_it_is_woken_is_left_alone_and_its_descriptor_too(
    autojump_clock: MockClock, part: Part, waking: list[int]
) -> None:
    members = [part.lot.add() for _ in range(9)]
    part.queue(members, change("1", None))
    others: list[Parked] = []

    def leave() -> None:
        for each in members[5:7]:
            part.lot.end(each, CloseReason.LOST)
        others.append(part.lot.add(fd=105))
        part.groups.add(others[0])

    await during(part, waking, leave)

    assert [*members[:5], *members[7:]] == [each for each, *_ in part.lot.woken]
    assert [4, 3] == counts(waking)
    assert others[0] in part.lot
    assert part.registry.is_wanted(KEY)


async def test_no_connection_joins_those_that_wait_to_be_woken(
    autojump_clock: MockClock, part: Part, waking: list[int]
) -> None:
    members = [part.lot.add() for _ in range(9)]
    part.queue(members, change("1", None))
    rows: list[object] = []

    def join() -> None:
        newcomer = part.lot.add(fd=300)
        part.groups.add(newcomer)
        rows.extend([newcomer.shared, members[8].shared, len(members[8].shared.waiting)])  # type: ignore[union-attr]

    await during(part, waking, join)

    assert rows[0] is not rows[1]
    assert 1 == rows[2]
    assert members == [each for each, *_ in part.lot.woken]
    assert () == rows[1].waiting  # type: ignore[attr-defined]


# Connections that arrive while a delivery waits.


async def test_a_connection_that_arrives_after_a_change_was_published_does_not_get_it(
    autojump_clock: MockClock, part: Part
) -> None:
    """Versions may return: the newcomer has the version that the delivery builds on, but a newer state."""
    member = part.lot.add("1")
    part.queue([member], change("1", "2"), change("2", "1"))
    newcomer = part.lot.add("1")
    part.groups.add(newcomer)
    await part.run()
    assert [[100], [100]] == [each for each, _ in part.sockets.writes]
    assert ("1", "1") == (member.version, newcomer.version)
    await part.deliver([], change("1", "3"))

    assert [100, 101] == sorted(part.sockets.writes[-1][0])
    assert ("3", "3") == (member.version, newcomer.version)


async def test_small_rows_share_a_call_as_far_as_they_fit(
    autojump_clock: MockClock, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (fanout, groups, row):
        monkeypatch.setattr(module, "MOST", 4)
    sizes = (2, 2, 1, 4, 1, 1)
    members = []
    for size in sizes:
        principal = object()
        members += [part.lot.add(admission=FakeAdmission(principal)) for _ in range(size)]
    await part.deliver(members, change())

    assert [4, 1, 4, 2] == [len(each) for each, _ in part.sockets.writes]
    assert [each.fd for each in members] == [fd for each, _ in part.sockets.writes for fd in each]
    assert 11 == part.counters.counts["sent config_change"]


async def test_a_connection_that_fails_in_one_of_several_rows_leaves_the_others_as_they_are(
    autojump_clock: MockClock, part: Part
) -> None:
    members = [part.lot.add(admission=FakeAdmission(object())) for _ in range(3)]
    part.sockets.results = {101: -errno.EAGAIN, 102: 3}
    delivery = change()
    await part.deliver(members, delivery)

    assert [(members[1], b""), (members[2], frame_of(delivery)[3:])] == [
        (parked, unsent) for parked, _, unsent, _ in part.lot.woken
    ]
    assert ["2", "1", "2"] == [each.version for each in members]
    assert not [each for each in members[1:] if each.shared is not None]


async def test_connections_that_wake_together_have_all_left_their_row(autojump_clock: MockClock, part: Part) -> None:
    members = [part.lot.add() for _ in range(3)]
    await part.deliver(members, change("0", "2"))

    assert (members, []) == ([each for each, *_ in part.lot.woken], part.sockets.writes)
    assert not part.registry.is_wanted(KEY)


# Compression.


async def test_clients_with_the_same_window_share_one_compressed_form_and_one_call(
    autojump_clock: MockClock, part: Part
) -> None:
    members = [part.lot.add(window_bits=bits) for bits in (None, 15, 9, 15, None)]
    delivery = change()
    await part.deliver(members, delivery)
    frame = frame_of(delivery)

    assert [
        ([100, 104], frame),
        ([101, 103], frame.for_window(15)),
        ([102], frame.for_window(9)),
    ] == part.sockets.writes
    assert len(frame.for_window(15)) < len(frame)
    assert {"2"} == {each.version for each in members}
    written = 2 * len(frame) + 2 * len(frame.for_window(15)) + len(frame.for_window(9))
    assert written == part.counters.counts["bytes_written"]
    assert 5 == part.counters.counts["sent config_change"]


@pytest.mark.parametrize("size", [65_536, 65_537])
async def test_a_frame_that_only_a_thread_may_compress_wakes_the_clients_that_need_it(
    autojump_clock: MockClock, part: Part, size: int
) -> None:
    members = [part.lot.add(), part.lot.add(window_bits=15)]
    delivery = change(payload=b"x" * (size - 4))
    assert size == len(frame_of(delivery))
    await part.deliver(members, delivery)

    if size == 65_536:
        assert ([[100], [101]], []) == ([each for each, _ in part.sockets.writes], part.lot.woken)
    else:
        assert [(members[1], b"", b"", [delivery.key])] == part.lot.woken
        assert [[100]] == [each for each, _ in part.sockets.writes]


async def test_a_large_frame_that_is_compressed_already_is_written(autojump_clock: MockClock, part: Part) -> None:
    members = [part.lot.add(window_bits=15)]
    delivery = change(payload=b"x" * 70_000)
    frame_of(delivery).for_window(15)
    await part.deliver(members, delivery)

    assert [([100], frame_of(delivery).for_window(15))] == part.sockets.writes


# Connections with several keys.


@pytest.fixture
def writes(part: Part, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []

    def write(fd: int, data: bytes) -> int:
        found.append((fd, bytes(data)))
        return len(data)

    monkeypatch.setattr(part.sockets, "write", write)
    return found


def several(part: Part, **more: Any) -> Parked:
    return part.lot.add(more=Subscriptions((), ("", "")), **more)


async def test_all_deliveries_to_a_connection_with_several_keys_are_one_write(
    autojump_clock: MockClock, part: Part, writes: list[tuple[int, bytes]]
) -> None:
    member = several(part)
    deliveries = [change("1", "2"), change(None, "b", key=BILLING), change("2", "3")]
    for each in deliveries:
        part.outgoing.put(member, each)
    await part.run()

    assert [(100, b"".join(map(frame_of, deliveries)))] == writes
    assert {KEY: "3", BILLING: "b"} == member.versions
    assert sum(len(frame_of(each)) for each in deliveries) == part.counters.counts["bytes_written"]
    assert (2, 1) == (part.counters.counts["sent config_change"], part.counters.counts["sent config_snapshot"])


@pytest.mark.parametrize(
    ("error", "is_woken"), [(BlockingIOError(errno.EAGAIN, ""), True), (BrokenPipeError(errno.EPIPE, ""), False)]
)
async def test_a_write_that_fails_wakes_or_ends(
    autojump_clock: MockClock, part: Part, monkeypatch: pytest.MonkeyPatch, error: OSError, is_woken: bool
) -> None:
    def write(fd: int, data: bytes) -> int:
        raise error

    monkeypatch.setattr(part.sockets, "write", write)
    member, delivery = several(part), change()
    part.outgoing.put(member, delivery)
    await part.run()

    assert ([(member, b"", b"", [delivery.key])] if is_woken else []) == part.lot.woken
    assert ([] if is_woken else [(member, CloseReason.LOST)]) == part.lot.ended
    assert ("1", 0) == (member.version, part.counters.counts["sent config_change"])


async def test_a_short_write_of_several_frames_wakes_with_the_rest(
    autojump_clock: MockClock, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part.sockets, "write", lambda fd, data: 7)
    member, delivery = several(part), change()
    part.outgoing.put(member, delivery)
    await part.run()

    assert [(member, b"", frame_of(delivery)[7:], ())] == part.lot.woken
    assert ("2", 7) == (member.version, part.counters.counts["bytes_written"])


async def test_other_tasks_run_between_connections_with_several_keys(
    autojump_clock: MockClock, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "_GATHERED_AT_ONCE", 2)
    rounds, at = Rounds.counting(), []

    def write(fd: int, data: bytes) -> int:
        at.append(rounds.count)
        return len(data)

    monkeypatch.setattr(part.sockets, "write", write)
    delivery = change()
    for member in [several(part) for _ in range(5)]:
        part.outgoing.put(member, delivery)
    await part.run()

    assert [2, 2, 1] == [at.count(each) for each in dict.fromkeys(at)]


async def test_a_group_ends_with_its_last_connections_even_if_no_socket_took_the_frame(
    autojump_clock: MockClock, part: Part
) -> None:
    part.sockets.results = {100: -errno.EAGAIN, 101: -errno.EAGAIN}
    await part.deliver([part.lot.add(), part.lot.add()], change())

    assert 2 == len(part.lot.woken)
    assert not part.registry.subscribers(KEY)
    member = part.lot.add(fd=102)
    await part.deliver([member], change())
    assert "2" == member.version

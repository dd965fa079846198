"""Groups of parked connections: each key has one subscriber for all of its connections with a single key."""

from collections.abc import Collection
from typing import Any, cast

import attrs
import pytest

from tests.fakes import KEY
from vortexd.core.model import Key
from vortexd.pipeline.broadcast import Delivery, Subscriber
from vortexd.pipeline.encoder import Payload
from vortexd.pipeline.registry import Registry
from vortexd.protocol.close import CloseReason
from vortexd.realtime import groups, row
from vortexd.realtime.groups import Groups
from vortexd.realtime.parked import Parked, Subscriptions
from vortexd.realtime.row import Row

from .lot import FakeAdmission, FakeLot

OTHER = Key("billing", "dev", "main")
DELIVERY = Delivery(KEY, "1", "2", Payload(b"{}"))


class Queue:
    """A queue that keeps what is put into it, if it has room."""

    def __init__(self) -> None:
        self.found: list[tuple[list[Row], Delivery]] = []
        self.has_room = True

    def put_all(self, rows: Collection[Row], delivery: Delivery) -> bool:
        if self.has_room:
            self.found.append((list(rows), delivery))
        return self.has_room


class Part:
    """Groups with a lot and a queue that a test controls."""

    def __init__(self) -> None:
        self.lot, self.queue = FakeLot(), Queue()
        self.registry: Registry[Subscriber] = Registry()
        self.postponed: dict[Key, str] = {}
        self.groups = Groups(self.registry, self.queue, self.lot.parked_at, self.postponed.get)
        self.lot.leaving = self.groups.discard

    def add(self, count: int = 1, **more: Any) -> list[Parked]:
        members = [self.lot.add(**more) for _ in range(count)]
        for each in members:
            self.groups.add(each)
        return members

    def end(self, *members: Parked) -> None:
        for each in members:
            self.lot.end(each, CloseReason.LOST)

    def deliver(self, delivery: Delivery = DELIVERY) -> list[Row]:
        """Deliver to the only group. Returns the rows that were queued."""
        [group] = self.registry.subscribers(delivery.key)
        count = len(self.queue.found)
        group.deliver(delivery)
        return [row for rows, _ in self.queue.found[count:] for row in rows]

    def write(self, rows: list[Row], version: str = "2") -> None:
        """Do as the fan-out does after a write."""
        for each in rows:
            each.version = version
            each.group.written(each)

    def rows(self, key: Key = KEY) -> list[list[int]]:
        """Return the descriptors of all rows of a key."""
        [group] = self.registry.subscribers(key)
        return [list(each.descriptors) for each in cast(Any, group)._rows]


@pytest.fixture
def part() -> Part:
    return Part()


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row has four connections at most."""
    for module in (row, groups):
        monkeypatch.setattr(module, "MOST", 4)


def test_the_connections_of_a_key_are_one_subscriber(part: Part) -> None:
    members = part.add(2)
    part.add(key=OTHER)
    part.groups.add(members[0])
    [group] = part.registry.subscribers(KEY)
    [queued] = part.deliver()

    assert 2 == len(cast(Any, group))
    assert members == list(queued.members(part.lot.parked_at))
    assert DELIVERY is part.queue.found[0][1]
    assert 1 == len(part.registry.subscribers(OTHER))


def test_a_group_ends_with_its_last_connection_and_may_begin_again(part: Part) -> None:
    one, other = part.add(2)
    part.end(one)
    assert part.registry.is_wanted(KEY)
    part.end(other)
    assert not part.registry.is_wanted(KEY)
    [again] = part.add()
    [queued] = part.deliver()

    assert [again] == list(queued.members(part.lot.parked_at))


def test_a_group_ends_with_its_last_connection_even_if_a_delivery_waits(part: Part) -> None:
    members = part.add(2)
    queued = part.deliver()
    part.end(*members)
    assert not part.registry.is_wanted(KEY)
    part.write(queued)
    assert not part.registry.is_wanted(KEY)
    newcomers = part.add(1)

    assert [[each.fd for each in newcomers]] == part.rows()


def test_a_connection_with_several_keys_is_a_subscriber_of_its_own(part: Part) -> None:
    [several] = part.add(more=Subscriptions((), ("", "")))
    assert [several] == list(part.registry.subscribers(KEY))
    assert several.shared is None
    part.end(several)
    assert not part.registry.is_wanted(KEY)


def test_connections_that_a_delivery_may_treat_differently_are_in_different_rows(part: Part) -> None:
    one = FakeAdmission(object())
    [first] = part.add(admission=one)
    part.add(admission=one, version="2")
    part.add(admission=one, window_bits=15)
    part.add(admission=FakeAdmission(object()))
    [alike] = part.add(admission=FakeAdmission(one.principal))

    assert [[first.fd, alike.fd], [101], [102], [103]] == part.rows()


@pytest.mark.usefixtures("four")
def test_a_row_has_the_most_descriptors_of_a_call(part: Part) -> None:
    members = part.add(9)
    assert [[100, 101, 102, 103], [104, 105, 106, 107], [108]] == part.rows()
    part.end(members[8])
    assert [[100, 101, 102, 103], [104, 105, 106, 107]] == part.rows()
    part.end(members[1])
    part.add(fd=120)
    part.add(fd=121)

    assert [[100, 102, 103, 120], [104, 105, 106, 107], [121]] == part.rows()


# Versions.


def test_all_connections_of_a_row_move_to_a_version_together(part: Part) -> None:
    members = part.add(3)
    part.write(part.deliver())

    assert ["2"] * 3 == [each.version for each in members]
    assert {KEY: "2"} == members[0].versions


def test_a_connection_that_leaves_keeps_the_version_that_it_had(part: Part) -> None:
    members = part.add(3)
    queued = part.deliver()
    part.end(members[0])
    part.write(queued)
    part.end(members[1])
    part.write(part.deliver(), "3")

    assert ["1", "2", "3"] == [each.version for each in members]
    assert [None, None] == [each.shared for each in members[:2]]


def test_a_connection_that_left_its_row_may_still_be_discarded(part: Part) -> None:
    one, other = part.add(2)
    for each in (one, other):
        cast(Row, each.shared).remove(each)
    part.groups.discard(one)
    assert "1" == one.version


# Who may join.


def test_no_connection_joins_a_row_for_which_a_delivery_waits(part: Part) -> None:
    part.add(2)
    first = part.deliver()
    second = part.deliver(Delivery(KEY, "2", "1", Payload(b"{}")))
    part.add()
    assert [[100, 101], [102]] == part.rows()
    part.write(first, "2")
    part.add()
    assert [[100, 101], [102, 103]] == part.rows()
    part.write(second, "1")

    assert [[100, 101, 102, 103]] == [sorted(each) for each in part.rows()]


def test_connections_join_as_before_if_the_delivery_was_not_queued(part: Part) -> None:
    part.add()
    part.queue.has_room = False
    part.deliver()
    part.add()

    assert [[100, 101]] == part.rows()


def test_a_row_that_was_written_to_takes_connections_with_its_new_version(part: Part) -> None:
    part.add(2)
    part.write(part.deliver())
    part.add(version="1")
    part.add(version="2")

    assert [[100, 101, 103], [102]] == part.rows()


# Rows are combined.


@pytest.mark.parametrize(("before", "after"), [(3, [[103, 100, 101, 102]]), (4, [[100, 101, 102, 103], [104]])])
@pytest.mark.usefixtures("four")
def test_rows_of_the_same_form_become_one_if_they_fit(part: Part, before: int, after: list[list[int]]) -> None:
    part.add(before)
    queued = part.deliver()
    members = part.add(version="2")
    part.write(queued)

    assert sorted(map(sorted, after)) == sorted(map(sorted, part.rows()))
    assert all(each.version == "2" for each in part.lot.parked.values())
    # The combined row moves together, and each connection can leave it.
    part.write(part.deliver(Delivery(KEY, "2", "3", Payload(b"{}"))), "3")
    assert {"3"} == {each.version for each in part.lot.parked.values()}
    part.end(*members, *list(part.lot.parked.values())[:before])
    assert not part.registry.is_wanted(KEY)


def test_the_smaller_row_joins_the_larger(part: Part) -> None:
    members = part.add(1)
    queued = part.deliver()
    large = part.add(3, version="2")
    kept = large[0].shared
    part.write(queued)

    assert kept is members[0].shared is large[2].shared


@pytest.mark.usefixtures("four")
def test_many_changes_with_arrivals_leave_few_rows(part: Part) -> None:
    queued: list[Row] = []
    for number in range(30):
        part.add(version=str(number))
        part.write(queued, str(number))
        queued = part.deliver(Delivery(KEY, str(number), str(number + 1), Payload(b"{}")))

    assert 30 == sum(map(len, part.rows()))
    assert 16 > len(part.rows())


# Principals.


def test_connections_join_by_the_principals_that_a_reload_has_made(part: Part) -> None:
    one = object()
    admissions = [FakeAdmission(principal) for principal in (one, one, object())]
    for each in admissions:
        part.add(admission=each)
    assert [[100, 101], [102]] == part.rows()
    renewed = object()
    for each in admissions:
        each.principal = renewed
    part.groups.renew()
    assert [[100, 101, 102]] == [sorted(each) for each in part.rows()]
    part.add(admission=FakeAdmission(one))
    part.add(admission=FakeAdmission(renewed))

    assert [[100, 101, 102, 104], [103]] == [sorted(each) for each in part.rows()]


def test_a_reload_lets_nobody_join_while_a_delivery_waits(part: Part) -> None:
    admission = FakeAdmission(object())
    part.add(admission=admission)
    queued = part.deliver()
    admission.principal = object()
    part.groups.renew()
    part.add(admission=admission)
    assert [[100], [101]] == part.rows()
    part.write(queued)
    part.add(admission=admission, version="2")

    assert [[100, 102], [101]] == part.rows()


def test_a_group_with_many_principals_lets_the_further_ones_share_rows(
    part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_ROWS", 2)
    first = FakeAdmission(object())
    part.add(admission=first)
    for _ in range(3):
        part.add(admission=FakeAdmission(object()))
    part.add(admission=first)
    part.add(admission=first, window_bits=15)
    part.add(admission=FakeAdmission(object()), window_bits=15)
    assert [[100, 104], [101], [102, 103], [105, 106]] == part.rows()

    part.groups.renew()
    assert [[100, 104], [101], [102, 103], [105, 106]] == part.rows()


# Connections that begin with a change before its broadcast.


def test_a_connection_that_began_with_a_change_gets_the_next_one_only(part: Part) -> None:
    early = part.add(2)
    part.postponed[KEY] = "2"
    late = part.add(2, version="2")
    assert [[100, 101], [102, 103]] == part.rows()
    part.write(part.deliver())
    part.postponed.clear()

    assert ["2"] * 4 == [each.version for each in (*early, *late)]
    # All have the same version now, so they are alike again, and get what follows.
    assert [[100, 101, 102, 103]] == [sorted(each) for each in part.rows()]
    rows = part.deliver(attrs.evolve(DELIVERY, old_version="2", new_version="3"))
    assert [[100, 101, 102, 103]] == [sorted(each.descriptors) for each in rows]


def test_the_same_change_again_is_not_left_out(part: Part) -> None:
    """Otherwise a change that is broadcast twice would be hidden from the checks of the messages to clients."""
    part.add()
    part.postponed[KEY] = "2"
    part.add(version="2")
    part.write(part.deliver())

    assert [[100, 101]] == [sorted(each.descriptors) for each in part.deliver()]
    # Nor is it left out for one that joins after the broadcast with the same version.
    part.postponed.clear()
    part.add(version="2")
    assert [102] in [list(each.descriptors) for each in part.deliver()]


def test_if_all_began_with_a_change_it_is_not_queued(part: Part) -> None:
    part.postponed[KEY] = "2"
    part.add(2, version="2")

    assert [] == part.deliver()
    assert [] == part.queue.found
    assert [[100, 101]] == [list(each.descriptors) for each in part.deliver()]


@pytest.mark.parametrize("new", [None, "3"])
def test_another_delivery_before_the_broadcast_is_for_them_too(part: Part, new: str | None) -> None:
    """For example the end of the key. Then the change isn't broadcast any more."""
    part.postponed[KEY] = "2"
    part.add(version="2")
    delivery = attrs.evolve(DELIVERY, old_version="2", new_version=new)
    assert [[100]] == [list(each.descriptors) for each in part.deliver(delivery)]
    # From then on, they are like any others.
    assert [[100]] == [list(each.descriptors) for each in part.deliver()]


def test_a_connection_with_an_older_version_or_another_key_gets_the_change(part: Part) -> None:
    part.add()
    part.postponed[KEY] = "2"
    # It was awake when the change came into force.
    part.add(version="1")
    part.add(version="2", key=OTHER)
    assert [[100, 101]] == part.rows()

    assert [[100, 101]] == [list(each.descriptors) for each in part.deliver()]
    assert [[102]] == [list(each.descriptors) for each in part.deliver(attrs.evolve(DELIVERY, key=OTHER))]


def test_rows_that_are_ahead_do_not_join_others_before_the_broadcast(part: Part) -> None:
    """A row of the same version that isn't ahead has missed an earlier delivery, for example."""
    other = part.add(version="2")
    part.postponed[KEY] = "2"
    part.add(2, version="2")
    assert [[100], [101, 102]] == part.rows()
    part.end(part.lot.parked[102])
    assert [[100], [101]] == part.rows()
    rows = part.deliver()

    assert [[100]] == [list(each.descriptors) for each in rows]
    assert "2" == other[0].version

"""A row of parked connections: they share a version and leave it one by one."""

from typing import Any, cast

import pytest

from tests.fakes import KEY
from vortexd.pipeline.broadcast import Delivery
from vortexd.pipeline.encoder import Payload
from vortexd.realtime import row as module
from vortexd.realtime.forms import PLAIN
from vortexd.realtime.row import Row, descriptors_of

from .lot import ANYBODY, FakeLot


@pytest.fixture
def lot() -> FakeLot:
    return FakeLot()


def row(lot: FakeLot, count: int, **more: Any) -> Row:
    members = [lot.add(**more) for _ in range(count)]
    made = Row(cast(Any, None), ANYBODY, PLAIN, members[0].version)
    for each in members:
        made.add(each)
    return made


def test_a_row_begins_without_connections() -> None:
    made = Row(cast(Any, None), ANYBODY, PLAIN, "7")

    assert (0, (), "7", PLAIN, ANYBODY) == (len(made), made.waiting, made.version, made.form, made.principal)
    assert not made.is_open


def test_connections_have_the_version_of_their_row_until_they_leave(lot: FakeLot) -> None:
    made = row(lot, 3)
    one, other, third = made.members(lot.parked_at)
    made.version = "2"
    made.remove(other)
    made.version = "3"

    assert ["3", "2", "3"] == [each.version for each in (one, other, third)]
    assert (made, None) == (one.shared, other.shared)
    assert [100, 102] == list(made.descriptors)
    assert one.accepts(Delivery(KEY, "3", "4", Payload(b"")), is_allowed=True)
    assert not other.accepts(Delivery(KEY, "3", "4", Payload(b"")), is_allowed=True)


def test_several_connections_leave_together_and_keep_their_version(lot: FakeLot) -> None:
    made = row(lot, 4)
    first, second, third, fourth = made.members(lot.parked_at)
    made.remove_all([second, fourth])
    made.version = "2"

    assert [100, 102] == list(made.descriptors)
    assert ["2", "1", "2", "1"] == [each.version for each in (first, second, third, fourth)]
    assert (made, None, made, None) == tuple(each.shared for each in (first, second, third, fourth))
    made.remove_all([])
    assert [100, 102] == list(made.descriptors)


def test_connections_may_join_if_there_is_room_and_nothing_waits(lot: FakeLot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    made = Row(cast(Any, None), ANYBODY, PLAIN, "1")
    lot.add()
    found = [made.is_open]
    for parked in (*lot.parked.values(), lot.add(), lot.add()):
        made.add(parked)
        found.append(made.is_open)
    made.remove(parked)
    made.waiting = (Delivery(KEY, "1", "2", Payload(b"")),)
    found.append(made.is_open)

    assert [False, True, True, False, False] == found


def test_members_may_leave_while_they_are_looked_at(lot: FakeLot) -> None:
    made = row(lot, 4)
    seen = []
    for each in made.members(lot.parked_at):
        seen.append(each.fd)
        made.remove(each)
        # The next but one leaves the lot before its turn.
        lot.parked.pop(102, None)

    assert [100, 101, 103] == seen


def test_a_row_takes_all_connections_of_another(lot: FakeLot) -> None:
    one, other = row(lot, 2), row(lot, 2)
    members = list(other.members(lot.parked_at))
    one.absorb(other, lot.parked_at)
    one.version = "5"

    assert ([100, 101, 102, 103], 0) == (list(one.descriptors), len(other))
    assert ["5", "5"] == [each.version for each in members]


def test_the_descriptors_of_several_rows_are_a_copy(lot: FakeLot) -> None:
    one, other = row(lot, 2), row(lot, 1)
    found = descriptors_of([one, other])
    one.remove(next(one.members(lot.parked_at)))

    assert ("i", [100, 101, 102], [101]) == (found.typecode, list(found), list(one.descriptors))
    assert [] == list(descriptors_of([]))

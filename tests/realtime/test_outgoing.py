"""The bounded channel of the parking lot."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.fakes import KEY
from vortexd.core.model import Key
from vortexd.pipeline.broadcast import Delivery
from vortexd.pipeline.encoder import Payload
from vortexd.realtime import outgoing
from vortexd.realtime.forms import PLAIN
from vortexd.realtime.outgoing import Outgoing
from vortexd.realtime.parked import Parked, Subscriptions
from vortexd.realtime.row import Row
from vortexd.realtime.versions import Versions

from .lot import ANYBODY, FakeAdmission

OTHER = Key("billing", "dev", "main")


def parked(*, has_patterns: bool = True, fd: int = 0) -> Parked:
    nothing = cast(Any, None)
    more = Subscriptions((), ("", "")) if has_patterns else None
    versions = Versions({KEY: "1"}) if has_patterns else "1"
    return Parked(nothing, fd, KEY, versions, FakeAdmission(ANYBODY), PLAIN, nothing, 0.0, nothing, more)  # type: ignore[arg-type]


def row(*members: Parked) -> Row:
    made = Row(cast(Any, None), ANYBODY, PLAIN, members[0].version)
    for each in members:
        made.add(each)
    return made


def delivery(key: Key = KEY, size: int = 10) -> Delivery:
    return Delivery(key, "1", "2", Payload(b"x" * size))


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outgoing]:
    def made(queue_messages: int = 2, queue_bytes: int = 100, members: Sequence[Parked] = ()) -> Outgoing:
        monkeypatch.setattr(outgoing, "_QUEUE_MESSAGES", queue_messages)
        monkeypatch.setattr(outgoing, "_QUEUE_BYTES", queue_bytes)
        return Outgoing({each.fd: each for each in members}.get)

    return made


Make = Callable[..., Outgoing]


async def test_a_delivery_is_one_batch_for_all_its_connections(make: Make) -> None:
    queue, first, second = make(), delivery(), delivery()
    members = [parked() for _ in range(3)]
    for each in (first, second):
        for member in members:
            queue.put(member, each)
    batches = await queue.take()

    assert [first, second] == [batch.delivery for batch in batches]
    assert tuple(members) == queue.gathered()
    assert () == queue.missed()


async def test_what_comes_for_a_taker_that_waits_is_one_batch_too(make: Make) -> None:
    queue, one = make(), delivery()
    members, rows = [parked() for _ in range(3)], [row(parked(has_patterns=False))]
    taken: list[Any] = []
    async with trio.open_nursery() as nursery:

        async def take() -> None:
            taken.extend(await queue.take())

        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        for member in members:
            queue.put(member, one)
        assert queue.put_all(rows, one)

    assert [rows] == [batch.rows for batch in taken]
    assert tuple(members) == queue.gathered()


async def test_as_many_deliveries_wait_as_may_and_the_rest_is_missed(make: Make) -> None:
    member = parked(has_patterns=False)
    queue, rows = make(queue_messages=2, members=[member]), [row(member)]
    assert [True, True, False, False] == [queue.put_all(rows, delivery()) for _ in range(4)]

    assert (member,) == queue.missed()
    assert 2 == len(await queue.take())
    assert queue.put_all(rows, delivery())
    assert 1 == len(await queue.take())
    assert [KEY] == queue.leave(member)
    assert () == queue.missed()


async def test_a_connection_with_several_keys_that_finds_no_room_has_missed_the_delivery(make: Make) -> None:
    queue, member = make(queue_messages=1), parked()
    queue.put(member, first := delivery())
    queue.put(member, delivery(OTHER))

    assert ((member,), (member,)) == (queue.missed(), queue.gathered())
    assert [first] == queue.take_gathered(member)
    assert [OTHER] == queue.leave(member)


async def test_the_channel_is_bounded_in_bytes_to_the_byte_and_takes_one_delivery_of_any_size(make: Make) -> None:
    for sizes, count in (((50, 50, 1), 2), ((50, 51), 1), ((1_000, 1), 1), ((99, 1, 1), 2)):
        queue, member = make(queue_messages=10, queue_bytes=100), parked()
        for size in sizes:
            queue.put(member, delivery(size=size))

        assert (member,) == queue.missed()
        assert count == len(await queue.take())
        # The bytes come back.
        queue.leave(member)
        queue.put(member, delivery(size=100))
        assert () == queue.missed()


async def test_deliveries_for_a_connection_with_several_keys_are_gathered(make: Make) -> None:
    queue, member, single = make(), parked(), row(parked(has_patterns=False))
    first, second = delivery(), delivery(OTHER)
    queue.put(member, first)
    queue.put_all([single], first)
    queue.put(member, second)

    assert [[single], []] == [batch.rows for batch in await queue.take()]
    assert (member,) == queue.gathered()
    assert [first, second] == queue.take_gathered(member)
    assert ((), ()) == (queue.gathered(), queue.take_gathered(member))


async def test_a_connection_that_leaves_is_told_the_keys_of_all_that_it_has_not_been_sent(make: Make) -> None:
    queue, member, other = make(queue_messages=1), parked(), parked()
    third = Key("search", "dev", "main")
    queue.put(member, first := delivery())
    queue.put(other, first)
    for each in (delivery(OTHER), delivery(third), delivery(third)):
        queue.put(member, each)

    assert [KEY, OTHER, third] == queue.leave(member)
    assert [] == queue.leave(member)
    assert (other,) == queue.gathered()
    assert () == queue.missed()


async def test_a_delivery_to_several_groups_is_one_batch(make: Make) -> None:
    queue, one = make(), delivery()
    rows = [row(parked(has_patterns=False, fd=fd)) for fd in range(3)]
    assert queue.put_all(rows[:2], one)
    assert queue.put_all(rows[2:], one)
    assert queue.put_all([], delivery())

    assert [rows, []] == [batch.rows for batch in await queue.take()]
    assert () == queue.missed()


async def test_rows_that_find_no_room_have_missed_the_delivery(make: Make) -> None:
    members = [parked(has_patterns=False, fd=fd) for fd in range(3)]
    queue, rows = make(queue_messages=1, members=members), [row(*members[:2]), row(members[2])]
    assert queue.put_all(rows, delivery())
    assert not queue.put_all(rows, delivery())
    assert not queue.put_all(rows[:1], delivery(OTHER))

    assert tuple(members) == queue.missed()
    assert [[KEY, OTHER], [KEY, OTHER], [KEY]] == [queue.leave(each) for each in members]


async def test_a_batch_keeps_its_rows_when_those_of_the_group_change(make: Make) -> None:
    queue, rows = make(), [row(parked(has_patterns=False)), row(parked(has_patterns=False))]
    expected = list(rows)
    queue.put_all(rows, delivery())
    rows.clear()

    assert [expected] == [batch.rows for batch in await queue.take()]

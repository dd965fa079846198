"""The facts that are true of every engine. A test module of an engine imports them, and gives a fixture `engines`.

The fixture returns two engines on one store, as two nodes have them. All keys of a test are below the fixture `prefix`.
"""

from collections.abc import Sequence

import pytest
import trio

from vortexd.cluster.engine import (
    Batch,
    CreatedAt,
    Delete,
    Engine,
    EngineError,
    Event,
    Put,
    TooLarge,
    TooMuch,
    Unmodified,
)

Engines = tuple[Engine, Engine]


def values(events: Sequence[Event]) -> list[tuple[str, bytes | None]]:
    return [(each.key.rpartition("/")[2], each.entry.value if each.entry is not None else None) for each in events]


async def test_an_entry_that_one_node_writes_is_read_by_the_other(engines: Engines, prefix: str) -> None:
    one, two = engines
    committed = await one.commit([Put(prefix + "a", b"\x00 value")])
    reading = await two.read([prefix + "a"])
    [entry] = reading.entries
    assert committed.is_done
    assert committed.found == ()
    assert (entry.key, entry.value, entry.lease) == (prefix + "a", b"\x00 value", "")
    assert entry.created == entry.modified == committed.revision == reading.revision
    assert reading.store == (await one.read([prefix + "b"])).store != ""


async def test_a_prefix_with_more_entries_than_are_wanted_is_not_read(engines: Engines, prefix: str) -> None:
    one, _ = engines
    await one.commit([Put(f"{prefix}{number}", b"") for number in range(20)])
    assert 20 == len((await one.read(prefix=prefix, most_entries=20)).entries)
    with pytest.raises(TooMuch, match=f"^{prefix} has more than 19 keys$"):
        await one.read(prefix=prefix, most_entries=19)


async def test_a_prefix_with_more_bytes_than_are_wanted_is_not_read(engines: Engines, prefix: str) -> None:
    one, _ = engines
    await one.commit([Put(prefix + "a", b"123"), Put(prefix + "b", b"")])
    size = 2 * (len(prefix) + 1) + 3
    assert 2 == len((await one.read(prefix=prefix, most_bytes=size)).entries)
    with pytest.raises(TooMuch, match=f"^{prefix} has more than {size - 1} bytes in keys and values$"):
        await one.read(prefix=prefix, most_bytes=size - 1)


async def test_a_second_write_keeps_the_revision_of_the_creation(engines: Engines, prefix: str) -> None:
    one, _ = engines
    first = await one.commit([Put(prefix + "a", b"1")])
    second = await one.commit([Put(prefix + "a", b"")])
    [entry] = (await one.read([prefix + "a"])).entries
    assert (entry.value, entry.created, entry.modified) == (b"", first.revision, second.revision)
    assert second.revision > first.revision


async def test_named_entries_are_read_as_far_as_they_exist(engines: Engines, prefix: str) -> None:
    one, _ = engines
    await one.commit([Put(prefix + "a", b"1"), Put(prefix + "c", b"3")])
    reading = await one.read([prefix + "c", prefix + "b", prefix + "a"])
    assert [each.key for each in reading.entries] == [prefix + "c", prefix + "a"]


async def test_a_prefix_is_read_whole_and_in_order(engines: Engines, prefix: str) -> None:
    one, two = engines
    for start in (100, 0):
        await one.commit([Put(f"{prefix}in/{number:03}", b"v") for number in range(start, start + 100)])
    await one.commit([Put(prefix + "in0", b"beside"), Put(prefix + "im", b"beside")])
    reading = await two.read(prefix=prefix + "in/")
    assert [each.key for each in reading.entries] == [f"{prefix}in/{number:03}" for number in range(200)]


async def test_a_prefix_is_read_as_it_was_at_a_former_revision(engines: Engines, prefix: str) -> None:
    one, two = engines
    first = await one.commit([Put(prefix + "a", b"1"), Put(prefix + "b", b"1")])
    await one.commit([Put(prefix + "a", b"2"), Delete(prefix + "b"), Put(prefix + "c", b"2")])
    reading = await two.read(prefix=prefix, revision=first.revision)
    assert [(each.key, each.value) for each in reading.entries] == [(prefix + "a", b"1"), (prefix + "b", b"1")]
    assert reading.revision == first.revision


async def test_a_prefix_without_entries_has_a_revision(engines: Engines, prefix: str) -> None:
    one, _ = engines
    committed = await one.commit([Put(prefix + "a", b"1")])
    reading = await one.read(prefix=prefix + "nothing/")
    assert (reading.entries, reading.revision) == ((), committed.revision)


async def test_all_writes_of_a_commit_have_one_revision(engines: Engines, prefix: str) -> None:
    one, _ = engines
    await one.commit([Put(prefix + "old", b"0")])
    committed = await one.commit([Put(prefix + "a", b"1"), Delete(prefix + "old"), Put(prefix + "b", b"2")])
    reading = await one.read(prefix=prefix)
    assert [(each.key, each.modified) for each in reading.entries] == [
        (prefix + "a", committed.revision),
        (prefix + "b", committed.revision),
    ]


async def test_a_condition_that_does_not_hold_prevents_all_writes(engines: Engines, prefix: str) -> None:
    one, two = engines
    first = await one.commit([Put(prefix + "a", b"1")])
    await two.commit([Put(prefix + "a", b"2")], [Unmodified(prefix + "a", first.revision)])
    late = await one.commit(
        [Put(prefix + "a", b"3"), Put(prefix + "b", b"3")],
        [Unmodified(prefix + "b", 0), Unmodified(prefix + "a", first.revision)],
    )
    assert not late.is_done
    assert [(each.key, each.value) for each in late.found] == [(prefix + "a", b"2")]
    assert [each.value for each in (await one.read(prefix=prefix)).entries] == [b"2"]


async def test_revision_0_means_that_there_is_no_entry(engines: Engines, prefix: str) -> None:
    one, two = engines
    assert (await one.commit([Put(prefix + "a", b"1")], [Unmodified(prefix + "a", 0)])).is_done
    assert not (await two.commit([Put(prefix + "a", b"2")], [Unmodified(prefix + "a", 0)])).is_done
    assert not (await two.commit([Put(prefix + "a", b"2")], [CreatedAt(prefix + "a", 0)])).is_done


async def test_a_fence_holds_until_the_entry_is_created_anew(engines: Engines, prefix: str) -> None:
    one, two = engines
    held = await one.commit([Put(prefix + "leader", b"one")])
    fence = CreatedAt(prefix + "leader", held.revision)
    await one.commit([Put(prefix + "leader", b"one, later")])
    assert (await one.commit([Put(prefix + "work", b"1")], [fence])).is_done
    await two.commit([Delete(prefix + "leader")])
    assert not (await one.commit([Put(prefix + "work", b"2")], [fence])).is_done
    await two.commit([Put(prefix + "leader", b"two")])
    assert not (await one.commit([Put(prefix + "work", b"3")], [fence])).is_done
    assert (await one.read([prefix + "work"])).entries[0].value == b"1"


async def test_a_commit_of_128_writes_is_taken_and_a_larger_one_refused_whole(engines: Engines, prefix: str) -> None:
    one, _ = engines
    assert (await one.commit([Put(f"{prefix}{number}", b"v") for number in range(128)])).is_done
    with pytest.raises(TooLarge):
        await one.commit([Put(f"{prefix}more/{number}", b"v") for number in range(129)])
    assert (await one.read(prefix=prefix + "more/")).entries == ()


async def test_a_commit_that_writes_a_key_twice_is_refused(engines: Engines, prefix: str) -> None:
    one, _ = engines
    with pytest.raises(EngineError):
        await one.commit([Put(prefix + "a", b"1"), Put(prefix + "a", b"2")])


async def test_a_watch_reports_each_commit_whole_and_in_order(engines: Engines, prefix: str) -> None:
    one, two = engines
    start = await one.commit([Put(prefix + "a", b"0"), Put(prefix + "z", b"0")])
    seen: list[Batch] = []
    async with two.watch(prefix, start.revision) as batches:
        first = await one.commit([Put(prefix + "a", b"1"), Put(prefix + "b", b"1")])
        second = await one.commit([Delete(prefix + "a")])
        with trio.fail_after(10):
            while sum(len(each.events) for each in seen) < 3:
                seen.append(await anext(batches))
    events = [event for each in seen for event in each.events]
    assert sorted(values(events[:2])) == [("a", b"1"), ("b", b"1")]
    assert values(events[2:]) == [("a", None)]
    assert [each.revision for each in events] == [first.revision] * 2 + [second.revision]
    assert len(seen[0].events) >= 2
    assert seen[-1].revision == second.revision
    entry = next(each.entry for each in events if each.key == prefix + "b")
    assert entry is not None
    assert entry.modified == first.revision


async def test_a_watch_begins_with_the_commit_after_its_revision(engines: Engines, prefix: str) -> None:
    one, two = engines
    first = await one.commit([Put(prefix + "a", b"1")])
    await one.commit([Put(prefix + "a", b"2")])
    await one.commit([Put(prefix + "a", b"3")])
    seen: list[Event] = []
    async with two.watch(prefix, first.revision) as batches:
        with trio.fail_after(10):
            while len(seen) < 2:
                seen += (await anext(batches)).events
    assert values(seen) == [("a", b"2"), ("a", b"3")]


async def test_a_watch_reports_nothing_beside_its_prefix(engines: Engines, prefix: str) -> None:
    one, two = engines
    start = (await one.read(prefix=prefix)).revision
    async with two.watch(prefix + "in/", start) as batches:
        await one.commit([Put(prefix + "in", b"1")])
        await one.commit([Put(prefix + "in0", b"1")])
        await one.commit([Put(prefix + "in/a", b"1")])
        with trio.fail_after(10):
            batch = await anext(batches)
    assert values(batch.events) == [("a", b"1")]


async def test_a_step_of_a_watch_that_was_cancelled_loses_nothing(engines: Engines, prefix: str) -> None:
    one, two = engines
    start = (await one.read(prefix=prefix)).revision
    async with two.watch(prefix, start) as batches:
        with trio.move_on_after(0.05):
            await anext(batches)
        await one.commit([Put(prefix + "a", b"1")])
        with trio.fail_after(10):
            batch = await anext(batches)
    assert values(batch.events) == [("a", b"1")]


async def test_an_entry_ends_with_its_lease(engines: Engines, prefix: str) -> None:
    one, two = engines
    async with one.lease(5) as lease:
        assert lease.is_held
        await one.commit([Put(prefix + "a", b"1", lease.id), Put(prefix + "b", b"1")])
        reading = await two.read(prefix=prefix)
        assert [each.lease for each in reading.entries] == [lease.id, ""]
    async with two.watch(prefix, reading.revision) as batches:
        with trio.fail_after(10):
            batch = await anext(batches)
    assert values(batch.events) == [("a", None)]
    assert [each.key for each in (await two.read(prefix=prefix)).entries] == [prefix + "b"]


async def test_a_commit_with_an_unknown_lease_is_refused(engines: Engines, prefix: str) -> None:
    one, _ = engines
    with pytest.raises(EngineError, match="lease not found"):
        await one.commit([Put(prefix + "a", b"1", "7587888888888888888")])
    assert (await one.read(prefix=prefix)).entries == ()

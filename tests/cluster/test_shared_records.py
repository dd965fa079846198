"""Facts about the records of pins: what arrives by the watch, and which writes are refused."""

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.cluster.memory_engine import MemoryEngine, MemoryStore
from vortexd.cluster.engine import Committed, Condition, Entry, Event, Full, Put, Reading, TooLarge, Write
from vortexd.cluster.keys import Keys
from vortexd.cluster.shared_records import PINS, ROLLOUTS, SharedRecords
from vortexd.cluster.warnings import RecordWarnings
from vortexd.core.errors import RemoteError

KEYS = Keys("c")
ONE, OTHER = "1" * 32, "2" * 32


class Failing(MemoryEngine):
    """An engine whose commits fail."""

    def __init__(self, store: MemoryStore, error: Exception) -> None:
        super().__init__(store)
        self.error = error

    async def commit(self, writes: Sequence[Write], conditions: Sequence[Condition] = ()) -> Committed:
        raise self.error


def entry(name: str, value: bytes = b"x", revision: int = 1) -> Entry:
    return Entry(KEYS.record(PINS.prefix, name), value, revision, revision)


def event(name: str, value: bytes | None, revision: int = 2) -> Event:
    return Event(KEYS.record(PINS.prefix, name), None if value is None else entry(name, value, revision), revision)


def reading(*entries: Entry) -> Reading:
    return Reading(entries, 1, "store-1")


def shared(store: MemoryStore) -> SharedRecords:
    """The pins of a node that has read the store."""
    pins = SharedRecords(PINS, KEYS, RecordWarnings())
    pins.use(MemoryEngine(store))
    pins.read(reading(*store.entries.values()))
    return pins


def test_nothing_is_known_until_the_store_has_been_read() -> None:
    pins = SharedRecords(PINS, KEYS, RecordWarnings())
    before = pins.records
    pins.read(reading())

    assert before is None
    assert pins.records == {}
    assert pins.store == "store-1"


def test_a_reading_replaces_all_records() -> None:
    pins = SharedRecords(PINS, KEYS, RecordWarnings())
    pins.read(reading(entry(ONE, b"a")))
    pins.read(reading(entry(OTHER, b"b"), Entry(KEYS.leader, b"n", 1, 1)))

    assert pins.records == {OTHER: b"b"}


def test_events_put_and_remove_records() -> None:
    pins = SharedRecords(PINS, KEYS, RecordWarnings())
    pins.read(reading(entry(ONE, b"a")))
    pins.take([event(OTHER, b"b"), event(ONE, None)])

    assert pins.records == {OTHER: b"b"}


def test_every_change_is_reported_and_nothing_else() -> None:
    calls: list[str] = []
    pins = SharedRecords(PINS, KEYS, RecordWarnings())
    pins.report(lambda: calls.append("changed"))
    pins.read(reading())
    after_reading = len(calls)
    pins.take([Event(KEYS.leader, None, 2)])
    after_other = len(calls)
    pins.take([event(ONE, b"a"), event(OTHER, b"b")])

    assert (after_reading, after_other, len(calls)) == (1, 1, 2)


@pytest.mark.parametrize("name", ["", "1" * 31, "1" * 33, "G" * 32, "A" * 32, "1" * 31 + "/"])
def test_an_entry_with_another_name_is_no_pin(name: str) -> None:
    assert KEYS.record_of(PINS.prefix, KEYS.prefix + "pins/" + name) == ""
    assert KEYS.record_of(PINS.prefix, KEYS.prefix + "order/" + ONE) == ""
    assert KEYS.record_of(PINS.prefix, KEYS.record(PINS.prefix, ONE)) == ONE


def test_a_record_that_is_too_large_is_passed_over_and_logged() -> None:
    pins = SharedRecords(PINS, KEYS, RecordWarnings())
    with capture_logs() as logs:
        pins.read(reading(entry(ONE, bytes(PINS.max_bytes)), entry(OTHER, bytes(PINS.max_bytes + 1))))

    assert pins.records == {ONE: bytes(PINS.max_bytes)}
    assert [(each["event"], each["key"]) for each in logs] == [
        ("cluster record unusable", KEYS.record(PINS.prefix, OTHER))
    ]


def test_a_record_that_becomes_too_large_no_longer_counts() -> None:
    pins = SharedRecords(PINS, KEYS, RecordWarnings())
    pins.read(reading(entry(ONE)))
    pins.take([event(ONE, bytes(PINS.max_bytes + 1))])

    assert pins.records == {}


def test_records_beyond_the_limit_are_passed_over() -> None:
    pins = SharedRecords(PINS, KEYS, RecordWarnings())
    with capture_logs() as logs:
        pins.read(reading(*[entry(f"{number:032x}") for number in range(PINS.most + 1)]))
    pins.take([event(f"{0:032x}", b"new")])

    records = pins.records or {}
    assert len(records) == PINS.most
    assert records[f"{0:032x}"] == b"new"
    assert [each["key"] for each in logs] == [KEYS.record(PINS.prefix, f"{PINS.most:032x}")]


async def test_a_record_is_written_and_known_at_once(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    pins = shared(store)
    is_done = await pins.replace(ONE, b"a", None)

    assert is_done
    assert pins.records == {ONE: b"a"}
    assert store.entries[KEYS.record(PINS.prefix, ONE)].value == b"a"


async def test_a_record_is_replaced_and_deleted(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    pins = shared(store)
    await pins.replace(ONE, b"a", None)
    replaced = await pins.replace(ONE, b"b", b"a")
    deleted = await pins.replace(ONE, None, b"b")

    assert (replaced, deleted) == (True, True)
    assert pins.records == {}
    assert KEYS.record(PINS.prefix, ONE) not in store.entries


async def test_the_second_of_two_nodes_writes_nothing(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    one, other = shared(store), shared(store)
    first = await one.replace(ONE, b"a", None)
    # The event hasn't arrived yet.
    second = await other.replace(ONE, b"b", None)

    assert (first, second) == (True, False)
    assert store.entries[KEYS.record(PINS.prefix, ONE)].value == b"a"
    assert other.records == {}


async def test_nothing_is_sent_if_the_known_record_is_another_one(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    pins = shared(store)
    await pins.replace(ONE, b"a", None)
    revision = store.revision

    assert not await pins.replace(ONE, b"b", None)
    assert not await pins.replace(ONE, b"b", b"other")
    assert not await pins.replace(OTHER, None, b"a")
    assert store.revision == revision


async def test_an_older_answer_doesnt_replace_a_newer_event(autojump_clock: MockClock) -> None:
    store = MemoryStore()

    class Racing(MemoryEngine):
        """The event of a later write arrives before the answer."""

        async def commit(self, writes: Sequence[Write], conditions: Sequence[Condition] = ()) -> Committed:
            done = await super().commit(writes, conditions)
            pins.take([event(ONE, b"newer", done.revision + 1)])
            return done

    pins = SharedRecords(PINS, KEYS, RecordWarnings())
    pins.use(Racing(store))
    pins.read(reading())
    is_done = await pins.replace(ONE, b"a", None)

    assert is_done
    assert pins.records == {ONE: b"newer"}


async def test_without_a_store_nothing_is_written() -> None:
    pins = SharedRecords(PINS, KEYS, RecordWarnings())
    pins.read(reading())
    with pytest.raises(RemoteError, match="can't be used now, and nothing has changed") as without_engine:
        await pins.replace(ONE, b"a", None)
    unread = SharedRecords(PINS, KEYS, RecordWarnings())
    unread.use(MemoryEngine(MemoryStore()))
    with pytest.raises(RemoteError, match="nothing has changed"):
        await unread.replace(ONE, b"a", None)
    ended = shared(MemoryStore())
    ended.use(None)
    with pytest.raises(RemoteError, match="nothing has changed"):
        await ended.replace(ONE, b"a", None)

    assert without_engine.value.status == 503


async def test_a_failure_says_that_nothing_has_changed(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    pins = shared(store)
    pins.use(Failing(store, Full("no space")))
    with capture_logs() as logs, pytest.raises(RemoteError, match="nothing has changed") as caught:
        await pins.replace(ONE, b"a", None)

    assert caught.value.status == 503
    assert [(each["event"], each["reason"]) for each in logs] == [("cluster pin not written", "no space")]
    assert pins.records == {}


async def test_a_lost_answer_says_that_the_outcome_is_unknown(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    pins = shared(store)
    store.loses_answers = True
    with pytest.raises(RemoteError, match="may be changed or not; see the list of pins") as caught:
        await pins.replace(ONE, b"a", None)

    assert caught.value.status == 503
    assert pins.records == {}


async def test_a_record_that_no_store_takes_is_refused(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    pins = shared(store)
    largest = await pins.replace(ONE, bytes(PINS.max_bytes), None)
    with pytest.raises(RemoteError, match="too large for a cluster") as own:
        await pins.replace(OTHER, bytes(PINS.max_bytes + 1), None)
    pins.use(Failing(store, TooLarge("1 MiB")))
    with pytest.raises(RemoteError, match="too large for a cluster") as of_store:
        await pins.replace(OTHER, b"a", None)

    assert largest
    assert (own.value.status, of_store.value.status) == (413, 413)
    assert list(pins.records or {}) == [ONE]


def test_a_put_of_the_keys_is_below_the_clusters_prefix() -> None:
    assert Put(KEYS.record(PINS.prefix, ONE), b"").key == f"/vortexd/c/pins/{ONE}"


def test_pins_and_roll_outs_have_entries_of_their_own() -> None:
    pins, rollouts = (SharedRecords(kind, KEYS, RecordWarnings()) for kind in (PINS, ROLLOUTS))
    read = reading(entry(ONE, b"pin"), Entry(KEYS.record(ROLLOUTS.prefix, ONE), b"roll-out", 1, 1))
    for each in (pins, rollouts):
        each.read(read)

    assert (pins.records, rollouts.records) == ({ONE: b"pin"}, {ONE: b"roll-out"})


def test_roll_outs_have_a_limit_of_their_own() -> None:
    rollouts = SharedRecords(ROLLOUTS, KEYS, RecordWarnings())
    key = KEYS.record(ROLLOUTS.prefix, ONE)
    rollouts.read(reading(Entry(key, bytes(ROLLOUTS.max_bytes), 1, 1)))
    assert len((rollouts.records or {})[ONE]) == 131_072
    rollouts.read(reading(Entry(key, bytes(ROLLOUTS.max_bytes + 1), 1, 1)))

    assert rollouts.records == {}


async def test_a_roll_out_that_is_not_written_is_logged_as_one(autojump_clock: MockClock) -> None:
    rollouts = SharedRecords(ROLLOUTS, KEYS, RecordWarnings())
    rollouts.use(Failing(MemoryStore(), Full("no space")))
    rollouts.read(reading())
    with capture_logs() as logs, pytest.raises(RemoteError, match="nothing has changed"):
        await rollouts.replace(ONE, b"a", None)

    assert [each["event"] for each in logs] == ["cluster roll-out not written"]

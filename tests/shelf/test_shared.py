"""Pins of a cluster: every node has them, one record is written at a time, and the file is only a copy."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.audit.noted import NotedAudit
from tests.pins.test_keeper import ADA, LABELS, OTHER, SHOP, FakePeers, FakePublications
from vortexd.aio import threads
from vortexd.cluster import shared_records
from vortexd.cluster.keys import Keys
from vortexd.cluster.shared_records import SharedRecords
from vortexd.cluster.warnings import RecordWarnings
from vortexd.core.errors import RemoteError
from vortexd.core.model import Key
from vortexd.pins.file import PINS, PinsFile
from vortexd.pins.keeper import CLUSTER_PATIENCE, PinKeeper
from vortexd.pins.pin import MOST_PINS, Pin
from vortexd.rollouts.file import MOST_ROLLOUTS, ROLLOUTS
from vortexd.shelf import shared as module
from vortexd.shelf.file import encode
from vortexd.shelf.kind import Kind
from vortexd.shelf.shared import ATTEMPTS, PATIENCE, ClusterRecords, ClusterShelf, name_of
from vortexd.shelf.shelf import Shelf


class Store:
    """The records of a cluster. Nodes that are deaf get no events."""

    def __init__(self, name: str = "store-1") -> None:
        self.name = name
        self.records: dict[str, bytes] = {}
        self.nodes: list[FakeRecords] = []

    def node(self, *, is_read: bool = True) -> "FakeRecords":
        found = FakeRecords(self)
        self.nodes.append(found)
        if is_read:
            found.read()
        return found

    def tell(self) -> None:
        for each in self.nodes:
            if each.store and not each.is_deaf:
                each.read()


class FakeRecords:
    """What one node knows of the records."""

    most, max_bytes = 128, 524_288

    def __init__(self, of: Store) -> None:
        self._of = of
        self.store = ""
        self.is_deaf = False
        self.is_away = False
        self.writes = 0
        self._known: dict[str, bytes] = {}
        self._changed: Callable[[], None] = lambda: None

    def read(self) -> None:
        self.store, self._known = self._of.name, dict(self._of.records)
        self._changed()

    @property
    def records(self) -> Mapping[str, bytes] | None:
        return self._known if self.store else None

    def report(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    async def replace(self, name: str, content: bytes | None, expected: bytes | None) -> bool:
        await trio.lowlevel.checkpoint()
        if self.is_away:
            raise RemoteError("the cluster's store can't be used now, and nothing has changed", 503)
        if self._known.get(name) != expected or self._of.records.get(name) != expected:
            return False
        self.writes += 1
        if content is None:
            del self._of.records[name]
        else:
            self._of.records[name] = content
        self._of.tell()
        return True


class Node:
    """A keeper of one node."""

    def __init__(self, records: FakeRecords, directory: Path | None, peers: FakePeers | None = None, name: str = "a"):
        self.publications, self.audit, self.records = FakePublications(), NotedAudit(), records
        ids = iter(range(1_000))
        self.keeper = PinKeeper(
            self.publications,
            directory,
            self.audit,
            peers or FakePeers(),
            lambda: 1_000.0 + trio.current_time(),
            lambda: f"{name}{next(ids)}",
            records=records,
        )

    async def put(self, key: Key = SHOP, seconds: int | None = None) -> Pin:
        return await self.keeper.put(key, "0" * 16, "c1", LABELS, "incident 7", seconds, ADA)

    @property
    def keys(self) -> list[Key]:
        return self.publications.keys


@pytest.fixture(autouse=True)
def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake clock doesn't wait for threads."""

    async def run_sync(function: Callable[..., Any], *_: Any, **__: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return function()

    monkeypatch.setattr(threads, "run_sync", run_sync)


async def started(nursery: trio.Nursery, *arguments: Any, **more: Any) -> Node:
    node = Node(*arguments, **more)
    await node.keeper.load()
    nursery.start_soon(node.keeper.run)
    await wait_all_tasks_blocked()
    return node


async def refused(function: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(RemoteError) as caught:
        await function()
    return caught.value.status, caught.value.reason


async def test_a_pin_of_one_node_is_in_force_at_all_nodes(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    store = Store()
    a = await started(nursery, store.node(), tmp_path / "a")
    b = await started(nursery, store.node(), tmp_path / "b")
    await a.put()
    await wait_all_tasks_blocked()
    both = a.keys, b.keys
    await b.keeper.lift(SHOP, "over", ADA)
    await wait_all_tasks_blocked()

    assert both == ([SHOP], [SHOP])
    assert (a.keys, b.keys) == ([], [])
    assert store.records == {}


def test_a_shelf_of_a_cluster_has_the_limits_of_its_store(tmp_path: Path) -> None:
    def shelf(kind: Kind[Any], records: SharedRecords) -> ClusterShelf[Any]:
        return ClusterShelf(kind, tmp_path, None, records, lambda: None, is_first=True)

    rollouts = shelf(ROLLOUTS, SharedRecords(shared_records.ROLLOUTS, Keys("c"), RecordWarnings()))
    pins = shelf(PINS, SharedRecords(shared_records.PINS, Keys("c"), RecordWarnings()))

    # An eighth is left, because two nodes may write at the same time.
    assert (rollouts.most, rollouts.max_record_bytes) == (224, 131_072)
    assert (pins.most, pins.max_record_bytes) == (MOST_PINS, 524_288)
    assert (Shelf(ROLLOUTS, tmp_path).most, Shelf(ROLLOUTS, tmp_path).max_record_bytes) == (MOST_ROLLOUTS, None)


async def test_the_second_node_is_refused_even_if_it_hears_late(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    store = Store()
    a = await started(nursery, store.node(), tmp_path / "a")
    b = await started(nursery, store.node(), tmp_path / "b")
    b.records.is_deaf = True
    await a.put()
    found: list[tuple[int, str]] = []

    async def try_it() -> None:
        found.append(await refused(b.put))

    nursery.start_soon(try_it)
    await trio.sleep(PATIENCE / 2)
    before = list(found)
    b.records.is_deaf = False
    b.records.read()
    await trio.sleep(0.1)

    assert before == []
    assert found[0][0] == 409
    assert "pinned already, by ada" in found[0][1]


async def test_two_keys_are_pinned_at_two_nodes_at_once(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    store = Store()
    a = await started(nursery, store.node(), tmp_path / "a")
    b = await started(nursery, store.node(), tmp_path / "b", name="b")
    async with trio.open_nursery() as both:
        both.start_soon(a.put, SHOP)
        both.start_soon(b.put, OTHER)
    await wait_all_tasks_blocked()

    assert {SHOP, OTHER} == set(a.keys) == set(b.keys)


async def test_a_node_that_never_hears_gives_up(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    store = Store()
    a = await started(nursery, store.node(), tmp_path / "a")
    b = await started(nursery, store.node(), tmp_path / "b")
    b.records.is_deaf = True
    await a.put()
    began = trio.current_time()
    status, reason = await refused(b.put)

    assert (status, reason) == (503, "other nodes change pins at the same time; try again")
    assert trio.current_time() - began == pytest.approx(ATTEMPTS * PATIENCE)


async def test_without_the_store_a_pin_is_refused_and_those_in_force_stay(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    store = Store()
    a = await started(nursery, store.node(), tmp_path / "a")
    await a.put()
    a.records.is_away = True
    put = await refused(partial(a.put, OTHER))
    lift = await refused(partial(a.keeper.lift, SHOP, "", ADA))

    assert (put[0], lift[0]) == (503, 503)
    assert "nothing has changed" in put[1]
    assert a.keys == [SHOP]


async def test_before_the_store_is_read_a_pin_is_refused(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    a = await started(nursery, Store().node(is_read=False), tmp_path / "a")
    status, reason = await refused(a.put)

    assert (status, reason) == (503, "the cluster's store hasn't been read yet; nothing has changed")


async def test_the_copy_counts_until_the_store_has_been_read(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    store = Store()
    a = await started(nursery, store.node(), tmp_path / "a")
    await a.put()
    other = await started(nursery, store.node(), tmp_path / "b")
    await other.keeper.lift(SHOP, "", ADA)
    # A node that was stopped before that.
    PinsFile(tmp_path / "c").copy(a.keeper._pins or [pin()], store.name)
    records = store.node(is_read=False)
    c = await started(nursery, records, tmp_path / "c")
    before = c.keys
    records.read()
    await wait_all_tasks_blocked()

    assert before == [SHOP]
    # The store decides: the pin was lifted meanwhile.
    assert c.keys == []
    assert store.records == {}
    assert PinsFile(tmp_path / "c").read() == []


def pin(key: Key = SHOP, id: str = "x", until: float | None = None) -> Pin:
    from vortexd.core.term import Term

    return Pin(id, key, "0" * 16, "c1", "incident 7", "ada", Term(900.0, until), LABELS)


async def test_pins_from_before_the_cluster_are_brought_along(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    store = Store()
    a = await started(nursery, store.node(), tmp_path / "a")
    await a.put()
    PinsFile(tmp_path / "b").copy([pin(SHOP), pin(OTHER, "y"), pin(Key("ended", "p", "l"), "z", 1_000.0)], "")
    b = await started(nursery, store.node(), tmp_path / "b")
    await wait_all_tasks_blocked()

    # The key that is pinned in the cluster stays as it is, and what has ended isn't brought.
    assert [each.id for each in a.keeper.pins] == [each.id for each in b.keeper.pins] == ["y", "a0"]


async def test_a_store_that_was_made_anew_gets_the_pins_back(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    store = Store()
    a = await started(nursery, store.node(), tmp_path / "a")
    await a.put()
    store.name, store.records = "store-2", {}
    store.tell()
    await wait_all_tasks_blocked()

    assert list(store.records) == [name_of(SHOP)]
    assert a.keys == [SHOP]
    assert PinsFile(tmp_path / "a").store() == "store-2"


async def test_a_pin_that_cant_be_brought_along_is_logged(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    PinsFile(tmp_path / "a").copy([pin()], "")
    records = Store().node()
    records.is_away = True
    with capture_logs() as logs:
        a = await started(nursery, records, tmp_path / "a")

    assert [each["key"] for each in logs if each["event"] == "pin not shared"] == [str(SHOP)]
    assert a.keys == []


async def test_only_the_first_worker_brings_pins_along_and_keeps_the_copy(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    store = Store()
    PinsFile(tmp_path / "a").copy([pin()], "")
    peers = FakePeers()
    peers.number = 1
    second = await started(nursery, store.node(), tmp_path / "a", peers)
    await second.put(OTHER)

    assert list(store.records) == [name_of(OTHER)]
    assert [each.key for each in PinsFile(tmp_path / "a").read()] == [SHOP]


async def test_a_copy_that_cant_be_written_is_logged_once_and_pins_stay_in_force(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await started(nursery, Store().node(), tmp_path / "a")

    def full(*_: Any) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(os, "fsync", full)
        await a.put()
        await a.put(OTHER)
    await a.keeper.lift(OTHER, "", ADA)

    assert [each["event"] for each in logs].count("pins not copied") == 1
    assert a.keys == [SHOP]
    assert [each.key for each in PinsFile(tmp_path / "a").read()] == [SHOP]


async def test_without_a_state_directory_pins_are_in_the_store_only(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store = Store()
    a = await started(nursery, store.node(), None)
    await a.put()

    assert a.keys == [SHOP]
    assert list(store.records) == [name_of(SHOP)]


async def test_one_node_reports_the_end_by_time(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    store = Store()
    a = await started(nursery, store.node(), tmp_path / "a")
    b = await started(nursery, store.node(), tmp_path / "b")
    await a.put(seconds=60)
    await trio.sleep(60.1)
    acts = [act for node in (a, b) for act, *_ in node.audit.noted]

    assert (a.keys, b.keys) == ([], [])
    assert acts == ["pin", "end pin"]
    assert store.records == {}


async def test_the_first_publication_waits_for_the_pins_of_the_cluster(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    records = Store().node(is_read=False)
    a = await started(nursery, records, tmp_path / "a")
    began = trio.current_time()
    nursery.start_soon(_after, 0.5, records.read)
    await a.keeper.wait_known()
    waited = trio.current_time() - began

    assert waited == pytest.approx(0.5)


async def test_it_waits_a_limited_time_and_only_once(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    a = await started(nursery, Store().node(is_read=False), tmp_path / "a")
    began = trio.current_time()
    await a.keeper.wait_known()
    first = trio.current_time() - began
    await a.keeper.wait_known()

    assert first == trio.current_time() - began == pytest.approx(CLUSTER_PATIENCE)


async def test_with_a_copy_it_doesnt_wait(autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path) -> None:
    PinsFile(tmp_path / "a").copy([pin()], "store-1")
    a = await started(nursery, Store().node(is_read=False), tmp_path / "a")
    began = trio.current_time()
    await a.keeper.wait_known()

    assert trio.current_time() == began


async def _after(seconds: float, do: Callable[[], None]) -> None:
    await trio.sleep(seconds)
    do()


# The records.


def cluster(records: Mapping[str, bytes]) -> ClusterRecords[Pin]:
    store = Store()
    store.records = dict(records)
    return ClusterRecords(PINS, store.node(), lambda: None)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (name_of(SHOP), b"garbage", "it isn't a file of pins"),
        (name_of(SHOP), b'{"format": 2, "pins": []}', "it has format 2, but this version only reads format 1"),
        (name_of(SHOP), encode(PINS, []), "it isn't the record of one pin"),
        (name_of(SHOP), encode(PINS, [pin(), pin(OTHER)]), "it isn't the record of one pin"),
        (name_of(OTHER), encode(PINS, [pin()]), "it isn't the record of one pin"),
    ],
)
async def test_a_record_that_cant_be_used_is_passed_over_and_logged_once(
    name: str, content: bytes, reason: str
) -> None:
    third = Key("third", "p", "l")
    found = cluster({name: content, name_of(third): encode(PINS, [pin(third)])})
    with capture_logs() as logs:
        pins = await found.all()
        await found.all()

    assert [each.key for each in pins or ()] == [third]
    assert [(each["event"], each["record"], each["reason"]) for each in logs] == [
        ("cluster pin unusable", name, reason)
    ]


async def test_a_known_record_keeps_its_object() -> None:
    found = cluster({name_of(SHOP): encode(PINS, [pin()])})
    first, second = await found.all(), await found.all()

    assert first is not None
    assert second is not None
    assert first[0] is second[0]


async def test_pins_are_in_the_order_in_which_they_were_put() -> None:
    late, early = pin(OTHER, "a"), pin(SHOP, "b")
    records = {name_of(each.key): encode(PINS, [each]) for each in (late, early)}
    found = await cluster(records).all()

    # Both have the same time, so their ids decide.
    assert [each.id for each in found or ()] == ["a", "b"]


async def test_no_more_pins_are_brought_along_than_may_be() -> None:
    keys = [Key(f"a{number}", "p", "l") for number in range(MOST_PINS)]
    pins = [pin(key, str(key)) for key in keys]

    assert module._with_if_free(PINS, pin(), pins) == pins
    assert len(module._with_if_free(PINS, pin(), pins[1:])) == MOST_PINS


def test_a_name_is_made_of_the_whole_key() -> None:
    names: Sequence[str] = [name_of(SHOP), name_of(OTHER), name_of(Key("shop", "dev", "other"))]

    assert len(set(names)) == 3
    assert all(len(each) == 32 and set(each) <= set("0123456789abcdef") for each in names)

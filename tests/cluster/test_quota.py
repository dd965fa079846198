"""Facts about the quota: how many bytes a node reads, and what the error says."""

import re
from pathlib import Path

import pytest

from tests.cluster.memory_engine import MemoryEngine, MemoryStore
from vortexd.cluster import quota as module
from vortexd.cluster.engine import Delete, Entry, Event, Put
from vortexd.cluster.keys import Keys
from vortexd.cluster.quota import (
    MOST_NODES,
    NODE_BYTES,
    NODE_ENTRIES,
    SHARED_BYTES,
    SHARED_ENTRIES,
    SPARE_NODES,
    OverQuota,
    Quota,
)
from vortexd.cluster.records import HINT_BYTES, MEMBER_BYTES
from vortexd.cluster.summaries import MOST_PARTS, PART_BYTES

KEYS = Keys("c")
FOREIGN = KEYS.prefix + "foreign"


def members(count: int) -> list[Put]:
    return [Put(KEYS.member(f"n{number}"), b"") for number in range(count)]


def size(writes: list[Put]) -> int:
    return sum(len(each.key) + len(each.value) for each in writes)


def filled(nodes: int, most: int) -> MemoryStore:
    """Return a store whose entries have so many bytes in all."""
    store, writes = MemoryStore(), members(nodes)
    store.change([*writes, Put(FOREIGN, bytes(most - size(writes) - len(FOREIGN)))])
    return store


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NODE_BYTES", 1_000)
    monkeypatch.setattr(module, "SHARED_BYTES", 10_000)


def test_a_node_and_its_longest_names_fit() -> None:
    keys, node = Keys("c" * 64), "n" * 64
    names = [keys.member(node), keys.hint(node), *(keys.summary(node, number) for number in range(MOST_PARTS))]
    alive = len(keys.alive(node)) + 64
    assert MEMBER_BYTES + HINT_BYTES + MOST_PARTS * PART_BYTES + sum(map(len, names)) + alive <= NODE_BYTES


def test_the_limit_is_that_of_the_operators_page() -> None:
    page = (Path(__file__).parent.parent.parent / "man/vortexd-operations.7").read_text()
    base = round((SHARED_BYTES + SPARE_NODES * NODE_BYTES) / 1e6)
    assert f"at most {base} MB and {NODE_BYTES / 1e6:.1f} MB for each node" in page
    assert f"up to {MOST_NODES} nodes" in page
    entries = SHARED_ENTRIES + SPARE_NODES * NODE_ENTRIES
    assert f"at most {entries:,} keys and {NODE_ENTRIES} for each node" in page


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(("nodes", "counted"), [(0, 8), (3, 11), (248, 256), (249, 256), (256, 256)])
async def test_the_limit_grows_with_the_nodes_up_to_a_most_number(nodes: int, counted: int) -> None:
    most = 10_000 + 1_000 * counted
    assert len((await Quota(KEYS).read(MemoryEngine(filled(nodes, most)))).entries) == nodes + 1
    with pytest.raises(OverQuota, match=re.escape(f"/vortexd/c/ has more than {most} bytes in keys and values, ")):
        await Quota(KEYS).read(MemoryEngine(filled(nodes, most + 1)))


async def test_the_reading_is_whole_and_of_the_cluster_alone() -> None:
    store = MemoryStore()
    store.change([*members(2), Put(KEYS.leader, b"x"), Put("/other", b"x")])
    reading = await Quota(KEYS).read(MemoryEngine(store))
    assert [each.key for each in reading.entries] == [KEYS.leader, KEYS.member("n0"), KEYS.member("n1")]
    assert (reading.revision, reading.store) == (store.revision, store.name)


async def test_the_member_records_are_bounded_too() -> None:
    store = MemoryStore()
    for number in range(3):
        store.change([Put(KEYS.member(f"n{number}"), bytes(500_000))])
    with pytest.raises(OverQuota, match="/vortexd/c/members/ has more than"):
        await Quota(KEYS).read(MemoryEngine(store))


@pytest.mark.usefixtures("_small")
async def test_the_events_of_a_watch_count() -> None:
    store, quota, most = MemoryStore(), Quota(KEYS), 10_000 + 1_000 * 11
    writes = members(3)
    store.change([*writes])
    await quota.read(MemoryEngine(store))

    def put(key: str, size: int) -> None:
        quota.take([Event(key, Entry(key, bytes(size), 9, 9), 9)])

    room = most - size([*writes, Put(FOREIGN, b"")])
    put(FOREIGN, room)
    # A new value replaces the former one.
    put(FOREIGN, room)
    with pytest.raises(OverQuota, match=f"more than {most} bytes"):
        put(FOREIGN, room + 1)
    put(FOREIGN, room)
    # A further node makes room for its entries, and takes it along.
    another = KEYS.member("n9")
    put(another, 0)
    put(another, 0)
    put(FOREIGN, room + 1_000 - len(another))
    with pytest.raises(OverQuota, match=f"more than {most + 1_000} bytes"):
        put(FOREIGN, room + 1_001 - len(another))
    put(FOREIGN, room)
    quota.take([Event(another, None, 10), Event(another, None, 10), Event("/unknown", None, 10)])
    with pytest.raises(OverQuota, match=f"more than {most} bytes"):
        put(FOREIGN, room + 1)
    quota.take([Event(FOREIGN, None, 11)])
    put(FOREIGN, room)


@pytest.mark.parametrize(("nodes", "counted"), [(0, 8), (3, 11), (249, 256), (256, 256)])
async def test_the_entries_are_limited_however_small_they_are(
    monkeypatch: pytest.MonkeyPatch, nodes: int, counted: int
) -> None:
    monkeypatch.setattr(module, "SHARED_ENTRIES", 500)
    most, store, quota = 500 + NODE_ENTRIES * counted, MemoryStore(), Quota(KEYS)
    store.change([*members(nodes), *(Put(f"{FOREIGN}{number}", b"") for number in range(most - nodes))])
    assert most == len((await quota.read(MemoryEngine(store))).entries)
    reason = re.escape(f"/vortexd/c/ has more than {most} keys, ")
    another = Entry(FOREIGN, b"", 9, 9)
    with pytest.raises(OverQuota, match=reason):
        quota.take([Event(FOREIGN, another, 9)])
    quota.take([Event(FOREIGN, None, 10)])
    store.change([Put(FOREIGN, b"")])
    with pytest.raises(OverQuota, match=reason):
        await Quota(KEYS).read(MemoryEngine(store))


def test_the_entries_of_a_node_fit() -> None:
    # The member record, the sign of life, the hint, and the parts of the summary.
    assert 3 + MOST_PARTS <= NODE_ENTRIES


@pytest.mark.usefixtures("_small")
async def test_a_reading_begins_to_count_anew() -> None:
    most = 10_000 + 1_000 * 8
    store, quota = filled(0, most), Quota(KEYS)
    await quota.read(MemoryEngine(store))
    store.change([Delete(FOREIGN)])
    await quota.read(MemoryEngine(store))
    quota.take([Event(FOREIGN, Entry(FOREIGN, bytes(most - len(FOREIGN)), 9, 9), 9)])

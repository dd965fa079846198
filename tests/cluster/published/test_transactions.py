"""Facts about the single transactions of a publication: what each writes, requires and refuses."""

from collections.abc import Callable, Sequence

import attrs
import pytest

from tests.cluster.memory_engine import MemoryEngine, MemoryStore
from vortexd.cluster.engine import Committed, Condition, CreatedAt, Delete, Put, Unmodified, Write
from vortexd.cluster.keys import Keys
from vortexd.cluster.published.head import Announcement, Head, Places, loose_chunks, loose_record
from vortexd.cluster.published.packing import Chunk, digest_of
from vortexd.cluster.published.transactions import Kept, NewerFormat, Refused, Writer
from vortexd.cluster.published.version import version_of
from vortexd.cluster.warnings import RecordWarnings

from .trees import tree

KEYS, PLACES = Keys("c"), Places("c")
HEAD = Head(Announcement(7, "a" * 64, 1.0, "n"), ("b" * 64,), ("c" * 64,))


class Engine(MemoryEngine):
    """Notes all commits."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.commits: list[tuple[list[Write], list[Condition]]] = []

    async def commit(self, writes: Sequence[Write], conditions: Sequence[Condition] = ()) -> Committed:
        self.commits.append(([*writes], [*conditions]))
        return await super().commit(writes, conditions)


@pytest.fixture
def engine() -> Engine:
    return Engine(MemoryStore())


@pytest.fixture
def writer(engine: Engine) -> Writer:
    fence = CreatedAt(KEYS.leader, engine.store.change([Put(KEYS.leader, b"a")]))
    return Writer(engine, PLACES, fence, set(), {}, "own", RecordWarnings())


# The clock of a test would not wait for a real thread.
@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_sync(function: Callable[..., object], *arguments: object) -> object:
        return function(*arguments)

    monkeypatch.setattr("trio.to_thread.run_sync", run_sync)


def chunks(*contents: bytes) -> dict[str, Chunk]:
    return {digest_of(each): Chunk(digest_of(each), [memoryview(each)]) for each in contents}


def kept(**changes: object) -> Kept:
    return attrs.evolve(Kept(None, frozenset(), 0, {}, (), False, b""), **changes)  # type: ignore[arg-type]


def parts(found: Kept) -> tuple[object, ...]:
    return attrs.astuple(found, recurse=False)


def keys(engine: Engine, start: str) -> list[str]:
    return [key.removeprefix(start) for key in sorted(engine.store.entries) if key.startswith(start)]


def test_the_newest_version_is_that_of_the_head_or_a_kept_one() -> None:
    assert kept().newest == 0
    assert kept(versions={3: frozenset(), 4: frozenset()}).newest == 4
    assert kept(head=HEAD).newest == 7
    assert kept(head=HEAD, versions={8: frozenset()}).newest == 8


async def test_a_refusal_says_whether_the_fence_or_another_condition_does_not_hold(
    engine: Engine, writer: Writer
) -> None:
    with pytest.raises(Refused, match="another node has written the head"):
        await writer.commit([Put("x", b"")], Unmodified(KEYS.leader, 1))
    engine.store.change([Delete(KEYS.leader)])
    with pytest.raises(Refused, match="this node doesn't lead any more"):
        await writer.commit([Put("x", b"")])
    engine.store.change([Put(KEYS.leader, b"b")])
    with pytest.raises(Refused, match="this node doesn't lead any more"):
        await writer.commit([Put("x", b"")])
    assert "x" not in engine.store.entries


async def test_without_records_there_is_nothing(writer: Writer) -> None:
    assert parts(await writer.read("announced")) == parts(kept())


async def test_all_records_are_read(engine: Engine, writer: Writer) -> None:
    version = version_of(tree(a="1"))
    newer = version.head(8, 1.0, "n")
    engine.store.change([Put(PLACES.chunk(name), chunk.data) for name, chunk in version.chunks.items()])
    engine.store.change([Put(PLACES.version(7), HEAD.encoded()), Put(PLACES.version(8), newer.encoded())])
    engine.store.change([Put(PLACES.loose, loose_record(["d" * 64])), Put("announced", b"x")])
    revision = engine.store.change([Put(PLACES.head, newer.encoded())])
    found = await writer.read("announced")
    assert parts(found) == (
        newer,
        version.names,
        revision,
        {7: HEAD.names, 8: version.names},
        ("d" * 64,),
        True,
        b"x",
    )
    assert found.names == HEAD.names | version.names


async def test_only_the_chunks_of_versions_that_are_there_and_of_the_own_one_are_remembered(
    engine: Engine, writer: Writer
) -> None:
    writer.names.update({"own": frozenset("o"), "gone": frozenset("g"), "f" * 64: frozenset("k")})
    head = Head(Announcement(1, "f" * 64, 1.0, "n"), ("b" * 64,))
    engine.store.change([Put(PLACES.version(1), head.encoded())])
    assert (await writer.read("announced")).versions == {1: frozenset("k")}
    assert writer.names == {"own": frozenset("o"), "f" * 64: frozenset("k")}


async def test_a_record_of_a_newer_format_stops_everything(engine: Engine, writer: Writer) -> None:
    engine.store.change([Put(PLACES.version(1), b'{"format":3}')])
    with pytest.raises(NewerFormat, match="can't be replaced"):
        await writer.read("announced")


async def test_chunks_are_named_as_loose_before_they_are_written(engine: Engine, writer: Writer) -> None:
    one, two = chunks(b"1"), chunks(b"2")
    await writer.write_chunks({**one, **two}, one.keys())
    [first, second] = engine.commits
    assert first == ([Put(PLACES.loose, loose_record([*two]))], [writer.fence])
    assert {each.key for each in second[0]} == {PLACES.chunk(name) for name in (*one, *two)}
    assert writer.stored == {*one, *two}
    engine.commits.clear()
    await writer.write_chunks({**one, **two}, {*one, *two})
    assert engine.commits == []


@pytest.mark.parametrize(
    ("count", "size", "expected"), [(60, 1, [60]), (61, 2, [60, 1]), (2, 65_536, [2]), (2, 65_537, [1, 1])]
)
async def test_a_transaction_has_a_most_number_of_chunks_and_of_bytes(
    engine: Engine, writer: Writer, count: int, size: int, expected: list[int]
) -> None:
    made = chunks(*(number.to_bytes(1, "big") * size for number in range(count)))
    await writer.write_chunks(made, made.keys())
    assert [len(writes) for writes, _ in engine.commits] == expected
    assert keys(engine, PLACES.chunk("")) == sorted(made)


async def test_a_former_leader_writes_no_chunks_together_either(engine: Engine, writer: Writer) -> None:
    engine.store.change([Delete(KEYS.leader)])
    made = chunks(b"1", b"2")
    with pytest.raises(Refused, match="this node doesn't lead any more"):
        await writer.write_chunks(made, made.keys())
    assert keys(engine, PLACES.chunk("")) == []
    assert writer.stored == set()


async def test_a_chunk_that_is_there_with_its_content_is_left_alone(engine: Engine, writer: Writer) -> None:
    made = chunks(b"1")
    [name] = made
    engine.store.change([Put(PLACES.chunk(name), b"1")])
    before = engine.store.entries[PLACES.chunk(name)]
    await writer.write_chunks(made, made.keys())
    assert engine.store.entries[PLACES.chunk(name)] == before
    assert writer.stored == {name}


async def test_the_head_appears_with_its_version_and_its_announcement(engine: Engine, writer: Writer) -> None:
    engine.store.change([Put(PLACES.loose, loose_record([]))])
    await writer.write_head(HEAD, 0, "announced")
    assert keys(engine, PLACES.prefix) == ["head", "versions/0000000000000007"]
    assert engine.store.entries["announced"].value == HEAD.said.encoded()
    assert len({entry.modified for key, entry in engine.store.entries.items() if key != KEYS.leader}) == 1
    with pytest.raises(Refused, match="another node has written the head"):
        await writer.write_head(HEAD, 0, "announced")


async def test_a_dropped_version_leaves_its_own_chunks_loose(engine: Engine, writer: Writer) -> None:
    engine.store.change([Put(PLACES.version(1), b"x")])
    names = {1: frozenset("ab"), 2: frozenset("b"), 3: frozenset("c")}
    after = await writer.drop(kept(versions=names, head_names=frozenset("d")), 1)
    assert parts(after) == parts(
        kept(versions={2: frozenset("b"), 3: frozenset("c")}, head_names=frozenset("d"), loose=("a",), has_loose=True)
    )
    assert keys(engine, PLACES.prefix) == ["loose"]


async def test_loose_chunks_that_no_version_names_are_deleted_and_then_their_record(
    engine: Engine, writer: Writer
) -> None:
    names = [f"{number:064x}" for number in range(67)]
    engine.store.change([Put(PLACES.chunk(name), b"x") for name in names])
    engine.store.change([Put(PLACES.loose, loose_record(names))])
    writer.stored.update(names)
    before = kept(versions={1: frozenset(names[:1])}, head_names=frozenset(names[1:2]), loose=(*names,), has_loose=True)
    spared = await writer.delete_loose(before, names[2:3])
    assert spared.loose == (names[2],)
    assert loose_chunks(engine.store.entries[PLACES.loose].value) == (*names,)
    assert keys(engine, PLACES.chunk("")) == names[:3]
    assert writer.stored == {*names[:3]}
    assert [len(writes) for writes, _ in engine.commits] == [64]
    after = await writer.delete_loose(before)
    assert (after.loose, after.has_loose) == ((), False)
    assert keys(engine, PLACES.chunk("")) == names[:2]
    assert PLACES.loose not in engine.store.entries


async def test_without_a_record_of_loose_chunks_nothing_is_written(engine: Engine, writer: Writer) -> None:
    assert parts(await writer.delete_loose(kept())) == parts(kept())
    assert engine.commits == []

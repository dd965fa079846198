"""Facts about the source of a published state: what it takes and when, and that nothing half or wrong is ever served."""

from collections.abc import AsyncIterator, Callable, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.cluster.memory_engine import MemoryEngine
from tests.cluster.published.former import manifest_of
from tests.cluster.published.trees import ONE, names_in, rich, root_in, seen, tree, without_edits
from tests.source.store_stage import Most, StoreStage, run_without_threads
from vortexd.cluster.engine import Delete, Denied, Engine, Put, Reading
from vortexd.cluster.published.head import Announcement, Head, Places
from vortexd.cluster.published.manifest_reader import Root
from vortexd.cluster.published.packing import CHUNK_BYTES, digest_of
from vortexd.cluster.published.version import version_of
from vortexd.core.model import Files, Tree
from vortexd.source.base import Surroundings
from vortexd.source.published.settings import PublishedSettings
from vortexd.source.published.source import UNUSABLE_AGAIN, PublishedSource, name_of, open_source

SETTINGS = PublishedSettings(cluster="c", endpoints=("http://etcd:2379",))
PLACES = Places("c")
REMEDY = "wait for the next version, or restart the node that publishes: it then repairs the chunks"


class Play(StoreStage):
    """A stage with a source of kind "published"."""

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__(nursery)
        self.reads: list[str] = []
        self.before_read: Callable[[str], None] = lambda key: None
        self._number = 0

    def begin(self, settings: PublishedSettings = SETTINGS) -> PublishedSource:
        source = PublishedSource(settings, lambda: self.engine(), Most(), name_of(settings))
        self.start(source)
        return source

    def make(self) -> MemoryEngine:
        return NotingEngine(self)

    def write(self, made: Tree, *, without: Sequence[str] = (), by: str = "a") -> Head:
        """Write a version into the store, without some of its chunks."""
        self._number += 1
        version = version_of(made)
        for name, chunk in version.chunks.items():
            if name not in without:
                self.store.change([Put(PLACES.chunk(name), chunk.data)])
        head = version.head(self._number, 1e9, by)
        self.store.change([Put(PLACES.head, head.encoded())])
        return head

    def chunk(self, name: str) -> bytes:
        return self.store.entries[PLACES.chunk(name)].value

    def seen(self) -> list[object]:
        return [seen(each) for each in self.trees]

    def chunks_read(self) -> list[str]:
        return [key.removeprefix(PLACES.chunk("")) for key in self.reads if key.startswith(PLACES.chunk(""))]


class NotingEngine(MemoryEngine):
    """Notes which keys are read."""

    def __init__(self, play: Play) -> None:
        super().__init__(play.store)
        self.play = play

    async def read(
        self,
        keys: Sequence[str] = (),
        *,
        prefix: str = "",
        revision: int = 0,
        most_bytes: int = 0,
        most_entries: int = 0,
    ) -> Reading:
        for key in keys:
            self.play.before_read(key)
        self.play.reads += keys
        return await super().read(
            keys, prefix=prefix, revision=revision, most_bytes=most_bytes, most_entries=most_entries
        )


@pytest.fixture
async def play() -> AsyncIterator[Play]:
    async with trio.open_nursery() as nursery:
        yield Play(nursery)
        nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    run_without_threads(monkeypatch)


def large(*seeds: int) -> Tree:
    """Return a tree with one file, and so one chunk, for each number."""
    return Tree({"main": Files({f"f{seed}": seed.to_bytes(4, "big") * 40_000 for seed in seeds})})


async def test_the_source_ends_while_the_file_system_of_its_certificates_hangs(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = list[object]()

    async def run_sync(function: object, *arguments: object, **given: object) -> object:
        options.append(given.get("abandon_on_cancel"))
        await trio.sleep_forever()

    monkeypatch.setattr("vortexd.aio.threads.run_sync", run_sync)
    play.begin()
    await wait_all_tasks_blocked()
    assert options == [True]


# What is taken.


async def test_the_newest_version_is_published_and_then_each_further_one(play: Play, autojump_clock: MockClock) -> None:
    play.write(tree(a="0"))
    play.write(rich())
    play.begin()
    await trio.sleep(1)
    play.write(tree(a="1"))
    await trio.sleep(1)
    assert play.seen() == [seen(rich()), seen(tree(a="1"))]
    assert all(each.noticed is not None for each in play.trees)


async def test_the_status_has_the_commit_and_the_root_of_the_default_label(
    play: Play, autojump_clock: MockClock
) -> None:
    play.write(rich())
    source = play.begin()
    assert (source.name, source.status.report().root) == ("published:c", "published:c")
    with capture_logs() as logs:
        await trio.sleep(1)
    report = source.status.report()
    assert (report.kind, report.revision, report.root, report.is_failing) == (
        "published",
        "c2",
        "https://git.example/c.git/",
        False,
    )
    assert report.last_success is not None
    assert logs == [
        {"event": "published state taken", "log_level": "info", "source": "published:c", "number": 1, "by": "a"}
    ]
    play.write(Tree({"v1": Files({}, revision="c1", origin=ONE)}, "main"))
    await trio.sleep(1)
    assert (source.status.report().revision, source.status.report().root) == (None, "published:c")


async def test_an_equal_state_is_not_published_again(play: Play, autojump_clock: MockClock) -> None:
    play.write(tree(a="1"))
    play.begin()
    await trio.sleep(1)
    play.write(tree(a="1"), by="b")
    await trio.sleep(1)
    assert len(play.trees) == 1


async def test_only_chunks_with_new_contents_are_fetched(play: Play, autojump_clock: MockClock) -> None:
    play.write(large(*range(10)))
    play.begin()
    await trio.sleep(1)
    assert len(play.chunks_read()) == 12
    play.reads.clear()
    head = play.write(large(*range(1, 11)))
    await trio.sleep(1)
    assert seen(play.trees[-1]) == seen(large(*range(1, 11)))
    # One for the new file, and two for the manifest.
    assert len(play.chunks_read()) == 3
    assert {*play.chunks_read()} <= names_in(head, play.chunk)


async def test_contents_of_versions_that_are_gone_are_fetched_again(play: Play, autojump_clock: MockClock) -> None:
    play.write(large(1))
    play.begin()
    for made in (large(2), large(1)):
        await trio.sleep(1)
        play.reads.clear()
        play.write(made)
    await trio.sleep(1)
    assert len(play.chunks_read()) == 3


async def test_a_published_state_may_have_no_edits(play: Play, autojump_clock: MockClock) -> None:
    play.write(without_edits(rich()))
    play.begin()
    await trio.sleep(1)
    assert play.trees[0].labels["main"].edits is None


async def test_the_newest_of_several_heads_counts(play: Play, autojump_clock: MockClock) -> None:
    play.write(tree(a="0"))
    play.begin()
    await trio.sleep(1)
    version, other = version_of(tree(a="1")), version_of(tree(a="2"))
    chunks = {**version.chunks, **other.chunks}
    play.store.change([Put(PLACES.chunk(name), chunk.data) for name, chunk in chunks.items()])
    for number, each in enumerate((version, other), 2):
        play.store.change([Put(PLACES.head, each.head(number, 1e9, "a").encoded())])
    await trio.sleep(1)
    assert seen(play.trees[-1]) == seen(tree(a="2"))


# What isn't taken.


async def test_before_anything_is_published_the_status_says_so(play: Play, autojump_clock: MockClock) -> None:
    source = play.begin()
    await trio.sleep(1)
    assert not play.trees
    assert source.status.report().last_error == (
        "cluster c has published nothing; set cluster.publish at a node that has the sources"
    )
    play.write(tree(a="1"))
    await trio.sleep(1)
    assert play.seen() == [seen(tree(a="1"))]
    assert not source.status.report().is_failing


async def test_a_version_without_one_of_its_chunks_is_not_served_and_is_once_it_has_it(
    play: Play, autojump_clock: MockClock
) -> None:
    play.write(tree(a="1"))
    source = play.begin()
    await trio.sleep(1)
    for name, chunk in version_of(large(1, 2)).chunks.items():
        head = play.write(large(1, 2), without=[name])
        play.store.change([Delete(PLACES.chunk(name)), Put(PLACES.head, head.encoded())])
        await trio.sleep(0.1)
        report = source.status.report()
        assert report.is_failing
        assert report.last_error == (
            f"version {head.said.number} of the published state needs chunk {name[:12]}, which etcd doesn't have; {REMEDY}"
        )
        assert len(play.trees) == 1
        play.store.change([Put(PLACES.chunk(name), chunk.data)])
    # Nothing else has changed in the store.
    await trio.sleep(UNUSABLE_AGAIN)
    assert seen(play.trees[-1]) == seen(large(1, 2))
    assert not source.status.report().is_failing


async def test_a_version_with_a_damaged_chunk_is_not_served(play: Play, autojump_clock: MockClock) -> None:
    play.write(tree(a="1"))
    source = play.begin()
    await trio.sleep(1)
    for name, chunk in version_of(large(1, 2)).chunks.items():
        version = version_of(large(1, 2))
        play.store.change([Put(PLACES.chunk(each), part.data) for each, part in version.chunks.items()])
        play.store.change([Put(PLACES.chunk(name), chunk.data[:-1] + b"#")])
        play.store.change([Put(PLACES.head, version.head(2, 1e9, "a").encoded())])
        await trio.sleep(UNUSABLE_AGAIN)
        assert source.status.report().last_error == (
            f"version 2 of the published state is damaged: chunk {name[:12]} has another content than its name says; "
            f"{REMEDY}"
        )
        assert len(play.trees) == 1


async def test_a_manifest_that_is_not_the_one_of_the_head_is_not_served(play: Play, autojump_clock: MockClock) -> None:
    source = play.begin()
    play.write(tree(a="1"))
    head = play.write(tree(a="2"))
    wrong = attrs.evolve(head, said=attrs.evolve(head.said, id="0" * 64))
    play.store.change([Put(PLACES.head, wrong.encoded())])
    await trio.sleep(1)
    assert not play.trees
    assert source.status.report().last_error == (
        f"version 2 of the published state is damaged: its manifest isn't what its id says; {REMEDY}"
    )


async def put_manifest(play: Play, manifest: bytes) -> None:
    """Write a version whose manifest is made by hand."""
    digest = digest_of(manifest)
    play.store.change([Put(PLACES.chunk(digest), manifest)])
    play.store.change([Put(PLACES.head, Head(Announcement(1, digest, 1e9, "a"), (digest,), ()).encoded())])
    await trio.sleep(1)


async def test_a_manifest_that_can_not_be_read_is_not_served(play: Play, autojump_clock: MockClock) -> None:
    source = play.begin()
    await put_manifest(play, b'{"format":3}')
    assert source.status.report().last_error == (
        "version 1 of the published state can't be read: its format is 3, and this version reads 1 to 2; "
        "a newer vortexd wrote it; upgrade this node if it is the older one"
    )
    assert not play.trees


async def test_a_content_that_is_not_what_its_digest_says_is_not_served(play: Play, autojump_clock: MockClock) -> None:
    source = play.begin()
    manifest, [chunk] = manifest_of(tree(a="1", b="2"))
    play.store.change([Put(PLACES.chunk(chunk.name), chunk.data)])
    await put_manifest(play, manifest.replace(b"[0,0,1]", b"[0,1,1]"))
    assert not play.trees
    assert "isn't what its digest says" in str(source.status.report().last_error)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            b"x",
            "the head /vortexd-published/c/head can't be read: it isn't JSON; the next version that is published "
            "replaces it",
        ),
        (
            b'{"format":3}',
            "the head /vortexd-published/c/head can't be read: its format is 3, and this version reads 1 to 2; "
            "a newer vortexd wrote it; upgrade this node",
        ),
    ],
)
async def test_a_head_that_can_not_be_read_is_set_aside_with_one_warning(
    play: Play, autojump_clock: MockClock, value: bytes, said: str
) -> None:
    play.write(tree(a="1"))
    source = play.begin()
    await trio.sleep(1)
    with capture_logs() as logs:
        play.store.change([Put(PLACES.head, value)])
        await trio.sleep(10 * UNUSABLE_AGAIN)
    assert source.status.report().last_error == said
    assert [each["event"] for each in logs] == ["source unreadable"]
    assert len(play.trees) == 1
    play.write(tree(a="2"))
    await trio.sleep(1)
    assert not source.status.report().is_failing


async def test_a_head_that_is_deleted_leaves_the_last_state(play: Play, autojump_clock: MockClock) -> None:
    play.write(tree(a="1"))
    source = play.begin()
    await trio.sleep(1)
    play.store.change([Delete(PLACES.head)])
    await trio.sleep(1)
    assert source.status.report().is_failing
    assert len(play.trees) == 1


async def test_nothing_is_published_before_all_chunks_are_verified(play: Play, autojump_clock: MockClock) -> None:
    play.write(large(1, 2, 3))
    counts = []
    play.before_read = lambda key: counts.append(len(play.trees))
    play.begin()
    await trio.sleep(1)
    # The head, the root, the page and three contents.
    assert counts == [0] * 6
    assert len(play.trees) == 1


async def test_a_version_that_is_deleted_while_it_is_read_gives_way_to_the_newest(
    play: Play, autojump_clock: MockClock
) -> None:
    former = version_of(large(1, 2))
    play.write(large(1, 2))

    def replace(key: str) -> None:
        if key == PLACES.chunk(former.manifest[0]):
            play.before_read = lambda key: None
            play.store.change([Delete(PLACES.chunk(name)) for name in former.chunks if name != former.manifest[0]])
            play.write(large(3))

    play.before_read = replace
    source = play.begin()
    await trio.sleep(1)
    assert play.seen() == [seen(large(3))]
    assert not source.status.report().is_failing


# Limits.


@pytest.mark.parametrize(("limit", "is_served"), [(3, True), (2, False)])
async def test_a_label_has_a_most_number_of_files(
    play: Play, autojump_clock: MockClock, limit: int, is_served: bool
) -> None:
    files = Files({"a": b"", "b": b""}, others=(Files({}, {"c": "x"}),))
    play.write(Tree({"main": files, "v1": files}))
    source = play.begin(attrs.evolve(SETTINGS, files=limit))
    await trio.sleep(1)
    assert bool(play.trees) == is_served
    if not is_served:
        said = source.status.report().last_error
        assert said == "version 1 of the published state has more files than 2 in main, which files allows"


@pytest.mark.parametrize(("limit", "is_served"), [(2_000, True), (1_999, False)])
async def test_all_files_together_have_a_most_size(
    play: Play, autojump_clock: MockClock, limit: int, is_served: bool
) -> None:
    files = Files({"a": b"a" * 1_000, "b": b"b" * 1_000, "c": b"a" * 1_000})
    play.write(Tree({"main": files, "v1": files}))
    source = play.begin(attrs.evolve(SETTINGS, total_bytes=limit))
    await trio.sleep(1)
    assert bool(play.trees) == is_served
    if not is_served:
        said = source.status.report().last_error
        assert said == "version 1 of the published state has 2000 bytes, and total_bytes allows 1999"
        # Only the root and the page of the manifest were fetched.
        assert len(play.chunks_read()) == 2


@pytest.mark.parametrize(("limit", "unreadable"), [(3, {}), (2, {"a": "it has 3 bytes, and file_bytes allows 2"})])
async def test_a_file_that_is_too_large_is_unreadable_and_is_not_fetched(
    play: Play, autojump_clock: MockClock, limit: int, unreadable: dict[str, str]
) -> None:
    play.write(tree(a="123", b="1"))
    play.begin(attrs.evolve(SETTINGS, file_bytes=limit))
    await trio.sleep(1)
    files = play.trees[0].labels["main"]
    assert files.unreadable == unreadable
    assert "b" in files.contents


async def test_a_root_that_total_bytes_does_not_allow_is_not_fetched(play: Play, autojump_clock: MockClock) -> None:
    play.write(Tree({"main": Files({}, locations=("x" * 600_000,))}))
    source = play.begin(attrs.evolve(SETTINGS, total_bytes=524_287))
    await trio.sleep(1)
    assert not play.chunks_read()
    assert source.status.report().last_error == (
        "version 1 of the published state has a manifest that total_bytes (524287) doesn't allow"
    )
    play.begin(attrs.evolve(SETTINGS, total_bytes=524_288))
    await trio.sleep(1)
    assert play.trees


@pytest.mark.parametrize(("less", "is_served"), [(0, True), (1, False)])
async def test_pages_that_total_bytes_does_not_allow_are_not_fetched(
    play: Play, autojump_clock: MockClock, less: int, is_served: bool
) -> None:
    files = {f"{number:06}-{'x' * 90}.yml": b"" for number in range(6_000)}
    head = play.write(Tree({"main": Files(files)}))
    root = root_in(head, play.chunk)
    assert isinstance(root, Root)
    limit = sum(root.sizes.values()) - CHUNK_BYTES - less
    source = play.begin(attrs.evolve(SETTINGS, total_bytes=limit))
    await trio.sleep(1)
    assert bool(play.trees) == is_served
    if not is_served:
        assert play.chunks_read() == [*head.manifest]
        assert source.status.report().last_error == (
            f"version 1 of the published state has a manifest that total_bytes ({limit}) doesn't allow"
        )


async def test_the_rows_of_a_manifest_are_bounded_by_total_bytes(play: Play, autojump_clock: MockClock) -> None:
    """Labels may share a page, so that a short manifest has any number of rows."""
    files = Files({f"f{number:05}": b"" for number in range(2_000)})
    source = play.begin(attrs.evolve(SETTINGS, total_bytes=1_024))
    play.write(Tree({f"v{number}": files for number in range(40)}))
    await trio.sleep(1)
    assert source.status.report().last_error == (
        "version 1 of the published state can't be read: the manifest has more than 65664 rows; upgrade this node if it is "
        "the older one"
    )
    play.write(Tree({f"v{number}": files for number in range(32)}))
    await trio.sleep(1)
    assert len(play.trees[-1].labels) == 32


# Format 1, which former versions wrote.


async def test_a_version_of_format_1_is_read_and_the_next_one_follows(play: Play, autojump_clock: MockClock) -> None:
    manifest, chunks = manifest_of(rich())
    play.store.change([Put(PLACES.chunk(each.name), each.data) for each in chunks])
    source = play.begin()
    await put_manifest(play, manifest)
    assert play.seen() == [seen(rich())]
    assert not source.status.report().is_failing
    play.write(tree(a="1"))
    await trio.sleep(1)
    assert play.seen() == [seen(rich()), seen(tree(a="1"))]


# The store.


async def test_a_store_that_is_away_leaves_the_last_state_and_nothing_is_missed(
    play: Play, autojump_clock: MockClock
) -> None:
    play.write(tree(a="1"))
    source = play.begin()
    await trio.sleep(1)
    play.store.set_away(True)
    await trio.sleep(1)
    assert source.status.report().is_failing
    assert source.status.report().last_error == "the store is away"
    play.write(tree(a="2"))
    play.store.set_away(False)
    await trio.sleep(30)
    assert seen(play.trees[-1]) == seen(tree(a="2"))
    assert not source.status.report().is_failing
    assert [each.is_closed for each in play.engines[:-1]] == [True] * (len(play.engines) - 1)


async def test_a_store_that_is_cut_while_a_version_is_read_changes_nothing(
    play: Play, autojump_clock: MockClock
) -> None:
    play.write(tree(a="1"))
    source = play.begin()
    await trio.sleep(1)
    last = list(version_of(large(1, 2, 3)).chunks)[2]

    def cut(key: str) -> None:
        if key == PLACES.chunk(last):
            play.before_read = lambda key: None
            play.store.set_away(True)

    play.before_read = cut
    play.write(large(1, 2, 3))
    await trio.sleep(1)
    assert len(play.trees) == 1
    assert source.status.report().is_failing
    play.store.set_away(False)
    await trio.sleep(30)
    assert seen(play.trees[-1]) == seen(large(1, 2, 3))


async def test_an_engine_that_can_not_be_made_is_reported_and_made_later(play: Play, autojump_clock: MockClock) -> None:
    play.refusal = Denied("the certificates can't be used")
    source = play.begin()
    await trio.sleep(5)
    assert source.status.report().last_error == "the certificates can't be used"
    play.refusal = None
    play.write(tree(a="1"))
    await trio.sleep(30)
    assert play.trees


async def test_the_back_off_doubles_and_begins_anew_once_a_watch_has_begun(
    play: Play, autojump_clock: MockClock
) -> None:
    times: list[float] = []
    play.refusal = Denied("no")
    engine = play.engine

    def noted() -> Engine:
        times.append(trio.current_time())
        return engine()

    play.engine = noted  # type: ignore[method-assign]
    play.begin()
    await trio.sleep(50)
    assert [after - before for before, after in pairwise(times)][:6] == [1, 2, 4, 8, 15, 15]
    play.refusal = None
    await trio.sleep(20)
    times.clear()
    play.store.set_away(True)
    await trio.sleep(3.5)
    assert [round(after - before) for before, after in pairwise(times)] == [2]


async def test_a_compacted_store_is_read_anew(play: Play, autojump_clock: MockClock) -> None:
    play.write(tree(a="1"))
    play.begin()
    await trio.sleep(1)
    play.store.restore(play.store.revision - 1)
    play.write(tree(a="2"))
    play.store.compact()
    await trio.sleep(5)
    assert seen(play.trees[-1]) == seen(tree(a="2"))


async def test_the_connections_are_closed_at_the_end(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        play = Play(nursery)
        play.begin()
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert [each.is_closed for each in play.engines] == [True]


# Former versions.


async def test_the_versions_before_the_one_that_was_taken_are_read(play: Play, autojump_clock: MockClock) -> None:
    source = play.begin()
    assert await source.former() is None
    assert play.engines == []
    for each in range(1, 4):
        head = play.write(large(each, 7))
        play.store.change([Put(PLACES.version(each), head.encoded())])
    await trio.sleep(1)
    play.reads.clear()
    found = await source.former()
    assert found is not None
    assert (found[0], seen(found[1])) == (2, seen(large(2, 7)))
    # The present version has one of the two contents. The other one, the root and a page are read.
    assert found[1].labels["main"].contents["f7"] is play.trees[-1].labels["main"].contents["f7"]
    assert len(play.chunks_read()) == 3
    former = await source.former(2)
    assert former is not None
    assert (former[0], seen(former[1])) == (1, seen(large(1, 7)))
    assert await source.former(1) is None


async def test_an_equal_version_with_another_number_counts(play: Play, autojump_clock: MockClock) -> None:
    play.write(tree(a="1"))
    source = play.begin()
    await trio.sleep(1)
    head = play.write(tree(a="1"))
    play.store.change([Put(PLACES.version(1), head.encoded())])
    await trio.sleep(1)
    assert await source.former() is not None


async def test_a_version_that_is_not_taken_is_not_the_present_one(play: Play, autojump_clock: MockClock) -> None:
    play.write(tree(a="1"))
    source = play.begin()
    await trio.sleep(1)
    lost = next(iter(version_of(tree(a="2")).chunks))
    play.store.change([Put(PLACES.version(1), play.write(tree(a="2"), without=[lost]).encoded())])
    await trio.sleep(1)
    assert await source.former() is None


# Names.


def test_a_second_source_of_the_same_name_has_its_address_in_its_name() -> None:
    first = open_source(SETTINGS, Surroundings(Random(), Path("/state")))
    second = open_source(SETTINGS, Surroundings(Random(), Path("/state"), opened=[first]))
    assert (first.name, second.name) == ("published:c", "published://etcd:2379/c")


async def test_content_without_a_commit_has_the_number_of_the_version_as_its_place(
    play: Play, autojump_clock: MockClock
) -> None:
    play.write(rich())
    play.begin()
    await trio.sleep(1)
    play.write(tree(a="2"))
    await trio.sleep(1)

    main = play.trees[0].labels["main"]
    assert (None, "1") == (main.position, main.others[0].position)
    assert "2" == play.trees[1].labels["main"].position

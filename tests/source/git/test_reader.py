"""Reading and publishing: after a fetch, and when clients request labels."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.core.errors import SourceError
from vortexd.core.model import Files, Tree
from vortexd.source.git.notices import Notices
from vortexd.source.git.reader import MirrorReader
from vortexd.source.git.refs import Ref
from vortexd.source.git.settings import GitSettings
from vortexd.source.status import SourceStatus

URI = "https://git.example/a.git"
COMMIT, OTHER = "a" * 40, "b" * 40


def refs(*names: str, **ids: str) -> dict[str, Ref]:
    return {f"refs/heads/{name}": Ref(f"refs/heads/{name}", ids.get(name, "1")) for name in (*names, *ids)}


class FakeMirror:
    """A mirror that has some commits in its past, and answers how often it was asked for them."""

    def __init__(self) -> None:
        self.git = None
        self.head = ""
        self.commits: set[str] = set()
        self.asked: list[tuple[str, frozenset[str]]] = []
        self.listed = 0

    async def holds(self, commit: str, names: frozenset[str]) -> bool:
        self.asked.append((commit, names))
        return commit in self.commits

    async def newest(self) -> Sequence[str]:
        self.listed += 1
        return ["refs/heads/new", "refs/heads/old"]


class FakeAssembly:
    """An assembly in which everything can be read, but for what a test says."""

    def __init__(self) -> None:
        self.loaded: dict[str, str] = {}
        self.published: Tree | None = None
        self.skipped: set[str] = set()
        self.fails = False
        self.noticed: list[float] = []
        self.entered = 0

    def is_skipped(self, label: str) -> bool:
        return label in self.skipped

    async def assemble(self, wanted: Mapping[str, str], default: str, noticed: float) -> Tree | None:
        if self.fails:
            raise SourceError("gone")
        self.noticed.append(noticed)
        is_same = self.loaded == wanted
        self.loaded = {label: id for label, id in wanted.items() if label not in self.skipped}
        return None if is_same else Tree({label: Files({}, revision=id) for label, id in self.loaded.items()}, default)

    def has_published(self, tree: Tree) -> None:
        self.published = tree

    async def before(self, commit: str) -> Files | None:
        self.entered += 1
        return Files({}, revision=f"before {commit}")


class Reading:
    """A reader on fakes, and the labels of each tree that it published."""

    def __init__(self, **settings: Any) -> None:
        self.mirror, self.assembly = FakeMirror(), FakeAssembly()
        self.status = SourceStatus(URI, "git")
        values = GitSettings(uri=URI, read_timeout=5.0, **settings)
        self.reader = MirrorReader(URI, self.mirror, values, self.status, Notices(URI))  # type: ignore[arg-type]  # a fake
        self.reader._assembly = self.assembly  # type: ignore[assignment]  # a fake
        self.trees: list[list[str]] = []

    async def publish(self, tree: Tree) -> None:
        await trio.lowlevel.checkpoint()
        self.trees.append([*tree.labels])

    async def read(self, found: Mapping[str, Ref]) -> None:
        await self.reader.read(self.publish, found)

    @asynccontextmanager
    async def granting(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.reader.grant_wishes, self.publish)
            yield
            nursery.cancel_scope.cancel()


# After a fetch.


async def test_what_refs_hold_is_published_if_it_is_new() -> None:
    reading = Reading()

    def published() -> tuple[bool, str | None]:
        return reading.reader.has_published, reading.reader.revision

    assert (False, None) == published()
    reading.reader.noticed = 7.0
    await reading.read(refs("main", dev="2"))
    await reading.read(refs("main", dev="2"))

    assert [["main", "dev"]] == reading.trees
    assert (True, "1") == published()
    assert "1" == reading.status.report().revision
    assert [7.0, 7.0] == reading.assembly.noticed


async def test_a_repository_without_a_label_is_no_configuration() -> None:
    reading = Reading(labels=("release/*",))
    with pytest.raises(SourceError, match="has no branch or tag that is served"):
        await reading.read(refs("main"))

    assert [] == reading.trees


async def test_a_default_label_that_is_missing_is_reported_once() -> None:
    reading = Reading(default_label="prod")
    with capture_logs() as logs:
        await reading.read(refs("main"))
        await reading.read(refs("main"))

    assert ["no default label"] == [each["event"] for each in logs]
    assert "there is no branch or tag prod" in str(reading.status.report().last_error)
    assert reading.reader.revision is None


async def test_labels_that_have_moved_count_until_the_mirror_is_packed() -> None:
    reading = Reading()
    for found in (refs("main", "dev"), refs("main", "dev"), refs("main", dev="2")):
        await reading.read(found)

    assert 3 == reading.reader.unpacked


async def test_git_is_asked_for_the_newest_labels_only_if_there_are_many() -> None:
    few, many = Reading(loaded_labels=3), Reading(loaded_labels=2)
    for reading in (few, many):
        await reading.read(refs("main", "old", "new"))

    assert ([["main", "old", "new"]], 0) == (few.trees, few.mirror.listed)
    assert ([["main", "new"]], 1) == (many.trees, many.mirror.listed)


async def test_commits_that_clients_have_asked_for_stay_as_long_as_the_repository_has_them() -> None:
    reading = Reading(commits=True)
    reading.mirror.commits = {COMMIT, OTHER}
    await reading.read(refs("main"))
    async with reading.granting():
        assert await reading.reader.load(COMMIT)
        assert await reading.reader.load(OTHER)
    reading.mirror.commits = {OTHER}
    await reading.read(refs(main="2"))

    assert ["main", OTHER] == reading.trees[-1]
    assert (COMMIT, frozenset({"refs/heads/main"})) == reading.mirror.asked[0]


# Labels that clients ask for.


async def test_a_label_that_is_not_read_yet_is_read_when_it_is_asked_for(autojump_clock: MockClock) -> None:
    reading = Reading(loaded_labels=1)
    await reading.read(refs("main", "old"))
    async with reading.granting():
        assert await reading.reader.load("old")
        assert await reading.reader.load("old")

    assert [["main"], ["main", "old"]] == reading.trees


@pytest.mark.parametrize("label", ["none", COMMIT, "HEAD~1"])
async def test_a_label_that_can_not_exist_is_answered_at_once(label: str) -> None:
    reading = Reading()
    await reading.read(refs("main"))

    # Nobody grants wishes here.
    assert not await reading.reader.load(label)
    assert [] == reading.mirror.asked


async def test_a_label_that_was_skipped_is_answered_at_once() -> None:
    reading = Reading()
    reading.assembly.skipped = {"dev"}
    await reading.read(refs("main", "dev"))

    assert not await reading.reader.load("dev")


async def test_git_is_asked_once_for_a_commit_that_it_does_not_have(autojump_clock: MockClock) -> None:
    reading = Reading(commits=True)
    await reading.read(refs("main"))
    async with reading.granting():
        assert not await reading.reader.load(COMMIT)
        assert not await reading.reader.load(COMMIT)

    assert 1 == len(reading.mirror.asked)


async def test_labels_in_use_stay_while_others_are_asked_for(autojump_clock: MockClock) -> None:
    reading = Reading(loaded_labels=1)
    reading.reader.keep_labels(lambda: {"a"})
    await reading.read(refs("main", "a", "b", "c"))
    async with reading.granting():
        for label in ("a", "b", "c"):
            assert await reading.reader.load(label)

    assert {"main", "a", "c"} == set(reading.trees[-1])


async def test_a_failure_is_logged_and_ends_the_wait_and_the_next_request_is_read(autojump_clock: MockClock) -> None:
    reading = Reading(loaded_labels=1)
    await reading.read(refs("main", "old"))
    reading.assembly.fails = True
    async with reading.granting():
        began = trio.current_time()
        with capture_logs() as logs:
            assert not await reading.reader.load("old")
        assert began == trio.current_time()
        reading.assembly.fails = False
        assert await reading.reader.load("old")

    assert [{"event": "labels not read", "source": URI, "reason": "gone", "log_level": "warning"}] == logs


async def test_a_request_that_nobody_grants_ends_after_the_read_timeout(autojump_clock: MockClock) -> None:
    reading = Reading(loaded_labels=1)
    await reading.read(refs("main", "old"))
    began = trio.current_time()

    assert not await reading.reader.load("old")
    assert 5 == trio.current_time() - began


async def test_a_label_that_is_on_its_way_is_waited_for_twice_the_read_timeout_at_most(
    autojump_clock: MockClock,
) -> None:
    reading = Reading()
    await reading.read(refs("main"))
    answers: list[tuple[bool, float]] = []

    async def load() -> None:
        answers.append((await reading.reader.load("main"), trio.current_time()))

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        async with reading.reader._reading:
            nursery.start_soon(load)
            await trio.sleep(1)
            assert [] == answers
    async with trio.open_nursery() as nursery:
        async with reading.reader._reading:
            nursery.start_soon(load)
            await trio.sleep(20)

    assert [(True, began + 1), (True, began + 1 + 10)] == answers


# The commit before.


async def test_without_a_label_there_is_no_commit_before() -> None:
    reading = Reading()

    assert await reading.reader.before("c1") is None
    assert 0 == reading.assembly.entered


async def test_the_commit_before_is_read_alone_and_for_at_most_the_read_timeout(autojump_clock: MockClock) -> None:
    reading = Reading()
    await reading.read(refs("main"))
    files = await reading.reader.before("c1")

    assert "before c1" == (files and files.revision)
    async with reading.reader._reading:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reading.reader.before, "c2")
            await wait_all_tasks_blocked()
        assert 5 == trio.current_time() - began
    assert 1 == reading.assembly.entered

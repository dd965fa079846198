"""A watched directory, on a clock that jumps: what is published, when, and what is not."""

import errno
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.errors import SourceError
from vortexd.model import Tree
from vortexd.settings import SourceSettings
from vortexd.source import directory, files
from vortexd.source.files import FilesSource

Result = TypeVar("Result")


class Watcher:
    """In place of the kernel's notifications: hints are sent by the test, and the watches that began are counted."""

    def __init__(self) -> None:
        self.begun = 0
        self.error: OSError | None = None
        self._hints, self._received = trio.open_memory_channel[None](100)

    def hint(self) -> None:
        self._hints.send_nowait(None)

    async def watch(self, *_: object, **__: object) -> AsyncIterator[None]:
        self.begun += 1
        if self.error:
            raise self.error
        while True:
            await self._received.receive()
            yield


@pytest.fixture
def watcher(monkeypatch: pytest.MonkeyPatch) -> Watcher:
    """Scans run in the test's own thread, so that the clock can't jump while one works."""

    async def inline(function: Callable[..., Result], *arguments: object, **_: object) -> Result:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    watcher = Watcher()
    monkeypatch.setattr(files, "awatch", watcher.watch)
    monkeypatch.setattr(trio.to_thread, "run_sync", inline)
    return watcher


class Running:
    """A source at work, and what it published, with the time."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.source = FilesSource(SourceSettings(kind="files", path=str(root), **settings), Path("/"))
        self.trees: list[Tree] = []
        self.times: list[float] = []

    async def publish(self, tree: Tree) -> None:
        self.trees.append(tree)
        self.times.append(trio.current_time())

    def contents(self, label: str = "main") -> list[dict[str, bytes]]:
        return [dict(tree.labels[label].contents) for tree in self.trees]


@pytest.fixture
async def start(nursery: trio.Nursery) -> Callable[[Running], Awaitable[Running]]:
    async def begin(running: Running) -> Running:
        nursery.start_soon(running.source.run, running.publish)
        await wait_all_tasks_blocked()
        return running

    return begin


Start = Callable[[Running], Awaitable[Running]]


def save(path: Path, text: str) -> None:
    """A write beside, and a rename over it."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.rename(path)


def vim(path: Path, text: str) -> None:
    """What vim does: the old file becomes the backup, a new one is written, the backup goes."""
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    path.write_text(text)
    backup.unlink()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "config"
    root.mkdir()
    (root / "shop.yml").write_text("a: 1")
    return root


async def test_the_first_state_is_published_at_once(
    root: Path, watcher: Watcher, mock_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root))

    assert [{"shop.yml": b"a: 1"}] == running.contents()
    assert f"file:{root}/" == running.trees[0].labels["main"].root
    assert f"files:{root}" == running.source.name


@pytest.mark.parametrize(
    "edit", [save, vim, lambda path, text: path.write_text(text)], ids=["rename", "vim", "in place"]
)
async def test_a_save_is_published_once_after_the_quiet_time(
    root: Path, watcher: Watcher, autojump_clock: MockClock, start: Start, edit: Callable[[Path, str], None]
) -> None:
    running = await start(Running(root, quiet=0.1, scan_interval=60.0))
    begun = trio.current_time()
    edit(root / "shop.yml", "a: 2")
    watcher.hint()
    await trio.sleep(30)

    assert [{"shop.yml": b"a: 1"}, {"shop.yml": b"a: 2"}] == running.contents()
    assert begun + 0.1 == pytest.approx(running.times[1])


async def test_R19_without_hints_a_change_is_found_by_the_scan(
    root: Path, watcher: Watcher, autojump_clock: MockClock, start: Start
) -> None:
    watcher.error = OSError(errno.ENOSPC, "inotify watch limit reached")
    with capture_logs() as logs:
        running = await start(Running(root, quiet=0.1, scan_interval=5.0))
        await trio.sleep(1)
        save(root / "shop.yml", "a: 2")
        begun = trio.current_time()
        await trio.sleep(60)

    assert [{"shop.yml": b"a: 1"}, {"shop.yml": b"a: 2"}] == running.contents()
    assert running.times[1] - begun <= 5.2
    assert ["directory not watched"] == [entry["event"] for entry in logs]


async def test_a_touch_publishes_nothing(root: Path, watcher: Watcher, autojump_clock: MockClock, start: Start) -> None:
    running = await start(Running(root))
    os.utime(root / "shop.yml", (1, 1))
    save(root / "shop.yml", "a: 1")
    watcher.hint()
    await trio.sleep(60)

    assert 1 == len(running.trees)


async def test_a_burst_of_saves_is_one_publication(
    root: Path, watcher: Watcher, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root, quiet=0.1, max_wait=5.0))
    for number in range(40):
        save(root / "shop.yml", f"a: {number}")
        watcher.hint()
        await trio.sleep(0.05)
    await trio.sleep(60)

    assert [b"a: 1", b"a: 39"] == [contents["shop.yml"] for contents in running.contents()]


async def test_a_thousand_saves_in_a_second_are_a_handful_of_publications(
    root: Path, watcher: Watcher, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root, quiet=0.1, max_wait=0.5))
    for number in range(1_000):
        save(root / "shop.yml", f"a: {number}")
        if number % 10 == 0:
            watcher.hint()
        await trio.sleep(0.001)
    await trio.sleep(60)

    assert 2 <= len(running.trees) - 1 <= 5
    assert b"a: 999" == running.contents()[-1]["shop.yml"]


async def test_changes_that_never_stop_are_published_after_the_longest_wait(
    root: Path, watcher: Watcher, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root, quiet=0.1, max_wait=1.0))
    begun = trio.current_time()
    for number in range(30):
        save(root / "shop.yml", f"a: {number + 2}")
        watcher.hint()
        await trio.sleep(0.05)

    assert begun + 1.0 == pytest.approx(running.times[1], abs=0.06)


async def test_a_directory_that_vanishes_leaves_the_state_and_is_told_once(
    root: Path, watcher: Watcher, autojump_clock: MockClock, start: Start
) -> None:
    with capture_logs() as logs:
        running = await start(Running(root))
        os.rename(root, root.parent / "away")
        watcher.hint()
        await trio.sleep(60)
        gone = len(running.trees)
        os.rename(root.parent / "away", root)
        await trio.sleep(60)
        same = len(running.trees)
        save(root / "shop.yml", "a: 2")
        watcher.hint()
        await trio.sleep(60)

    assert 1 == gone == same
    assert b"a: 2" == running.contents()[-1]["shop.yml"]
    assert ["source unreadable", "source readable again"] == [entry["event"] for entry in logs]
    assert str(root) in logs[0]["reason"]


async def test_a_directory_that_was_replaced_is_watched_anew(
    root: Path, watcher: Watcher, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root, scan_interval=5.0))
    os.rename(root, root.parent / "old")
    os.mkdir(root)
    (root / "shop.yml").write_text("a: 2")
    await trio.sleep(10)
    begun = trio.current_time()
    save(root / "shop.yml", "a: 3")
    watcher.hint()
    await trio.sleep(1)

    assert 2 == watcher.begun
    assert [b"a: 1", b"a: 2", b"a: 3"] == [contents["shop.yml"] for contents in running.contents()]
    assert running.times[-1] - begun == pytest.approx(0.1)


async def test_a_directory_missing_at_the_start_is_waited_for(
    root: Path, watcher: Watcher, autojump_clock: MockClock, start: Start
) -> None:
    os.rename(root, root.parent / "away")
    running = await start(Running(root))
    before = len(running.trees)
    os.rename(root.parent / "away", root)
    await trio.sleep(6)

    assert 0 == before
    assert [{"shop.yml": b"a: 1"}] == running.contents()


async def test_an_unmounted_volume_is_no_empty_configuration(
    root: Path, watcher: Watcher, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await start(Running(root))
    (root / "shop.yml").rename(root.parent / "elsewhere")
    really = directory._list

    def on_another_device(*arguments: Any) -> tuple[int, int]:
        device, inode = really(*arguments)
        return device + 1, inode

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(directory, "_list", on_another_device)
        await trio.sleep(60)
        unmounted = len(running.trees)
    await trio.sleep(60)

    assert 1 == unmounted
    assert "its volume isn't mounted" in logs[0]["reason"]
    assert {} == running.contents()[-1]  # on the same device it really is empty


async def test_R15_without_descriptors_the_state_stands_and_the_source_recovers(
    root: Path, watcher: Watcher, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await start(Running(root))
    save(root / "shop.yml", "a: 2")

    def exhausted(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", exhausted)
        await trio.sleep(60)
        meanwhile = len(running.trees)
    await trio.sleep(60)

    assert 1 == meanwhile
    assert b"a: 2" == running.contents()[-1]["shop.yml"]


async def test_a_file_that_becomes_readable_is_published_without_a_change_of_it(
    root: Path, watcher: Watcher, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = directory._read_file

    def refused(place: str, path: str, *rest: Any) -> bytes:
        if path == "shop.yml":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return really(place, path, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(directory, "_read_file", refused)
        running = await start(Running(root))
        await trio.sleep(60)
    await trio.sleep(60)

    assert [{}, {"shop.yml": b"a: 1"}] == running.contents()
    assert {"shop.yml": "input/output error"} == running.trees[0].labels["main"].unreadable


async def test_sub_directories_are_labels_that_share_the_files_at_the_top(
    root: Path, watcher: Watcher, autojump_clock: MockClock, start: Start
) -> None:
    for label in ("main", "next", "-odd"):
        (root / label).mkdir()
        (root / label / "shop.yml").write_text(f"label: {label}")
    (root / "empty").mkdir()
    with capture_logs() as logs:
        running = await start(Running(root, label_directories=True))
        save(root / "next" / "shop.yml", "label: newer")
        watcher.hint()
        await trio.sleep(60)

    assert {"main", "next"} == set(running.trees[-1].labels)
    assert {"shop.yml": b"a: 1", "next/shop.yml": b"label: newer"} == running.contents("next")[-1]
    assert ("", "next/") == running.trees[-1].labels["next"].locations
    assert [("directory skipped", "-odd")] == [(entry["event"], entry["directory"]) for entry in logs]


async def test_a_label_whose_directory_goes_is_gone(
    root: Path, watcher: Watcher, autojump_clock: MockClock, start: Start
) -> None:
    for label in ("main", "next"):
        (root / label).mkdir()
        (root / label / "shop.yml").write_text("a: 2")
    running = await start(Running(root, label_directories=True))
    (root / "next").rename(root.parent / "away")
    watcher.hint()
    await trio.sleep(60)

    assert [{"main", "next"}, {"main"}] == [set(tree.labels) for tree in running.trees]


async def test_what_changes_during_a_publication_is_published_next(
    root: Path, watcher: Watcher, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    running = Running(root)

    async def slowly(tree: Tree) -> None:
        await running.publish(tree)
        if len(running.trees) == 1:
            save(root / "shop.yml", "a: 2")
            watcher.hint()
            await trio.sleep(3)

    nursery.start_soon(running.source.run, slowly)
    await trio.sleep(60)

    assert [b"a: 1", b"a: 2"] == [contents["shop.yml"] for contents in running.contents()]


async def test_cancellation_ends_the_real_watcher_and_leaves_no_thread(root: Path) -> None:
    def watchers() -> int:
        return sum(not thread.daemon for thread in threading.enumerate())

    before = watchers()
    running = Running(root, quiet=0.0)
    published = trio.Event()

    async def publish(tree: Tree) -> None:
        await running.publish(tree)
        published.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.source.run, publish)
        await published.wait()
        published = trio.Event()
        save(root / "shop.yml", "a: 2")
        with trio.fail_after(10):
            await published.wait()
        nursery.cancel_scope.cancel()

    assert [b"a: 1", b"a: 2"] == [contents["shop.yml"] for contents in running.contents()]
    assert before == watchers()


def test_errors_of_a_source_name_the_directory(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=str(tmp_path / "none")):
        directory.outline(str(tmp_path / "none"), SourceSettings(kind="files", path="x"))

"""A watched directory, with a clock that jumps: its publications and their times."""

import errno
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.core.errors import SourceError
from vortexd.core.model import Files, Good, Tree
from vortexd.source.base import Surroundings
from vortexd.source.files import directory, watching
from vortexd.source.files.directory import Identity
from vortexd.source.files.remembered import Remembered
from vortexd.source.files.settings import FilesSettings
from vortexd.source.files.source import FilesSource, open_files
from vortexd.source.files.versions import Versions
from vortexd.source.files.watches import Followed, Place, Watches
from vortexd.source.files.writes import Event, Kind

from .outlines import noted_outlines

Result = TypeVar("Result")


class Kernel(Watches):
    """The kernel's own events. They are handed over where the test hints, or when the source asks for what there is.

    Attributes:
        trouble: Why nothing can be watched, or None.
        lost: How often the kernel says that it lost events, before it says anything else.
        hold_back: Let there be no events for now, as where the kernel is late.
        watched: The paths that were watched anew, in groups.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trouble: str | None = None
        self.lost = 0
        self.hold_back = False
        self.watched: list[set[str]] = []
        self._hinted = trio.Event()

    def hint(self) -> None:
        self._hinted.set()

    async def wait(self) -> None:
        await self._hinted.wait()
        self._hinted = trio.Event()

    def waiting(self) -> int:
        return 0 if self.hold_back else super().waiting() + self.lost

    def take(self) -> tuple[list[Event], int]:
        if self.lost:
            self.lost -= 1
            return [Event(Kind.LOST)], 1
        return super().take()

    def follow(self, wanted: Mapping[Identity, Place]) -> Followed:
        if self.trouble:
            return Followed(False, False, self.trouble)
        self.watched.append({place.path for place in wanted.values() if place.names is None})
        return super().follow(wanted)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Scans run in the test's own thread, so that the clock can't jump while one works."""

    async def inline(function: Callable[..., Result], *arguments: object, **_: object) -> Result:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    kernel = Kernel()
    monkeypatch.setattr(watching, "Watches", lambda: kernel)
    monkeypatch.setattr(trio.to_thread, "run_sync", inline)
    return kernel


class Running:
    """A source at work, and what it published, with the time."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.source = FilesSource(FilesSettings(kind="files", path=str(root), **settings), Path("/"))
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
    root: Path, kernel: Kernel, mock_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root))

    assert [{"shop.yml": b"a: 1"}] == running.contents()
    assert f"file:{root}/" == running.trees[0].labels["main"].root
    assert f"files:{root}" == running.source.name


@pytest.mark.parametrize(
    "edit", [save, vim, lambda path, text: path.write_text(text)], ids=["rename", "vim", "in place"]
)
async def test_a_save_is_published_once_after_the_quiet_time(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, edit: Callable[[Path, str], None]
) -> None:
    running = await start(Running(root, scan_interval=60.0))
    await trio.sleep(1)
    begun = trio.current_time()
    edit(root / "shop.yml", "a: 2")
    kernel.hint()
    await trio.sleep(30)

    assert [{"shop.yml": b"a: 1"}, {"shop.yml": b"a: 2"}] == running.contents()
    assert begun + 0.02 == pytest.approx(running.times[1])


async def test_two_saves_are_published_together_after_the_longer_quiet_time(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    (root / "cart.yml").write_text("b: 1")
    running = await start(Running(root, scan_interval=60.0))
    await trio.sleep(1)
    begun = trio.current_time()
    save(root / "shop.yml", "a: 2")
    save(root / "cart.yml", "b: 2")
    kernel.hint()
    await trio.sleep(30)

    assert {"shop.yml": b"a: 2", "cart.yml": b"b: 2"} == running.contents()[1]
    assert begun + 0.1 == pytest.approx(running.times[1])
    assert 2 == len(running.trees)


async def test_R19_without_hints_a_change_is_found_by_the_scan(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    kernel.trouble = "no more watches are allowed"
    with capture_logs() as logs:
        running = await start(Running(root, quiet=0.1, scan_interval=5.0))
        await trio.sleep(1)
        save(root / "shop.yml", "a: 2")
        begun = trio.current_time()
        await trio.sleep(60)

    assert [{"shop.yml": b"a: 1"}, {"shop.yml": b"a: 2"}] == running.contents()
    assert running.times[1] - begun <= 5.2
    assert [
        {
            "event": "directory not watched",
            "log_level": "info",
            "source": f"files:{root}",
            "reason": "no more watches are allowed",
            "consequence": "the periodic scan finds its changes",
        }
    ] == logs


async def test_a_touch_publishes_nothing(root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start) -> None:
    running = await start(Running(root))
    os.utime(root / "shop.yml", (1, 1))
    save(root / "shop.yml", "a: 1")
    kernel.hint()
    await trio.sleep(60)

    assert 1 == len(running.trees)


async def test_a_burst_of_saves_is_one_publication(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root, max_wait=5.0))
    for number in range(40):
        save(root / "shop.yml", f"a: {number}")
        kernel.hint()
        await trio.sleep(0.015)
    await trio.sleep(60)

    assert [b"a: 1", b"a: 39"] == [contents["shop.yml"] for contents in running.contents()]


async def test_two_saves_of_a_file_further_apart_than_the_short_quiet_time_are_two_publications(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root))
    for number in range(2):
        await trio.sleep(0.03)
        save(root / "shop.yml", f"b: {number}")
        kernel.hint()
    await trio.sleep(60)

    assert [b"a: 1", b"b: 0", b"b: 1"] == [contents["shop.yml"] for contents in running.contents()]


async def test_a_thousand_saves_in_a_second_are_a_handful_of_publications(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root, quiet=0.1, max_wait=0.5))
    for number in range(1_000):
        save(root / "shop.yml", f"a: {number}")
        if number % 10 == 0:
            kernel.hint()
        await trio.sleep(0.001)
    await trio.sleep(60)

    assert 2 <= len(running.trees) - 1 <= 5
    assert b"a: 999" == running.contents()[-1]["shop.yml"]


async def test_changes_that_never_stop_are_published_after_the_longest_wait(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root, quiet=0.1, max_wait=1.0))
    begun = trio.current_time()
    for number in range(80):
        save(root / "shop.yml", f"a: {number + 2}")
        kernel.hint()
        await trio.sleep(0.015)

    assert begun + 1.0 == pytest.approx(running.times[1], abs=0.001)


async def test_a_directory_that_vanishes_leaves_the_state_and_is_told_once(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    with capture_logs() as logs:
        running = await start(Running(root))
        os.rename(root, root.parent / "away")
        kernel.hint()
        await trio.sleep(60)
        gone = len(running.trees)
        os.rename(root.parent / "away", root)
        await trio.sleep(60)
        same = len(running.trees)
        save(root / "shop.yml", "a: 2")
        kernel.hint()
        await trio.sleep(60)

    assert 1 == gone == same
    assert b"a: 2" == running.contents()[-1]["shop.yml"]
    assert ["source unreadable", "source readable again"] == [entry["event"] for entry in logs]
    assert str(root) in logs[0]["reason"]


async def test_a_directory_that_was_replaced_is_watched_anew(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root, scan_interval=5.0))
    os.rename(root, root.parent / "old")
    os.mkdir(root)
    (root / "shop.yml").write_text("a: 2")
    kernel.hint()
    await trio.sleep(4)
    begun = trio.current_time()
    save(root / "shop.yml", "a: 3")
    kernel.hint()
    await trio.sleep(0.5)

    assert [{f"{root}/"}] * 2 == kernel.watched
    assert [b"a: 1", b"a: 2", b"a: 3"] == [contents["shop.yml"] for contents in running.contents()]
    assert running.times[-1] - begun == pytest.approx(0.02)


async def test_a_directory_missing_at_the_start_is_waited_for(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    os.rename(root, root.parent / "away")
    running = await start(Running(root))
    before = len(running.trees)
    os.rename(root.parent / "away", root)
    await trio.sleep(6)

    assert 0 == before
    assert [{"shop.yml": b"a: 1"}] == running.contents()


async def test_an_unmounted_volume_is_no_empty_configuration(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await start(Running(root))
    (root / "shop.yml").rename(root.parent / "elsewhere")
    really = directory.identity_of

    def on_another_device(place: str) -> tuple[int, int]:
        device, inode = really(place)
        return device + 1, inode

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(directory, "identity_of", on_another_device)
        await trio.sleep(60)
        unmounted = len(running.trees)
    await trio.sleep(60)

    assert 1 == unmounted
    assert "its volume isn't mounted" in logs[0]["reason"]
    assert {} == running.contents()[-1]  # on the same device it really is empty


async def test_R15_without_descriptors_the_state_stands_and_the_source_recovers(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await start(Running(root))
    save(root / "shop.yml", "a: 2")

    def exhausted(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", exhausted)
        patched.setattr(os, "open", exhausted)
        await trio.sleep(60)
        meanwhile = len(running.trees)
    await trio.sleep(60)

    assert 1 == meanwhile
    assert b"a: 2" == running.contents()[-1]["shop.yml"]


async def test_a_file_that_becomes_readable_is_published_without_a_change_of_it(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
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


# Files that change again in the tick of the clock in which they were read.


class Tick:
    """The time that the file system stamps. It stands still until the test sets it."""

    def __init__(self) -> None:
        self.now = 1

    def mark(self, status: os.stat_result) -> directory.Mark:
        return status.st_dev, status.st_ino, status.st_size, self.now, self.now


@pytest.fixture
def tick(monkeypatch: pytest.MonkeyPatch) -> Tick:
    tick = Tick()
    monkeypatch.setattr(directory, "mark_of", tick.mark)
    monkeypatch.setattr(directory, "_TICK_NS", 1 << 62)
    return tick


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times at which the directory is read."""
    found: list[float] = []
    really = directory.read

    def noting(*arguments: Any) -> directory.Scan:
        found.append(trio.current_time())
        return really(*arguments)

    monkeypatch.setattr(directory, "read", noting)
    return found


async def test_a_second_change_in_the_same_tick_is_read_when_it_is_reported(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, tick: Tick
) -> None:
    running = await start(Running(root, scan_interval=60.0))
    await trio.sleep(1)
    tick.now = 2
    for text in ("a: 2", "a: 3", "a: 4"):
        (root / "shop.yml").write_text(text)
        kernel.hint()
        await trio.sleep(1)

    assert [b"a: 1", b"a: 2", b"a: 3", b"a: 4"] == [contents["shop.yml"] for contents in running.contents()]
    assert 5 > running.times[-1]


async def test_a_change_in_the_same_tick_that_is_not_reported_is_found_by_the_scan(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, tick: Tick, readings: list[float]
) -> None:
    running = await start(Running(root, scan_interval=60.0))
    kernel.hold_back = True
    (root / "shop.yml").write_text("a: 2")
    await trio.sleep(50)
    # No look of its own, because nothing was reported.
    assert 1 == len(readings)
    await trio.sleep(20)

    assert [b"a: 1", b"a: 2"] == [contents["shop.yml"] for contents in running.contents()]


async def test_where_nothing_is_reported_a_file_is_read_again_after_the_quiet_time(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, tick: Tick, readings: list[float]
) -> None:
    kernel.trouble = "no more watches are allowed"
    running = await start(Running(root, quiet=0.1, scan_interval=60.0))
    (root / "shop.yml").write_text("a: 2")
    await trio.sleep(50)

    assert [b"a: 1", b"a: 2"] == [contents["shop.yml"] for contents in running.contents()]
    assert [0.0, 0.1] == pytest.approx(readings[:2])


async def test_a_file_that_can_not_be_read_is_read_again_after_the_quiet_time_although_changes_are_reported(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, failures = directory._read_file, 3

    def refused(place: str, path: str, *rest: Any) -> bytes:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return really(place, path, *rest)

    monkeypatch.setattr(directory, "_read_file", refused)
    running = await start(Running(root, quiet=0.1, scan_interval=60.0))
    await trio.sleep(1)

    assert [{}, {"shop.yml": b"a: 1"}] == running.contents()
    assert [0.0, 0.1] == pytest.approx(running.times)


async def test_a_saved_file_is_read_once_and_again_with_the_next_scan_in_the_same_call(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    await start(Running(root, scan_interval=60.0))
    await trio.sleep(70)
    calls: list[str] = []
    inline = trio.to_thread.run_sync

    async def noting(function: Callable[..., Result], *arguments: object, **more: Any) -> Result:
        calls.append(function.__name__)
        return await inline(function, *arguments, **more)

    monkeypatch.setattr(trio.to_thread, "run_sync", noting)
    save(root / "shop.yml", "a: 2")
    kernel.hint()
    await trio.sleep(30)
    assert ["_outline"] == calls
    await trio.sleep(30)
    assert ["_outline"] * 2 == calls


class Calls:
    """The functions that run in a thread from now on, with the time since then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[str, float]] = []
        begun = trio.current_time()
        inline = trio.to_thread.run_sync

        async def noting(function: Callable[..., Result], *arguments: object, **more: Any) -> Result:
            self.made.append((function.__name__, round(trio.current_time() - begun, 6)))
            return await inline(function, *arguments, **more)

        monkeypatch.setattr(trio.to_thread, "run_sync", noting)


class Reads:
    """When the directory is read, from now on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[float] = []
        begun = trio.current_time()
        really = directory.read

        def noting(*arguments: Any) -> directory.Scan:
            self.made.append(round(trio.current_time() - begun, 6))
            return really(*arguments)

        monkeypatch.setattr(directory, "read", noting)


async def test_files_that_are_saved_during_the_wait_are_found_by_the_same_look(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "cart.yml").write_text("b: 1")
    running = await start(Running(root, scan_interval=60.0))
    await trio.sleep(70)
    calls, begun = Calls(monkeypatch), trio.current_time()
    save(root / "shop.yml", "a: 2")
    kernel.hint()
    await trio.sleep(0.01)
    save(root / "cart.yml", "b: 2")
    kernel.hint()
    await trio.sleep(30)

    assert {"shop.yml": b"a: 2", "cart.yml": b"b: 2"} == running.contents()[1]
    assert begun + 0.11 == pytest.approx(running.times[1])
    # The second look finds what the first one has seen, and reads it. The hints cause no further look.
    assert [("_outline", 0.02), ("_outline", 0.11)] == calls.made


async def test_a_file_that_is_saved_again_and_again_is_read_once_after_its_own_quiet_time(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await start(Running(root, scan_interval=60.0))
    await trio.sleep(70)
    calls, reads = Calls(monkeypatch), Reads(monkeypatch)
    for number in range(3):
        save(root / "shop.yml", f"a: {number + 2}")
        kernel.hint()
        await trio.sleep(0.015)
    await trio.sleep(30)

    assert [b"a: 1", b"a: 4"] == [contents["shop.yml"] for contents in running.contents()]
    # The second look finds that the file has changed again, so the quiet time begins anew.
    assert [("_outline", 0.02), ("_outline", 0.035), ("_outline", 0.055)] == calls.made
    assert [0.055] == reads.made


async def test_a_new_directory_is_watched_without_a_wait(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    await start(Running(root, label_directories=True, scan_interval=60.0))
    await trio.sleep(1)
    save(root / "shop.yml", "a: 2")
    (root / "next").mkdir()
    kernel.hint()
    await trio.sleep(0.001)

    assert {f"{root}/", f"{root}/next/"} == kernel.watched[-1]


async def test_while_a_program_writes_another_file_a_look_reads_nothing(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await start(Running(root, scan_interval=60.0))
    await trio.sleep(1)
    reads, begun = Reads(monkeypatch), trio.current_time()
    with open(root / ".other.tmp", "w") as file:  # noqa: ASYNC230 - the source sees a write that goes on
        file.write("a: ")
        file.flush()
        save(root / "shop.yml", "a: 2")
        kernel.hint()
        await trio.sleep(30)

    assert [0.1] == reads.made
    assert begun + 0.1 == pytest.approx(running.times[1])


async def test_the_hold_of_an_emptied_file_begins_with_its_event(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root, scan_interval=60.0, hold=2.0))
    await trio.sleep(1)
    begun = trio.current_time()
    (root / "shop.yml").write_text("")
    kernel.hint()
    await trio.sleep(30)

    assert {"shop.yml": b""} == running.contents()[1]
    assert begun + 2.0 == pytest.approx(running.times[1])


async def test_a_save_does_not_delay_the_end_of_a_hold(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root, scan_interval=60.0, hold=2.0))
    await trio.sleep(1)
    begun = trio.current_time()
    with open(root / "shop.yml", "w") as file:  # noqa: ASYNC230 - the source sees a write that goes on
        file.write("a: ")
        file.flush()
        kernel.hint()
        await trio.sleep(1.99)
        save(root / "cart.yml", "b: 1")
        kernel.hint()
        await trio.sleep(30)

    assert {"shop.yml": b"a: "} == running.contents()[1]
    assert {"shop.yml": b"a: ", "cart.yml": b"b: 1"} == running.contents()[2]
    assert begun + 2.0 == pytest.approx(running.times[1])


async def test_if_directories_are_no_longer_watched_the_quiet_time_begins_with_the_look(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    (root / "cart.yml").write_text("b: 1")
    running = await start(Running(root, scan_interval=60.0))
    await trio.sleep(1)
    begun = trio.current_time()
    save(root / "shop.yml", "a: 2")
    save(root / "cart.yml", "b: 2")
    kernel.hint()
    await trio.sleep(0.01)
    (root / "next").mkdir()
    kernel.trouble = "no more watches are allowed"
    await trio.sleep(30)

    assert {"shop.yml": b"a: 2", "cart.yml": b"b: 2"} == running.contents()[1]
    assert begun + 0.12 == pytest.approx(running.times[1])


async def test_without_all_watches_a_look_is_made_at_once(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await start(Running(root, scan_interval=60.0))
    await trio.sleep(1)
    monkeypatch.setattr(type(running.source._watching), "is_complete", False)
    calls = Calls(monkeypatch)
    save(root / "shop.yml", "a: 2")
    kernel.hint()
    await trio.sleep(0.001)

    assert [("_outline", 0.0)] == calls.made


async def test_sub_directories_are_labels_that_share_the_files_at_the_top(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    for label in ("main", "next", "-odd"):
        (root / label).mkdir()
        (root / label / "shop.yml").write_text(f"label: {label}")
    (root / "empty").mkdir()
    with capture_logs() as logs:
        running = await start(Running(root, label_directories=True))
        save(root / "next" / "shop.yml", "label: newer")
        kernel.hint()
        await trio.sleep(60)

    assert {"main", "next"} == set(running.trees[-1].labels)
    assert {"shop.yml": b"a: 1", "next/shop.yml": b"label: newer"} == running.contents("next")[-1]
    assert ("", "next/") == running.trees[-1].labels["next"].locations
    assert [("directory skipped", "-odd")] == [(entry["event"], entry["directory"]) for entry in logs]


async def test_a_label_whose_directory_goes_is_gone(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    for label in ("main", "next"):
        (root / label).mkdir()
        (root / label / "shop.yml").write_text("a: 2")
    running = await start(Running(root, label_directories=True))
    (root / "next").rename(root.parent / "away")
    kernel.hint()
    await trio.sleep(60)

    assert [{"main", "next"}, {"main"}] == [set(tree.labels) for tree in running.trees]


async def test_what_changes_during_a_publication_is_published_next(
    root: Path, kernel: Kernel, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    running = Running(root)

    async def slowly(tree: Tree) -> None:
        await running.publish(tree)
        if len(running.trees) == 1:
            save(root / "shop.yml", "a: 2")
            kernel.hint()
            await trio.sleep(3)

    nursery.start_soon(running.source.run, slowly)
    await trio.sleep(60)

    assert [b"a: 1", b"a: 2"] == [contents["shop.yml"] for contents in running.contents()]


async def test_cancellation_ends_the_real_watcher_and_leaves_no_thread_and_no_descriptor(root: Path) -> None:
    def left() -> tuple[int, int]:
        return sum(not thread.daemon for thread in threading.enumerate()), len(os.listdir("/proc/self/fd"))

    before = left()
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
    assert before == left()


def test_errors_of_a_source_name_the_directory(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=str(tmp_path / "none")):
        directory.outline(str(tmp_path / "none"), FilesSettings(kind="files", path="x"))


# Half-written files.


def warning(root: Path, path: str, reason: str) -> dict[str, object]:
    return {
        "event": "unfinished file published",
        "log_level": "warning",
        "source": f"files:{root}",
        "file": path,
        "reason": reason,
        "remedy": "write a new file and rename it over this one, or raise hold of the source",
    }


async def test_a_file_that_is_written_slowly_is_published_when_it_is_closed(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root))
    with (root / "shop.yml").open("w") as file:
        for _ in range(3):
            file.write("a: ")
            file.flush()
            kernel.hint()
            await trio.sleep(0.5)
        file.write("2")
    closed = trio.current_time()
    kernel.hint()
    await trio.sleep(60)

    assert [b"a: 1", b"a: a: a: 2"] == [contents["shop.yml"] for contents in running.contents()]
    assert closed + 0.02 == pytest.approx(running.times[1])


async def test_a_new_file_that_is_written_slowly_is_absent_until_it_is_closed(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root))
    with (root / "cart.yml").open("w") as file:
        kernel.hint()
        await trio.sleep(0.5)
        file.write("b: 1")
        file.flush()
        kernel.hint()
        await trio.sleep(1)
    kernel.hint()
    await trio.sleep(60)

    assert [{"shop.yml": b"a: 1"}, {"shop.yml": b"a: 1", "cart.yml": b"b: 1"}] == running.contents()


async def test_another_file_is_published_meanwhile_and_the_half_written_one_keeps_its_content(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    (root / "cart.yml").write_text("b: 1")
    running = await start(Running(root))
    with (root / "shop.yml").open("w") as file, (root / "new.yml").open("w") as new:
        for each in (file, new):
            each.write("a: ")
            each.flush()
        kernel.hint()
        await trio.sleep(0.5)
        begun = trio.current_time()
        save(root / "cart.yml", "b: 2")
        kernel.hint()
        await trio.sleep(0.5)
        for each in (file, new):
            each.write("2")
    kernel.hint()
    await trio.sleep(60)

    assert [
        {"shop.yml": b"a: 1", "cart.yml": b"b: 1"},
        {"shop.yml": b"a: 1", "cart.yml": b"b: 2"},
        {"shop.yml": b"a: 2", "cart.yml": b"b: 2", "new.yml": b"a: 2"},
    ] == running.contents()
    assert begun + 0.1 == pytest.approx(running.times[1])


async def test_a_file_that_is_never_closed_is_published_after_hold_with_a_warning_and_held_no_more(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root))
    begun = trio.current_time()
    with capture_logs() as logs, (root / "shop.yml").open("a") as file:
        for number in range(3):
            file.write(f"\nb{number}: 1")
            file.flush()
            kernel.hint()
            await trio.sleep(10)

    assert [b"a: 1", b"a: 1\nb0: 1", b"a: 1\nb0: 1\nb1: 1", b"a: 1\nb0: 1\nb1: 1\nb2: 1"] == [
        contents["shop.yml"] for contents in running.contents()
    ]
    assert [begun + 2.0, begun + 10.1, begun + 20.1] == pytest.approx(running.times[1:])
    assert [warning(root, "shop.yml", "a program has modified it and not closed it, for 2 s")] == logs


async def test_a_file_that_is_held_is_published_in_time_though_another_was_published_meanwhile(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    (root / "cart.yml").write_text("b: 1")
    running = await start(Running(root, scan_interval=60.0))
    begun = trio.current_time()
    with (root / "shop.yml").open("a") as file:
        file.write("0")
        file.flush()
        for number in range(3):
            save(root / "cart.yml", f"b: 1{number}")
            kernel.hint()
            await trio.sleep(0.5)
        await trio.sleep(10)

    assert [begun + 0.1, begun + 0.6, begun + 1.1, begun + 2.0] == pytest.approx(running.times[1:])
    assert [b"a: 1", b"a: 1", b"a: 1", b"a: 1", b"a: 10"] == [each["shop.yml"] for each in running.contents()]


async def test_an_emptied_file_keeps_its_content_until_it_is_filled(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    with capture_logs() as logs:
        running = await start(Running(root))
        (root / "shop.yml").write_text("")
        kernel.hint()
        await trio.sleep(1.9)
        (root / "shop.yml").write_text("a: 2")
        kernel.hint()
        await trio.sleep(60)

    assert [b"a: 1", b"a: 2"] == [contents["shop.yml"] for contents in running.contents()]
    assert [] == logs


async def test_a_file_that_was_published_before_it_was_complete_is_in_the_status_until_it_changes(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    def unfinished() -> dict[str, str]:
        return dict(running.source.status.report().unfinished)

    running = await start(Running(root))
    assert {} == unfinished()
    why = "a program has modified it and not closed it, for 2 s"
    with (root / "shop.yml").open("a") as file, (root / "cart.yml").open("w") as other:
        for each in (file, other):
            each.write("\nb: 1")
            each.flush()
        kernel.hint()
        await trio.sleep(1.9)
        assert {} == unfinished()
        await trio.sleep(10)
        assert {"shop.yml": why, "cart.yml": why} == unfinished()
    await trio.sleep(10)
    # Another file doesn't matter.
    save(root / "new.yml", "a: 1")
    kernel.hint()
    await trio.sleep(10)
    assert {"shop.yml": why, "cart.yml": why} == unfinished()

    save(root / "shop.yml", "a: 2")
    kernel.hint()
    await trio.sleep(10)
    assert {"cart.yml": why} == unfinished()
    (root / "cart.yml").unlink()
    kernel.hint()
    await trio.sleep(10)
    assert {} == unfinished()


@pytest.mark.parametrize("trouble", [None, "it is a network file system"])
async def test_an_emptied_file_is_published_empty_after_hold_with_a_warning(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, trouble: str | None
) -> None:
    kernel.trouble = trouble
    running = await start(Running(root, hold=3.0, scan_interval=0.5))
    with capture_logs() as logs:
        begun = trio.current_time()
        (root / "shop.yml").write_text("")
        await trio.sleep(60)

    assert [b"a: 1", b""] == [contents["shop.yml"] for contents in running.contents()]
    assert begun + 3.0 <= running.times[1] <= begun + 3.5
    assert [warning(root, "shop.yml", "it has become empty, for 3 s")] == logs


async def test_without_a_hold_half_a_file_is_published(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root, hold=0.0))
    with capture_logs() as logs, (root / "shop.yml").open("w") as file:
        kernel.hint()
        await trio.sleep(0.5)
        file.write("a: 2")

    assert [b"a: 1", b""] == [contents["shop.yml"] for contents in running.contents()]
    assert [] == logs


async def test_bytes_that_were_read_before_the_kernel_told_of_the_write_are_not_published(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan finds half a file, and the event comes later."""
    running = await start(Running(root, scan_interval=5.0, quiet=0.0))
    kernel.hold_back = True
    file = (root / "shop.yml").open("w")
    really = directory.read

    def reading(*arguments: Any) -> directory.Scan:
        kernel.hold_back = False
        return really(*arguments)

    monkeypatch.setattr(directory, "read", reading)
    file.write("a: ")
    file.flush()
    await trio.sleep(5.5)
    file.write("2")
    file.close()
    kernel.hint()
    await trio.sleep(60)

    assert [b"a: 1", b"a: 2"] == [contents["shop.yml"] for contents in running.contents()]


async def test_bytes_that_were_read_before_the_file_was_written_on_and_closed_are_not_published(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reading falls between two writes, and the file is closed before anybody decides."""
    running = await start(Running(root, scan_interval=5.0, quiet=0.0))
    kernel.hold_back = True
    file = (root / "shop.yml").open("w")
    really = directory.read

    def reading(*arguments: Any) -> directory.Scan:
        scan = really(*arguments)
        if not file.closed:
            file.write("2")
            file.close()
        kernel.hold_back = False
        return scan

    monkeypatch.setattr(directory, "read", reading)
    file.write("a: ")
    file.flush()
    await trio.sleep(60)

    assert [b"a: 1", b"a: 2"] == [contents["shop.yml"] for contents in running.contents()]


async def test_the_first_state_waits_for_a_file_that_is_being_written(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = (root / "shop.yml").open("w")
    really = directory.read

    def reading(*arguments: Any) -> directory.Scan:
        if not file.closed and not file.tell():
            file.write("a: ")
            file.flush()
        return really(*arguments)

    monkeypatch.setattr(directory, "read", reading)
    running = await start(Running(root))
    await trio.sleep(1)
    before = len(running.trees)
    file.write("2")
    file.close()
    kernel.hint()
    await trio.sleep(60)

    assert 0 == before
    assert [b"a: 2"] == [contents["shop.yml"] for contents in running.contents()]
    assert [1.0] == pytest.approx(running.times)


async def test_the_first_state_waits_no_longer_than_hold(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = (root / "shop.yml").open("a")
    really = directory.read

    def reading(*arguments: Any) -> directory.Scan:
        file.write("0")
        file.flush()
        return really(*arguments)

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(directory, "read", reading)
        running = await start(Running(root))
        await trio.sleep(2.05)
    file.close()

    assert [2.0] == running.times
    assert [warning(root, "shop.yml", "a program has modified it and not closed it, for 2 s")] == logs


async def test_a_file_that_never_holds_still_is_not_broken_while_it_is_held(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "cart.yml").write_text("b: 1")
    running = await start(Running(root))
    really = directory._read_file
    with (root / "shop.yml").open("a") as file, monkeypatch.context() as patched:

        def restless(place: str, path: str, *rest: Any) -> bytes:
            file.write("#")
            file.flush()
            return really(place, path, *rest)

        patched.setattr(directory, "_read_file", restless)
        file.write("#")
        file.flush()
        save(root / "cart.yml", "b: 2")
        kernel.hint()
        await trio.sleep(1)

    assert {"shop.yml": b"a: 1", "cart.yml": b"b: 2"} == running.contents()[-1]
    assert {} == running.trees[-1].labels["main"].unreadable


# What else is under way.


async def test_one_save_beside_a_lock_of_git_waits_for_the_longer_quiet_time(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    (root / ".git").mkdir()
    (root / ".git" / "index.lock").touch()
    running = await start(Running(root, scan_interval=60.0))
    await trio.sleep(1)
    begun = trio.current_time()
    save(root / "shop.yml", "a: 2")
    kernel.hint()
    await trio.sleep(5)
    (root / ".git" / "index.lock").unlink()
    again = trio.current_time()
    save(root / "shop.yml", "a: 3")
    kernel.hint()
    await trio.sleep(5)

    assert [begun + 0.1, again + 0.02] == pytest.approx(running.times[1:])


async def test_five_hundred_files_rewritten_within_a_second_are_a_handful_of_publications(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root))
    for number in range(500):
        new = root / f".shop{number}.yml.aB3dE6"
        new.write_text(f"a: {number}")
        new.rename(root / f"shop{number}.yml")
        kernel.hint()
        await trio.sleep(0.002)
    await trio.sleep(60)

    assert 1 <= len(running.trees) - 1 <= 2
    assert 501 == len(running.contents()[-1])


# What is watched.


async def test_a_new_directory_is_watched_and_what_it_held_by_then_is_published(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root, scan_interval=60.0))
    await trio.sleep(1)
    (root / "new" / "deep").mkdir(parents=True)
    (root / "new" / "deep" / "shop.yml").write_text("c: 1")
    kernel.hint()
    await trio.sleep(1)
    begun = trio.current_time()
    (root / "new" / "deep" / "shop.yml").write_text("c: 2")
    kernel.hint()
    await trio.sleep(1)

    assert {f"{root}/", f"{root}/new/", f"{root}/new/deep/"} == kernel.watched[-1]
    assert [None, b"c: 1", b"c: 2"] == [contents.get("new/deep/shop.yml") for contents in running.contents()]
    assert begun + 0.02 == pytest.approx(running.times[-1])


async def test_what_comes_into_a_new_directory_before_it_is_watched_is_found(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await start(Running(root, scan_interval=60.0))
    await trio.sleep(1)
    really = kernel.follow

    def late(wanted: Mapping[Identity, Place]) -> Followed:
        save(root / "new" / "shop.yml", "c: 1")
        return really(wanted)

    monkeypatch.setattr(kernel, "follow", late)
    (root / "new").mkdir()
    kernel.hint()
    await trio.sleep(1)

    assert b"c: 1" == running.contents()[-1]["new/shop.yml"]


async def test_directories_that_go_on_coming_do_not_keep_the_look_from_ending(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await start(Running(root, scan_interval=60.0))
    really = kernel.follow
    count = 0

    def growing(wanted: Mapping[Identity, Place]) -> Followed:
        nonlocal count
        count += 1
        followed = really(wanted)
        if count < 10:
            (root / f"new{count}").mkdir()
            (root / f"new{count}" / "shop.yml").write_text("c: 1")
        return followed

    monkeypatch.setattr(kernel, "follow", growing)
    save(root / "shop.yml", "a: 2")
    (root / "first").mkdir()
    kernel.hint()
    await trio.sleep(2)

    assert 11 == len(running.contents()[-1]) + 1
    assert {f"new{number}/shop.yml" for number in range(1, 10)} < running.contents()[-1].keys()


async def test_a_directory_that_moves_is_watched_under_its_new_name(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    (root / "old").mkdir()
    (root / "old" / "shop.yml").write_text("c: 1")
    running = await start(Running(root, scan_interval=60.0))
    await trio.sleep(1)
    (root / "old").rename(root / "new")
    kernel.hint()
    await trio.sleep(1)
    begun = trio.current_time()
    (root / "new" / "shop.yml").write_text("c: 2")
    kernel.hint()
    await trio.sleep(1)

    assert [{"shop.yml", "old/shop.yml"}, {"shop.yml", "new/shop.yml"}] == [
        set(each) for each in running.contents()[:2]
    ]
    assert b"c: 2" == running.contents()[-1]["new/shop.yml"]
    assert begun + 0.02 == pytest.approx(running.times[-1])


async def test_a_swap_of_a_kubernetes_volume_is_published(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    (root / "shop.yml").unlink()
    for number in (1, 2):
        (root / f"..{number}").mkdir()
        (root / f"..{number}" / "shop.yml").write_text(f"a: {number}")
    (root / "..data").symlink_to("..1")
    (root / "shop.yml").symlink_to("..data/shop.yml")
    running = await start(Running(root, scan_interval=60.0))
    await trio.sleep(1)
    begun = trio.current_time()
    (root / "..data_tmp").symlink_to("..2")
    (root / "..data_tmp").rename(root / "..data")
    kernel.hint()
    await trio.sleep(1)
    with (root / "..2" / "shop.yml").open("w") as file:
        kernel.hint()
        await trio.sleep(1)
        file.write("a: 3")
    kernel.hint()
    await trio.sleep(1)

    assert [b"a: 1", b"a: 2", b"a: 3"] == [contents["shop.yml"] for contents in running.contents()]
    assert begun + 0.1 == pytest.approx(running.times[1])
    assert {f"{root}/", f"{root}/..1/", f"{root}/..2/"} == kernel.watched[0]


async def test_a_link_on_the_way_to_the_directory_that_is_swapped_is_followed(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    other = root.parent / "other"
    other.mkdir()
    (other / "shop.yml").write_text("a: 2")
    link = root.parent / "current"
    link.symlink_to(root)
    running = await start(Running(link, scan_interval=60.0))
    await trio.sleep(1)
    begun = trio.current_time()
    (root.parent / "next").symlink_to(other)
    (root.parent / "next").rename(link)
    kernel.hint()
    await trio.sleep(1)
    save(other / "shop.yml", "a: 3")
    kernel.hint()
    await trio.sleep(1)

    assert [b"a: 1", b"a: 2", b"a: 3"] == [contents["shop.yml"] for contents in running.contents()]
    assert begun + 0.1 == pytest.approx(running.times[1])


async def test_the_return_of_the_directory_is_noticed_without_a_scan(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root, scan_interval=60.0))
    os.rename(root, root.parent / "away")
    kernel.hint()
    await trio.sleep(1)
    save(root.parent / "away" / "shop.yml", "a: 2")
    os.rename(root.parent / "away", root)
    kernel.hint()
    await trio.sleep(1)

    assert b"a: 2" == running.contents()[-1]["shop.yml"]


async def test_what_happens_beside_the_directory_is_no_reason_to_look(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    await start(Running(root, scan_interval=60.0))
    await trio.sleep(1)
    looks = noted_outlines(monkeypatch)
    (root.parent / "unrelated").touch()
    (root / ".hidden").touch()
    kernel.hint()
    await trio.sleep(1)

    assert [] == looks


async def test_a_parent_that_may_not_be_listed_is_not_watched_and_no_trouble(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (str(root.parent), os.R_OK))
    with capture_logs() as logs:
        await start(Running(root))
        os.rename(root, root.parent / "away")

        assert 0 == sum(root.name in (each.names or ()) for _, each in kernel._watched.values())
    assert [] == logs


async def test_the_same_trouble_is_told_once_and_again_after_it_was_over(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    with capture_logs() as logs:
        running = await start(Running(root, scan_interval=5.0))
        for trouble in ("first", "second", None, "second"):
            kernel.trouble = trouble
            (root / "more").mkdir(exist_ok=True) if trouble is None else kernel.close()
            await trio.sleep(30)
    del running

    assert ["first", "second", "second"] == [entry["reason"] for entry in logs]


async def test_lost_events_are_told_once_and_the_scan_finds_what_they_were_about(
    root: Path, kernel: Kernel, autojump_clock: MockClock, start: Start
) -> None:
    running = await start(Running(root, scan_interval=5.0))
    with capture_logs() as logs:
        begun = trio.current_time()
        save(root / "shop.yml", "a: 2")
        really, kernel.take = kernel.take, lambda: ([Event(Kind.LOST)], really()[1])  # type: ignore[method-assign]  # events are lost for a while
        kernel.hint()
        await trio.sleep(1)
        kernel.take = really  # type: ignore[method-assign]  # events are lost for a while
        for _ in range(3):
            kernel.lost = 2
            kernel.hint()
            await trio.sleep(5)
        kernel.lost = 1
        kernel.hint()
        await trio.sleep(5.1)
        kernel.lost = 1
        kernel.hint()
        await trio.sleep(1)

    assert b"a: 2" == running.contents()[1]["shop.yml"]
    assert begun + 0.1 == pytest.approx(running.times[1])
    assert [
        {
            "event": "directory events lost",
            "log_level": "info",
            "source": f"files:{root}",
            "consequence": "the periodic scan finds its changes",
        }
    ] * 2 == logs


async def test_what_was_remembered_below_a_directory_that_cannot_be_listed_at_a_start_is_broken_and_not_absent(
    root: Path, kernel: Kernel, mock_clock: MockClock, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered = Remembered(tmp_path / "memory", f"file:{root}/")
    good = Good({"shop.yml": b"a: 1", "orders/pay.yml": b"v: 1", "other/x.yml": b"x: 1"}, {})
    remembered._write(lambda: good)
    outline = directory.outline

    def closed(*arguments: Any) -> directory.Outline:
        return attrs.evolve(outline(*arguments), closed={"orders/": "permission denied"})

    monkeypatch.setattr(directory, "outline", closed)
    running = Running(root)
    running.source = FilesSource(FilesSettings(path=str(root)), Path("/"), (), remembered)
    await start(running)

    files = running.trees[0].labels["main"]
    assert {"orders/pay.yml": "its directory can't be listed: permission denied"} == files.unreadable
    assert files.past is remembered


# Former versions.


@pytest.mark.parametrize(
    ("label_directories", "locations", "expected"),
    [
        (False, ("",), {"shop.yml", "main/shop.yml", "dev/shop.yml"}),
        (True, ("", "main/"), {"shop.yml", "main/shop.yml"}),
        (True, ("",), {"shop.yml"}),
    ],
)
async def test_a_former_version_has_the_files_of_the_label(
    tmp_path: Path, label_directories: bool, locations: tuple[str, ...], expected: set[str]
) -> None:
    memory, root = tmp_path / "memory", f"file:{tmp_path}/"
    remembered = Remembered(memory, root, versions=Versions(memory, root))
    for text in (b"1", b"2"):
        good = Good(dict.fromkeys(("shop.yml", "main/shop.yml", "dev/shop.yml"), text), {})
        remembered._write(partial(attrs.evolve, good))
    settings = FilesSettings(path=str(tmp_path), label_directories=label_directories)
    source = FilesSource(settings, Path("/"), (), remembered)
    newest, oldest = await source.versions()
    past = await source.version(Files({}, root=root, locations=locations), oldest.id, None)

    assert (root, ("", "unknown"), oldest.id) == (source.root, (oldest.origin.author, oldest.parent), newest.parent)
    assert past is not None
    assert dict.fromkeys(expected, b"1") == past.files.contents
    assert await source.version(Files({}, root=root), "0" * 40, None) is None


@pytest.mark.parametrize("is_remembered", [False, True])
async def test_a_directory_may_have_no_versions(tmp_path: Path, is_remembered: bool) -> None:
    memory, root = tmp_path / "memory", f"file:{tmp_path}/"
    remembered = Remembered(memory, root, versions=Versions(memory, root)) if is_remembered else None
    source = FilesSource(FilesSettings(path=str(tmp_path)), Path("/"), (), remembered)

    assert [] == [*await source.versions()]
    assert await source.version(Files({}, root=root), "0" * 40, None) is None


@pytest.mark.parametrize(("remember", "has_memory"), [(True, True), (False, True), (True, False)])
async def test_versions_are_kept_where_good_files_are(tmp_path: Path, remember: bool, has_memory: bool) -> None:
    surroundings = Surroundings(Random(1), tmp_path, memory=tmp_path / "memory" if has_memory else None)
    source = open_files(FilesSettings(path=str(tmp_path), remember=remember), surroundings)

    assert (remember and has_memory) is (source._versions is not None) is (source.remembered_root is not None)

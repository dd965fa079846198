"""The remembered state of a directory: it is written as a whole, read only if it is complete, and never delays serving."""

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import wait_until
from vortexd.core.model import Former, Good
from vortexd.source.files import journal as journal_module
from vortexd.source.files import remembered as module
from vortexd.source.files.index import FORMAT, Entry
from vortexd.source.files.journal import MAX_BYTES as JOURNAL_BYTES
from vortexd.source.files.journal import Change
from vortexd.source.files.remembered import MAX_AGE, Remembered
from vortexd.state import private_files

ROOT = "file:/c/"


class Disk:
    """What is remembered in a directory, at a time that the test sets. Unless a test wants it, there is no journal."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.now = 1_900_000_000.0
        self.options = {"journal_bytes": 0} | options
        self.memory = self.open()

    def open(self) -> Remembered:
        """What another process sees, or this one after a restart."""
        return Remembered(self.path, ROOT, lambda: self.now, **self.options)

    def restart(self) -> None:
        if self.memory._lock is not None:
            os.close(self.memory._lock)
        self.memory = self.open()

    def write(self, contents: dict[str, bytes], **broken: bool) -> None:
        self.memory._write(lambda: Good(contents, {f"{name}.yml": absent for name, absent in broken.items()}))

    @property
    def index(self) -> Path:
        return self.path / "index.json"

    async def recall(self, path: str) -> list[Former]:
        return [former async for former in self.open().contents(path)]


@pytest.fixture
def indexed(tmp_path: Path) -> Disk:
    """A disk on which each write makes a new index."""
    return Disk(tmp_path / "state" / "remembered" / "one")


@pytest.fixture(params=[0, JOURNAL_BYTES], ids=["no journal", "journal"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return Disk(tmp_path / "state" / "remembered" / "one", journal_bytes=request.param)


async def test_what_was_good_is_known_after_a_restart(disk: Disk) -> None:
    disk.write({"a.yml": b"a: 1", "b.yml": b"b: 1"})

    assert [Former(b"a: 1")] == await disk.recall("a.yml")
    assert [Former(None)] == await disk.recall("new.yml")


async def test_the_paths_that_have_a_content_are_known(disk: Disk) -> None:
    assert [] == [*disk.open().paths()]
    disk.write({"a.yml": b"a: 1", "b.yml": b"b: 1"}, never=False)
    disk.write({"a.yml": b"a: 1"}, b=False, never=False)

    assert {"a.yml", "b.yml"} == {*disk.open().paths()}


async def test_nothing_is_known_before_anything_was_written(disk: Disk) -> None:
    with capture_logs() as logs:
        assert [] == await disk.recall("a.yml")
    assert [] == logs


async def test_a_broken_file_keeps_what_it_was_and_a_deleted_one_is_forgotten(indexed: Disk) -> None:
    indexed.write({"a.yml": b"a: 1", "b.yml": b"b: 1"})
    indexed.write({}, a=False)

    assert [Former(b"a: 1")] == await indexed.recall("a.yml")
    assert [Former(None)] == await indexed.recall("b.yml")
    assert 1 == sum(len(each.name) == 64 for each in indexed.path.iterdir())


async def test_a_file_that_was_never_good_is_not_taken_for_one_that_was_absent(disk: Disk) -> None:
    disk.write({}, never=False, new=True)

    assert [] == await disk.recall("never.yml")
    assert [Former(None)] == await disk.recall("new.yml")


async def test_a_file_that_is_good_again_is_remembered_as_it_is_then(disk: Disk) -> None:
    for contents, broken in (({"a.yml": b"a: 1"}, {}), ({}, {"a": False}), ({"a.yml": b"a: 2"}, {})):
        disk.write(contents, **broken)
        disk.now += MAX_AGE - 1

    assert [Former(b"a: 2")] == await disk.recall("a.yml")


@pytest.mark.parametrize(("age", "is_known"), [(MAX_AGE, True), (MAX_AGE + 1, False)])
async def test_what_is_too_old_is_not_used(disk: Disk, age: float, is_known: bool) -> None:
    disk.write({"a.yml": b"a: 1"})
    disk.now += age

    assert is_known == bool(await disk.recall("a.yml"))
    assert is_known == bool(await disk.recall("new.yml"))


async def test_the_age_of_a_broken_file_counts_from_when_it_broke_and_its_content_goes_with_it(indexed: Disk) -> None:
    indexed.write({"a.yml": b"a: 1", "b.yml": b"b: 1"})
    for _ in range(3):
        indexed.now += MAX_AGE / 2
        indexed.write({"b.yml": b"b: 1"}, a=False)
    # It was first seen broken MAX_AGE ago.
    assert [Former(b"a: 1")] == await indexed.recall("a.yml")
    indexed.now += 1
    assert [] == await indexed.recall("a.yml")
    indexed.write({"b.yml": b"b: 1"}, a=False)

    assert [] == await indexed.recall("a.yml")
    assert [Former(b"b: 1")] == await indexed.recall("b.yml")
    assert 1 == sum(len(each.name) == 64 for each in indexed.path.iterdir())


async def test_contents_are_bounded_and_what_is_beyond_is_not_taken_for_absent(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "m", max_bytes=10)
    with capture_logs() as logs:
        for _ in range(2):
            disk.write({"a.yml": b"1" * 6, "b.yml": b"2" * 5, "c.yml": b"3" * 4, "d.yml": b"1" * 6})

    assert [Former(b"1" * 6)] == await disk.recall("a.yml") == await disk.recall("d.yml")
    assert [] == await disk.recall("b.yml")
    assert [Former(b"3" * 4)] == await disk.recall("c.yml")
    [told] = logs
    assert ("content not remembered", "1 files are beyond 10 bytes together") == (told["event"], told["reason"])


async def test_the_content_of_a_broken_file_counts_too(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "m", max_bytes=10)
    disk.write({"a.yml": b"1" * 6})
    with capture_logs():
        disk.write({"b.yml": b"2" * 5, "c.yml": b"3" * 4}, a=False)

    assert [Former(b"1" * 6)] == await disk.recall("a.yml")
    assert [] == await disk.recall("b.yml")
    assert [Former(b"3" * 4)] == await disk.recall("c.yml")


def test_only_vortexds_user_can_read_it(disk: Disk) -> None:
    disk.write({"a.yml": b"a: 1"})

    assert 0o700 == disk.path.stat().st_mode & 0o777
    assert {0o600} == {each.stat().st_mode & 0o777 for each in disk.path.iterdir()}


def test_what_is_written_is_on_the_disk_before_it_counts(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def note(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            done.append(what)
            return function(*arguments)

        return noted

    monkeypatch.setattr(os, "fsync", note("sync", sync))
    monkeypatch.setattr(Path, "replace", note("rename", replace))
    disk.write({"a.yml": b"a: 1"})

    assert ["sync", "rename", "sync", "rename", "sync"] == done[-5:]


async def test_one_process_writes_and_the_others_read(disk: Disk) -> None:
    disk.write({"a.yml": b"a: 1"})
    other = disk.open()
    other._write(lambda: Good({"a.yml": b"a: 2"}, {}))

    assert [Former(b"a: 1")] == await disk.recall("a.yml")
    os.close(disk.memory._lock or 0)
    other._write(lambda: Good({"a.yml": b"a: 2"}, {}))
    assert [Former(b"a: 2")] == await disk.recall("a.yml")
    os.close(other._lock or 0)


# What is damaged.


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        json.dumps({"format": FORMAT, "root": "other", "files": {}}).encode(),
        json.dumps({"format": FORMAT, "root": ROOT, "files": []}).encode(),
        json.dumps(
            {"format": FORMAT, "root": ROOT, "files": {"a.yml": {"sha256": "../x", "broken_since": None}}}
        ).encode(),
        json.dumps({"format": FORMAT, "root": ROOT, "files": {"a.yml": {"sha256": "", "broken_since": "x"}}}).encode(),
        json.dumps({"format": FORMAT, "root": ROOT, "files": {"a.yml": 1}}).encode(),
        json.dumps({"format": FORMAT + 1, "root": ROOT, "files": {}}).encode(),
    ],
)
async def test_an_index_that_cannot_be_read_is_one_warning_and_is_set_aside(disk: Disk, index: bytes) -> None:
    disk.write({"a.yml": b"a: 1"})
    disk.index.write_bytes(index)
    (disk.path / "index.json.unknown").write_bytes(b"set aside before")
    memory = disk.open()
    with capture_logs() as logs:
        for _ in range(2):
            assert [] == [former async for former in memory.contents("a.yml")]

    assert ["remembered content unreadable"] == [each["event"] for each in logs]
    with capture_logs():
        disk.write({"a.yml": b"a: 2"})
    assert [Former(b"a: 2")] == await disk.recall("a.yml")
    assert b"set aside before" == (disk.path / "index.json.unknown").read_bytes()
    assert index == (disk.path / "index.json.unknown.1").read_bytes()


@pytest.mark.parametrize("damage", [b"a: 2", b"", None])
async def test_a_content_that_is_damaged_or_gone_is_not_used_and_is_written_again(
    disk: Disk, damage: bytes | None
) -> None:
    disk.write({"a.yml": b"a: 1"})
    [content] = [each for each in disk.path.iterdir() if len(each.name) == 64]
    content.unlink()
    if damage is not None:
        content.write_bytes(damage)
    with capture_logs() as logs:
        assert [] == await disk.recall("a.yml")
    assert [("remembered content unreadable", "a.yml")] == [(each["event"], each["file"]) for each in logs]

    if damage != b"a: 2":
        disk.write({"a.yml": b"a: 1"})
        assert [Former(b"a: 1")] == await disk.recall("a.yml")


async def test_a_link_in_place_of_a_content_is_not_followed(disk: Disk, tmp_path: Path) -> None:
    disk.write({"a.yml": b"a: 1"})
    [content] = [each for each in disk.path.iterdir() if len(each.name) == 64]
    content.rename(tmp_path / "elsewhere")
    content.symlink_to(tmp_path / "elsewhere")
    with capture_logs():
        assert [] == await disk.recall("a.yml")


async def test_a_directory_that_others_can_enter_is_neither_read_nor_written(disk: Disk) -> None:
    disk.write({"a.yml": b"a: 1"})
    disk.path.chmod(0o750)
    with capture_logs() as logs:
        assert [] == await disk.recall("a.yml")
        disk.open()._write(lambda: Good({"a.yml": b"a: 2"}, {}))

    assert ["remembered content unreadable", "content not remembered"] == [each["event"] for each in logs]
    assert all("mode 700" in each["reason"] for each in logs)


async def test_a_full_disk_is_one_warning_and_leaves_what_was_remembered(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.write({"a.yml": b"a: 1"})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(os, "fsync", full)
        patched.setattr(os, "fdatasync", full)
        for _ in range(2):
            disk.write({"a.yml": b"a: 2"})
    assert [("content not remembered", "no space left on device")] == [(each["event"], each["reason"]) for each in logs]
    assert [Former(b"a: 1")] == await disk.recall("a.yml")
    assert not [each for each in disk.path.iterdir() if each.name.endswith(".part")]

    disk.write({"a.yml": b"a: 2"})
    assert [Former(b"a: 2")] == await disk.recall("a.yml")
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(os, "fsync", full)
        patched.setattr(os, "fdatasync", full)
        disk.write({"a.yml": b"a: 3"})
    assert 1 == len(logs)


def test_a_place_that_cannot_be_made_is_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    disk = Disk(tmp_path / "file" / "one")
    with capture_logs() as logs:
        disk.write({"a.yml": b"a: 1"})
        disk.write({"a.yml": b"a: 1"})

    assert ["content not remembered"] == [each["event"] for each in logs]


# The task that writes.


async def test_what_is_newest_is_written_and_the_index_is_confirmed_each_hour(
    disk: Disk, autojump_clock: MockClock
) -> None:
    autojump_clock.autojump_threshold = float("inf")
    written: list[dict[str, bytes]] = []

    def good(**contents: bytes) -> Callable[[], Good]:
        def made() -> Good:
            written.append(contents)
            return Good(contents, {})

        return made

    async with trio.open_nursery() as nursery:
        disk.memory.remember(good(a=b"1"))
        disk.memory.remember(good(a=b"2"))
        nursery.start_soon(disk.memory.run)
        await wait_until(lambda: disk.index.exists())
        disk.memory.remember(good(a=b"3"))
        await wait_until(lambda: len(written) == 2)
        await wait_all_tasks_blocked()
        disk.now += 5_000.0
        autojump_clock.jump(module._CONFIRM)
        await wait_until(lambda: disk.index.stat().st_mtime == disk.now)
        nursery.cancel_scope.cancel()

    assert [{"a": b"2"}, {"a": b"3"}] == written
    assert disk.memory._lock is None


@pytest.mark.parametrize(("busy", "passes"), [(0, 1), (1, 2), (5, 6), (1_000, 64)])
async def test_a_write_waits_for_a_short_pass_of_the_event_loop_but_not_for_ever(
    disk: Disk, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch, busy: int, passes: int
) -> None:
    run_inline(monkeypatch)
    begun = 0

    class Passes(trio.abc.Instrument):
        """Counts the passes after the arrival of content, the first of which are long."""

        count = 0

        def before_io_wait(self, timeout: float) -> None:
            self.count += 1
            # The first pass wakes the task.
            mock_clock.jump(module._SHORT_PASS * (1.01 if 1 < self.count <= 1 + busy else 0.99))

    def good() -> Good:
        nonlocal begun
        begun = counted.count
        return Good({"a.yml": b"a: 1"}, {})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.memory.run)
        await wait_all_tasks_blocked()
        counted = Passes()
        trio.lowlevel.add_instrument(counted)
        disk.memory.remember(good)
        await wait_until(lambda: disk.index.exists())
        trio.lowlevel.remove_instrument(counted)
        nursery.cancel_scope.cancel()

    # Another pass is that of the thread, which runs in the event loop here.
    assert 1 + passes + 1 == begun


async def test_what_waits_when_the_source_ends_is_written_and_the_lock_is_released(
    disk: Disk, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_inline(monkeypatch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.memory.run)
        await wait_all_tasks_blocked()
        disk.memory.remember(lambda: Good({"a.yml": b"a: 1"}, {}))
        nursery.cancel_scope.cancel()

    assert [Former(b"a: 1")] == await disk.recall("a.yml")
    assert disk.memory._lock is None
    # It is written once.
    with trio.CancelScope() as scope:
        scope.cancel()
        disk.index.unlink()
        await disk.memory.run()
    assert not disk.index.exists()


async def test_a_disk_that_hangs_when_the_source_ends_is_not_awaited_for_ever(
    disk: Disk, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object, abandon_on_cancel: bool, **__: object) -> None:
        # Trio waits for other threads, whatever is cancelled.
        with trio.CancelScope(shield=not abandon_on_cancel):
            await trio.sleep_forever()

    monkeypatch.setattr(trio.to_thread, "run_sync", hang)
    with trio.CancelScope() as scope:
        scope.cancel()
        disk.memory.remember(lambda: Good({}, {}))
        await disk.memory.run()

    assert module._LAST_WRITE == trio.current_time()


async def test_a_write_that_failed_is_tried_again_and_the_former_index_is_not_confirmed(
    disk: Disk, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_inline(monkeypatch)
    disk.write({"a.yml": b"a: 1", "gone.yml": b"g: 1"})
    written = disk.index.stat().st_mtime
    sync = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(os, "fdatasync", full)
    disk.now += MAX_AGE + 1
    async with trio.open_nursery() as nursery:
        with capture_logs():
            disk.memory.remember(lambda: Good({"a.yml": b"a: 2"}, {}))
            nursery.start_soon(disk.memory.run)
            await trio.sleep(3 * module._CONFIRM)
            assert written == disk.index.stat().st_mtime
            assert [] == [former async for former in disk.open().contents("gone.yml")]
            monkeypatch.setattr(os, "fsync", sync)
            monkeypatch.setattr(os, "fdatasync", os.fsync)
            await trio.sleep(module._RETRY + 1)
            assert [Former(b"a: 2")] == [former async for former in disk.open().contents("a.yml")]
            assert [Former(None)] == [former async for former in disk.open().contents("gone.yml")]
        nursery.cancel_scope.cancel()


def run_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do the work of threads in the event loop, because a clock that jumps doesn't wait for threads."""

    async def inline(function: Callable[..., Any], *arguments: object, **_: object) -> Any:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", inline)


# The journal.


def journals_of(disk: Disk) -> list[Path]:
    return sorted(disk.path.glob("changes-*"))


@pytest.fixture
def journaled(tmp_path: Path) -> Disk:
    """A disk with a small journal."""
    return Disk(tmp_path / "state" / "remembered" / "one", journal_bytes=1_000)


async def test_small_changes_are_one_sync_and_leave_the_index(journaled: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    journaled.write({"a.yml": b"a: 1", "b.yml": b"b: 1"})
    index, names = journaled.index.read_bytes(), names_of(journaled)
    assert [] == journals_of(journaled)
    journaled.write({"a.yml": b"a: 2", "b.yml": b"b: 1"})
    syncs: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: syncs.append("fsync"))
    monkeypatch.setattr(os, "fdatasync", lambda _: syncs.append("fdatasync"))
    journaled.now += 5
    journaled.write({"a.yml": b"a: 3"}, b=False)

    assert ["fdatasync"] == syncs
    assert (index, names) == (journaled.index.read_bytes(), names_of(journaled))
    assert journaled.now == journaled.index.stat().st_mtime
    assert [Former(b"a: 3")] == await journaled.recall("a.yml")
    assert [Former(b"b: 1")] == await journaled.recall("b.yml")
    assert [Former(None)] == await journaled.recall("c.yml")
    assert ["a.yml", "b.yml"] == sorted(journaled.open().paths())


async def test_a_new_journal_is_in_the_directory_for_good_before_it_counts(
    journaled: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journaled.write({"a.yml": b"a: 1"})
    synced: list[bool] = []
    monkeypatch.setattr(private_files, "sync", lambda directory: synced.append(bool(journals_of(journaled))))
    journaled.write({"a.yml": b"a: 2"})

    assert [True] == synced
    # The next write finds the directory as it is now.
    assert journaled.now == journaled.path.stat().st_mtime


async def test_nothing_new_is_no_record_and_confirms_the_index(journaled: Disk) -> None:
    journaled.write({"a.yml": b"a: 1"})
    journaled.now += 5
    journaled.write({"a.yml": b"a: 1"})
    assert [] == journals_of(journaled)
    assert journaled.now == journaled.index.stat().st_mtime

    journaled.write({"a.yml": b"a: 2"})
    [journal] = journals_of(journaled)
    size = journal.stat().st_size
    journaled.write({"a.yml": b"a: 2"})
    assert size == journal.stat().st_size


async def test_a_content_that_is_on_the_disk_already_is_not_in_the_journal(journaled: Disk) -> None:
    for content in (b"a: 1", b"a: 2", b"a: 1", b"a: 2"):
        journaled.write({"a.yml": content})
        assert [Former(content)] == await journaled.recall("a.yml")

    [journal] = journals_of(journaled)
    contents = [json.loads(line.partition(b" ")[2])["contents"] for line in journal.read_bytes().splitlines()]
    assert [1, 0, 0] == [len(each) for each in contents]


async def test_a_full_journal_ends_with_a_new_index_that_has_all_of_it(
    journaled: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = private_files.replace
    replaced: list[str] = []

    def replacing(file: Path, content: bytes) -> None:
        replaced.append(file.name)
        replace(file, content)

    journaled.write({"a.yml": b"a: 0", "b.yml": b"b: 0"})
    monkeypatch.setattr(private_files, "replace", replacing)
    for number in (1, 2, 3):
        assert [] == replaced
        # The content of the broken file is only in the journal.
        files = {"a.yml": b"a: %d" % number} | ({"b.yml": b"b: 1"} if number == 1 else {})
        journaled.write(files, **({} if number == 1 else {"b": False}))
        assert all(each.stat().st_size <= 1_000 for each in journals_of(journaled))

    # Contents that aren't remembered any more are not written.
    assert {digest(b"a: 3"), digest(b"b: 1"), "index.json"} == {*replaced}
    assert [] == journals_of(journaled)
    assert {digest(b"a: 3"), digest(b"b: 1")} == names_of(journaled)
    assert [Former(b"b: 1")] == await journaled.recall("b.yml")
    journaled.write({"a.yml": b"a: 0"}, b=False)
    assert 1 == len(journals_of(journaled))


async def test_a_content_that_is_too_large_for_the_journal_is_not_encoded_for_it(
    journaled: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journaled.write({"a.yml": b"a: 1"})
    encoded: list[Change] = []
    record = journal_module.record

    def encoding(change: Change) -> bytes:
        encoded.append(change)
        return record(change)

    monkeypatch.setattr(journal_module, "record", encoding)
    journaled.write({"a.yml": b"a" * 1_001})

    assert [] == encoded
    # The first one also removes the large content.
    for content in (b"a: 2", b"a: 3"):
        journaled.write({"a.yml": content})
    assert 1 == len(encoded)


@pytest.mark.parametrize(("room", "is_journaled"), [(0, True), (-1, False), (-400, False)])
async def test_a_change_that_the_journal_has_no_room_for_is_a_new_index(
    tmp_path: Path, room: int, is_journaled: bool
) -> None:
    content = b"2" * 300
    change = Change({"a.yml": Entry(digest(content))}, [], {digest(content): content})
    size = len(journal_module.record(change))
    # The first change takes as much room.
    disk = Disk(tmp_path / "m", journal_bytes=2 * size + room)
    for each in (b"1" * 300, b"3" * 300, content):
        disk.write({"a.yml": each})

    assert is_journaled == bool(journals_of(disk))
    assert is_journaled == (digest(content) not in names_of(disk))
    assert [Former(content)] == await disk.recall("a.yml")


@pytest.mark.parametrize(("size", "is_journaled"), [(1_000, True), (1_001, False)])
async def test_what_is_not_remembered_any_more_takes_bounded_room(
    journaled: Disk, size: int, is_journaled: bool
) -> None:
    journaled.write({"a.yml": b"1" * size})
    journaled.write({"a.yml": b""})

    assert is_journaled == (digest(b"1" * size) in names_of(journaled))
    assert [Former(b"")] == await journaled.recall("a.yml")


async def test_after_a_restart_the_first_write_takes_over_what_the_journal_has(journaled: Disk) -> None:
    journaled.write({"a.yml": b"a: 1", "b.yml": b"b: 1"})
    journaled.write({"a.yml": b"a: 2", "b.yml": b"b: 2"})
    [journal] = journals_of(journaled)
    journal.write_bytes(journal.read_bytes() + b"torn")
    journaled.restart()
    journaled.write({"a.yml": b"a: 2"}, b=False)

    assert [Former(b"a: 2")] == await journaled.recall("a.yml")
    assert [Former(b"b: 2")] == await journaled.recall("b.yml")
    assert {digest(b"a: 2"), digest(b"b: 2")} == names_of(journaled)
    assert [] == journals_of(journaled)


async def test_a_damaged_journal_is_one_warning_and_neither_it_nor_the_index_is_used(journaled: Disk) -> None:
    for content in (b"a: 1", b"a: 2", b"a: 3"):
        journaled.write({"a.yml": content})
    [journal] = journals_of(journaled)
    journal.write_bytes(b"x" + journal.read_bytes())
    memory = journaled.open()
    with capture_logs() as logs:
        for _ in range(2):
            assert [] == [former async for former in memory.contents("a.yml")]
        assert [] == [*memory.paths()]
    assert [("remembered content unreadable", journal.name, "a record is damaged")] == [
        (each["event"], each["file"], each["reason"]) for each in logs
    ]
    # The writer notices the other size.
    with capture_logs():
        journaled.write({"a.yml": b"a: 4"})
    assert [Former(b"a: 4")] == await journaled.recall("a.yml")
    assert (journaled.path / "index.json.unknown").exists()
    assert [] == journals_of(journaled)


@pytest.mark.parametrize("garbage", [b"torn", b"garbage\n", b"\0" * 99 + b"\nx"])
async def test_after_garbage_at_the_end_of_a_journal_all_before_it_is_known_and_kept(
    journaled: Disk, garbage: bytes
) -> None:
    journaled.write({"a.yml": b"a: 1", "b.yml": b"b: 1"})
    journaled.write({"a.yml": b"a: 2", "b.yml": b"b: 1"})
    [journal] = journals_of(journaled)
    journal.write_bytes(journal.read_bytes() + garbage)
    memory = journaled.open()
    with capture_logs() as logs:
        for _ in range(2):
            assert [Former(b"a: 2")] == [former async for former in memory.contents("a.yml")]
    # An incomplete line is what a crash leaves.
    assert ([] if garbage == b"torn" else [(journal.name, "its last record is damaged")]) == [
        (each["file"], each["reason"]) for each in logs
    ]
    journaled.restart()
    with capture_logs():
        journaled.write({"b.yml": b"b: 1"}, a=False)
    assert [Former(b"a: 2")] == await journaled.recall("a.yml")
    assert [] == journals_of(journaled)
    assert not (journaled.path / "index.json.unknown").exists()


async def test_a_journal_that_is_too_large_is_not_read(journaled: Disk) -> None:
    journaled.write({"a.yml": b"a: 1"})
    journaled.write({"a.yml": b"a: 2"})
    [journal] = journals_of(journaled)
    os.truncate(journal, JOURNAL_BYTES + 1)
    with capture_logs() as logs:
        assert [] == await journaled.recall("a.yml")
    assert [journal.name] == [each["file"] for each in logs]


async def test_a_reader_reads_again_if_the_index_is_replaced_meanwhile(
    journaled: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journaled.write({"a.yml": b"a: 1"})
    journaled.write({"a.yml": b"a: 2"})
    read, readings = private_files.read, 0

    def replacing(file: Path, most: int) -> bytes:
        nonlocal readings
        content = read(file, most)
        if file == journaled.index:
            readings += 1
            if readings == 1:
                # The new index has the changes, and the journal of the former one is gone.
                journaled.write({"a.yml": b"2" * 1_001})
        return content

    monkeypatch.setattr(private_files, "read", replacing)

    assert [Former(b"2" * 1_001)] == await journaled.recall("a.yml")
    assert 3 == readings


async def test_a_content_of_the_journal_with_a_wrong_hash_is_not_used(
    journaled: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journaled.write({"a.yml": b"a: 1"})
    record = journal_module.record
    monkeypatch.setattr(
        journal_module,
        "record",
        lambda change: record(attrs.evolve(change, contents=dict.fromkeys(change.contents, b"other"))),
    )
    journaled.write({"a.yml": b"a: 2"})
    with capture_logs() as logs:
        assert [] == await journaled.recall("a.yml")
    assert ["its hash is wrong"] == [each["reason"] for each in logs]


async def test_after_a_record_that_failed_there_is_a_new_index_and_another_journal(
    journaled: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journaled.write({"a.yml": b"a: 1"})
    journaled.write({"a.yml": b"a: 2"})
    [former] = journals_of(journaled)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(os, "fdatasync", full)
        journaled.write({"a.yml": b"a: 3"})
    assert [("content not remembered", "no space left on device")] == [(each["event"], each["reason"]) for each in logs]
    assert [Former(b"a: 2")] == await journaled.recall("a.yml")

    # The state of the first index again, whose journal has another one.
    journaled.write({"a.yml": b"a: 1"})
    assert [Former(b"a: 1")] == await journaled.recall("a.yml")
    journaled.write({"a.yml": b"a: 4"})
    assert [former] != journals_of(journaled)
    assert 1 == len(journals_of(journaled))


async def test_the_index_of_the_format_before_is_read(journaled: Disk) -> None:
    journaled.write({"a.yml": b"a: 1"})
    found = json.loads(journaled.index.read_bytes())
    del found["journal"]
    journaled.index.write_bytes(json.dumps(found | {"format": 1}).encode())
    os.utime(journaled.index, (journaled.now, journaled.now))

    assert [Former(b"a: 1")] == await journaled.recall("a.yml")
    journaled.write({"a.yml": b"a: 2"})
    assert not (journaled.path / "index.json.unknown").exists()
    assert FORMAT == json.loads(journaled.index.read_bytes())["format"]


@pytest.mark.parametrize("journal_bytes", [300, 1_000, JOURNAL_BYTES])
async def test_with_a_journal_the_same_is_remembered_as_without(tmp_path: Path, journal_bytes: int) -> None:
    random = Random(2)
    contents = [bytes([number]) * random.randint(1, 6) for number in range(8)]
    plain = Disk(tmp_path / "plain", max_bytes=20)
    journaled = Disk(tmp_path / "journaled", max_bytes=20, journal_bytes=journal_bytes)
    with capture_logs():
        for number in range(80):
            files = {f"{name}.yml": random.choice(contents) for name in "abcdef" if random.random() < 0.8}
            broken = {name: random.random() < 0.3 for name in "abcdef" if f"{name}.yml" not in files}
            for disk in (plain, journaled):
                disk.now += random.choice([1, 1, 4_000, MAX_AGE / 2]) if disk is plain else 0
                disk.now = plain.now
                disk.write(files, **dict(list(broken.items())[:2]))
                if number % 9 == 0:
                    os.close(disk.memory._lock or 0)
                    disk.memory = disk.open()
            for name in "abcdefg":
                assert await plain.recall(f"{name}.yml") == await journaled.recall(f"{name}.yml")
            assert sorted(plain.open().paths()) == sorted(journaled.open().paths())


@pytest.mark.parametrize(("count", "is_journaled"), [(2, True), (3, False)])
async def test_a_journal_has_a_bounded_number_of_records(tmp_path: Path, count: int, is_journaled: bool) -> None:
    disk = Disk(tmp_path / "m", journal_bytes=JOURNAL_BYTES, journal_records=2)
    disk.write({"a.yml": b"first"})
    for number in range(count):
        disk.write({"a.yml": b"%d" % number})
        # Nothing new is no record.
        disk.write({"a.yml": b"%d" % number})

    assert is_journaled == bool(journals_of(disk))
    assert [Former(b"%d" % (count - 1))] == await disk.recall("a.yml")
    disk.write({"a.yml": b"last"})
    assert is_journaled != bool(journals_of(disk))


def test_the_limits_of_a_journal_are_what_the_page_says() -> None:
    assert (1_048_576, 512) == (journal_module.MAX_BYTES, journal_module.MAX_RECORDS)
    memory = Remembered(Path("x"), ROOT)
    assert (1_048_576, 512) == (memory._journal_bytes, memory._journal_records)


@pytest.mark.parametrize(
    ("size", "records", "is_large"), [(0, 0, False), (250, 2, False), (251, 1, True), (1, 3, True)]
)
def test_a_journal_is_large_beyond_a_quarter_of_a_limit(
    tmp_path: Path, size: int, records: int, is_large: bool
) -> None:
    disk = Disk(tmp_path / "m", journal_bytes=1_000, journal_records=8)
    assert not disk.memory._is_large()
    disk.write({"a.yml": b"a"})
    assert disk.memory._written is not None
    disk.memory._written = attrs.evolve(disk.memory._written, journal_bytes=size, journal_records=records)

    assert is_large == disk.memory._is_large()


async def test_a_large_journal_ends_when_nothing_has_changed_for_some_seconds(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_inline(monkeypatch)
    disk = Disk(tmp_path / "m", journal_bytes=JOURNAL_BYTES, journal_records=8)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.memory.run)

        async def change(text: bytes) -> None:
            disk.memory.remember(lambda: Good({"a.yml": text}, {}))
            await trio.sleep(1)

        for text in (b"0", b"1", b"2"):
            await change(text)
        # It isn't large yet.
        await trio.sleep(module._CONFIRM - 10)
        assert 1 == len(journals_of(disk))
        await change(b"3")
        await trio.sleep(module._IDLE - 2)
        await change(b"4")
        await trio.sleep(module._IDLE - 2)
        # The last change isn't as long ago.
        assert 1 == len(journals_of(disk))
        assert set() == {digest(b"%d" % number) for number in (1, 2, 3, 4)} & names_of(disk)
        await trio.sleep(2)
        assert [] == journals_of(disk)
        assert {digest(b"4")} == names_of(disk)
        disk.now += 5
        index = disk.index.read_bytes()
        await trio.sleep(module._CONFIRM + 1)
        assert disk.now == disk.index.stat().st_mtime
        assert index == disk.index.read_bytes()
        assert [Former(b"4")] == await disk.recall("a.yml")
        nursery.cancel_scope.cancel()


async def test_a_write_that_failed_is_tried_again_when_a_journal_was_large(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_inline(monkeypatch)
    disk = Disk(tmp_path / "m", journal_bytes=JOURNAL_BYTES, journal_records=4)
    for number in range(4):
        disk.write({"a.yml": b"%d" % number})
    assert disk.memory._is_large()
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "I/O error")))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(disk.memory.run)
            disk.memory.remember(lambda: Good({"a.yml": b"last"}, {}))
            await trio.sleep(module._RETRY - 1)
            assert [Former(b"3")] == await disk.recall("a.yml")
            await trio.sleep(2)
            nursery.cancel_scope.cancel()

    assert ["content not remembered"] == [each["event"] for each in logs]
    assert [Former(b"last")] == await disk.recall("a.yml")


async def test_a_content_that_was_left_on_the_disk_stays_when_the_journal_ends(journaled: Disk) -> None:
    journaled.write({"a.yml": b"a: 1"})
    left = journaled.path / digest(b"a: 2")
    status = journaled.path.stat()
    left.write_bytes(b"a: 2")
    os.utime(journaled.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    journaled.write({"a.yml": b"a: 2"})
    journaled.memory._compact()

    assert {digest(b"a: 2")} == names_of(journaled)
    assert [Former(b"a: 2")] == await journaled.recall("a.yml")


async def test_when_a_journal_ends_without_a_change_the_entries_stay(journaled: Disk) -> None:
    journaled.write({"a.yml": b"a: 1", "b.yml": b"b: 1", "c.yml": b"b: 1"})
    journaled.write({"a.yml": b"a: 2", "c.yml": b"c: 2"}, b=False, never=False)
    before = journaled.open()._read_index()
    journaled.now += 5
    journaled.memory._compact()
    after = journaled.open()._read_index()

    assert before is not None
    assert after is not None
    assert before.entries == after.entries
    assert [] == journals_of(journaled)
    assert {digest(each) for each in (b"a: 2", b"b: 1", b"c: 2")} == names_of(journaled)
    assert journaled.now == journaled.index.stat().st_mtime
    # The next change is a record again.
    journaled.write({"a.yml": b"a: 3", "c.yml": b"c: 2"}, b=False, never=False)
    assert 1 == len(journals_of(journaled))
    assert digest(b"a: 3") not in names_of(journaled)


async def test_if_a_journal_can_not_end_it_stays_and_one_warning_is_logged(
    journaled: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journaled.write({"a.yml": b"a: 1"})
    journaled.write({"a.yml": b"a: 2"})
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        journaled.memory._compact()
        journaled.memory._compact()
    assert [("content not remembered", "no space left on device")] == [(each["event"], each["reason"]) for each in logs]
    assert not journaled.memory._is_large()
    assert 1 == len(journals_of(journaled))
    assert [Former(b"a: 2")] == await journaled.recall("a.yml")
    journaled.write({"a.yml": b"a: 2"})
    assert [] == journals_of(journaled)
    assert [Former(b"a: 2")] == await journaled.recall("a.yml")


async def test_a_journal_does_not_end_if_another_program_has_changed_the_directory(journaled: Disk) -> None:
    journaled.write({"a.yml": b"a: 1"})
    journaled.write({"a.yml": b"a: 2"})
    [journal] = journals_of(journaled)
    (journaled.path / ("0" * 64)).write_bytes(b"foreign")
    journaled.memory._compact()
    assert [journal] == journals_of(journaled)
    journaled.write({"a.yml": b"a: 2"})

    assert {digest(b"a: 2")} == names_of(journaled)
    assert [] == journals_of(journaled)


def test_a_process_that_is_not_the_writer_ends_no_journal(journaled: Disk) -> None:
    journaled.write({"a.yml": b"a: 1"})
    journaled.write({"a.yml": b"a: 2"})
    other = journaled.open()
    other._write(lambda: Good({"a.yml": b"a: 2"}, {}))
    other._compact()

    assert 1 == len(journals_of(journaled))


async def test_a_journal_in_a_folder_that_became_read_only_keeps_what_was_written(
    journaled: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journaled.write({"a.yml": b"a: 1"})
    journaled.write({"a.yml": b"a: 2"})
    opened = os.open

    def refuse(file: Any, flags: int, *more: int, **options: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "Read-only file system")
        return opened(file, flags, *more, **options)

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(os, "open", refuse)
        for text in (b"a: 3", b"a: 4"):
            journaled.write({"a.yml": text})
        journaled.memory._compact()
        assert [Former(b"a: 2")] == await journaled.recall("a.yml")
    assert [("content not remembered", "read-only file system")] == [(each["event"], each["reason"]) for each in logs]
    journaled.write({"a.yml": b"a: 4"})
    assert [Former(b"a: 4")] == await journaled.recall("a.yml")


async def test_a_content_of_the_journal_is_in_memory_until_the_journal_ends(journaled: Disk) -> None:
    journaled.write({"a.yml": b"a: 1"})
    journaled.write({"a.yml": b"a: 2"})
    assert journaled.memory._written is not None
    assert {digest(b"a: 2"): b"a: 2"} == journaled.memory._written.journaled
    journaled.memory._compact()
    assert {} == journaled.memory._written.journaled
    # The content of the first index is gone, and is new again.
    journaled.write({"a.yml": b"a: 1"})

    assert {digest(b"a: 2")} == names_of(journaled)
    assert [Former(b"a: 1")] == await journaled.recall("a.yml")


# A write costs as much as has changed.


class Looks:
    """Counts the contents that are hashed and examined, and the listings of the directory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hashed: list[bytes] = []
        self.examined = self.listed = self.read = 0
        size, scan, read, sha256 = module._size, os.scandir, Remembered._read_index, hashlib.sha256

        def hashing(content: bytes) -> Any:
            self.hashed.append(content)
            return sha256(content)

        def sizing(file: Path) -> int | None:
            self.examined += 1
            return size(file)

        def scanning(path: Path) -> Any:
            self.listed += 1
            return scan(path)

        def reading(memory: Remembered) -> Any:
            self.read += 1
            return read(memory)

        monkeypatch.setattr(module, "_size", sizing)
        monkeypatch.setattr(os, "scandir", scanning)
        monkeypatch.setattr(hashlib, "sha256", hashing)
        monkeypatch.setattr(Remembered, "_read_index", reading)

    def taken(self) -> tuple[list[bytes], int, int, int]:
        """Return the contents that were hashed, and the numbers of examined contents, listings and readings of the index."""
        found = self.hashed, self.examined, self.listed, self.read
        self.hashed, self.examined, self.listed, self.read = [], 0, 0, 0
        return found


def names_of(disk: Disk) -> set[str]:
    return {each.name for each in disk.path.iterdir() if len(each.name) == 64}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_a_write_hashes_and_examines_only_new_contents(indexed: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {f"{name}.yml": name.encode() * 9 for name in "abc"}
    looks = Looks(monkeypatch)
    indexed.write(contents)
    assert ([b"a" * 9, b"b" * 9, b"c" * 9], 3, 1, 1) == looks.taken()

    indexed.write(contents)
    assert ([], 0, 0, 0) == looks.taken()
    indexed.write(contents | {"b.yml": b"new"})
    assert ([b"new"], 1, 0, 0) == looks.taken()
    monkeypatch.undo()
    assert {digest(b"a" * 9), digest(b"new"), digest(b"c" * 9)} == names_of(indexed)
    assert [Former(b"new")] == await indexed.recall("b.yml")


async def test_a_content_that_another_path_still_has_stays(indexed: Disk) -> None:
    indexed.write({"a.yml": b"same", "b.yml": b"same", "c.yml": b"gone"})
    indexed.write({"b.yml": b"same", "d.yml": b"same"})
    indexed.write({"b.yml": b"same"}, d=False)

    assert {digest(b"same")} == names_of(indexed)
    assert [Former(b"same")] == await indexed.recall("b.yml") == await indexed.recall("d.yml")


@pytest.mark.parametrize(("seconds", "is_examined"), [(3_599.0, False), (3_600.0, True), (-1.0, True)])
async def test_the_disk_is_examined_once_an_hour_and_if_the_clock_was_set_back(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, seconds: float, is_examined: bool
) -> None:
    contents = {"a.yml": b"a"}
    disk.write(contents)
    disk.now += 10
    disk.write(contents)
    looks = Looks(monkeypatch)
    disk.now += seconds - 10
    disk.write(contents)

    assert (int(is_examined),) * 3 == looks.taken()[1:]


async def test_the_hour_begins_with_the_examination(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {"a.yml": b"a"}
    disk.write(contents)
    disk.now += 3_600
    disk.write(contents)
    looks = Looks(monkeypatch)
    disk.now += 3_599
    disk.write(contents)

    assert ([], 0, 0, 0) == looks.taken()


@pytest.mark.parametrize("name", ["index.json", "content", "another"])
async def test_the_disk_is_examined_if_another_program_has_changed_the_directory(disk: Disk, name: str) -> None:
    contents = {"a.yml": b"a", "b.yml": b"b"}
    disk.write(contents)
    if name == "another":
        (disk.path / ("0" * 64)).write_bytes(b"foreign")
    else:
        (disk.path / (digest(b"a") if name == "content" else name)).unlink()
    disk.write(contents)

    assert {digest(b"a"), digest(b"b")} == names_of(disk)
    assert [Former(b"a")] == await disk.recall("a.yml")


async def test_after_a_write_that_failed_the_disk_is_examined(indexed: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed.write({"a.yml": b"a"})
    with monkeypatch.context() as patched, capture_logs():
        patched.setattr(private_files, "sync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
        indexed.write({"a.yml": b"b"})
    looks = Looks(monkeypatch)
    indexed.write({"a.yml": b"b"})

    assert ([b"b"], 1, 1, 1) == looks.taken()
    monkeypatch.undo()
    assert {digest(b"b")} == names_of(indexed)


async def test_a_content_that_is_gone_already_is_removed_without_an_error(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.write({"a.yml": b"a"})
    monkeypatch.setattr(Remembered, "_mark", lambda *_: disk.memory._written and disk.memory._written.mark)
    (disk.path / digest(b"a")).unlink()
    with capture_logs() as logs:
        disk.write({"a.yml": b"b"})

    assert [] == logs
    assert [Former(b"b")] == await disk.recall("a.yml")


async def test_a_content_beyond_the_limit_is_not_hashed_again_and_comes_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path / "m", max_bytes=10)
    large, other = b"1" * 6, b"2" * 5
    with capture_logs():
        disk.write({"a.yml": large, "b.yml": other})
        looks = Looks(monkeypatch)
        disk.write({"a.yml": large, "b.yml": other})
        assert ([], 0, 0, 0) == looks.taken()
        disk.write({"b.yml": other})
    assert ([], 1, 0, 0) == looks.taken()
    monkeypatch.undo()

    assert [Former(other)] == await disk.recall("b.yml")
    assert {digest(other)} == names_of(disk)


async def test_a_sequence_of_writes_leaves_what_a_single_write_would_leave(tmp_path: Path) -> None:
    random = Random(1)
    contents = [bytes([number]) * random.randint(1, 6) for number in range(8)]
    disk = Disk(tmp_path / "m", max_bytes=20)
    with capture_logs():
        for _ in range(60):
            files = {f"{name}.yml": random.choice(contents) for name in "abcdef" if random.random() < 0.8}
            broken = {name: random.random() < 0.3 for name in "abcdef" if f"{name}.yml" not in files}
            disk.write(files, **dict(list(broken.items())[:2]))
            left = disk.index.read_bytes(), names_of(disk)
            # Another process examines the disk. Nothing has changed, so it leaves the disk as it is.
            disk.memory._written = None
            disk.write(files, **dict(list(broken.items())[:2]))
            assert left == (disk.index.read_bytes(), names_of(disk))

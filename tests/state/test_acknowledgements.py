"""What instances have acknowledged, on disk: it is there after a restart, and no fault of the disk stops the service."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.core.model import Key
from vortexd.fleet import Fleet, Instance, KeyState, Question, make_ack
from vortexd.settings.fleet import FleetSettings
from vortexd.state import acknowledgements as module
from vortexd.state import private_files
from vortexd.state.acknowledgements import BETWEEN, CONFIRM, LAST, RETRY, Acknowledgements

KEY = Key("orders", "prod", "main")


class Disk:
    """One state directory, at a time that the test sets, and the processes that use it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1_900_000_000.0

    def start(self, number: int = 0, count: int = 1, **options: Any) -> "Worker":
        return Worker(self, number, count, **options)

    def file(self, number: int = 0) -> Path:
        return self.path / f"worker-{number}.json"

    def names(self) -> list[str]:
        """Return the names of all files but the locks."""
        return sorted(each.name for each in self.path.iterdir() if each.suffix != ".lock")


class Worker:
    """A process, or a worker, with a fleet."""

    def __init__(self, disk: Disk, number: int, count: int, gone: int = 100, **options: Any) -> None:
        self.disk = disk
        self.fleet = Fleet(FleetSettings(gone=gone), lambda _: "v1")
        self.kept = Acknowledgements(self.fleet, disk.path, number, count, lambda: disk.now, **options)

    def join(self, name: str, version: str | None = "v1", key: Key = KEY) -> Instance:
        instance = Instance(key, f"id-{name}", "", name, self.disk.now)
        self.fleet.join(instance, self.disk.now)
        if version is not None:
            self.fleet.acknowledge(instance, key, make_ack(version, "applied", None, self.disk.now))
        return instance

    @property
    def state(self) -> KeyState:
        [state] = self.fleet.page(Question((KEY,)), self.disk.now).keys
        return state

    @property
    def before(self) -> dict[str, tuple[str, str | None]]:
        """The state of each instance, and the version that it acknowledged before the restart."""
        return {
            each.name: (each.state, each.before_restart.version if each.before_restart is not None else None)
            for state in self.fleet.page(Question((KEY,)), self.disk.now).keys
            for each in state.instances
        }

    async def step(self) -> None:
        await self.kept._step()

    def kill(self) -> None:
        """End the process as the kernel does: its lock is free, and nothing is written."""
        if self.kept._lock is not None:
            os.close(self.kept._lock)
            self.kept._lock = None


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "state" / "fleet")


async def written(disk: Disk, *names: str, number: int = 0, count: int = 1) -> None:
    """A process lives, has instances, and is killed after it has written them."""
    worker = disk.start(number, count)
    await worker.step()
    for name in names:
        worker.join(name)
    await worker.step()
    worker.kill()


async def test_what_was_acknowledged_before_a_process_was_killed_is_known_to_the_next(disk: Disk) -> None:
    await written(disk, "one", "two")
    disk.now += 10
    again = disk.start()
    await again.step()

    assert {"one": ("gone", "v1"), "two": ("gone", "v1")} == again.before
    # Nobody knows when they left: they were there when the file was written.
    assert {disk.now - 10} == {each.since for each in again.state.instances}
    again.join("one", None)
    assert ("silent", "v1") == again.before["one"]
    assert (0, 0.0) == (again.state.applied, again.state.percent)


async def test_those_who_left_in_the_drain_left_then(disk: Disk) -> None:
    worker = disk.start()
    await worker.step()
    one = worker.join("one")
    await worker.step()
    disk.now += 5
    worker.fleet.leave(one, disk.now)
    await worker.kept.close()
    assert worker.kept._lock is None
    disk.now += 5
    again = disk.start()
    await again.step()

    assert [("gone", disk.now - 5)] == [(each.state, each.since) for each in again.state.instances]
    assert {"one": ("gone", "v1")} == again.before


async def test_only_vortexds_user_can_read_it_and_without_instances_nothing_is_written(disk: Disk) -> None:
    worker = disk.start()
    await worker.step()
    await worker.step()
    await worker.kept.close()
    assert not disk.path.exists()

    await written(disk, "one")
    assert (["worker-0.json"], 0o700, 0o600) == (
        disk.names(),
        disk.path.stat().st_mode & 0o777,
        disk.file().stat().st_mode & 0o777,
    )


async def test_without_a_state_directory_nothing_is_read_or_written(tmp_path: Path, autojump_clock: MockClock) -> None:
    fleet = Fleet(FleetSettings(), lambda _: "v1")
    kept = Acknowledgements(fleet, None, 0, 1, lambda: 0.0)
    fleet.join(Instance(KEY, "id", "", "one", 0.0), 0.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kept.run)
        await kept.wait_looked(1.0)
        assert 0.0 == trio.current_time()
        await trio.sleep(100)
        await kept.close()
        nursery.cancel_scope.cancel()

    assert [] == os.listdir(tmp_path)


async def test_what_is_remembered_is_bounded_by_the_settings_and_by_bytes(disk: Disk) -> None:
    worker = disk.start(gone=3)
    await worker.step()
    left = [worker.join(f"left-{number}") for number in range(3)]
    for each in left:
        worker.fleet.leave(each, disk.now)
    worker.join("here"), worker.join("there")
    await worker.step()
    worker.kill()
    assert {"here", "there", "left-2"} == {row[3] for row in orjson.loads(disk.file().read_bytes())["instances"]}

    size = disk.file().stat().st_size
    small = disk.start(max_bytes=size)
    await small.step()
    small.join("one-more"), small.join("another")
    with capture_logs() as logs:
        for _ in range(2):
            small.fleet.changed(KEY, disk.now)
            await small.step()
    assert disk.file().stat().st_size <= size
    assert [("acknowledgements not stored", f"3 instances are beyond {size} bytes together")] == [
        (each["event"], each["reason"]) for each in logs
    ]


async def test_many_keys_are_collected_in_turns_with_other_tasks(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    worker = disk.start()
    for number in range(5):
        worker.join("one", key=Key(f"app{number}", "prod", "main"))
    asked: list[int] = []
    of, checkpoint = worker.fleet.connected, trio.lowlevel.checkpoint

    def noted(keys: Any, most: int) -> Any:
        asked.append(most)
        return of(keys, most)

    async def turn() -> None:
        asked.append(-1)
        await checkpoint()

    monkeypatch.setattr(worker.fleet, "connected", noted)
    monkeypatch.setattr(trio.lowlevel, "checkpoint", turn)
    connected, gone = await worker.kept._collect()
    assert (5, 0) == (len(connected), len(gone))
    monkeypatch.undo()
    assert [100, -1, 98, -1, 96, -1] == asked


# Faults.


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it isn't JSON"),
        (b'{"format":1,"instances":[["orders","prod","ma', "it isn't JSON"),
        (b'{"format":2,"instances":[]}', "it has format 2, but this version only reads format 1"),
        (b'{"format":1,"instances":[1]}', "an instance isn't a list of 6 or 10 items"),
        (b"x" * 1_001, "larger than 1000 bytes"),
    ],
)
async def test_a_file_that_cannot_be_read_is_set_aside_with_one_warning(
    disk: Disk, content: bytes, reason: str
) -> None:
    await written(disk, "one")
    disk.file().write_bytes(content)
    disk.file().with_name("worker-0.json.unknown").write_bytes(b"set aside before")
    worker = disk.start(max_bytes=1_000)
    with capture_logs() as logs:
        await worker.step()
        worker.join("two")
        await worker.step()

    assert [("acknowledgements unreadable", "worker-0.json", reason, "warning")] == [
        (each["event"], each["file"], each["reason"], each["log_level"]) for each in logs
    ]
    assert {"two": ("applied", None)} == worker.before
    assert ["worker-0.json", "worker-0.json.unknown", "worker-0.json.unknown.1"] == disk.names()
    assert b"set aside before" == disk.file().with_name("worker-0.json.unknown").read_bytes()
    assert content == disk.file().with_name("worker-0.json.unknown.1").read_bytes()
    worker.kill()
    again = disk.start()
    with capture_logs() as logs:
        await again.step()
    assert ({"two": ("gone", "v1")}, []) == (again.before, logs)


async def test_a_link_in_place_of_the_file_is_not_followed(disk: Disk, tmp_path: Path) -> None:
    await written(disk, "one")
    disk.file().rename(tmp_path / "elsewhere")
    disk.file().symlink_to(tmp_path / "elsewhere")
    worker = disk.start()
    with capture_logs() as logs:
        await worker.step()

    assert (["acknowledgements unreadable"], {}) == ([each["event"] for each in logs], worker.before)


async def test_a_half_written_part_is_never_read(disk: Disk) -> None:
    await written(disk, "one")
    disk.file().with_name("worker-0.json.part").write_bytes(b'{"format":1,"inst')
    worker = disk.start()
    await worker.step()
    assert {"one": ("gone", "v1")} == worker.before
    await worker.step()

    assert ["worker-0.json"] == disk.names()


async def test_a_directory_that_others_can_enter_is_neither_read_nor_written(disk: Disk) -> None:
    await written(disk, "one")
    disk.path.chmod(0o750)
    content = disk.file().read_bytes()
    worker = disk.start()
    with capture_logs() as logs:
        await worker.step()
        worker.join("two")
        for _ in range(2):
            await worker.step()

    assert ["acknowledgements unreadable", "acknowledgements not stored"] == [each["event"] for each in logs]
    assert all("mode 700" in each["reason"] for each in logs)
    assert ({"two": ("applied", None)}, content) == (worker.before, disk.file().read_bytes())


async def test_a_full_disk_is_one_warning_and_leaves_what_was_written(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = disk.start()
    await worker.step()
    worker.join("one")
    await worker.step()
    worker.join("two")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def stored() -> set[str]:
        return {row[3] for row in orjson.loads(disk.file().read_bytes())["instances"]}

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(os, "fsync", full)
        for _ in range(2):
            await worker.step()
            assert worker.kept._is_failing
    assert [("acknowledgements not stored", "no space left on device", "warning")] == [
        (each["event"], each["reason"], each["log_level"]) for each in logs
    ]
    assert (["worker-0.json"], {"one"}) == (disk.names(), stored())

    await worker.step()
    assert ({"one", "two"}, False) == (stored(), worker.kept._is_failing)
    worker.join("three")
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(os, "fsync", full)
        await worker.step()
    assert 1 == len(logs)


async def test_a_place_that_cannot_be_made_is_one_warning(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    worker = Disk(tmp_path / "state" / "fleet").start()
    with capture_logs() as logs:
        for name in ("one", "two", "three"):
            await worker.step()
            worker.join(name)

    # It could be neither read nor written, and both reasons are worth knowing.
    assert ["acknowledgements unreadable", "acknowledgements not stored"] == [each["event"] for each in logs]


async def test_a_directory_that_cannot_be_written_is_read_and_is_one_warning(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(disk, "one")

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(private_files, "locked", read_only)
    worker = disk.start()
    with capture_logs() as logs:
        for _ in range(3):
            await worker.step()

    assert {"one": ("gone", "v1")} == worker.before
    assert [("acknowledgements not stored", "read-only file system")] == [
        (each["event"], each["reason"]) for each in logs
    ]


async def test_a_process_that_has_the_file_keeps_it_and_the_next_one_reads_it_when_it_has_ended(disk: Disk) -> None:
    first, second = disk.start(), disk.start()
    await first.step()
    first.join("one")
    await first.step()
    second.join("two", None)
    second.join("one", None)
    content = disk.file().read_bytes()
    with capture_logs() as logs:
        for _ in range(2):
            await second.step()
    assert [("acknowledgements not stored", "another process uses it")] == [
        (each["event"], each["reason"]) for each in logs
    ]
    assert (content, {"one": ("silent", None), "two": ("silent", None)}) == (disk.file().read_bytes(), second.before)

    first.kill()
    await second.step()
    assert {"one": ("silent", "v1"), "two": ("silent", None)} == second.before
    await second.step()
    assert content != disk.file().read_bytes()


async def test_a_process_that_made_the_directory_meanwhile_keeps_its_file(disk: Disk) -> None:
    first, second = disk.start(), disk.start()
    for each in (first, second):
        await each.step()
    first.join("one")
    second.join("two")
    await first.step()
    content = disk.file().read_bytes()
    with capture_logs() as logs:
        await second.step()

    assert ["another process uses it"] == [each["reason"] for each in logs]
    assert content == disk.file().read_bytes()


# Workers.


async def test_each_worker_has_its_own_file(disk: Disk) -> None:
    for number, name in enumerate(("one", "two")):
        await written(disk, name, number=number, count=2)
    found = []
    for number in range(2):
        worker = disk.start(number, 2)
        await worker.step()
        found.append(worker.before)

    assert [{"one": ("gone", "v1")}, {"two": ("gone", "v1")}] == found


async def test_the_first_worker_takes_the_files_of_workers_that_do_not_run_any_more(disk: Disk) -> None:
    for number, name in enumerate(("zero", "one", "two")):
        await written(disk, name, number=number, count=3)
    (disk.path / "worker-x.json").write_text("other")
    (disk.path / "worker-9.json.unknown").write_text("other")
    second = disk.start(1, 2)
    await second.step()
    first = disk.start(0, 2)
    await first.step()

    assert {"one": ("gone", "v1")} == second.before
    assert {"zero": ("gone", "v1"), "two": ("gone", "v1")} == first.before
    assert disk.file(2).exists()
    await first.step()
    assert ["worker-0.json", "worker-1.json", "worker-9.json.unknown", "worker-x.json"] == disk.names()
    first.kill()
    single = disk.start()
    await single.step()
    assert {"zero", "one", "two"} == single.before.keys()


# The task that writes.


def run_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do the work of threads in the event loop, because a clock that jumps doesn't wait for threads."""

    async def inline(function: Callable[..., Any], *arguments: object, **_: object) -> Any:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", inline)


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When each write began."""
    run_inline(monkeypatch)
    found: list[float] = []
    replace = private_files.replace

    def noted(file: Path, content: bytes) -> None:
        found.append(trio.current_time())
        replace(file, content)

    monkeypatch.setattr(private_files, "replace", noted)
    return found


async def test_changes_are_written_in_batches_and_only_if_there_are_any(
    disk: Disk, writes: list[float], autojump_clock: MockClock
) -> None:
    worker = disk.start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.kept.run)
        await worker.kept.wait_looked(1.0)
        assert 0.0 == trio.current_time()
        for number in range(10):
            worker.join(f"{number}")
            await trio.sleep(1)
        await trio.sleep(100)
        assert [BETWEEN, 2 * BETWEEN] == writes
        worker.join("last")
        await worker.kept.close()
        nursery.cancel_scope.cancel()

    assert [BETWEEN, 2 * BETWEEN, 110.0] == writes
    assert 11 == len(orjson.loads(disk.file().read_bytes())["instances"])


async def test_the_time_of_an_unchanged_file_is_renewed_while_its_instances_are_connected(
    disk: Disk, writes: list[float], autojump_clock: MockClock
) -> None:
    worker = disk.start()
    worker.join("one")
    began = disk.now
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.kept.run)
        await trio.sleep(BETWEEN + 1)
        disk.now = began + CONFIRM - 1
        os.utime(disk.file(), (began, began))
        await trio.sleep(BETWEEN)
        assert began == disk.file().stat().st_mtime
        for later in (CONFIRM, -5_000.0):
            # The clock may be set back, too.
            disk.now = began + later
            await trio.sleep(BETWEEN)
            assert disk.now == disk.file().stat().st_mtime
        nursery.cancel_scope.cancel()

    assert 1 == len(writes)


async def test_no_file_is_renewed_that_this_process_has_not_written(
    disk: Disk, writes: list[float], autojump_clock: MockClock
) -> None:
    await written(disk, "one")
    disk.path.chmod(0o750)
    began = disk.now
    worker = disk.start()
    async with trio.open_nursery() as nursery:
        with capture_logs():
            nursery.start_soon(worker.kept.run)
            await trio.sleep(BETWEEN + 1)
            disk.now += 2 * CONFIRM
            await trio.sleep(BETWEEN)
        nursery.cancel_scope.cancel()

    assert (1, began) == (len(writes), disk.file().stat().st_mtime)


async def test_a_write_that_failed_is_tried_again_later(
    disk: Disk, writes: list[float], autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    worker = disk.start()
    async with trio.open_nursery() as nursery:
        with capture_logs():
            nursery.start_soon(worker.kept.run)
            worker.join("one")
            await trio.sleep(BETWEEN + 1)
            monkeypatch.setattr(os, "fsync", sync)
            await trio.sleep(RETRY)
        nursery.cancel_scope.cancel()

    assert [BETWEEN, BETWEEN + RETRY] == writes
    assert disk.file().exists()


@pytest.mark.parametrize(("took", "pause"), [(0.1, BETWEEN), (1.0, 20.0), (10.0, 60.0)])
async def test_a_slow_write_makes_the_next_one_wait(
    disk: Disk, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, took: float, pause: float
) -> None:
    worker = disk.start()
    began: list[float] = []

    async def step() -> None:
        began.append(trio.current_time())
        await trio.sleep(took)

    monkeypatch.setattr(worker.kept, "_step", step)
    with trio.move_on_after(took + pause + 0.5):
        await worker.kept.run()

    assert [0.0, took + pause] == began


async def test_a_disk_that_hangs_holds_up_neither_the_start_nor_the_end(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    free, has_begun = threading.Event(), threading.Event()

    def hanging(_: object) -> None:
        has_begun.set()
        free.wait(20)

    await written(disk, "one")
    monkeypatch.setattr(private_files, "check_private", hanging)
    autojump_clock.autojump_threshold = float("inf")
    worker = disk.start()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.kept.run)
            await wait_all_tasks_blocked()
            assert has_begun.wait(20)
            autojump_clock.autojump_threshold = 0
            await worker.kept.wait_looked(1.0)
            assert 1.0 == trio.current_time()
            nursery.cancel_scope.cancel()
            # It isn't cancelled, but it ends.
            await worker.kept.close()
    finally:
        free.set()

    assert 1.0 + LAST == trio.current_time()

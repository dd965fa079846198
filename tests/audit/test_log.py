"""The audit log of a process: events, entries in memory, and a disk that fails or hangs."""

import errno
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from trio.testing import MockClock

from vortexd.audit import Actor, Audit, Entry, Outcome
from vortexd.audit import log as module
from vortexd.audit.file import AuditFile

from ..fakes import wait_until

ANN = Actor("ann", "token", "192.0.2.1")


class FakeFile(AuditFile):
    """Keeps entries in memory, and fails or hangs as a test wants it."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))
        self.entries: list[Entry] = []
        self.error: OSError | None = None
        self.gate: threading.Event | None = None
        self.appended = 0

    def append(self, entries: Sequence[Entry]) -> None:
        self.appended += 1
        self._wait()
        self.entries += entries

    def read(self) -> list[Entry]:
        self._wait()
        return list(self.entries)

    def _wait(self) -> None:
        if self.gate is not None:
            self.gate.wait(20)
        if self.error is not None:
            raise self.error


def audit(file: AuditFile | None, worker: int = 0) -> Audit:
    numbers = iter(range(10_000))
    return Audit(None, lambda: 1_767_225_600.0, worker, lambda: f"id-{next(numbers)}", file)


def ids(entries: Sequence[Entry]) -> list[str]:
    return [each.id for each in entries]


async def test_an_act_is_an_entry_and_a_log_event() -> None:
    log = audit(file := FakeFile(), 1)
    with capture_logs() as logs:
        entry = await log.record("pin", ANN, "shop:prod", Outcome.REFUSED, "not now", to="c1")

    expected = Entry(
        "id-0", "2026-01-01T00:00:00.000Z", ANN, "pin", "shop:prod", Outcome.REFUSED, "not now", {"to": "c1"}, 1
    )
    assert [expected] == file.entries == [entry]
    assert [
        {
            "event": "audit",
            "log_level": "info",
            "id": "id-0",
            "act": "pin",
            "who": "ann",
            "kind": "token",
            "peer": "192.0.2.1",
            "target": "shop:prod",
            "outcome": "refused",
            "reason": "not now",
            "details": {"to": "c1"},
        }
    ] == logs
    assert (True, ()) == (log.is_stored, log.unwritten)
    assert ([expected], True) == await log.entries()


async def test_what_a_client_sends_can_not_fill_the_log() -> None:
    log = audit(file := FakeFile())
    with capture_logs() as logs:
        await log.record("pin", Actor("a\n" + "x" * 10_000), "y" * 10_000)

    assert len(file.entries[0].line) < 2_000
    assert file.entries[0].actor.name == logs[0]["who"]


async def test_each_entry_has_an_id_of_its_own(tmp_path: Path) -> None:
    log = Audit(tmp_path / "audit", lambda: 0.0)
    for _ in range(2):
        await log.record("pin", ANN)

    found, _ = await Audit(tmp_path / "audit", lambda: 0.0).entries()
    assert 2 == len({each.id for each in found})


async def test_other_limits_reach_the_file(tmp_path: Path) -> None:
    log = Audit(tmp_path / "audit", lambda: 0.0)
    log.limit(1_000_000, 2)
    for _ in range(5):
        await log.record("pin", ANN)
    assert 1 == len((await log.entries())[0])
    log.limit(1, 100)
    await log.record("pin", ANN)
    assert 1 == len((await log.entries())[0])
    log.limit(1_000_000, 100)
    await log.record("pin", ANN)
    assert 2 == len((await log.entries())[0])


async def test_without_a_state_directory_other_limits_change_nothing() -> None:
    log = audit(None)
    log.limit(1, 1)
    for _ in range(3):
        await log.record("pin", ANN)

    assert 3 == len((await log.entries())[0])


async def test_without_a_state_directory_entries_are_in_memory_within_a_limit() -> None:
    log = audit(None)
    for _ in range(module.MOST_UNWRITTEN + 1):
        await log.record("pin", ANN)

    assert not log.is_stored
    assert [f"id-{number + 1}" for number in range(module.MOST_UNWRITTEN)] == ids((await log.entries())[0])


async def test_an_entry_that_can_not_be_written_is_kept_and_written_with_the_next_and_warned_of_once() -> None:
    log = audit(file := FakeFile())
    file.error = OSError(errno.ENOSPC, "No space left on device")
    with capture_logs() as logs:
        for _ in range(2):
            await log.record("pin", ANN)
    warned = [each for each in logs if each["event"] != "audit"]
    assert [("audit entry not written", "warning", "no space left on device")] == [
        (each["event"], each["log_level"], each["reason"]) for each in warned
    ]
    assert "lost if vortexd ends" in warned[0]["consequence"]
    assert ["id-0", "id-1"] == ids(log.unwritten)
    file.error = None
    await log.record("pin", ANN)
    assert (["id-0", "id-1", "id-2"], ()) == (ids(file.entries), log.unwritten)
    file.error = OSError(0, "another one")
    with capture_logs() as logs:
        await log.record("pin", ANN)

    assert ["another one"] == [each["reason"] for each in logs if each["event"] != "audit"]


async def test_entries_that_can_not_be_read_are_warned_of_and_those_in_memory_are_shown() -> None:
    log = audit(file := FakeFile())
    file.error = OSError(errno.EACCES, "Permission denied")
    await log.record("pin", ANN)
    with capture_logs() as logs:
        found = [(ids(entries), is_complete) for entries, is_complete in [await log.entries(), await log.entries()]]

    assert [(["id-0"], False)] * 2 == found
    assert [("audit log unreadable", "permission denied")] == [(each["event"], each["reason"]) for each in logs]


async def test_readers_at_the_same_time_share_a_read_but_none_that_began_before_they_came() -> None:
    class Counting(FakeFile):
        def __init__(self) -> None:
            super().__init__()
            self.begun = threading.Event()
            self.reads = 0

        def read(self) -> list[Entry]:
            self.reads += 1
            found = list(self.entries)
            self.begun.set()
            self._wait()
            return found

    log = audit(file := Counting())
    await log.record("pin", ANN)
    file.gate = threading.Event()
    found: list[list[str]] = []

    async def ask() -> None:
        entries, is_complete = await log.entries()
        assert is_complete
        found.append(ids(entries))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.to_thread.run_sync(file.begun.wait)
        # Another worker writes.
        file.entries.append(Entry("other", "", ANN, "pin"))
        for _ in range(10):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        file.gate.set()

    assert [["id-0"]] + [["id-0", "other"]] * 10 == found
    assert 2 == file.reads


async def test_a_disk_that_hangs_holds_no_act_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    log = audit(file := FakeFile())
    file.gate = threading.Event()
    with capture_logs() as logs:
        await log.record("pin", ANN)
        await log.record("pin", ANN)
        assert ["id-0", "id-1"] == ids((await log.entries())[0])
    assert [
        ("audit entry not written", "the disk didn't answer within 0.05 s"),
        ("audit log unreadable", "the disk didn't answer within 0.05 s"),
    ] == [(each["event"], each["reason"]) for each in logs if each["event"] != "audit"]
    assert 1 == file.appended, "only one thread waits for the disk"
    file.gate.set()
    monkeypatch.setattr(module, "PATIENCE", 20)
    await log.record("pin", ANN)

    assert ["id-0", "id-1", "id-2"] == ids(file.entries), "each entry is written once, although the first was late"
    assert () == log.unwritten


async def test_who_is_cancelled_leaves_an_entry() -> None:
    log = audit(file := FakeFile())
    with trio.CancelScope() as scope:
        scope.cancel()
        await log.record("pin", ANN)
    await log.record("pin", ANN)

    assert ["id-0", "id-1"] == ids(file.entries)


# Acts that don't wait for the disk.


async def test_a_noted_act_is_logged_and_shown_at_once_and_written_by_a_task(nursery: trio.Nursery) -> None:
    log = audit(file := FakeFile())
    with capture_logs() as logs:
        entry = log.note("judge", ANN, "main", Outcome.REFUSED, "why", state="c1")
        log.note("judge", ANN, "dev")
    assert ["audit", "audit"] == [each["event"] for each in logs]
    assert ("judge", "main", "refused", "why") == tuple(
        logs[0][name] for name in ("act", "target", "outcome", "reason")
    )
    assert ("id-0", "id-1") == tuple(each.id for each in log.unwritten)
    assert ({"state": "c1"}, entry) == (entry.details, log.unwritten[0])
    nursery.start_soon(log.run)
    await wait_until(lambda: not log.unwritten)
    assert (["id-0", "id-1"], 1) == (ids(file.entries), file.appended)
    log.note("judge", ANN, "x")
    await wait_until(lambda: not log.unwritten)

    assert ["id-0", "id-1", "id-2"] == ids(file.entries)


async def test_noted_acts_are_written_at_the_end() -> None:
    log = audit(file := FakeFile())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run)
        await trio.testing.wait_all_tasks_blocked()
        log.note("judge", ANN)
        nursery.cancel_scope.cancel()

    assert ["id-0"] == ids(file.entries)


async def test_a_disk_that_hangs_delays_the_end_for_a_limited_time(autojump_clock: MockClock) -> None:
    log = audit(file := FakeFile())
    file.gate = threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run)
        await trio.testing.wait_all_tasks_blocked()
        log.note("judge", ANN)
        nursery.cancel_scope.cancel()
    file.gate.set()

    assert module.PATIENCE == trio.current_time()


async def test_entries_beyond_the_limit_are_reported_once_and_their_events_are_logged() -> None:
    log = audit(FakeFile())
    with capture_logs() as logs:
        for _ in range(module.MOST_UNWRITTEN):
            log.note("judge", ANN)
        assert {"audit"} == {each["event"] for each in logs}
        for _ in range(2):
            log.note("judge", ANN)

    warnings = [each for each in logs if each["event"] != "audit"]
    assert [("audit entry not written", "more than 1000 entries wait for the disk")] == [
        (each["event"], each["reason"]) for each in warnings
    ]
    assert module.MOST_UNWRITTEN + 2 == len(logs) - len(warnings)
    assert module.MOST_UNWRITTEN == len(log.unwritten)


async def test_without_a_file_the_newest_entries_stay_in_memory() -> None:
    log = audit(None)
    with capture_logs() as logs:
        for _ in range(module.MOST_UNWRITTEN + 1):
            log.note("judge", ANN)

    assert {"audit"} == {each["event"] for each in logs}
    assert "id-1" == log.unwritten[0].id

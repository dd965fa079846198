"""The file of the audit log: appended by several processes, bounded, and set aside if it can't be used."""

import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from vortexd.audit import Actor, Entry
from vortexd.audit import file as module
from vortexd.audit.file import FILE, LOCK, AuditFile


def entry(number: int, reason: str = "") -> Entry:
    return Entry(str(number), "2026-01-01T00:00:00.000Z", Actor("ann"), "reload", reason=reason)


def ids(entries: Sequence[Entry]) -> list[str]:
    return [each.id for each in entries]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "audit"


def test_entries_are_read_in_the_order_in_which_they_were_appended(directory: Path) -> None:
    file = AuditFile(directory)
    assert [] == file.read()
    file.append([entry(1), entry(2)])
    file.append([entry(3)])

    assert [entry(1), entry(2), entry(3)] == AuditFile(directory).read()
    assert b'{"format":1}\n' + b"".join(entry(number).line for number in (1, 2, 3)) == (directory / FILE).read_bytes()


def test_only_the_own_user_reads_it(directory: Path) -> None:
    AuditFile(directory).append([entry(1)])

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (directory, directory / FILE, directory / LOCK)]
    assert [0o700, 0o600, 0o600] == modes


def test_entries_of_two_processes_are_in_one_file(directory: Path) -> None:
    one, other = AuditFile(directory), AuditFile(directory)
    for number in range(3):
        one.append([entry(2 * number)])
        other.append([entry(2 * number + 1)])

    assert [str(number) for number in range(6)] == ids(one.read())


def test_an_entry_is_on_the_disk_when_it_was_appended(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(fd).st_mode))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    file = AuditFile(directory)
    file.append([entry(1)])
    assert [False, True] == synced
    file.append([entry(2)])

    assert [False, True, False] == synced


# What a crash has left.


def test_an_entry_that_was_cut_off_is_skipped_and_the_next_one_is_whole(directory: Path) -> None:
    file = AuditFile(directory)
    file.append([entry(1), entry(2)])
    os.truncate(directory / FILE, (directory / FILE).stat().st_size - 7)
    assert ["1"] == ids(file.read())
    file.append([entry(3)])

    assert ["1", "3"] == ids(file.read())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it isn't an audit log"),
        (b"garbage\n", "it isn't an audit log"),
        (b"[]\n", "it isn't an audit log"),
        (b'{"format":"x"}\n', "it has format x, but this version only reads format 1"),
        (b'{"format":2}\n{"id":1}\n', "it has format 2, but this version only reads format 1"),
        (b'{"form":1}\n', "it isn't an audit log"),
    ],
)
def test_a_file_that_can_not_be_used_is_set_aside_with_one_warning(
    directory: Path, content: bytes, reason: str
) -> None:
    file = AuditFile(directory)
    file.append([entry(1)])
    (directory / FILE).write_bytes(content)
    with capture_logs() as logs:
        assert [] == file.read()
        file.append([entry(2)])
        file.append([entry(3)])

    assert [("audit log set aside", "warning", reason)] == [
        (each["event"], each["log_level"], each["reason"]) for each in logs
    ]
    assert content == (directory / (FILE + ".unknown")).read_bytes()
    assert ["2", "3"] == ids(file.read())


def test_a_file_that_is_far_too_large_is_not_ours(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_BYTES", 500)
    file = AuditFile(directory)
    file.append([entry(1)])
    content = (directory / FILE).read_bytes()
    (directory / FILE).write_bytes(content.ljust(1_000, b"\n"))
    assert ["1"] == ids(file.read())
    (directory / FILE).write_bytes(content.ljust(1_001, b"\n"))
    assert [] == file.read()
    with capture_logs() as logs:
        file.append([entry(2)])

    assert ["it is larger than 1000 bytes"] == [each["reason"] for each in logs]


# Limits.


def test_beyond_a_number_of_entries_the_oldest_quarter_is_left_out(directory: Path) -> None:
    file = AuditFile(directory, most_entries=8)
    for number in range(8):
        file.append([entry(number)])
    assert 8 == len(file.read())
    file.append([entry(8)])

    assert ["3", "4", "5", "6", "7", "8"] == ids(file.read())
    assert {FILE, LOCK} == {each.name for each in directory.iterdir()}


def test_beyond_a_number_of_bytes_the_oldest_are_left_out(directory: Path) -> None:
    size = len(entry(1).line)
    file = AuditFile(directory, max_bytes=4 * size + len(b'{"format":1}\n'))
    for number in range(4):
        file.append([entry(number)])
    assert 4 == len(file.read())
    file.append([entry(4)])

    assert ["2", "3", "4"] == ids(file.read())


def test_the_newest_entry_is_kept_however_large_it_is(directory: Path) -> None:
    file = AuditFile(directory, max_bytes=300)
    file.append([entry(1)])
    file.append([entry(2, "x" * 400)])

    assert ["2"] == ids(file.read())


def test_lines_that_are_no_entries_are_left_out_with_the_oldest(directory: Path) -> None:
    file = AuditFile(directory, most_entries=2)
    file.append([entry(1)])
    with (directory / FILE).open("ab") as opened:
        opened.write(b"garbage\n")
    file.append([entry(2)])

    assert b"garbage" not in (directory / FILE).read_bytes()
    assert ["2"] == ids(file.read())


def test_a_file_at_a_limit_is_not_shortened(directory: Path) -> None:
    size = len(entry(1).line)
    file = AuditFile(directory)
    file.limit(max_bytes=2 * size + len(b'{"format":1}\n'), most_entries=2)
    file.append([entry(1), entry(2)])

    assert ["1", "2"] == ids(file.read())


def test_other_limits_count_from_the_next_entry_on(directory: Path) -> None:
    file = AuditFile(directory)
    file.append([entry(number) for number in range(8)])
    file.limit(max_bytes=1_000_000, most_entries=8)
    assert 8 == len(file.read())
    file.append([entry(8)])
    assert ["3", "4", "5", "6", "7", "8"] == ids(file.read())
    file.limit(max_bytes=2 * len(entry(1).line), most_entries=8)
    file.append([entry(9)])
    assert ["9"] == ids(file.read())


# A file system that doesn't take it.


def test_a_full_disk_leaves_no_half_entry(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = AuditFile(directory)
    file.append([entry(1)])
    before = (directory / FILE).read_bytes()

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            file.append([entry(2)])
    assert before == (directory / FILE).read_bytes()
    file.append([entry(3)])

    assert ["1", "3"] == ids(file.read())


def test_a_full_disk_leaves_no_part_of_a_new_file(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        AuditFile(directory).append([entry(1)])

    assert {LOCK} == {each.name for each in directory.iterdir()}


def test_a_directory_of_others_is_refused(directory: Path) -> None:
    file = AuditFile(directory)
    file.append([entry(1)])
    directory.chmod(0o770)
    for use in (file.read, lambda: file.append([entry(2)])):
        with pytest.raises(OSError, match="mode 700"):
            use()


@pytest.mark.parametrize("name", [FILE, LOCK])
def test_a_link_is_not_followed(directory: Path, tmp_path: Path, name: str) -> None:
    file = AuditFile(directory)
    file.append([entry(1)])
    other = tmp_path / "other"
    other.write_bytes(b"{}")
    (directory / name).unlink()
    (directory / name).symlink_to(other)
    with pytest.raises(OSError):
        file.append([entry(2)])

    assert b"{}" == other.read_bytes()


def test_a_pipe_does_not_hang(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True)
    os.mkfifo(directory / FILE)
    with pytest.raises(OSError, match="regular"):
        AuditFile(directory).read()


def test_who_waits_for_another_process_waits_for_a_limited_time(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = AuditFile(directory)
    file.append([entry(1)])
    now = [0.0]
    monkeypatch.setattr("vortexd.state.private_files.time.monotonic", lambda: now[0])
    monkeypatch.setattr("vortexd.state.private_files.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    lock = os.open(directory / LOCK, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="another process has locked it"):
            file.append([entry(2)])
        assert 1.0 <= now[0] < 1.1
    finally:
        os.close(lock)
    file.append([entry(3)])

    assert ["1", "3"] == ids(file.read())


def test_a_second_file_that_is_set_aside_does_not_replace_the_first(directory: Path) -> None:
    file = AuditFile(directory)
    file.append([entry(1)])
    for content in (b"first", b"second"):
        (directory / FILE).write_bytes(content)
        with capture_logs() as logs:
            file.append([entry(2)])

    assert [str(directory / "audit.jsonl.unknown.1")] == [each["file"] for each in logs]
    names = ("audit.jsonl.unknown", "audit.jsonl.unknown.1")
    assert [b"first", b"second"] == [(directory / each).read_bytes() for each in names]

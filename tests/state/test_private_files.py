"""Files that only vortexd's user can read, and that are replaced in one step."""

import errno
import os
import time
from pathlib import Path

import pytest

from vortexd.state import private_files


def test_a_file_is_replaced_as_a_whole_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    for content in (b"1", b"22"):
        private_files.replace(file, content)
        private_files.sync(tmp_path)
        assert content == private_files.read(file, 2)

    assert (0o600, [file]) == (file.stat().st_mode & 0o777, list(tmp_path.iterdir()))


def test_a_failed_replacement_leaves_the_former_file_and_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.json"
    private_files.replace(file, b"1")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        private_files.replace(file, b"2")

    assert (b"1", [file]) == (file.read_bytes(), list(tmp_path.iterdir()))


def test_what_is_larger_or_no_regular_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"123")
    (tmp_path / "link").symlink_to(tmp_path / "large")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="larger than 2 bytes"):
        private_files.read(tmp_path / "large", 2)
    with pytest.raises(OSError, match="symbolic links"):
        private_files.read(tmp_path / "link", 9)
    with pytest.raises(OSError, match="not a regular file"):
        private_files.read(tmp_path / "pipe", 9)


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o722])
def test_a_directory_that_others_can_enter_is_refused(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "d"
    directory.mkdir(mode=0o700)
    private_files.check_private(directory)
    directory.chmod(mode)
    with pytest.raises(OSError, match="mode 700"):
        private_files.check_private(directory)


def test_a_file_in_place_of_a_directory_and_anothers_directory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file := tmp_path / "f").touch(mode=0o600)
    with pytest.raises(OSError, match="mode 700"):
        private_files.check_private(file)
    tmp_path.chmod(0o700)
    private_files.check_private(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    with pytest.raises(OSError, match="own user"):
        private_files.check_private(tmp_path)


def test_one_holder_at_a_time_has_a_lock(tmp_path: Path) -> None:
    first = private_files.locked(tmp_path / "lock")
    assert first is not None
    assert None is private_files.locked(tmp_path / "lock")
    os.close(first)
    second = private_files.locked(tmp_path / "lock")
    assert second is not None
    os.close(second)


def test_an_error_is_said_in_a_few_words() -> None:
    errors = OSError(errno.ENOSPC, "No space left on device"), OSError(5, None), OSError(0, "not a regular file")

    assert ["no space left on device", "i/o error", "not a regular file"] == [
        private_files.words(each).lower() for each in errors
    ]


def set_aside(directory: Path, *contents: str) -> None:
    """Set a file aside for each content. Each is renamed at another time, as the clock of the file system has it."""
    for content in contents:
        file = directory / "a.json"
        file.write_text(content)
        before = file.stat().st_ctime_ns
        for _ in range(1_000_000):
            file.chmod(0o600)
            if file.stat().st_ctime_ns > before:
                break
        private_files.set_aside(file)


def contents_of(directory: Path) -> dict[str, str]:
    return {each.name: each.read_text() for each in directory.iterdir()}


def test_a_file_is_set_aside_under_the_first_free_name(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("1")
    assert tmp_path / "a.json.unknown" == private_files.set_aside(file)
    set_aside(tmp_path, "2", "3", "4", "5")

    names = ["a.json.unknown", *(f"a.json.unknown.{number}" for number in range(1, 5))]
    assert dict(zip(names, "12345", strict=True)) == contents_of(tmp_path)
    (tmp_path / "a.json.unknown.2").unlink()
    file.write_text("6")
    assert tmp_path / "a.json.unknown.2" == private_files.set_aside(file)


def test_the_sixth_file_replaces_the_one_that_was_set_aside_first(tmp_path: Path) -> None:
    set_aside(tmp_path, *"1234567")
    assert ["6", "7", "3", "4", "5"] == [content for _, content in sorted(contents_of(tmp_path).items())]


def test_the_time_of_the_rename_counts_and_the_time_of_the_content_stays(tmp_path: Path) -> None:
    set_aside(tmp_path, *"12345")
    os.utime(tmp_path / "a.json.unknown.3", (1, 1))
    (tmp_path / "a.json").write_text("6")
    os.utime(tmp_path / "a.json", (7, 7))
    set_aside_as = private_files.set_aside(tmp_path / "a.json")
    assert (tmp_path / "a.json.unknown", 7) == (set_aside_as, set_aside_as.stat().st_mtime)


def test_a_link_to_nowhere_takes_a_name_too(tmp_path: Path) -> None:
    (tmp_path / "a.json.unknown").symlink_to(tmp_path / "nowhere")
    (tmp_path / "a.json").write_text("1")
    assert tmp_path / "a.json.unknown.1" == private_files.set_aside(tmp_path / "a.json")


def test_a_file_that_is_not_there_can_not_be_set_aside(tmp_path: Path) -> None:
    set_aside(tmp_path, *"12345")
    with pytest.raises(FileNotFoundError):
        private_files.set_aside(tmp_path / "a.json")
    assert 5 == len(contents_of(tmp_path))


def test_a_lock_is_waited_for_a_limited_time_and_given_back(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with private_files.waiting_lock(file, 1.0):
        began = time.monotonic()
        with pytest.raises(OSError, match="another process has locked it"), private_files.waiting_lock(file, 0.05):
            raise AssertionError("two have the lock")
        assert time.monotonic() - began >= 0.05
    with private_files.waiting_lock(file, 0.0):
        pass

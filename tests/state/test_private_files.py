"""Files that only vortexd's user can read, and that are replaced in one step."""

import errno
import os
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

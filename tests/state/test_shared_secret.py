import os
from pathlib import Path

import pytest

from vortexd.state.shared_secret import SECRET_BYTES, shared_secret


def test_a_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "events" / "secret"
    made = shared_secret(file)

    assert (SECRET_BYTES, made) == (len(made), shared_secret(file))
    assert (0o600, 0o700) == (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777)
    assert [file] == list(file.parent.iterdir())
    assert made != shared_secret(tmp_path / "other" / "secret")


def test_the_first_of_several_processes_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    tmp_path.chmod(0o700)
    link = os.link

    def second(part: Path, target: Path) -> None:
        file.write_bytes(b"1" * SECRET_BYTES)
        link(part, target)

    monkeypatch.setattr(os, "link", second)
    assert b"1" * SECRET_BYTES == shared_secret(file)
    assert [file] == list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, SECRET_BYTES - 1, SECRET_BYTES + 1])
def test_a_file_of_another_size_is_refused_and_stays(tmp_path: Path, size: int) -> None:
    file = tmp_path / "secret"
    tmp_path.chmod(0o700)
    file.write_bytes(b"x" * size)
    with pytest.raises(OSError):
        shared_secret(file)
    assert b"x" * size == file.read_bytes()


def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    with pytest.raises(OSError):
        shared_secret(tmp_path / "secret")

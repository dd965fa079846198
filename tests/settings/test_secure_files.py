"""Files with secrets: their contents, and the files that are refused whatever they contain. auth/test_files.py has the cases of tokens."""

import os
from pathlib import Path

import pytest

from vortexd.core.errors import SettingsError
from vortexd.settings.secure_files import MAX_BYTES, OTHERS_READ_OR_WRITE, OTHERS_WRITE, TrustedFiles, as_text


def file(path: Path, data: bytes = b"x", mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_a_file_is_handed_on_with_its_name(tmp_path: Path) -> None:
    path = file(tmp_path / "a")

    assert (b"x", str(path)) == TrustedFiles(tmp_path, {}).load(path, OTHERS_READ_OR_WRITE, lambda *both: both)


def test_a_path_starts_at_the_base_or_where_systemd_keeps_credentials(tmp_path: Path) -> None:
    files = TrustedFiles(tmp_path, {"CREDENTIALS_DIRECTORY": "/run/credentials"})

    assert tmp_path / "a" == files.expanded("a")
    assert Path("/run/credentials/a") == files.expanded("$CREDENTIALS_DIRECTORY/a")
    assert TrustedFiles(tmp_path, {}).expanded("$CREDENTIALS_DIRECTORY/a") is None


@pytest.mark.parametrize(
    ("mode", "forbidden", "is_refused"),
    [(0o644, OTHERS_READ_OR_WRITE, True), (0o644, OTHERS_WRITE, False), (0o664, OTHERS_WRITE, True)],
)
def test_T06_who_else_may_read_or_write_decides(tmp_path: Path, mode: int, forbidden: int, is_refused: bool) -> None:
    files = TrustedFiles(tmp_path, {})
    found = files.load(file(tmp_path / "a", mode=mode), forbidden, lambda data, _: data)

    assert (None if is_refused else b"x") == found
    assert is_refused == bool(files.problems)


def test_T06_links_pipes_and_what_is_too_long_are_refused(tmp_path: Path) -> None:
    files = TrustedFiles(tmp_path, {})
    (tmp_path / "link").symlink_to(file(tmp_path / "a"))
    os.mkfifo(tmp_path / "pipe", 0o600)
    file(tmp_path / "long", b"x" * (MAX_BYTES + 1))
    for name in ("link", "pipe", "long", "missing"):
        assert files.load(tmp_path / name, OTHERS_READ_OR_WRITE, lambda data, _: data) is None

    assert [str(tmp_path / name) for name in ("link", "pipe", "long", "missing")] == [
        path for path, _ in files.problems
    ]


def test_what_is_no_text_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="a: isn't UTF-8"):
        as_text(b"\xff", "a")

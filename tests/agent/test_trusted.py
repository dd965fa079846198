"""Files that control the agent: only those that no other user can have written, or read, are used."""

from pathlib import Path

import pytest

from vortexd.agent.trusted import read_trusted
from vortexd.core.errors import SettingsError
from vortexd.settings.secure_files import OTHERS_READ_OR_WRITE, OTHERS_WRITE


def file(directory: Path, mode: int, content: bytes = b"text\n") -> str:
    path = directory / "file"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def refusal(path: str, forbidden: int = OTHERS_WRITE) -> str:
    """The text of the error, which is a problem of the whole file."""
    with pytest.raises(SettingsError) as caught:
        read_trusted(path, forbidden)
    ((key, problem),) = caught.value.problems
    assert ("", "file") == (key, caught.value.origin)
    return problem


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    assert "größe\n\n" == read_trusted(file(tmp_path, 0o600, "größe\n\n".encode()), OTHERS_READ_OR_WRITE)


def test_an_empty_file_is_an_empty_text(tmp_path: Path) -> None:
    assert "" == read_trusted(file(tmp_path, 0o600, b""), OTHERS_WRITE)


@pytest.mark.parametrize(
    ("mode", "forbidden"),
    [(0o600, OTHERS_READ_OR_WRITE), (0o700, OTHERS_READ_OR_WRITE), (0o644, OTHERS_WRITE), (0o755, OTHERS_WRITE)],
)
def test_a_file_without_the_forbidden_bits_is_used(tmp_path: Path, mode: int, forbidden: int) -> None:
    assert "text\n" == read_trusted(file(tmp_path, mode), forbidden)


@pytest.mark.parametrize(
    ("mode", "forbidden", "remedy"),
    [
        (0o640, OTHERS_READ_OR_WRITE, "600"),
        (0o604, OTHERS_READ_OR_WRITE, "600"),
        (0o620, OTHERS_WRITE, "644"),
        (0o602, OTHERS_WRITE, "644"),
    ],
)
def test_a_file_with_one_forbidden_bit_is_refused_with_the_remedy(
    tmp_path: Path, mode: int, forbidden: int, remedy: str
) -> None:
    path = file(tmp_path, mode)

    assert f"{path}: is open to other users; run chmod {remedy} on it" == refusal(path, forbidden)


def test_a_file_that_is_missing_is_refused_by_its_path(tmp_path: Path) -> None:
    assert f"{tmp_path}/none: can't be read: No such file or directory" == refusal(f"{tmp_path}/none")


def test_a_file_that_is_not_utf_8_is_refused_without_its_content(tmp_path: Path) -> None:
    path = file(tmp_path, 0o600, b"hunter2\xff")

    assert f"{path}: isn't UTF-8" == refusal(path)


def test_a_relative_path_begins_at_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(tmp_path, 0o600)
    monkeypatch.chdir(tmp_path)

    assert "text\n" == read_trusted(path[1:], OTHERS_WRITE)
    assert "/file: can't be read: No such file or directory" == refusal("file")


def test_a_credential_of_systemd_may_be_readable_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file(tmp_path, 0o444)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    assert "text\n" == read_trusted("$CREDENTIALS_DIRECTORY/file", OTHERS_READ_OR_WRITE)


def test_a_credential_without_systemd_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    assert (
        "$CREDENTIALS_DIRECTORY/file: $CREDENTIALS_DIRECTORY isn't set; start with systemd's LoadCredential=, "
        "or name another path"
    ) == refusal("$CREDENTIALS_DIRECTORY/file")

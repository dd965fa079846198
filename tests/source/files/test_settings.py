"""The settings of a directory: valid combinations of keys, and whether the directory can be read."""

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest

from vortexd.source.files.settings import FilesSettings


def conflicts(**table: Any) -> list[tuple[str, str]]:
    return [*FilesSettings.conflicts(table)]


def test_a_directory_must_be_named() -> None:
    assert [("path", "is missing; name the directory to serve")] == conflicts()
    assert [] == conflicts(path="a")


@pytest.mark.parametrize(
    ("table", "is_refused"),
    [
        ({"quiet": 2, "max_wait": 1}, True),
        ({"quiet": 1, "max_wait": 1}, False),
        ({"quiet": 0.5, "max_wait": 1}, False),
        # Against the default of the other: 1 and 0.1.
        ({"quiet": 1.5}, True),
        ({"quiet": 1.0}, False),
        ({"max_wait": 0.05}, True),
        ({"max_wait": 0.1}, False),
        # Another rule refuses these.
        ({"quiet": "2", "max_wait": 1}, False),
        ({"quiet": 2, "max_wait": "1"}, False),
        ({"quiet": True, "max_wait": 0}, False),
    ],
)
def test_changes_do_not_wait_longer_than_the_longest_wait(table: dict[str, Any], is_refused: bool) -> None:
    expected = [("max_wait", "must not be less than quiet")] if is_refused else []

    assert expected == conflicts(path="a", **table)


def unreadable(path: str) -> list[tuple[str, str]]:
    return [*FilesSettings(path=path).unreadable()]


def test_a_directory_that_can_not_be_listed_is_named_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none, file = tmp_path / "none", tmp_path / "file"
    file.write_text("")

    assert [] == unreadable(str(tmp_path))
    assert [] == unreadable("")
    assert [("path", f"there is no directory {none}; make it, or name another")] == unreadable(str(none))
    assert [("path", f"{file} is not a directory; name the directory that the files are in")] == unreadable(str(file))
    said = "the directory a\0b can't be read: not a path; vortexd must be able to list it"
    assert [("path", said)] == unreadable("a\0b")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(PermissionError(errno.EACCES, "Permission denied"), "permission denied"), (OSError(), "i/o error")],
)
def test_an_error_of_the_file_system_is_named(error: OSError, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(path: str) -> NoReturn:
        raise error

    monkeypatch.setattr(os, "scandir", scandir)
    said = f"the directory /srv can't be read: {reason}; vortexd must be able to list it"

    assert [("path", said)] == unreadable("/srv")


def test_the_path_of_a_directory_is_served_and_starts_at_the_settings() -> None:
    assert (("path",), (), "path") == (
        FilesSettings.path_keys,
        FilesSettings.private_keys,
        FilesSettings.location_key,
    )
    assert not FilesSettings.keeps_mirrors
    assert [] == [*FilesSettings(path="a").unusable_files({})]
    assert FilesSettings(path="b", files=3) == FilesSettings(path="a", files=3).at("b")

"""`--source` as the address of a repository."""

from pathlib import Path

import pytest

from vortexd.source.git.command_line import address_of, is_address, is_bare_repository


@pytest.mark.parametrize(
    "text", ["https://a.example/b.git", "file:///srv/a.git", "ssh://git@a/b", "git@a.example:b.git", "host:b"]
)
def test_an_address_is_no_path(text: str) -> None:
    assert is_address(text)


@pytest.mark.parametrize("text", ["config", "/srv/config", "./a:b", "a/b:c", ":b", "a:", "a::b", "", "."])
def test_a_path_is_no_address(text: str) -> None:
    assert not is_address(text)


def bare(path: Path) -> Path:
    for name in ("objects", "refs"):
        (path / name).mkdir(parents=True)
    (path / "HEAD").write_text("ref: refs/heads/main\n")
    return path


def test_an_address_stays_as_it_is_written() -> None:
    assert "https://a.example/b.git" == address_of("https://a.example/b.git")


def test_a_bare_repository_has_the_address_of_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare(tmp_path / "a b%.git")
    monkeypatch.chdir(tmp_path)

    assert f"file://{tmp_path}/a%20b%25.git" == address_of("a b%.git")


def test_a_file_that_is_there_is_a_path_although_its_name_is_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "host:there").symlink_to("nowhere")
    bare(tmp_path / "host:repository")

    assert address_of("host:there") is None
    assert f"file://{tmp_path}/host%3Arepository" == address_of("host:repository")


@pytest.mark.parametrize("missing", ["HEAD", "objects", "refs"])
def test_a_directory_with_half_of_a_repository_has_no_address(tmp_path: Path, missing: str) -> None:
    path = bare(tmp_path / "a")
    (path / missing).rename(tmp_path / "elsewhere")

    assert not is_bare_repository(str(path))
    assert address_of(str(path)) is None

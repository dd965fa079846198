"""A directory, a working tree or a ref, read as the server's sources read it."""

import os
import shutil
from pathlib import Path

import pytest

from tests.repository import Repository
from vortexd.core.errors import SourceError
from vortexd.core.model import Files
from vortexd.ctl.errors import CtlError
from vortexd.ctl.trees import Read, read_directory, read_ref, read_working_tree, repository_at
from vortexd.source.files.settings import FilesSettings
from vortexd.source.git.settings import GitSettings


def written(path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def only(read: Read) -> Files:
    """Return the files of the only label."""
    [files] = read.tree.labels.values()
    return files


# Finding a repository.


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A directory that looks like a bare repository."""
    (tmp_path / "bare/objects").mkdir(parents=True)
    (tmp_path / "bare/refs").mkdir()
    (tmp_path / "bare/HEAD").write_text("ref: refs/heads/main\n")
    return tmp_path / "bare"


def test_a_bare_repository_is_found_by_its_path(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(bare) == repository_at(str(bare))
    monkeypatch.chdir(bare.parent)
    assert str(bare) == repository_at("bare")


def test_a_working_tree_has_its_repository_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)

    assert str(tmp_path / ".git") == repository_at(".")


@pytest.mark.parametrize("target", ["../main/.git/worktrees/x", "{}/main/.git/worktrees/x"])
def test_a_linked_working_tree_names_its_repository_in_a_file(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "linked", {".git": f"gitdir: {target.format(tmp_path)}\n"})
    monkeypatch.chdir(tmp_path)

    assert str(tmp_path / "main/.git/worktrees/x") == repository_at("linked")


def test_another_directory_has_no_repository(tmp_path: Path) -> None:
    assert None is repository_at(str(tmp_path))
    assert None is repository_at(str(tmp_path / "missing"))
    assert None is repository_at("a\0b")
    (tmp_path / ".git").write_bytes(b"\xff\xfe")
    assert None is repository_at(str(tmp_path))


# Directories.


def test_a_directory_is_read_with_its_path_as_the_prefix(tmp_path: Path) -> None:
    source = written(tmp_path, {"shop.yml": "a: 1\n", "x/b.json": "{}", ".hidden/c.yml": "", "README.md": ""})
    read = read_directory(str(source), FilesSettings())

    assert (str(source), {}) == (read.where, read.skipped)
    assert {"shop.yml": b"a: 1\n", "x/b.json": b"{}"} == {
        path: content for path, content in only(read).contents.items() if path != "README.md"
    }
    assert (["main"], "main") == (list(read.tree.labels), read.tree.default_label)


def test_a_directory_that_can_not_be_a_label_is_skipped_with_the_reason(tmp_path: Path) -> None:
    source = written(tmp_path, {"one/shop.yml": "a: 1\n", "not a label/x.yml": ""})
    read = read_directory(str(source), FilesSettings(label_directories=True))

    assert (["one"], {"not a label": "its name can't be a label"}) == (list(read.tree.labels), read.skipped)


@pytest.mark.parametrize(("files", "is_error"), [(2, False), (1, True)])
def test_a_directory_beyond_the_limits_is_an_error(tmp_path: Path, files: int, is_error: bool) -> None:
    written(tmp_path, {"a.yml": "", "b.yml": ""})
    if is_error:
        with pytest.raises(SourceError, match="holds more than 1 files; raise source.files to allow this"):
            read_directory(str(tmp_path), FilesSettings(files=files))
    else:
        assert 2 == len(only(read_directory(str(tmp_path), FilesSettings(files=files))).contents)


# Working trees.


def test_a_working_tree_is_read_for_its_label_and_search_paths(tmp_path: Path) -> None:
    source = written(tmp_path, {"shop.yml": "a: 1\n", "prod/shop.yml": "a: 2\n", ".git/config": ""})
    read = read_working_tree(str(source), GitSettings(search_paths=("{label}", "shared")), "prod")

    files = only(read)
    assert (["prod"], "prod", str(source)) == (list(read.tree.labels), read.tree.default_label, read.where)
    assert {"shop.yml": b"a: 1\n", "prod/shop.yml": b"a: 2\n"} == files.contents
    assert ("", "prod/", "shared/") == files.locations
    assert None is files.revision


@pytest.mark.parametrize(
    ("limit", "text"),
    [({"files": 1}, "more than 1 files"), ({"total_bytes": 3}, "source.total_bytes")],
)
def test_a_working_tree_beyond_the_limits_is_an_error(tmp_path: Path, limit: dict[str, int], text: str) -> None:
    written(tmp_path, {"a.yml": "ab", "b.yml": "cd"})
    read_working_tree(str(tmp_path), GitSettings(**{name: number + 1 for name, number in limit.items()}), "main")  # type: ignore[arg-type]  # only numbers

    with pytest.raises(SourceError, match=text):
        read_working_tree(str(tmp_path), GitSettings(**limit), "main")  # type: ignore[arg-type]  # only numbers


def test_a_file_that_is_too_large_is_unreadable_and_so_is_a_link_to_it(tmp_path: Path) -> None:
    written(tmp_path, {"a.yml": "abc", "b.yml": "ab"})
    (tmp_path / "link.yml").symlink_to("a.yml")
    files = only(read_working_tree(str(tmp_path), GitSettings(file_bytes=2), "main"))

    assert {"b.yml": b"ab"} == files.contents
    assert ["a.yml", "link.yml"] == sorted(files.unreadable)
    assert files.unreadable["a.yml"] == files.unreadable["link.yml"]


def test_links_are_followed_as_a_commit_has_them(tmp_path: Path) -> None:
    tree = written(tmp_path / "tree", {"prod/shop.yml": "a: 1\n", ".secret/x.yml": "a: 1\n"})
    written(tmp_path, {"outside.yml": "a: 1\n"})
    for name, target in {
        "prod/good.yml": "shop.yml",
        "twice.yml": "prod/good.yml",
        "shared": "prod",
        "through.yml": "shared/shop.yml",
        "absolute.yml": str(tree / "prod/shop.yml"),
        "up.yml": "../outside.yml",
        "lost.yml": "nowhere.yml",
        ".hidden.yml": "nowhere.yml",
        ".secret/y.yml": "nowhere.yml",
    }.items():
        (tree / name).symlink_to(target)
    read = read_working_tree(str(tree), GitSettings(), "main")

    assert ["prod/good.yml", "prod/shop.yml", "through.yml", "twice.yml"] == sorted(only(read).contents)
    assert {b"a: 1\n"} == set(only(read).contents.values())
    assert {
        "absolute.yml": "it leads out of the repository",
        "up.yml": "it leads out of the repository",
        "shared": "it leads to a directory",
    } == {link: why for link, why in read.skipped.items() if link != "lost.yml"}
    assert "lost.yml" in read.skipped
    assert {} == only(read).unreadable


# Refs.


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Repository, str, str]:
    """A repository with two commits, the first of them tagged."""
    repository = Repository(tmp_path_factory.mktemp("trees") / "repository")
    files = {"shop.yml": "a: 1\n", "link.yml": "shop.yml", "out.yml": "/etc/passwd"}
    first = repository.commit(files, modes={"link.yml": "120000", "out.yml": "120000"})
    repository.git("tag", "v1", first)
    second = repository.commit({"shop.yml": "a: 2\n", "out.yml": None}, author="Bob <bob@example.org>")
    return repository, first, second


def test_a_ref_is_read_from_the_repository(history: tuple[Repository, str, str]) -> None:
    repository, first, second = history
    for ref, commit, text in (("v1", first, b"a: 1\n"), ("main~1", first, b"a: 1\n"), (second, second, b"a: 2\n")):
        read = read_ref(str(repository.path), GitSettings(search_paths=("{label}",)), "prod", ref)
        files = only(read)
        assert (commit, {"shop.yml": text, "link.yml": text}) == (files.revision, files.contents)
        assert (["prod"], "prod", "") == (list(read.tree.labels), read.tree.default_label, read.where)
        assert ("", "prod/") == files.locations
        assert files.origin is not None
        assert ("Bob" if commit == second else "Ada Lovelace") == files.origin.author
        skipped = {"out.yml": "it leads out of the repository"}
        assert ({} if commit == second else skipped) == read.skipped


@pytest.mark.parametrize("ref", ["nothing", "--output=x", "v1:shop.yml", ""])
def test_a_ref_that_does_not_exist_is_an_error_of_the_command_line(
    ref: str, history: tuple[Repository, str, str]
) -> None:
    path = str(history[0].path)
    with pytest.raises(CtlError) as caught:
        read_ref(path, GitSettings(), "main", ref)

    text = f"{ref} isn't a branch, tag or commit of {path}; fetch it first"
    assert (2, text) == (caught.value.status, str(caught.value))


def test_a_directory_that_git_does_not_read_is_an_error_with_its_reason(bare: Path) -> None:
    shutil.rmtree(bare / "objects")
    with pytest.raises(
        CtlError, match=f"^main isn't a branch, tag or commit of {bare}: git rev-parse failed: "
    ) as caught:
        read_ref(str(bare), GitSettings(), "main", "main")

    assert 2 == caught.value.status


def test_a_commit_without_its_objects_is_an_error(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    commit = repository.commit({"shop.yml": "a: 1\n"})
    tree = repository.git("rev-parse", f"{commit}^{{tree}}").strip()
    pack = next((repository.path / "objects/pack").glob("*.pack"), None)
    if pack is not None:
        content = pack.read_bytes()
        for each in (repository.path / "objects/pack").iterdir():
            each.unlink()
        repository.git("unpack-objects", "-q", input=content)
    (repository.path / "objects" / tree[:2] / tree[2:]).unlink()

    with pytest.raises(CtlError, match=f"^{repository.path} can't be read: ") as caught:
        read_ref(str(repository.path), GitSettings(), "main", "main")
    assert 2 == caught.value.status


@pytest.mark.parametrize("is_relative", [True, False])
def test_a_commit_of_a_push_is_found_in_its_quarantine(
    is_relative: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit({"shop.yml": "a: 1\n"})
    other = Repository(tmp_path / "other")
    pushed = other.commit({"shop.yml": "a: 2\n"})
    with pytest.raises(CtlError, match="isn't a branch, tag or commit of"):
        read_ref(str(repository.path), GitSettings(), "main", pushed)

    # A hook runs in the repository, and may find a relative path in the variable.
    monkeypatch.chdir(other.path)
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", "objects" if is_relative else str(other.path / "objects"))
    monkeypatch.setenv("GIT_ALTERNATE_OBJECT_DIRECTORIES", str(repository.path / "objects"))
    read = read_ref(str(repository.path), GitSettings(), "main", pushed)

    assert {"shop.yml": b"a: 2\n"} == only(read).contents


def test_reading_changes_nothing(history: tuple[Repository, str, str]) -> None:
    repository = history[0]

    def state() -> dict[str, float]:
        return {
            os.path.join(place, name): os.stat(os.path.join(place, name)).st_mtime
            for place, _, names in os.walk(repository.path)
            for name in names
        }

    before = state()
    read_ref(str(repository.path), GitSettings(), "main", "main")
    assert before == state()

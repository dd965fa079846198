"""One reading of a directory: the files that are read, the files that are refused, and a directory that is swapped meanwhile."""

import errno
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from vortexd.core.errors import SourceError
from vortexd.source.files import directory
from vortexd.source.files.directory import Outline, Scan
from vortexd.source.files.settings import FilesSettings
from vortexd.source.lfs import POINTER

from .outlines import noted_outlines

SETTINGS = FilesSettings(kind="files", path="unused", file_bytes=2_000, total_bytes=10_000, files=20)


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / (name.replace("__", "/") + ".yml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def aged(root: Path) -> None:
    """As if the files had been written long ago: the kernel's stamps can't be set, so the clock's tick is passed."""
    directory_tick = directory._TICK_NS / 1e9
    newest = max(path.lstat().st_ctime_ns for path in root.rglob("*"))
    while time.time_ns() - newest < directory_tick * 1e9:
        os.sched_yield()


def read(root: Path, before: Scan | None = None) -> Scan:
    return directory.read(str(root), SETTINGS, before)


def test_files_are_read_by_their_path_below_the_root(tmp_path: Path) -> None:
    write(tmp_path, shop="a: 1", prod__shop="a: 2", prod__deep__er="a: 3")

    assert read(tmp_path).contents == {"shop.yml": b"a: 1", "prod/shop.yml": b"a: 2", "prod/deep/er.yml": b"a: 3"}


def test_unchanged_files_are_taken_over_and_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, shop="a: 1", cart="b: 1")
    aged(tmp_path)
    before = read(tmp_path)
    os.replace(_written(tmp_path / ".new", "a: 2"), tmp_path / "shop.yml")
    opened = []
    really = directory._read_file

    def noted(root: str, path: str, mark: directory.Mark, limit: int, own: Collection[str]) -> bytes:
        opened.append(path)
        return really(root, path, mark, limit, own)

    monkeypatch.setattr(directory, "_read_file", noted)
    scan = read(tmp_path, before)

    assert ["shop.yml"] == opened
    assert b"a: 2" == scan.contents["shop.yml"]
    assert scan.contents["cart.yml"] is before.contents["cart.yml"]


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_touched_file_keeps_its_object(tmp_path: Path) -> None:
    write(tmp_path, shop="a: 1")
    before = read(tmp_path)
    os.utime(tmp_path / "shop.yml", (1, 1))
    scan = read(tmp_path, before)

    assert before.outline != scan.outline
    assert scan.contents["shop.yml"] is before.contents["shop.yml"]


def test_a_file_changed_in_the_tick_of_its_reading_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, shop="a: 1")
    changed = (tmp_path / "shop.yml").stat().st_ctime_ns
    monkeypatch.setattr(time, "time_ns", lambda: changed + 1)
    just_now = read(tmp_path)
    monkeypatch.setattr(time, "time_ns", lambda: changed + directory._TICK_NS)
    later = read(tmp_path, just_now)

    assert {"shop.yml"} == just_now.unsettled
    assert not later.unsettled


def test_a_missing_directory_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="gone can't be read: no such file or directory"):
        read(tmp_path / "gone")


def test_a_file_over_the_limit_is_unreadable_and_says_which_setting(tmp_path: Path) -> None:
    write(tmp_path, shop="x" * 2_000, cart="x" * 2_001)
    scan = read(tmp_path)

    assert {"shop.yml"} == set(scan.contents)
    assert scan.unreadable == {"cart.yml": "larger than 2000 bytes; raise source.file_bytes to allow this"}


def test_too_many_bytes_in_all_are_refused_whole(tmp_path: Path) -> None:
    write(tmp_path, **{f"app{number}": "x" * 2_000 for number in range(6)})

    with pytest.raises(SourceError, match="more than 10000 bytes; raise source.total_bytes"):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["files", "directories"])
def test_too_many_entries_are_refused_whole(tmp_path: Path, kind: str) -> None:
    for number in range(21):
        path = tmp_path / f"entry{number}"
        path.touch() if kind == "files" else path.mkdir()

    with pytest.raises(SourceError, match=f"more than 20 {kind}; raise source.files"):
        read(tmp_path)


def test_P10_fifos_devices_and_sockets_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yml")
    (tmp_path / "zero.yml").symlink_to("/dev/zero")
    write(tmp_path, shop="a: 1")
    scan = read(tmp_path)

    assert {"shop.yml"} == set(scan.contents)
    assert scan.unreadable == {
        "pipe.yml": "not a regular file",
        "zero.yml": "the link leads out of the directory",
    }


def test_P11_links_out_of_the_directory_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(tmp_path, secret="password: x")
    write(root, shop="a: 1", sub__cart="b: 1")
    (root / "evil.yml").symlink_to("/etc/passwd")
    (root / "chain.yml").symlink_to("evil.yml")
    (root / "near.yml").symlink_to("../secret.yml")
    (root / "loop.yml").symlink_to("loop.yml")
    (root / "up").symlink_to("../../..")
    (root / "itself").symlink_to(".")
    scan = read(root)

    assert {"shop.yml", "sub/cart.yml"} == set(scan.contents)
    assert {"evil.yml", "chain.yml", "near.yml", "loop.yml"} == set(scan.unreadable)
    assert {"the link leads out of the directory"} == {
        scan.unreadable[name] for name in ("evil.yml", "chain.yml", "near.yml")
    }


def test_a_link_to_a_file_within_is_read(tmp_path: Path) -> None:
    write(tmp_path, shared__base="a: 1")
    (tmp_path / "shop.yml").symlink_to("shared/base.yml")

    assert b"a: 1" == read(tmp_path).contents["shop.yml"]


def test_P12_a_link_swapped_in_after_the_outline_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    write(tmp_path, secret="password: x")
    write(root, shop="a: 1")
    really = directory._parts_below

    def swapped(real: str, path: str) -> list[str] | None:
        parts = really(real, path)
        (root / "shop.yml").unlink()
        (root / "shop.yml").symlink_to("../secret.yml")
        return parts

    monkeypatch.setattr(directory, "_parts_below", swapped)
    scan = read(root)

    assert not scan.contents
    assert {"shop.yml"} == set(scan.unreadable)


def test_P12_a_directory_swapped_for_a_link_after_the_outline_is_not_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    write(tmp_path, outside__shop="password: x")
    write(root, inner__shop="a: 1")
    really = directory._open_beneath

    def swapped(real: str, parts: list[str]) -> int:
        if not (root / "inner").is_symlink():
            (root / "inner").rename(tmp_path / "away")
            (root / "inner").symlink_to("../outside")
        return really(real, parts)

    monkeypatch.setattr(directory, "_open_beneath", swapped)
    scan = read(root)

    assert not scan.contents


def test_P13_hidden_files_and_what_links_to_them_are_not_served(tmp_path: Path) -> None:
    write(tmp_path, shop="a: 1")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("secret")
    (tmp_path / ".env").write_text("secret")
    (tmp_path / "git.yml").symlink_to(".git/config")
    (tmp_path / "env.yml").symlink_to(".env")
    scan = read(tmp_path)

    assert {"shop.yml"} == set(scan.contents)
    assert scan.unreadable == dict.fromkeys(("git.yml", "env.yml"), "the link leads to a hidden file")


def test_names_that_nobody_can_ask_for_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, shop="a: 1")
    for name in (b"bad\xff.yml", b"line\nbreak.yml", b"bell\x07.yml"):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_text("a: 1")
    scan = read(tmp_path)

    assert {"shop.yml"} == set(scan.outline.files)


def config_map(root: Path, generation: str, **files: str) -> None:
    """What the kubelet does: a new directory, a link to it swapped in by a rename, the old directory removed."""
    write(root, **{f"..{generation}__{name}": text for name, text in files.items()})
    (root / "..data_tmp").symlink_to(f"..{generation}")
    (root / "..data_tmp").rename(root / "..data")
    for name in files:
        link = root / (name.partition("__")[0] + ("" if "__" in name else ".yml"))
        if not link.is_symlink():
            link.symlink_to(f"..data/{link.name}")


def test_a_kubernetes_volume_is_read_through_its_links(tmp_path: Path) -> None:
    config_map(tmp_path, "1", shop="a: 1", prod__shop="a: 2")
    before = read(tmp_path)
    config_map(tmp_path, "2", shop="a: 3", prod__shop="a: 4")
    after = read(tmp_path, before)

    assert before.contents == {"shop.yml": b"a: 1", "prod/shop.yml": b"a: 2"}
    assert after.contents == {"shop.yml": b"a: 3", "prod/shop.yml": b"a: 4"}


def test_a_swap_in_the_middle_of_a_reading_gives_one_of_the_two_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_map(tmp_path, "1", a="x: 1", b="x: 1", c="x: 1")
    really = directory._read_file

    def swapping(root: str, path: str, mark: directory.Mark, limit: int, own: Collection[str]) -> bytes:
        content = really(root, path, mark, limit, own)
        if path == "a.yml" and not (tmp_path / "..2").exists():
            config_map(tmp_path, "2", a="x: 2", b="x: 2", c="x: 2")
        return content

    monkeypatch.setattr(directory, "_read_file", swapping)
    scan = read(tmp_path)

    assert scan.contents == dict.fromkeys(("a.yml", "b.yml", "c.yml"), b"x: 2")
    assert not scan.unreadable


@pytest.mark.parametrize("change", ["rewrite", "replace"])
def test_Y14_a_file_that_never_holds_still_is_broken_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    write(tmp_path, shop="a: 1", cart="b: 1")
    really = directory._read_file
    counter = iter(range(1_000))

    def restless(root: str, path: str, mark: directory.Mark, limit: int, own: Collection[str]) -> bytes:
        content = really(root, path, mark, limit, own)
        if path == "shop.yml":
            text = "a: 1" + "0" * next(counter)
            if change == "rewrite":
                (tmp_path / "shop.yml").write_text(text)
            else:
                _written(tmp_path / ".new", text).rename(tmp_path / "shop.yml")
        return content

    monkeypatch.setattr(directory, "_read_file", restless)
    scan = read(tmp_path)

    assert scan.contents == {"cart.yml": b"b: 1"}
    assert scan.unreadable == {"shop.yml": "it keeps changing while it is read"}
    assert "shop.yml" in scan.unsettled


def test_Y14_bytes_read_from_another_state_than_the_outline_shows_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, shop="a: 1111")
    really = os.fstat
    calls = 0

    def torn(descriptor: int) -> os.stat_result:
        nonlocal calls
        calls += 1
        if calls == 2:
            (tmp_path / "shop.yml").write_text("a: 2")
        return really(descriptor)

    monkeypatch.setattr(os, "fstat", torn)
    scan = read(tmp_path)

    assert scan.contents == {"shop.yml": b"a: 2"}


def refuse(monkeypatch: pytest.MonkeyPatch, function: str, number: int, applies: Callable[[object], bool]) -> None:
    really = getattr(os, function)

    def refused(path: object, *arguments: object, **options: object) -> object:
        if applies(path):
            raise OSError(number, os.strerror(number))
        return really(path, *arguments, **options)

    monkeypatch.setattr(os, function, refused)


def test_an_unreadable_file_is_named_with_the_reason_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, shop="a: 1", cart="b: 1")
    aged(tmp_path)
    with monkeypatch.context() as patched:
        refuse(patched, "open", errno.EACCES, lambda path: path == "shop.yml")
        before = read(tmp_path)
    after = read(tmp_path, before)

    assert before.unreadable == {"shop.yml": "permission denied"}
    assert before.contents == {"cart.yml": b"b: 1"}
    assert after.contents == {"shop.yml": b"a: 1", "cart.yml": b"b: 1"}


@pytest.mark.parametrize(("function", "place"), [("open", "shop.yml"), ("scandir", "sub/")])
def test_without_descriptors_nothing_is_taken_for_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, place: str
) -> None:
    write(tmp_path, shop="a: 1", sub__cart="b: 1")
    refuse(monkeypatch, function, errno.EMFILE, lambda path: str(path).endswith(place))

    with pytest.raises(SourceError, match="too many open files"):
        read(tmp_path)


def test_files_below_a_directory_that_was_closed_are_broken_not_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, shop="a: 1", prod__shop="a: 2")
    before = read(tmp_path)
    with monkeypatch.context() as patched:
        refuse(patched, "scandir", errno.EACCES, lambda path: str(path).endswith("prod/"))
        closed = read(tmp_path, before)
        still = read(tmp_path, closed)
    after = read(tmp_path, still)

    assert {"prod/": "permission denied"} == closed.outline.closed
    assert (
        {"prod/shop.yml": "its directory can't be listed: permission denied"} == closed.unreadable == still.unreadable
    )
    assert before.contents == after.contents
    assert not after.unreadable


def test_P13_what_is_vortexds_own_is_not_served_and_neither_is_what_links_to_it(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    for name in ("shop.yml", "vortexd.toml", "keys/tokens.toml", "keys/other.toml"):
        (tmp_path / name).write_text("a = 1")
    (tmp_path / "link.toml").symlink_to("vortexd.toml")
    (tmp_path / "below.toml").symlink_to("keys/other.toml")
    own = {str(tmp_path / "vortexd.toml"), str(tmp_path / "keys")}

    scan = directory.read(str(tmp_path), SETTINGS, None, own)

    assert ["shop.yml"] == list(scan.contents)
    assert dict.fromkeys(("below.toml", "link.toml"), "it belongs to vortexd itself") == scan.unreadable


# What an outline says beside the state.


def outline(root: Path) -> Outline:
    return directory.outline(str(root), SETTINGS)


@pytest.mark.parametrize(
    "name",
    [
        *("4913", "shop.yml~", ".shop.yml.swp", ".shop.yml.swo", "shop.swp", "shop.swa", ".#shop.yml", "#shop.yml#"),
        *(".shop.yml.aB3dE6", ".~tmp~", "shop.tmp", ".shop.temp", "shop.yml.part", "shop.partial", "shop.filepart"),
        *("sedAb3dE6", ".goutputstream-ABC", "shop.yml___jb_tmp___", "___jb_old___", ".ansible_tmp1shop.yml"),
    ],
)
@pytest.mark.parametrize("place", ["", "sub/"])
def test_a_temporary_name_says_that_something_is_under_way(tmp_path: Path, name: str, place: str) -> None:
    write(tmp_path, shop="a: 1", sub__shop="a: 1")
    calm = outline(tmp_path)
    (tmp_path / place / name).write_text("a: 1")

    assert not calm.beside.is_busy
    assert outline(tmp_path).beside.is_busy


@pytest.mark.parametrize(
    "name",
    ["14913", "shop.swq", ".#", "shop#", ".shop.aB3dE", ".shop.aB3dE67", "tmp", "part.yml", "sedAb3d", ".hidden"],
)
def test_other_names_say_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a: 1")

    assert (name == ".#") == outline(tmp_path).beside.is_busy


@pytest.mark.parametrize("place", [".", "sub", "above"])
@pytest.mark.parametrize("name", ["index.lock", "HEAD.lock"])
def test_a_lock_of_git_says_that_something_is_under_way(tmp_path: Path, place: str, name: str) -> None:
    root = tmp_path / "deep" / "root"
    (root / "sub").mkdir(parents=True)
    git = (tmp_path if place == "above" else root / place) / ".git"
    git.mkdir()
    (git / "index").touch()
    calm = outline(root)
    (git / name).touch()

    assert not calm.beside.is_busy
    assert outline(root).beside.is_busy


def test_of_the_repositories_above_only_the_nearest_counts(tmp_path: Path) -> None:
    root = tmp_path / "inner" / "root"
    root.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "index.lock").touch()
    outer = outline(root)
    (tmp_path / "inner" / ".git").mkdir()
    inner = outline(root)
    (tmp_path / "inner" / ".git").rmdir()
    (root / ".git").mkdir()

    assert [True, False, False] == [each.beside.is_busy for each in (outer, inner, outline(root))]


@pytest.mark.parametrize("target", ["absolute", "relative"])
def test_the_lock_of_a_linked_work_tree_is_where_its_file_says(tmp_path: Path, target: str) -> None:
    root = tmp_path / "root"
    git = tmp_path / "repository" / "worktrees" / "root"
    root.mkdir()
    git.mkdir(parents=True)
    (root / ".git").write_text(f"gitdir: {git if target == 'absolute' else '../repository/worktrees/root'}\n")
    calm = outline(root)
    (git / "index.lock").touch()

    assert not calm.beside.is_busy
    assert outline(root).beside.is_busy


def test_what_is_no_repository_holds_no_lock(tmp_path: Path) -> None:
    found = []
    for make in (
        lambda git: git.write_text("gitdir: ../nowhere\n"),
        lambda git: git.write_bytes(b"gitdir: \0\n"),
        lambda git: git.write_text("gitdir: .\n" + " " * directory._GITDIR_BYTES),
        lambda git: os.mkfifo(git),
        lambda git: git.symlink_to("nowhere"),
    ):
        make(tmp_path / ".git")
        (tmp_path / "index.lock").touch()
        found.append(outline(tmp_path).beside.is_busy)
        (tmp_path / ".git").unlink()

    assert [False] * 5 == found


@pytest.mark.parametrize(("entries", "is_busy"), [(0, False), (1, True)])
def test_no_more_entries_of_a_repository_are_looked_at_than_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: int, is_busy: bool
) -> None:
    monkeypatch.setattr(directory, "_GIT_ENTRIES", entries)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "index.lock").touch()

    assert is_busy == outline(tmp_path).beside.is_busy


def test_links_and_second_names_are_known_by_the_file_that_they_lead_to(tmp_path: Path) -> None:
    write(tmp_path, shop="a: 1", cart="b: 1", alone="c: 1")
    (tmp_path / "link.yml").symlink_to("shop.yml")
    os.link(tmp_path / "cart.yml", tmp_path / "twin.yml")
    os.mkfifo(tmp_path / "pipe")
    found = outline(tmp_path)
    identity = {name: found.files[name][:2] for name in found.files}

    assert {identity["shop.yml"]: {"link.yml"}, identity["cart.yml"]: {"cart.yml", "twin.yml"}} == {
        each: set(names) for each, names in found.beside.names.items()
    }
    assert {"link.yml", "pipe"} == set(found.beside.special)


def test_directories_that_only_links_lead_into_are_known_and_not_served(tmp_path: Path) -> None:
    (tmp_path / "..1" / "deep" / "..er").mkdir(parents=True)
    (tmp_path / "..1" / "deep" / "..er" / "shop.yml").write_text("a: 1")
    (tmp_path / ".git").mkdir()
    (tmp_path / "..data").symlink_to("..1")
    found = outline(tmp_path)
    identity = {prefix: Path(tmp_path, prefix).stat() for prefix in ("..1/", "..1/deep/", "..1/deep/..er/")}

    assert {prefix: (each.st_dev, each.st_ino) for prefix, each in identity.items()} == found.beside.directories
    inner = (tmp_path / "..1" / "deep" / "..er" / "shop.yml").stat()
    place = (found.beside.directories["..1/deep/..er/"], "shop.yml")
    assert {place: (inner.st_dev, inner.st_ino)} == found.beside.files
    assert {} == found.files


def test_no_more_of_them_are_looked_at_than_files_are_allowed(tmp_path: Path) -> None:
    for number in range(SETTINGS.files + 5):
        (tmp_path / f"..{number}").mkdir()
    many = outline(tmp_path)
    (tmp_path / "sub").mkdir()
    for number in range(SETTINGS.files):
        (tmp_path / "..0" / str(number)).touch()
    found = outline(tmp_path)

    assert SETTINGS.files == len(many.beside.directories)
    assert len(found.beside.directories) <= SETTINGS.files


def test_one_of_them_that_cannot_be_listed_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("..1", "..2"):
        (tmp_path / name).mkdir()
    really = directory._list_behind

    def refused(root: str, prefix: str, *rest: Any) -> directory.Identity:
        if prefix == "..1/":
            raise PermissionError
        return really(root, prefix, *rest)

    monkeypatch.setattr(directory, "_list_behind", refused)

    assert {"..2/"} == outline(tmp_path).beside.directories.keys()


def test_what_is_beside_the_state_is_no_part_of_it(tmp_path: Path) -> None:
    write(tmp_path, shop="a: 1")
    before = outline(tmp_path)
    (tmp_path / ".shop.yml.swp").touch()
    (tmp_path / "..1").mkdir()

    assert before == outline(tmp_path)


def test_P13_vortexds_own_directories_are_not_even_watched(tmp_path: Path) -> None:
    (tmp_path / "..own").mkdir()
    own = [str(tmp_path / "..own")]

    assert {} == directory.outline(str(tmp_path), SETTINGS, own).beside.directories


# Differences, and files that are held back.


def test_a_difference_is_each_path_with_the_mark_that_it_has_now(tmp_path: Path) -> None:
    write(tmp_path, same="a: 1", changed="a: 1", gone="a: 1")
    before = outline(tmp_path)
    write(tmp_path, changed="a: 10", new="a: 1")
    (tmp_path / "gone.yml").unlink()
    after = outline(tmp_path)

    assert {"gone.yml": None, "changed.yml": after.files["changed.yml"], "new.yml": after.files["new.yml"]} == (
        directory.difference(before, after)
    )
    assert {} == directory.difference(after, after)


def test_what_is_held_back_is_as_it_was_and_unsettled(tmp_path: Path) -> None:
    write(tmp_path, held="a: 1", free="a: 1", refused="a" * 3_000, gone="a: 1")
    aged(tmp_path)
    before = read(tmp_path)
    write(tmp_path, held="a: 10", free="a: 10", refused="a: 10", new="a: 10")
    (tmp_path / "gone.yml").unlink()
    aged(tmp_path)
    after = read(tmp_path, before)
    scan = directory.held_back(after, before, {"held.yml", "refused.yml", "new.yml"})

    assert {"held.yml": b"a: 1", "free.yml": b"a: 10"} == scan.contents
    assert {"refused.yml": "larger than 2000 bytes; raise source.file_bytes to allow this"} == scan.unreadable
    assert {"held.yml", "refused.yml", "new.yml"} == scan.unsettled
    assert {
        "held.yml": before.outline.files["held.yml"],
        "free.yml": after.outline.files["free.yml"],
        "refused.yml": before.outline.files["refused.yml"],
    } == scan.outline.files
    assert after.outline.directories == scan.outline.directories
    assert {"held.yml", "refused.yml", "new.yml"} == directory.difference(scan.outline, after.outline).keys()
    assert after is directory.held_back(after, before, ())


def test_a_file_that_was_held_back_is_read_when_it_is_not_held_any_more(tmp_path: Path) -> None:
    write(tmp_path, held="a: 1")
    before = read(tmp_path)
    write(tmp_path, held="a: 2")
    held = directory.held_back(read(tmp_path, before), before, {"held.yml"})

    assert b"a: 2" == read(tmp_path, held).contents["held.yml"]


def test_an_outline_of_a_moment_ago_is_not_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, shop="a: 1")
    aged(tmp_path)
    shown = outline(tmp_path)
    taken = noted_outlines(monkeypatch)

    assert {"shop.yml": b"a: 1"} == directory.read(str(tmp_path), SETTINGS, None, (), shown).contents
    assert 1 == len(taken)  # to see whether it is the same after the reading


# Where a path leads.


def test_the_parent_of_a_directory_decides_where_its_path_leads(tmp_path: Path) -> None:
    assert {str(tmp_path): {"config"}} == directory.signposts(str(tmp_path / "config"))


def test_so_do_the_parents_of_links_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "releases" / "2" / "config").mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/../latest")
    (tmp_path / "latest").symlink_to(tmp_path / "releases" / "2")

    assert {str(tmp_path): {"current", "latest"}, str(tmp_path / "releases" / "2"): {"config"}} == (
        directory.signposts(str(tmp_path / "current" / "config"))
    )


def test_a_link_that_leads_to_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop/loop")

    assert {"loop"} == directory.signposts(str(tmp_path / "loop"))[str(tmp_path)]


def test_nothing_decides_where_the_root_of_all_leads() -> None:
    assert {} == directory.signposts("/")
    assert {"/": {"nowhere"}} == directory.signposts("/nowhere")


def test_an_lfs_pointer_is_broken_until_it_is_replaced_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "app.yml"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n")
    scan = read(tmp_path)
    path.write_text("a: 1\n")
    after = read(tmp_path, scan)

    assert ({}, {"app.yml": POINTER}) == (scan.contents, scan.unreadable)
    assert ({"app.yml": b"a: 1\n"}, {}) == (after.contents, after.unreadable)

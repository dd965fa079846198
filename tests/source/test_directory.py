"""One reading of a directory: what is taken, what is refused, and what a swap in the middle does."""

import errno
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from vortexd.errors import SourceError
from vortexd.settings import SourceSettings
from vortexd.source import directory
from vortexd.source.directory import Scan
from vortexd.source.lfs import POINTER

SETTINGS = SourceSettings(kind="files", path="unused", file_bytes=2_000, total_bytes=10_000, files=20)


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

    def noted(root: str, path: str, mark: directory._Mark, limit: int, own: Collection[str]) -> bytes:
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
    assert scan.unreadable == {"cart.yml": "larger than 2000 bytes; raise source.file_bytes if that is meant"}


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

    def swapping(root: str, path: str, mark: directory._Mark, limit: int, own: Collection[str]) -> bytes:
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

    def restless(root: str, path: str, mark: directory._Mark, limit: int, own: Collection[str]) -> bytes:
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
    assert scan.unreadable == {"shop.yml": "it goes on changing while it is read"}
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
    assert dict.fromkeys(("below.toml", "link.toml"), "it is vortexd's own") == scan.unreadable


def test_an_lfs_pointer_is_broken_until_it_is_replaced_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "app.yml"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n")
    scan = read(tmp_path)
    path.write_text("a: 1\n")
    after = read(tmp_path, scan)

    assert ({}, {"app.yml": POINTER}) == (scan.contents, scan.unreadable)
    assert ({"app.yml": b"a: 1\n"}, {}) == (after.contents, after.unreadable)

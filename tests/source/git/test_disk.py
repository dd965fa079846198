"""The disk of a mirror: its free space, and the leftovers of failed fetches that are removed from it."""

import os
import time
from pathlib import Path

import pytest

from vortexd.source.git.disk import Room, packs_of, remove_halves, remove_leftovers, remove_packs, room_at

MIB = 1_048_576
HALVES = [
    "objects/pack/tmp_pack_abc",
    "objects/pack/tmp_idx_abc",
    "objects/ab/tmp_obj_abc",
    "objects/incoming-abc/x",
    "objects/tmp_objdir-incoming-abc/x",
]
LOCKS = ["packed-refs.lock", "gc.pid", "refs/heads/main.lock", "objects/pack/multi-pack-index.lock"]
KEPT = ["HEAD", "refs/heads/main", "objects/pack/pack-1.pack", "objects/pack/pack-1.idx", "objects/ab/cdef"]


def fill(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_halves_are_removed_at_once_and_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path, *HALVES, *LOCKS, *KEPT)
    remove_halves(tmp_path)

    assert {*LOCKS, *KEPT} == files(tmp_path)
    assert not list(tmp_path.glob("objects/*incoming*"))


def test_leftovers_are_removed_when_nothing_touches_them_any_more(tmp_path: Path) -> None:
    fill(tmp_path, *HALVES, *LOCKS, *KEPT)
    remove_leftovers(tmp_path, 60.0)
    assert {*HALVES, *LOCKS, *KEPT} == files(tmp_path)

    for path in tmp_path.rglob("*"):
        os.utime(path, (time.time() - 100,) * 2)
    remove_leftovers(tmp_path, 60.0)
    assert set(KEPT) == files(tmp_path)


@pytest.mark.parametrize(("now", "is_removed"), [(160.0, True), (159.0, False)])
def test_leftovers_are_as_old_as_they_must_be(
    now: float, is_removed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "gc.pid")
    os.utime(tmp_path / "gc.pid", (100, 100))
    monkeypatch.setattr(time, "time", lambda: now)
    remove_leftovers(tmp_path, 60.0)

    assert is_removed != (tmp_path / "gc.pid").exists()


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    fill(tmp_path, "elsewhere/x", "objects/y")
    (tmp_path / "objects/incoming-abc").symlink_to(tmp_path / "elsewhere")
    remove_halves(tmp_path)

    assert {"elsewhere/x", "objects/y"} == files(tmp_path)
    assert not (tmp_path / "objects/incoming-abc").is_symlink()


def test_packs_that_came_with_a_fetch_that_failed_are_removed(tmp_path: Path) -> None:
    fill(tmp_path, *KEPT)
    before = packs_of(tmp_path)
    fill(tmp_path, "objects/pack/pack-2.pack", "objects/pack/pack-2.idx", "objects/pack/multi-pack-index")
    remove_packs(tmp_path, before)

    assert {"pack-1.pack", "pack-1.idx"} == before
    assert {*KEPT, "objects/pack/multi-pack-index"} == files(tmp_path)


def test_where_somebody_has_packed_anew_no_pack_is_removed(tmp_path: Path) -> None:
    fill(tmp_path, *KEPT)
    before = packs_of(tmp_path)
    (tmp_path / "objects/pack/pack-1.idx").unlink()
    fill(tmp_path, "objects/pack/pack-2.pack")
    remove_packs(tmp_path, before)

    assert {"pack-1.pack", "pack-2.pack"} == packs_of(tmp_path)


def test_no_mirror_has_no_packs(tmp_path: Path) -> None:
    assert frozenset() == packs_of(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("room", "is_used_up"),
    [
        (Room(0, None), True),
        (Room(MIB - 1, 100), True),
        (Room(MIB, 1), False),
        (Room(MIB, None), False),
        (Room(MIB, 0), True),
    ],
)
def test_a_disk_is_used_up_in_bytes_or_in_files(room: Room, is_used_up: bool) -> None:
    assert is_used_up == room.is_used_up


@pytest.mark.parametrize(
    ("before", "after", "is_more"),
    [
        (Room(5, 9), Room(5 + MIB, 9), True),
        (Room(5, 9), Room(4 + MIB, 9), False),
        (Room(5, 9), Room(5, 10), False),
        (Room(5, 0), Room(5, 1), True),
        (Room(5, 0), Room(5, 0), False),
        (Room(5, None), Room(5, None), False),
    ],
)
def test_room_is_more_once_something_was_freed(before: Room, after: Room, is_more: bool) -> None:
    assert is_more == after.is_more_than(before)


def test_the_room_of_a_directory_is_that_of_its_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = os.statvfs_result((4096, 512, 100, 60, 50, 1_000, 900, 800, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: {tmp_path: found}[path])
    assert Room(50 * 512, 800) == room_at(tmp_path)

    # btrfs counts no files.
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 512, 100, 60, 50, 0, 0, 0, 0, 255)))
    assert Room(50 * 512, None) == room_at(tmp_path)

"""The kernel's events for changes of real files."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import inotify_simple
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from vortexd.source.files import watches as module
from vortexd.source.files.directory import Identity
from vortexd.source.files.watches import Followed, Place, Watches
from vortexd.source.files.writes import Event, Kind


def identity(path: Path) -> Identity:
    status = path.stat()
    return status.st_dev, status.st_ino


def places(*paths: Path) -> dict[Identity, Place]:
    return {identity(path): Place(str(path)) for path in paths}


@pytest.fixture
def watches() -> Iterator[Watches]:
    watches = Watches()
    yield watches
    watches.close()


def events(watches: Watches) -> list[Event]:
    found = []
    while watches.waiting():
        found += watches.take()[0]
    return found


def told(watches: Watches) -> list[tuple[str, str]]:
    return [(event.kind.name, event.name) for event in events(watches)]


def slowly(path: Path) -> None:
    """Two writes, and no close."""
    file = path.open("w")
    kept.append(file)
    for _ in range(2):
        file.write("a")
        file.flush()


kept: list[Any] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while kept:
        kept.pop().close()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda path: path.write_text("a: 2"), ["MODIFIED", "CLOSED"]),
        (lambda path: path.write_text(""), ["MODIFIED", "CLOSED"]),
        (slowly, ["MODIFIED"]),
        (lambda path: path.open("a").close(), ["CLOSED"]),
        (lambda path: path.read_text(), []),
        (lambda path: path.chmod(0o600), ["TOUCHED"]),
        (lambda path: path.unlink(), ["DELETED"]),
        (lambda path: path.rename(path.parent.parent / "away"), ["MOVED_AWAY"]),
        (lambda path: (path.parent.parent / "beside").rename(path), ["MOVED_HERE"]),
    ],
    ids=["in place", "emptied", "slowly", "opened only", "read", "chmod", "deleted", "moved out", "moved in"],
)
def test_what_is_told_of_a_file(
    tmp_path: Path, watches: Watches, change: Callable[[Path], object], expected: list[str]
) -> None:
    (tmp_path / "root").mkdir()
    path = tmp_path / "root" / "shop.yml"
    for each in (path, tmp_path / "beside"):
        each.write_text("a: 1")
    watches.follow(places(path.parent))
    change(path)
    found = events(watches)

    assert expected == [event.kind.name for event in found]
    assert {(identity(path.parent), "shop.yml")} >= {(event.directory, event.name) for event in found}


def test_a_new_file_is_created_and_a_rename_has_one_number_for_both_names(tmp_path: Path, watches: Watches) -> None:
    watches.follow(places(tmp_path))
    (tmp_path / ".new").write_text("a: 1")
    (tmp_path / ".new").rename(tmp_path / "shop.yml")
    found = events(watches)

    assert [
        ("CREATED", ".new"),
        ("MODIFIED", ".new"),
        ("CLOSED", ".new"),
        ("MOVED_AWAY", ".new"),
        ("MOVED_HERE", "shop.yml"),
    ] == [(event.kind.name, event.name) for event in found]
    assert found[3].cookie == found[4].cookie != 0


def test_a_writer_of_a_file_that_was_replaced_or_deleted_is_not_told_of(tmp_path: Path, watches: Watches) -> None:
    for name in ("shop.yml", "cart.yml", "new"):
        (tmp_path / name).write_text("a: 1")
    with (tmp_path / "shop.yml").open("a") as one, (tmp_path / "cart.yml").open("a") as two:
        (tmp_path / "new").rename(tmp_path / "shop.yml")
        (tmp_path / "cart.yml").unlink()
        watches.follow(places(tmp_path))
        one.write("a")
        two.write("a")

    assert [] == told(watches)


def test_directories_are_told_of_as_touched(tmp_path: Path, watches: Watches) -> None:
    watches.follow(places(tmp_path))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub").rename(tmp_path / "..data")
    (tmp_path / "..data").rmdir()

    assert [("TOUCHED", "sub"), ("TOUCHED", "sub"), ("TOUCHED", "..data"), ("TOUCHED", "..data")] == told(watches)


def test_the_end_of_a_directory_is_told_and_it_can_be_watched_anew(tmp_path: Path, watches: Watches) -> None:
    root = tmp_path / "root"
    root.mkdir()
    wanted = places(root)
    watches.follow(wanted)
    root.rename(tmp_path / "moved")
    moved = events(watches)
    shutil.rmtree(tmp_path / "moved")
    ended = events(watches)

    assert [Event(Kind.TOUCHED, next(iter(wanted)))] == moved
    assert [Event(Kind.TOUCHED, next(iter(wanted))), Event(Kind.GONE, next(iter(wanted)))] == ended
    assert not watches.follows(wanted)
    root.mkdir()
    assert Followed(True, True) == watches.follow(places(root))
    (root / "shop.yml").touch()
    assert [("CREATED", "shop.yml"), ("CLOSED", "shop.yml")] == [each for each in told(watches) if each[0] != "TOUCHED"]


def test_directories_are_told_apart_by_what_they_are_and_not_by_their_path(tmp_path: Path, watches: Watches) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    watches.follow(places(tmp_path / "one", tmp_path / "two"))
    one = identity(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "three")
    (tmp_path / "three" / "shop.yml").touch()

    assert {one} == {event.directory for event in events(watches)}


def test_of_a_place_with_names_only_these_are_told_and_only_that_they_were_touched(
    tmp_path: Path, watches: Watches
) -> None:
    watches.follow({identity(tmp_path): Place(str(tmp_path), frozenset({"current", "file"}))})
    (tmp_path / "other").mkdir()
    (tmp_path / "current").symlink_to("other")
    (tmp_path / "next").symlink_to("other")
    (tmp_path / "next").rename(tmp_path / "current")
    (tmp_path / "current").unlink()
    (tmp_path / "file").write_text("a: 1")
    tmp_path.chmod(0o700)

    assert [("TOUCHED", "current")] * 3 + [("TOUCHED", "file")] == told(watches)


def test_a_place_with_names_that_turns_into_a_whole_one_is_told_of_wholly(tmp_path: Path, watches: Watches) -> None:
    watches.follow({identity(tmp_path): Place(str(tmp_path), frozenset({"current"}))})

    assert not watches.follows(places(tmp_path))
    assert Followed(True, True) == watches.follow(places(tmp_path))
    assert watches.follows(places(tmp_path))
    (tmp_path / "shop.yml").write_text("a: 1")
    assert [("CREATED", "shop.yml"), ("MODIFIED", "shop.yml"), ("CLOSED", "shop.yml")] == told(watches)


def test_what_is_followed_already_is_nothing_new(tmp_path: Path, watches: Watches) -> None:
    before = watches.follows(places(tmp_path))

    assert Followed(True, True) == watches.follow(places(tmp_path))
    assert Followed(False, True) == watches.follow(places(tmp_path))
    assert [False, True, False] == [before, watches.follows(places(tmp_path)), watches.follows({})]


def test_what_is_not_wanted_any_more_is_not_watched_any_more(tmp_path: Path, watches: Watches) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one = places(tmp_path / "one")
    watches.follow({**one, **places(tmp_path / "two")})

    assert Followed(False, True) == watches.follow(places(tmp_path / "two"))
    (tmp_path / "one" / "shop.yml").touch()
    (tmp_path / "two" / "shop.yml").touch()
    found = events(watches)
    assert [Event(Kind.GONE, next(iter(one)))] == [event for event in found if event.directory in one]
    assert Followed(True, True) == watches.follow(one)
    (tmp_path / "one" / "shop.yml").unlink()
    assert ("DELETED", "shop.yml") in told(watches)


def test_one_that_is_gone_or_another_by_now_is_left_out(tmp_path: Path, watches: Watches) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "file").touch()
    gone = {(1, 1): Place(str(tmp_path / "gone")), (1, 3): Place(str(tmp_path / "file"))}
    another = {(1, 2): Place(str(tmp_path / "real"))}

    assert Followed(False, False) == watches.follow(gone)
    assert Followed(False, False) == watches.follow(another)
    assert Followed(True, False) == watches.follow({**gone, **another, **places(tmp_path)})
    (tmp_path / "real" / "shop.yml").touch()
    assert [] == told(watches)


def test_one_reached_by_the_path_of_another_does_not_end_the_watch_of_that(tmp_path: Path, watches: Watches) -> None:
    watches.follow(places(tmp_path))

    assert Followed(False, False) == watches.follow({**places(tmp_path), (1, 2): Place(str(tmp_path))})
    (tmp_path / "shop.yml").touch()
    assert ("CREATED", "shop.yml") in told(watches)


@pytest.mark.parametrize(
    ("number", "trouble", "tried"),
    [
        (errno.ENOSPC, "no more watches are allowed; raise fs.inotify.max_user_watches", 1),
        (errno.EACCES, "permission denied", 2),
    ],
)
def test_what_keeps_directories_from_being_watched_is_told(
    tmp_path: Path, watches: Watches, monkeypatch: pytest.MonkeyPatch, number: int, trouble: str, tried: int
) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    really = inotify_simple.INotify.add_watch
    refused = []

    def limited(self: inotify_simple.INotify, path: str, mask: int) -> int:
        if not path.endswith("one"):
            refused.append(path)
            raise OSError(number, os.strerror(number))
        return int(really(self, path, mask))

    monkeypatch.setattr(inotify_simple.INotify, "add_watch", limited)

    wanted = places(tmp_path / "one", tmp_path / "two", tmp_path / "three")
    assert Followed(True, False, trouble) == watches.follow(wanted)
    assert tried == len(refused)
    (tmp_path / "one" / "shop.yml").touch()
    assert ("CREATED", "shop.yml") in told(watches)


def test_without_an_instance_there_are_no_events_and_the_reason_is_told(
    tmp_path: Path, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(inotify_simple, "INotify", refused)
        found = watches.follow(places(tmp_path))
    trouble = "no more inotify instances are allowed; raise fs.inotify.max_user_instances"

    assert Followed(False, False, trouble) == found
    assert (0, ([], 0), False) == (watches.waiting(), watches.take(), watches.follows({}))
    assert Followed(True, True) == watches.follow(places(tmp_path))


def test_nothing_to_take_is_taken_without_waiting(tmp_path: Path, watches: Watches) -> None:
    watches.follow(places(tmp_path))

    assert (0, ([], 0)) == (watches.waiting(), watches.take())


def test_many_events_are_taken_in_several_steps_and_none_is_lost(tmp_path: Path, watches: Watches) -> None:
    watches.follow(places(tmp_path))
    for number in range(1_000):
        (tmp_path / f"{number}.yml").symlink_to("nowhere")
    steps = []
    waiting = watches.waiting()
    while watches.waiting():
        steps.append(watches.take())

    assert max(len(found) for found, _ in steps) <= module._CHUNK_BYTES // 16
    assert [f"{number}.yml" for number in range(1_000)] == [event.name for found, _ in steps for event in found]
    assert waiting == sum(taken for _, taken in steps)


def test_more_events_than_the_kernel_keeps_are_told_to_be_lost(tmp_path: Path, watches: Watches) -> None:
    watches.follow(places(tmp_path))
    for name in ("a", "b"):
        (tmp_path / name).touch()
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(limit + 10):
        os.utime(tmp_path / "ab"[number % 2])  # two of the same in a row would be one
    found = events(watches)

    assert [Event(Kind.LOST)] == [
        event for event in found if event.kind not in (Kind.TOUCHED, Kind.CREATED, Kind.CLOSED)
    ]
    assert Event(Kind.LOST) == found[-1]


async def test_waiting_ends_when_there_are_events(tmp_path: Path, watches: Watches, nursery: trio.Nursery) -> None:
    is_over = trio.Event()

    async def wait() -> None:
        await watches.wait()
        is_over.set()

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    watches.follow(places(tmp_path))
    watches.announce()
    await wait_all_tasks_blocked()
    before = is_over.is_set()
    (tmp_path / "shop.yml").touch()
    with trio.fail_after(10):
        await is_over.wait()

    assert not before


async def test_an_announcement_without_an_instance_wakes_nobody(watches: Watches, nursery: trio.Nursery) -> None:
    nursery.start_soon(watches.wait)
    watches.announce()
    await wait_all_tasks_blocked()

    assert not watches._opened.is_set()
    nursery.cancel_scope.cancel()


async def test_it_can_be_closed_twice_and_opened_again(tmp_path: Path, watches: Watches) -> None:
    watches.close()
    for _ in range(2):
        watches.follow(places(tmp_path))
        watches.announce()
        watches.close()
        watches.close()

        assert not watches.follows(places(tmp_path))
        assert not watches._opened.is_set()
    watches.follow(places(tmp_path))
    (tmp_path / "shop.yml").touch()
    assert ("CREATED", "shop.yml") in told(watches)


async def test_no_descriptor_stays_behind_and_none_is_inherited(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    watches = Watches()
    watches.follow(places(tmp_path))
    assert watches._inotify is not None

    assert not os.get_inheritable(watches._inotify.fileno())
    assert before + 1 == len(os.listdir("/proc/self/fd"))
    watches.close()
    assert before == len(os.listdir("/proc/self/fd"))

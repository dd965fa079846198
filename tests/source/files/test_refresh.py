"""A directory as the kernel's events show it, compared with a full scan."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.examples import examples
from vortexd.core.model import Tree
from vortexd.source.files import directory, refresh, watching
from vortexd.source.files.refresh import Known, Name, refreshed
from vortexd.source.files.settings import FilesSettings
from vortexd.source.files.source import FilesSource
from vortexd.source.files.writes import Event, Kind

from .test_source import Kernel

SETTINGS = FilesSettings(path="/", files=8)


def outline(root: Path) -> directory.Outline:
    return directory.outline(str(root), SETTINGS)


def after(root: Path, former: directory.Outline, *names: str, own: tuple[str, ...] = ()) -> directory.Outline | None:
    """The outline after events that mention these paths."""
    mentioned = [_name(former, name) for name in names]
    return refreshed(str(root), SETTINGS, former, mentioned, own)


def _name(former: directory.Outline, path: str) -> Name:
    prefix, slash, name = path.rpartition("/")
    return former.directories[prefix + slash], name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "config"
    (root / "team").mkdir(parents=True)
    (root / "shop.yml").write_text("a: 1")
    (root / "team" / "cart.yml").write_text("b: 1")
    return root


# What the names in events suffice for.


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "shop.yml").write_text("a: 22"),
        lambda root: (root / "team" / "cart.yml").write_text("b: 22"),
        lambda root: (root / "new.yml").write_text("c: 1"),
        lambda root: (root / "team" / "new.yml").write_text("c: 1"),
        lambda root: (root / "shop.yml").unlink(),
        lambda root: (root / "shop.yml").rename(root / "new.yml"),
        lambda root: (root / "shop.yml").replace(root / "team" / "cart.yml"),
        lambda root: (root / "shop.yml").chmod(0o600),
    ],
)
def test_changes_of_plain_files_need_no_scan(root: Path, change: Callable[[Path], object]) -> None:
    former = outline(root)
    change(root)
    found = after(root, former, "shop.yml", "new.yml", "team/cart.yml", "team/new.yml")

    assert found is not None
    assert outline(root) == found
    assert outline(root) != former
    assert directory.difference(former, outline(root)) == directory.difference(former, found)


def test_names_without_a_change_give_the_same_object(root: Path) -> None:
    former = outline(root)

    assert after(root, former, "shop.yml", "none.yml", ".hidden") is former


@pytest.mark.parametrize("name", [".shop.yml.tmp", "shop.yml~", "4913"])
def test_temporary_names_make_the_directory_busy_while_they_are_there(root: Path, name: str) -> None:
    calm = outline(root)
    (root / name).touch()
    busy = after(root, calm, name)
    (root / name).unlink()

    assert busy is not None
    again = after(root, busy, name)
    assert again is not None
    assert [False, True, False] == [each.beside.is_busy for each in (calm, busy, again)]


def test_a_lock_of_git_is_seen_and_its_end(root: Path) -> None:
    (root / ".git").mkdir()
    calm = outline(root)
    (root / ".git" / "index.lock").touch()
    busy = after(root, calm)
    (root / ".git" / "index.lock").unlink()

    assert busy is not None
    again = after(root, busy)
    assert again is not None
    assert [False, True, False] == [each.beside.is_busy for each in (calm, busy, again)]


def test_own_files_stay_out(root: Path) -> None:
    own = (str(root / "own.toml"),)
    former = directory.outline(str(root), SETTINGS, own)
    (root / "own.toml").write_text("a = 1")

    assert after(root, former, "own.toml", own=own) is former


def test_names_that_no_client_can_ask_for_stay_out(root: Path) -> None:
    former = outline(root)
    for name in (".hidden.yml", "a\nb.yml"):
        (root / name).write_text("a: 1")

    assert after(root, former, ".hidden.yml", "a\nb.yml") is former


# What only a full scan can tell.


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda root: (root / "more").mkdir(), "more"),
        (lambda root: shutil.rmtree(root / "team"), "team"),
        (lambda root: (root / "team").rename(root / "crew"), "team"),
        (lambda root: (root / "link.yml").symlink_to("shop.yml"), "link.yml"),
        (lambda root: os.link(root / "shop.yml", root / "other.yml"), "other.yml"),
        (lambda root: os.mkfifo(root / "pipe.yml"), "pipe.yml"),
        (lambda root: (root / ".git").write_text("gitdir: elsewhere"), ".git"),
        (lambda root: (root / "..data").mkdir(), "..data"),
        (lambda root: None, ""),
    ],
)
def test_unusual_changes_need_a_scan(root: Path, change: Callable[[Path], object], name: str) -> None:
    former = outline(root)
    change(root)

    assert after(root, former, name) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda root: (root / "..1").mkdir(),
        lambda root: os.link(root / "shop.yml", root.parent / "elsewhere.yml"),
        lambda root: (root / "link.yml").symlink_to("shop.yml"),
    ],
)
def test_a_file_with_other_names_needs_a_scan_when_it_changes(root: Path, make: Callable[[Path], object]) -> None:
    make(root)
    former = outline(root)
    (root / "shop.yml").write_text("a: 22")

    assert after(root, former, "shop.yml") is None


def test_a_link_needs_no_scan_while_it_leads_to_the_same_file(root: Path) -> None:
    (root / "link.yml").symlink_to("shop.yml")
    (root / "nowhere.yml").symlink_to("none.yml")
    former = outline(root)
    (root / "team" / "cart.yml").write_text("b: 22")

    assert after(root, former, "team/cart.yml") == outline(root)


@pytest.mark.parametrize(("count", "is_enough"), [(64, True), (65, False)])
def test_many_links_need_a_scan(root: Path, count: int, is_enough: bool) -> None:
    for number in range(count):
        (root / f"link{number}.yml").symlink_to("shop.yml")
    limits = FilesSettings(path="/")
    former = directory.outline(str(root), limits)

    assert is_enough == (refreshed(str(root), limits, former, [], ()) is former)


def test_a_directory_in_another_place_needs_a_scan(root: Path) -> None:
    former = outline(root)
    root.rename(root.parent / "away")
    shutil.copytree(root.parent / "away", root)
    elsewhere = after(root, former)
    shutil.rmtree(root)

    assert elsewhere is None
    assert after(root, former) is None


def test_an_unknown_directory_needs_a_scan(root: Path) -> None:
    assert refreshed(str(root), SETTINGS, outline(root), [((0, 0), "shop.yml")]) is None


def test_a_directory_that_is_closed_or_found_twice_needs_a_scan(root: Path) -> None:
    former = outline(root)

    assert after(root, attrs.evolve(former, closed={"x/": "permission denied"})) is None
    assert after(root, attrs.evolve(former, directories={**former.directories, "x/": former.root})) is None


@pytest.mark.parametrize(("more", "is_enough"), [(6, True), (7, False)])
def test_more_files_than_allowed_need_a_scan_which_refuses_them(root: Path, more: int, is_enough: bool) -> None:
    former = outline(root)
    names = [f"new{number}.yml" for number in range(more)]
    for name in names:
        (root / name).touch()

    assert is_enough == (after(root, former, *names) is not None)


# The second look after a reading.


def test_a_file_that_changes_after_it_was_read_is_seen(root: Path) -> None:
    before = directory.read(str(root), SETTINGS, None)
    (root / "shop.yml").write_text("a: 22")
    scan = directory.read(str(root), SETTINGS, before)
    same = refresh.look_again(str(root), SETTINGS, before, scan)
    (root / "shop.yml").write_text("a: 333")

    assert same == scan.outline
    assert refresh.look_again(str(root), SETTINGS, before, scan) == outline(root) != scan.outline


def test_a_second_look_scans_if_the_names_do_not_suffice(root: Path) -> None:
    before = directory.read(str(root), SETTINGS, None)
    (root / "shop.yml").write_text("a: 22")
    scan = directory.read(str(root), SETTINGS, before)
    (root / "shop.yml").unlink()
    (root / "shop.yml").mkdir()

    assert "shop.yml/" in refresh.look_again(str(root), SETTINGS, before, scan).directories


# What is known between two looks.


def event(kind: Kind = Kind.CLOSED, name: str = "shop.yml") -> Event:
    return Event(kind, (1, 2), name)


def test_names_are_those_since_the_last_look_began(root: Path) -> None:
    known, found = Known(), outline(root)
    assert (None, set()) == known.begin()
    known.heard(event(name="first"))
    known.end(found, is_watched=True)
    known.heard(event(name="second"))

    assert known.outline is found
    assert (found, {((1, 2), "first"), ((1, 2), "second")}) == known.begin()
    assert (None, set()) == known.begin()  # the last look didn't end


@pytest.mark.parametrize("kind", [Kind.LOST, Kind.GONE])
@pytest.mark.parametrize("is_during", [True, False])
def test_a_lost_event_makes_the_next_look_a_scan(root: Path, kind: Kind, is_during: bool) -> None:
    known = Known()
    known.begin()
    if is_during:
        known.heard(event(kind))
    known.end(outline(root), is_watched=True)
    if not is_during:
        known.heard(event(kind))

    assert known.outline is None
    known.begin()
    known.end(outline(root), is_watched=True)
    assert known.outline is not None


def test_without_watches_each_look_is_a_scan(root: Path) -> None:
    known = Known()
    known.begin()
    known.end(outline(root), is_watched=False)

    assert known.outline is None


@pytest.mark.parametrize(("count", "is_known"), [(1_000, True), (1_001, False)])
def test_after_many_names_the_next_look_is_a_scan(root: Path, count: int, is_known: bool) -> None:
    known = Known()
    known.begin()
    known.end(outline(root), is_watched=True)
    for number in range(count):
        known.heard(event(name=str(number)))

    assert is_known == (known.outline is not None)


@pytest.mark.parametrize(
    ("kind", "is_plain"), [(kind, kind not in (Kind.TOUCHED, Kind.GONE, Kind.LOST)) for kind in Kind]
)
@pytest.mark.parametrize("is_during", [True, False])
def test_only_events_about_files_are_plain(root: Path, kind: Kind, is_plain: bool, is_during: bool) -> None:
    known = Known()
    assert not known.is_plain  # there is no outline yet
    known.begin()
    if is_during:
        known.heard(event(kind))
    known.end(outline(root), is_watched=True)
    if not is_during:
        known.heard(event(kind))
    known.heard(event(Kind.CLOSED))

    assert is_plain == known.is_plain
    known.begin()
    known.end(outline(root), is_watched=True)
    assert known.is_plain


# Any sequence of changes.

FILES = ("shop.yml", "cart.yml", "team/shop.yml", "team/cart.yml", "deep/er/shop.yml", ".shop.yml.tmp", "shop.yml~")
DIRECTORIES = ("team", "deep", "deep/er", "..1", "..2", ".git")
LINKS = ("link.yml", "team/link.yml", "..data", "ways")
_files, _directories, _links = (st.sampled_from(each) for each in (FILES, DIRECTORIES, LINKS))
_targets = st.sampled_from(("shop.yml", "../shop.yml", "..data/shop.yml", "..1", "..2", "team", "none", "link.yml"))
STEPS = st.one_of(
    st.tuples(st.just("save"), _files, _files),
    st.tuples(st.just("write"), st.one_of(_files, _links), st.just("")),
    st.tuples(st.just("append"), st.one_of(_files, _links), st.just("")),
    st.tuples(st.just("remove"), st.one_of(_files, _links, _directories), st.just("")),
    st.tuples(st.just("make"), _directories, st.just("")),
    st.tuples(st.just("move"), st.one_of(_files, _directories, _links), st.one_of(_files, _directories)),
    st.tuples(st.just("link"), _links, _targets),
    st.tuples(st.just("swap"), _links, _targets),
    st.tuples(st.just("name"), _files, _files),
    st.tuples(st.just("touch"), st.one_of(_files, _directories), st.just("")),
    st.tuples(st.just("look"), st.just(""), st.just("")),
)


def _step(root: Path, kind: str, one: str, other: str, number: int) -> None:
    """Do one step. If it isn't possible, nothing happens."""
    path = root / one
    match kind:
        case "save":
            (root / ".new").write_text(f"a: {number}")
            (root / ".new").replace(path)
        case "write":
            path.write_text(f"a: {number}")
        case "append":
            with path.open("a") as file:
                file.write(f"\nb{number}: 1")
        case "remove" if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        case "remove":
            path.unlink()
        case "make":
            path.mkdir()
        case "move":
            path.rename(root / other)
        case "link":
            path.symlink_to(other)
        case "swap":
            (root / ".new").symlink_to(other)
            (root / ".new").replace(path)
        case "name":
            os.link(path, root / other)
        case "touch":
            os.utime(path, (number, number))


class Running:
    """A source whose scans at intervals are far away, and the trees that it has published."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = FilesSettings(path=str(root), scan_interval=1e6)
        self.source = FilesSource(self.settings, Path("/"))
        self.trees: list[Tree] = []
        self.kernel = Kernel()

    async def publish(self, tree: Tree) -> None:
        self.trees.append(tree)

    async def settled(self) -> None:
        """Wait until everything is published."""
        for _ in range(3):
            self.kernel.hint()
            await trio.sleep(5)

    def check(self) -> None:
        expected = directory.read(str(self.root), self.settings, None)
        found = self.trees[-1].labels["main"]
        assert dict(expected.contents) == dict(found.contents)
        assert dict(expected.unreadable) == dict(found.unreadable)


@given(st.lists(STEPS, max_size=20))
@settings(deadline=None, max_examples=examples(150))
def test_events_alone_lead_to_what_a_full_scan_finds(steps: list[tuple[str, str, str]]) -> None:
    """The scans at intervals would find a missed change. Here they don't come."""

    async def main() -> None:
        running = Running(place)
        with mock.patch.object(watching, "Watches", return_value=running.kernel):
            running.source = FilesSource(running.settings, Path("/"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.source.run, running.publish)
            await wait_all_tasks_blocked()
            for number, (kind, one, other) in enumerate(steps):
                try:
                    _step(place, kind, one, other, number)
                except OSError:
                    continue
                if kind == "look":
                    await running.settled()
                    running.check()
            await running.settled()
            running.check()
            nursery.cancel_scope.cancel()

    async def inline(function: Callable[..., Any], *arguments: object, **_: object) -> Any:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    with tempfile.TemporaryDirectory() as temporary, mock.patch.object(trio.to_thread, "run_sync", inline):
        place = Path(temporary, "config")
        (place / "team").mkdir(parents=True)
        (place / "shop.yml").write_text("a: 1")
        trio.run(main, clock=MockClock(autojump_threshold=0))

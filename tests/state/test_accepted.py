"""The accepted states that survive a restart: when they are written, and how they leave again."""

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from vortexd.aio import threads
from vortexd.core.errors import SourceError
from vortexd.core.model import Files, Origin
from vortexd.state import accepted as module
from vortexd.state.accepted import RETRY, AcceptedStates
from vortexd.state.accepted_files import AcceptedFiles

from ..fakes import wait_until

GIT, FOLDER = "https://git.example/a.git/", "file:/c/"


class Sources:
    """A repository whose commits can be read again, and the commits that were asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.problem: SourceError | None = None

    def has_commits(self, root: str) -> bool:
        return root == GIT

    def may_copy(self, root: str) -> bool:
        return True

    async def state_at(self, root: str, commit: str) -> Files:
        self.asked.append((root, commit))
        if self.problem is not None:
            raise self.problem
        return of(commit)


def of(commit: str, **more: Any) -> Files:
    origin = Origin(commit, "Ada", "2030-01-01T00:00:00Z")
    return Files({"a.yml": commit.encode()}, root=GIT, revision=commit, origin=origin, **more)


def folder(**contents: str) -> Files:
    return Files({f"{name}.yml": text.encode() for name, text in contents.items()}, root=FOLDER)


async def remembered(directory: Path, files: Files) -> AcceptedStates:
    """Write the state of `main`, and return what the next process has."""
    one = AcceptedStates(directory, Sources())
    one.note({"main": files})
    assert await one._write()
    assert one._opened is not None
    one._opened.close()
    return AcceptedStates(directory, Sources())


async def test_the_newest_files_are_returned_if_they_are_the_accepted_ones(tmp_path: Path) -> None:
    newest = attrs.evolve(of("c1"), others=(folder(a="x: 1"),))
    states = await remembered(tmp_path / "a", newest)

    assert newest is await states.recall("main", newest)
    # They are compared by what they are.
    again = attrs.evolve(of("c1"), others=(folder(a="x: 1"),))
    assert again is await states.recall("main", again)
    assert await states.recall("dev", newest) is None


async def test_a_commit_is_read_again_with_the_settings_of_now(tmp_path: Path) -> None:
    states = await remembered(tmp_path / "a", of("c1"))
    newest = of("c2", locations=("", "x/"), applications=("shop",), group=3)
    found = await states.recall("main", newest)

    assert found is not None
    assert ({"a.yml": b"c1"}, "c1") == (found.contents, found.revision)
    assert (newest.locations, newest.applications, newest.group) == (found.locations, found.applications, found.group)
    # With several groups of sources, no commit is the version of all.
    several = await states.recall("main", attrs.evolve(newest, revision=None))
    assert several is not None
    assert (None, "c1") == (several.revision, several.origin and several.origin.commit)


async def test_bytes_leave_in_place_of_the_newest_ones(tmp_path: Path) -> None:
    before = attrs.evolve(folder(a="x: 1", b="y: 1"), unreadable={"c.yml": "no permission"})
    states = await remembered(tmp_path / "a", before)
    newest = attrs.evolve(folder(a="x: 2", b="y: 1"), group=2, locations=("", "z/"), position="7")
    found = await states.recall("main", newest)

    assert found is not None
    assert (before.contents, before.unreadable) == (found.contents, found.unreadable)
    assert (2, ("", "z/"), None) == (found.group, found.locations, found.position)
    # Equal contents stay the same objects, so they aren't parsed again.
    assert newest.contents["b.yml"] is found.contents["b.yml"]
    only = await states.recall("main", folder(a="x: 1", b="y: 1"))
    assert only is not None
    assert before.unreadable == only.unreadable


async def test_only_the_source_that_differs_is_replaced(tmp_path: Path) -> None:
    states = await remembered(tmp_path / "a", attrs.evolve(of("c1"), others=(folder(a="x: 1"),)))
    newest = attrs.evolve(of("c1"), others=(folder(a="x: 2"),))
    found = await states.recall("main", newest)

    assert found is not None
    assert newest.contents is found.contents
    assert [{"a.yml": b"x: 1"}] == [each.contents for each in found.others]
    other = attrs.evolve(of("c2"), others=(folder(a="x: 1"),))
    found = await states.recall("main", other)
    assert found is not None
    assert {"a.yml": b"c1"} == found.contents
    assert (other.others[0],) == found.others


async def test_a_source_that_is_new_in_the_settings_is_served_from_its_newest_files(tmp_path: Path) -> None:
    states = await remembered(tmp_path / "a", of("c1"))
    newest = attrs.evolve(folder(a="x: 1"), others=(of("c2"),))
    found = await states.recall("main", newest)

    assert found is not None
    assert newest.contents is found.contents
    assert [{"a.yml": b"c1"}] == [each.contents for each in found.others]


async def test_two_sources_with_the_same_root_each_get_their_own_files(tmp_path: Path) -> None:
    states = await remembered(tmp_path / "a", attrs.evolve(folder(a="x: 1"), others=(folder(a="x: 2"),)))
    found = await states.recall("main", attrs.evolve(folder(a="y: 1"), others=(folder(a="y: 2"),)))

    assert found is not None
    assert [{"a.yml": b"x: 1"}, {"a.yml": b"x: 2"}] == [found.contents, found.others[0].contents]


async def test_a_commit_that_cannot_be_read_any_more_is_not_known_and_that_is_logged(tmp_path: Path) -> None:
    await remembered(tmp_path / "a", of("c1"))
    sources = Sources()
    sources.problem = SourceError("no source has the commit")
    states = AcceptedStates(tmp_path / "a", sources)
    with capture_logs() as logs:
        assert await states.recall("main", of("c2")) is None

    assert [(GIT, "c1")] == sources.asked
    assert [
        {
            "event": "accepted state unreadable",
            "log_level": "warning",
            "label": "main",
            "reason": "no source has the commit",
            "consequence": "the newest files are served, even if they break the gate's rules",
        }
    ] == logs


async def test_without_a_state_directory_nothing_is_known(autojump_clock: MockClock) -> None:
    states = AcceptedStates(None, Sources())
    states.note({"main": of("c1")})
    with trio.move_on_after(1) as scope:
        await states.run()

    assert scope.cancelled_caught
    assert await states.recall("main", of("c1")) is None


async def test_a_disk_that_hangs_does_not_hold_up_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def hangs(*_: object, **__: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(threads, "run_sync", hangs)
    states = AcceptedStates(tmp_path / "a", Sources())
    with capture_logs() as logs:
        for label in ("main", "dev", "next"):
            assert await states.recall(label, of("c1")) is None

    # Further labels don't wait.
    assert module.PATIENCE == trio.current_time()
    assert ["the disk didn't answer within 2 s"] == [each["reason"] for each in logs]


async def test_a_disk_that_did_not_answer_is_read_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    states = await remembered(tmp_path / "a", of("c1"))

    async def hangs(*_: object, **__: object) -> None:
        await trio.sleep_forever()

    with monkeypatch.context() as patched:
        patched.setattr(threads, "run_sync", hangs)
        assert await states.recall("main", of("c2")) is None

    async def reads(function: Any, *arguments: Any, **_: object) -> Any:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    monkeypatch.setattr(threads, "run_sync", reads)
    await trio.sleep(RETRY - 0.1)
    assert await states.recall("main", of("c2")) is None
    await trio.sleep(0.1)
    found = await states.recall("main", of("c2"))
    assert "c1" == (found and found.revision)


async def test_each_new_state_is_written_by_a_task_of_its_own(tmp_path: Path, nursery: trio.Nursery) -> None:
    states, reader = AcceptedStates(tmp_path / "a", Sources()), AcceptedFiles(tmp_path / "a", Sources())
    nursery.start_soon(states.run)
    for commit in ("c1", "c2"):
        states.note({"main": of(commit)})
        await wait_until(lambda: commit in [each.commit for each in reader.read("main")])  # noqa: B023 - it ends here
    states.forget()
    await wait_until(lambda: () == reader.read("main"))


async def test_the_last_state_is_written_at_the_end(tmp_path: Path, nursery: trio.Nursery) -> None:
    states = AcceptedStates(tmp_path / "a", Sources())
    async with trio.open_nursery() as inner:
        inner.start_soon(states.run)
        await trio.testing.wait_all_tasks_blocked()
        states.note({"main": of("c1")})
        inner.cancel_scope.cancel()

    assert ["c1"] == [each.commit for each in AcceptedFiles(tmp_path / "a", Sources()).read("main")]
    # Another process may write now.
    other = AcceptedFiles(tmp_path / "a", Sources())
    other.write({"main": of("c2")})
    assert ["c2"] == [each.commit for each in other.read("main")]


async def test_the_last_write_takes_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    states = AcceptedStates(tmp_path / "a", Sources())

    async def hangs(*_: object, **__: object) -> bool:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(threads, "run_sync", hangs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(states.run)
        await trio.testing.wait_all_tasks_blocked()
        states.note({"main": of("c1")})
        nursery.cancel_scope.cancel()

    assert module.LAST == trio.current_time()


async def test_a_write_that_fails_is_repeated_and_a_newer_state_is_written_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    tried: list[tuple[float, str]] = []
    outcomes = iter([False, False, True, True])

    async def write(function: Any, *_: object, **__: object) -> bool:
        await trio.lowlevel.checkpoint()
        [labels] = function.args
        tried.append((trio.current_time(), labels["main"].revision))
        return next(outcomes)

    states = AcceptedStates(tmp_path / "a", Sources())
    monkeypatch.setattr(threads, "run_sync", write)
    nursery.start_soon(states.run)
    states.note({"main": of("c1")})
    await trio.sleep(RETRY + 1)
    states.note({"main": of("c2")})
    await trio.sleep(1)
    await trio.sleep(2 * RETRY)

    assert [(0, "c1"), (RETRY, "c1"), (RETRY + 1, "c2")] == tried


async def test_a_state_that_arrives_during_a_write_is_written_afterwards(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    written: list[str] = []

    async def write(function: Any, *_: object, **__: object) -> bool:
        [labels] = function.args
        written.append(labels["main"].revision)
        await trio.sleep(1)
        return True

    states = AcceptedStates(tmp_path / "a", Sources())
    monkeypatch.setattr(threads, "run_sync", write)
    nursery.start_soon(states.run)
    states.note({"main": of("c1")})
    await trio.sleep(0.5)
    states.note({"main": of("c2")})
    await trio.sleep(10)

    assert ["c1", "c2"] == written


async def test_refused_states_are_written_and_recalled_by_the_next_process(tmp_path: Path) -> None:
    one, said = AcceptedStates(tmp_path / "a", Sources()), {"main": ("c2", 7.0)}
    assert {} == await one.recall_refused()
    one.note_refused(said)
    assert one._news.is_set()
    assert await one._write()
    assert one._opened is not None
    # The same isn't written again.
    one._news = trio.Event()
    one.note_refused({**said})
    assert not one._news.is_set()
    assert said == await AcceptedStates(tmp_path / "a", Sources()).recall_refused()
    one.note({"main": of("c1")})
    one.note_refused({})
    assert await one._write()
    assert {} == await AcceptedStates(tmp_path / "a", Sources()).recall_refused()
    one._opened.close()


async def test_refused_states_that_cannot_be_written_are_tried_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    states = AcceptedStates(tmp_path / "a", Sources())
    states.note_refused({"main": ("c2", 7.0)})
    assert not await states._write()
    (tmp_path / "a").unlink()
    assert await states._write()
    assert {"main": ("c2", 7.0)} == await states.recall_refused()


async def test_without_a_directory_no_refused_state_is_recalled() -> None:
    assert {} == await AcceptedStates(None, Sources()).recall_refused()


async def test_a_disk_that_does_not_answer_recalls_no_refused_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def hanging(*_: object, **__: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(threads, "run_sync", hanging)
    states = AcceptedStates(tmp_path / "a", Sources())
    began = trio.current_time()
    assert {} == await states.recall_refused() == await states.recall_refused()

    assert module.PATIENCE == trio.current_time() - began

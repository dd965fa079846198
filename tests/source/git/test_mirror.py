"""The mirror: the causes of failures, leftover files, free space on its disk, and the branch of the remote's HEAD."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from vortexd.aio import threads
from vortexd.core.errors import SourceError
from vortexd.source.git import fetch as fetching
from vortexd.source.git import mirror as mirrors
from vortexd.source.git.complaints import Fault
from vortexd.source.git.disk import Room
from vortexd.source.git.mirror import Mirror
from vortexd.source.git.process import Git, GitError
from vortexd.source.git.remotes import parse_remote
from vortexd.source.git.settings import GitSettings

from ...repository import Repository
from .test_fetch import refs_of, refused

GIB = 2**30


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "config.git")
    made.commit({"app.yml": "a: 1\n"})
    return made


@pytest.fixture
def mirror(repository: Repository, tmp_path: Path) -> Mirror:
    return mirror_of(repository, tmp_path)


def mirror_of(repository: Repository, tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "state/mirror.git", parse_remote(repository.uri), GitSettings(uri=repository.uri))


def failing(monkeypatch: pytest.MonkeyPatch, command: str, error: Callable[[], Exception]) -> None:
    """Have one command of git fail."""
    run = Git.run

    async def failed(self: Git, *arguments: str, **options: Any) -> bytes:
        if arguments[0] == command:
            raise error()
        return await run(self, *arguments, **options)

    monkeypatch.setattr(Git, "run", failed)


def rooms(monkeypatch: pytest.MonkeyPatch, *found: Room) -> None:
    """Have the disk show this room, then that; the last for ever."""
    left = list(found)
    monkeypatch.setattr(mirrors, "room_at", lambda _: left.pop(0) if len(left) > 1 else left[0])


# Whose fault it is.


@pytest.mark.parametrize("fault", [each for each in Fault if each is not Fault.UNKNOWN])
async def test_no_fault_that_is_known_is_the_mirrors(fault: Fault, mirror: Mirror) -> None:
    with mirror.owned():
        await mirror.prepare()

        assert not await mirror.is_at_fault(GitError("packfile is corrupt", fault))
        assert await mirror.is_at_fault(GitError("packfile is corrupt"))
        assert await mirror.is_at_fault(GitError("something else, and the remote answers"))


async def test_a_remote_that_is_away_is_not_the_mirrors_fault(mirror: Mirror, repository: Repository) -> None:
    with mirror.owned():
        await mirror.prepare()
        repository.path.rename(repository.path.with_name("away"))

        assert not await mirror.is_at_fault(GitError("something"))


@pytest.mark.parametrize("fault", [Fault.LATE, Fault.FULL])
async def test_a_mirror_that_can_not_be_read_now_is_kept(
    fault: Fault, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirror.owned():
        await mirror.prepare()
        await mirror.fetch(30)
        failing(monkeypatch, "for-each-ref", lambda: GitError("slow", fault))
        with pytest.raises(GitError, match="slow"):
            await mirror.prepare()

    assert refs_of(Path(mirror.git.directory))


# What a failed fetch leaves behind.


def leave_halves(mirror: Mirror) -> list[Path]:
    root = Path(mirror.git.directory)
    (root / "objects/pack").mkdir(exist_ok=True)
    left = [root / name for name in ("objects/pack/tmp_pack_x", "objects/incoming-x", "shallow.lock")]
    left[1].mkdir()
    for path in (left[0], left[2]):
        path.touch()
    return left


@pytest.mark.parametrize(("fault", "keeps_locks"), [(Fault.UNKNOWN, True), (Fault.LATE, False), (Fault.FULL, True)])
async def test_the_halves_of_a_failed_fetch_are_removed_at_once(
    fault: Fault, keeps_locks: bool, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirror.owned():
        await mirror.prepare()
        pack, incoming, lock = leave_halves(mirror)
        failing(monkeypatch, "fetch", lambda: GitError("broken off", fault))
        with pytest.raises(GitError, match="broken off"):
            await mirror.fetch(30)

    assert not pack.exists()
    assert not incoming.exists()
    assert keeps_locks == lock.exists()


# Room.


async def test_a_full_disk_is_said_with_what_helps(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    with mirror.owned():
        await mirror.prepare()
        failing(monkeypatch, "fetch", lambda: GitError("write error: No space left on device", Fault.FULL))
        with pytest.raises(GitError, match="No space left on device") as caught:
            await mirror.fetch(30)

    assert Fault.FULL is caught.value.fault
    assert str(caught.value).startswith(f"the disk of {Path(mirror.git.directory).parent} is full; free some")
    assert "server.state_directory" in str(caught.value)


@pytest.mark.parametrize(
    ("room", "fault", "told"),
    [
        (Room(0, 100), Fault.UNKNOWN, Fault.FULL),
        (Room(GIB, 0), Fault.UNKNOWN, Fault.FULL),
        (Room(GIB, 100), Fault.UNKNOWN, Fault.UNKNOWN),
        (Room(GIB, None), Fault.FULL, Fault.FULL),
        (Room(0, 100), Fault.LATE, Fault.LATE),
        (Room(0, 100), Fault.REMOTE, Fault.REMOTE),
    ],
)
async def test_a_disk_without_room_is_full_whatever_git_says(
    room: Room, fault: Fault, told: Fault, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirror.owned():
        await mirror.prepare()
        rooms(monkeypatch, room)
        failing(monkeypatch, "fetch", lambda: GitError("broken off", fault))
        with pytest.raises(GitError, match="broken off") as caught:
            await mirror.fetch(30)

    assert told is caught.value.fault


async def test_a_mirror_that_is_gone_has_no_room_to_speak_of(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "fetch", lambda: GitError("broken off"))
    with pytest.raises(GitError, match="broken off") as caught:
        await mirror.fetch(30)

    assert Fault.UNKNOWN is caught.value.fault


async def inline(function: Callable[..., Any], *arguments: Any) -> Any:
    """In place of a thread, which a clock that jumps doesn't wait for."""
    return function(*arguments)


async def waited(mirror: Mirror, seconds: float, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the wait for room has ended within this time."""
    monkeypatch.setattr(threads, "run_sync", inline)
    with trio.move_on_after(seconds):
        await mirror.wait_for_room()
        return True
    return False


async def test_the_wait_for_room_ends_when_there_is_more_than_after_the_failure(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    # Before the half pack is removed, and after.
    rooms(
        monkeypatch, Room(0, 100), Room(5_000_000, 100), Room(5_000_000, 100), Room(5_900_000, 100), Room(7_000_000, 9)
    )
    error = mirror._cleaned_up(GitError("write error", Fault.UNKNOWN))
    began = trio.current_time()

    assert Fault.FULL is error.fault
    assert await waited(mirror, 60, monkeypatch)
    assert 3.0 == trio.current_time() - began


async def test_a_disk_that_can_not_be_looked_at_is_looked_at_again(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    rooms(monkeypatch, Room(0, 100))
    mirror._cleaned_up(GitError("write error", Fault.FULL))
    answers: list[OSError | Room] = [OSError("away"), Room(GIB, 100)]

    def look(_: Path) -> Room:
        found = answers.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(mirrors, "room_at", look)
    began = trio.current_time()

    assert await waited(mirror, 60, monkeypatch)
    assert 2.0 == trio.current_time() - began


async def test_where_the_disk_was_not_full_nobody_waits_for_room(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    rooms(monkeypatch, Room(GIB, 100))
    mirror._cleaned_up(GitError("away", Fault.UNKNOWN))

    assert not await waited(mirror, 3_600, monkeypatch)


async def test_the_next_fetch_ends_the_wait_for_room(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    with mirror.owned():
        await mirror.prepare()
        mirror._cleaned_up(GitError("write error", Fault.FULL))
        assert mirror._room is not None
        await mirror.fetch(30)

    assert mirror._room is None


async def test_a_rebuild_on_a_full_disk_waits_for_room_too(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    with mirror.owned():
        await mirror.prepare()
        await mirror.fetch(30)
        monkeypatch.setattr(
            mirrors, "_write_trust", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        with pytest.raises(GitError, match="can't be made anew: no space left") as caught:
            await mirror.rebuild()

    assert Fault.FULL is caught.value.fault
    assert mirror._room is not None
    assert refs_of(Path(mirror.git.directory))


# What a fetch has brought.


async def test_a_fetch_says_what_the_mirror_has_and_whether_it_is_new(mirror: Mirror, repository: Repository) -> None:
    with mirror.owned():
        await mirror.prepare()
        first = await mirror.fetch(30)
        second = await mirror.fetch(30)
        repository.commit({"app.yml": "a: 2\n"})
        third = await mirror.fetch(30)

    assert [True, False, True] == [each.is_new for each in (first, second, third)]
    assert refs_of(repository.path) == {name: ref.id for name, ref in third.refs.items()}
    assert ({}, "") == (third.refused, third.problem)


async def test_what_is_refused_is_remembered_over_a_restart(
    mirror: Mirror, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(repository)
    with mirror.owned():
        await mirror.prepare()
        first = await mirror.fetch(30)
    other = mirror_of(repository, tmp_path)
    monkeypatch.setattr(fetching, "_MOST_FETCHES", 0)
    with other.owned():
        assert await other.prepare()
        again = await other.fetch(30)

    assert {"refs/heads/bad"} == set(first.refused)
    assert (first.refused, "") == (again.refused, again.problem)


# A rebuild.


async def test_a_rebuilt_mirror_has_the_same_head_and_the_same_refusals(
    mirror: Mirror, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.git("update-ref", "refs/heads/trunk", "refs/heads/main")
    repository.git("symbolic-ref", "HEAD", "refs/heads/trunk")
    refused(repository)
    with mirror.owned(), capture_logs() as logs:
        await mirror.prepare()
        await mirror.fetch(30)
        assert await mirror.follow_head(30)
        monkeypatch.setattr(fetching, "_MOST_FETCHES", 0)
        fetched = await mirror.rebuild()
        again = await mirror.fetch(30)

    assert {"refs/heads/main", "refs/heads/trunk"} == set(fetched.refs) == set(refs_of(Path(mirror.git.directory)))
    assert {"refs/heads/bad"} == set(fetched.refused) == set(again.refused)
    assert "refs/heads/trunk" == Repository(Path(mirror.git.directory)).git("symbolic-ref", "HEAD").strip()
    assert 1 == sum(entry["event"] == "mirror rebuilt" for entry in logs)


def is_gone(mirror: Mirror) -> bool:
    """Whether nothing is left of a mirror that was made anew in vain."""
    return not Path(mirror.git.directory + ".new").exists()


async def test_a_rebuild_that_would_lose_what_a_bad_ref_had_changes_nothing(
    mirror: Mirror, repository: Repository
) -> None:
    repository.commit({"app.yml": "a: 1\n"}, "dev", parent="main")
    with mirror.owned():
        await mirror.prepare()
        before = await mirror.fetch(30)
        refused(repository, "dev")
        with pytest.raises(GitError, match="can't be made anew without refs/heads/dev: object") as caught:
            await mirror.rebuild()

    assert Fault.OBJECT is caught.value.fault
    assert {name: ref.id for name, ref in before.refs.items()} == refs_of(Path(mirror.git.directory))
    assert is_gone(mirror)


async def test_a_rebuild_that_does_not_get_all_in_time_changes_nothing_and_is_nearer_the_next_time(
    mirror: Mirror, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirror.owned():
        await mirror.prepare()
        await mirror.fetch(30)
        before = refs_of(Path(mirror.git.directory))
        refused(repository, "a")
        refused(repository, "b", ".GIT")
        monkeypatch.setattr(fetching, "_MOST_FETCHES", 3)
        with pytest.raises(GitError, match="one by one") as caught:
            await mirror.rebuild()
        assert Fault.OBJECT is caught.value.fault
        assert before == refs_of(Path(mirror.git.directory))
        fetched = await mirror.rebuild()

    assert {"refs/heads/main"} == set(fetched.refs)
    assert {"refs/heads/a", "refs/heads/b"} == set(fetched.refused)


# The remote's HEAD.


async def test_the_branch_of_the_remotes_head_is_remembered_over_a_restart(
    mirror: Mirror, repository: Repository, tmp_path: Path
) -> None:
    repository.git("branch", "-m", "main", "trunk")
    repository.git("symbolic-ref", "HEAD", "refs/heads/trunk")
    with mirror.owned():
        await mirror.prepare()
        assert "refs/heads/main" == mirror.head
        await mirror.fetch(30)
        assert [True, False] == [await mirror.follow_head(30), await mirror.follow_head(30)]
        assert "refs/heads/trunk" == mirror.head
    repository.path.rename(tmp_path / "away")
    other = mirror_of(repository, tmp_path)
    with other.owned():
        await other.prepare()

    assert "refs/heads/trunk" == other.head


async def test_a_head_that_stands_for_no_branch_is_none(mirror: Mirror, repository: Repository) -> None:
    repository.git("symbolic-ref", "HEAD", "refs/heads/trunk")
    repository.git("update-ref", "refs/heads/trunk", "refs/heads/main")
    with mirror.owned():
        await mirror.prepare()
        await mirror.follow_head(30)
        repository.git("update-ref", "--no-deref", "HEAD", "refs/heads/main")

        assert await mirror.follow_head(30)
    assert "refs/heads/main" == mirror.head


async def test_a_remote_that_can_not_be_asked_is_no_fault_of_the_mirror(mirror: Mirror, repository: Repository) -> None:
    with mirror.owned():
        await mirror.prepare()
        repository.path.rename(repository.path.with_name("away"))
        with pytest.raises(SourceError, match="git ls-remote failed") as caught:
            await mirror.follow_head(30)

    assert not isinstance(caught.value, GitError)
    assert "refs/heads/main" == mirror.head


async def test_a_head_that_can_not_be_written_is_followed_nonetheless(
    mirror: Mirror, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.git("branch", "-m", "main", "trunk")
    repository.git("symbolic-ref", "HEAD", "refs/heads/trunk")
    failing(monkeypatch, "symbolic-ref", lambda: GitError("full", Fault.FULL))
    with mirror.owned():
        await mirror.prepare()

        assert await mirror.follow_head(30)
    assert "refs/heads/trunk" == mirror.head


async def test_a_mirror_whose_head_is_no_branch_is_used_as_it_is(
    mirror: Mirror, repository: Repository, tmp_path: Path
) -> None:
    with mirror.owned():
        await mirror.prepare()
        await mirror.fetch(30)
    Repository(Path(mirror.git.directory)).git("update-ref", "--no-deref", "HEAD", "refs/heads/main")
    other = mirror_of(repository, tmp_path)
    with other.owned(), capture_logs() as logs:
        assert await other.prepare()

    assert "refs/heads/main" == other.head
    assert ["mirror opened"] == [entry["event"] for entry in logs]


# The order of commits.


async def test_the_mirror_tells_which_commit_is_an_ancestor_of_another(
    repository: Repository, mirror: Mirror, tmp_path: Path
) -> None:
    first = repository.git("rev-parse", "HEAD").strip()
    second = repository.commit({"app.yml": "a: 2\n"})
    repository.git("branch", "other", first)
    with mirror.owned():
        await mirror.prepare()
        await mirror.fetch(30)

        assert await mirror.is_before(first, second) is True
        assert await mirror.is_before(second, first) is False
        assert await mirror.is_before(first, "0" * 40) is None
        assert await mirror.is_before("0" * 40, first) is None


@pytest.mark.parametrize("text", ["", "main", "--all", "a" * 39, "A" * 40, "a" * 41, "a" * 40 + "\n"])
async def test_only_full_ids_are_given_to_git(mirror: Mirror, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "rev-list", lambda: AssertionError("git was asked"))

    assert await mirror.is_before(text, "a" * 40) is None
    assert await mirror.is_before("a" * 40, text) is None

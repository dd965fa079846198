"""Commits that the server makes in a mirror, and pushes to real repositories: their content, and pushes that fail."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from vortexd.core.pushes import FileChange, NewCommit, PushError, PushFault
from vortexd.source.git import push as module
from vortexd.source.git.process import Git, TooMuch
from vortexd.source.git.push import INDEX, Push, author_name, pushing
from vortexd.source.git.remotes import parse_remote
from vortexd.source.git.settings import GitSettings

from ...repository import Repository

SECONDS = 1_800_000_000


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "config.git")
    made.commit({"application.yml": "a: 1\n", "orders.yml": "b: 1\n", "team/x.yml": "c: 1\n"})
    return made


def mirror_of(repository: Repository, directory: Path, **settings: Any) -> Git:
    """The git program for a mirror of a repository, as `Mirror` makes it."""
    found = Repository(directory)
    found.git("fetch", "--quiet", repository.uri, "+refs/heads/*:refs/heads/*")
    values = {"read_timeout": 20.0, "fetch_timeout": 20.0, **settings}
    return Git(str(directory), parse_remote(repository.uri), GitSettings(kind="git", uri=repository.uri, **values))


def new(head: str, *changes: tuple[str, bytes | None], author: str = "ada", origin: str = "") -> NewCommit:
    files = [FileChange(*each) for each in changes]
    return NewCommit(head, files, "Roll back x\n\nWhy: ä\n", author, SECONDS, origin)


def head_of(repository: Repository, branch: str = "main") -> str:
    return repository.git("rev-parse", f"refs/heads/{branch}").strip()


def hook(repository: Repository, name: str, text: str) -> None:
    path = repository.path / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


async def failure(act: Callable[[], Any]) -> PushError:
    with pytest.raises(PushError) as caught:
        await act()
    return caught.value


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    with trio.fail_after(20):
        while not is_so():  # noqa: ASYNC110 - no event tells of another process
            await trio.sleep(0.01)


def has_ended(pid: Path) -> bool:
    """Whether the process has ended whose number a file holds. Killed processes end soon, but not at once."""
    status = Path(f"/proc/{pid.read_text().strip()}/status")
    try:
        return "\nState:\tZ" in status.read_text()
    except FileNotFoundError:
        return True


# The commit.


async def test_a_commit_changes_creates_and_deletes_exactly_its_files(repository: Repository, tmp_path: Path) -> None:
    git, head = mirror_of(repository, tmp_path / "mirror"), head_of(repository)
    commit = await Push(git).commit(new(head, ("orders.yml", b"b: 2\n"), ("new/y.yml", b""), ("team/x.yml", None)))

    mirror = Repository(tmp_path / "mirror")
    changed = mirror.git("diff-tree", "-r", "--name-status", head, commit).split("\n")
    assert ["A\tnew/y.yml", "M\torders.yml", "D\tteam/x.yml", ""] == changed
    assert "b: 2\n" == mirror.git("cat-file", "blob", f"{commit}:orders.yml")
    assert head == mirror.git("rev-parse", f"{commit}^").strip()


async def test_a_commit_names_its_author_the_server_and_the_time(repository: Repository, tmp_path: Path) -> None:
    git = mirror_of(repository, tmp_path / "mirror", push_email="config@example.org")
    commit = await Push(git).commit(new(head_of(repository), ("orders.yml", b"b: 2\n"), author="Ada <x>\n"))

    text = Repository(tmp_path / "mirror").git("cat-file", "commit", commit)
    assert f"author Ada x <config@example.org> {SECONDS} +0000\n" in text
    assert f"committer vortexd <config@example.org> {SECONDS} +0000\n" in text
    assert text.endswith("\n\nRoll back x\n\nWhy: ä\n")


async def test_without_an_address_the_author_is_at_this_machine(repository: Repository, tmp_path: Path) -> None:
    commit = await Push(mirror_of(repository, tmp_path / "mirror")).commit(new(head_of(repository), ("x", b"")))

    text = Repository(tmp_path / "mirror").git("cat-file", "commit", commit)
    assert 2 == text.count("<vortexd@localhost>")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("ada", "ada"),
        ("  Ada L.  ", "Ada L"),
        ("a<b>c\n\x1b[1m", "abc[1m"),
        ("", "unknown"),
        (" .,:;<>\"\\'", "unknown"),
        ("x" * 101, "x" * 100),
    ],
)
def test_any_name_becomes_the_name_of_an_author(given: str, name: str) -> None:
    assert name == author_name(given)


async def test_a_file_keeps_its_mode_and_a_link_becomes_a_file(repository: Repository, tmp_path: Path) -> None:
    modes = {"run.yml": "100755", "link.yml": "120000"}
    head = repository.commit({"run.yml": "a: 1\n", "link.yml": "orders.yml"}, modes=modes)
    git = mirror_of(repository, tmp_path / "mirror")
    commit = await Push(git).commit(new(head, ("run.yml", b"a: 2\n"), ("link.yml", b"b: 3\n")))

    listed = Repository(tmp_path / "mirror").git("ls-tree", "-r", commit).splitlines()
    assert {"run.yml": "100755", "link.yml": "100644"} == {
        each.split("\t")[1]: each.split(" ")[0] for each in listed if each.split("\t")[1] in modes
    }


@pytest.mark.parametrize(
    ("path", "content", "problem"),
    [
        ("team", b"x", "team can't be restored, because other files are in its place"),
        ("orders.yml/x.yml", b"x", "orders.yml/x.yml can't be restored, because other files are in its place"),
        ("missing.yml", None, "missing.yml can't be deleted, because there is no such file"),
        ("team", None, "team can't be deleted, because there is no such file"),
        ("team/x.yml/y/z.yml", b"x", "team/x.yml/y/z.yml can't be restored, because other files are in its place"),
    ],
)
async def test_a_commit_that_would_touch_other_files_is_refused(
    path: str, content: bytes | None, problem: str, repository: Repository, tmp_path: Path
) -> None:
    push = Push(mirror_of(repository, tmp_path / "mirror"))
    error = await failure(lambda: push.commit(new(head_of(repository), (path, content))))

    assert (PushFault.REJECTED, problem) == (error.fault, str(error))


async def test_a_file_may_take_the_place_of_a_directory_that_goes_with_it(
    repository: Repository, tmp_path: Path
) -> None:
    push, mirror = Push(mirror_of(repository, tmp_path / "mirror")), Repository(tmp_path / "mirror")
    commit = await push.commit(new(head_of(repository), ("team", b"x"), ("team/x.yml", None)))
    assert ["application.yml", "orders.yml", "team"] == mirror.git("ls-tree", "-r", "--name-only", commit).split()

    back = await push.commit(new(commit, ("team/x.yml", b"c: 1\n"), ("team", None)))
    assert repository.git("rev-parse", "main^{tree}") == mirror.git("rev-parse", back + "^{tree}")


async def test_a_file_that_is_made_again_has_the_mode_that_it_has_where_it_comes_from(
    repository: Repository, tmp_path: Path
) -> None:
    modes = {"run.yml": "100755", "link.yml": "120000", "kept.yml": "100755", "team/run": "100755"}
    files = dict.fromkeys([*modes, "plain.yml"], "orders.yml")
    origin = repository.commit({**files}, modes=modes)
    head = repository.commit({**dict.fromkeys(files), "kept.yml": "a: 1\n", "team/run/x.yml": "a: 1\n"})
    git, mirror = mirror_of(repository, tmp_path / "mirror"), Repository(tmp_path / "mirror")
    changes: list[tuple[str, bytes | None]] = [(path, b"a: 2\n") for path in files]
    commit = await Push(git).commit(new(head, *changes, ("team/run/x.yml", None), origin=origin))

    found = {path: mirror.git("ls-tree", commit, path).split()[0] for path in files}
    plain = dict.fromkeys(files, "100644")
    assert {**plain, "run.yml": "100755", "team/run": "100755"} == found
    # Without an origin no new file is executable.
    other = await Push(git).commit(new(head, ("run.yml", b"x")))
    assert mirror.git("ls-tree", other, "run.yml").startswith("100644 ")


async def test_new_files_can_not_take_the_places_of_each_other(repository: Repository, tmp_path: Path) -> None:
    push = Push(mirror_of(repository, tmp_path / "mirror"))
    error = await failure(lambda: push.commit(new(head_of(repository), ("n/a", b"x"), ("n", b"x"))))

    assert (PushFault.REJECTED, "n can't be restored, because other files are in its place") == (
        error.fault,
        str(error),
    )


async def test_a_directory_of_many_files_is_not_replaced_either(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_OTHERS_BYTES", 20)
    head = repository.commit({f"team/{number}.yml": "a: 1\n" for number in range(10)})
    push = Push(mirror_of(repository, tmp_path / "mirror"))
    changes = ("orders.yml", None), ("new.yml", b"x"), ("team", b"x")
    error = await failure(lambda: push.commit(new(head, *changes)))

    assert (PushFault.REJECTED, "team can't be restored, because other files are in its place") == (
        error.fault,
        str(error),
    )


async def test_only_the_changed_files_are_read_from_git(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of all files would hold the event loop in a large repository."""
    head = repository.commit({f"team/{number:04}.yml": "a: 1\n" for number in range(2_000)})
    push, moved = Push(mirror_of(repository, tmp_path / "mirror")), 0
    run = Git.run

    async def counted(self: Git, *arguments: str, input: bytes = b"", **more: Any) -> bytes:
        nonlocal moved
        output = await run(self, *arguments, input=input, **more)
        moved += len(input) + len(output)
        return output

    monkeypatch.setattr(Git, "run", counted)
    await push.commit(new(head, ("orders.yml", b"b: 2\n"), ("team/0007.yml", None), ("team/x", b"")))
    assert moved < 2_000


async def test_many_paths_are_asked_for_in_several_groups(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_ARGUMENTS_BYTES", 12)
    paths = ["a", "b/cdefgh", "b/i", "j/klmnopqrstuvwxyz", "\u00e4"]
    head = repository.commit(dict.fromkeys(paths, "a: 1\n"), modes=dict.fromkeys(paths, "100755"))
    git, mirror = mirror_of(repository, tmp_path / "mirror"), Repository(tmp_path / "mirror")
    commit = await Push(git).commit(new(head, *((path, b"x") for path in paths)))

    assert 5 == mirror.git("diff-tree", "-r", head, commit).count("100755 100755")
    assert [["a", "b/cdefgh"], ["b/i"], ["j/klmnopqrstuvwxyz"], ["\u00e4"]] == [*module._batches(paths)]
    assert [] == [*module._batches([])]


def test_a_commit_that_would_change_another_file_is_not_made() -> None:
    """Nothing but a fault of this program or of git would do that."""
    change = new("1" * 40, ("orders.yml", b"x"))
    with pytest.raises(PushError, match="the commit would change other files") as caught:
        module._check(change, {}, {"orders.yml", "other.yml"})

    assert PushFault.LOCAL is caught.value.fault
    module._check(change, {}, {"orders.yml"})


async def test_everything_else_in_the_tree_stays_as_it_is(repository: Repository, tmp_path: Path) -> None:
    """Submodules, links, modes, hidden files and names of any bytes."""
    modes = {"sub": "160000", "link": "120000", "run": "100755"}
    others: dict[str, str | bytes | None] = {"sub": "1" * 40, "link": "run", "run": "x", ".hidden/a b\u00e4": "y"}
    head = repository.commit(others, modes=modes)
    push, mirror = Push(mirror_of(repository, tmp_path / "mirror")), Repository(tmp_path / "mirror")
    commit = await push.commit(new(head, ("orders.yml", b"b: 2\n")))

    changed = mirror.git("diff-tree", "-r", "--name-status", head, commit)
    assert "M\torders.yml\n" == changed


async def test_a_tree_that_is_too_large_to_list_is_an_error(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = Push(mirror_of(repository, tmp_path / "mirror"))

    async def too_much(*_: str, **__: Any) -> bytes:
        raise TooMuch("git ls-tree printed more than 5 bytes")

    monkeypatch.setattr(push, "_run", too_much)
    error = await failure(lambda: push.commit(new(head_of(repository), ("orders.yml", b"x"))))
    assert (PushFault.LOCAL, "the commit can't be made: git ls-tree printed more than 5 bytes") == (
        error.fault,
        str(error),
    )


async def test_special_characters_of_a_path_mean_nothing(repository: Repository, tmp_path: Path) -> None:
    head = repository.commit({"a[1]*.yml": "a: 1\n", "a1.yml": "a: 1\n"})
    git = mirror_of(repository, tmp_path / "mirror")
    commit = await Push(git).commit(new(head, ("a[1]*.yml", b"x"), (":(top)x.yml", b"y")))

    changed = Repository(tmp_path / "mirror").git("diff-tree", "-r", "--name-only", head, commit).splitlines()
    assert [":(top)x.yml", "a[1]*.yml"] == changed


async def test_the_mirror_keeps_its_refs_and_no_index_stays(repository: Repository, tmp_path: Path) -> None:
    git, head = mirror_of(repository, tmp_path / "mirror"), head_of(repository)
    mirror = Repository(tmp_path / "mirror")
    before = mirror.git("for-each-ref")
    push = Push(git)
    commit = await push.commit(new(head, ("orders.yml", b"b: 2\n")))
    await push.push("main", head, commit)

    assert before == mirror.git("for-each-ref")
    assert commit == head_of(repository)
    assert not (tmp_path / "mirror" / INDEX).exists()


async def test_an_index_that_a_killed_process_has_left_is_replaced(repository: Repository, tmp_path: Path) -> None:
    git, head = mirror_of(repository, tmp_path / "mirror"), head_of(repository)
    (tmp_path / "mirror" / INDEX).write_bytes(b"garbage")

    assert await Push(git).commit(new(head, ("orders.yml", b"b: 2\n")))


async def test_two_commits_at_once_do_not_share_an_index(repository: Repository, tmp_path: Path) -> None:
    git, head = mirror_of(repository, tmp_path / "mirror"), head_of(repository)
    push, made = Push(git), {}

    async def make(path: str) -> None:
        made[path] = await push.commit(new(head, (path, b"new: 1\n")))

    async with trio.open_nursery() as nursery:
        for path in ("orders.yml", "application.yml"):
            nursery.start_soon(make, path)

    mirror = Repository(tmp_path / "mirror")
    for path, commit in made.items():
        assert f"{path}\n" == mirror.git("diff-tree", "-r", "--name-only", head, commit)


async def test_a_mirror_without_the_head_is_an_error(repository: Repository, tmp_path: Path) -> None:
    push = Push(mirror_of(repository, tmp_path / "mirror"))
    error = await failure(lambda: push.commit(new("1" * 40, ("orders.yml", b"x"))))

    assert PushFault.LOCAL is error.fault
    assert str(error).startswith("the commit can't be made: git ls-tree failed: ")


# The push.


async def made(repository: Repository, tmp_path: Path, **settings: Any) -> tuple[Push, str, str]:
    """A commit that isn't pushed yet, on the head of the repository."""
    git, head = mirror_of(repository, tmp_path / "mirror", **settings), head_of(repository)
    push = Push(git)
    return push, head, await push.commit(new(head, ("orders.yml", b"b: 2\n")))


async def test_a_branch_that_moved_meanwhile_stays_as_it_is(repository: Repository, tmp_path: Path) -> None:
    push, head, commit = await made(repository, tmp_path)
    moved = repository.commit({"orders.yml": "b: 3\n"})
    error = await failure(lambda: push.push("main", head, commit))

    assert PushFault.MOVED is error.fault
    assert f"! {commit}:refs/heads/main [rejected] (" in str(error)
    assert moved == head_of(repository)


async def test_the_same_commit_of_another_worker_is_not_taken_for_ones_own(
    repository: Repository, tmp_path: Path
) -> None:
    push, head, commit = await made(repository, tmp_path)
    await push.push("main", head, commit)
    error = await failure(lambda: push.push("main", head, commit))

    assert (PushFault.MOVED, "the remote has the same commit already") == (error.fault, str(error))


async def test_commits_that_were_removed_at_the_remote_do_not_come_back(repository: Repository, tmp_path: Path) -> None:
    first = head_of(repository)
    repository.commit({"orders.yml": "secret: x\n"})
    push, head, commit = await made(repository, tmp_path)
    repository.git("update-ref", "refs/heads/main", first)

    assert PushFault.MOVED is (await failure(lambda: push.push("main", head, commit))).fault
    assert first == head_of(repository)


async def test_a_branch_that_was_deleted_is_not_made_again(repository: Repository, tmp_path: Path) -> None:
    repository.commit({"x.yml": "a: 1"}, "dev", parent="main")
    git, head = mirror_of(repository, tmp_path / "mirror"), head_of(repository, "dev")
    push = Push(git)
    commit = await push.commit(new(head, ("x.yml", b"a: 2")))
    repository.git("update-ref", "-d", "refs/heads/dev")

    assert PushFault.MOVED is (await failure(lambda: push.push("dev", head, commit))).fault
    assert not repository.has("refs/heads/dev")


async def test_a_tag_of_the_same_name_stays_as_it_is(repository: Repository, tmp_path: Path) -> None:
    push, head, commit = await made(repository, tmp_path)
    repository.git("tag", "main", head)
    await push.push("main", head, commit)

    assert [commit, head] == [repository.git("rev-parse", ref).strip() for ref in ("refs/heads/main", "refs/tags/main")]


async def test_a_hook_that_refuses_is_named_with_its_words(repository: Repository, tmp_path: Path) -> None:
    hook(repository, "pre-receive", "echo open a merge request >&2; echo in the portal >&2; exit 1")
    push, head, commit = await made(repository, tmp_path)
    error = await failure(lambda: push.push("main", head, commit))

    assert PushFault.REJECTED is error.fault
    assert "(pre-receive hook declined)" in str(error)
    assert str(error).endswith("; the remote says: open a merge request / in the portal")
    assert head == head_of(repository)


async def test_a_remote_that_is_away_is_an_error(repository: Repository, tmp_path: Path) -> None:
    push, head, commit = await made(repository, tmp_path)
    repository.path.rename(tmp_path / "gone")

    assert PushFault.AWAY is (await failure(lambda: push.push("main", head, commit))).fault


async def test_a_secret_that_can_not_be_read_is_an_error(repository: Repository, tmp_path: Path) -> None:
    push, head, commit = await made(repository, tmp_path, push_password_file=str(tmp_path / "missing"))
    error = await failure(lambda: push.push("main", head, commit))

    assert (PushFault.LOCAL, f"{tmp_path}/missing can't be read: No such file or directory") == (
        error.fault,
        str(error),
    )


async def test_a_push_that_takes_too_long_ends_and_its_outcome_is_unknown(
    repository: Repository, tmp_path: Path
) -> None:
    hook(repository, "pre-receive", f"echo $$ > {tmp_path}/pid; exec sleep 60")
    push, head, commit = await made(repository, tmp_path, fetch_timeout=1.0)
    error = await failure(lambda: push.push("main", head, commit))

    assert (PushFault.UNKNOWN, "git push took longer than 1 s") == (error.fault, str(error))
    assert head == head_of(repository)
    await until(lambda: has_ended(tmp_path / "pid"))


async def test_a_push_has_a_deadline_of_its_own(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PUSH_SECONDS", 0.5)
    hook(repository, "pre-receive", "exec sleep 60")
    push, head, commit = await made(repository, tmp_path)

    assert "git push took longer than 0.5 s" == str(await failure(lambda: push.push("main", head, commit)))


async def test_a_push_that_has_arrived_although_git_does_not_know_is_done(
    repository: Repository, tmp_path: Path
) -> None:
    hook(repository, "post-receive", "exec sleep 60")
    push, head, commit = await made(repository, tmp_path, fetch_timeout=2.0)
    with capture_logs() as logs:
        await push.push("main", head, commit)

    assert commit == head_of(repository)
    [said] = [each for each in logs if each["event"] == "push confirmed"]
    assert ("main", commit, "git push took longer than 2 s") == (said["branch"], said["commit"], said["reason"])


async def test_a_cancelled_push_leaves_no_process(repository: Repository, tmp_path: Path) -> None:
    hook(repository, "pre-receive", f"echo $$ > {tmp_path}/new && mv {tmp_path}/new {tmp_path}/pid; exec sleep 60")
    push, head, commit = await made(repository, tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(push.push, "main", head, commit)
        await until((tmp_path / "pid").exists)
        nursery.cancel_scope.cancel()

    assert head == head_of(repository)
    await until(lambda: has_ended(tmp_path / "pid"))


# The credentials.


def test_the_credentials_for_pushing_come_before_those_for_fetching(tmp_path: Path) -> None:
    own = {"push_username": "u", "push_password_file": "/p", "push_ssh_key": "/k"}
    settings = GitSettings(uri="https://a.example/x", username="f", password_file="/f", ssh_key="/s")
    git = Git("/x", parse_remote(settings.uri), settings)
    both = Git("/x", git.remote, GitSettings(**{**_given(settings), **own}))

    assert ("f", "/f", "/s") == _credentials(pushing(git))
    assert ("u", "/p", "/k") == _credentials(pushing(both))
    assert ("f", "/f", "/s") == _credentials(both)


def _given(settings: GitSettings) -> dict[str, Any]:
    return {"uri": settings.uri, "username": settings.username} | {
        "password_file": settings.password_file,
        "ssh_key": settings.ssh_key,
    }


def _credentials(git: Git) -> tuple[str, str, str]:
    return git.settings.username, git.settings.password_file, git.settings.ssh_key

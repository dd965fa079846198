"""Fetches from real repositories: the objects that are accepted. A refused object doesn't delay any other ref."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from vortexd.source.git import fetch as fetching
from vortexd.source.git.complaints import Fault
from vortexd.source.git.fetch import Fetch
from vortexd.source.git.process import Git, GitError, trusting
from vortexd.source.git.remotes import parse_remote
from vortexd.source.git.settings import GitSettings

from ...repository import Repository

GUARDED = "object {id}: hasDotgit: contains '.git'"


@attrs.define
class Fetched:
    """A mirror of a repository, fetched as often as a test wants."""

    repository: Repository
    mirror: Path
    fetch: Fetch
    calls: list[str] = attrs.field(factory=list)

    async def run(self, timeout: float = 30.0) -> list[str]:
        """Fetch, and return which commands of git spoke to the remote for it."""
        self.calls.clear()
        await self.fetch.run(timeout)
        return list(self.calls)

    def refs(self) -> dict[str, str]:
        """What the mirror has: name to id."""
        return refs_of(self.mirror)

    def files(self) -> set[str]:
        """What lies among the mirror's packs, without the names of packs and indexes."""
        return {path.name for path in (self.mirror / "objects/pack").iterdir() if not path.name.startswith("pack-")}

    def anew(self) -> "Fetched":
        """The same mirror in another process."""
        return attrs.evolve(self, fetch=Fetch(self.fetch.git))


def refs_of(path: Path) -> dict[str, str]:
    listed = Repository(path).git("for-each-ref", "--format=%(refname) %(objectname)")
    return dict(line.split(" ") for line in listed.splitlines())


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "config.git")
    made.commit({"app.yml": "a: 1\n"})
    return made


@pytest.fixture
def fetched(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetched:
    return mirrored(repository, tmp_path / "mirror.git", monkeypatch)


def mirrored(repository: Repository, mirror: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Fetched:
    Repository(mirror)
    Path(trusting(str(mirror))).write_text(f'[safe]\n\tdirectory = "{repository.path}"\n')
    git = Git(str(mirror), parse_remote(repository.uri), GitSettings(uri=repository.uri, **settings))
    made = Fetched(repository, mirror, Fetch(git))
    run = Git.run

    async def counted(self: Git, *arguments: str, **options: Any) -> bytes:
        if options.get("is_remote"):
            made.calls.append(arguments[0])
        return await run(self, *arguments, **options)

    monkeypatch.setattr(Git, "run", counted)
    return made


# Objects that git has something to say of.


def tree_of(repository: Repository, *entries: tuple[str, str, str]) -> str:
    """A tree of entries as they are, whatever git thinks of them."""
    data = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(id) for mode, name, id in entries)
    return repository.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", input=data).strip()


def commit_of(repository: Repository, tree: str, branch: str, parent: str = "main") -> str:
    commit = repository.git("commit-tree", "-m", "x", "-p", parent, tree).strip()
    repository.git("update-ref", f"refs/heads/{branch}", commit)
    return commit


def refused(repository: Repository, branch: str = "bad", name: str = ".git") -> tuple[str, str]:
    """Put a commit on a branch whose tree git refuses. Returns the ids of both; another name makes another tree."""
    inner = repository.git("rev-parse", "main^{tree}").strip()
    entries = [("40000", ".git", inner), ("40000", name, inner)] if name != ".git" else [("40000", ".git", inner)]
    tree = tree_of(repository, *entries)
    return commit_of(repository, tree, branch), tree


def rewritten(repository: Repository, rewrite: Callable[[bytes], bytes], kind: str = "commit") -> str:
    """The commit of main with other words in it."""
    data = repository.git("cat-file", "commit", "main").encode()
    return repository.git("hash-object", "-t", kind, "-w", "--literally", "--stdin", input=rewrite(data)).strip()


def line(name: bytes, rewrite: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Rewrite one line of a commit's head."""

    def rewritten(data: bytes) -> bytes:
        return b"\n".join(rewrite(each) if each.startswith(name) else each for each in data.split(b"\n"))

    return rewritten


def replaced(old: bytes, new: bytes, name: bytes = b"author") -> Callable[[bytes], bytes]:
    return line(name, lambda each: each.replace(old, new))


HARMLESS_COMMITS: dict[str, Callable[[bytes], bytes]] = {
    "badDate": replaced(b"> 1", b"> x1"),
    "badDateOverflow": replaced(b"> 1", b"> 99999999999999999991"),
    "badEmail": replaced(b"ada@example.org", b"ada@<example.org"),
    "badName": replaced(b"Ada ", b"Ada> "),
    "badTimezone": replaced(b" +0100", b" +051800"),
    "zeroPaddedDate": replaced(b"> 1", b"> 01"),
    "missingAuthor": line(b"author", lambda _: b"x-none x"),
    "missingCommitter": line(b"committer", lambda _: b"x-none x"),
    "missingEmail": replaced(b" <ada@example.org>", b""),
    "missingNameBeforeEmail": replaced(b"Ada Lovelace ", b""),
    "missingSpaceBeforeDate": replaced(b"> 1", b">1"),
    "missingSpaceBeforeEmail": replaced(b"Lovelace <", b"Lovelace<"),
    "multipleAuthors": line(b"author", lambda each: each + b"\n" + each),
    "nulInCommit": lambda data: data + b"\0\n",
}
TAG = b"object %b\ntype commit\ntag v1\ntagger A <a@b.c> 1 +0000\n\nx\n"
HARMLESS_TAGS = {
    "badTagName": TAG.replace(b"tag v1", b"tag v 1"),
    "missingTaggerEntry": TAG.replace(b"tagger A <a@b.c> 1 +0000\n", b""),
    "extraHeaderEntry": TAG.replace(b"+0000\n", b"+0000\nextra x\n"),
}


def complaints(repository: Repository) -> str:
    """What the strictest look at a repository finds."""
    command = ["git", "-c", "fsck.extraHeaderEntry=error", "-C", str(repository.path), "fsck", "--strict"]
    environment = os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null", "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    return done.stdout + done.stderr


@pytest.mark.parametrize("id", HARMLESS_COMMITS)
async def test_an_old_commit_that_git_clone_takes_is_taken(id: str, fetched: Fetched) -> None:
    commit = rewritten(fetched.repository, HARMLESS_COMMITS[id])
    fetched.repository.git("update-ref", "refs/heads/old", commit)
    assert f"{commit}: {id}:" in complaints(fetched.repository)

    assert ["fetch"] == await fetched.run()
    assert commit == fetched.refs()["refs/heads/old"]
    assert ("", {}) == (fetched.fetch.problem, fetched.fetch.names)


@pytest.mark.parametrize("id", HARMLESS_TAGS)
async def test_an_old_tag_that_git_clone_takes_is_taken(id: str, fetched: Fetched) -> None:
    main = fetched.repository.git("rev-parse", "main").strip().encode()
    data = HARMLESS_TAGS[id].replace(b"%b", main)
    tag = fetched.repository.git("hash-object", "-t", "tag", "-w", "--literally", "--stdin", input=data).strip()
    fetched.repository.git("update-ref", "refs/tags/v1", tag)
    assert f"{tag}: {id}:" in complaints(fetched.repository)

    assert ["fetch"] == await fetched.run()
    assert tag == fetched.refs()["refs/tags/v1"]


@pytest.mark.parametrize(("id", "mode"), [("zeroPaddedFilemode", "0100644"), ("badFilemode", "100666")])
async def test_modes_of_old_programs_are_taken(id: str, mode: str, fetched: Fetched) -> None:
    blob = fetched.repository.git("rev-parse", "main:app.yml").strip()
    tree = tree_of(fetched.repository, (mode, "app.yml", blob))
    commit = commit_of(fetched.repository, tree, "old")
    assert f"{tree}: {id}:" in complaints(fetched.repository)

    assert ["fetch"] == await fetched.run()
    assert commit == fetched.refs()["refs/heads/old"]


def test_what_is_taken_is_written_down() -> None:
    git = Git("/m", parse_remote("https://git.example/x"), GitSettings(uri="https://git.example/x"))
    environment = git.environment()
    values = {
        environment[f"GIT_CONFIG_KEY_{index}"]: environment[f"GIT_CONFIG_VALUE_{index}"]
        for index in range(int(environment["GIT_CONFIG_COUNT"]))
    }
    ignored = {
        name.removeprefix("fetch.fsck."): value for name, value in values.items() if name.startswith("fetch.fsck.")
    }

    assert {*HARMLESS_COMMITS, *HARMLESS_TAGS, "zeroPaddedFilemode", "badFilemode"} == set(ignored)
    assert {"ignore"} == set(ignored.values())


GUARDS: dict[str, list[tuple[str, str]]] = {
    "hasDot": [("40000", ".")],
    "hasDotdot": [("40000", "..")],
    "hasDotgit": [("40000", ".git")],
    "fullPathname": [("100644", "a/b")],
    "treeNotSorted": [("100644", "b"), ("100644", "a")],
    "duplicateEntries": [("100644", "a"), ("100644", "a")],
    "gitmodulesSymlink": [("120000", ".gitmodules")],
}


@pytest.mark.parametrize("id", GUARDS)
async def test_what_guards_paths_is_refused_for_the_ref_that_leads_to_it_alone(id: str, fetched: Fetched) -> None:
    repository = fetched.repository
    ids = {"40000": "main^{tree}", "100644": "main:app.yml", "120000": "main:app.yml"}
    entries = [(mode, name, repository.git("rev-parse", ids[mode]).strip()) for mode, name in GUARDS[id]]
    commit_of(repository, tree_of(repository, *entries), "bad")
    repository.commit({"app.yml": "a: 2\n"}, "good", parent="main")
    await fetched.run()

    assert {"refs/heads/main", "refs/heads/good"} == set(fetched.refs())
    assert {"refs/heads/bad"} == set(fetched.fetch.names)
    assert f": {id}: " in fetched.fetch.names["refs/heads/bad"]


async def test_a_submodule_with_an_address_like_an_option_is_refused_and_quoted_nowhere(fetched: Fetched) -> None:
    text = '[submodule "x"]\n\tpath = x\n\turl = --upload-pack=hunter2\n'
    fetched.repository.commit({".gitmodules": text}, "bad", parent="main")
    await fetched.run()

    assert {"refs/heads/main"} == set(fetched.refs())
    assert "gitmodulesUrl" in fetched.fetch.names["refs/heads/bad"]
    assert "hunter2" not in str(fetched.fetch.names)


async def test_what_was_refused_once_is_not_taken_for_checked_the_next_time(fetched: Fetched) -> None:
    """git finishes the pack before it looks at a file of submodules that was there under another name."""
    text = '[submodule "x"]\n\tpath = x\n\turl = --upload-pack=touch\n'
    first = fetched.repository.commit({"plain.txt": text})
    await fetched.run()
    fetched.repository.commit({"plain.txt": None, ".gitmodules": text})
    for _ in range(2):
        await fetched.run()
        await fetched.anew().fetch.run(30)

    assert {"refs/heads/main": first} == fetched.refs()
    assert {"refs/heads/main"} == set(fetched.fetch.names)


async def test_the_former_state_of_a_large_directory_is_stored_without_compressing_it_again(fetched: Fetched) -> None:
    files = {f"f{number}.yml": f"a: {number}\n" for number in range(300)}
    fetched.repository.commit({**files, "long.yml": f"a: {100_000 * 'x'}\n"})
    await fetched.run()
    packs = fetched.mirror / "objects/pack"
    before = {*packs.glob("*.pack")}
    tree = int(fetched.repository.git("cat-file", "-s", "main^{tree}"))
    fetched.repository.commit({"f1.yml": "a: changed\n"})
    await fetched.run()
    [added] = {*packs.glob("*.pack")} - before

    assert tree <= added.stat().st_size < tree + 1_000
    # git compresses as usual when it packs everything anew.
    await fetched.fetch.git.run("repack", "-q", "-a", "-d", "-F", timeout=30)
    [packed] = packs.glob("*.pack")
    assert packed.stat().st_size < 100_000


async def test_a_bad_ref_keeps_what_it_had_and_the_others_move_on(fetched: Fetched) -> None:
    repository = fetched.repository
    before = repository.commit({"app.yml": "a: 1\n"}, "dev", parent="main")
    await fetched.run()
    bad, tree = refused(repository, "dev")
    after = repository.commit({"app.yml": "a: 2\n"})
    calls = await fetched.run()

    assert {"refs/heads/dev": before, "refs/heads/main": after} == fetched.refs()
    assert fetched.fetch.names["refs/heads/dev"].startswith(GUARDED.format(id=tree))
    assert fetched.fetch.names["refs/heads/dev"].endswith("; rewrite the commits that have it (git filter-repo)")
    assert [bad] == list(fetched.fetch.refused)
    assert "" == fetched.fetch.problem
    # All at once, what there is, the default branch, the other.
    assert ["fetch", "ls-remote", "fetch", "fetch"] == calls


async def test_what_is_refused_is_not_fetched_again_while_it_is_the_same(fetched: Fetched) -> None:
    refused(fetched.repository)
    await fetched.run()
    again = await fetched.run()
    after = fetched.repository.commit({"app.yml": "a: 2\n"})
    moved = await fetched.run()

    assert ["ls-remote", "fetch"] == again == moved
    assert {"refs/heads/main": after} == fetched.refs()
    assert {"refs/heads/bad"} == set(fetched.fetch.names)


async def test_what_is_refused_is_remembered_with_the_mirror(fetched: Fetched) -> None:
    refused(fetched.repository)
    await fetched.run()
    other = fetched.anew()
    await other.fetch.remember()
    other.calls.clear()
    await other.fetch.run(30)

    assert ["ls-remote", "fetch"] == other.calls
    assert other.fetch.refused == fetched.fetch.refused != {}
    assert {"refs/heads/bad"} == set(other.fetch.names)


@pytest.mark.parametrize("text", ["", "[", "[]", '{"a": 1}', "\xff"])
async def test_a_memory_that_is_none_is_begun_anew(text: str, fetched: Fetched) -> None:
    (fetched.mirror / "vortexd-refused.json").write_text(text, "latin-1")
    await fetched.fetch.remember()

    assert {} == fetched.fetch.refused


async def test_without_a_memory_nothing_is_refused(fetched: Fetched) -> None:
    await fetched.fetch.remember()

    assert {} == fetched.fetch.refused


async def test_a_memory_that_can_not_be_written_is_no_obstacle(fetched: Fetched) -> None:
    (fetched.mirror / "vortexd-refused.new").mkdir()
    refused(fetched.repository)
    await fetched.run()

    assert {"refs/heads/bad"} == set(fetched.fetch.names)


async def test_a_ref_that_leads_to_something_else_is_fetched_again(fetched: Fetched) -> None:
    repository = fetched.repository
    refused(repository)
    await fetched.run()
    good = repository.commit({"app.yml": "a: 2\n"}, "bad", parent="main")
    await fetched.run()

    assert good == fetched.refs()["refs/heads/bad"]
    assert ({}, {}) == (fetched.fetch.names, fetched.fetch.refused)
    assert {} == json.loads((fetched.mirror / "vortexd-refused.json").read_text())
    assert ["fetch"] == await fetched.run()


async def test_a_bad_ref_that_the_remote_has_no_more_goes(fetched: Fetched) -> None:
    repository = fetched.repository
    repository.commit({"app.yml": "a: 1\n"}, "dev", parent="main")
    await fetched.run()
    refused(repository, "dev")
    await fetched.run()
    repository.git("update-ref", "-d", "refs/heads/dev")
    await fetched.run()

    assert {"refs/heads/main"} == set(fetched.refs())
    assert {} == fetched.fetch.names


async def test_two_refs_to_the_same_bad_commit_are_found_as_one(fetched: Fetched) -> None:
    commit, _ = refused(fetched.repository)
    fetched.repository.git("update-ref", "refs/tags/v1", commit)
    calls = await fetched.run()

    assert {"refs/heads/bad", "refs/tags/v1"} == set(fetched.fetch.names)
    assert [commit] == list(fetched.fetch.refused)
    assert ["fetch", "ls-remote", "fetch", "fetch"] == calls


async def test_a_second_bad_ref_is_found_beside_one_that_is_known(fetched: Fetched) -> None:
    refused(fetched.repository)
    await fetched.run()
    refused(fetched.repository, "worse", ".GIT")
    after = fetched.repository.commit({"app.yml": "a: 2\n"})
    await fetched.run()

    assert {"refs/heads/bad", "refs/heads/worse"} == set(fetched.fetch.names)
    assert {"refs/heads/main": after} == fetched.refs()


async def test_one_bad_ref_among_many_is_found_in_a_few_fetches(fetched: Fetched) -> None:
    repository = fetched.repository
    for number in range(32):
        repository.commit({"app.yml": f"a: {number}\n"}, f"b{number:02}", parent="main")
    refused(repository, "b17x")
    calls = await fetched.run()

    assert {"refs/heads/b17x"} == set(fetched.fetch.names)
    assert 33 == len(fetched.refs())
    # Six halvings of 33 refs, each with its other half.
    assert len(calls) <= 2 + 1 + 1 + 2 * 6
    assert set() == fetched.files()


async def test_the_default_branch_is_fetched_first_and_alone(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("aaa", "dev", "trunk", "zzz"):
        repository.commit({"app.yml": f"a: {name}\n"}, name, parent="main")
    repository.git("symbolic-ref", "HEAD", "refs/heads/trunk")
    refused(repository)
    monkeypatch.setattr(fetching, "_MOST_FETCHES", 1)
    by_head = mirrored(repository, tmp_path / "one.git", monkeypatch)
    await by_head.run()
    set_first = mirrored(repository, tmp_path / "two.git", monkeypatch, default_label="dev")
    await set_first.run()
    repository.git("symbolic-ref", "HEAD", "refs/heads/nothing")
    by_name = mirrored(repository, tmp_path / "three.git", monkeypatch)
    await by_name.run()

    assert [["trunk"], ["dev"], ["main"]] == [
        [name.removeprefix("refs/heads/") for name in each.refs()] for each in (by_head, set_first, by_name)
    ]
    assert [5, 5, 5] == [each.fetch.unreached for each in (by_head, set_first, by_name)]


async def test_finding_bad_refs_is_bounded_and_goes_on_at_the_next_fetch(
    fetched: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_MOST_FETCHES", 4)
    repository = fetched.repository
    for number in range(6):
        repository.commit({"app.yml": f"a: {number}\n"}, f"b{number}", parent="main")
    refused(repository, "b3x")
    first = await fetched.run()
    problem, unreached = fetched.fetch.problem, fetched.fetch.unreached
    second = await fetched.run()

    assert ["fetch", "ls-remote", *["fetch"] * 4] == first
    assert unreached > 0
    assert problem.startswith(f"{unreached} branches and tags are still to be fetched one by one")
    # All at once would fail again.
    assert "ls-remote" == second[0]
    assert 1 + 4 >= len(second)
    while fetched.fetch.unreached:
        await fetched.run()
    assert 7 == len(fetched.refs())
    assert ({"refs/heads/b3x"}, "") == (set(fetched.fetch.names), fetched.fetch.problem)


async def test_what_can_not_be_found_in_time_is_left_for_the_next_fetch(
    fetched: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(fetched.repository)
    run = Git.run
    is_slow = True

    async def late(self: Git, *arguments: str, **options: Any) -> bytes:
        if is_slow and b"/bad\n" in options.get("input", b""):
            raise GitError("git fetch took longer", Fault.LATE)
        return await run(self, *arguments, **options)

    monkeypatch.setattr(Git, "run", late)
    await fetched.run()
    assert {"refs/heads/main"} == set(fetched.refs())
    assert 1 == fetched.fetch.unreached
    assert "an object of the remote is refused" in fetched.fetch.problem

    is_slow = False
    assert ["ls-remote", "fetch"] == await fetched.run()
    assert (0, "") == (fetched.fetch.unreached, fetched.fetch.problem)


@pytest.mark.parametrize(
    ("fault", "told"), [(Fault.UNKNOWN, Fault.REMOTE), (Fault.FULL, Fault.FULL), (Fault.REMOTE, Fault.REMOTE)]
)
async def test_another_failure_on_the_way_is_not_the_mirrors(
    fault: Fault, told: Fault, fetched: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(fetched.repository)
    run = Git.run

    async def failing(self: Git, *arguments: str, **options: Any) -> bytes:
        if "--stdin" in arguments and arguments[0] == "fetch":
            raise GitError("away", fault)
        return await run(self, *arguments, **options)

    monkeypatch.setattr(Git, "run", failing)
    with pytest.raises(GitError, match="away") as caught:
        await fetched.run()

    assert told is caught.value.fault
    assert 0 == fetched.fetch.unreached


async def test_a_deleted_ref_is_not_in_the_way_of_a_new_one_below_it(fetched: Fetched) -> None:
    repository = fetched.repository
    repository.commit({"app.yml": "a: 1\n"}, "dev", parent="main")
    await fetched.run()
    repository.git("update-ref", "-d", "refs/heads/dev")
    repository.commit({"app.yml": "a: 2\n"}, "dev/below", parent="main")
    refused(repository)
    await fetched.run()

    assert {"refs/heads/main", "refs/heads/dev/below"} == set(fetched.refs())
    assert {"refs/heads/bad"} == set(fetched.fetch.names)


async def test_a_ref_whose_objects_the_remote_has_lost_holds_up_no_other(fetched: Fetched) -> None:
    repository = fetched.repository
    commit = repository.commit({"lost.yml": "b: 1\n"}, "torn", parent="main")
    blob = repository.git("rev-parse", f"{commit}:lost.yml").strip()
    packs = [path.read_bytes() for path in (repository.path / "objects/pack").glob("*.pack")]
    for path in (repository.path / "objects/pack").iterdir():
        path.unlink()
    for pack in packs:
        repository.git("unpack-objects", "-q", input=pack)
    (repository.path / "objects" / blob[:2] / blob[2:]).unlink()
    after = repository.commit({"app.yml": "a: 2\n"})
    await fetched.run()

    assert {"refs/heads/main": after} == fetched.refs()
    assert {"refs/heads/torn": "the remote can't read an object of its own; run git fsck there"} == fetched.fetch.names


async def test_a_shallow_remote_is_told_and_what_has_its_past_is_fetched(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({"app.yml": "a: 2\n"})
    repository.git("clone", "--quiet", "--bare", "--depth=1", repository.uri, str(tmp_path / "shallow.git"))
    shallow = Repository(tmp_path / "shallow.git")
    whole = shallow.commit({"app.yml": "a: 3\n"}, "whole", parent=None)
    fetched = mirrored(shallow, tmp_path / "mirror.git", monkeypatch)
    await fetched.run()

    assert {"refs/heads/whole": whole} == fetched.refs()
    assert "git fetch --unshallow" in fetched.fetch.problem
    shallow.git("fetch", "--quiet", "--unshallow", repository.uri)
    await fetched.run()
    assert {"refs/heads/whole", "refs/heads/main"} == set(fetched.refs())
    assert "" == fetched.fetch.problem


async def test_a_remote_that_is_away_is_an_error_as_before(fetched: Fetched) -> None:
    await fetched.run()
    fetched.repository.path.rename(fetched.repository.path.with_name("away"))
    with pytest.raises(GitError) as caught:
        await fetched.run()

    assert Fault.UNKNOWN is caught.value.fault
    assert ["fetch"] == fetched.calls


async def test_no_time_at_all_is_too_late(fetched: Fetched) -> None:
    with pytest.raises(GitError) as caught:
        await fetched.run(0.0)

    assert Fault.LATE is caught.value.fault

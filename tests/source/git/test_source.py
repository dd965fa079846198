"""The git source on real repositories: the published trees, the refused objects, and the behaviour if anything is broken."""

import errno
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from vortexd.core.commits import PastFiles
from vortexd.core.errors import RemoteError, SourceError
from vortexd.core.model import Origin, Tree
from vortexd.core.pushes import Branch, FileChange, NewCommit
from vortexd.source.git import fetch as fetching
from vortexd.source.git import schedule
from vortexd.source.git import source as git_source
from vortexd.source.git.disk import remove_leftovers
from vortexd.source.git.mirror import mirror_name
from vortexd.source.git.process import Git, GitError, TooMuch
from vortexd.source.git.remotes import parse_remote
from vortexd.source.git.settings import GitSettings
from vortexd.source.git.snapshots import SUBMODULE
from vortexd.source.git.source import GitSource

from ...fakes import wait_until
from ...repository import Repository
from .test_fetch import refused


class Running:
    """A source at work, and what it published."""

    def __init__(self, source: GitSource) -> None:
        self.source = source
        self.trees: list[Tree] = []
        self._arrived = trio.Event()

    async def publish(self, tree: Tree) -> None:
        self.trees.append(tree)
        self._arrived.set()
        self._arrived = trio.Event()

    async def tree(self, count: int) -> Tree:
        """The tree that is published as the one of this number, from 1."""
        with trio.fail_after(20):
            while len(self.trees) < count:
                await self._arrived.wait()
        return self.trees[count - 1]

    async def failed(self) -> None:
        """Wait until the source reports a failure."""
        await wait_until(lambda: self.source.status.report().is_failing)

    async def fetched(self) -> None:
        """Fetch, and wait until it has succeeded."""
        before = self.source.status.report().last_success
        self.source.fetch_now()
        await wait_until(lambda: self.source.status.report().last_success != before)


@asynccontextmanager
async def running(uri: str, state: Path, **settings: Any) -> AsyncIterator[Running]:
    values: dict[str, Any] = {"schemes": ("file", "git", "http", "ssh"), "refresh_interval": 3600.0}
    # How hints are spread has tests of its own.
    values |= {"hook_interval": 0.0} | settings
    found = Running(GitSource(GitSettings(kind="git", uri=uri, **values), state, Random(1)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.source.run, found.publish)
        yield found
        nursery.cancel_scope.cancel()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "config.git")
    made.commit({"application.yml": "a: 1\n", "orders.yml": "b: 1\n"})
    return made


def contents(tree: Tree, label: str = "main") -> dict[str, bytes]:
    return dict(tree.labels[label].contents)


async def test_each_branch_and_tag_is_a_label(repository: Repository, tmp_path: Path) -> None:
    repository.commit({"orders.yml": "b: 2\n"}, "release/1", parent="main")
    repository.git("tag", "v1", "main")
    repository.git("tag", "-a", "-m", "x", "v2", "release/1")
    async with running(repository.uri, tmp_path / "state") as found:
        tree = await found.tree(1)

    assert {"main", "release/1", "v1", "v2"} == set(tree.labels)
    assert "main" == tree.default_label
    assert b"b: 2\n" == contents(tree, "v2")["orders.yml"]
    assert tree.labels["v2"].contents is tree.labels["release/1"].contents
    assert f"{repository.uri}/" == tree.labels["main"].root


async def test_a_state_says_which_commit_it_is_and_who_made_it(repository: Repository, tmp_path: Path) -> None:
    commit = repository.commit({"orders.yml": "b: 2\n"}, author="Grace\x1b[31m Hopper <grace@example.org>")
    async with running(repository.uri, tmp_path / "state") as found:
        files = (await found.tree(1)).labels["main"]

    assert commit == files.revision
    assert Origin(commit, "Grace[31m Hopper", "2023-11-14T22:13:22Z") == files.origin


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "utf-8", "no-such-encoding"])
async def test_a_name_is_read_in_the_encoding_of_its_commit(
    repository: Repository, tmp_path: Path, encoding: str
) -> None:
    name = "Jörg".encode("utf-8" if encoding == "no-such-encoding" else encoding)
    tree = repository.git("rev-parse", "main^{tree}").strip().encode()
    who = name + b" <j@example.org> 1700000000 +0000"
    body = b"tree %s\nauthor %s\ncommitter %s\nencoding %s\n\nx\n" % (tree, who, who, encoding.encode())
    commit = repository.git("hash-object", "-t", "commit", "-w", "--stdin", input=body).strip()
    repository.git("update-ref", "refs/heads/main", commit)
    async with running(repository.uri, tmp_path / "state") as found:
        files = (await found.tree(1)).labels["main"]

    assert "Jörg" == (files.origin and files.origin.author)


async def test_one_push_is_one_tree_and_shares_what_did_not_change(repository: Repository, tmp_path: Path) -> None:
    repository.commit({}, "dev", parent="main")
    async with running(repository.uri, tmp_path / "state") as found:
        before = await found.tree(1)
        repository.commit({"orders.yml": "b: 2\n", "new.yml": "c: 1\n", "application.yml": None})
        found.source.fetch_now()
        after = await found.tree(2)
        await found.fetched()

    assert {"orders.yml": b"b: 2\n", "new.yml": b"c: 1\n"} == contents(after)
    assert after.labels["dev"] is before.labels["dev"]
    assert 2 == len(found.trees)


async def test_master_is_the_default_where_there_is_no_main(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "config.git")
    repository.commit({"a.yml": "a: 1\n"}, "master")
    async with running(repository.uri, tmp_path / "state") as found:
        assert "master" == (await found.tree(1)).default_label


async def test_labels_are_those_that_match(repository: Repository, tmp_path: Path) -> None:
    repository.commit({}, "secret", parent="main")
    repository.git("tag", "v1", "main")
    repository.git("tag", "other", "main")
    async with running(repository.uri, tmp_path / "state", labels=("main", "refs/tags/v*")) as found:
        assert {"main", "v1"} == set((await found.tree(1)).labels)


async def test_search_paths_go_behind_the_top_with_their_label(repository: Repository, tmp_path: Path) -> None:
    settings = {"search_paths": ("{label}", "/shared/", "{application}")}
    async with running(repository.uri, tmp_path / "state", **settings) as found:
        assert ("", "main/", "shared/", "{application}/") == (await found.tree(1)).labels["main"].locations


async def test_labels_beyond_the_limit_are_read_when_they_are_asked_for(repository: Repository, tmp_path: Path) -> None:
    for number in range(4):
        repository.commit({"orders.yml": f"b: {number}\n"}, f"preview/{number}", parent="main")
    async with running(repository.uri, tmp_path / "state", loaded_labels=2) as found:
        assert {"main", "preview/3"} == set((await found.tree(1)).labels)
        assert await found.source.load("preview/0")
        assert not await found.source.load("nothing")
        assert {"main", "preview/3", "preview/0"} == set(found.trees[-1].labels)
        await found.source.load("preview/1")
        await found.source.load("preview/2")

        assert {"main", "preview/3", "preview/1", "preview/2"} == set(found.trees[-1].labels)


async def test_a_label_that_is_on_its_way_is_waited_for(repository: Repository, tmp_path: Path) -> None:
    repository.commit({}, "preview", parent="main")
    async with running(repository.uri, tmp_path / "state", loaded_labels=1) as found:
        await found.tree(1)
        answers = []

        async def ask() -> None:
            answers.append((await found.source.load("preview"), "preview" in found.trees[-1].labels))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)

    assert [(True, True)] * 3 == answers


async def test_the_mirror_is_packed_now_and_then(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_source, "_TIDY_AFTER", 2)
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        mirror = mirror_of(tmp_path / "state")
        assert not (mirror / "packed-refs").exists()
        repository.commit({"orders.yml": "b: 2\n"})
        found.source.fetch_now()
        await wait_until((mirror / "packed-refs").exists)
        repository.commit({"orders.yml": "b: 3\n"})
        found.source.fetch_now()

        assert b"b: 3\n" == contents(await found.tree(3))["orders.yml"]


async def test_a_label_that_somebody_uses_is_not_let_go_of(repository: Repository, tmp_path: Path) -> None:
    for number in range(4):
        repository.commit({"orders.yml": f"b: {number}\n"}, f"preview/{number}", parent="main")
    async with running(repository.uri, tmp_path / "state", loaded_labels=1) as found:
        found.source.keep_labels(lambda: {"preview/0"})
        await found.tree(1)
        for number in range(3):
            await found.source.load(f"preview/{number}")

        assert "preview/0" in found.trees[-1].labels


async def test_a_look_that_is_asked_for_is_one_that_begins_afterwards(repository: Repository, tmp_path: Path) -> None:
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        for number in range(3):
            commit = repository.commit({"orders.yml": f"b: {number + 5}\n"})
            found.source.fetch_now()
            with trio.fail_after(20):
                await found.source.wait_looked()
            assert commit == found.trees[-1].labels["main"].revision


async def test_a_look_that_fails_has_ended_too(repository: Repository, tmp_path: Path) -> None:
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        repository.path.rename(tmp_path / "away")
        found.source.fetch_now()
        with trio.fail_after(20):
            await found.source.wait_looked()
        assert found.source.status.report().is_failing


async def test_a_new_state_of_the_remote_is_reported_once_it_is_published(
    repository: Repository, tmp_path: Path
) -> None:
    async with running(repository.uri, tmp_path / "state") as found:
        reported: list[tuple[str, int]] = []
        assert found.source.remote_state == ""
        found.source.report_news(lambda state: reported.append((state, len(found.trees))))
        await found.tree(1)
        await wait_until(lambda: reported)
        await found.fetched()
        assert [(found.source.remote_state, 1)] == reported
        repository.commit({"orders.yml": "b: 2\n"})
        await found.fetched()
        repository.git("branch", "preview", "main")
        await found.fetched()
        repository.git("branch", "-D", "preview")
        await found.fetched()

        states = [state for state, _ in reported]
        assert [1, 2, 3, 4] == [count for _, count in reported]
        # Without the branch the remote is as it was before.
        assert states[1] == states[3] == found.source.remote_state
        assert 3 == len(set(states))


async def test_a_state_that_can_not_be_published_is_not_reported(repository: Repository, tmp_path: Path) -> None:
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        await wait_until(lambda: found.source.remote_state)
        before = found.source.remote_state
        reported: list[str] = []
        found.source.report_news(reported.append)
        repository.path.rename(tmp_path / "away")
        found.source.fetch_now()
        await found.failed()
        assert (before, []) == (found.source.remote_state, reported)


async def test_two_servers_name_the_state_of_a_remote_alike(repository: Repository, tmp_path: Path) -> None:
    async with running(repository.uri, tmp_path / "one") as one, running(repository.uri, tmp_path / "two") as two:
        repository.commit({"orders.yml": "b: 2\n"})
        repository.git("tag", "v1", "main")
        for each in (one, two):
            await each.tree(1)
            await each.fetched()
        assert "" != one.source.remote_state == two.source.remote_state


async def test_R22_two_instances_serve_the_same(repository: Repository, tmp_path: Path) -> None:
    """What is served depends on the commit alone, so a client may go on at any instance."""
    async with running(repository.uri, tmp_path / "one") as one, running(repository.uri, tmp_path / "two") as two:
        repository.commit({"orders.yml": "b: 2\n"})
        await one.tree(1)
        await one.fetched()
        await two.tree(1)
        await two.fetched()

    assert one.trees[-1].labels["main"].revision == two.trees[-1].labels["main"].revision
    assert contents(one.trees[-1]) == contents(two.trees[-1])


# ATTACKS.md, section 2.


async def test_G01_a_ref_that_looks_like_an_option_is_no_label(repository: Repository, tmp_path: Path) -> None:
    commit = repository.git("rev-parse", "main").strip()
    (repository.path / "refs/heads/--upload-pack=touch").write_text(commit + "\n")
    async with running(repository.uri, tmp_path / "state") as found:
        assert {"main"} == set((await found.tree(1)).labels)
        assert not await found.source.load("--upload-pack=touch")


@pytest.mark.parametrize(
    "label",
    [
        "HEAD",
        "HEAD~1",
        "main^{/x}",
        ":/x",
        "@{-1}",
        "main@{1 year ago}",
        "a..main",
        "main:orders.yml",
        "refs/heads/main",
    ],
)
async def test_G02_notation_for_revisions_is_no_label(label: str, repository: Repository, tmp_path: Path) -> None:
    commit = repository.commit({"orders.yml": "b: 2\n"})
    async with running(repository.uri, tmp_path / "state") as found:
        tree = await found.tree(1)
        for each in (label, commit, commit[:12]):
            assert each not in tree.labels
            assert not await found.source.load(each)


async def test_G02_commits_are_served_if_allowed_and_reachable(repository: Repository, tmp_path: Path) -> None:
    old = repository.git("rev-parse", "main").strip()
    repository.commit({"orders.yml": "b: 2\n"})
    secret = repository.commit({"orders.yml": "password: x\n"}, "hidden", parent="main")
    settings = {"commits": True, "labels": ("main",)}
    async with running(repository.uri, tmp_path / "state", **settings) as found:
        await found.tree(1)

        assert await found.source.load(old)
        assert b"b: 1\n" == contents(found.trees[-1], old)["orders.yml"]
        assert not await found.source.load(secret)
        assert not await found.source.load("0" * 40)
        assert not await found.source.load(old[:12])


async def test_G03_a_call_of_git_has_a_deadline_and_leaves_nothing_behind(
    repository: Repository, tmp_path: Path
) -> None:
    git = Git(str(repository.path), parse_remote(repository.uri), GitSettings(uri=repository.uri))
    marker, pipe = f"sleep 98{os.getpid()}", tmp_path / "pipe"
    os.mkfifo(pipe)
    async with trio.lowlevel.FdStream(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)) as held:
        with pytest.raises(GitError, match="longer than"):
            await git.run("-c", f"alias.hang=!exec 3>{pipe}; {marker} & {marker}", "hang", timeout=0.3)
        with trio.fail_after(5):
            # The pipe ends when the last process that holds it has ended.
            assert b"" == await held.receive_some()

    assert not any(marker.encode() in line.replace(b"\0", b" ") for line in command_lines())


async def test_G04_a_branch_goes_before_a_tag_of_the_same_name(repository: Repository, tmp_path: Path) -> None:
    repository.git("tag", "same", "main")
    repository.commit({"orders.yml": "b: 2\n"}, "same", parent="main")
    repository.commit({}, "HEAD", parent="main")
    repository.git("update-ref", "refs/heads/refs/heads/x", "refs/heads/main")
    async with running(repository.uri, tmp_path / "state") as found:
        tree = await found.tree(1)

    assert b"b: 2\n" == contents(tree, "same")["orders.yml"]
    assert {"main", "same", "HEAD", "refs/heads/x"} == set(tree.labels)


async def test_G06_nothing_of_the_repository_is_run_or_followed(repository: Repository, tmp_path: Path) -> None:
    other = repository.git("rev-parse", "main").strip()
    repository.commit(
        {
            "link.yml": "/etc/passwd",
            "sub.yml": other,
            ".gitmodules": '[submodule "x"]\n\tpath = sub.yml\n\turl = https://nowhere.example/x\n',
            ".gitattributes": "*.yml filter=evil\n",
            "run.yml": "a: 1\n",
        },
        modes={"link.yml": "120000", "sub.yml": "160000", "run.yml": "100755"},
    )
    async with running(repository.uri, tmp_path / "state") as found:
        files = (await found.tree(1)).labels["main"]

    assert {"sub.yml": SUBMODULE} == files.unreadable
    assert {"application.yml", "orders.yml", "run.yml"} == set(files.contents)


def test_G06_git_sees_no_configuration_but_ours(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", "touch /tmp/pwn")
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.pager=touch'")
    monkeypatch.setenv("SSH_ASKPASS", "/bin/touch")
    environment = Git("/m", parse_remote("ssh://git@host/x"), GitSettings(uri="ssh://git@host/x")).environment()
    configuration = {
        environment[f"GIT_CONFIG_KEY_{index}"]: environment[f"GIT_CONFIG_VALUE_{index}"]
        for index in range(int(environment["GIT_CONFIG_COUNT"]))
    }

    assert ("1", "/dev/null", "0") == tuple(
        environment[f"GIT_{name}"] for name in ("CONFIG_NOSYSTEM", "CONFIG_GLOBAL", "TERMINAL_PROMPT")
    )
    assert "ssh" == environment["GIT_ALLOW_PROTOCOL"]
    assert environment["GIT_SSH_COMMAND"].startswith("ssh -F /dev/null -oBatchMode=yes -oStrictHostKeyChecking=yes")
    assert {"GIT_CONFIG_PARAMETERS", "SSH_ASKPASS"}.isdisjoint(environment)
    assert "/dev/null" == configuration["core.hooksPath"]
    assert "false" == configuration["http.followRedirects"] == configuration["fetch.recurseSubmodules"]
    assert "true" == configuration["transfer.fsckObjects"]
    assert "/m" == configuration["safe.directory"]


async def test_G07_a_large_blob_is_not_read(repository: Repository, tmp_path: Path) -> None:
    repository.commit({"large.yml": b"a" * 5_000, "small.yml": "a: 1\n"})
    async with running(repository.uri, tmp_path / "state", file_bytes=4_000) as found:
        files = (await found.tree(1)).labels["main"]
        assert "larger than 4000" in files.unreadable["large.yml"]
        repository.commit({"large.yml": "a: 2\n"})
        found.source.fetch_now()
        files = (await found.tree(2)).labels["main"]

    assert b"a: 2\n" == files.contents["large.yml"]
    assert {} == files.unreadable


async def test_G07_what_is_let_go_of_makes_room_however_often_a_file_changes(
    repository: Repository, tmp_path: Path
) -> None:
    async with running(repository.uri, tmp_path / "state", total_bytes=4_096) as found:
        await found.tree(1)
        for number in range(20):
            commit = repository.commit({"orders.yml": f"b: {number:04}{'x' * 500}\n"})
            await found.fetched()
            assert commit == found.trees[-1].labels["main"].revision


async def test_G07_a_label_with_too_many_files_stays_as_it_was_and_others_go_on(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit({}, "dev", parent="main")
    async with running(repository.uri, tmp_path / "state", files=4) as found:
        await found.tree(1)
        repository.commit({f"{number}.yml": "a: 1\n" for number in range(9)})
        repository.commit({"orders.yml": "b: 7\n"}, "dev")
        with capture_logs() as logs:
            found.source.fetch_now()
            tree = await found.tree(2)

    assert b"b: 7\n" == contents(tree, "dev")["orders.yml"]
    assert {"application.yml", "orders.yml"} == set(contents(tree))
    assert any("more than 4 files" in entry.get("reason", "") for entry in logs)


async def test_G07_a_tree_that_unfolds_without_end_is_cut_off(repository: Repository, tmp_path: Path) -> None:
    """Ten levels of ten entries that are all the same tree: ten thousand million paths in a few hundred bytes."""
    blob = repository.git("hash-object", "-w", "--stdin", input=b"a: 1\n").strip()
    tree = repository.git("mktree", input="".join(f"100644 blob {blob}\t{n}.yml\n" for n in range(10)).encode()).strip()
    for _ in range(9):
        tree = repository.git(
            "mktree", input="".join(f"040000 tree {tree}\td{n}\n" for n in range(10)).encode()
        ).strip()
    commit = repository.git("commit-tree", "-m", "x", tree).strip()
    async with running(repository.uri, tmp_path / "state", files=100) as found:
        await found.tree(1)
        repository.git("update-ref", "refs/heads/bomb", commit)
        await found.fetched()

    assert {"main"} == set(found.trees[-1].labels)


async def test_G08_R4_a_remote_that_hangs_is_cut_off(tmp_path: Path, repository: Repository) -> None:
    with silent_server() as server:
        port = server.getsockname()[1]
        async with running(f"git://127.0.0.1:{port}/x", tmp_path / "state", fetch_timeout=0.5) as found:
            await found.failed()
            report = found.source.status.report()

    assert re.search(r"longer than 0\.[1-5] s", report.last_error or "")
    assert [] == found.trees
    assert not any(b"127.0.0.1:%d" % port in line for line in command_lines())


async def test_R4_with_a_mirror_from_before_a_start_does_not_need_the_remote(
    repository: Repository, tmp_path: Path
) -> None:
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
    repository.path.rename(tmp_path / "away")
    async with running(repository.uri, tmp_path / "state") as found:
        tree = await found.tree(1)
        report = found.source.status.report()

    assert b"b: 1\n" == contents(tree)["orders.yml"]
    assert report.is_failing
    assert tree.labels["main"].revision == report.revision


async def test_G09_rewritten_history_and_deleted_and_renamed_branches_are_ordinary(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit({}, "dev", parent="main")
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        repository.commit({"other.yml": "c: 1\n"}, parent=None)
        found.source.fetch_now()
        assert {"other.yml": b"c: 1\n"} == contents(await found.tree(2))
        repository.git("branch", "-D", "dev")
        repository.commit({"x.yml": "c: 1\n"}, "dev/below", parent="main")
        found.source.fetch_now()
        assert {"main", "dev/below"} == set((await found.tree(3)).labels)
        repository.git("branch", "-m", "main", "master")
        found.source.fetch_now()
        tree = await found.tree(4)

    assert "master" == tree.default_label
    assert "main" not in tree.labels


async def test_G09_a_repository_that_is_suddenly_empty_changes_nothing(repository: Repository, tmp_path: Path) -> None:
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        repository.git("update-ref", "-d", "refs/heads/main")
        found.source.fetch_now()
        await found.failed()

        assert 1 == len(found.trees)
        assert "no branch" in (found.source.status.report().last_error or "")


async def test_G10_credentials_are_in_no_argument_no_environment_and_no_message(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("hunter2-secret\n")
    secret.chmod(0o600)
    with silent_server() as server, capture_logs() as logs:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        async with running(uri, tmp_path / "state", password_file=str(secret), fetch_timeout=1.0) as found:
            # The program that connects is the one that has the secret.
            with trio.fail_after(20):
                await trio.lowlevel.wait_readable(server)
            assert any(b"remote-http" in line for line in command_lines())
            seen = b"".join([*command_lines(), *environments()])
            await found.failed()

    assert b"hunter2" not in seen
    assert "hunter2" not in str(logs) + str(found.source.status.report())


def test_G10_a_password_of_the_address_is_shown_nowhere() -> None:
    remote = parse_remote("https://user:hunter2@host.example:8443/config.git")

    assert "https://host.example:8443/config.git" == remote.uri
    assert "hunter2" not in repr(remote) + mirror_name(remote)
    assert ("user", "hunter2") == (remote.user, remote.password)


async def test_G10_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("x\n")
    secret.chmod(0o644)
    async with running("http://127.0.0.1:1/x", tmp_path / "state", password_file=str(secret)) as found:
        await found.failed()

    assert "chmod 600" in (found.source.status.report().last_error or "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_G11_a_mirror_of_another_owner_is_reported_and_left_alone(repository: Repository, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 65_534, 65_534)
    async with running(repository.uri, state) as found:
        await found.failed()

    assert "chown" in (found.source.status.report().last_error or "")
    assert [] == os.listdir(state)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_G11_a_repository_of_this_machine_may_be_another_users(repository: Repository, tmp_path: Path) -> None:
    for path in (repository.path, *repository.path.rglob("*")):
        os.chown(path, 65_534, 65_534)
    async with running(repository.uri, tmp_path / "state") as found:
        assert {"main"} == set((await found.tree(1)).labels)


@pytest.mark.parametrize("lock", ["packed-refs.lock", "refs/heads/main.lock", "shallow.lock", "HEAD.lock"])
async def test_G12_a_lock_that_was_left_behind_is_no_obstacle(
    lock: str, repository: Repository, tmp_path: Path
) -> None:
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
    place = mirror_of(tmp_path / "state") / lock
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()
    repository.commit({"orders.yml": "b: 2\n"})
    async with running(repository.uri, tmp_path / "state") as found:
        assert b"b: 2\n" == contents(await found.tree(1))["orders.yml"]


def test_G12_a_lock_that_somebody_may_still_hold_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "packed-refs.lock").touch()
    remove_leftovers(tmp_path, 60.0)
    assert (tmp_path / "packed-refs.lock").exists()

    os.utime(tmp_path / "packed-refs.lock", (time.time() - 100,) * 2)
    remove_leftovers(tmp_path, 60.0)
    assert not (tmp_path / "packed-refs.lock").exists()


# R3: a broken mirror.


def zero(mirror: Path) -> None:
    for path in [*mirror.glob("objects/pack/*.pack"), *mirror.glob("objects/??/*")]:
        path.chmod(0o600)
        path.write_bytes(b"\0" * path.stat().st_size)


def lose(mirror: Path) -> None:
    for path in [*mirror.glob("objects/??"), mirror / "objects/pack"]:
        shutil.rmtree(path)


def break_refs(mirror: Path) -> None:
    for path in mirror.glob("refs/heads/*"):
        path.write_text("garbage\n")


def empty_head(mirror: Path) -> None:
    (mirror / "HEAD").write_text("")


def break_config(mirror: Path) -> None:
    (mirror / "config").write_text("[core\n")


def take_away(mirror: Path) -> None:
    shutil.rmtree(mirror)


@pytest.mark.parametrize("harm", [zero, lose, break_refs, empty_head, break_config, take_away])
async def test_R3_a_broken_mirror_is_replaced_while_serving_goes_on(
    harm: Callable[[Path], None], repository: Repository, tmp_path: Path
) -> None:
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        harm(mirror_of(tmp_path / "state"))
        repository.commit({"orders.yml": "b: 2\n"})
        found.source.fetch_now()
        tree = await found.tree(2)

    assert b"b: 2\n" == contents(tree)["orders.yml"]
    assert {"application.yml", "orders.yml"} == set(contents(tree))


@pytest.mark.parametrize("harm", [zero, lose, break_refs, empty_head, break_config, take_away])
async def test_R3_a_mirror_that_is_broken_at_the_start_is_made_anew(
    harm: Callable[[Path], None], repository: Repository, tmp_path: Path
) -> None:
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
    harm(mirror_of(tmp_path / "state"))
    async with running(repository.uri, tmp_path / "state") as found:
        assert {"application.yml", "orders.yml"} == set(contents(await found.tree(1)))


@pytest.mark.parametrize("in_the_way", [".new.gitconfig", ".old"])
async def test_R5_a_mirror_that_can_not_be_written_anew_is_reported_and_ends_nothing(
    in_the_way: str, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        if path.name.endswith(".old"):
            raise OSError(errno.ENOSPC, "No space left on device")

    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        mirror = mirror_of(tmp_path / "state")
        take_away(mirror)
        if in_the_way == ".old":
            monkeypatch.setattr("vortexd.source.git.mirror.remove", full)
        else:
            mirror.with_name(mirror.name + in_the_way).mkdir()
        found.source.fetch_now()
        await found.failed()

        assert "can't be" in (found.source.status.report().last_error or "")
        assert not mirror.with_name(mirror.name + ".new").exists()


async def test_R3_a_swap_that_was_broken_off_is_undone(repository: Repository, tmp_path: Path) -> None:
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
    mirror = mirror_of(tmp_path / "state")
    mirror.rename(mirror.with_name(mirror.name + ".old"))
    mirror.with_name(mirror.name + ".new").mkdir()
    repository.path.rename(tmp_path / "away")
    async with running(repository.uri, tmp_path / "state") as found:
        assert {"application.yml", "orders.yml"} == set(contents(await found.tree(1)))


async def test_the_state_directory_is_ours_alone(repository: Repository, tmp_path: Path) -> None:
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        async with running(repository.uri, tmp_path / "state") as second:
            await second.failed()

    assert "another vortexd" in (second.source.status.report().last_error or "")
    assert 0o700 == stat.S_IMODE(mirror_of(tmp_path / "state").stat().st_mode)


async def test_what_git_prints_is_bounded(repository: Repository, tmp_path: Path) -> None:
    git = Git(str(repository.path), parse_remote(repository.uri), GitSettings(uri=repository.uri))
    with pytest.raises(TooMuch):
        await git.run("for-each-ref", timeout=10, max_bytes=10)
    with pytest.raises(GitError, match="git rev-parse failed"):
        await git.run("rev-parse", "--verify", "nothing", timeout=10)


def mirror_of(state: Path) -> Path:
    [found] = [path for path in state.iterdir() if path.name.endswith(".git")]
    return found


def command_lines() -> list[bytes]:
    return _of_processes("cmdline")


def environments() -> list[bytes]:
    return _of_processes("environ")


def _of_processes(name: str) -> list[bytes]:
    found = []
    for path in Path("/proc").glob(f"[0-9]*/{name}"):
        try:
            found.append(path.read_bytes())
        except OSError as error:
            assert error.errno in (errno.ENOENT, errno.ESRCH, errno.EACCES)
    return found


@contextmanager
def silent_server() -> Iterator[socket.socket]:
    """A server that clients can connect to, and that never sends anything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


class Fetches:
    """The fetches of a source without a remote: when each began."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **settings: Any) -> None:
        self.began: list[float] = []
        self.fails = False
        values = GitSettings(kind="git", uri="https://git.example/a.git", refresh_interval=3600.0, **settings)
        self.source = GitSource(values, tmp_path, Random(1))
        monkeypatch.setattr(self.source, "_refresh", self._refresh)

    async def _refresh(self, *_: object) -> None:
        self.began.append(trio.current_time())
        await trio.sleep(0.02)
        if self.fails:
            raise SourceError("away")

    async def hint(self, seconds: float) -> None:
        """A hook every ten milliseconds."""
        for _ in range(round(seconds / 0.01)):
            self.source.fetch_now()
            await trio.sleep(0.01)


@pytest.fixture
async def fetches(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Fetches]:
    found = Fetches(monkeypatch, tmp_path, hook_interval=1.0)

    async def publish(tree: Tree) -> None:
        raise AssertionError("nothing is read here")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.source._fetch_for_ever, publish, False)
        await trio.sleep(10)
        yield found
        nursery.cancel_scope.cancel()


async def test_a_hook_after_a_quiet_time_is_followed_at_once(autojump_clock: MockClock, fetches: Fetches) -> None:
    now = trio.current_time()
    fetches.source.fetch_now()
    await trio.sleep(0.001)

    assert now == fetches.began[-1]


async def test_a_storm_of_hooks_is_a_fetch_a_second_and_one_behind_the_last(
    autojump_clock: MockClock, fetches: Fetches
) -> None:
    before = len(fetches.began)
    await fetches.hint(5)
    last = trio.current_time() - 0.01
    await trio.sleep(2)
    caused = fetches.began[before:]

    assert 5 <= len(caused) <= 6
    assert min(later - earlier for earlier, later in pairwise(caused)) >= 1
    assert caused[-1] >= last


async def test_hooks_do_not_hurry_fetches_that_fail(autojump_clock: MockClock, fetches: Fetches) -> None:
    fetches.fails = True
    before = len(fetches.began)
    await fetches.hint(100)
    waits = [later - earlier for earlier, later in pairwise(fetches.began[before:])]

    assert [2, 4, 8, 16, 32] == [round(wait) for wait in waits[:5]]
    assert all(wait >= 31.9 for wait in waits[5:])


# The commit before one.


async def test_the_commit_before_one_is_read_and_becomes_no_label(repository: Repository, tmp_path: Path) -> None:
    first = repository.git("rev-parse", "main").strip()
    second = repository.commit({"orders.yml": "b: 2\n", "application.yml": None})
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        before = await found.source.before(second)
        nothing = await found.source.before(first)

    assert before is not None
    assert {"application.yml": b"a: 1\n", "orders.yml": b"b: 1\n"} == dict(before.contents)
    assert (first, "Ada Lovelace") == (before.revision, before.origin and before.origin.author)
    assert nothing is None
    assert [{"main"}] == [set(tree.labels) for tree in found.trees]


async def test_before_the_first_commit_and_before_one_that_is_not_served_there_is_nothing(
    repository: Repository, tmp_path: Path
) -> None:
    only = repository.git("rev-parse", "main").strip()
    async with running(repository.uri, tmp_path / "state") as found:
        assert await found.source.before(only) is None
        await found.tree(1)
        assert await found.source.before(only) is None
        assert await found.source.before("f" * 40) is None


async def test_before_a_merge_is_what_the_branch_was(repository: Repository, tmp_path: Path) -> None:
    main = repository.git("rev-parse", "main").strip()
    other = repository.commit({"orders.yml": "b: 3\n"}, "other", parent="main")
    tree = repository.git("rev-parse", f"{other}^{{tree}}").strip()
    merge = repository.git("commit-tree", tree, "-p", main, "-p", other, "-m", "x").strip()
    repository.git("update-ref", "refs/heads/main", merge)
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        before = await found.source.before(merge)

    assert before is not None
    assert main == before.revision


async def test_what_the_commit_before_held_is_in_the_way_of_no_commit_to_come(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"old.txt": b"x" * 2_000})
    head = repository.commit({"old.txt": None})
    async with running(repository.uri, tmp_path / "state", total_bytes=2_500) as found:
        await found.tree(1)
        assert await found.source.before(head) is not None
        repository.commit({"new.txt": b"y" * 1_000})
        found.source.fetch_now()
        tree = await found.tree(2)

    assert "new.txt" in contents(tree)


async def test_a_commit_before_that_can_not_be_served_is_none(repository: Repository, tmp_path: Path) -> None:
    repository.commit({"large.txt": b"x" * 5_000})
    head = repository.commit({"large.txt": None})
    async with running(repository.uri, tmp_path / "state", total_bytes=2_500) as found:
        await found.tree(1)
        with capture_logs() as logs:
            assert await found.source.before(head) is None

    assert ["commit not read"] == [each["event"] for each in logs]


# The default label: what is set, else the branch of the remote's HEAD.


def on_trunk(repository: Repository) -> None:
    """Rename the default branch; HEAD goes with it."""
    repository.git("branch", "-m", "main", "trunk")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands of git that speak to the remote, as they are called."""
    calls: list[str] = []
    run = Git.run

    async def counted(self: Git, *arguments: str, **options: Any) -> bytes:
        if options.get("is_remote"):
            calls.append(arguments[0])
        return await run(self, *arguments, **options)

    monkeypatch.setattr(Git, "run", counted)
    return calls


async def test_the_default_label_is_the_branch_of_the_remotes_head(repository: Repository, tmp_path: Path) -> None:
    on_trunk(repository)
    repository.commit({"orders.yml": "b: 2\n"}, "main", parent="trunk")
    with capture_logs() as logs:
        async with running(repository.uri, tmp_path / "state") as found:
            tree = await found.tree(1)
            report = found.source.status.report()

    assert "trunk" == tree.default_label
    assert tree.labels["trunk"].revision == report.revision
    assert ["trunk"] == [entry["label"] for entry in logs if entry["event"] == "default label"]
    assert report.last_error is None


async def test_a_label_that_is_set_goes_before_the_remotes_head_which_nobody_asks_for(
    repository: Repository, tmp_path: Path, asked: list[str]
) -> None:
    repository.commit({}, "dev", parent="main")
    async with running(repository.uri, tmp_path / "state", default_label="dev") as found:
        assert "dev" == (await found.tree(1)).default_label
        repository.commit({"orders.yml": "b: 2\n"})
        await found.fetched()
        await found.fetched()

    assert {"fetch"} == set(asked)


async def test_a_default_branch_that_is_renamed_is_followed_in_one_step(repository: Repository, tmp_path: Path) -> None:
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        on_trunk(repository)
        await found.fetched()

    assert [("main", {"main"}), ("trunk", {"trunk"})] == [
        (each.default_label, set(each.labels)) for each in found.trees
    ]


async def test_another_default_branch_is_followed_with_the_next_push(
    repository: Repository, tmp_path: Path, asked: list[str]
) -> None:
    repository.commit({}, "trunk", parent="main")
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        repository.git("symbolic-ref", "HEAD", "refs/heads/trunk")
        repository.commit({"orders.yml": "b: 2\n"}, "trunk")
        asked.clear()
        await found.fetched()

    # What was pushed doesn't wait for the answer.
    assert [("main", b"b: 1\n"), ("main", b"b: 2\n"), ("trunk", b"b: 2\n")] == [
        (each.default_label, contents(each, "trunk")["orders.yml"]) for each in found.trees
    ]
    assert ["fetch", "ls-remote"] == asked


async def test_another_default_branch_is_followed_in_the_end_without_a_push(
    repository: Repository, tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "ASK_HEAD_AFTER", 3)
    repository.commit({}, "trunk", parent="main")
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        await found.fetched()
        repository.git("symbolic-ref", "HEAD", "refs/heads/trunk")
        asked.clear()
        for _ in range(5):
            await found.fetched()

    # The second and the third since it was asked last, and so on.
    assert ["fetch", "fetch", "ls-remote", "fetch", "fetch", "fetch", "ls-remote"] == asked
    assert ["main", "trunk"] == [each.default_label for each in found.trees]


async def test_while_nothing_changes_there_is_one_round_trip(
    repository: Repository, tmp_path: Path, asked: list[str]
) -> None:
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        await found.fetched()
        asked.clear()
        for _ in range(4):
            await found.fetched()

    assert ["fetch"] * 4 == asked


async def test_a_start_without_the_remote_has_the_same_default_label(repository: Repository, tmp_path: Path) -> None:
    on_trunk(repository)
    repository.commit({}, "main", parent="trunk")
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
    repository.path.rename(tmp_path / "away")
    async with running(repository.uri, tmp_path / "state") as found:
        assert "trunk" == (await found.tree(1)).default_label


@pytest.mark.parametrize("head", ["refs/heads/nothing", "detached"])
async def test_where_the_remotes_head_says_nothing_main_is_the_default_as_before(
    head: str, repository: Repository, tmp_path: Path
) -> None:
    repository.commit({}, "trunk", parent="main")
    if head == "detached":
        repository.git("update-ref", "--no-deref", "HEAD", "refs/heads/trunk")
    else:
        repository.git("symbolic-ref", "HEAD", head)
    async with running(repository.uri, tmp_path / "state") as found:
        assert "main" == (await found.tree(1)).default_label


async def test_a_remote_that_does_not_say_changes_nothing_and_is_asked_again(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        await found.fetched()
        run, is_away = Git.run, True

        async def away(self: Git, *arguments: str, **options: Any) -> bytes:
            if is_away and arguments[0] == "ls-remote":
                raise GitError("away")
            return await run(self, *arguments, **options)

        monkeypatch.setattr(Git, "run", away)
        on_trunk(repository)
        with capture_logs() as logs:
            found.source.fetch_now()
            await found.failed()
        assert 1 == len(found.trees)
        assert "away" == found.source.status.report().last_error
        assert not any(entry["event"] == "mirror rebuilt" for entry in logs)
        is_away = False
        found.source.fetch_now()

        assert ("trunk", {"trunk"}) == ((tree := await found.tree(2)).default_label, set(tree.labels))


async def test_without_a_default_label_it_is_said_what_to_set(repository: Repository, tmp_path: Path) -> None:
    repository.git("branch", "-m", "main", "dev")
    repository.git("symbolic-ref", "HEAD", "refs/heads/nothing")
    with capture_logs() as logs:
        async with running(repository.uri, tmp_path / "state") as found:
            tree = await found.tree(1)
            await found.fetched()
            await found.fetched()
            report = found.source.status.report()

    assert ("main", {"dev"}) == (tree.default_label, set(tree.labels))
    [entry] = [entry for entry in logs if entry["event"] == "no default label"]
    assert "set default_label to an existing branch or tag: dev" == entry["remedy"]
    assert entry["remedy"] in (report.last_error or "")
    assert not report.is_failing


# A bad object of the remote.


async def test_a_bad_ref_is_named_once_and_the_others_go_on(repository: Repository, tmp_path: Path) -> None:
    repository.commit({}, "dev", parent="main")
    with capture_logs() as logs:
        async with running(repository.uri, tmp_path / "state") as found:
            await found.tree(1)
            _, tree = refused(repository, "dev")
            refused(repository, "new")
            repository.commit({"orders.yml": "b: 2\n"})
            found.source.fetch_now()
            after = await found.tree(2)
            await found.fetched()
            report = found.source.status.report()

    assert {"main", "dev"} == set(after.labels)
    assert b"b: 2\n" == contents(after)["orders.yml"]
    assert b"b: 1\n" == contents(after, "dev")["orders.yml"]
    skipped = [entry for entry in logs if entry["event"] == "label skipped"]
    assert [("refs/heads/dev", "it stays as it was"), ("refs/heads/new", "it isn't served")] == [
        (entry["label"], entry["consequence"]) for entry in skipped
    ]
    assert f"object {tree}: hasDotgit" in skipped[0]["reason"]
    assert "git filter-repo" in skipped[0]["reason"]
    assert f"refs/heads/new can't be fetched: object {tree}: hasDotgit" in (report.last_error or "")
    assert not report.is_failing
    assert not any(entry["event"] in ("mirror rebuilt", "source unreadable") for entry in logs)


async def test_a_bad_ref_that_is_not_to_be_served_is_not_spoken_of(repository: Repository, tmp_path: Path) -> None:
    refused(repository, "private")
    with capture_logs() as logs:
        async with running(repository.uri, tmp_path / "state", labels=("main",)) as found:
            await found.tree(1)
            await found.fetched()
            report = found.source.status.report()

    assert not any(entry["event"] == "label skipped" for entry in logs)
    assert report.last_error is None


async def test_a_repository_of_which_git_refuses_all_says_which_object(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "config.git")
    repository.commit({"app.yml": "a: 1\n"})
    _, tree = refused(repository, "main")
    async with running(repository.uri, tmp_path / "state") as found:
        await found.failed()
        report = found.source.status.report()

    assert f"object {tree}: hasDotgit" in (report.last_error or "")
    assert [] == found.trees


async def test_refs_that_there_was_no_time_for_are_said_and_the_others_are_served(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_MOST_FETCHES", 1)
    repository.commit({"orders.yml": "b: 2\n"}, "other", parent="main")
    refused(repository)
    async with running(repository.uri, tmp_path / "state") as found:
        assert {"main"} == set((await found.tree(1)).labels)
        await found.failed()
        assert "2 branches and tags are still to be fetched" in (found.source.status.report().last_error or "")
        monkeypatch.setattr(fetching, "_MOST_FETCHES", 9)
        await found.fetched()

    assert {"main", "other"} == set(found.trees[-1].labels)


@pytest.mark.parametrize("has_whole", [True, False])
async def test_a_shallow_remote_is_said_whether_or_not_anything_of_it_is_served(
    has_whole: bool, repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"orders.yml": "b: 2\n"})
    repository.git("clone", "--quiet", "--bare", "--depth=1", repository.uri, str(tmp_path / "shallow.git"))
    shallow = Repository(tmp_path / "shallow.git")
    if has_whole:
        shallow.commit({"orders.yml": "b: 3\n"}, "whole", parent=None)
    with capture_logs() as logs:
        async with running(shallow.uri, tmp_path / "state") as found:
            await found.failed()
            report = found.source.status.report()

    assert "the remote is a shallow clone" in (report.last_error or "")
    assert "git fetch --unshallow" in (report.last_error or "")
    assert [{"whole"}] * has_whole == [set(each.labels) for each in found.trees]
    assert not any(entry["event"] == "mirror rebuilt" for entry in logs)


# What is left out is said.


async def test_what_is_left_out_is_said_once(repository: Repository, tmp_path: Path) -> None:
    commit = repository.git("rev-parse", "main").strip()
    files = {"app.yml": "a: 1\n", "lost.yml": "/etc/passwd", "dir": commit}
    repository.commit(files, modes={"lost.yml": "120000", "dir": "160000"})
    repository.git("update-ref", "refs/heads/svc#1", "refs/heads/main")
    repository.git("update-ref", "refs/heads/v1+b", "refs/heads/main")
    with capture_logs() as logs:
        async with running(repository.uri, tmp_path / "state", search_paths=("dir/{application}", "other")) as found:
            tree = await found.tree(1)
            repository.commit({"app.yml": "a: 2\n"})
            await found.fetched()

    assert {"main", "v1+b"} == set(tree.labels)
    assert "lost.yml" not in {**tree.labels["main"].contents, **tree.labels["main"].unreadable}
    said = {entry["event"]: entry for entry in logs if entry["log_level"] == "warning"}
    assert ["refs/heads/svc#1"] == said["labels left out"]["labels"]
    assert ["lost.yml: it leads out of the repository"] == said["links not followed"]["links"]
    obstacle = said["search path leads into a submodule"]
    assert ("dir/{application}/", "dir") == (obstacle["search_path"], obstacle["submodule"])
    assert len(said) == sum(entry["log_level"] == "warning" for entry in logs)


async def test_without_search_paths_a_submodule_is_in_nobodys_way(repository: Repository, tmp_path: Path) -> None:
    commit = repository.git("rev-parse", "main").strip()
    repository.commit({"dir": commit}, modes={"dir": "160000"})
    with capture_logs() as logs:
        async with running(repository.uri, tmp_path / "state") as found:
            await found.tree(1)

    assert [] == [entry for entry in logs if entry["log_level"] == "warning"]


async def test_a_label_with_too_much_in_it_is_an_error_of_the_source(repository: Repository, tmp_path: Path) -> None:
    async with running(repository.uri, tmp_path / "state", files=4) as found:
        await found.tree(1)
        repository.commit({f"{number}.yml": "a: 1\n" for number in range(9)})
        await found.fetched()
        report = found.source.status.report()

    assert "label main skipped: it holds more than 4 files" in (report.last_error or "")
    assert not report.is_failing


# A full disk.


async def test_a_disk_that_was_full_is_fetched_to_once_there_is_room(
    autojump_clock: MockClock, fetches: Fetches, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed = trio.Event()

    async def wait_for_room() -> None:
        await freed.wait()

    fetches.fails = True
    monkeypatch.setattr(fetches.source._mirror, "wait_for_room", wait_for_room)
    fetches.source.fetch_now()
    await trio.sleep(1)
    before = len(fetches.began)
    await trio.sleep(60)
    assert before == len(fetches.began)

    freed.set()
    freed = trio.Event()
    await trio.sleep(0.001)
    assert before + 1 == len(fetches.began)


async def test_no_wait_for_room_outlives_the_wait_for_the_next_fetch(
    autojump_clock: MockClock, fetches: Fetches, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[int] = []

    async def wait_for_room() -> None:
        waiting.append(1)
        try:
            await trio.sleep_forever()
        finally:
            waiting.append(-1)

    monkeypatch.setattr(fetches.source._mirror, "wait_for_room", wait_for_room)
    for _ in range(3):
        fetches.source.fetch_now()
        await trio.sleep(2)

    assert 1 == sum(waiting)
    assert 5 == len(waiting)


# The commits of a label, and the files of each.


async def test_the_commits_of_a_label_are_known_with_the_paths_that_they_changed(
    repository: Repository, tmp_path: Path
) -> None:
    first = repository.git("rev-parse", "main").strip()
    second = repository.commit({"orders.yml": "b: 2\n", "x/new.yml": "c: 1\n"}, author="Bo <b@example.org>")
    third = repository.commit({"application.yml": None})
    async with running(repository.uri, tmp_path / "state") as found:
        assert [] == [*found.source.commits(third)]
        await found.tree(1)
        commits = found.source.commits(third)
        assert [second, first] == [each.id for each in found.source.commits(second)], "of a state that is served still"
        assert [] == [*found.source.commits("f" * 40)]

    assert [third, second, first] == [each.id for each in commits]
    assert [second, first, None] == [each.parent for each in commits]
    assert [{"application.yml"}, {"orders.yml", "x/new.yml"}] == [set(each.paths) for each in commits[:2]]
    assert "Bo" == commits[1].origin.author


async def test_each_commit_can_be_read_and_becomes_no_label(repository: Repository, tmp_path: Path) -> None:
    first = repository.git("rev-parse", "main").strip()
    second = repository.commit(
        {"orders.yml": "b: 2\n", "link.yml": "data/real.yml", "data/real.yml": "c: 1\n"},
        modes={"link.yml": "120000"},
    )
    third = repository.commit({"orders.yml": "b: 3\n"})
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        newest = await found.source.at(third, None)
        middle = await found.source.at(second, newest)
        oldest = await found.source.at(first, middle)

    assert newest is not None
    assert middle is not None
    assert oldest is not None
    assert [b"b: 3\n", b"b: 2\n", b"b: 1\n"] == [each.files.contents["orders.yml"] for each in (newest, middle, oldest)]
    assert {"application.yml": b"a: 1\n", "orders.yml": b"b: 1\n"} == dict(oldest.files.contents)
    assert (second, "Ada Lovelace") == (middle.files.revision, middle.files.origin and middle.files.origin.author)
    assert [{"link.yml": ("link.yml", "data/real.yml")}] * 2 == [newest.ways, middle.ways]
    assert {} == oldest.ways
    assert [{"main"}] == [set(tree.labels) for tree in found.trees]


async def test_the_subject_of_a_commit_is_read_in_its_encoding(repository: Repository, tmp_path: Path) -> None:
    tree = repository.git("rev-parse", "main^{tree}").strip()
    parent = repository.git("rev-parse", "main").strip()
    plain = repository.git("commit-tree", tree, "-p", parent, "-m", "Größe \x07ändern\n\nWeil.").strip()
    raw = b"tree %s\nparent %s\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\nencoding latin1\n\nGr\xf6\xdfe\n"
    data = raw % (tree.encode(), plain.encode())
    other = repository.git("hash-object", "-t", "commit", "-w", "--stdin", input=data).strip()
    repository.git("update-ref", "refs/heads/main", other)
    async with running(repository.uri, tmp_path / "state") as found:
        await found.tree(1)
        assert ["x", "Größe ändern", "Größe"] == [await found.source.subject(each) for each in (parent, plain, other)]


async def test_a_commit_that_can_not_be_served_is_none_and_one_that_can_not_be_read_is_an_error(
    repository: Repository, tmp_path: Path
) -> None:
    large = repository.commit({"large.txt": b"x" * 5_000})
    repository.commit({"large.txt": None})
    async with running(repository.uri, tmp_path / "state", total_bytes=2_500) as found:
        with pytest.raises(SourceError, match="hasn't been read yet"):
            await found.source.at(large, None)
        await found.tree(1)
        with capture_logs() as logs:
            assert await found.source.at(large, None) is None
        with pytest.raises(SourceError):
            await found.source.subject("f" * 40)

    assert ["commit not read"] == [each["event"] for each in logs]


async def test_what_a_commit_held_is_in_the_way_of_no_commit_to_come(repository: Repository, tmp_path: Path) -> None:
    old = repository.commit({"old.txt": b"x" * 2_000})
    repository.commit({"old.txt": None})
    async with running(repository.uri, tmp_path / "state", total_bytes=2_500) as found:
        await found.tree(1)
        assert await found.source.at(old, None) is not None
        repository.commit({"new.txt": b"y" * 1_000})
        found.source.fetch_now()
        tree = await found.tree(2)

    assert "new.txt" in contents(tree)


async def test_a_commit_is_the_same_whether_git_or_the_history_says_how_it_differs_from_another(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, folder = {"link.yml": "120000"}, {"sub": "160000"}
    commits = [
        repository.git("rev-parse", "main").strip(),
        repository.commit({"orders.yml": "b: 2\n", "dir/x.yml": "x: 1\n", ".hidden": "h"}),
        repository.commit({"dir/x.yml": None, "dir": "a file now\n"}),
        repository.commit({"orders.yml": "b: 2\n"}, modes={"orders.yml": "100755"}),
        repository.commit({"link.yml": "orders.yml"}, modes=link),
        repository.commit({"orders.yml": "b: 3\n"}),
        repository.commit({"link.yml": "application.yml"}, modes=link),
        repository.commit({"link.yml": "l: 1\n", "sub": repository.git("rev-parse", "main").strip()}, modes=folder),
        repository.commit({"sub": None, "orders.yml": None}),
        repository.commit({"orders.yml": "b: 4\n", "large.yml": b"x" * 3_000}),
        repository.commit({"application.yml": "a: 9\n"}),
    ]
    listed: list[tuple[str, ...]] = []
    run = Git.run

    async def noted(git: Git, *arguments: str, **options: Any) -> bytes:
        listed.append(arguments)
        return await run(git, *arguments, **options)

    def parts(past: PastFiles | None) -> object:
        assert past is not None
        return dict(past.files.contents), dict(past.files.unreadable), past.ways, past.files.origin

    async with running(repository.uri, tmp_path / "state", file_bytes=2_000) as found:
        await found.tree(1)
        whole = [await found.source.at(commit, None) for commit in commits]
        monkeypatch.setattr(Git, "run", noted)
        for newer in range(len(commits)):
            for older in range(newer):
                assert parts(whole[older]) == parts(await found.source.at(commits[older], whole[newer])), (newer, older)
        listed.clear()
        for newer in (1, 2, 3, 6, 9, 10):
            await found.source.at(commits[newer - 1], whole[newer])
        is_asked = [each for each in listed if each[0] in ("diff-tree", "ls-tree")]

    # Only for the commit that changed a link.
    assert 1 == len(is_asked)


async def test_a_commit_is_read_as_a_label_is_even_during_a_publication(repository: Repository, tmp_path: Path) -> None:
    """The publication that needs it holds the lock of the reader."""
    first = repository.commit({"orders.yml": "b: 2\n"})
    link = repository.commit({"l.yml": "orders.yml"}, modes={"l.yml": "120000"})
    async with running(repository.uri, tmp_path / "state") as found:
        label = (await found.tree(1)).labels["main"]
        repository.commit({"orders.yml": "b: 3\n"})
        await found.fetched()
        async with found.source._reader._reading:
            with trio.fail_after(20):
                state = await found.source.state_at(link)
                older = await found.source.state_at(first)
        with pytest.raises(SourceError):
            await found.source.state_at("0" * 40)

    assert (label.contents, label.unreadable, label.root) == (state.contents, state.unreadable, state.root)
    assert (label.revision, label.origin) == (state.revision, state.origin)
    assert label.edits is not None
    assert state.edits is not None
    assert label.edits.last(["orders.yml"]) == state.edits.last(["orders.yml"])
    assert label.edits.last(["l.yml"]) == state.edits.last(["l.yml"])
    assert first == older.revision
    assert "l.yml" not in older.contents
    assert state.past is not None
    assert [b"b: 1\n", None] == [each.content async for each in state.past.contents("orders.yml")]


async def test_a_label_is_pushed_to_if_it_is_a_branch(repository: Repository, tmp_path: Path) -> None:
    head = repository.git("rev-parse", "main").strip()
    repository.git("tag", "v1", "main")
    async with running(repository.uri, tmp_path / "state", push=True, commits=True) as found:
        await found.tree(1)
        branch = found.source.branch("main")
        with pytest.raises(RemoteError, match="the label is a tag") as tag:
            found.source.branch("v1")
        with pytest.raises(RemoteError, match="the label is no branch") as commit:
            found.source.branch(head)

    assert Branch(found.source.name, "main", head, (), True) == branch
    assert (409, 409) == (tag.value.status, commit.value.status)


async def test_the_head_of_a_branch_is_the_newest_that_was_fetched(repository: Repository, tmp_path: Path) -> None:
    """Even if its files can't be read."""
    async with running(repository.uri, tmp_path / "state", files=2) as found:
        await found.tree(1)
        head = repository.commit({"third.yml": "a: 1\n"})
        await found.fetched()
        branch = found.source.branch("main")

    assert (head, False) == (branch.head, branch.pushes)


async def test_a_commit_is_made_pushed_and_then_fetched(repository: Repository, tmp_path: Path) -> None:
    async with running(repository.uri, tmp_path / "state", push=True) as found:
        await found.tree(1)
        head = found.source.branch("main").head
        new = NewCommit(head, [FileChange("orders.yml", b"b: 2\n")], "x", "ada", 1_800_000_000)
        commit = await found.source.commit(new)
        past = await found.source.at(commit, None)
        await found.source.push("main", head, commit)
        before = found.source.branch("main").head
        found.source.fetch_now()
        tree = await found.tree(2)

    assert past is not None
    assert b"b: 2\n" == past.files.contents["orders.yml"] == contents(tree)["orders.yml"]
    assert (head, commit) == (before, tree.labels["main"].revision)

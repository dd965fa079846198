"""The git program: its error messages become errors with a cause."""

import os
from pathlib import Path

import pytest
import trio

from vortexd.source.git.complaints import Fault
from vortexd.source.git.process import Git, GitError, _keep_end
from vortexd.source.git.remotes import parse_remote
from vortexd.source.git.settings import GitSettings

SHALLOW = "warning: rejected refs/heads/main because shallow roots are not allowed to be updated"
REFUSED = "error: object {id}: hasDotgit: contains '.git'\nfatal: fsck error in packed object"
DENIED = "git@git.example: Permission denied (publickey).\nfatal: Could not read from remote repository."


def git_saying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, status: int = 128, ssh_key: str = "") -> Git:
    """A program in the place of git that says this, and ends so."""
    (tmp_path / "said").write_text(text + "\n")
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/said >&2\necho done\nexit {status}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    uri = "ssh://git@git.example/x"
    return Git(str(tmp_path), parse_remote(uri), GitSettings(uri=uri, ssh_key=ssh_key))


async def failure(git: Git, *, is_remote: bool = True) -> GitError:
    with pytest.raises(GitError) as caught:
        await git.run("fetch", timeout=10, is_remote=is_remote)
    return caught.value


async def test_the_fault_goes_with_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = await failure(git_saying(tmp_path, monkeypatch, "fatal: write error: No space left on device"))

    assert (Fault.FULL, "") == (error.fault, error.culprit)
    assert "git fetch failed: fatal: write error: No space left on device" == str(error)


async def test_an_object_that_is_refused_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = await failure(git_saying(tmp_path, monkeypatch, REFUSED.format(id="a" * 40)))

    assert Fault.OBJECT is error.fault
    assert error.culprit.startswith(f"object {'a' * 40}: hasDotgit: contains '.git'; rewrite")
    assert f"git fetch failed: {error.culprit}" == str(error)


@pytest.mark.parametrize("status", [0, 1])
async def test_a_shallow_remote_is_an_error_though_git_calls_it_none(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = await failure(git_saying(tmp_path, monkeypatch, SHALLOW, status))

    assert Fault.SHALLOW is error.fault
    assert str(error).startswith("the remote is a shallow clone")


async def test_without_a_remote_nothing_is_shallow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = git_saying(tmp_path, monkeypatch, SHALLOW, 0)

    assert b"done\n" == await git.run("gc", timeout=10)


async def test_what_git_said_last_is_kept_however_much_a_remote_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flood = "remote: x\n" * 10_000

    assert Fault.OBJECT is (await failure(git_saying(tmp_path, monkeypatch, flood + REFUSED.format(id="a" * 40)))).fault


@pytest.mark.parametrize("character", ["\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
async def test_text_of_a_remote_is_not_shown_after_a_character_that_ends_no_line_of_git(
    character: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = f"remote: x{character}fatal: hunter2\nfatal: the end"

    assert "git fetch failed: fatal: the end" == str(await failure(git_saying(tmp_path, monkeypatch, said)))


async def test_a_carriage_return_ends_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Progress: 1\rremote: hunter2\rfatal: the end"

    assert "git fetch failed: Progress: 1 / fatal: the end" == str(
        await failure(git_saying(tmp_path, monkeypatch, said))
    )


class Chunks(trio.abc.ReceiveStream):
    """A stream that gives these bytes."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = [*chunks, b""]

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._chunks.pop(0)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("chunks", "kept"),
    [
        ([b"ab\n", b"cd\n"], b"ab\ncd\n"),
        ([b"ab\ncdef\n"], b"ab\ncdef\n"),
        ([b"abc\ncdef\n"], b"cdef\n"),
        ([b"abcdefgh\n", b"i\n"], b"i\n"),
        ([b"abcdefgh\ri\n"], b"i\n"),
        ([b"abcdefgh", b"i\rj\nk"], b"j\nk"),
        ([b"abcdefghi"], b""),
        ([b"abcdefghi", b"j"], b""),
    ],
)
async def test_a_line_that_has_lost_its_beginning_is_not_kept(chunks: list[bytes], kept: bytes) -> None:
    found = bytearray()
    await _keep_end(Chunks(*chunks), found, 8)

    assert kept == bytes(found)


async def test_a_remote_cannot_fake_a_message_of_git_by_a_line_that_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flood = "remote: " + "fatal: unable to access '" * 20_000
    git = git_saying(tmp_path, monkeypatch, flood, 1)
    with pytest.raises(GitError) as caught:
        await git.run("push", timeout=10, is_remote=True)

    assert (Fault.UNKNOWN, False) == (caught.value.fault, "unable" in str(caught.value))


KEYS = {"locked": "-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "open": "-----BEGIN PRIVATE KEY-----\n"}


@pytest.mark.parametrize(
    ("key", "said", "is_locked"),
    [
        ("locked", DENIED, True),
        ("open", DENIED, False),
        ("", DENIED, False),
        ("locked", "fatal: something else", False),
    ],
)
async def test_a_key_with_a_passphrase_is_said_where_it_is_refused(
    key: str, said: str, is_locked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in KEYS.items():
        (tmp_path / name).write_text(text)
    path = str(tmp_path / key) if key else ""
    error = await failure(git_saying(tmp_path, monkeypatch, said, ssh_key=path))

    assert is_locked == (f"{path} is protected by a passphrase, which vortexd cannot enter" in str(error))
    assert is_locked == ("ssh-keygen -p" in str(error))
    assert is_locked != (said.partition("\n")[0] in str(error))


PUSHED = "To ssh://x/y\n!\t1:refs/heads/main\t[rejected] (stale info)\nDone\n"


async def test_the_report_of_a_push_is_in_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = git_saying(tmp_path, monkeypatch, "error: failed to push some refs to 'ssh://x/y'", 1)
    (tmp_path / "bin/git").write_text(f"#!/bin/sh\nprintf '{PUSHED}'\ncat {tmp_path}/said >&2\nexit 1\n")
    with pytest.raises(GitError) as caught:
        await git.run("push", timeout=10, is_remote=True)

    said = "! 1:refs/heads/main [rejected] (stale info) / Done / error: failed to push some refs to 'ssh://x/y'"
    assert (Fault.MOVED, f"git push failed: {said}") == (caught.value.fault, str(caught.value))
    # No other command has its output in its error.
    assert "rejected" not in str(await failure(git))


async def test_a_call_can_have_variables_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = git_saying(tmp_path, monkeypatch, "", 0)
    (tmp_path / "bin/git").write_text('#!/bin/sh\necho "$GIT_INDEX_FILE,$GIT_TERMINAL_PROMPT"\n')

    assert b"x,0\n" == await git.run("write-tree", timeout=10, variables={"GIT_INDEX_FILE": "x"})
    assert b",0\n" == await git.run("write-tree", timeout=10)

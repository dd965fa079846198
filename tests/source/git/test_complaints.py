"""The meaning of git's error messages."""

import pytest

from vortexd.source.git.complaints import (
    Fault,
    culprit,
    fault_of,
    is_key_refused,
    is_shallow,
    push_fault_of,
    remote_lines,
    was_there,
)

ID = "0730ab3a50ddb98b82084368b4cf3a44f54f8ebd"
REFUSED = f"error: object {ID}: hasDotgit: contains '.git'\nfatal: fsck error in packed object\n"
SHALLOW = "warning: rejected refs/heads/main because shallow roots are not allowed to be updated\n"


@pytest.mark.parametrize(
    ("complaint", "fault"),
    [
        ("fatal: write error: No space left on device\n", Fault.FULL),
        ("error: unable to write file: Disk quota exceeded\n", Fault.FULL),
        ("no space left on device", Fault.FULL),
        (REFUSED + "fatal: write error: No space left on device\n", Fault.FULL),
        (REFUSED, Fault.OBJECT),
        (REFUSED.replace("error in packed object", "error in pack objects"), Fault.OBJECT),
        (REFUSED.replace("fsck error in packed object", "fsck failed"), Fault.OBJECT),
        (
            "remote: aborting due to possible repository corruption on the remote side.\nfatal: early EOF\n",
            Fault.OBJECT,
        ),
        (SHALLOW, Fault.SHALLOW),
        (REFUSED.splitlines()[0], Fault.UNKNOWN),
        ("fatal: fsck error in packed object\n", Fault.UNKNOWN),
        ("".join(f"remote: {line}\n" for line in REFUSED.splitlines()), Fault.UNKNOWN),
        ("fatal: unable to access 'https://x/': Could not resolve host: x\n", Fault.UNKNOWN),
        ("", Fault.UNKNOWN),
    ],
)
def test_the_fault_is_told_from_gits_own_words(complaint: str, fault: Fault) -> None:
    assert fault is fault_of(complaint)


REWRITE = "; rewrite the commits that have it (git filter-repo)"


def test_the_culprit_is_an_object_and_what_is_wrong_with_it() -> None:
    assert f"object {ID}: hasDotgit: contains '.git'{REWRITE}" == culprit(REFUSED)
    named = f"error: object {ID} (refs/heads/x): badTree: cannot be parsed as a tree\n"
    assert f"object {ID}: badTree: cannot be parsed as a tree{REWRITE}" == culprit(named)
    assert "the remote can't read an object of its own; run git fsck there" == culprit("remote: aborting due to ...")


def test_the_culprit_quotes_nothing_of_what_the_object_holds() -> None:
    said = f"error: object {ID}: gitmodulesUrl: disallowed submodule url: https://user:hunter2@x\x1b[31m\n"

    assert f"object {ID}: gitmodulesUrl: disallowed submodule url{REWRITE}" == culprit(said)
    assert f"object {ID}: x: {'y' * 200}{REWRITE}" == culprit(f"error: object {ID}: x: {'y' * 300}")
    assert f"object {ID}: x: [31m{REWRITE}" == culprit(f"error: object {ID}: x: \x1b[31m")


def test_a_shallow_remote_is_told_from_a_warning() -> None:
    assert is_shallow(SHALLOW)
    assert not is_shallow("warning: something else\n")


@pytest.mark.parametrize(
    ("complaint", "is_so"),
    [
        ("git@host.example: Permission denied (publickey).\r\nfatal: Could not read from remote repository.\n", True),
        ("git@host.example: Permission denied (publickey,password).\n", True),
        ("git@host.example: Permission denied (password).\n", False),
        ("remote: git@x: Permission denied (publickey).\n", False),
        ("Host key verification failed.\n", False),
    ],
)
def test_a_key_that_is_refused_is_told_from_what_ssh_says(complaint: str, is_so: bool) -> None:
    assert is_so == is_key_refused(complaint)


URL = "unable to access 'https://x/'"


@pytest.mark.parametrize(
    ("complaint", "fault"),
    [
        ("!\t1:refs/heads/main\t[rejected] (stale info)\nerror: failed to push\n", Fault.MOVED),
        ("!\t1:refs/heads/main\t[rejected] (fetch first)\n", Fault.MOVED),
        ("!\t1:refs/heads/main\t[rejected] (non-fast-forward)\n", Fault.MOVED),
        ("!\t1:refs/heads/main\t[rejected] (already exists)\n", Fault.REJECTED),
        ("!\t1:refs/heads/main\t[remote rejected] (pre-receive hook declined)\n", Fault.REJECTED),
        ("!\t1:refs/heads/main\t[remote rejected] (stale info)\n", Fault.REJECTED),
        ("fatal: Authentication failed for 'https://x/'\n", Fault.REJECTED),
        ("fatal: could not read Username for 'https://x': terminal prompts disabled\n", Fault.REJECTED),
        (f"fatal: {URL}: The requested URL returned error: 403\n", Fault.REJECTED),
        (f"fatal: {URL}: The requested URL returned error: 401\n", Fault.REJECTED),
        (f"fatal: {URL}: The requested URL returned error: 500\n", Fault.UNREACHED),
        (f"fatal: {URL}: Failed to connect to x port 443: Connection refused\n", Fault.UNREACHED),
        ("git@x: Permission denied (publickey).\nfatal: Could not read from remote repository.\n", Fault.REJECTED),
        ("ssh: connect to host x port 22: refused\nfatal: Could not read from remote repository.\n", Fault.UNREACHED),
        ("fatal: repository 'https://x/' not found\n", Fault.UNREACHED),
        ("fatal: unable to connect to x:\n", Fault.UNREACHED),
        ("fatal: unable to look up x (port 9418)\n", Fault.UNREACHED),
        ("fatal: '/x' does not appear to be a git repository\n", Fault.UNREACHED),
        ("fatal: the remote end hung up unexpectedly\n", Fault.UNKNOWN),
        ("error: RPC failed; HTTP 502 curl 22\n", Fault.UNKNOWN),
        ("remote: !\t1:refs/heads/main\t[rejected] (stale info)\n", Fault.UNKNOWN),
        (f"remote: fatal: {URL}: Failed\n", Fault.UNKNOWN),
        ("", Fault.UNKNOWN),
    ],
)
def test_the_fault_of_a_push_says_whether_it_may_have_arrived(complaint: str, fault: Fault) -> None:
    assert fault is push_fault_of(complaint)


def test_a_commit_that_the_remote_had_is_told_from_a_new_one() -> None:
    assert was_there("To file:///x\n=\t1:refs/heads/main\t[up to date]\nDone\n")
    assert not was_there("To file:///x\n \t1:refs/heads/main\t0..1\nDone\n")
    assert not was_there("remote: =\t1:refs/heads/main\t[up to date]\n")


@pytest.mark.parametrize(
    ("complaint", "expected"),
    [
        ("", []),
        ("fatal: no\n! [rejected]", []),
        ("remote: Open a merge request.        \nremote: \nremote:\nTo x", ["Open a merge request."]),
        ("remote: \x1b[31mred\x1b[0m\x07 a\tb", ["red a b"]),
        ("\n".join(f"remote: {number}" for number in range(6)), ["0", "1", "2", "3", "4"]),
        ("remote: " + "x" * 201, ["x" * 200]),
        ("remote: the token s3cret isn't valid", ["the token *** isn't valid"]),
        ("remote: see https://ada:pw@git.example/a", ["see https://***@git.example/a"]),
        ("remote: " + "x" * 197 + "s3cret", ["x" * 197 + "***"]),
    ],
)
def test_the_words_of_the_remote_are_few_printable_and_without_a_credential(
    complaint: str, expected: list[str]
) -> None:
    assert expected == remote_lines(complaint, ["s3cret"])

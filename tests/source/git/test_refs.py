"""Branches and tags as git lists them."""

import pytest

from vortexd.source.git.refs import Advertised, Ref, decoded, encoded, parse_advertised, parse_refs, shown

A, B = "a" * 40, "b" * 40


def test_refs_of_a_mirror_are_found_by_their_full_names() -> None:
    listed = f"{A} refs/heads/main\n{B} refs/tags/v1\n".encode()

    assert {"refs/heads/main": Ref("refs/heads/main", A), "refs/tags/v1": Ref("refs/tags/v1", B)} == parse_refs(listed)
    assert {} == parse_refs(b"")


def test_a_remote_says_which_branch_its_head_stands_for() -> None:
    listed = (
        f"ref: refs/heads/trunk\tHEAD\n{A}\tHEAD\n{A}\trefs/heads/trunk\n{B}\trefs/tags/v1\n{A}\trefs/tags/v1^{{}}\n"
    )
    refs = {"refs/heads/trunk": Ref("refs/heads/trunk", A), "refs/tags/v1": Ref("refs/tags/v1", B)}

    assert Advertised(refs, "refs/heads/trunk") == parse_advertised(listed.encode())


@pytest.mark.parametrize(
    "listed",
    [
        f"{A}\tHEAD\n{A}\trefs/heads/main\n",
        f"ref: refs/tags/v1\tHEAD\n{A}\trefs/heads/main\n",
        f"ref: refs/heads/x\trefs/remotes/origin/HEAD\n{A}\trefs/heads/main\n",
        f"{A}\trefs/heads/main\n",
    ],
)
def test_a_head_that_is_no_branch_says_nothing(listed: str) -> None:
    assert Advertised({"refs/heads/main": Ref("refs/heads/main", A)}, "") == parse_advertised(listed.encode())


@pytest.mark.parametrize(
    "name",
    [
        *("refs/pull/1/head", "refs/heads/a b", "refs/heads/a~1", "refs/heads/a^1", "refs/heads/a:b", "refs/heads/a?"),
        *("refs/heads/a*", "refs/heads/a[b", "refs/heads/a\\b", "refs/heads/a..b", "refs/heads/@{-1}", "refs/heads/a/"),
        *("refs/heads/a//b", "refs/heads/.a", "refs/heads/a.lock", "refs/heads/a.lock/b", "refs/heads/a.", "refs/x"),
        *("refs/heads/a\x7f", "refs/heads/a\x01"),
    ],
)
def test_a_name_that_can_not_be_fetched_is_left_out(name: str) -> None:
    assert {} == parse_advertised(f"{A}\t{name}\n".encode()).refs


@pytest.mark.parametrize(
    "name", ["refs/heads/größe", "refs/heads/a.lock2", "refs/heads/--x", "refs/heads/+a", "refs/tags/(x)"]
)
def test_any_other_name_is_kept(name: str) -> None:
    assert {name} == set(parse_advertised(f"{A}\t{name}\n".encode()).refs)


def test_a_name_keeps_its_bytes_and_is_shown_without_those_that_no_log_may_have() -> None:
    name = b"refs/heads/gr\xf6\xdfe\x1b[31m"

    assert name == encoded(decoded(name))
    assert [decoded(name)] == list(parse_refs(A.encode() + b" " + name))
    assert "refs/heads/gr??e?[31m" == shown(decoded(name))
    assert 200 == len(shown("x" * 201))

"""The commits of a label: how they are chosen, and the first line of a message, which a stranger chooses."""

from collections.abc import Collection

import pytest

from vortexd.core.commits import SUBJECT_CHARACTERS, Commit, named, newest_until, subject_of
from vortexd.core.errors import RemoteError
from vortexd.core.model import Origin


@pytest.mark.parametrize(
    ("message", "subject"),
    [
        ("Raise the pool\n\nBecause.", "Raise the pool"),
        ("\n \n  Raise it \n", "Raise it"),
        ("a\x1b[2Jb\u202e\tc", "a[2Jbc"),
        ("", ""),
        ("\n\n", ""),
        ("x" * SUBJECT_CHARACTERS, "x" * SUBJECT_CHARACTERS),
        ("x" * (SUBJECT_CHARACTERS + 1), "x" * SUBJECT_CHARACTERS),
        ("ä\r\nb", "ä"),
    ],
)
def test_the_subject_is_the_first_line_that_says_something(message: str, subject: str) -> None:
    assert subject == subject_of(message)


def test_a_commit_is_named_by_its_id() -> None:
    assert "abc" == Commit(Origin("abc", "", ""), None, ()).id


def commits(*ids: str) -> Collection[Commit]:
    return [Commit(Origin(id, "", f"2026-01-0{9 - number}T00:00:00Z"), None, ()) for number, id in enumerate(ids)]


def test_a_commit_is_named_by_the_beginning_of_its_id() -> None:
    found = [*commits("abcd", "abce", "ffff")]

    assert "ffff" == named(found, "ff").id
    for name, said in (("abc", "several commits"), ("0", "no such commit among the newest 3")):
        with pytest.raises(RemoteError, match=said) as caught:
            named(found, name)
        assert 404 == caught.value.status


def test_a_time_names_the_newest_commit_up_to_it() -> None:
    found = [*commits("aa", "bb", "cc")]

    assert ["aa", "bb", "cc"] == [
        newest_until(found, moment).id
        for moment in ("2026-02-01T00:00:00Z", "2026-01-08T23:59:59Z", "2026-01-07T00:00:00Z")
    ]
    assert "bb" == newest_until(found, "2026-01-08T00:00:00Z").id
    with pytest.raises(RemoteError) as caught:
        newest_until(found, "2026-01-06T23:59:59Z")
    assert 404 == caught.value.status

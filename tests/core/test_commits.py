"""The first line of a commit's message, which a stranger chooses."""

import pytest

from vortexd.core.commits import SUBJECT_CHARACTERS, Commit, subject_of
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

"""What errors say."""

import pytest

from vortexd.errors import UnknownLabel

HINT = "no such label; a commit is a label by its full name, where its git source has commits = true"


@pytest.mark.parametrize("label", ["0123abc", "a" * 40, "0" * 64])
def test_where_a_label_looks_like_a_commit_the_error_says_how_commits_are_served(label: str) -> None:
    assert (404, HINT) == (UnknownLabel.named(label).status, UnknownLabel.named(label).reason)


@pytest.mark.parametrize("label", ["012abc", "a" * 65, "main", "release", "ABCDEF0", "v1234567", "1234567-x"])
def test_other_labels_are_only_not_there(label: str) -> None:
    assert "no such label" == UnknownLabel.named(label).reason

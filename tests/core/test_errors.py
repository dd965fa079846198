"""The texts of errors."""

import pytest

from vortexd.core.errors import RefusedLabel, UnknownLabel
from vortexd.core.model import Key

HINT = "no such label; if the label is a commit, use its full name and set commits = true for its git source"


@pytest.mark.parametrize("label", ["0123abc", "a" * 40, "0" * 64])
def test_where_a_label_looks_like_a_commit_the_error_says_how_commits_are_served(label: str) -> None:
    assert (404, HINT) == (UnknownLabel.named(label).status, UnknownLabel.named(label).reason)


@pytest.mark.parametrize("label", ["012abc", "a" * 65, "main", "release", "ABCDEF0", "v1234567", "1234567-x"])
def test_other_labels_are_only_not_there(label: str) -> None:
    assert "no such label" == UnknownLabel.named(label).reason


def error(count: int) -> UnknownLabel:
    keys = [Key("shop", "dev", f"{number:02}") for number in range(count)]
    return UnknownLabel("there is no default label", alternatives=keys)


def test_a_peer_is_told_of_the_labels_that_it_may_have() -> None:
    told = error(5).for_peer(lambda key: key.label in ("01", "03"))

    assert (404, "there is no default label; there are 01, 03") == (told.status, told.reason)


@pytest.mark.parametrize(("count", "end"), [(10, "08, 09"), (11, "08, 09 and 1 more"), (20, "08, 09 and 10 more")])
def test_a_few_are_named(count: int, end: str) -> None:
    assert error(count).for_peer(lambda _: True).reason.endswith(end)


def test_a_peer_that_may_have_none_is_told_of_none() -> None:
    assert "there is no default label" == error(5).for_peer(lambda _: False).reason
    assert (503, "starting") == (
        (told := UnknownLabel("starting", 503).for_peer(lambda _: True)).status,
        told.reason,
    )


@pytest.mark.parametrize(
    ("may_read", "headers"), [(True, {"Retry-After": "5", "X-Why": "x"}), (False, {"Retry-After": "5"})]
)
def test_only_a_peer_that_may_read_the_key_is_told_why_its_label_is_held_back(
    may_read: bool, headers: dict[str, str]
) -> None:
    asked: list[Key] = []

    def may(key: Key) -> bool:
        asked.append(key)
        return may_read

    told = RefusedLabel(key := Key("shop", "dev", "next"), {"X-Why": "x"}).for_peer(may)

    assert (503, "the gate holds this label back, and no earlier state of it is known") == (told.status, told.reason)
    assert headers == told.headers
    assert [key] == asked

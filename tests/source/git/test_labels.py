"""The refs that are labels, the default label, and search paths that lead to nothing."""

import pytest

from vortexd.source.git.labels import default_label, first_labels, labels_of, locations_of, may_be_served, obstructed
from vortexd.source.git.refs import Ref


def refs(*names: str) -> dict[str, Ref]:
    return {name: Ref(name, f"{number:040}") for number, name in enumerate(names)}


def test_names_that_no_label_can_have_are_left_out_and_said() -> None:
    names = ["refs/heads/main", "refs/heads/svc#1", "refs/tags/v1+b", "refs/heads/größe", "refs/heads/@types/node"]
    labels, left_out = labels_of(refs(*names), ["*"])

    assert {"main", "v1+b", "@types/node"} == set(labels)
    assert ["refs/heads/svc#1", "refs/heads/größe"] == left_out


def test_what_is_not_to_be_served_is_not_left_out() -> None:
    labels, left_out = labels_of(refs("refs/heads/main", "refs/heads/a#b", "refs/tags/a#b"), ["main", "refs/tags/*"])

    assert ({"main"}, ["refs/tags/a#b"]) == (set(labels), left_out)


@pytest.mark.parametrize("names", [("refs/heads/x", "refs/tags/x"), ("refs/tags/x", "refs/heads/x")])
def test_a_branch_goes_before_a_tag_of_the_same_name(names: tuple[str, str]) -> None:
    labels, left_out = labels_of(refs(*names), ["*"])

    assert ("refs/heads/x", []) == (labels["x"].name, left_out)


def test_patterns_say_what_may_be_served() -> None:
    assert may_be_served("refs/heads/v1+b", ["v1+*"])
    assert not may_be_served("refs/heads/main", ["v1+*"])
    assert not may_be_served("refs/pull/1", ["*"])


@pytest.mark.parametrize(
    ("setting", "head", "names", "expected"),
    [
        ("", "refs/heads/trunk", ["main", "master", "trunk"], "trunk"),
        ("", "refs/heads/team/trunk", ["main", "team/trunk"], "team/trunk"),
        ("dev", "refs/heads/trunk", ["main", "trunk"], "dev"),
        ("", "refs/heads/gone", ["main", "master"], "main"),
        ("", "refs/heads/gone", ["master"], "master"),
        ("", "refs/heads/gone", ["trunk"], "main"),
        ("", "refs/heads/main", ["master", "trunk"], "master"),
        ("", "", ["main"], "main"),
    ],
)
def test_the_default_label_is_what_is_set_then_what_the_remote_says(
    setting: str, head: str, names: list[str], expected: str
) -> None:
    labels, _ = labels_of(refs(*(f"refs/heads/{name}" for name in names)), ["*"])

    assert expected == default_label(setting, head, labels)


@pytest.mark.parametrize(
    ("default", "count", "expected"),
    [
        ("main", 9, ["main", "new", "old"]),
        ("main", 2, ["main", "new"]),
        ("old", 9, ["old", "new", "main"]),
        ("gone", 9, ["new", "main", "old"]),
    ],
)
def test_the_default_label_is_read_first_then_the_newest(default: str, count: int, expected: list[str]) -> None:
    labels, _ = labels_of(refs("refs/heads/main", "refs/heads/new", "refs/tags/old"), ["*"])
    newest = ["refs/heads/new", "refs/heads/main", "refs/heads/a#b", "refs/tags/old"]

    assert expected == first_labels(labels, newest, default, count)


def test_search_paths_follow_the_top_and_come_once() -> None:
    assert ("",) == locations_of([], "main")
    assert ("", "main/", "x/") == locations_of(["/", "{label}", "/x/", "x"], "main")


def test_a_head_that_is_a_tag_by_name_only_is_none() -> None:
    labels, _ = labels_of(refs("refs/tags/trunk", "refs/heads/main"), ["*"])

    assert "main" == default_label("", "refs/heads/trunk", labels)


@pytest.mark.parametrize(
    ("location", "is_obstructed"),
    [
        ("shared/", True),
        ("shared/below/deep/", True),
        ("{application}/", True),
        ("s*d/", True),
        ("{profile}-x/", False),
        ("shared2/", False),
        ("share/", False),
        ("other/shared/", False),
        ("", False),
    ],
)
def test_a_search_path_that_leads_into_a_submodule_is_found(location: str, is_obstructed: bool) -> None:
    assert ([(location, "shared")] if is_obstructed else []) == obstructed([location], ["shared"])


def test_a_search_path_above_a_submodule_is_none() -> None:
    assert [] == obstructed(["", "team/"], ["team/shared"])
    assert [("team/shared/", "team/shared")] == obstructed(["team/", "team/shared/"], ["team/shared"])

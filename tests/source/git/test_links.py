"""Symbolic links in a commit: the file that each leads to, and links that lead to no file."""

import pytest

from vortexd.source.git import links
from vortexd.source.git.links import (
    DANGLING,
    DIRECTORY,
    ENDLESS,
    HIDDEN,
    MAX_HOPS,
    MAX_STEPS,
    OUTSIDE,
    TOO_LONG,
    Way,
    follow,
)

FILES = {"app.yml", "team/real.yml", "team/deep/x.yml", "t/x.yml"}


def leads(target: str, path: str = "link.yml", **others: str) -> str:
    """The file that a link leads to, or why it leads to none."""
    found = {path: target.encode(), **{name: text.encode() for name, text in others.items()}}
    way = follow(found, FILES)[path]
    assert path == way.through[0]
    return way.why or way.end


@pytest.mark.parametrize(
    ("path", "target", "file"),
    [
        ("link.yml", "app.yml", "app.yml"),
        ("link.yml", "./app.yml", "app.yml"),
        ("link.yml", "team//real.yml", "team/real.yml"),
        ("link.yml", "team/./deep/../real.yml", "team/real.yml"),
        ("team/link.yml", "real.yml", "team/real.yml"),
        ("team/link.yml", "../app.yml", "app.yml"),
        ("team/deep/link.yml", "../../app.yml", "app.yml"),
    ],
)
def test_a_link_leads_to_a_regular_file_from_where_it_lies(path: str, target: str, file: str) -> None:
    assert file == leads(target, path)


def test_a_link_to_a_link_leads_to_the_file_behind_both() -> None:
    assert "app.yml" == leads("other", other="app.yml")
    assert "app.yml" == leads("other", other="./again", again="app.yml")


def test_a_link_may_lead_through_a_linked_directory() -> None:
    assert "team/real.yml" == leads("linked/real.yml", linked="team")
    assert "team/real.yml" == leads("linked/../real.yml", linked="team/deep")


@pytest.mark.parametrize(
    ("path", "target", "why"),
    [
        ("link.yml", "/etc/passwd", OUTSIDE),
        ("link.yml", "/app.yml", OUTSIDE),
        ("link.yml", "../app.yml", OUTSIDE),
        ("team/link.yml", "../../app.yml", OUTSIDE),
        ("team/link.yml", "../../team/real.yml", OUTSIDE),
        ("link.yml", ".git/config", HIDDEN),
        ("link.yml", "team/.secret.yml", HIDDEN),
        ("link.yml", ".x/../app.yml", HIDDEN),
        ("link.yml", "team", DIRECTORY),
        ("link.yml", "team/deep", DIRECTORY),
        ("link.yml", "t", DIRECTORY),
        ("link.yml", "team/deep/", DIRECTORY),
        ("link.yml", ".", DIRECTORY),
        ("team/link.yml", "..", DIRECTORY),
        ("link.yml", "nothing.yml", DANGLING),
        ("link.yml", "tea", DANGLING),
        ("link.yml", "", DIRECTORY),
        ("link.yml", "app.yml/../team/real.yml", DANGLING),
        ("link.yml", "app.yml/x", DANGLING),
        ("link.yml", "link.yml", ENDLESS),
        ("link.yml", "a" * (links.MAX_TARGET_BYTES + 1), TOO_LONG),
        ("link.yml", "a" * links.MAX_TARGET_BYTES, DANGLING),
    ],
)
def test_a_link_that_leads_to_no_file_says_why(path: str, target: str, why: str) -> None:
    assert why == leads(target, path)


def test_the_bounds_are_those_of_the_man_page() -> None:
    assert (8, 128, 1_024) == (MAX_HOPS, MAX_STEPS, links.MAX_TARGET_BYTES)


def test_a_target_that_is_no_text_is_not_followed() -> None:
    assert {"link": Way(("link",), TOO_LONG)} == follow({"link": b"\xff"}, FILES)


def test_a_link_through_one_that_is_not_followed_is_not_followed() -> None:
    assert OUTSIDE == leads("other", other="/etc/passwd")
    assert TOO_LONG == leads("other", other="a" * 2_000)


def test_links_that_lead_to_each_other_end() -> None:
    ways = follow({"a": b"b", "b": b"a", "c": b"app.yml"}, FILES)

    assert {"a": ENDLESS, "b": ENDLESS, "c": ""} == {link: way.why for link, way in ways.items()}


@pytest.mark.parametrize(("count", "is_followed"), [(MAX_HOPS, True), (MAX_HOPS + 1, False)])
def test_the_links_on_the_way_are_bounded(count: int, is_followed: bool) -> None:
    chain = {f"l{number}": f"l{number + 1}".encode() for number in range(count - 1)}
    chain[f"l{count - 1}"] = b"app.yml"
    way = follow(chain, FILES)["l0"]

    assert is_followed == (way.end == "app.yml")
    assert ("" if is_followed else ENDLESS) == way.why


@pytest.mark.parametrize(("names", "is_followed"), [(MAX_STEPS - 2, True), (MAX_STEPS - 1, False)])
def test_the_names_on_the_way_are_bounded(names: int, is_followed: bool) -> None:
    """The link itself is one, and so is the file."""
    assert ("app.yml" if is_followed else ENDLESS) == leads("./" * names + "app.yml")


def test_a_way_says_which_paths_decide_on_it() -> None:
    links = {
        "link": b"linked/../other",
        "linked": b"team",
        "other": b"app.yml",
        "lost": b"linked/gone.yml",
        "out": b"/x",
    }
    ways = follow(links, FILES)

    assert Way(("link", "linked", "other", "app.yml")) == ways["link"]
    assert Way(("linked", "team"), DIRECTORY) == ways["linked"]
    # What appears there makes it a file.
    assert Way(("lost", "linked", "team/gone.yml"), DANGLING) == ways["lost"]
    assert Way(("out",), OUTSIDE) == ways["out"]

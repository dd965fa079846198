"""Search locations with placeholders and wildcards, as Spring expands them."""

from collections.abc import Iterator

import pytest

from vortexd.core.model import Files, Key, Tree
from vortexd.resolve.listing import existing_keys, list_keys
from vortexd.resolve.locations import directories_of, matches, places_of, prefixes_for
from vortexd.resolve.nest import effective_document
from vortexd.resolve.spring import property_sources, selection
from vortexd.resolve.tree import ParsedTree, parse_tree
from vortexd.settings.formats import FormatSettings

LIMITS = FormatSettings()


def key(application: str = "orders", profile: str = "dev") -> Key:
    return Key(application, profile, "main")


def parsed(locations: tuple[str, ...], **contents: str) -> ParsedTree:
    files = Files({path: text.encode() for path, text in contents.items()}, locations=locations)
    return parse_tree(Tree({"main": files}), LIMITS)


@pytest.mark.parametrize(
    ("locations", "expected"),
    [
        (("", "prod/"), ("", "prod/")),
        (("", "{application}/"), ("", "a/", "b/")),
        (("", "{profile}/{application}/"), ("", "dev/a/", "dev/b/", "test/a/", "test/b/")),
        (("", "team-*/"), ("", "team-x/", "team-y/")),
        (("", "team-*/{application}/"), ("", "team-x/a/")),
    ],
)
def test_locations_are_expanded_per_profile_and_then_per_application(
    locations: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    directories = directories_of(["team-y/x.yml", "team-x/a/x.yml", "other/z.yml"])

    assert expected == prefixes_for(locations, key("a,b", "dev,test"), directories)


def test_a_directory_of_an_application_wins_over_the_top() -> None:
    files = parsed(
        ("", "{application}/"),
        **{"application.yml": "a: 1\nb: 1", "orders/application.yml": "a: 2", "billing/application.yml": "a: 3"},
    ).labels["main"]

    assert {"a": 2, "b": 1} == effective_document(property_sources([files], key()))
    assert {"a": 3, "b": 1} == effective_document(property_sources([files], key("billing")))


def test_a_directory_of_a_profile_is_for_that_profile() -> None:
    files = parsed(("", "{profile}/"), **{"orders.yml": "a: 1", "dev/orders.yml": "a: 2"}).labels["main"]

    assert {"a": 2} == effective_document(property_sources([files], key()))
    assert {"a": 1} == effective_document(property_sources([files], key(profile="test")))
    assert {key(profile="default"), key()} == existing_keys("main", files)


def test_a_broken_file_in_a_directory_of_an_application_touches_it_alone() -> None:
    names = ("orders", "team/orders", "billing")
    for path, touched in (
        ("orders/application.yml", {"orders"}),
        ("application.yml", {*names}),
        ("team/orders/application.yml", {"team/orders"}),
    ):
        files = parsed(("", "{application}/"), **{path: "a: ["}).labels["main"]

        assert touched == {name for name in names if selection(files, key(name)).broken}


def test_what_is_in_a_longer_location_is_not_in_a_shorter_one() -> None:
    assert [("prod/", None, None)] == list(places_of("prod/x.yml", ("", "prod/")))
    assert [("orders/", "orders", None)] == list(places_of("orders/x.yml", ("", "{application}/")))


def test_the_keys_of_directories_of_applications() -> None:
    files = parsed(
        ("", "{application}/"),
        **{"orders/application.yml": "a: 1", "orders/orders-dev.yml": "a: 1", "orders/other.yml": "a: 1"},
    ).labels["main"]

    assert {key(), key(profile="default")} == existing_keys("main", files)


def test_the_same_names_are_listed_once() -> None:
    before = parsed(("",), **{"orders.yml": "a: 1"})
    listing = list_keys(before)
    changed = Tree({"main": Files({"orders.yml": b"a: 2"})})
    after = parse_tree(changed, LIMITS, before)

    assert after.labels["main"].paths is before.labels["main"].paths
    assert list_keys(after, listing).keys is listing.keys
    assert list_keys(parse_tree(Tree({}), LIMITS, after), listing).keys == frozenset()


@pytest.mark.parametrize(
    ("patterns", "is_for"),
    [
        ((), True),
        (("orders",), True),
        (("ord*",), True),
        (("orders/dev",), True),
        (("*/prod",), False),
        (("billing", "*/dev*"), True),
        (("rders",), False),
    ],
)
def test_patterns_are_matched_as_spring_does(patterns: tuple[str, ...], is_for: bool) -> None:
    assert is_for == matches(patterns, key(profile="test,dev"))


def test_P15_directories_are_looked_through_once_however_many_names_are_asked_for() -> None:
    looked = []

    class Directories(frozenset[str]):
        def __iter__(self) -> Iterator[str]:
            looked.append(self)
            return super().__iter__()

    names = ",".join(f"x{number}" for number in range(16))
    found = prefixes_for(("", "apps/*/"), Key(names, names, "main"), Directories({"apps/a/", "apps/b/", "c/"}))

    assert ("", "apps/a/", "apps/b/") == found
    assert 1 == len(looked)

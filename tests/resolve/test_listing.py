from vortexd.core.model import Names
from vortexd.resolve.listing import existing_keys, list_keys, with_former
from vortexd.resolve.tree import ParsedTree

from .support import parsed_files


def listed(*paths: str, locations: tuple[str, ...] = ("",)) -> set[str]:
    return {str(key) for key in existing_keys("main", parsed_files(dict.fromkeys(paths, "{}"), locations))}


def test_an_application_is_listed_in_default_and_in_each_profile_it_has() -> None:
    assert {"a:default:main", "a:dev:main"} == listed("a.yml", "a-dev.yml")


def test_a_profile_of_everybody_is_one_of_each_application() -> None:
    assert {"a:default:main", "a:dev:main"} == listed("a.yml", "application.yml", "application-dev.yml")


def test_a_hyphen_belongs_to_the_name_where_no_shorter_application_has_a_file() -> None:
    assert {"a-b:default:main"} == listed("a-b.yml")
    assert {"a-b:default:main", "a-b:c:main"} == listed("a-b.yml", "a-b-c.yml")


def test_the_prefix_of_a_location_is_no_part_of_a_name() -> None:
    assert {"x:default:main", "foo/app:default:main"} == listed("prod/x.yml", "foo/app.yml", locations=("", "prod/"))


def test_broken_files_are_listed_too() -> None:
    files = parsed_files({"a.yml": "a: ["})

    assert {"a:default:main"} == {str(key) for key in existing_keys("main", files)}


def begun(*paths: str, locations: tuple[str, ...] = ("",)) -> set[str]:
    files = parsed_files(dict.fromkeys(paths, "{}"), locations)
    return set(list_keys(ParsedTree({"main": files}, "main")).labels["main"].names.beginnings)


def test_what_files_are_named_after_is_known_up_to_each_hyphen() -> None:
    assert {"a", "a-b", "a-b-c"} == begun("a-b-c.yml")
    assert {"a", "a-b"} == begun("a.yml", "a-b.yml")
    assert {"team/a", "team/a-b"} == begun("team/a-b.yml")
    # A profile of everybody is no file of each application.
    assert {"a", "application", "application-dev"} == begun("a.yml", "application-dev.yml", "b.txt")
    assert {"a"} == begun("a/application.yml", locations=("{application}/",))


def test_an_application_has_a_file_or_it_has_not() -> None:
    names = Names(beginnings=frozenset(["a", "a-b"]))

    assert [True, True, True, False, False] == [
        names.has_file_of(each) for each in ("a", "a-b", "application", "b", "")
    ]
    assert not Names(frozenset(["a"])).has_file_of("a")


def test_keys_that_are_held_are_listed_as_before_and_the_label_is_searched_again() -> None:
    def tree(*paths: str) -> ParsedTree:
        return ParsedTree({"main": parsed_files(dict.fromkeys(paths, "{}"), ("",))}, "main")

    former = list_keys(tree("a.yml", "a-x.yml", "b.yml", "b-old.yml"))
    now = list_keys(tree("a.yml", "a-y.yml", "b.yml", "c.yml"), former)
    mixed = with_former(now, former, "main", lambda key: key.application in ("a", "c"))

    assert {"a:default:main", "a:x:main", "b:default:main"} == set(map(str, mixed.keys))
    assert mixed.keys == mixed.labels["main"].keys
    assert {"a", "b"} == mixed.labels["main"].names.applications
    assert {"default", "x"} == mixed.labels["main"].names.profiles
    assert {"a-x", "a-y", "b-old", "c"} <= mixed.labels["main"].names.beginnings
    assert now.keys == list_keys(tree("a.yml", "a-y.yml", "b.yml", "c.yml"), mixed).keys

"""The arguments that name one configuration, its path, and the keys that a message suggests."""

import argparse

import pytest

from vortexd.core.names import MAX_LIST_LENGTH, MAX_NAME_LENGTH
from vortexd.ctl.errors import CtlError
from vortexd.ctl.key import add_key_arguments, add_whole_key_arguments, checked_key, key_path, near, whole_key


def parsed(*arguments: str) -> tuple[str, str, str | None]:
    parser = argparse.ArgumentParser()
    add_key_arguments(parser)
    found = parser.parse_args(arguments)
    return found.app, found.profile, found.label


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["shop"], ("shop", "default", None)),
        (["shop", "prod"], ("shop", "prod", None)),
        (["shop", "prod", "--label", "v1"], ("shop", "prod", "v1")),
    ],
)
def test_only_the_application_is_required(arguments: list[str], expected: tuple[str, str, str | None]) -> None:
    assert expected == parsed(*arguments)


def test_a_command_line_without_an_application_is_refused() -> None:
    with pytest.raises(SystemExit):
        parsed("--label", "v1")


@pytest.mark.parametrize(
    ("names", "path"),
    [
        (("billing", "prod", None), "/billing/prod"),
        (("billing", "prod", "main"), "/billing/prod/main"),
        (("team/billing", "prod,eu+1", "feature/x"), "/team(_)billing/prod,eu+1/feature(_)x"),
        (("a", "b", "v1.2.3+build.5,main"), "/a/b/v1.2.3+build.5,main"),
        (("a", "b", "dependabot/npm/@types/node"), "/a/b/dependabot(_)npm(_)@types(_)node"),
        (("x" * MAX_NAME_LENGTH, "b", None), "/" + "x" * MAX_NAME_LENGTH + "/b"),
    ],
)
def test_a_path_holds_each_name_as_spring_writes_it(names: tuple[str, str, str | None], path: str) -> None:
    assert path == key_path(*names)


HINT = "names are letters, digits, dots, hyphens and underscores; profiles and labels may hold + and @"


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("../x", "b", None), "invalid application"),
        (("", "b", None), "invalid application"),
        (("x" * (MAX_NAME_LENGTH + 1), "b", None), "invalid application"),
        (("a", "b c", None), "invalid profile"),
        (("a", "", None), "invalid profile"),
        (("a", ",".join(["b"] * (MAX_LIST_LENGTH + 1)), None), f"more than {MAX_LIST_LENGTH} profiles"),
        (("a", "b", "-x"), "invalid label"),
        (("a", "b", ""), "invalid label"),
        (("a", "b", "x?y=1"), "invalid label"),
    ],
)
def test_an_invalid_name_is_an_error_of_the_command_line(names: tuple[str, str, str | None], reason: str) -> None:
    with pytest.raises(CtlError) as caught:
        key_path(*names)

    assert (2, f"{reason}; {HINT}") == (caught.value.status, str(caught.value))


KNOWN = ["pool", "pool.size", "pool.ratio", "hosts[0]", "queue.size", "cache.size", "log.size"]


@pytest.mark.parametrize(
    ("wanted", "known", "text"),
    [
        (["pol.size"], ["pool.size", "debug"], "; similar key: pool.size"),
        (["pol.ratio"], KNOWN, "; similar key: pool.ratio"),
        (["zzz"], KNOWN, ""),
        (["a"], [], ""),
        ([], KNOWN, ""),
        # The last part of the name is the same, and the rest has nothing in common.
        (["completely.different.size"], ["x.size", "other"], "; similar key: x.size"),
        (["completely.different.size"], KNOWN, "; similar keys: pool.size, queue.size, cache.size"),
        (["pol.size", "pool.sise"], ["pool.size"], "; similar key: pool.size"),
        (["debgu", "hsots"], ["debug", "hosts"], "; similar keys: debug, hosts"),
    ],
)
def test_an_error_names_at_most_three_similar_keys_once_each(wanted: list[str], known: list[str], text: str) -> None:
    assert text == near(wanted, known)


def whole(*arguments: str) -> tuple[str, str, str | None]:
    parser = argparse.ArgumentParser()
    add_whole_key_arguments(parser)
    return whole_key(parser.parse_args(arguments))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["shop"], ("shop", "default", None)),
        (["shop", "--label", "v1"], ("shop", "default", "v1")),
        (["shop", "prod"], ("shop", "prod", None)),
        (["shop", "prod", "--label", "v1"], ("shop", "prod", "v1")),
        (["shop", "prod:v1"], ("shop", "prod", "v1")),
        (["shop:prod"], ("shop", "prod", None)),
        (["shop:prod", "--label", "v1"], ("shop", "prod", "v1")),
        (["shop:prod:v1"], ("shop", "prod", "v1")),
        (["a,b:prod,eu:v1,main"], ("a,b", "prod,eu", "v1,main")),
    ],
)
def test_a_whole_key_is_one_word_or_several(arguments: list[str], expected: tuple[str, str, str | None]) -> None:
    assert expected == whole(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["shop:prod", "eu"],
        ["shop:prod:v1", "eu"],
        ["shop:prod:v1", "--label", "v2"],
        ["shop", "prod:v1", "--label", "v2"],
        ["shop:prod:v1:x"],
        ["shop", "prod:v1:x"],
        [""],
        ["shop:"],
        ["shop:prod:"],
        [":prod:v1"],
        ["shop", ""],
        ["shop", "prod", "--label", ""],
    ],
)
def test_a_part_of_a_key_that_is_named_twice_or_is_empty_is_refused(arguments: list[str]) -> None:
    with pytest.raises(CtlError, match="as APP:PROFILE:LABEL, or as APP PROFILE --label LABEL") as caught:
        whole(*arguments)

    assert 2 == caught.value.status


def test_a_whole_key_is_checked_and_may_lack_its_label() -> None:
    names = argparse.Namespace(app="shop:prod", profile=None, label=None)
    assert ("shop", "prod", "") == checked_key(names)
    names.label = "v1"
    assert ("shop", "prod", "v1") == checked_key(names)
    for names.app, names.label in (("../x:prod", None), ("shop:prod", "a b"), ("shop:-", None)):
        with pytest.raises(CtlError, match="names are letters, digits") as caught:
            checked_key(names)
        assert 2 == caught.value.status

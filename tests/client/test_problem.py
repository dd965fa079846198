"""Problems of documents: their texts, the key that holds them all, and their places."""

from typing import Any

import pytest

from vortexd.client.problem import BindError, Problem, is_below, quoted


def error(*keys: str) -> BindError:
    return BindError([Problem(key, "is wrong", '"x" is wrong') for key in keys])


def test_the_text_has_a_line_for_each_problem_and_the_reason_is_one_line() -> None:
    found = BindError([Problem("a", "is wrong", '"x" is wrong', "a.yml:3"), Problem("", "is gone", "is gone")])

    assert 'a: "x" is wrong (a.yml:3)\nthe configuration: is gone' == str(found)
    assert "a: is wrong (a.yml:3); the configuration: is gone" == found.reason
    assert isinstance(found, ValueError)


def test_a_text_stays_on_its_line() -> None:
    assert "\n" not in Problem("a\nb", "is\nwrong", "").text("is\nwrong")


def test_the_reason_has_the_first_twenty_problems() -> None:
    assert 20 == error(*"abcdefghijklmnopqrst").reason.count("is wrong")
    assert "more" not in error(*"abcdefghijklmnopqrst").reason
    assert error(*"abcdefghijklmnopqrstuv").reason.endswith("t: is wrong; and 2 more")


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        (["a.b"], "a.b"),
        (["a.b", "a.c"], "a"),
        (["a.b", "a.bc"], "a"),
        (["a.b", "a.b.c"], "a.b"),
        (["a", "b"], ""),
        (["", "a"], ""),
        (["a[0].b", "a[1].b"], "a"),
        (["a[1]"], "a"),
        (["a.b[0].c", "a.b[0].d"], "a.b[0]"),
    ],
)
def test_the_wanted_key_holds_all_keys_with_problems(keys: list[str], wanted: str) -> None:
    assert wanted == error(*keys).wanted


@pytest.mark.parametrize(
    ("key", "wanted", "is_it"), [("a.b", "a", True), ("a[0]", "a", True), ("a", "a", True), ("ab", "a", False)]
)
def test_a_key_is_below_another_at_a_dot_or_bracket(key: str, wanted: str, is_it: bool) -> None:
    assert is_it == is_below(key, wanted)


def test_each_problem_gets_the_place_of_its_key_or_of_its_list() -> None:
    found = error("a.b", "hosts[1]", "x[0].y", "z").located({"a.b": "f:1", "hosts": "f:2", "x": "f:3"})

    assert ["f:1", "f:2", None, None] == [each.place for each in found.problems]
    assert ["f:1"] == [each.place for each in error("a.b").located({"a.b": "f:1"}).located({}).problems]


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (("size",), "ten", '"ten" '),
        (("size",), True, "true "),
        (("size",), None, "null "),
        (("size",), "x" * 38, '"' + "x" * 38 + '" '),
        (("size",), "x" * 39, ""),
        (("size",), ["a"], ""),
        (("size",), {}, ""),
        (("db_password",), "ten", ""),
        (("apiKey",), "ten", ""),
        (("Secrets", "size"), "ten", ""),
        (("pins", 0), "ten", '"ten" '),
    ],
)
def test_short_values_are_quoted_unless_their_name_suggests_a_secret(path: Any, value: object, text: str) -> None:
    assert text == quoted(path, value)

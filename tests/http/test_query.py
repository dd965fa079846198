"""The query of a request: its parameters are decoded once, and only known ones occur, once each."""

import pytest

from vortexd.core.errors import InvalidName, RemoteError
from vortexd.http.query import parse_query


def refusal(query: str, *allowed: str) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        parse_query(query, allowed)
    return caught.value


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("", {}),
        ("&&", {}),
        ("a=1", {"a": "1"}),
        ("b=2&a=1", {"b": "2", "a": "1"}),
        ("&a=1&&b=2&", {"a": "1", "b": "2"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("a=x=y", {"a": "x=y"}),
    ],
)
def test_a_query_is_pairs_of_names_and_values(query: str, parameters: dict[str, str]) -> None:
    assert parameters == parse_query(query, ("a", "b"))


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("%61=%41", {"a": "A"}),
        ("a=%2541", {"a": "%41"}),
        ("a=%26b%3D1", {"a": "&b=1"}),
        ("a=x+y%2Bz", {"a": "x y+z"}),
        ("a=gr%C3%BC%C3%9F", {"a": "grüß"}),
        ("a=%", {"a": "%"}),
    ],
)
def test_names_and_values_are_decoded_once(query: str, parameters: dict[str, str]) -> None:
    assert parameters == parse_query(query, ("a",))


def test_a_plus_in_a_name_is_no_blank() -> None:
    assert {"a+b": "1"} == parse_query("a+b=1", ("a+b",))


@pytest.mark.parametrize("query", ["token=x", "%74oken=x", "token=x&token=y", "token", "token=%ff"])
def test_the_token_is_left_out(query: str) -> None:
    assert {"a": "1"} == parse_query(f"{query}&a=1", ("a",))


@pytest.mark.parametrize("query", ["c=1", "a=1&c", "A=1", "=1", "a%00=1", "tokens=x"])
def test_an_unknown_parameter_is_refused_with_the_known_ones(query: str) -> None:
    error = refusal(query, "a", "b")

    assert (400, "the parameters are a, b") == (error.status, error.reason)


@pytest.mark.parametrize("query", ["a=1&a=1", "a=&a=", "a&%61=2", "a=1&b=2&a=3"])
def test_a_parameter_that_occurs_twice_is_refused(query: str) -> None:
    error = refusal(query, "a", "b")

    assert (400, "a query parameter occurs twice") == (error.status, error.reason)


@pytest.mark.parametrize("query", ["a=%ff", "%c0%ae=1", "a=%ed%a0%80"])
def test_a_query_that_is_not_utf_8_is_refused(query: str) -> None:
    error = refusal(query, "a")

    assert isinstance(error, InvalidName)
    assert (400, "a name isn't valid UTF-8") == (error.status, error.reason)

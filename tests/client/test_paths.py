"""Paths with dots and indexes, in documents whose keys may contain dots and brackets themselves."""

from typing import Any

import pytest

from vortexd.client.change import Change
from vortexd.client.paths import NotFound, find, text_of
from vortexd.client.view import View

from .said import KEY

DOCUMENT: dict[str, Any] = {
    "database": {"pool": {"size": 5, "name": None}},
    "servers": [{"host": "a"}, {"host": "b", "ports": [80, 443]}],
    "matrix": [[1, 2], [3, 4]],
    "org": {"cloud": {"level": "nested", "deep": {"est": "below"}}},
    "org.cloud": {"level": "literal"},
    "loggers[org.example]": "debug",
    "map": {"a.b": {"c": 1}, "x": 2},
    "dots": {".b": 3, "": 4},
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("database", DOCUMENT["database"]),
        ("database.pool.size", 5),
        ("database.pool.name", None),
        ("servers[0].host", "a"),
        ("servers[1].ports[1]", 443),
        ("matrix[1][0]", 3),
        ("loggers[org.example]", "debug"),
        ("map[a.b].c", 1),
        ("map.a.b.c", 1),
        ("map[x]", 2),
        ("dots..b", 3),
    ],
)
def test_a_path_leads_through_mappings_and_lists(path: str, value: object) -> None:
    assert value == find(DOCUMENT, path)


def test_a_key_with_dots_takes_precedence_over_nested_mappings() -> None:
    assert "literal" == find(DOCUMENT, "org.cloud.level")


def test_if_the_key_with_dots_leads_nowhere_the_nested_mappings_are_searched() -> None:
    assert "below" == find(DOCUMENT, "org.cloud.deep.est")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("missing", "'missing': there is no 'missing'"),
        ("missing.size", "'missing.size': there is no 'missing.size'"),
        ("database.pool.min", "'database.pool.min': 'database.pool' has no 'min'"),
        ("database.pool.size.x", "'database.pool.size.x': 'database.pool.size' has no 'x'"),
        ("database.pool.", "'database.pool.': 'database' has no 'pool.'"),
        ("database.[0]", "'database.[0]': 'database' has no '[0]'"),
        ("servers[2].host", "'servers[2].host': 'servers' has no '[2].host'"),
        ("servers[-1]", "'servers[-1]': 'servers' has no '[-1]'"),
        ("servers[x]", "'servers[x]': 'servers' has no '[x]'"),
        ("servers[²]", "'servers[²]': 'servers' has no '[²]'"),
        ("servers[1", "'servers[1': 'servers' has no '[1'"),
        ("servers[0]host", "'servers[0]host': 'servers' has no '[0]host'"),
        ("servers[0].", "'servers[0].': 'servers' has no '[0].'"),
        ("servers.0", "'servers.0': 'servers' has no '0'"),
        ("servers[0000000000]", "'servers[0000000000]': 'servers' has no '[0000000000]'"),
        ("map[a.b]x", "'map[a.b]x': 'map' has no '[a.b]x'"),
    ],
)
def test_an_error_names_the_path_and_the_part_that_is_missing(path: str, text: str) -> None:
    with pytest.raises(NotFound) as raised:
        find(DOCUMENT, path)

    assert text == str(raised.value)


def test_an_index_of_nine_digits_is_an_index() -> None:
    assert {"host": "a"} == find(DOCUMENT, "servers[000000000]")


@pytest.mark.parametrize(
    ("elements", "text"),
    [
        ((), ""),
        (("database", "pool"), "database.pool"),
        (("servers", 0, "host"), "servers[0].host"),
        (("map", "[a.b]", "c"), "map[a.b].c"),
    ],
)
def test_names_and_indexes_become_a_path(elements: tuple[str | int, ...], text: str) -> None:
    assert text == text_of(elements)


@pytest.fixture
def view() -> View:
    view = View(0.0)
    view.begin(Change(KEY, None, "v1", DOCUMENT))
    return view


def test_a_view_takes_names_and_paths(view: View) -> None:
    assert {"level": "literal"} == view["org.cloud"]
    assert 5 == view["database.pool.size"]
    assert "a" == view["servers[0].host"]
    assert 5 == view.get("database.pool.size", 1)
    assert 1 == view.get("database.pool.min", 1)
    assert "servers[1].host" in view
    assert "servers[2].host" not in view


@pytest.mark.parametrize("name", ["missing", 7, ("a", "b")])
def test_a_name_without_dots_that_is_missing_is_a_key_error_as_of_a_dict(view: View, name: Any) -> None:
    with pytest.raises(KeyError) as raised:
        view[name]

    assert KeyError is type(raised.value)
    assert (name,) == raised.value.args


def test_a_missing_path_is_a_key_error_too(view: View) -> None:
    with pytest.raises(KeyError, match=r"^'database\.pool\.min': 'database\.pool' has no 'min'$"):
        view["database.pool.min"]

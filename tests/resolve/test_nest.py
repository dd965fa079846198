import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.core.errors import ResolveError
from vortexd.core.model import Scalar
from vortexd.resolve.nest import effective_document, split_key

from .support import source


def nested(*layers: dict[str, Scalar]) -> dict[str, object]:
    """Highest first, as the sources come."""
    return dict(effective_document([source(layer) for layer in layers]))


@pytest.mark.parametrize(
    ("layers", "document"),
    [
        ([{"a.b.c": "d"}], {"a": {"b": {"c": "d"}}}),
        ([{"a.b.c": "e"}, {"a.b.c": "d"}], {"a": {"b": {"c": "e"}}}),
        ([{"A": "Z", "S": 3}, {"A": "Y", "S": 2, "Y": 0}], {"A": "Z", "S": 3, "Y": 0}),
        ([{"a.b[0]": "c", "a.b[1]": "d"}], {"a": {"b": ["c", "d"]}}),
        ([{"a.b[0]": "f", "a.b[1]": "h"}, {"a.b[0]": "c", "a.b[1]": "d", "a.b[2]": "z"}], {"a": {"b": ["f", "h"]}}),
        (
            [{"a.test": "e", "a.b[hello]": "c", "a.b[world]": "d", "a.b[world]d": "f"}],
            {"a": {"test": "e", "b[hello]": "c", "b[world]": "d", "b[world]d": "f"}},
        ),
        ([{"document": "blah"}], {"document": "blah"}),
        ([{"document[0]": "c", "document[1]": "d"}], {"document": ["c", "d"]}),
        ([{"document[0].a": "c", "document[1].a": "d"}], {"document": [{"a": "c"}, {"a": "d"}]}),
        (
            [{"org.springframework": "WARN", "org.springframework.cloud": "ERROR"}],
            {"org": {"springframework": "WARN", "springframework.cloud": "ERROR"}},
        ),
        (
            [
                {
                    "a.b[0].c": "x",
                    "a.b[2].e[0].d": "z",
                    "a.b[0].d[2]": "yy",
                    "a.b[0].d[0]": "xx",
                    "a.b[2].c": "y",
                    "a.b[3][0]": "r",
                    "a.b[3][1]": "s",
                }
            ],
            {"a": {"b": [{"c": "x", "d": ["xx", None, "yy"]}, None, {"c": "y", "e": [{"d": "z"}]}, ["r", "s"]]}},
        ),
        (
            [{"a.b[0].c": "x", "a.b[0].d[0]": "xx", "a.b[0].d[1]": "yy", "a.b[1].c": "y", "a.b[1].e[0].d": "z"}],
            {"a": {"b": [{"c": "x", "d": ["xx", "yy"]}, {"c": "y", "e": [{"d": "z"}]}]}},
        ),
        ([{"m": "line1\nline2\n", "ref": "${m}"}], {"m": "line1\nline2\n", "ref": "${m}"}),
        ([], {}),
    ],
)
def test_golden_vectors_of_spring(layers: list[dict[str, Scalar]], document: dict[str, object]) -> None:
    assert document == nested(*layers)


def test_scalars_come_before_lists_and_keep_their_first_position() -> None:
    actual = nested({"b": 2, "l[0]": 1, "c": 3}, {"a": 1, "b": 1})

    assert ["a", "b", "c", "l"] == list(actual)


def test_a_list_is_replaced_as_a_whole_also_where_its_entries_are_mappings() -> None:
    assert {"a": [{"y": 1}]} == nested({"a[0].y": 1}, {"a[0].x": 1, "a[1].x": 2})


def test_of_a_scalar_and_a_list_the_higher_source_stands() -> None:
    assert {"a": "x"} == nested({"a": "x"}, {"a[0]": 1})
    assert {"a": [1]} == nested({"a[0]": 1}, {"a": ""})
    assert {"a": {"b": ""}} == nested({"a.b": ""}, {"a.b[0].c": 1})


def test_of_a_scalar_and_a_list_in_one_source_the_later_stands() -> None:
    assert {"a": "x"} == nested({"a[0]": 1, "a": "x"})
    assert {"a": [1]} == nested({"a": "x", "a[0]": 1})


@pytest.mark.parametrize(
    ("layer", "document"),
    [
        ({"o.s.c": 2, "o.s": 1}, {"o": {"s": 1, "s.c": 2}}),
        ({"o.s": 1, "o.s.c.x": 2, "o.s.c.y": 3}, {"o": {"s": 1, "s.c": {"x": 2, "y": 3}}}),
        ({"a": 1, "a.b": 2, "a.b.c": 3}, {"a": 1, "a.b": 2, "a.b.c": 3}),
        ({"a[0]": 1, "a.b": 2}, {"a": [1], "a.b": 2}),
        ({"a[0]": 1, "a[0].b": 2, "a[1].c": 3}, {"a": [1, {"c": 3}], "a[0].b": 2}),
        ({"x.a[0][0]": 1, "x.a[0].b": 2}, {"x": {"a": [[1]], "a[0].b": 2}}),
    ],
)
def test_a_name_with_a_value_and_names_below_keeps_both(layer: dict[str, Scalar], document: dict[str, object]) -> None:
    assert document == nested(layer)
    assert document == nested(dict(reversed(layer.items())))


@pytest.mark.parametrize(
    ("key", "steps"),
    [
        ("a..b", ["a", ".b"]),
        ("a..b.c", ["a", ".b.c"]),
        (".a", [".a"]),
        (".", ["."]),
        ("", [""]),
        ("a.", ["a", ""]),
        ("a.[0]", ["a", "[0]"]),
        ("[200]", ["[200]"]),
        ("[200].x", ["[200]", "x"]),
        ("a[", ["a["]),
        ("a[.b", ["a[.b"]),
        ("x.a[", ["x", "a["]),
        ("a[]", ["a[]"]),
        ("a[0]x", ["a[0]x"]),
        ("a[0]x[1].y", ["a[0]x", 1, "y"]),
        ("a[b.c].d", ["a[b.c]", "d"]),
        ("a[b][0]", ["a[b]", 0]),
        ("a[-1]", ["a[-1]"]),
        ("a[٣]", ["a[٣]"]),
        ("a]", ["a]"]),
        ("a[007]", ["a", 7]),
        (f"a[{'0' * 5_000}7]", ["a", 7]),
        (f"a[{'0' * 5_000}]", ["a", 0]),
        ("a[0][1].b", ["a", 0, 1, "b"]),
        ("__proto__.x", ["__proto__", "x"]),
        ("a/b.~c", ["a/b", "~c"]),
    ],
)
def test_Y11_a_malformed_key_is_literal_where_it_stands(key: str, steps: list[str | int]) -> None:
    assert steps == split_key(key)


def test_Y11_an_index_above_the_limit_is_refused() -> None:
    longest = nested({"a[10000]": 1})["a"]
    assert isinstance(longest, list)
    assert 10_001 == len(longest)
    for key in ["a[10001]", "a[999999999]", "a[0][10001]", f"a[{'9' * 5_000}]"]:
        with pytest.raises(ResolveError, match="a list index above 10000"):
            nested({key: 1})


def test_Y11_many_lists_with_gaps_are_refused() -> None:
    with pytest.raises(ResolveError, match="leave out more than 100000 indexes"):
        nested({f"k{n}[9999]": 1 for n in range(11)})
    with pytest.raises(ResolveError, match="leave out more than 100000 indexes"):
        nested({f"a[{n}][10000]": 1 for n in range(10_000)})


@pytest.mark.parametrize(
    "key", ["a" + ".a" * 100_000, "a" + "[0]" * 100_000, "a" + "[x]" * 100_000, "[" * 100_000, "." * 100_000]
)
def test_Y11_keys_of_any_length_nest_no_deeper_than_a_bound(key: str) -> None:
    began = time.perf_counter()
    document = nested({key: 1})
    depth = 0
    place: object = document
    while isinstance(place, dict | list):
        place = next(iter(place.values())) if isinstance(place, dict) else place[0]
        depth += 1

    assert depth <= 130
    assert time.perf_counter() - began < 5


@given(st.lists(st.dictionaries(st.text(".[]0ab", max_size=8), st.integers(0, 3), max_size=8), max_size=4))
def test_any_keys_nest_without_an_error_and_lose_no_scalar_of_the_highest_source(
    layers: list[dict[str, Scalar]],
) -> None:
    document = nested(*layers)

    for key, value in layers[0].items() if layers else ():
        if key and key.strip("ab") == "":
            assert key in document
            assert value == document[key] or isinstance(document[key], list)


@pytest.mark.parametrize(
    ("layers", "keys"),
    [
        # Recorded of Spring's server, tests/spring/corpus/values/layered.
        ([{"foo.bar-baz": 3, "middle": 4}, {"first": 1, "foo": 2, "last": 5}], "first foo last foo.bar-baz middle"),
        ([{"foo": 1, "x": 2, "foo.b": 3, "y": 4, "foo.a": 5}], "foo x foo.b y foo.a"),
        # The name below came first: both stand where it does.
        ([{"foo": 3, "x": 4}, {"a": 1, "foo.bar": 2, "b": 5}], "a foo foo.bar b x"),
        ([{"foo.bar.c": 3}, {"foo": 1, "x": 1, "foo.bar.d": 1, "y": 1}], "foo x foo.bar y"),
        ([{"l[0]": 1, "x": 2, "l[0].b": 3, "l.c": 4, "y": 5}], "x l l.c y l[0].b"),
    ],
)
def test_a_compound_name_stands_where_its_first_key_comes(layers: list[dict[str, Scalar]], keys: str) -> None:
    assert keys.split() == list(nested(*layers))


def test_compound_names_are_in_order_in_the_mapping_that_they_are_in() -> None:
    document = nested({"a.foo": 1, "a.x": 2, "a.foo.b": 3, "z": 4, "a.foo.c.d": 5, "a.y": 6})

    assert {"a": {"foo": 1, "x": 2, "foo.b": 3, "foo.c": {"d": 5}, "y": 6}, "z": 4} == document
    assert isinstance(document["a"], dict)
    assert ["foo", "x", "foo.b", "foo.c", "y"] == [*document["a"]]

"""Documents of ordinary keys. In every case they are those of the general way, or there is none."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.core.errors import ResolveError
from vortexd.core.model import PropertySource, Scalar
from vortexd.resolve import nest
from vortexd.resolve.nest import effective_document, general_document, merged, winning
from vortexd.resolve.ordinary import ordinary_document


def document(*keys: str, max_levels: int = 128, max_items: int = 10_001) -> dict[str, Any] | None:
    return ordinary_document({key: number for number, key in enumerate(keys)}, max_levels, max_items)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ((), {}),
        (("a",), {"a": 0}),
        (("",), {"": 0}),
        (("a.b.c", "a.b.d", "a.e", "f"), {"a": {"b": {"c": 0, "d": 1}, "e": 2}, "f": 3}),
        (("a.b", "c.b", "a.d"), {"a": {"b": 0, "d": 2}, "c": {"b": 1}}),
        (("a[0]", "a[1]"), {"a": [0, 1]}),
        (("a.b[0]", "a.b[1]", "a.c"), {"a": {"b": [0, 1], "c": 2}}),
        (("a[0].b", "a[0].c", "a[1].b"), {"a": [{"b": 0, "c": 1}, {"b": 2}]}),
        (("a[0].b.c[0].d",), {"a": [{"b": {"c": [{"d": 0}]}}]}),
        (("a]", "b].c"), {"a]": 0, "b]": {"c": 1}}),
    ],
)
def test_ordinary_keys_nest_in_their_order(keys: tuple[str, ...], expected: dict[str, Any]) -> None:
    found = document(*keys)

    assert expected == found
    assert str(expected) == str(found)


@pytest.mark.parametrize(
    "keys",
    [
        ("a", "a.b"),
        ("a.b", "a"),
        ("a.b", "a.b.c.d"),
        ("a", "a[0]"),
        ("a[0]", "a"),
        ("a[0]", "a.b"),
        ("a.b", "a[0]"),
        ("a[0]", "a[0].b"),
        ("a[0].b", "a[0]"),
        ("a[1]",),
        ("a[0]", "a[2]"),
        ("a[00]",),
        ("a[x]",),
        ("a[]",),
        ("a[0]x",),
        ("a[0]x.b",),
        ("a[0",),
        ("a[0.b",),
        ("[0]",),
        ("a.[0]",),
        ("a[0][0]",),
        ("a[x.y]",),
        ("a..b",),
        (".a",),
        ("a.",),
        ("b", ".a"),
        ("a.", "b"),
    ],
)
def test_other_keys_are_left_to_the_general_way(keys: tuple[str, ...]) -> None:
    assert document(*keys) is None


@pytest.mark.parametrize(
    ("key", "levels"), [("a.b.c", 3), ("aa.bb.cc", 3), ("a[0]", 2), ("a[0].b", 3), ("a.b[0]", 3), ("a[0].b[0].c", 5)]
)
def test_a_key_of_more_levels_is_left_to_the_general_way(key: str, levels: int) -> None:
    assert document(key, max_levels=levels) is not None
    assert document(key, max_levels=levels - 1) is None


def test_a_list_of_more_items_is_left_to_the_general_way() -> None:
    assert {"a": [0, 1]} == document("a[0]", "a[1]", max_items=2)
    assert document("a[0]", "a[1]", max_items=1) is None


def test_the_limits_are_those_of_the_general_way() -> None:
    deepest = ".".join("a" * 128)
    items = PropertySource("", {f"a[{index}]": index for index in range(nest.MAX_INDEX + 1)}, {})

    assert general_document([PropertySource("", {deepest: 0}, {})]) == document(deepest, max_levels=128)
    assert nest.MAX_INDEX + 1 == len(effective_document([items])["a"])  # type: ignore[arg-type]
    with pytest.raises(ResolveError):
        effective_document([PropertySource("", {**items.values, f"a[{nest.MAX_INDEX + 1}]": 1}, {})])


@pytest.mark.parametrize("names", range(62, 67))
@pytest.mark.parametrize("beginning", ["a.", "a[0].", "a.b."])
@pytest.mark.parametrize("end", ["", ".z", "[0]", "[0].z"])
def test_deep_keys_nest_as_in_the_general_way(names: int, beginning: str, end: str) -> None:
    key = beginning + ".".join("n" * (names if "[" in beginning else 2 * names)) + end
    sources = [PropertySource("", {key: 1, "x": 2}, {})]

    assert general_document(sources) == effective_document(sources)


KEYS = st.text(".[]0a1b\n", max_size=8) | st.sampled_from(("a.b", "a.b.c", "a[0]", "a[1]", "a[0].b", "a[0].c", "c.d"))
LAYERS = st.lists(st.dictionaries(KEYS, st.sampled_from((1, 2.5, "x", True, None)), max_size=8), max_size=4)


@given(LAYERS)
def test_both_ways_make_the_same_document_in_the_same_order(layers: list[dict[str, Scalar]]) -> None:
    sources = [PropertySource("", values, {}) for values in layers]

    assert str(general_document(sources)) == str(effective_document(sources))


@given(LAYERS)
def test_the_winning_values_are_the_merged_ones(layers: list[dict[str, Scalar]]) -> None:
    sources = [PropertySource("", values, {}) for values in layers]

    assert [(key, value) for key, value, _ in merged(sources)] == [*winning(sources).items()]


def test_a_list_is_the_one_of_the_highest_source_even_if_a_source_occurs_twice() -> None:
    one, other = (PropertySource("", {"a[0]": number, "a[1]": number}, {}) for number in (1, 2))

    assert {"a[0]": 1, "a[1]": 1} == winning([one, other, one])

"""The builder of trees: where nodes are put, merges, and the limits that apply while a file is read."""

import pytest

from vortexd.core.errors import FormatError
from vortexd.resolve.nodes import Builder, Leaf, List, Map, Node, TooManyValues, shown
from vortexd.settings.formats import FormatSettings


def builder(**limits: int) -> Builder:
    return Builder("a.yml", FormatSettings(**limits))


def plain(node: Node) -> object:
    """A tree without its places."""
    if isinstance(node, Leaf):
        return node.value
    if isinstance(node, List):
        return [plain(each) for each in node.items]
    return {key: plain(each) for key, each in node.entries.items()}


def entry(building: Builder, key: str, node: Leaf | Map | List) -> None:
    building.key(key, True, 1, 1)
    if isinstance(node, Leaf):
        building.add(node)
    else:
        building.open(node)


def closed_mapping(building: Builder, **entries: int) -> Map:
    """A document that is a mapping, as an alias to it would give it."""
    mapping = Map()
    building.open(mapping)
    for key, value in entries.items():
        entry(building, key, Leaf(value))
    building.close()
    return mapping


# Where nodes are put.


def test_nodes_outside_of_containers_are_documents_in_file_order() -> None:
    building = builder()
    building.add(Leaf("a"))
    building.open(List())
    building.close()
    building.add(Leaf("b"))

    assert ["a", [], "b"] == [plain(each) for each in building.documents]


def test_a_node_goes_into_the_innermost_open_container() -> None:
    building = builder()
    building.open(Map())
    entry(building, "a", List())
    building.add(Leaf(1))
    building.open(Map())
    entry(building, "b", Leaf(2))
    building.close()
    building.add(Leaf(3))
    building.close()
    entry(building, "c", Leaf(4))
    building.close()

    assert [{"a": [1, {"b": 2}, 3], "c": 4}] == [plain(each) for each in building.documents]


def test_the_innermost_open_container_is_known() -> None:
    building, outer, inner = builder(), Map(), List()
    found = [building.container]
    building.open(outer)
    found.append(building.container)
    entry(building, "a", inner)
    found.append(building.container)
    building.close()
    found.append(building.container)
    building.close()
    found.append(building.container)

    assert [id(each) for each in (None, outer, inner, outer, None)] == [id(each) for each in found]


def test_a_container_is_open_until_it_is_closed() -> None:
    building, mapping, items = builder(), Map(), List()
    building.open(mapping)
    entry(building, "a", items)
    assert (True, True) == (mapping.is_open, items.is_open)

    building.close()
    assert (True, False) == (mapping.is_open, items.is_open)
    building.close()
    assert (False, False) == (mapping.is_open, items.is_open)


def test_only_a_mapping_without_a_key_needs_one() -> None:
    building = builder()
    assert not building.needs_key
    building.open(Map())
    assert building.needs_key
    building.key("a", True, 1, 1)
    assert not building.needs_key
    building.open(List())
    assert not building.needs_key
    building.close()
    assert building.needs_key
    building.merge_key()
    assert not building.needs_key
    building.add(Map(is_open=False))
    assert building.needs_key
    building.close()
    assert not building.needs_key


# Keys.


def test_a_key_that_is_no_text_stands_in_brackets() -> None:
    building = builder()
    building.open(Map())
    building.key("200", False, 1, 1)
    building.add(Leaf("ok"))

    assert {"[200]": "ok"} == plain(building.documents[0])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("a", True), ("a", True)),
        (("1", False), ("1", False)),
        (("1", False), ("1", True)),
        (("1", True), ("1", False)),
    ],
)
def test_Y07_a_key_that_occurs_twice_is_refused_with_its_place(
    first: tuple[str, bool], second: tuple[str, bool]
) -> None:
    building = builder()
    building.open(Map())
    building.key(*first, 1, 1)
    building.add(Leaf(1))

    with pytest.raises(FormatError) as caught:
        building.key(*second, 7, 3)
    assert f"a.yml:7:3: duplicate key '{second[0]}'; keep one of them" == str(caught.value)


def test_equal_keys_of_two_mappings_are_no_duplicates() -> None:
    building = builder()
    building.open(List())
    for is_text in (True, False, True):
        building.open(Map())
        building.key("1", is_text, 1, 1)
        building.add(Leaf("x"))
        building.close()
    building.close()

    assert [{"1": "x"}, {"[1]": "x"}, {"1": "x"}] == plain(building.documents[0])


def test_a_text_in_brackets_is_not_a_key_that_is_no_text() -> None:
    building = builder()
    building.open(Map())
    building.key("x", False, 1, 1)
    building.add(Leaf(1))
    building.key("y", False, 1, 1)
    building.add(Leaf(2))
    building.key("[z]", True, 1, 1)
    building.add(Leaf(3))

    assert {"[x]": 1, "[y]": 2, "[z]": 3} == plain(building.documents[0])


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("a", "'a'"),
        ("a" * 100, f"'{'a' * 100}'"),
        ("a" * 101, f"'{'a' * 100}...'"),
        ("a\nb", r"'a\nb'"),
        ("é\u2028", r"'\xe9\u2028'"),
    ],
)
def test_an_error_shows_a_key_in_one_bounded_line(key: str, text: str) -> None:
    assert text == shown(key)


# Merges.


def test_the_own_keys_of_a_mapping_win_over_merged_keys_and_earlier_merges_over_later() -> None:
    building = builder()
    first, second = closed_mapping(building, x=1, y=2), closed_mapping(building, y=3, z=4)
    building.open(Map())
    entry(building, "z", Leaf("own"))
    building.merge_key()
    building.add(first)
    building.merge_key()
    building.add(second)
    entry(building, "w", Leaf("own, too"))
    building.close()

    merged = building.documents[2]
    assert {"x": 1, "y": 2, "z": "own", "w": "own, too"} == plain(merged)
    assert isinstance(merged, Map)
    assert ["x", "y", "z", "w"] == [*merged.entries]
    assert merged.merges is None
    assert [{"x": 1, "y": 2}, {"y": 3, "z": 4}] == [plain(each) for each in building.documents[:2]]


def test_a_list_of_mappings_is_merged_in_its_order() -> None:
    building = builder()
    first, second = closed_mapping(building, x=1, y=2), closed_mapping(building, y=3, z=4)
    building.open(Map())
    building.merge_key()
    building.open(List())
    building.add(first)
    building.add(second)
    building.close()
    building.close()

    assert {"x": 1, "y": 2, "z": 4} == plain(building.documents[2])


def test_a_node_behind_a_merge_is_an_entry_again() -> None:
    building = builder()
    base = closed_mapping(building, x=1)
    building.open(Map())
    building.merge_key()
    building.add(base)
    entry(building, "<<", Leaf("text"))
    building.close()

    assert {"x": 1, "<<": "text"} == plain(building.documents[1])


def test_an_empty_list_merges_nothing() -> None:
    building = builder()
    building.open(Map())
    building.merge_key()
    building.open(List())
    building.close()
    entry(building, "a", Leaf(1))
    building.close()

    assert {"a": 1} == plain(building.documents[0])


@pytest.mark.parametrize("node", [Leaf(1), List(items=[Leaf(1)]), List(items=[List(items=[Map()])])])
def test_only_mappings_are_merged(node: Node) -> None:
    building = builder()
    building.open(Map(4, 2))
    building.merge_key()
    building.add(node)

    with pytest.raises(FormatError) as caught:
        building.close()
    assert "a.yml:4:2: `<<` can only merge a mapping, or a list of mappings" == str(caught.value)


def test_Y02_each_examined_key_of_a_merge_counts() -> None:
    def merged(nodes: int) -> None:
        building = builder(nodes=nodes)
        base = closed_mapping(building, x=1, y=2)
        building.open(Map(4, 2))
        for _ in range(2):
            building.merge_key()
            building.add(base)
        building.close()

    # Three for the base, one for the mapping, two for the aliases, and twice two keys.
    merged(10)
    with pytest.raises(TooManyValues, match="^a.yml:4:2: more than 9 values; split the file$"):
        merged(9)


# Limits.


def test_a_file_has_at_most_the_allowed_number_of_nodes() -> None:
    building = builder(nodes=3)
    building.open(List())
    building.add(Leaf(1))
    building.add(Leaf(2))

    with pytest.raises(TooManyValues) as caught:
        building.add(Leaf(3, 5, 6))
    assert "a.yml:5:6: more than 3 values; split the file" == str(caught.value)


def test_nodes_that_a_parser_announces_count() -> None:
    building = builder(nodes=3)
    building.count(3, 1, 1)

    with pytest.raises(TooManyValues):
        building.count(1, 1, 1)


def test_the_error_about_values_says_if_aliases_are_expanded() -> None:
    assert "a.yml: more than 3 values, aliases expanded; split the file" == str(
        TooManyValues("a.yml", 3, None, None, are_expanded=True)
    )


def test_a_file_has_at_most_the_allowed_number_of_documents() -> None:
    building = builder(documents=2)
    building.add(Leaf(1))
    building.open(List())
    building.add(Leaf(2))
    building.close()

    with pytest.raises(FormatError) as caught:
        building.add(Leaf(3, 5, 6))
    assert "a.yml:5:6: more than 2 documents; split the file" == str(caught.value)
    assert 2 == len(building.documents)


def test_a_list_has_indexes_up_to_the_limit() -> None:
    building = builder(list_index=1)
    building.open(List())
    building.add(Leaf("index 0"))
    building.add(Leaf("index 1"))

    with pytest.raises(FormatError) as caught:
        building.add(Leaf("index 2", 5, 6))
    assert "a.yml:5:6: a list with an index above 1" == str(caught.value)


def test_containers_nest_up_to_the_depth() -> None:
    building = builder(depth=2)
    building.open(Map())
    entry(building, "a", List())

    with pytest.raises(FormatError) as caught:
        building.open(List(5, 6))
    assert "a.yml:5:6: nested deeper than 2 levels" == str(caught.value)


def test_the_depth_is_free_again_behind_a_container() -> None:
    building = builder(depth=2)
    building.open(List())
    for _ in range(3):
        building.open(List())
        building.close()
    building.close()

    assert [[[], [], []]] == [plain(each) for each in building.documents]


def test_an_error_names_the_file_and_the_place() -> None:
    assert "a.yml:3:4: wrong" == str(builder().error("wrong", 3, 4))

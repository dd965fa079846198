"""From trees to flat keys, and the limits on what a file amounts to when it is written out."""

import pytest

from vortexd.core.errors import FormatError
from vortexd.core.model import Scalar
from vortexd.resolve.flatten import Budget, Origins, Values, flatten, is_nothing, size
from vortexd.resolve.nodes import Leaf, List, Map, Node, TooManyValues
from vortexd.settings.formats import FormatSettings

UNFIT = "a NUL character or half of a surrogate pair"


def leaf(value: Scalar = 1) -> Leaf:
    return Leaf(value, 3, 5)


def mapping(**entries: Node) -> Map:
    return Map(entries=entries)


def keyed(entries: dict[str, Node]) -> Map:
    return Map(entries=entries)


def listed(*items: Node) -> List:
    return List(items=list(items))


def budget(**limits: int) -> Budget:
    return Budget("a.yml", FormatSettings(**limits))


def flat(root: Node, depth: int = 64, **limits: int) -> Values:
    values, _ = flatten(root, budget(**limits), depth)
    return values


def refusal(root: Node, depth: int = 64, **limits: int) -> str:
    with pytest.raises(FormatError) as caught:
        flatten(root, budget(**limits), depth)
    return str(caught.value)


# Keys.


@pytest.mark.parametrize(
    ("root", "values"),
    [
        (mapping(a=mapping(b=listed(mapping(c=leaf())))), {"a.b[0].c": 1}),
        (mapping(a=listed(listed(leaf("x"), leaf("y")))), {"a[0][0]": "x", "a[0][1]": "y"}),
        (keyed({"a": keyed({"[x.y]": leaf()})}), {"a[x.y]": 1}),
        (keyed({"[200]": leaf("ok")}), {"[200]": "ok"}),
        (keyed({"": mapping(b=leaf())}), {"b": 1}),
        (keyed({" ": mapping(b=leaf())}), {"b": 1}),
        (mapping(a=keyed({"": leaf()})), {"a.": 1}),
        (listed(leaf("x"), mapping(y=leaf())), {"document[0]": "x", "document[1].y": 1}),
        (leaf("text"), {"document": "text"}),
        (mapping(), {}),
        (listed(), {"document": ""}),
    ],
)
def test_a_tree_has_the_keys_of_spring(root: Node, values: Values) -> None:
    assert values == flat(root)


def test_null_and_an_empty_list_become_empty_text_and_an_empty_mapping_is_left_out() -> None:
    assert {"a": "", "b": "", "d[1]": ""} == flat(
        mapping(a=leaf(None), b=listed(), c=mapping(), d=listed(mapping(), listed()))
    )


@pytest.mark.parametrize("value", [False, 0, 0.0, ""])
def test_a_value_that_counts_as_false_stays_as_it_is(value: Scalar) -> None:
    found = flat(mapping(a=leaf(value)))

    assert (type(value), value) == (type(found["a"]), found["a"])


def test_the_later_of_two_equal_keys_wins() -> None:
    assert {"a.b": 2} == flat(keyed({"a.b": leaf(1), "a": mapping(b=leaf(2))}))
    assert {"a.b": 1} == flat(keyed({"a": mapping(b=leaf(2)), "a.b": leaf(1)}))


def test_the_keys_have_the_order_of_the_file() -> None:
    root = mapping(b=mapping(x=leaf(), a=leaf()), a=listed(leaf(), leaf()), c=leaf())

    assert ["b.x", "b.a", "a[0]", "a[1]", "c"] == [*flat(root)]


def test_a_node_with_several_parents_is_written_out_under_each() -> None:
    shared = mapping(x=leaf())

    assert {"a.x": 1, "b[0].x": 1, "b[1].x": 1} == flat(mapping(a=shared, b=listed(shared, shared)))


# Places.


def origins(root: Node) -> Origins:
    return flatten(root, budget(), 64)[1]


def test_each_value_has_the_place_of_its_node() -> None:
    root = mapping(a=Leaf(1, 3, 5), b=List(4, 6), c=listed(Leaf(1, 7, 8)))

    assert {"a": (3, 5), "b": (4, 6), "c[0]": (7, 8)} == origins(root)


@pytest.mark.parametrize("node", [Leaf(1), Leaf(1, 3), Leaf(1, None, 5)])
def test_a_value_whose_place_is_not_known_has_none(node: Leaf) -> None:
    assert {} == origins(mapping(a=node))


# Limits.


def test_nodes_are_counted_when_they_are_written_out() -> None:
    shared = Leaf(1, 2, 4)
    root = mapping(a=listed(shared, shared, shared))

    assert 3 == len(flat(root, nodes=4))
    assert "a.yml:2:4: more than 3 values, aliases expanded; split the file" == refusal(root, nodes=3)
    with pytest.raises(TooManyValues):
        flat(root, nodes=3)


def test_nodes_of_all_documents_of_a_file_count_together() -> None:
    spent = budget(nodes=3)
    flatten(mapping(a=leaf(), b=leaf()), spent, 64)
    flatten(mapping(a=leaf()), spent, 64)

    with pytest.raises(TooManyValues):
        flatten(mapping(a=leaf()), spent, 64)


def test_containers_nest_up_to_the_depth() -> None:
    root = mapping(a=Map(2, 3, {"b": List(4, 5, [leaf()])}))

    assert {"a.b[0]": 1} == flat(root, depth=3)
    assert "a.yml:4:5: nested deeper than 2 levels, aliases expanded" == refusal(root, depth=2)


def test_the_depth_is_free_again_behind_a_container() -> None:
    inner = mapping(x=leaf())

    assert 3 == len(flat(mapping(a=inner, b=inner, c=inner), depth=2))


def test_an_empty_container_needs_no_depth() -> None:
    assert {"a": ""} == flat(mapping(a=listed(), b=mapping()), depth=1)


def charge(key: str, value: Scalar = 1, **limits: int) -> None:
    budget(**limits).charge(key, value, 3, 5)


def charge_refusal(key: str, value: Scalar = 1, **limits: int) -> str:
    with pytest.raises(FormatError) as caught:
        charge(key, value, **limits)
    return str(caught.value)


@pytest.mark.parametrize(("levels", "key"), [(1, "a.b"), (1, "[0]"), (2, "a.b[0]"), (3, "a.b.c[1]")])
def test_a_key_has_as_many_separators_as_the_depth_allows(levels: int, key: str) -> None:
    charge(key, depth=levels)

    expected = f"a.yml:3:5: a key nested deeper than {levels - 1} levels"
    assert expected == charge_refusal(key, depth=levels - 1)


@pytest.mark.parametrize("text", ["a\0", "\ud800", "x\udfff", "a\udc00b"])
def test_Y10_text_that_json_can_not_hold_is_refused_in_keys_and_values(text: str) -> None:
    assert f"a.yml:3:5: {UNFIT}" == charge_refusal("a", text) == charge_refusal(text)


@pytest.mark.parametrize("text", ["a\x01", "\ud7ff", "\ue000", "\U0001f600"])
def test_Y10_other_text_is_taken(text: str) -> None:
    charge(text, text)


@pytest.mark.parametrize(("text", "bytes"), [("abcd", 4), ("éé", 4), ("😀", 4), ("\ud800", 3), ("", 0)])
def test_the_size_of_a_text_is_that_of_its_utf_8(text: str, bytes: int) -> None:
    assert bytes == size(text)


def test_a_key_and_a_value_each_have_at_most_the_allowed_bytes() -> None:
    charge("k" * 10, "é" * 5, text_bytes=10)

    expected = "a.yml:3:5: a key or value of more than 9 bytes"
    assert expected == charge_refusal("k" * 10, text_bytes=9)
    assert expected == charge_refusal("k", "é" * 5, text_bytes=9)


def test_a_scalar_that_is_no_text_counts_as_eight_bytes() -> None:
    for value in (True, 2**62, 1.5):
        charge("k", value, text_bytes=8, expanded_bytes=9)
        assert "a key or value of more than 7 bytes" in charge_refusal("k", value, text_bytes=7)
        assert "more than 8 bytes of keys and values" in charge_refusal("k", value, expanded_bytes=8)


def test_the_bytes_of_all_keys_and_values_of_a_file_count_together() -> None:
    spent = budget(expanded_bytes=10)
    spent.charge("ab", "éx", 1, 1)
    spent.charge("cd", "xyz", 1, 1)

    with pytest.raises(FormatError, match="^a.yml:3:5: more than 10 bytes of keys and values$"):
        spent.charge("e", "", 3, 5)


def test_encrypted_values_are_counted_by_their_beginning() -> None:
    spent = budget(ciphertexts=2)
    for value in ("{cipher}1", "{cipher}", "x{cipher}", "{CIPHER}", 1):
        spent.charge("a", value, 1, 1)
    spent.charge("{cipher}", 1, 1, 1)

    with pytest.raises(FormatError, match="^a.yml:3:5: more than 2 encrypted values; split the file$"):
        spent.charge("a", "{cipher}3", 3, 5)


@pytest.mark.parametrize(
    "key", ["a[7]", "a[007]", "a[0][7].b", f"a[{'0' * 5_000}7]", f"a[{'0' * 5_000}]", "a[x8]", "a[8", "a.8"]
)
def test_a_list_index_up_to_the_limit_is_taken(key: str) -> None:
    charge(key, list_index=7)


@pytest.mark.parametrize(
    "key", ["a[8]", "a[0][8].b", "[8]", "a[0008]", f"a[{'0' * 5_000}8]", "a[" + "9" * 5_000 + "]", "a[1000000000]"]
)
def test_a_list_index_above_the_limit_is_refused(key: str) -> None:
    assert "a.yml:3:5: a list index above 7" == charge_refusal(key, list_index=7)


def test_an_index_of_more_than_nine_digits_is_refused_whatever_the_limit() -> None:
    charge("a[999999999]", list_index=10**12)

    assert "a list index above" in charge_refusal("a[1000000000]", list_index=10**12)


def test_the_values_of_a_tree_are_charged_with_their_place() -> None:
    expected = "a.yml:3:5: a key or value of more than 3 bytes"

    assert expected == refusal(mapping(a=leaf("long")), text_bytes=3)
    assert f"a.yml:3:5: {UNFIT}" == refusal(mapping(a=leaf("\0")))
    assert "a.yml:9:2: a key or value of more than 3 bytes" == refusal(mapping(long=List(9, 2)), text_bytes=3)


# Documents.


def test_only_null_is_nothing() -> None:
    assert is_nothing(Leaf(None))
    for root in (Leaf(""), Leaf(False), Map(), List()):
        assert not is_nothing(root)

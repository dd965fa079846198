import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.core.errors import FormatError
from vortexd.resolve.nest import effective_document

from .support import parse_text, source, typed, values


def test_json_keeps_its_types() -> None:
    text = '{"i": 1, "f": 1.0, "e": 1e3, "t": true, "n": null, "s": "x", "l": [1, {"a": "b"}], "o": {}, "z": []}'

    expected = {"i": 1, "f": 1.0, "e": 1000.0, "t": True, "n": "", "s": "x", "l[0]": 1, "l[1].a": "b", "z": ""}
    assert typed(expected) == typed(values("a.json", text))


def test_a_document_that_is_no_object_stands_under_document() -> None:
    assert {"document[0]": 1} == values("a.json", "[1]")
    assert {"document": "x"} == values("a.json", '"x"')
    assert () == parse_text("a.json", "null")
    assert {} == values("a.json", "{}")


def test_places_are_those_of_values() -> None:
    (document,) = parse_text("a.json", '{\n  "a": 1,\n  "b": [\n    true]\n}')

    assert {"a": (2, 8), "b[0]": (4, 5)} == dict(document.origins)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("", 1, 1),
        ('{"a": 1', 1, 8),
        ('{"a" 1}', 1, 6),
        ('{"a": 1,}', 1, 9),
        ("{,}", 1, 2),
        ("[1,]", 1, 4),
        ("[1 2]", 1, 4),
        ("[1]]", 1, 4),
        ("[1}", 1, 3),
        ("{1: 2}", 1, 2),
        ("{} {}", 1, 4),
        ('{"a": NaN}', 1, 7),
        ('{"a": Infinity}', 1, 7),
        ('{"a": 01}', 1, 8),
        ("{'a': 1}", 1, 2),
        ('{"a": "\\x"}', 1, 7),
        ('{"a": "\\u12"}', 1, 7),
        ('{"a": "x\ny"}', 1, 7),
        ('{\n"a": tru}', 2, 6),
        ('{"a": 1} // x', 1, 10),
        ("\u00a0{}", 1, 1),
    ],
)
def test_what_is_not_json_is_refused_at_its_place(text: str, line: int, column: int) -> None:
    with pytest.raises(FormatError, match="not JSON") as caught:
        parse_text("a.json", text)

    assert (line, column) == (caught.value.line, caught.value.column)


def test_Y03_deep_nesting_is_refused_without_recursion() -> None:
    for text in ["[" * 100_000, '{"a":' * 100_000, "[" * 65 + "]" * 65]:
        with pytest.raises(FormatError, match="nested deeper than 64 levels"):
            parse_text("a.json", text)


def test_Y07_duplicate_keys_are_refused_with_their_line() -> None:
    with pytest.raises(FormatError, match=r"^a.json:3:1: duplicate key 'a'"):
        parse_text("a.json", '{\n"a": 1,\n"\\u0061": 2}')


def test_Y08_numbers_beyond_the_range_stay_as_written() -> None:
    digits = "9" * 5_000
    text = f'{{"a": {digits}, "b": 1e999, "c": {2**70}, "d": {2**63 - 1}, "e": -{2**63}, "f": -0}}'

    expected = {"a": digits, "b": "1e999", "c": str(2**70), "d": 2**63 - 1, "e": -(2**63), "f": 0}
    assert typed(expected) == typed(values("a.json", text))


@pytest.mark.parametrize("text", ['{"a": "\\ud800"}', '{"a": "\\u0000"}', '{"\\udc00": 1}'])
def test_Y10_what_json_clients_choke_on_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="NUL character or half of a surrogate pair"):
        parse_text("a.json", text)


def test_Y10_a_pair_of_surrogates_is_one_character() -> None:
    assert {"a": "😀"} == values("a.json", '{"a": "\\ud83d\\ude00"}')


SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
)
NAMES = st.text("abcXYZ", min_size=1, max_size=4)
DOCUMENTS = st.dictionaries(
    NAMES,
    st.recursive(
        SCALARS,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=4), st.dictionaries(NAMES, inner, min_size=1, max_size=4)
        ),
        max_leaves=12,
    ),
    min_size=1,
)


@given(DOCUMENTS, st.sampled_from([None, 2]))
def test_any_object_of_plain_keys_nests_back_to_itself(document: dict[str, object], indent: int | None) -> None:
    flat = values("a.json", json.dumps(document, indent=indent))

    assert document == effective_document([source(flat)])


@pytest.mark.parametrize(
    ("text", "place"),
    [('{"a": 1,\n "b": "x\x1by"}', "2:7"), ('{"a": 1,\n "b": "\\ud83d"}', "2:7"), ('{"a":\n "\x01": 1}', "2:2")],
)
def test_Y10_what_a_string_cannot_hold_is_refused_with_its_line(text: str, place: str) -> None:
    with pytest.raises(FormatError, match=f"^a.json:{place}: "):
        parse_text("a.json", text)

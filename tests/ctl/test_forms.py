"""Documents as text: the text reads back as the same document, and can't control a terminal."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vortexd.core.model import PropertySource
from vortexd.ctl import forms
from vortexd.http.spring.scalars import text_of
from vortexd.resolve.formats import parse
from vortexd.resolve.nest import effective_document
from vortexd.settings.formats import FormatSettings

# Text that YAML readers or terminals are known to interpret, among any other text.
TEXTS = st.sampled_from(
    [
        *(
            "",
            " ",
            "1",
            "1e3",
            "0o17",
            "010",
            "0x1F",
            "1_000",
            "12:30:45",
            "2026-01-01",
            "yes",
            "Off",
            "y",
            "N",
            "~",
            "null",
        ),
        *(
            "=",
            "<<",
            "-",
            "- a",
            "a: b",
            "# a",
            "a #b",
            "%a",
            "@a",
            "`a",
            "'",
            '"',
            "{a",
            "[a",
            "a\nb",
            "a\n",
            " a\n b",
            "a \nb",
        ),
        *(
            "\t",
            "\x1b[2J",
            "\x9b2J",
            "\u202e",
            "\x85",
            "\u2028",
            "\r\n",
            "\ufeff",
            "\ue000",
            "\U0001f600",
            ".inf",
            "-.5",
            "+1",
        ),
    ]
) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
SCALARS = TEXTS | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,5}|[0-9]{1,3}|yes|null", fullmatch=True)
DOCUMENTS = st.dictionaries(
    NAMES,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(NAMES, inner, min_size=1, max_size=3),
    ),
    max_size=5,
)


def parsed(name: str, text: str) -> dict[str, Any]:
    documents = parse(name, text.encode(), FormatSettings())
    return dict(documents[0].values) if documents else {}


@given(DOCUMENTS)
def test_yaml_reads_back_as_the_same_here_and_elsewhere(document: dict[str, Any]) -> None:
    text = forms.to_yaml(document)

    assert document == yaml.safe_load(text)
    sources = [PropertySource("", parsed("a.yml", text), {})]
    assert json.dumps(document, sort_keys=True) == json.dumps(effective_document(sources), sort_keys=True)


@given(DOCUMENTS)
def test_json_reads_back_as_the_same(document: dict[str, Any]) -> None:
    assert document == json.loads(forms.to_json(document))


@given(DOCUMENTS)
def test_properties_read_back_as_the_same_texts(document: dict[str, Any]) -> None:
    expected = {key: text_of(value) for key, value in forms.flat(document)}

    assert expected == parsed("a.properties", forms.to_properties_text(document))


@given(DOCUMENTS)
def test_no_form_has_what_steers_a_terminal(document: dict[str, Any]) -> None:
    for form in (forms.to_yaml, forms.to_json, forms.to_properties_text):
        assert form(document).replace("\n", "").isprintable()


@given(DOCUMENTS)
def test_each_flat_key_is_found(document: dict[str, Any]) -> None:
    for key, value in forms.flat(document):
        assert [value] == list(forms.find(document, key))


def test_letters_of_all_languages_stay_what_they_are() -> None:
    assert "größe: 日本\n" == forms.to_yaml({"größe": "日本"})
    assert '{\n  "größe": "日本"\n}\n' == forms.to_json({"größe": "日本"})


def test_a_text_of_several_lines_is_a_block() -> None:
    assert "a: |\n  b\n  c: d\n" == forms.to_yaml({"a": "b\nc: d\n"})


DOCUMENT: dict[str, Any] = {
    "org": "WARN",
    "org.cloud": "ERROR",
    "a": {"b": [{"c": 1}, [2, 3]], ".d": 4, "e.f": {"g": 5}},
}


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("org", ["WARN"]),
        ("org.cloud", ["ERROR"]),
        ("a.b[0].c", [1]),
        ("a.b[1]", [[2, 3]]),
        ("a.b[1][1]", [3]),
        ("a..d", [4]),
        ("a.e.f.g", [5]),
        ("", [DOCUMENT]),
        ("a.b[2]", []),
        ("a.b.0", []),
        ("a.x", []),
        ("or", []),
        ("org.cloud.x", []),
    ],
)
def test_a_key_is_found_whatever_is_compound_in_it(key: str, found: list[Any]) -> None:
    assert found == list(forms.find(DOCUMENT, key))


def test_all_keys_and_what_they_begin_with_are_named() -> None:
    assert ["org", "org.cloud", "a", "a.b", "a.b[0]", "a.b[0].c", "a.b[1]", "a.b[1][0]", "a.b[1][1]"] == list(
        forms.keys_of(DOCUMENT)
    )[:9]

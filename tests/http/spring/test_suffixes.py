"""The forms with a suffix: Spring's own test vectors, and the intended differences of vortexd."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vortexd.core.errors import RemoteError
from vortexd.core.model import PropertySource, Scalar
from vortexd.http.spring.placeholders import Placeholders, Unresolvable
from vortexd.http.spring.suffixes import check_key, to_json, to_properties, to_yaml
from vortexd.resolve.formats import parse
from vortexd.settings.formats import FormatSettings

Values = dict[str, Scalar]


def sources(*values: Values) -> list[PropertySource]:
    """Highest first."""
    return [PropertySource(f"file:/c/{number}.yml", each, {}) for number, each in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([{"a.b.c": "d"}], "a:\n  b:\n    c: d\n"),
        ([{"a.b.c": "e"}, {"a.b.c": "d"}], "a:\n  b:\n    c: e\n"),
        ([{"A": "Z", "S": 3}, {"A": "Y", "S": 2, "Y": 0}], "A: Z\nS: 3\nY: 0\n"),
        ([{"a.b[0]": "c", "a.b[1]": "d"}], "a:\n  b:\n  - c\n  - d\n"),
        (
            [{"a.b[0]": "f", "a.b[1]": "h"}, {"a.b[0]": "c", "a.b[1]": "d", "a.b[2]": "z"}],
            "a:\n  b:\n  - f\n  - h\n",
        ),
        (
            [{"a.test": "e", "a.b[hello]": "c", "a.b[world]": "d", "a.b[world]d": "f"}],
            "a:\n  test: e\n  b[hello]: c\n  b[world]: d\n  b[world]d: f\n",
        ),
        ([{"document": "blah"}], "blah\n"),
        ([{"document[0]": "c", "document[1]": "d"}], "- c\n- d\n"),
        ([{"document[0].a": "c", "document[1].a": "d"}], "- a: c\n- a: d\n"),
        (
            [{"org.springframework": "WARN", "org.springframework.cloud": "ERROR"}],
            "org:\n  springframework: WARN\n  springframework.cloud: ERROR\n",
        ),
        ([{"document": "blah"}, {"a": 1}], "a: 1\ndocument: blah\n"),
        (
            [{"a": 1, "spring.profiles": "x", "spring.profiles.active": "y"}],
            "a: 1\nspring:\n  profiles:\n    active: y\n",
        ),
        ([], "{}\n"),
    ],
)
def test_yaml_is_springs(values: list[Values], text: str) -> None:
    assert text == to_yaml(sources(*values), None).decode()


def test_lists_in_lists_and_missing_indexes() -> None:
    values: Values = {
        "a.b[0].c": "x",
        "a.b[2].e[0].d": "z",
        "a.b[0].d[2]": "yy",
        "a.b[0].d[0]": "xx",
        "a.b[2].c": "y",
        "a.b[3][0]": "r",
        "a.b[3][1]": "s",
    }

    expected = [{"c": "x", "d": ["xx", None, "yy"]}, None, {"c": "y", "e": [{"d": "z"}]}, ["r", "s"]]
    assert {"a": {"b": expected}} == yaml.safe_load(to_yaml(sources(values), None))


def test_json_is_one_line_in_order_with_javas_numbers() -> None:
    values: Values = {
        "a.b[0].c": "x",
        "a.b[0].d[0]": "xx",
        "a.b[0].d[1]": "yy",
        "a.b[1].c": "y",
        "a.b[1].e[0].d": "z",
    }

    assert b'{"a":{"b":[{"c":"x","d":["xx","yy"]},{"c":"y","e":[{"d":"z"}]}]}}' == to_json(sources(values), None)
    assert b'{"b":1.0E10,"a":"\\u001B\\\\u001b","c":true}' == to_json(
        sources({"b": 1e10, "a": "\x1b\\u001b", "c": True}), None
    )
    assert b"{}" == to_json([], None)


def test_properties_are_lines_without_escapes_lists_last() -> None:
    layers = sources({"b": True, "l[0]": "x", "c": "1\n2"}, {"a": 1e10, "b": 1, "l[0]": "q", "l[1]": "r", "d": ""})

    assert "a: 1.0E10\nb: true\nd: \nc: 1\n2\nl[0]: x" == to_properties(layers, None, is_escaped=False).decode()
    assert b"" == to_properties([], None, is_escaped=False)


def test_placeholders_in_values_may_stand_for_several_lines() -> None:
    layers = sources({"multi": "line1\nline2\nline3\n", "ref": "${multi}", "list[0]": "${ref}"})
    resolved = Placeholders(layers)

    for made in (yaml.safe_load(to_yaml(layers, resolved)), json.loads(to_json(layers, resolved))):
        assert made["ref"] == made["multi"] == made["list"][0] == "line1\nline2\nline3\n"
    assert b"ref: line1\nline2\nline3\n\nlist[0]: line1" in to_properties(layers, resolved, is_escaped=False)


def test_a_circle_is_400_in_every_form() -> None:
    layers = sources({"a": "${b}", "b": "${a}"})

    for make in (to_yaml, to_json, lambda *args: to_properties(*args, is_escaped=True)):
        with pytest.raises(Unresolvable):
            make(layers, Placeholders(layers))


@pytest.mark.parametrize(
    "key", ["a..b", ".a", "[0]", "a.[0]", "a[0]x", "a[0][x]", "a[0][", "a[-1]", "a[0]..b", "a[+1]"]
)
def test_a_key_that_can_not_be_taken_apart_is_400_but_in_properties(key: str) -> None:
    with pytest.raises(RemoteError) as caught:
        check_key(key)

    assert 400 == caught.value.status
    with pytest.raises(RemoteError):
        to_yaml(sources({"ok": 1, key: 1}), None)
    assert f"ok: 1\n{key}: 1" == to_properties(sources({"ok": 1, key: 1}), None, is_escaped=False).decode()


@pytest.mark.parametrize(
    "key", ["a", "a.b", "a[0]", "a[0].b[1][2].c", "a[x]", "a[x]y", "a[", "a[]", "a.", "a[0].b[x].c"]
)
def test_a_key_that_can_be_taken_apart_is_let_pass(key: str) -> None:
    check_key(key)


def test_what_spring_would_lose_or_stumble_over_is_kept() -> None:
    """Deliberate: a name with a value and names below it, in any order, and a text against a list of another layer."""
    assert {"org": "WARN", "org.a": {"b": "X"}} == json.loads(to_json(sources({"org.a.b": "X", "org": "WARN"}), None))
    assert {"a": ["x"]} == json.loads(to_json(sources({"a[0]": "x"}, {"a": ""}), None))
    assert {"a": ""} == json.loads(to_json(sources({"a": ""}, {"a[0]": "x"}), None))


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(
    st.dictionaries(TEXTS.filter(lambda key: key and key == key.strip() and not key.endswith("[]")), TEXTS, max_size=5)
)
def test_escaped_properties_are_read_back_as_they_are(values: Values) -> None:
    written = to_properties(sources(values), None, is_escaped=True)
    read = [dict(each.values) for each in parse("x.properties", written, FormatSettings(depth=500, list_index=10**8))]

    values.pop("spring.profiles", None)
    assert ([values] if values else []) == read


def test_escaped_properties_have_resolved_placeholders() -> None:
    layers = sources({"a": "x\ny", "b c": "${a}:", "d": " z"})
    made = to_properties(layers, Placeholders(layers), is_escaped=True)

    assert b"a=x\\ny\nb\\ c=x\\ny\\:\nd=\\ z\n" == made


@pytest.mark.parametrize("key", ["a[" + "x]" * 100_000, "[x" * 100_000 + "]", "a" + "[x]" * 100_000])
def test_Y01_a_key_costs_no_more_than_its_length(key: str) -> None:
    check_key(key)
    assert to_json([PropertySource("file:/c/x.yml", {key: 1}, {})], None)

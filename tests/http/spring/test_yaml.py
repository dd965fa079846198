"""YAML as SnakeYAML writes it. SnakeYAML 2.5 has written the texts, in the way Spring Cloud Config Server 5.0.2 calls it."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vortexd.core.model import Json, Scalar
from vortexd.http.spring.yaml import dump

LONG = "a very long line of plain text that goes beyond eighty columns and therefore is split somewhere by the emitter"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("hello world", "hello world"),
        ("it's", "it's"),
        ('say "x"', 'say "x"'),
        ("-x", "-x"),
        (":x", ":x"),
        ("=", "="),
        ("true", "'true'"),
        ("off", "'off'"),
        ("Y", "Y"),
        ("12", "'12'"),
        ("+1", "'+1'"),
        ("1.0", "'1.0'"),
        ("1_000", "'1_000'"),
        ("0123", "'0123'"),
        ("08", "'08'"),
        ("22:22", "'22:22'"),
        ("1e3", "'1e3'"),
        ("2024-01-02", "'2024-01-02'"),
        ("", "''"),
        ("~", "'~'"),
        ("null", "'null'"),
        ("<<", "'<<'"),
        ("...", "'...'"),
        ("--- x", "'--- x'"),
        (" lead", "' lead'"),
        ("trail ", "'trail '"),
        ("a: b", "'a: b'"),
        ("a #b", "'a #b'"),
        ("*x", "'*x'"),
        ("@x", "'@x'"),
        ("[x]", "'[x]'"),
        ("? x", "'? x'"),
        ("a\tb", '"a\\tb"'),
        ("a\rb", '"a\\rb"'),
        ("x \ny", '"x \\ny"'),
        ("line1\nline2\n", "|\n  line1\n  line2"),
        ("line1\nline2", "|-\n  line1\n  line2"),
        ("  lead\nx", "|2-\n    lead\n  x"),
        ("a\x07b", "!!binary |-\n  YQdi"),
        ("grüß \u4e2d \U0001f600", "grüß \u4e2d \U0001f600"),
        ("\ufeffx", "\ufeffx"),
        ("a\xa0b", "a\xa0b"),
        (5, "5"),
        (True, "true"),
        (None, "null"),
        (1e10, "1.0E10"),
        (-0.0, "-0.0"),
        (
            f"this is {LONG} of yaml",
            "this is a very long line of plain text that goes beyond eighty columns and therefore\n"
            "  is split somewhere by the emitter of yaml",
        ),
        (
            f"this is: {LONG} of yaml",
            "'this is: a very long line of plain text that goes beyond eighty columns and\n"
            "  therefore is split somewhere by the emitter of yaml'",
        ),
        (
            f"this is\t{LONG} of yaml",
            '"this is\\ta very long line of plain text that goes beyond eighty columns and\\\n'
            '  \\ therefore is split somewhere by the emitter of yaml"',
        ),
        (
            "é\t" + "ü\U0001f600 " * 30,
            '"é\\t' + "ü\U0001f600 " * 18 + "ü\\\n  \U0001f600 " + "ü\U0001f600 " * 11 + '"',
        ),
    ],
)
def test_a_value_is_written_as_snakeyaml_does(value: Scalar, text: str) -> None:
    assert f"key: {text}\n" == dump({"key": value})


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("key with space", "key with space"),
        ("1", "'1'"),
        ("[true]", "'[true]'"),
        ("a\nb", "? |-\n  a\n  b\n"),
        ("", "? ''\n"),
        ("k" * 122, "k" * 122),
        ("k" * 123, "? " + "k" * 123 + "\n"),
    ],
)
def test_a_key_is_written_as_snakeyaml_does(key: str, text: str) -> None:
    assert f"{text}: 1\n" == dump({key: 1})


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({}, "{}\n"),
        ("blah", "blah\n"),
        (5, "'5'\n"),
        (["c", "d"], "- c\n- d\n"),
        ({"a": {"b": ["c", "d"]}}, "a:\n  b:\n  - c\n  - d\n"),
        ({"l": ["a", 1, ["x", "y"], {"k": "v", "m": [1]}]}, "l:\n- a\n- 1\n- - x\n  - y\n- k: v\n  m:\n  - 1\n"),
        ({"a": [], "b": {}}, "a: []\nb: {}\n"),
    ],
)
def test_collections_are_blocks_with_dashes_under_their_key(document: Json, text: str) -> None:
    assert text == dump(document)


# PyYAML can't read `=`, which SnakeYAML writes.
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")) | st.sampled_from("\n\t :#-?'\"\\|>&*!%@`[]{},~0")
).filter(lambda text: text != "=")


@given(st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS, max_size=3), max_size=4))
def test_what_is_written_is_read_back(document: dict[str, Json]) -> None:
    assert document == yaml.safe_load(dump(document))

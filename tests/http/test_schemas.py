"""The patterns of names in the OpenAPI document match exactly the accepted names."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from vortexd.core import names
from vortexd.core.errors import InvalidName
from vortexd.core.patterns import parse_pattern
from vortexd.http import schemas

PATTERNS = st.text("aZ0_.-+@*:,/ ", max_size=9) | st.lists(
    st.sampled_from(["a", "b-c", "0", ".", "-", "_", "/", "(_)", "*", "**", ":", ",", "+", "(", " "]), max_size=8
).map("".join)
TEXTS = st.text("aZ0_.-+@,/# ", max_size=9) | st.lists(
    st.sampled_from(["a", "b-c", "0", ".", "..", "-", "_", "/", "(_)", ",", "+", "@", "(", " "]), max_size=6
).map("".join)


def is_taken(gate: Callable[[str], str], text: str) -> bool:
    try:
        gate(text)
    except InvalidName:
        return False
    return True


@settings(max_examples=examples(1_000))
@given(TEXTS)
@pytest.mark.parametrize(
    ("schema", "gate"),
    [(schemas.PATHS, names.application), (schemas.LABELS, names.labels), (schemas.PROFILES, names.profile)],
    ids=["application", "label", "profile"],
)
def test_a_name_that_matches_is_taken_and_no_other(
    schema: schemas.Schema, gate: Callable[[str], str], text: str
) -> None:
    assert is_taken(gate, text) == bool(re.search(schema["pattern"].replace("$", r"\Z"), text))


@settings(max_examples=examples(2_000))
@given(PATTERNS)
def test_a_text_that_matches_is_taken_as_a_pattern_and_no_other(text: str) -> None:
    is_pattern = is_taken(lambda each: str(parse_pattern(each)), text)
    assert is_pattern == bool(re.search(schemas.PATTERN["pattern"].replace("$", r"\Z"), text))


@pytest.mark.parametrize("length", [128, 129])
@pytest.mark.parametrize("text", ["a", "*"])
@pytest.mark.parametrize("before", ["", "b:", "b:c:"])
def test_the_parts_of_a_pattern_have_the_same_bounds(before: str, text: str, length: int) -> None:
    whole = before + text * length
    assert (length == 128) == bool(re.search(schemas.PATTERN["pattern"], whole))
    assert (length == 128) == is_taken(lambda each: str(parse_pattern(each)), whole)


@pytest.mark.parametrize("text", ["a" * 128, "a" * 129, ",".join("a" * 16), ",".join("a" * 17)])
def test_names_have_the_same_bounds(text: str) -> None:
    for schema, gate in ((schemas.LABELS, names.labels), (schemas.PROFILES, names.profile)):
        assert is_taken(gate, text) == bool(re.search(schema["pattern"], text))


@pytest.mark.parametrize(
    ("text", "is_side"),
    [
        ("", True),
        ("0123456789abcdef", True),
        ("version:0123456789abcdef", True),
        ("version:main", False),
        ("label:release/1.0", True),
        ("label:v1.2.3+build.5", True),
        ("dependabot/npm/@types/node", True),
        ("label:", False),
        ("branch:main", False),
    ],
)
def test_the_sides_of_a_difference(text: str, is_side: bool) -> None:
    assert is_side == bool(re.search(schemas.SIDE["pattern"], text))

"""Places in schemas, as lines."""

import pytest

from vortexd.gate.lines import line_of, syntax_problem

TEXT = """{
  "type": "object",
  "required": [
    "a",
    "b"
  ],
  "properties": {"a": {"type": "strin"}}
}"""


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        ([], 1),
        (["type"], 2),
        (["required"], 3),
        (["required", 1], 5),
        (["required", 2], 3),
        (["required", "x"], 3),
        (["properties", "a", "type"], 7),
        (["properties", "a", "type", "x"], 7),
        (["missing"], 1),
    ],
)
def test_a_place_has_its_line_or_that_of_the_place_around_it(steps: list[str | int], line: int) -> None:
    assert line == line_of(TEXT, steps)


@pytest.mark.parametrize("text", ["", "{"])
def test_a_text_that_is_no_json_has_no_lines(text: str) -> None:
    assert line_of(text, []) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"type": "object"}', None),
        (b"\xef\xbb\xbf{}", None),
        (b'{\n"a": SECRET}', ("not JSON: unexpected character", 2)),
        (b'{"a": 1,\n"a": 2}', ("duplicate key", 2)),
        (b"\n\xff", ("not UTF-8", 2)),
        (b"\n[]", ("a schema must be an object", 2)),
        (b"", ("not JSON: the text ends too soon", 1)),
    ],
)
def test_a_text_that_is_no_schema_has_a_reason_and_a_line(content: bytes, problem: tuple[str, int] | None) -> None:
    found = syntax_problem("s.json", content)

    assert (problem is None) == (found is None)
    if problem is not None and found is not None:
        assert problem[0] in found[0]
        assert problem[1] == found[1]
        assert "SECRET" not in found[0]

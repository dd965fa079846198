"""Flat keys in documents and in their changes."""

import pytest

from vortexd.core import flat_key as module
from vortexd.core.diff import steps
from vortexd.core.flat_key import differ, steps_about
from vortexd.core.model import Json


def test_the_values_of_a_flat_key_are_found_by_whole_names_and_their_types_count() -> None:
    document: Json = {"a": {"b": 1, "bc": 2}, "a.b": 3, "x": [[5]]}

    assert module._part({"a": {"b": 1}}, "a.b") != module._part({"a": {"b": True}}, "a.b")
    assert b'[["a.b",3],["a.b",1]]' == module._part(document, "a.b")
    assert b'[["x[0][0]",5]]' == module._part(document, "x[0][0]")
    assert b"[]" == module._part(document, "a.bcd")


def test_documents_differ_in_a_key_if_a_value_at_it_or_below_it_does() -> None:
    old, new = b'{"a":{"b":1},"c":1}', b'{"a":{"b":2},"c":1}'

    assert [True, True, False, False] == [differ(old, new, part) for part in ("a", "a.b", "c", "none")]


@pytest.mark.parametrize(
    ("part", "paths"),
    [
        ("a", ["/a/b/0", "/a/c"]),
        ("a.b[0]", ["/a/b/0"]),
        ("a.b[0].deep", ["/a/b/0"]),
        ("x.y", ["/x.y"]),
        ("none", ["/a/b/0", "/a/c", "/x.y"]),
    ],
)
def test_the_steps_about_a_key_are_at_it_below_it_or_above_it(part: str, paths: list[str]) -> None:
    made = steps({"a": {"b": [1], "c": 1}, "x.y": 1}, {"a": {"b": [2], "c": 2}, "x.y": 2})

    assert paths == sorted(str(step.operation["path"]) for step in steps_about(made, part))

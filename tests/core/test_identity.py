"""Mappings are compared by the identity of their values."""

import pytest

from vortexd.core.identity import altered

A, B, C = [1], [2], [3]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {}, []),
        ({"a": A}, {"a": A}, []),
        ({"a": A}, {"a": [1]}, ["a"]),
        ({"a": A, "b": B}, {"b": B, "a": A}, []),
        ({"a": A}, {"a": A, "b": B}, ["b"]),
        ({"a": A, "b": B}, {"b": B}, ["a"]),
        ({"a": A, "b": B}, {"b": B, "c": C}, ["c", "a"]),
        ({"a": A, "b": B}, {"b": C, "c": C}, ["b", "c", "a"]),
        ({"a": A}, {}, ["a"]),
        ({}, {"a": A}, ["a"]),
    ],
)
def test_what_leads_to_another_object_is_found(
    old: dict[str, object], new: dict[str, object], expected: list[str]
) -> None:
    assert expected == altered(old, new)


def test_the_same_mapping_is_not_examined() -> None:
    class Closed(dict[str, object]):
        def get(self, *_: object) -> object:
            raise AssertionError

    same = Closed(a=A)

    assert [] == altered(same, same)

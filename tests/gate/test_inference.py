"""Drafts of schemas: types, names, and no values."""

import json
from typing import Any

import jsonschema_rs
import pytest

from vortexd.gate.inference import inferred
from vortexd.gate.validation import DRAFT


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], "integer"),
        ([1, 1.5], "number"),
        ([True], "boolean"),
        (["x"], "string"),
        ([None], "null"),
        ([1, "x"], ["integer", "string"]),
        ([True, 1], ["boolean", "integer"]),
        ([None, 1.5, 2], ["null", "number"]),
    ],
)
def test_a_value_has_the_types_that_occur(values: list[Any], kind: Any) -> None:
    made = inferred([{"a": value} for value in values])

    assert {"type": kind} == made["properties"]["a"]


def test_names_are_required_where_every_object_has_them() -> None:
    documents: list[Any] = [
        {"db": {"url": "hunter2", "pool": 1}, "name": "hunter2", "list": [{"a": 1}, {"a": 2, "b": "hunter2"}]},
        {"db": {"url": "hunter2"}, "name": "x", "empty": [], "none": {}},
    ]
    made = inferred(documents)

    assert {
        "$schema": DRAFT,
        "type": "object",
        "required": ["db", "name"],
        "properties": {
            "db": {
                "type": "object",
                "required": ["url"],
                "properties": {"pool": {"type": "integer"}, "url": {"type": "string"}},
            },
            "empty": {"type": "array"},
            "list": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["a"],
                    "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
                },
            },
            "name": {"type": "string"},
            "none": {"type": "object", "properties": {}},
        },
    } == made
    assert "hunter2" not in json.dumps(made)
    assert all(jsonschema_rs.Draft202012Validator(made).is_valid(each) for each in documents)


def test_empty_documents_make_a_schema_too() -> None:
    assert {"$schema": DRAFT, "type": "object", "properties": {}} == inferred([{}])

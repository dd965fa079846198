"""The work of the process that validates: its findings, its references, and schemas that can't be used."""

import json
import urllib.request
from typing import Any

import jsonschema_rs
import pytest

from vortexd.gate import validation
from vortexd.gate.finding import MOST_FINDINGS
from vortexd.gate.validation import DRAFT, work

SECRET = "hunter2"


def asked(schemas: dict[str, Any], *documents: Any, names: tuple[str, ...] | None = None) -> list[Any]:
    texts = [(name, each if isinstance(each, str) else json.dumps(each)) for name, each in schemas.items()]
    bodies = [json.dumps(each).encode() for each in documents]
    return list(work((texts, [(names or tuple(schemas), len(each)) for each in bodies]), b"".join(bodies)))


@pytest.mark.parametrize(
    ("schema", "document", "steps", "keyword"),
    [
        ({"properties": {"port": {"type": "integer"}}}, {"port": SECRET}, ["port"], "type"),
        ({"properties": {"a": {"items": {"type": "integer"}}}}, {"a": [1, SECRET]}, ["a", 1], "type"),
        ({"required": ["port"]}, {"a": SECRET}, ["port"], "required"),
        ({"dependentRequired": {"a": ["b"]}}, {"a": SECRET}, ["b"], "required"),
        ({"properties": {"db": {"required": ["url"]}}}, {"db": {}}, ["db", "url"], "required"),
        ({"additionalProperties": False}, {"pw": SECRET}, ["pw"], "additionalProperties"),
        (
            {"properties": {"d": {"additionalProperties": False}}},
            {"d": {"pw": SECRET}},
            ["d", "pw"],
            "additionalProperties",
        ),
        ({"properties": {"a": {}}, "additionalProperties": False}, {"pw": SECRET}, ["pw"], "additionalProperties"),
        ({"unevaluatedProperties": False}, {"pw": SECRET}, ["pw"], "unevaluatedProperties"),
        ({"properties": {"pw": False}}, {"pw": SECRET}, ["pw"], "falseSchema"),
        ({"properties": {"a": {"pattern": "^x"}}}, {"a": SECRET}, ["a"], "pattern"),
        ({"properties": {"a": {"enum": ["x"]}}}, {"a": SECRET}, ["a"], "enum"),
        ({"properties": {"a": {"const": "x"}}}, {"a": SECRET}, ["a"], "const"),
        ({"anyOf": [{"required": ["x"]}, {"required": ["y"]}]}, {"a": SECRET}, [], "anyOf"),
    ],
)
def test_a_finding_has_the_place_and_the_keyword_and_never_a_value(
    schema: Any, document: Any, steps: list[str | int], keyword: str
) -> None:
    found = asked({"s": schema}, document)

    assert [("finding", 0, steps, keyword, "s"), ("count", 0, 1)] == found
    assert SECRET not in repr(found)


def test_each_document_has_findings_of_its_own_by_its_own_schemas() -> None:
    found = asked({"s": {"required": ["a"]}, "t": {"required": ["b"]}}, {"a": 1}, {"a": 1, "b": 1}, {})

    assert [
        ("finding", 0, ["b"], "required", "t"),
        ("count", 0, 1),
        ("finding", 2, ["a"], "required", "s"),
        ("finding", 2, ["b"], "required", "t"),
        ("count", 2, 2),
    ] == found


def test_the_schemas_that_apply_are_those_that_a_check_names() -> None:
    assert [] == asked({"s": {}, "t": {"required": ["b"]}}, {}, names=("s",))


def test_the_findings_of_one_document_are_bounded_and_all_are_counted() -> None:
    *found, last = asked(
        {"s": {"additionalProperties": False}}, {str(number): 1 for number in range(MOST_FINDINGS + 5)}
    )

    assert MOST_FINDINGS == len(found)
    assert ("count", 0, MOST_FINDINGS + 5) == last


@pytest.mark.parametrize(
    "schemas",
    [
        {"a.json": {"$ref": "b.json#/$defs/int"}, "b.json": {"$defs": {"int": {"type": "integer"}}}},
        {"a.json": {"$id": "https://e.org/a", "$ref": "b"}, "b.json": {"$id": "https://e.org/b", "type": "integer"}},
        {"a.json": {"$defs": {"k": {"$id": "k", "type": "integer"}}, "$ref": "k"}},
        {"a.json": {"$defs": {"k": {"$anchor": "k", "type": "integer"}}, "$ref": "#k"}},
        {"a b.json": {"$defs": {"k": {"type": "integer"}}, "$ref": "#/$defs/k"}},
    ],
)
def test_a_reference_is_resolved_within_the_schemas(schemas: Any) -> None:
    first = next(iter(schemas))
    assert [("finding", 0, [], "type", first), ("count", 0, 1)] == asked(schemas, {}, names=(first,))


def test_a_schema_may_refer_to_the_draft() -> None:
    assert [] == asked({"a": {"$ref": DRAFT, "$schema": DRAFT}}, {})


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    """A file that a reference might read. Whoever opens an address over the network fails the test."""
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_: pytest.fail("fetched"))
    path = tmp_path / "other.json"
    path.write_text('{"type": "array"}')
    return path


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:9/x.json", "https://example.org/x.json", "{file}", "{path}", "b.json", "../b"]
)
def test_a_reference_to_another_place_is_refused_and_nothing_is_read(uri: str, fetched: Any) -> None:
    uri = uri.format(file=fetched.as_uri(), path=fetched)
    schema = {"properties": {"u": {"items": {"$ref": uri}}}}

    assert [
        ("schema", "a", ["properties", "u", "items", "$ref"], "it refers to a schema that isn't configured")
    ] == asked({"a": schema}, {"u": [1]})


def test_an_id_cannot_turn_a_reference_into_a_file(fetched: Any) -> None:
    schema = {"$id": fetched.parent.as_uri() + "/", "$ref": fetched.name}

    assert [("schema", "a", ["$ref"], "it refers to a schema that isn't configured")] == asked({"a": schema}, 1)


def test_the_library_itself_would_read_the_file(fetched: Any) -> None:
    """So the tests above mean something."""
    assert not jsonschema_rs.Draft202012Validator({"$ref": fetched.as_uri()}).is_valid({})


def test_the_registry_retrieves_nothing() -> None:
    with pytest.raises(LookupError, match="^schemas are never fetched$"):
        validation._retrieve_nothing("file:///etc/passwd")
    with pytest.raises(ValueError, match="schemas are never fetched"):
        jsonschema_rs.Registry([("x:/", {"$ref": "file:///etc/passwd"})], retriever=validation._retrieve_nothing)


@pytest.mark.parametrize("reference", ["#/$defs/none", "#none"])
def test_a_reference_to_a_place_that_does_not_exist_is_refused(reference: str) -> None:
    for keyword in ("$ref", "$dynamicRef"):
        assert [("schema", "a", [keyword], "it refers to a place that doesn't exist")] == asked(
            {"a": {keyword: reference}}, 1
        )


def test_data_is_not_a_reference() -> None:
    data = {"$ref": "http://127.0.0.1:9/x"}

    assert [] == asked(
        {"a": {"properties": {"x": {"const": data, "enum": [data], "default": data, "examples": [data]}}}}, {}
    )


FOREIGN = {"$ref": "http://127.0.0.1:9/x"}
NOT_CONFIGURED = "it refers to a schema that isn't configured"


@pytest.mark.parametrize("name", sorted(validation._DATA))
@pytest.mark.parametrize("keyword", sorted(validation._NAMED))
def test_a_schema_with_the_name_of_a_keyword_is_a_schema(keyword: str, name: str) -> None:
    assert [("schema", "b", [keyword, name, "$ref"], NOT_CONFIGURED)] == asked(
        {"a": {}, "b": {keyword: {name: FOREIGN}}}
    )
    invalid = {keyword: {name: {"$id": "http://[x"}}}
    assert [("schema", "b", [keyword, name, "$id"], "it isn't a URI reference")] == asked({"a": {}, "b": invalid})
    assert [] == asked({"a": {keyword: {name: {"$ref": "#"}}}}, {})


@pytest.mark.parametrize("keyword", sorted(validation._NAMED))
def test_data_in_a_schema_with_the_name_of_a_keyword_is_no_reference(keyword: str) -> None:
    """In `properties`, the name `properties` isn't that keyword, so `const` below it is."""
    assert [] == asked({"a": {keyword: {keyword: {"const": FOREIGN}}}}, {})


def test_properties_may_have_the_names_of_the_keywords_for_references() -> None:
    schema = {"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}, "$dynamicRef": {}}}

    assert [("finding", 0, ["$id"], "type", "a"), ("count", 0, 1)] == asked({"a": schema}, {"$ref": "x", "$id": 1})


@pytest.mark.parametrize("keyword", ["$id", "$ref", "$dynamicRef"])
@pytest.mark.parametrize(
    "text", ["http://[x", "//[", "http://\u2100/x", "http://a:b/x", "a b", "%zz", ":x", "\n", "a\0"]
)
def test_a_text_that_is_no_uri_reference_is_refused_at_its_place(keyword: str, text: str) -> None:
    for place in ("items", "unknown"):
        schema = {place: {keyword: text}}
        assert [("schema", "b", [place, keyword], "it isn't a URI reference")] == asked({"a": {}, "b": schema}, {})


def test_a_relative_reference_from_a_base_that_takes_none_is_not_configured() -> None:
    assert [("schema", "a", ["$ref"], NOT_CONFIGURED)] == asked({"a": {"$id": "urn:x", "$ref": "y"}}, {})


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/const", "const": FOREIGN},
        {"$ref": "#/const", "const": {"$ref": "http://[x"}},
        {"$ref": "#/const", "const": {"$id": "http://[x"}},
        {"$defs": {"a": {"$schema": "http://[x"}}},
        {"$defs": {"a": {"$schema": "http://json-schema.org/draft-04/schema#", "id": "http://[x"}}},
    ],
)
def test_a_reference_that_only_the_registry_finds_is_refused_with_the_name_of_its_schema(
    schema: Any, fetched: Any
) -> None:
    others = {"a": {"$ref": "b#/$defs/x"}, "c": {"$ref": "b"}}
    schema = schema | {"$defs": {"x": {}} | schema.get("$defs", {})}

    assert [("schema", "b", [], "a reference in it can't be resolved")] == asked(others | {"b": schema}, {})


@pytest.mark.parametrize(
    ("schema", "steps", "reason"),
    [
        ("{", [], "not JSON"),
        ("[]", [], "a schema must be an object"),
        ({"type": "strin"}, ["type"], "there is no such type"),
        ({"properties": {"a": {"pattern": "("}}}, ["properties", "a", "pattern"], "its format can't be used"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, ["$schema"], f"only the draft {DRAFT} is supported"),
        ({"$schema": 5}, ["$schema"], f"only the draft {DRAFT} is supported"),
    ],
)
def test_a_schema_that_cannot_be_used_has_a_reason_and_a_place(schema: Any, steps: list[str], reason: str) -> None:
    assert [("schema", "b", steps, reason)] == asked({"a": {}, "b": schema}, {})


def test_all_texts_that_are_no_schemas_are_named_at_once() -> None:
    assert ["a", "b"] == [each[1] for each in asked({"a": "{", "b": "{", "c": {}}, {})]


def test_schemas_are_compiled_once_and_a_bounded_number_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    validation._compiled.clear()
    count = 0
    compile_all = validation._compile

    def counting(resources: Any) -> Any:
        nonlocal count
        count += 1
        return compile_all(resources)

    monkeypatch.setattr(validation, "_compile", counting)
    for number in range(validation._KEPT + 1):
        asked({"a": {"minimum": 0}}, {})
        asked({"a": {"minimum": number + 1}}, {})

    assert validation._KEPT + 2 == count
    assert validation._KEPT == len(validation._compiled)

"""The OpenAPI description of Spring's routes: it accepts real responses and requests, and refuses others."""

import json
from typing import Any

import attrs
import jsonschema_rs
import pytest

from tests.fakes import KEY, config
from vortexd.core.broken_files import HEADER
from vortexd.core.model import PropertySource
from vortexd.gate.finding import HEADER as HELD_BACK
from vortexd.http.configuration_description import CONFIGURATION_SCHEMAS, configuration_operations
from vortexd.http.key_queries import PINNED, WITHOUT_FILES
from vortexd.http.operation import TEXT_TYPE
from vortexd.http.spring.config_request import ConfigRequest, Form, parse_path
from vortexd.http.spring.environment import V1, V2, environment

PATHS = configuration_operations()
SUFFIXES = ("properties", "yml", "yaml", "json")
PREFIXES = ("", "/{label}")
CONFIGURATIONS = [
    "/{application}/{profiles}",
    "/{application}/{profiles}/{label}",
    *(f"{prefix}/{{application}}-{{profiles}}.{suffix}" for suffix in SUFFIXES for prefix in PREFIXES),
]
FILE = "/{application}/{profiles}/{label}/{path}"


def get(path: str) -> dict[str, Any]:
    operation: dict[str, Any] = PATHS[path]["get"]
    return operation


def parameters(path: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in get(path)["parameters"]}


def test_each_form_is_described_with_and_without_a_label_and_a_file_only_with_one() -> None:
    assert {*CONFIGURATIONS, FILE} == PATHS.keys()
    assert {("get",)} == {tuple(each) for each in PATHS.values()}


@pytest.mark.parametrize("path", PATHS)
def test_the_examples_of_a_path_are_a_request_for_it(path: str) -> None:
    in_path = {name: each for name, each in parameters(path).items() if each["in"] == "path"}
    target = path
    for name, each in in_path.items():
        assert jsonschema_rs.is_valid(each["schema"], each["example"])
        target = target.replace(f"{{{name}}}", each["example"])
    found = parse_path(target)

    assert found is not None
    assert "{" not in target
    suffix = path.rpartition(".")[2] if "." in path else ""
    forms = {"properties": Form.PROPERTIES, "yml": Form.YAML, "yaml": Form.YAML, "json": Form.JSON}
    assert (Form.FILE if path == FILE else forms.get(suffix, Form.ENVIRONMENT)) is found.form
    assert ("{label}" in path) == (found.label is not None)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/{application}/{profiles}", set()),
        ("/{application}-{profiles}.yml", {"resolvePlaceholders"}),
        ("/{label}/{application}-{profiles}.json", {"resolvePlaceholders"}),
        ("/{application}-{profiles}.properties", {"resolvePlaceholders", "escape"}),
        ("/{label}/{application}-{profiles}.properties", {"resolvePlaceholders", "escape"}),
        (FILE, {"resolvePlaceholders", "useDefaultLabel"}),
    ],
)
def test_each_parameter_of_a_query_is_described_where_it_has_an_effect(path: str, names: set[str]) -> None:
    found = {name: each for name, each in parameters(path).items() if each["in"] == "query"}

    assert names == found.keys()
    assert all(each["description"] for each in found.values())


def parsed(path: str, query: str = "") -> ConfigRequest:
    found = parse_path(path, query)
    assert found is not None
    return found


def test_a_query_changes_a_request_as_its_description_says() -> None:
    path = "/shop-dev.properties"
    default = parsed("/shop/dev/main/x.txt", "useDefaultLabel")

    assert [False, True] == [parsed(path, query).escapes for query in ("", "escape=true")]
    assert [True, False] == [parsed(path, query).resolves for query in ("", "resolvePlaceholders=false")]
    assert (None, "main/x.txt") == (default.label, default.path)


@pytest.mark.parametrize("path", PATHS)
def test_each_operation_has_a_name_of_its_own_and_a_conditional_form(path: str) -> None:
    names = [get(each)["operationId"] for each in PATHS]

    assert 1 == names.count(get(path)["operationId"])
    assert ("OfLabel" in get(path)["operationId"]) == (path not in (FILE,) and "{label}" in path)
    assert "header" == parameters(path)["If-None-Match"]["in"]
    assert {"200", "304", "500", "503", "404"} <= get(path)["responses"].keys()
    assert (path in CONFIGURATIONS[:2]) == ("406" in get(path)["responses"])
    assert "security" not in get(path)


@pytest.mark.parametrize("path", CONFIGURATIONS)
def test_a_configuration_always_has_its_version_and_sometimes_says_what_is_wrong(path: str) -> None:
    headers = get(path)["responses"]["200"]["headers"]

    required = {name for name, each in headers.items() if each["required"]}
    assert {"X-Vortex-Version", "ETag"} == required
    assert {"X-Vortex-Stale", HEADER, HELD_BACK, PINNED, WITHOUT_FILES} == headers.keys() - required


def test_a_file_has_no_version() -> None:
    headers = get(FILE)["responses"]["200"]["headers"]

    assert {"X-Vortex-Stale": False, "ETag": True} == {name: each["required"] for name, each in headers.items()}


@pytest.mark.parametrize(
    ("path", "media_types"),
    [
        ("/{application}/{profiles}", {V1, V2}),
        ("/{application}-{profiles}.properties", {TEXT_TYPE}),
        ("/{application}-{profiles}.yml", {TEXT_TYPE}),
        ("/{application}-{profiles}.yaml", {TEXT_TYPE}),
        ("/{application}-{profiles}.json", {V1}),
        (FILE, {TEXT_TYPE, "application/octet-stream"}),
    ],
)
def test_each_form_has_its_media_types(path: str, media_types: set[str]) -> None:
    assert media_types == get(path)["responses"]["200"]["content"].keys()


def test_a_suffix_of_a_profile_with_a_hyphen_is_not_described() -> None:
    schema = parameters("/{application}-{profiles}.yml")["profiles"]["schema"]

    assert jsonschema_rs.is_valid(schema, "dev,mysql")
    assert not jsonschema_rs.is_valid(schema, "dev-eu")


# Schemas.


def environment_body(media_type: str) -> dict[str, Any]:
    sources = (PropertySource("file:/c/x.yml", {"a": 1, "b": None, "c": "x"}, {"a": (3, 5)}),)
    made = config(KEY, {})
    made = attrs.evolve(made, sources=sources)
    found: dict[str, Any] = json.loads(environment(made, ConfigRequest(Form.ENVIRONMENT, "orders", "dev"), media_type))
    return found


@pytest.mark.parametrize(("name", "media_type"), [("Environment", V1), ("EnvironmentWithOrigins", V2)])
def test_a_real_environment_is_what_its_schema_says(name: str, media_type: str) -> None:
    body = environment_body(media_type)

    assert jsonschema_rs.is_valid(CONFIGURATION_SCHEMAS[name], body)
    for member in body:
        without = {each: value for each, value in body.items() if each != member}
        assert not jsonschema_rs.is_valid(CONFIGURATION_SCHEMAS[name], without)
    assert not jsonschema_rs.is_valid(CONFIGURATION_SCHEMAS[name], body | {"more": 1})
    assert not jsonschema_rs.is_valid(CONFIGURATION_SCHEMAS[name], body | {"name": None})
    assert not jsonschema_rs.is_valid(CONFIGURATION_SCHEMAS[name], body | {"profiles": "dev"})


def test_only_the_second_form_has_places() -> None:
    second = environment_body(V2)

    assert not jsonschema_rs.is_valid(CONFIGURATION_SCHEMAS["Environment"], second)
    assert jsonschema_rs.is_valid(CONFIGURATION_SCHEMAS["EnvironmentWithOrigins"], environment_body(V1))


@pytest.mark.parametrize(("value", "is_document"), [({}, True), ({"a": [1]}, True), ([], False), ("x", False)])
def test_a_document_is_an_object(value: object, is_document: bool) -> None:
    assert is_document == jsonschema_rs.is_valid(CONFIGURATION_SCHEMAS["Document"], value)


def test_the_schemas_are_those_that_the_operations_name() -> None:
    text = json.dumps(PATHS)

    assert all(f'"#/components/schemas/{name}"' in text for name in CONFIGURATION_SCHEMAS)
    assert len(CONFIGURATION_SCHEMAS) == len(
        {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    )

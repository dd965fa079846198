"""The part of the OpenAPI document that describes Spring's routes, which `Configuration` serves."""

from typing import Any

from .key_queries import WITHOUT_FILES
from .operation import (
    APPLICATION,
    FLAG,
    IF_NONE_MATCH,
    KEY_LABEL,
    KEY_PROFILES,
    RESOLVE,
    SOMETIMES,
    TEXT_TYPE,
    in_path,
    in_query,
    ok,
    operation,
    with_and_without_label,
)
from .schemas import (
    FILE,
    PROFILES_WITHOUT_HYPHEN,
    SCALAR,
    TEXT,
    Operations,
    Schema,
    a_list,
    an_object,
    nullable,
    ref,
)
from .spring.environment import V1, V2


def configuration_operations() -> Operations:
    """Describe the configuration in all its forms, and plain files."""

    def environment(name: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
        content = {V1: ref("Environment"), V2: ref("EnvironmentWithOrigins")}
        answers = ok("its property sources", content, "X-Vortex-Version", *SOMETIMES, WITHOUT_FILES, has_tag=True)
        return operation(
            name,
            "The configuration in the form of Spring Cloud Config.",
            answers,
            [*parameters, IF_NONE_MATCH],
            (406, 500, 503),
        )

    paths = with_and_without_label("/{application}/{profiles}", "environment", environment)
    for suffix, media_type in (("properties", TEXT_TYPE), ("yml", TEXT_TYPE), ("yaml", TEXT_TYPE), ("json", V1)):
        for prefix in ("", "/{label}"):
            paths[f"{prefix}/{{application}}-{{profiles}}.{suffix}"] = {"get": _suffixed(suffix, media_type, prefix)}
    paths["/{application}/{profiles}/{label}/{path}"] = {"get": _file()}
    return paths


def _suffixed(suffix: str, media_type: str, prefix: str) -> dict[str, Any]:
    parameters = [KEY_LABEL] if prefix else []
    parameters += [APPLICATION, in_path("profiles", PROFILES_WITHOUT_HYPHEN, "prod"), RESOLVE, IF_NONE_MATCH]
    if suffix == "properties":
        parameters.append(
            in_query(
                "escape", "true escapes the values, so that a parser of properties reads them back unchanged", FLAG
            )
        )
    schema = ref("Document") if media_type == V1 else {"type": "string"}
    answers = ok(
        "the merged configuration", {media_type: schema}, "X-Vortex-Version", *SOMETIMES, WITHOUT_FILES, has_tag=True
    )
    summary = f"The configuration as .{suffix}."
    return operation(suffix + ("OfLabel" if prefix else ""), summary, answers, parameters, (500, 503))


def _file() -> dict[str, Any]:
    path = in_path("path", FILE, "application.yml")
    path["description"] = "the path of a file in the source, at any depth"
    default_label = in_query(
        "useDefaultLabel", "if it is present, the path has no label, and the file's path begins in place of the label"
    )
    content: dict[str, Schema] = {TEXT_TYPE: {"type": "string"}, "application/octet-stream": {}}
    return operation(
        "file",
        "A plain file of the source.",
        ok("the file", content, "X-Vortex-Stale", has_tag=True),
        [APPLICATION, KEY_PROFILES, KEY_LABEL, path, RESOLVE, default_label, IF_NONE_MATCH],
        (500, 503),
    )


def _environment_schema(value: Schema) -> Schema:
    return an_object(
        name=TEXT,
        profiles=a_list(TEXT),
        label=nullable(TEXT),
        version=nullable(TEXT),
        state=nullable(TEXT),
        propertySources=a_list(
            an_object(name=TEXT, source={"type": "object", "additionalProperties": value}),
        ),
    )


CONFIGURATION_SCHEMAS: dict[str, Schema] = {
    "Environment": _environment_schema(SCALAR),
    "EnvironmentWithOrigins": _environment_schema({"anyOf": [SCALAR, an_object(value=SCALAR, origin=TEXT)]}),
    "Document": {"type": "object", "description": "the nested configuration"},
}

"""JSON schemas that several endpoints share, and functions with which an endpoint makes its own schemas. Pure.

The schemas are JSON Schema 2020-12, as in OpenAPI 3.1. An object must have exactly the members that its schema names. So a
test finds each member that has no description.
"""

from typing import Any

from ..core.model import Served

Schema = dict[str, Any]
# Maps each path template to its methods, and each method to its operation, as in OpenAPI.
Operations = dict[str, dict[str, Any]]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TIME: Schema = {"type": "string", "format": "date-time"}
SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}
POINTER: Schema = {"type": "string", "description": "a JSON Pointer (RFC 6901)"}
VERSION: Schema = {"type": "string", "pattern": "^[0-9a-f]{16}$"}

# The names that `core.names` accepts: at most 128 characters each, and at most 16 names separated by commas. The patterns
# have no nested repetition, because tools that generate or check texts are slow with it.
_BOUNDS = "(?!.*[^,]{129})(?!([^,]*,){16})"
_PATHS = r"[A-Za-z0-9_]((\(_\)|[A-Za-z0-9._/,-])*[A-Za-z0-9_-])?"
_LABELS = r"[A-Za-z0-9_+@]((\(_\)|[A-Za-z0-9._/,+@-])*[A-Za-z0-9_+@-])?"
_NO_EMPTY_SEGMENT = rf"{_BOUNDS}(?!.*([./,]|\(_\))([./,]|\(_\)))(?!.*([/,]|\(_\))-)"
_NO_EMPTY_PROFILE = rf"{_BOUNDS}(?!.*[.][.])(?!.*(,[^A-Za-z0-9]|[^A-Za-z0-9],))"
PATHS: Schema = {"type": "string", "pattern": f"^{_NO_EMPTY_SEGMENT}{_PATHS}$"}
LABELS: Schema = {"type": "string", "pattern": f"^{_NO_EMPTY_SEGMENT}{_LABELS}$"}
# An empty label is the default label.
ANY_LABEL: Schema = {"anyOf": [LABELS, {"const": ""}]}
PROFILES: Schema = {
    "type": "string",
    "pattern": f"^{_NO_EMPTY_PROFILE}[A-Za-z0-9]([A-Za-z0-9.,_+@-]*[A-Za-z0-9])?$",
}
# The patterns that `core.patterns` accepts: up to three parts, each of them a name or a glob.
_IN_PATHS, _IN_LABELS = r"(\(_\)|[A-Za-z0-9._/-])", r"(\(_\)|[A-Za-z0-9._/+@-])"
_DOUBLED = r"([./]|\(_\))([./]|\(_\))"
_ONE_PATH = rf"(?![^:]{{129}})(?![^:]*{_DOUBLED})(?![^:]*(/|\(_\))-)"


def _glob(characters: str) -> str:
    return rf"(?![^:]{{129}})(?![^:]*[.][.]){characters}*[*]({characters}|[*])*"


_PATTERN_PARTS = (
    rf"({_ONE_PATH}[A-Za-z0-9_]({_IN_PATHS}*[A-Za-z0-9_-])?|{_glob(_IN_PATHS)})",
    rf"((?![^:]{{129}})(?![^:]*[.][.])[A-Za-z0-9]([A-Za-z0-9._+@-]*[A-Za-z0-9])?|{_glob('[A-Za-z0-9._+@-]')})",
    rf"({_ONE_PATH}[A-Za-z0-9_+@]({_IN_LABELS}*[A-Za-z0-9_+@-])?|{_glob(_IN_LABELS)})",
)
PATTERN: Schema = {
    "type": "string",
    "pattern": "^{}(:{}(:{})?)?$".format(*_PATTERN_PARTS),
}
# The profiles after the last hyphen of a path with a suffix.
PROFILES_WITHOUT_HYPHEN: Schema = {
    "type": "string",
    "pattern": f"^{_NO_EMPTY_PROFILE}[A-Za-z0-9]([A-Za-z0-9.,_+@]*[A-Za-z0-9])?$",
}
# Only the paths of files with common characters. Other paths are possible.
FILE: Schema = {
    "type": "string",
    "pattern": r"^(?!.*([.][.]|//|/[.]|(WEB|META)-INF))[A-Za-z0-9_@+,=~-]([A-Za-z0-9 ._/@+,=~-]*[A-Za-z0-9 ._@+,=~-])?$",
}
SIDE: Schema = {
    "type": "string",
    "pattern": f"^{_NO_EMPTY_SEGMENT}((version:)?[0-9a-f]{{16}}|(label:)?{_LABELS}|commit:[0-9a-f]{{4,64}}"
    "|date:[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8]))?$",
}


def ref(name: str) -> Schema:
    """Make a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def an_object(**members: Schema) -> Schema:
    """Describe an object with exactly these members."""
    return {"type": "object", "required": list(members), "properties": members, "additionalProperties": False}


def a_list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def nullable(schema: Schema) -> Schema:
    """Make a schema that also accepts null."""
    if isinstance(schema.get("type"), str):
        return schema | {"type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def optional(schema: Schema, *members: str) -> Schema:
    """Make the schema of an object in which some members may be missing."""
    return schema | {"required": [each for each in schema["required"] if each not in members]}


# The changes of a document, with the old and the new values.
STEPS: Schema = a_list(
    {
        "type": "object",
        "required": ["op", "path"],
        "properties": {
            "op": {"enum": ["add", "remove", "replace", "move"]},
            "path": POINTER,
            "from": POINTER,
            "old": {},
            "new": {},
        },
        "additionalProperties": False,
    }
)
KEY = {"app": TEXT, "profile": TEXT, "label": TEXT}
BROKEN: dict[str, Schema] = {
    "label": TEXT,
    "file": TEXT,
    "line": nullable(COUNT),
    "column": nullable(COUNT),
    "reason": TEXT,
    "served": {"enum": [each.value for each in Served]},
    "last_good": nullable(TEXT),
}
FINDING: Schema = optional(
    an_object(
        key=TEXT,
        pointer=POINTER,
        keyword=TEXT,
        rule=TEXT,
        file=nullable(TEXT),
        line=nullable(COUNT),
        problem=TEXT,
        rule_state={"const": "served"},
    ),
    "problem",
    "rule_state",
)
ERROR: Schema = optional(
    an_object(timestamp=TIME, status={"type": "integer"}, error=TEXT, message=TEXT),
    # If a head can't be parsed, the listener refuses it with a body that has no time.
    "timestamp",
)

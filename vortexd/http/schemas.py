"""What the bodies of the HTTP API look like: the schemas that the OpenAPI document refers to. Pure.

They are JSON Schema 2020-12, as OpenAPI 3.1 has it. An object has the members that stand here and no others, so that a member which nobody described
is found when answers are held against them.
"""

from typing import Any

from ..core.model import Served
from ..fleet import STATES
from ..source.kinds import KINDS

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_TIME: Schema = {"type": "string", "format": "date-time"}
_SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}
_POINTER: Schema = {"type": "string", "description": "a JSON Pointer (RFC 6901)"}
VERSION: Schema = {"type": "string", "pattern": "^[0-9a-f]{16}$"}

# Names, as `names` has them: of no more than 128 characters, no more than 16 separated by commas. Written without nested repetition, which
# what generates or checks texts by these is slow with.
_BOUNDS = "(?!.*[^,]{129})(?!([^,]*,){16})"
_PATHS = r"[A-Za-z0-9_]((\(_\)|[A-Za-z0-9._/,-])*[A-Za-z0-9_-])?"
_LABELS = r"[A-Za-z0-9_+@]((\(_\)|[A-Za-z0-9._/,+@-])*[A-Za-z0-9_+@-])?"
_NO_EMPTY_SEGMENT = rf"{_BOUNDS}(?!.*([./,]|\(_\))([./,]|\(_\)))(?!.*([/,]|\(_\))-)"
_NO_EMPTY_PROFILE = rf"{_BOUNDS}(?!.*[.][.])(?!.*(,[^A-Za-z0-9]|[^A-Za-z0-9],))"
PATHS: Schema = {"type": "string", "pattern": f"^{_NO_EMPTY_SEGMENT}{_PATHS}$"}
LABELS: Schema = {"type": "string", "pattern": f"^{_NO_EMPTY_SEGMENT}{_LABELS}$"}
PROFILES: Schema = {
    "type": "string",
    "pattern": f"^{_NO_EMPTY_PROFILE}[A-Za-z0-9]([A-Za-z0-9.,_+@-]*[A-Za-z0-9])?$",
}
# What is behind the last hyphen of a path with a suffix.
PROFILES_WITHOUT_HYPHEN: Schema = {
    "type": "string",
    "pattern": f"^{_NO_EMPTY_PROFILE}[A-Za-z0-9]([A-Za-z0-9.,_+@]*[A-Za-z0-9])?$",
}
# Of the paths of files those that everybody can type; others are possible.
FILE: Schema = {
    "type": "string",
    "pattern": r"^(?!.*([.][.]|//|/[.]|(WEB|META)-INF))[A-Za-z0-9_@+,=~-]([A-Za-z0-9 ._/@+,=~-]*[A-Za-z0-9 ._@+,=~-])?$",
}
SIDE: Schema = {
    "type": "string",
    "pattern": f"^{_NO_EMPTY_SEGMENT}((version:)?[0-9a-f]{{16}}|(label:)?{_LABELS})?$",
}


def ref(name: str) -> Schema:
    """A reference to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def an_object(**members: Schema) -> Schema:
    """An object with exactly these members."""
    return {"type": "object", "required": list(members), "properties": members, "additionalProperties": False}


def a_list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def nullable(schema: Schema) -> Schema:
    """What may be null, too."""
    if isinstance(schema.get("type"), str):
        return schema | {"type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def optional(schema: Schema, *members: str) -> Schema:
    """An object in which some members may be missing."""
    return schema | {"required": [each for each in schema["required"] if each not in members]}


_KEY = {"app": _TEXT, "profile": _TEXT, "label": _TEXT}
_SIDE = an_object(label=_TEXT, version=VERSION)
_PATCH = a_list(
    {
        "type": "object",
        "required": ["op", "path"],
        "properties": {
            "op": {"enum": ["add", "remove", "replace", "move"]},
            "path": _POINTER,
            "from": _POINTER,
            "value": {},
        },
        "additionalProperties": False,
    }
)
_PLACE = an_object(document=_TEXT, line=nullable(_COUNT), column=nullable(_COUNT))
_ORIGIN = an_object(commit=_TEXT, author=_TEXT, time=_TIME)
_HOLDING = optional(
    an_object(
        layer=_COUNT,
        line=nullable(_COUNT),
        column=nullable(_COUNT),
        value=_SCALAR,
        outcome={"enum": ["wins", "overridden", "list_replaced", "shadowed", "unreadable"]},
        by=nullable(_COUNT),
        cipher={"enum": [None, "decrypted", "failed", "kept"]},
    ),
    "value",
)
_COUNTS = dict.fromkeys(("connected", "applied", "rejected", "silent", "gone", "unlisted"), _COUNT)
_INSTANCE_STATE: Schema = {"enum": list(STATES)}
_BROKEN: dict[str, Schema] = {
    "label": _TEXT,
    "file": _TEXT,
    "line": nullable(_COUNT),
    "column": nullable(_COUNT),
    "reason": _TEXT,
    "served": {"enum": [each.value for each in Served]},
    "last_good": nullable(_TEXT),
}
_HELD_BACK = nullable(an_object(count=_COUNT, first=a_list(_TEXT)))
_REPORT = an_object(
    name=_TEXT,
    kind={"enum": [*KINDS]},
    revision=nullable(_TEXT),
    status={"enum": ["UP", "DEGRADED", "STALE"]},
    last_success=nullable(_TIME),
    last_error=nullable(_TEXT),
    last_error_at=nullable(_TIME),
    stale_for={"type": "number", "minimum": 0},
    broken_files=_COUNT,
    broken=a_list(an_object(**_BROKEN, held_back=_HELD_BACK)),
)


def _environment(value: Schema) -> Schema:
    return an_object(
        name=_TEXT,
        profiles=a_list(_TEXT),
        label=nullable(_TEXT),
        version=nullable(_TEXT),
        state=nullable(_TEXT),
        propertySources=a_list(
            an_object(name=_TEXT, source={"type": "object", "additionalProperties": value}),
        ),
    )


SCHEMAS: dict[str, Schema] = {
    "Error": optional(
        an_object(timestamp=_TIME, status={"type": "integer"}, error=_TEXT, message=_TEXT),
        # A head that can't be read has been refused before anybody looked at the clock.
        "timestamp",
    ),
    "CipherError": an_object(
        description=_TEXT, status={"enum": ["NO_KEY", "NOT_FOUND", "INVALID", "BAD_REQUEST", "FORBIDDEN"]}
    ),
    "Environment": _environment(_SCALAR),
    "EnvironmentWithOrigins": _environment({"anyOf": [_SCALAR, an_object(value=_SCALAR, origin=_TEXT)]}),
    "Document": {"type": "object", "description": "the nested configuration"},
    "Explanation": an_object(
        **_KEY,
        version=VERSION,
        broken=a_list(an_object(**_BROKEN)),
        sources=a_list(
            an_object(
                root=_TEXT,
                revision=nullable(_TEXT),
                origin=nullable(_ORIGIN),
                profiles=a_list(an_object(name=_TEXT, because=nullable(_TEXT), place=nullable(_PLACE))),
            )
        ),
        layers=a_list(
            an_object(
                name=_TEXT,
                source=nullable(_COUNT),
                file=nullable(_TEXT),
                document=nullable(_COUNT),
                profile=nullable(_TEXT),
                on_profile=nullable(_TEXT),
                active={"type": "boolean"},
                last_good={"type": "boolean"},
            )
        ),
        keys=a_list(
            optional(an_object(key=_TEXT, layer=nullable(_COUNT), value=_SCALAR, held_by=a_list(_HOLDING)), "value")
        ),
    ),
    "Patch": _PATCH,
    "Difference": an_object(
        app=_TEXT,
        profile=_TEXT,
        **{"from": optional(an_object(label=_TEXT, version=VERSION, commit=_TEXT), "commit"), "to": _SIDE},
        patch=ref("Patch"),
        changes=a_list(
            {
                "type": "object",
                "required": ["op", "path"],
                "properties": {
                    "op": {"enum": ["add", "remove", "replace", "move"]},
                    "path": _POINTER,
                    "from": _POINTER,
                    "old": {},
                    "new": {},
                },
                "additionalProperties": False,
            }
        ),
    ),
    "Identity": an_object(
        name=_TEXT,
        kind={"enum": ["token", "jwt", "certificate", "anonymous"]},
        expires=nullable(_TEXT),
        grants=a_list(
            an_object(
                rights=a_list({"enum": ["read", "subscribe", "report", "admin"]}),
                patterns=a_list(_TEXT),
            )
        ),
    ),
    "Fleet": optional(
        an_object(
            keys=a_list(
                an_object(
                    **_KEY,
                    version=nullable(VERSION),
                    counts=an_object(**_COUNTS),
                    percent=nullable({"type": "number", "minimum": 0, "maximum": 100}),
                    instances=a_list(
                        an_object(
                            name=_TEXT,
                            connection=nullable(_TEXT),
                            state=_INSTANCE_STATE,
                            since=_TIME,
                            ack=nullable(
                                an_object(
                                    version=_TEXT,
                                    status={"enum": ["applied", "rejected"]},
                                    error=nullable(_TEXT),
                                    at=_TIME,
                                )
                            ),
                            shares_name={"type": "boolean"},
                        )
                    ),
                )
            ),
            next=nullable(_TEXT),
            workers_silent=_COUNT,
        ),
        "workers_silent",
    ),
    "Connections": an_object(
        total=_COUNT,
        parked=_COUNT,
        versions=a_list(an_object(**_KEY, version=nullable(_TEXT), connections=_COUNT)),
        connections=a_list(
            an_object(
                id=_TEXT,
                instance=_TEXT,
                peer=_TEXT,
                principal=_TEXT,
                **_KEY,
                version=nullable(_TEXT),
                patterns=_COUNT,
                state={"enum": ["parked", "awake"]},
            )
        ),
        workers_silent=_COUNT,
    ),
    "Status": optional(
        an_object(
            sources=a_list(_REPORT),
            worker=_COUNT,
            workers={"type": "object", "additionalProperties": an_object(sources=a_list(_REPORT))},
            workers_silent=_COUNT,
        ),
        "worker",
        "workers",
        "workers_silent",
    ),
    "Health": optional(
        an_object(status={"enum": ["UP", "OUT_OF_SERVICE"]}, broken_files={"type": "integer", "minimum": 1}),
        "broken_files",
    ),
    "CipherStatus": an_object(status={"enum": ["OK"]}),
    "Applications": a_list(_TEXT),
}

"""[[gate]] of vortexd.toml.

The rules that a new configuration must keep before vortexd publishes it: JSON Schemas, or a command that judges it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from ..core.constraints import choice, is_path, seconds, setting, texts, whole
from ..core.errors import InvalidName
from ..core.patterns import parse_pattern


def _is_pattern(value: object) -> bool:
    try:
        parse_pattern(str(value))
    except InvalidName:
        return False
    return True


@attrs.frozen
class GateSettings:
    """[[gate]]."""

    applications: tuple[str, ...] = texts(
        "a pattern such as billing, team-* or billing:prod",
        _is_pattern,
        "*",
        doc="The applications that this gate judges, as patterns. A pattern may also have a profile and a label: "
        "`application:profile:label`.",
    )
    schemas: tuple[str, ...] = texts(
        "the path of a file",
        lambda value: bool(value) and is_path(value),
        doc="Files with JSON Schemas (draft 2020-12). The document of each of these applications must satisfy all of "
        "them. This needs the extra `gate`.",
        more="A `$ref` may name another of these files, or the `$id` of one. vortexd never fetches a schema.",
    )
    source_schemas: bool = setting(
        False,
        doc="Use the schemas in the source, too: `billing.schema.json` for the application billing, and "
        "`application.schema.json` for all. The schemas of the served state count, so a commit cannot delete its own "
        "gate. This needs the extra `gate`.",
        more="A commit whose schemas cannot be used is refused.",
    )
    command: tuple[str, ...] = texts(
        "a text without NUL characters",
        is_path,
        doc="A program with its arguments, which judges the new documents. It reads them from its standard input, one "
        "JSON object a line, and accepts them by the exit status 0. No shell is involved, and vortexd does not show "
        "what the program writes.",
        more="Each object has the members application, profile, label, version and document. vortexd runs the program "
        "once for each label that changes, with the environment variables HOME, LANG and PATH only. When the program "
        "ends, vortexd ends the other processes of its process group. Each worker runs the program for itself, so it "
        "must be deterministic: for the same documents, its exit status must be the same. If workers get different "
        "verdicts, they serve different states until the label changes again. /status shows for each worker which "
        "labels it holds back. The audit log has only the verdicts of the first worker. If the name of the "
        "program has a slash, it is a path below the directory of this file. Otherwise the program is looked up in PATH.",
    )
    timeout: float = seconds(
        5.0,
        0.1,
        300.0,
        doc="Seconds that the schemas, and the command, may take for one publication. A gate that takes longer refuses.",
    )
    memory_bytes: int = whole(
        268_435_456,
        16_777_216,
        doc="The memory that the process which validates may use, in bytes, beside its own code. A gate that needs more "
        "refuses.",
    )
    scope: str = choice(
        "label",
        "application",
        doc='What a refusal of this gate holds back: "label" is the whole label, and "application" only the applications '
        "with a key that breaks a rule.",
        more="If a command refuses, all applications whose documents it has judged are held back. "
        'See "Holding back single applications" in vortexd.toml(5).',
    )


def gate_conflicts(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the conflicts between the keys of one [[gate]], each with its key."""
    if not (table.get("schemas") or table.get("source_schemas") or table.get("command")):
        yield "schemas", "is missing; name schemas, or set source_schemas or command"
    if table.get("command") and table["command"][:1] == [""]:
        yield "command[0]", "must name a program"
    if table.get("applications") == []:
        yield "applications", "must name at least one pattern"

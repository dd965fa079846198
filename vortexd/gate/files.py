"""Reads the schemas that the sections [[gate]] name, and checks them. Blocks on the file system, and on a process."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from ..core.errors import SettingsError
from ..core.patterns import parse_pattern
from ..settings.gate import GateSettings
from .finding import Failure
from .gate import Rules
from .judge import Judge
from .schemas import Schema

_MOST_BYTES = 10_485_760
# The name of the module that validates. It is installed with the extra `gate`.
VALIDATOR = "jsonschema_rs"


def load_gate(settings: Sequence[GateSettings]) -> tuple[Rules, ...]:
    """Read the schemas of all sections.

    Args:
        settings: Their paths are absolute.

    Raises:
        SettingsError: The error lists every problem, with the file and the line.
    """
    rules: list[Rules] = []
    problems: list[tuple[str, str]] = []
    for number, section in enumerate(settings):
        if (section.schemas or section.source_schemas) and find_spec(VALIDATOR) is None:
            which = "schemas" if section.schemas else "source_schemas"
            problems.append((f"gate[{number}].{which}", "needs the extra gate; install vortexd[gate]"))
            continue
        schemas, wrong = _read(section.schemas)
        wrong = wrong or list(_unusable(section, schemas))
        problems += ((f"gate[{number}].schemas{place}", problem) for place, problem in wrong)
        rules.append(
            Rules(
                tuple(map(parse_pattern, section.applications)),
                schemas,
                section.source_schemas,
                section.command,
                section.timeout,
                section.memory_bytes,
                section.scope == "application",
            )
        )
    if problems:
        raise SettingsError(problems)
    return tuple(rules)


def _read(paths: Sequence[str]) -> tuple[dict[str, Schema], list[tuple[str, str]]]:
    schemas: dict[str, Schema] = {}
    wrong: list[tuple[str, str]] = []
    for number, path in enumerate(paths):
        name = Path(path).name
        try:
            with open(path, "rb") as file:
                content = file.read(_MOST_BYTES + 1)
            if len(content) > _MOST_BYTES:
                wrong.append((f"[{number}]", f"{path} has more than {_MOST_BYTES} bytes"))
            elif name in schemas:
                wrong.append((f"[{number}]", f"{name} is the name of two schemas; rename one"))
            else:
                schemas[name] = Schema(name, content.decode("utf-8-sig"), path)
        except OSError as error:
            wrong.append((f"[{number}]", f"{path} can't be read: {(error.strerror or 'error').lower()}"))
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            wrong.append((f"[{number}]", f"{path}:{line}: not UTF-8"))
    return schemas, wrong


def _unusable(section: GateSettings, schemas: dict[str, Schema]) -> Iterator[tuple[str, str]]:
    """Yield the problems of schemas, with the places of their files in the setting."""
    if not schemas:
        return
    judge = Judge(section.timeout, section.memory_bytes)
    try:
        places = {name: f"[{number}]" for number, name in enumerate(schemas)}
        yield from ((places[each.name], str(each)) for each in judge.problems(schemas))
    except Failure as failure:
        yield "", f"the gate {failure}"
    finally:
        judge.close()

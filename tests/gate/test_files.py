"""The schemas that settings name: every problem with the file and the line, and rules of those that can be used."""

from pathlib import Path

import pytest

from vortexd.core.errors import SettingsError
from vortexd.core.patterns import parse_pattern
from vortexd.gate import files as module
from vortexd.gate.files import load_gate
from vortexd.gate.finding import Failure
from vortexd.gate.gate import Rules
from vortexd.gate.judge import Judge
from vortexd.gate.schemas import Schema
from vortexd.settings.gate import GateSettings


def written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def problems(*settings: GateSettings) -> list[tuple[str, str]]:
    with pytest.raises(SettingsError) as caught:
        load_gate(settings)
    return [*caught.value.problems]


def test_without_sections_there_are_no_rules() -> None:
    assert () == load_gate(())


def test_the_rules_have_what_the_section_says(tmp_path: Path) -> None:
    one, two = written(tmp_path / "a.json", b'\xef\xbb\xbf{"$ref": "b.json"}'), written(tmp_path / "b.json", b"{}")
    section = GateSettings(("billing", "x*:prod"), (one, two), True, ("judge", "-v"), 7.0, 300_000_000)

    schemas = {"a.json": Schema("a.json", '{"$ref": "b.json"}', one), "b.json": Schema("b.json", "{}", two)}
    patterns = parse_pattern("billing"), parse_pattern("x*:prod")
    assert (Rules(patterns, schemas, True, ("judge", "-v"), 7.0, 300_000_000),) == load_gate([section])


@pytest.mark.parametrize(("scope", "is_by_application"), [("label", False), ("application", True)])
def test_the_scope_of_the_rules_is_that_of_the_section(scope: str, is_by_application: bool) -> None:
    [rules] = load_gate([GateSettings(command=("judge",), scope=scope)])

    assert is_by_application == rules.is_by_application
    assert not load_gate([GateSettings(command=("judge",))])[0].is_by_application


def test_every_schema_that_cannot_be_used_is_named_with_its_line(tmp_path: Path) -> None:
    good = written(tmp_path / "good.json", b"{}")
    broken, other = written(tmp_path / "broken.json", b"{\n!"), written(tmp_path / "other.json", b"[]")
    latin, missing = written(tmp_path / "latin.json", b"{}\n\xff"), str(tmp_path / "missing.json")
    (tmp_path / "x").mkdir()
    twin = written(tmp_path / "x" / "good.json", b"{}")

    assert [
        ("gate[0].schemas[1]", f"{broken}:2: not JSON: unexpected character"),
        ("gate[0].schemas[2]", f"{other}:1: a schema must be an object"),
        ("gate[1].schemas[0]", f"{latin}:2: not UTF-8"),
        ("gate[1].schemas[1]", f"{missing} can't be read: no such file or directory"),
        ("gate[2].schemas[1]", "good.json is the name of two schemas; rename one"),
    ] == problems(
        GateSettings(schemas=(good, broken, other)),
        GateSettings(schemas=(latin, missing)),
        GateSettings(schemas=(good, twin)),
    )


def test_a_schema_that_refers_elsewhere_is_named_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", b'{\n"properties":\n{"a": {"$ref": "file:///etc/passwd"}}}')

    assert [("gate[0].schemas[0]", f"{path}:3: it refers to a schema that isn't configured")] == problems(
        GateSettings(schemas=(path,))
    )


def test_a_schema_may_be_as_large_as_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 2)
    assert 1 == len(load_gate([GateSettings(schemas=(written(tmp_path / "a.json", b"{}"),))]))
    path = written(tmp_path / "b.json", b"{ }")

    assert [("gate[0].schemas[0]", f"{path} has more than 2 bytes")] == problems(GateSettings(schemas=(path,)))


@pytest.mark.parametrize(
    ("section", "key"),
    [(GateSettings(schemas=("/x",)), "gate[0].schemas"), (GateSettings(source_schemas=True), "gate[0].source_schemas")],
)
def test_schemas_need_the_extra(section: GateSettings, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VALIDATOR", "no_such_module")

    assert [(key, "needs the extra gate; install vortexd[gate]")] == problems(section)


def test_a_command_does_not_need_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VALIDATOR", "no_such_module")

    assert ("judge",) == load_gate([GateSettings(command=("judge",))])[0].command


def test_schemas_that_cannot_be_examined_are_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    def failing(*_: object) -> None:
        raise Failure("can't validate: it hangs")

    monkeypatch.setattr(Judge, "problems", failing)
    monkeypatch.setattr(Judge, "close", lambda judge: closed.append(judge))

    assert [("gate[0].schemas", "the gate can't validate: it hangs")] == problems(
        GateSettings(schemas=(written(tmp_path / "a.json", b"{}"),))
    )
    assert 1 == len(closed)

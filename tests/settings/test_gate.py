"""[[gate]]: its patterns and paths, and what a gate needs."""

from pathlib import Path

import pytest

from vortexd.core.errors import SettingsError
from vortexd.settings.file import load
from vortexd.settings.gate import GateSettings, gate_conflicts
from vortexd.settings.root import Settings
from vortexd.source.kinds import KINDS

from .sections import problems, read

BASE = Path("/etc/vortexd")
SOURCE = '[[source]]\npath = "/c"\n'


def loaded(text: str) -> Settings:
    return load(SOURCE + text, "vortexd.toml", BASE, KINDS)


def refused(text: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        loaded(text)
    return dict(caught.value.problems)


def test_by_default_there_is_no_gate() -> None:
    assert () == Settings().gate


def test_there_may_be_several_gates_and_their_schemas_are_beside_the_file() -> None:
    text = '[[gate]]\nschemas = ["a.json", "/b.json"]\n[[gate]]\napplications = ["x"]\ncommand = ["judge", "-v"]\n'

    assert (
        GateSettings(schemas=("/etc/vortexd/a.json", "/b.json")),
        GateSettings(applications=("x",), command=("judge", "-v")),
    ) == loaded(text).gate


def test_a_refusal_holds_back_the_label_unless_the_gate_says_otherwise() -> None:
    text = '[[gate]]\ncommand = ["x"]\n[[gate]]\ncommand = ["x"]\nscope = "application"\n'

    assert ["label", "application"] == [each.scope for each in loaded(text).gate]
    assert {"gate[0].scope"} == refused('[[gate]]\ncommand = ["x"]\nscope = "key"\n').keys()


@pytest.mark.parametrize("pattern", ["billing", "team-*", "billing:prod", "a:*:main", "*"])
def test_a_gate_takes_patterns(pattern: str) -> None:
    assert (pattern,) == read(GateSettings, f'applications = ["{pattern}"]').applications


@pytest.mark.parametrize("pattern", ["", "a,b", "a:b:c:d", "a b", "../x"])
def test_other_texts_are_no_patterns(pattern: str) -> None:
    wanted = "must be a pattern such as billing, team-* or billing:prod"
    assert {"applications[0]": wanted} == problems(GateSettings, f'applications = ["{pattern}"]')


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", "gate[0].schemas"),
        ("source_schemas = false", "gate[0].schemas"),
        ('command = [""]', "gate[0].command[0]"),
        ("source_schemas = true\napplications = []", "gate[0].applications"),
    ],
)
def test_a_gate_that_can_judge_nothing_is_refused(text: str, key: str) -> None:
    assert [key] == list(refused(f"[[gate]]\n{text}\n"))


@pytest.mark.parametrize("table", [{"schemas": ["a"]}, {"source_schemas": True}, {"command": ["x", ""]}])
def test_one_kind_of_rule_is_enough(table: dict[str, object]) -> None:
    assert [] == list(gate_conflicts(table))


def test_wrong_values_are_named_by_their_number() -> None:
    text = '[[gate]]\ncommand = ["x"]\n[[gate]]\ncommand = ["x"]\ntimeout = 0\nschemas = [""]\nfoo = 1\n'

    assert {"gate[1].timeout", "gate[1].schemas[0]", "gate[1].foo"} == refused(text).keys()
    assert ["gate"] == list(refused("[gate]\nsource_schemas = true\n"))
    assert "belongs to [gate]" in refused("[formats]\nsource_schemas = true\n")["formats.source_schemas"]


@pytest.mark.parametrize(("value", "is_right"), [(0.09, False), (0.1, True), (300, True), (300.1, False)])
def test_the_deadline_is_within_its_range(value: float, is_right: bool) -> None:
    if is_right:
        assert value == read(GateSettings, f"timeout = {value}").timeout
    else:
        assert ["timeout"] == list(problems(GateSettings, f"timeout = {value}"))


@pytest.mark.parametrize(("value", "is_right"), [(16_777_215, False), (16_777_216, True)])
def test_the_memory_has_a_least_size(value: int, is_right: bool) -> None:
    if is_right:
        assert value == read(GateSettings, f"memory_bytes = {value}").memory_bytes
    else:
        assert ["memory_bytes"] == list(problems(GateSettings, f"memory_bytes = {value}"))

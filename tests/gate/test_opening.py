"""Opens the gate that the settings describe."""

import pytest

from vortexd.core.errors import SettingsError
from vortexd.core.patterns import parse_pattern
from vortexd.gate.gate import PublicationGate, Rules
from vortexd.gate.opening import load_rules, open_gate
from vortexd.settings.gate import GateSettings

RULES = Rules((parse_pattern("*"),), command=("true",))


def test_without_a_section_there_are_no_rules_and_there_is_no_gate() -> None:
    assert () == load_rules(())
    assert open_gate(()) is None


def test_a_section_becomes_rules() -> None:
    assert (RULES,) == load_rules((GateSettings(command=("true",)),))
    with pytest.raises(SettingsError, match="can't be read"):
        load_rules((GateSettings(schemas=("/nowhere/s.json",)),))


def test_a_gate_judges_by_the_rules() -> None:
    gate = open_gate([RULES])

    assert isinstance(gate, PublicationGate)
    assert (RULES,) == gate.rules

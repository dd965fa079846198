"""[console]: whether vortexd serves the page."""

import pytest

from vortexd.settings.console import ConsoleSettings

from .sections import problems, read, waiting


def test_vortexd_serves_the_page_by_default() -> None:
    assert ConsoleSettings(enabled=True) == read(ConsoleSettings)
    assert ConsoleSettings(enabled=False) == read(ConsoleSettings, "enabled = false")


@pytest.mark.parametrize(("value", "kind"), [("1", "a whole number"), ('"true"', "text"), ("[true]", "a list")])
def test_only_true_and_false_turn_the_page_on_and_off(value: str, kind: str) -> None:
    assert {"enabled": f"must be true or false, not {kind}"} == problems(ConsoleSettings, f"enabled = {value}")


def test_a_change_waits_for_a_restart() -> None:
    assert {"enabled"} == waiting(ConsoleSettings)

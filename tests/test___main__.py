"""`python -m vortexd` and the program `vortexd`: signals are handled before anything is imported."""

import gc
import runpy
import signal
import sys

import pytest

from vortexd import __main__ as program
from vortexd import __version__
from vortexd.cli import main as command_line
from vortexd.process import early_signals, imports


def test_the_package_runs_as_vortexd(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["vortexd", "--version"])
    monkeypatch.delitem(sys.modules, "vortexd.__main__")
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("vortexd", run_name="__main__")

    assert 0 == caught.value.code
    assert capsys.readouterr().out.startswith(f"vortexd {__version__}")


@pytest.mark.parametrize("status", [0, 1, 2])
def test_the_status_is_that_of_the_command_line(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr(command_line, "main", lambda: status)

    assert status == program.main()


def test_signals_are_handled_first_and_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def interrupted() -> int:
        assert ["begun"] == begun
        raise KeyboardInterrupt

    monkeypatch.setattr(early_signals, "begin", lambda: begun.append("begun"))
    monkeypatch.setattr(command_line, "main", interrupted)

    assert 128 + signal.SIGINT == program.main()


def test_nothing_is_collected_until_the_end_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[bool] = []

    def start() -> int:
        found.append(gc.isenabled())
        imports.freeze()
        found.append(gc.isenabled())
        return 0

    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(command_line, "main", start)
    program.main()

    assert [False, True] == found
    assert gc.isenabled()

"""`python -m vortexd.ctl`."""

import runpy
import sys

import pytest

from vortexd import __version__


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Run the module as a program, and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["vortexctl", *arguments])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("vortexd.ctl", run_name="__main__")
    return caught.value.code


def test_the_package_runs_as_vortexctl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == run(monkeypatch, "--version")
    assert f"vortexctl {__version__}\n" == capsys.readouterr().out


def test_the_status_of_a_command_is_that_of_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == run(monkeypatch, "token", "new", "billing")
    assert 2 == run(monkeypatch, "token", "new", "a b")
    assert "vortexctl: error: the new token: token[0]." in capsys.readouterr().err

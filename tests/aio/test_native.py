"""Whether vortexd-native is used: it is optional, and an operator can turn it off."""

import sys
from types import ModuleType

import pytest

from vortexd.aio.native import load_native, name_of


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    made = ModuleType("vortexd_native")
    made.INTERFACE = 2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vortexd_native", made)
    return made


def test_the_module_is_used_if_it_is_installed(module: ModuleType) -> None:
    assert load_native({}) is module
    assert load_native({"VORTEXD_NATIVE": "on"}) is module


def test_the_environment_turns_it_off(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_native({"VORTEXD_NATIVE": "off"}) is None
    monkeypatch.setenv("VORTEXD_NATIVE", "off")
    assert load_native() is None


@pytest.mark.parametrize("interface", [None, 0, 1, 3])
def test_a_module_with_another_interface_is_not_used(module: ModuleType, interface: int | None) -> None:
    module.INTERFACE = interface  # type: ignore[attr-defined]
    assert load_native({}) is None
    del module.INTERFACE
    assert load_native({}) is None


def test_vortexd_is_whole_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vortexd_native", None)
    assert load_native({}) is None


def test_both_ways_have_names(module: ModuleType) -> None:
    assert ("python", "native") == (name_of(None), name_of(module))

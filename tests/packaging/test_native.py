"""The distribution `vortexd-native` fits the `vortexd` of this checkout: versions, limits and the stable ABI."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from vortexd import __version__
from vortexd.aio import native
from vortexd.realtime.sockets import MOST

from .building import ROOT

NATIVE = ROOT / "packaging/native"
SOURCE = (NATIVE / "vortexd_native.c").read_text()
PROJECT = tomllib.loads((NATIVE / "pyproject.toml").read_text())["project"]


def test_it_has_the_version_of_vortexd_and_the_extra_asks_for_it() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    assert __version__ == PROJECT["version"]
    assert [f"{PROJECT['name']}>={__version__}"] == extras["native"]


def test_vortexd_does_not_depend_on_it() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]

    assert not any("native" in each for each in dependencies)


def test_both_sides_have_the_same_interface_and_the_same_batch() -> None:
    assert [str(native._INTERFACE)] == re.findall(r"#define INTERFACE (\d+)", SOURCE)
    assert [str(MOST)] == re.findall(r"#define MOST (\d+)", SOURCE)


def test_it_keeps_to_the_stable_abi_of_the_oldest_python() -> None:
    [limit] = re.findall(r"#define Py_LIMITED_API 0x(\w+)", SOURCE)

    assert PROJECT["requires-python"] == f">={int(limit[:2], 16)}.{int(limit[2:4], 16)}"
    assert SOURCE.index("#define Py_LIMITED_API") < SOURCE.index("#include <Python.h>")


def test_what_is_installed_fits_every_python() -> None:
    module = native.load_native({})
    if module is None:
        pytest.skip("vortexd-native isn't installed: packaging/native/install builds it if there is a C compiler")

    assert str(module.__file__).endswith(".abi3.so")


def test_the_script_says_if_there_is_no_compiler(tmp_path: Path) -> None:
    """.ci/run then goes on without it."""
    for name in ("bash", "realpath"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    ended = subprocess.run(
        ["/usr/bin/env", "-i", f"PATH={tmp_path}", str(NATIVE / "install"), "/usr/bin/env"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )

    assert 3 == ended.returncode

"""packaging/check_runpath, with libraries that a C compiler makes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .building import ROOT

pytestmark = pytest.mark.skipif(
    not (shutil.which("cc") and shutil.which("readelf")), reason="there is no C compiler or no readelf"
)


def check(directory: Path) -> tuple[int, str]:
    command = [ROOT / "packaging/check_runpath", directory]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def library(path: Path, *options: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = ["cc", "-shared", "-nostdlib", *options, "-x", "c", "-o", path, os.devnull]
    subprocess.run(command, check=True)


@pytest.mark.parametrize("tags", ["--enable-new-dtags", "--disable-new-dtags"], ids=["RUNPATH", "RPATH"])
def test_each_directory_of_the_build_machine_is_an_error(tmp_path: Path, tags: str) -> None:
    library(tmp_path / "a b/fast.abi3.so.1", f"-Wl,{tags},-rpath,/home/me/lib", "-Wl,-rpath,$ORIGIN/x:/opt/lib")

    status, errors = check(tmp_path)

    assert 1 == status
    assert [
        "check_runpath: error: a b/fast.abi3.so.1 has the RUNPATH /home/me/lib",
        "check_runpath: error: a b/fast.abi3.so.1 has the RUNPATH /opt/lib",
    ] == errors.splitlines()


def test_the_own_place_of_a_library_is_none(tmp_path: Path) -> None:
    library(tmp_path / "fast.so", "-Wl,-rpath,$ORIGIN", "-Wl,-rpath,$ORIGIN/../fast.libs")

    assert (0, "") == check(tmp_path)


def test_a_place_that_only_begins_like_the_own_one_is_an_error(tmp_path: Path) -> None:
    library(tmp_path / "fast.so", "-Wl,-rpath,$ORIGINAL/lib")

    assert 1 == check(tmp_path)[0]


def test_libraries_without_a_place_and_other_files_pass(tmp_path: Path) -> None:
    library(tmp_path / "fast.so")
    (tmp_path / "other.so").write_text("no library")

    assert (0, "") == check(tmp_path)

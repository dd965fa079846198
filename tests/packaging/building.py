"""Builds wheels and source distributions as `pip wheel` and `python -m build` do, with the hatchling of this environment."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CLIENT = ROOT / "packaging/vortexd-client"


def build(project: Path, target: str, directory: Path) -> Path:
    """Build a "wheel" or an "sdist" of a project into an empty directory, and return its path."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(directory)]
    # The compiled hook would be one more file of the project.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True, text=True)
    (built,) = directory.iterdir()
    return built


def unpack_sdist(sdist: Path, directory: Path) -> Path:
    """Unpack a source distribution, and return the folder of its project."""
    with tarfile.open(sdist) as archive:
        archive.extractall(directory, filter="data")
    (project,) = directory.iterdir()
    return project


def unpack_wheel(wheel: Path, directory: Path) -> Path:
    """Unpack a wheel into a directory from which Python can import it."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    return directory


def contents(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel: name to bytes."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}

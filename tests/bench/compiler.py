"""Compiles the C programs of the benchmarks, and names the cores that they and the servers run on."""

import os
import shutil
import subprocess
from pathlib import Path

# Servers run on the first core, clients on the last.
SERVER_CORE, CLIENT_CORE = 0, (os.cpu_count() or 1) - 1


class NoCompiler(Exception):
    """There is no C compiler."""


def build(source: Path, directory: Path) -> Path:
    """Compile a C program of one file into a directory. Returns the path of the program.

    Raises:
        NoCompiler: There is none.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise NoCompiler("there is no C compiler with the name cc")
    program = directory / source.stem
    subprocess.run([compiler, "-O2", "-o", program, source], check=True)
    return program


def on_core(core: int) -> list[str]:
    """Return the start of a command that runs on one core only. It is empty if there is one core, or no taskset."""
    return ["taskset", "-c", str(core)] if (os.cpu_count() or 1) > 1 and shutil.which("taskset") else []

"""packaging/first_change.py: it follows a change with given programs, and says why if the change doesn't arrive."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .building import ROOT

SCRIPT = ROOT / "packaging/first_change.py"


def write(program: Path, text: str) -> None:
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The programs of this checkout, as an installation has them."""
    directory = tmp_path / "bin"
    directory.mkdir()
    # An installed package has the example inside.
    write(directory / "python3", f"echo '{ROOT}/conf/example'")
    for name, module in (("vortexd", "vortexd"), ("vortexctl", "vortexd.ctl")):
        write(directory / name, f'PYTHONPATH={ROOT} exec {sys.executable} -m {module} "$@"')
    return directory


def run(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_it_prints_how_long_the_start_and_the_change_took(programs: Path) -> None:
    example = (ROOT / "conf/example/billing-prod.yml").read_text()
    ended = run(programs.name, cwd=programs.parent)

    assert 0 == ended.returncode, ended.stderr
    assert re.fullmatch(r"ready after \d+\.\d\d s; the change arrived \d+ ms after it was saved\n", ended.stdout)
    assert example == (ROOT / "conf/example/billing-prod.yml").read_text()


def test_a_server_that_ends_is_said_with_what_it_printed(programs: Path) -> None:
    write(programs / "vortexd", "echo 'no such luck'; exit 1")
    ended = run(programs)

    assert (1, "") == (ended.returncode, ended.stdout)
    assert "first_change: error: vortexd isn't ready: no such luck\n" in ended.stderr


def test_a_client_that_ends_is_said_with_what_it_printed(programs: Path) -> None:
    write(programs / "client", "echo 'no such module'; exit 1")
    ended = run(programs, "--client", programs / "client")

    assert (1, "") == (ended.returncode, ended.stdout)
    assert "didn't print '20\\n', but: no such module\n" in ended.stderr


def test_a_client_that_prints_another_change_fails(programs: Path) -> None:
    # It follows, and then ends without the patch.
    write(programs / "client", f"PYTHONPATH={ROOT} exec {sys.executable} -c '{OTHER}' \"$4\"")
    ended = run(programs, "--client", programs / "client")

    assert 1 == ended.returncode
    assert "didn't print" in ended.stderr
    assert "20\nanother\n" in ended.stderr


OTHER = """
import sys
from vortexd.client.blocking import watch
with watch(sys.argv[1], "billing", "prod") as config:
    print(config["database"]["pool"]["size"], flush=True)
    config.next_change(60)
print("another", flush=True)
""".replace("'", '"')

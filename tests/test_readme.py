"""README.md: its links and commands exist, and its programs can be compiled."""

import ast
import re
from pathlib import Path

import pytest

from vortexd.cli.commands import COMMANDS
from vortexd.ctl import cli
from vortexd.ctl.completion import command_of

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^):]+)\)", README))))
def test_each_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / link).exists()


def test_each_command_that_it_names_exists() -> None:
    daemon = set(re.findall(r"bin/vortexd ([a-z][a-z-]+)", README))
    ctl = set(re.findall(r"(?:(?:^|bin/|`)vortexctl )([a-z]+)", README, re.MULTILINE))

    assert daemon
    assert set() == daemon - set(COMMANDS)
    assert set() == ctl - {each.name for each in command_of(cli.parser()).commands}
    assert len(ctl) > 8


def test_its_programs_can_be_compiled() -> None:
    programs = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)

    assert programs
    for each in programs:
        compile(each, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

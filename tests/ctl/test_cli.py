"""vortexctl as it is typed: what is printed, and the exit status."""

import re
from pathlib import Path

import pytest

from vortexd import __version__
from vortexd.ctl import cli

PAGE = Path(__file__).parents[2] / "man" / "vortexctl.1"


def test_the_version_is_vortexds(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])

    assert (0, f"vortexctl {__version__}\n") == (caught.value.code, capsys.readouterr().out)


@pytest.mark.parametrize("arguments", [[], ["dance"], ["bench", "--connections", "0"], ["bench", "--conn", "5"]])
def test_a_wrong_command_line_is_one_line_and_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)

    told = capsys.readouterr().err.splitlines()
    assert (2, 1) == (caught.value.code, len(told))
    assert told[0].startswith("vortexctl: error: ")


def test_every_command_and_option_is_on_the_page() -> None:
    page = PAGE.read_text()
    parser = cli.parser()
    commands = next(each for each in parser._actions if each.choices)
    assert commands.choices

    assert set(commands.choices) == set(re.findall(r"^\.It Cm (\w+)", page, re.MULTILINE))
    for name, one in commands.choices.items():  # type: ignore[union-attr]
        described = page.partition(f"\n.It Cm {name}")[2].partition("\n.It Cm ")[0]
        for action in one._actions:
            for option in action.option_strings:
                if option.startswith("--") and option != "--help":
                    assert f"Fl -{option[2:]}" in described, option

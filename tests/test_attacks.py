"""The list of attacks: a test bears the name of each attack, or the list has the reason why no test can."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# Paths, git, file formats, HTTP, WebSockets, messages, tokens, logs and growth: how many attacks of each are known.
KNOWN = {"P": 17, "G": 12, "Y": 16, "H": 15, "W": 16, "M": 19, "T": 9, "L": 10}
WITHOUT = {
    "P06": "nothing is deleted or cloned below a directory that somebody else can write to",
}


def names() -> set[str]:
    """The attacks that a test or a case of one is named after."""
    sources = "\n".join(path.read_text() for path in TESTS.rglob("test_*.py") if path != Path(__file__))
    functions = "_".join(re.findall(r"^\s*(?:async )?def (test_\w+)", sources, re.MULTILINE))
    cases = " ".join(re.findall(r'\bid="([^"]+)"', sources))
    return set(re.findall(rf"(?<![A-Z0-9])[{''.join(KNOWN)}]\d{{2}}(?![0-9])", f"{functions} {cases}"))


@pytest.mark.parametrize(
    "attack", [f"{group}{number:02}" for group, count in KNOWN.items() for number in range(1, count + 1)]
)
def test_each_attack_has_a_test_or_a_reason(attack: str) -> None:
    assert (attack in names()) != (attack in WITHOUT), f"{attack} has neither, or both"


def test_no_test_is_named_after_an_attack_that_nobody_knows() -> None:
    unknown = {name for name in names() if int(name[1:]) > KNOWN[name[0]] or name[1:] == "00"}

    assert not unknown

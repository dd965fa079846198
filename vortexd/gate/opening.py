"""Opens the gate that the settings describe. A server without a gate loads no other module for it than this one.

Sections [[gate]] arrive. Rules leave, or a gate that judges by them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..settings.gate import GateSettings

if TYPE_CHECKING:
    from .gate import PublicationGate, Rules


def load_rules(settings: Sequence[GateSettings]) -> "tuple[Rules, ...]":
    """Read the schemas of all sections; see `files.load_gate`. Without a section, nothing is loaded.

    Raises:
        SettingsError: As in `files.load_gate`.
    """
    if not settings:
        return ()
    from .files import load_gate

    return load_gate(settings)


def command_problems(settings: Sequence[GateSettings]) -> list[tuple[str, str]]:
    """Return the problems of commands that can't be executed, each with its key. Blocks on the file system."""
    commands = [(number, each.command) for number, each in enumerate(settings) if each.command]
    if not commands:
        return []
    from .command import problem_of

    return [
        (f"gate[{number}].command[0]", problem)
        for number, command in commands
        if (problem := problem_of(command)) is not None
    ]


def open_gate(rules: "Sequence[Rules]") -> "PublicationGate | None":
    """Return a gate that judges by these rules, or None if there are no rules."""
    if not rules:
        return None
    from .gate import PublicationGate

    return PublicationGate(rules)

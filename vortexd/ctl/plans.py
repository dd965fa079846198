"""Formats the plan of a roll-back as lines for people. Pure.

It takes a plan as vortexd-api(7) describes it. No text of it can control the terminal.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ..core.text import printable
from .changes import lines_of
from .gate import reasons_of
from .printing import Paint

# The most other configurations that are named.
_NAMED = 20
_COLOURS = {"create": "green", "delete": "red"}


def lines_of_plan(plan: Mapping[str, Any], paint: Paint) -> Iterator[str]:
    """Yield what a roll-back would do: to files, to the configuration, and to other configurations.

    Raises:
        KeyError, TypeError, AttributeError: It isn't a plan.
    """
    # The newest commit has no version if its files can't be read.
    yield paint(printable(f"{key_of(plan)}  {plan['version'] or '(unreadable)'} -> {target_of(plan)}"), "bold")
    files = plan["files"]
    if not files:
        yield f"the newest commit, {printable(plan['head'][:12])}, already has this version; there is nothing to push"
        return
    yield "files:"
    for each in files:
        line = printable(f"    {each['act']:<6}  {each['path']}")
        yield paint(line, _COLOURS[each["act"]]) if each["act"] in _COLOURS else line
    yield "changes:"
    yield from (line for row in plan["changes"] for line in lines_of(row, paint))
    yield from _others(plan, paint)
    # A server before this member has none.
    if (refused := plan.get("refused")) is not None:
        yield paint("the gate would hold the commit back, so the server doesn't push it:", "red")
        yield from reasons_of(refused)


def _others(plan: Mapping[str, Any], paint: Paint) -> Iterator[str]:
    count, named = int(plan["others_count"]), plan["others"][:_NAMED]
    if not count:
        yield "no other configuration changes"
        return
    head = "1 other configuration changes, too:" if count == 1 else f"{count} other configurations change, too:"
    yield paint(head, "yellow")
    yield from (printable(f"    {key_of(each)}") for each in named)
    if count > len(named):
        yield f"    and {count - len(named)} more"


def key_of(named: Mapping[str, str]) -> str:
    """Return the key of a plan, or of another configuration, as people write it."""
    return f"{named['application']}:{named['profile']}:{named['label']}"


def target_of(plan: Mapping[str, Any]) -> str:
    """Return the version to go back to, and its commit if it has one."""
    target = plan["target"]
    commit = f" (commit {target['commit'][:12]})" if target["commit"] else ""
    return f"{target['version']}{commit}"

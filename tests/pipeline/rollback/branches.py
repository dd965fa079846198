"""States of a branch for tests, made of texts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from vortexd.core.commits import PastFiles
from vortexd.core.model import Files, Key, Origin, Tree
from vortexd.core.pushes import Branch
from vortexd.pipeline.rollback.branch_states import BranchState, BranchStates
from vortexd.pipeline.rollback.plan import Plan, make_plan
from vortexd.pipeline.state import State
from vortexd.resolve.tree import parse_tree
from vortexd.settings.formats import FormatSettings

from ...wiring import served_state

ROOT = "git:/a/"
SHOP = Key("shop", "dev", "main")
Texts = Mapping[str, str]


def id_of(number: int) -> str:
    return f"{number:040x}"


def files_of(texts: Texts, commit: int = 0, root: str = ROOT, **more: Any) -> Files:
    origin = Origin(id_of(commit), "Ada", "2026-01-01T00:00:00Z")
    return Files(
        {path: text.encode() for path, text in texts.items()},
        {},
        root,
        **{"revision": origin.commit, "origin": origin, **more},
    )


def past_of(texts: Texts, commit: int, ways: Mapping[str, Sequence[str]] | None = None, **more: Any) -> PastFiles:
    return PastFiles(files_of(texts, commit, **more), ways or {}, commit)


def states_of(served: Mapping[str, Files], labels: Sequence[str] = ("main",), **more: Any) -> BranchStates:
    """The states of the branch that these labels are served from."""
    parsed = parse_tree(Tree(served, "main"), FormatSettings())
    return BranchStates(served_state(State(parsed.labels, "main", **more)), ROOT, labels)


def branch(labels: Sequence[str] = ("main",), head: int = 9) -> Branch:
    return Branch("git:/a", "main", id_of(head), labels, pushes=True)


def plan_of(
    old: Texts,
    new: Texts,
    key: Key = SHOP,
    *,
    shared: bool = False,
    in_use: Sequence[Key] = (),
    locations: tuple[str, ...] = ("",),
    served: Texts | None = None,
    ways: Mapping[str, Sequence[str]] | None = None,
    tick: Callable[[], None] = lambda: None,
    unreadable: Mapping[str, str] | None = None,
) -> Plan:
    """Plan a roll-back from one set of files to another one.

    Args:
        served: The files that are served. If it is None, they are the old ones.
        unreadable: As `Files.unreadable`, at the newest commit.
    """
    states = states_of({"main": files_of(served if served is not None else old, locations=locations)})
    head = states.at(past_of(old, 9, ways), repairs=True)
    if unreadable:
        past = attrs.evolve(head.past, files=attrs.evolve(head.past.files, unreadable=unreadable))
        head = states.at(past, repairs=True)
    return make_plan(states, branch(), head, target(states, new), key, in_use, tick, shared=shared)


def target(states: BranchStates, texts: Texts, commit: int = 1) -> BranchState:
    return states.at(past_of(texts, commit), repairs=False)


def changes(plan: Plan) -> dict[str, str | None]:
    """The files that a plan restores."""
    return {each.path: None if each.content is None else each.content.decode() for each in plan.files}

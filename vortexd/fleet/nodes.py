"""The other nodes of a cluster, as an answer about the fleet shows them. Pure.

`NodePages` has one page for each node whose instances or counts are known. They merge with the pages of this node's
workers. A node that is away has only its last counts, and its instances count as away.
"""

import attrs

from .pages import KeyState, Page, Question

# Where the counts of a node come from.
CURRENT, LAST, UNKNOWN = "current", "last", "unknown"


@attrs.frozen
class NodeView:
    """One node in an answer.

    Attributes:
        state: "serving", "draining" or "away".
        counts: `CURRENT`, `LAST` if they are the last that the node has written, or `UNKNOWN`.
        as_of: When this node has noticed the last counts, in seconds since the epoch. None unless `counts` is `LAST`.
        reason: Why the node's instances aren't listed, or None if they are.
        is_whole: Whether the node's instances are all counted. A node that is away, or doesn't answer, isn't whole.
    """

    name: str
    state: str
    counts: str = CURRENT
    as_of: float | None = None
    reason: str | None = None
    is_whole: bool = True


@attrs.frozen
class NodePages:
    """The answers of the other nodes to one question.

    Attributes:
        nodes: All nodes, by name. The node that asks is one of them, unless the store doesn't list it.
        pages: The pages of the other nodes.
    """

    nodes: tuple[NodeView, ...]
    pages: tuple[Page, ...]


def page_of(states: tuple[KeyState, ...], question: Question) -> Page:
    """Return the counts of a node as a page without instances, with all keys from the cursor on."""
    wanted = frozenset(question.keys)
    start = question.after[0] if question.after is not None else None
    return Page(tuple(each for each in states if each.key in wanted and (start is None or each.key >= start)))


def as_away(states: tuple[KeyState, ...]) -> tuple[KeyState, ...]:
    """Return the counts of a node that is away: its connected instances count as away, and as nothing else."""
    return tuple(KeyState(each.key, None, 0.0, 0, 0, 0, 0, 0, away=each.connected) for each in states)

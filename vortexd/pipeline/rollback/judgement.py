"""Lets the gate judge the keys that a roll-back changes, before anything is pushed.

The new documents of these keys arrive. A `Verdict` leaves. The invariant: a document is judged as the publication of the
commit would judge it. So a document that is served already isn't judged, and the schemas in the source are those of the
served state.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ...core.errors import FormatError, RemoteError, ResolveError, UnknownLabel
from ...core.model import Config, Key
from ..state import State
from .branch_states import BranchState
from .target import Reader

if TYPE_CHECKING:
    from ...gate.gate import PublicationGate, Verdict


async def judged(
    gate: "PublicationGate",
    served: State,
    after: BranchState,
    changed: Sequence[Config],
    reader: Reader,
    tick: Callable[[], None],
) -> "Verdict":
    """Judge the documents that a roll-back changes. Return one verdict about all of them.

    Args:
        served: The served state.
        after: The state with the files of the roll-back.
        changed: The new documents.
        reader: Runs the comparison in a thread.
        tick: As in `make_plan`.
    """
    from ...gate.finding import MOST_FINDINGS
    from ...gate.gate import Verdict

    own = [each for each in changed if gate.judges(each.key)]
    if not own:
        return Verdict()
    # The gate judges the documents without pins.
    bare = served.unpinned
    new = await reader.in_thread(lambda: _new(bare, own, tick))
    verdicts = [*(await gate.judge(new, served.labels, after.state.labels)).values()]
    findings = tuple(finding for each in verdicts for finding in each.findings)[:MOST_FINDINGS]
    failure = next((each.failure for each in verdicts if each.failure is not None), None)
    return Verdict(findings, sum(each.count for each in verdicts), failure)


def _new(served: State, changed: Sequence[Config], tick: Callable[[], None]) -> list[Config]:
    """Return the documents that aren't served now."""
    found = []
    for each in changed:
        tick()
        if _version(served, each.key) != each.version:
            found.append(each)
    return found


def _version(served: State, key: Key) -> str | None:
    try:
        return served.resolve(key).version
    except (FormatError, ResolveError, UnknownLabel):
        return None


def check_accepted(verdict: "Verdict | None") -> None:
    """Check that the gate accepts a roll-back.

    Raises:
        RemoteError: It doesn't, or it couldn't judge.
    """
    if verdict is None or verdict.accepts:
        return
    if verdict.findings:
        more = verdict.count - 1
        rest = f" and {more} more findings" if more > 1 else " and 1 more finding" if more else ""
        text = f"the gate would hold the commit back: {verdict.findings[0]}{rest}; nothing was pushed"
        raise RemoteError(text, 409)
    raise RemoteError(f"the gate {verdict.failure}; nothing was pushed, so try again", 503, {"Retry-After": "1"})

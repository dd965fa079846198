"""Records the gate's decisions in the audit log.

Decisions arrive, right after the publications that they are about. Entries leave to the audit log, which writes them in
a task of its own. With several workers, all of them decide the same. So the first one records ordinary decisions, and
each of them records what only it has done: it couldn't judge, or an administrator has asked it.
"""

from ..audit import Actor, Audit, Outcome
from ..gate.decision import Decision, Kind

JUDGE, RELEASE, LET_THROUGH, EXAMINE = "judge", "release label", "let through", "examine"
_GATE = Actor("gate")
_ACTS = {Kind.RELEASED: RELEASE, Kind.STANDING: EXAMINE}
_JUDGED = {Kind.ACCEPTED: Outcome.DONE, Kind.REFUSED: Outcome.REFUSED, Kind.UNJUDGED: Outcome.FAILED}
# At most this many findings and applications of one decision are named.
_NAMED = 5


def record_decision(audit: Audit, decision: Decision, worker: int) -> None:
    """Record a decision, if this worker is the one that records it. Doesn't wait.

    Args:
        worker: The number of this worker.
    """
    kind = decision.kind
    if kind is Kind.OVERRIDDEN:
        if decision.person is not None:
            actor = Actor(decision.person.name, decision.person.kind, decision.person.peer)
            audit.note(LET_THROUGH, actor, decision.label, Outcome.DONE, decision.reason, **_details(decision))
    elif worker == 0 or kind is Kind.UNJUDGED:
        act = _ACTS.get(kind, JUDGE)
        outcome = _JUDGED.get(kind, Outcome.DONE)
        if kind is Kind.STANDING:
            outcome = Outcome.REFUSED if decision.failure is None else Outcome.FAILED
        audit.note(act, _GATE, decision.label, outcome, _reason(decision), **_details(decision))


def _reason(decision: Decision) -> str:
    failure = [f"the gate {decision.failure}"] if decision.failure is not None else []
    return "; ".join([*failure, *map(str, decision.findings[:_NAMED])])


def _details(decision: Decision) -> dict[str, str]:
    details = {"state": decision.state} if decision.state is not None else {}
    if decision.applications:
        details["applications"] = " ".join(decision.applications[:_NAMED])
    return details | ({"findings": str(decision.count)} if decision.count else {})

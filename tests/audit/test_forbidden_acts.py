"""Attempts without the right: the first has an entry at once, and others at most one a minute with their number."""

from typing import Any

from structlog.testing import capture_logs

from vortexd.audit import Actor, ForbiddenActs, Outcome
from vortexd.audit.forbidden_acts import MOST, MOST_ENTRIES, PAUSE, REASON

from .noted import NotedAudit

ADA = Actor("ada", "token", "127.0.0.1")
PATH = "/api/v1/pins"


class Noting:
    """Notes attempts at a clock that the test sets."""

    def __init__(self) -> None:
        self.audit = NotedAudit()
        self.now = 100.0
        self.acts = ForbiddenActs(self.audit, lambda: self.now)

    def note(self, act: str = "pin", actor: Actor = ADA, after: float = 0.0) -> None:
        self.now += after
        self.acts.note(act, actor, PATH)

    @property
    def attempts(self) -> list[tuple[str, str, str]]:
        return [(act, actor.name, details["attempts"]) for act, actor, _, _, _, details in self.audit.noted]


def test_the_first_attempt_has_an_entry_and_an_event() -> None:
    noting = Noting()
    with capture_logs() as logs:
        noting.note()

    assert [("pin", ADA, PATH, Outcome.REFUSED, REASON, {"attempts": "1"})] == noting.audit.noted
    event: dict[str, Any] = {"event": "act forbidden", "log_level": "warning", "act": "pin", "who": "ada"}
    assert [event | {"peer": "127.0.0.1", "path": PATH, "attempts": "1"}] == logs


def test_a_client_that_repeats_it_has_one_entry_a_minute_with_the_number_of_attempts() -> None:
    noting = Noting()
    noting.note()
    for _ in range(50):
        noting.note()
    noting.note(after=PAUSE - 0.5)
    assert [("pin", "ada", "1")] == noting.attempts
    noting.note(after=0.5)
    noting.note()
    noting.note(after=PAUSE)
    assert [("pin", "ada", "1"), ("pin", "ada", "52"), ("pin", "ada", "2")] == noting.attempts
    assert 60.0 == PAUSE


def test_each_act_and_each_client_has_its_own_entries() -> None:
    noting = Noting()
    others = Actor("bob", "token"), Actor("ada", "jwt")
    for actor in (ADA, *others, ADA):
        noting.note(actor=actor)
    noting.note("rollback")
    assert [("pin", "ada", "1"), ("pin", "bob", "1"), ("pin", "ada", "1"), ("rollback", "ada", "1")] == noting.attempts


def test_all_clients_together_have_a_limit_of_entries_each_minute() -> None:
    noting = Noting()
    for number in range(MOST_ENTRIES + 1):
        noting.note(actor=Actor(f"a{number}", "jwt"))
    assert MOST_ENTRIES == len(noting.attempts)
    noting.note(actor=Actor("late", "jwt"), after=PAUSE)
    assert ("pin", "late", "1") == noting.attempts[-1]
    assert MOST_ENTRIES + 1 == len(noting.attempts)


def test_the_client_with_the_oldest_entry_is_forgotten_first() -> None:
    noting = Noting()
    for number in range(MOST):
        noting.note(actor=Actor(f"a{number}"), after=PAUSE)
    noting.note(actor=Actor("a0"), after=PAUSE)
    assert MOST == len(noting.acts._known)
    noting.note(actor=Actor("new"), after=PAUSE)
    assert MOST == len(noting.acts._known)
    assert {"a0", "new", "a2"} <= {name for _, name, _ in noting.acts._known}
    assert ("system", "a1", "pin") not in noting.acts._known

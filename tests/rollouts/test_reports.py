from typing import Any

import attrs
import pytest
from structlog.testing import capture_logs

from vortexd.audit import Actor, Outcome
from vortexd.core.errors import RemoteError
from vortexd.core.model import Key
from vortexd.rollouts.changes import ABORT, PROMOTE, RESUME
from vortexd.rollouts.counts import Counts
from vortexd.rollouts.reports import MOST_WARNED, Reports
from vortexd.rollouts.rollout import Rollout, Status

from ..audit.noted import NotedAudit
from .test_rollout import ROLLOUT

NAMED = attrs.evolve(ROLLOUT, commit="c1", author="ada", step=1, reach=7, reason="why")
FACTS = {"key": "billing:prod:main", "version": NAMED.target, "commit": "c1", "author": "ada", "step": 2}
DETAILS = {"version": NAMED.target, "stable": NAMED.stable, "step": "2", "commit": "c1"}
BOB = Actor("bob")
COUNTS = Counts(named=8, reached=4, applied=3)


@pytest.fixture
def audit() -> NotedAudit:
    return NotedAudit()


@pytest.fixture
def reports(audit: NotedAudit) -> Reports:
    return Reports(audit)


def said(logs: Any) -> list[tuple[str, str]]:
    return [(each["log_level"], each["event"]) for each in logs]


def test_a_beginning_names_its_steps_and_the_stable_version(reports: Reports) -> None:
    with capture_logs() as logs:
        reports.begun(NAMED)

    begun = {"event": "roll-out begun", "log_level": "info", "steps": NAMED.plan.steps, "stable": NAMED.stable}
    assert [FACTS | begun] == logs


def test_a_reason_is_logged_once_until_all_is_written(reports: Reports) -> None:
    keys = [Key("billing", str(number), "main") for number in range(11)]
    with capture_logs() as logs:
        for reason in ("disk full", "disk full", "read-only"):
            reports.unwritten(reason, keys)
        assert ["disk full", "read-only"] == [each["reason"] for each in logs]
        assert [str(key) for key in keys[:10]] == logs[0]["keys"]
        reports.written()
        reports.unwritten("disk full", keys)

    assert [("warning", "roll-out not written")] * 3 == said(logs)


def test_only_so_many_reasons_are_remembered(reports: Reports) -> None:
    with capture_logs() as logs:
        for number in (*range(MOST_WARNED), 0, MOST_WARNED, 0):
            reports.unwritten(str(number), [])

    assert [*map(str, range(MOST_WARNED + 1)), "0"] == [each["reason"] for each in logs]


@pytest.mark.parametrize(
    ("members", "event", "act"),
    [
        ({"status": Status.HALTED}, ("warning", "roll-out halted"), ("rollout halt", "why")),
        ({"status": Status.DONE}, ("info", "roll-out done"), ("rollout end", "")),
        ({}, ("info", "roll-out step begun"), None),
        ({"reach": None}, None, None),
    ],
)
async def test_what_has_become_of_a_roll_out_is_logged_and_its_end_recorded(
    reports: Reports, audit: NotedAudit, members: Any, event: Any, act: Any
) -> None:
    with capture_logs() as logs:
        await reports.stepped(attrs.evolve(NAMED, **members), COUNTS)

    assert ([event] if event else []) == said(logs)
    assert all(logs[0][name] == value for name, value in FACTS.items()) if logs else event is None
    noted = [
        (name, actor.name, key, outcome, reason, details) for name, actor, key, outcome, reason, details in audit.noted
    ]
    wanted = [(act[0], "vortexd", "billing:prod:main", Outcome.DONE, act[1], DETAILS)] if act else []
    assert wanted == noted


async def test_the_events_of_steps_have_their_figures(reports: Reports) -> None:
    with capture_logs() as logs:
        await reports.stepped(attrs.evolve(NAMED, status=Status.HALTED), COUNTS)
        await reports.stepped(attrs.evolve(NAMED, status=Status.DONE), COUNTS)
        await reports.stepped(NAMED, COUNTS)

    halted, done, begun = logs
    assert ("why", f"all instances get version {NAMED.stable} back") == (halted["reason"], halted["consequence"])
    assert (3, "1970-01-01T00:00:00Z") == (done["applied"], done["since"])
    assert (25, 8) == (begun["share"], begun["named"])


OVER = attrs.evolve(NAMED, id="r2", status=Status.DONE, target=NAMED.stable)


@pytest.mark.parametrize("status", [Status.RUNNING, Status.HALTED, Status.ABORTED])
async def test_a_roll_out_that_a_revert_has_ended_is_logged_and_recorded(
    reports: Reports, audit: NotedAudit, status: Status
) -> None:
    with capture_logs() as logs:
        await reports.ended({NAMED.key: attrs.evolve(NAMED, status=status)}, {NAMED.key: OVER})

    reason = f"the document is that of version {NAMED.stable} again"
    assert [FACTS | {"event": "roll-out ended", "log_level": "info", "reason": reason}] == logs
    [(name, actor, key, outcome, why, details)] = audit.noted
    assert ("rollout end", "vortexd", "billing:prod:main") == (name, actor.name, key)
    assert (Outcome.DONE, reason, DETAILS) == (outcome, why, details)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (NAMED, None),
        (NAMED, attrs.evolve(NAMED, status=Status.HALTED)),
        # It has ended by its last step, which is reported already.
        (NAMED, attrs.evolve(OVER, id=NAMED.id)),
        # Another document is the stable one: a pin has ended it.
        (NAMED, attrs.evolve(OVER, target="c" * 16)),
        (attrs.evolve(NAMED, status=Status.DONE), OVER),
    ],
)
async def test_no_other_change_of_a_record_is_the_end_by_a_revert(
    reports: Reports, audit: NotedAudit, before: Rollout, now: Rollout | None
) -> None:
    with capture_logs() as logs:
        await reports.ended({NAMED.key: before}, {} if now is None else {NAMED.key: now})

    assert ([], []) == (logs, audit.noted)


@pytest.mark.parametrize(
    ("act", "event"),
    [
        (RESUME, ("info", "roll-out resumed")),
        (ABORT, ("warning", "roll-out aborted")),
        (PROMOTE, ("info", "roll-out promoted")),
    ],
)
async def test_an_act_is_logged_and_recorded_with_its_person(
    reports: Reports, audit: NotedAudit, act: str, event: tuple[str, str]
) -> None:
    with capture_logs() as logs:
        await reports.acted(act, NAMED, "looked at it", BOB)

    assert [event] == said(logs)
    assert ("bob", "looked at it", NAMED.target) == (logs[0]["by"], logs[0]["reason"], logs[0]["version"])
    assert [(f"rollout {act}", BOB, "billing:prod:main", Outcome.DONE, "looked at it", DETAILS)] == audit.noted


@pytest.mark.parametrize(("status", "outcome"), [(404, Outcome.REFUSED), (409, Outcome.REFUSED), (503, Outcome.FAILED)])
@pytest.mark.parametrize("target", [None, "b" * 16])
async def test_an_act_that_was_not_done_is_recorded_with_its_problem(
    reports: Reports, audit: NotedAudit, status: int, outcome: Outcome, target: str | None
) -> None:
    await reports.refused(ABORT, NAMED.key, target, "why", BOB, RemoteError("no such thing", status))

    details = {"problem": "no such thing"} | ({} if target is None else {"version": target})
    assert [("rollout abort", BOB, "billing:prod:main", outcome, "why", details)] == audit.noted

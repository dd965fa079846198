"""What a person changes from the console, in a real browser: pins, a roll-back, and what the gate lets through; and the audit log.

A stand-in in the page answers for the endpoints, so that each answer of theirs can be tested.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from vortexd.core.model import Key
from vortexd.gate.finding import HEADER, Finding, Refusal, refused_headers

from .browser import CHROMIUM, Page
from .console import (
    ACT,
    CLOSED,
    CONNECTED,
    MARKUP,
    asked,
    choose,
    committed,
    fill,
    guarded,
    hold,
    picture,
    press,
    release,
    sent,
    signed_in,
    stand_in,
    view,
)
from .process import Server

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")

KEY = "billing:default:main"
SINCE = "2026-11-30T01:00:00Z"
PIN = {
    "application": "billing",
    "profile": "default",
    "label": "main",
    "version": "0123456789abcdef",
    "commit": "c" * 40,
    "reason": f"incident 7 {MARKUP}",
    "by": "ada",
    "since": SINCE,
    "until": None,
    "served": True,
}
FINDING = {
    "key": KEY,
    "pointer": "/database/pool",
    "keyword": "type",
    "rule": "billing.schema.json",
    "file": "billing.yml",
    "line": 4,
}
HELD = {
    "label": "main",
    "state": "a" * 40,
    "since": SINCE,
    "failure": None,
    "findings_count": 3,
    "findings": [FINDING, FINDING | {"line": None, "pointer": ""}],
}
PLAN = {
    "application": "billing",
    "profile": "default",
    "label": "main",
    "head": "d" * 40,
    "target": {"commit": "e" * 40, "version": "fedcba9876543210"},
    "version": "0123456789abcdef",
    "files": [{"path": "billing.yml", "act": "change"}, {"path": "billing-x.yml", "act": "delete"}],
    "changes": [
        {"op": "replace", "path": "/database/pool/size", "old": 11, "new": 10},
        {"op": "replace", "path": "/database/password", "old": "hunter2", "new": "hunter3"},
    ],
    "others": [{"application": "billing", "profile": "prod", "label": "main"}],
    "others_count": 3,
    "pushable": True,
    "commit": None,
}
Answers = Mapping[str, Sequence[tuple[int, Any]]]


@asynccontextmanager
async def opened(
    page: Page, tmp_path: Path, answers: Answers, rights: str = "", *, is_phone: bool = False
) -> AsyncIterator[None]:
    """The console of a server with a git source. If there are rights, it is signed in with a token that has them."""
    _, source = committed(tmp_path)
    settings = f'[server]\nbind = ["127.0.0.1:0"]\n{source}'
    if rights:
        token, settings = guarded(tmp_path / "x", rights, '["*"]')
        settings = settings.partition("[[source]]")[0] + source
    await stand_in(page, answers)
    await page.appear(width=390 if is_phone else 1200, dark=is_phone)
    with Server(tmp_path / "x", settings=settings) as server:
        if rights:
            await signed_in(page, server, token)
        else:
            await page.go(f"http://127.0.0.1:{server.port}/console/")
        await page.wait(CONNECTED)
        yield


async def test_a_pinned_key_is_marked_wherever_it_is_shown_and_its_pin_can_be_lifted(
    page: Page, tmp_path: Path
) -> None:
    pins = "GET /api/v1/pins"
    answers: Answers = {pins: [(200, {"pins": [PIN]})], "DELETE /api/v1/pins/billing/default/main": [(204, None)]}
    async with opened(page, tmp_path, answers):
        await page.wait("document.querySelectorAll('#change-list .mark').length > 0")
        changes = await view(page, "changes", "pinned")
        await page.evaluate("window.used = new WebSocket(`ws://${location.host}/ws/billing/default`)")
        clients = await view(page, "clients", f"{KEY} pinned")
        await page.wait("document.querySelector('#key-list .mark') !== null")
        await page.evaluate(
            f"[...document.querySelectorAll('#key-list button')].find(each => each.textContent === '{KEY} pinned').click()"
        )
        await page.wait("document.querySelectorAll('#document tr').length > 0")
        shown = await page.evaluate("document.querySelector('#document').innerText")
        listed = await view(page, "pins", "incident 7")
        await picture(page, "pins")
        count = await page.evaluate("document.getElementById('pins-count').textContent")
        await press(page, "Lift…")
        said = await asked(page, "Lift the pin of")
        await page.evaluate(f"window.answers['{pins}'] = [[200, {{pins: []}}]]")
        await fill(page, "reason", "over")
        await press(page, "Lift the pin")
        await page.wait(CLOSED)
        after = await view(page, "pins", "No key is pinned.")
        marks = await page.evaluate("document.querySelectorAll('.mark').length")
        images = await page.evaluate("document.querySelectorAll('main img').length")

        assert [("?reason=over", None)] == await sent(page, "DELETE /api/v1/pins/billing/default/main")
        assert [] == page.complaints

    assert f"{KEY} pinned" in changes
    assert f"{KEY} pinned" in clients
    assert "application:default:main pinned" not in changes + clients
    assert "ada has pinned this key to version 01234567 of commit cccccccc since" in shown
    assert MARKUP in shown
    assert "until somebody lifts it" in shown
    for text in (f"{KEY} pinned", "version 01234567 of commit cccccccc", "by ada since", "until somebody lifts it"):
        assert text in listed
    assert " 1" == count
    assert "the server serves what the source has now" in said
    assert 0 == marks
    assert "Lift" not in after
    assert 0 == images


async def test_a_pin_that_the_server_cannot_use_and_the_node_of_a_cluster_are_named(page: Page, tmp_path: Path) -> None:
    pin = PIN | {"served": False, "commit": None, "until": "2026-11-30T03:00:00Z"}
    async with opened(page, tmp_path, {"GET /api/v1/pins": [(200, {"pins": [pin], "node": "a"})]}):
        listed = await view(page, "pins", "at the node a only")
        await page.wait("document.querySelector('#key-list .mark') !== null")
        await page.evaluate("document.querySelector('#key-list button:has(.mark)').click()")
        await page.wait("document.querySelector('#document-pin .notice') !== null")
        shown = await page.evaluate("document.querySelector('#document-pin').textContent")

    assert f"{KEY} pin not in use" in listed
    assert "The server can't use this pin now, so it serves the source." in listed
    assert "commit" not in listed
    assert "until somebody" not in listed + shown
    assert "2026" in shown.partition("until")[2]
    assert "(The server can't use this pin now" in shown
    assert [] == page.complaints


@pytest.mark.parametrize(
    ("count", "unit", "seconds"),
    [("2", "hours", 7200), ("90", "days", 7_776_000), ("5", "minutes", 300), ("2", "until somebody lifts it", None)],
)
async def test_a_key_is_pinned_as_it_is_served_now(
    page: Page, tmp_path: Path, count: str, unit: str, seconds: int | None
) -> None:
    async with opened(page, tmp_path, {"POST /api/v1/pins": [(201, PIN)]}):
        await choose(page, KEY)
        await press(page, "Pin…")
        said = await asked(page, "until the pin ends")
        await fill(page, "unit", unit)
        await fill(page, "count", count)
        # The dialog needs a reason that isn't blank.
        await fill(page, "reason", "  ")
        await press(page, "Pin", "document.getElementById('act')")
        unsent = await sent(page, "POST /api/v1/pins")
        await fill(page, "reason", "incident 7")
        await page.evaluate(f"window.answers['GET /api/v1/pins'] = [[200, {json.dumps({'pins': [PIN]})}]]")
        await press(page, "Pin", "document.getElementById('act')")
        await page.wait(CLOSED)
        await page.wait("document.querySelector('#document-pin').innerText.includes('ada has pinned')")
        posted = await sent(page, "POST /api/v1/pins")

    assert [] == unsent
    assert "Encrypted values are decrypted with the server's keys of today." in said
    key = {"application": "billing", "profile": "default", "label": "main"}
    assert [("", {**key, "to": "", "reason": "incident 7", "seconds": seconds})] == posted
    assert [] == page.complaints


async def test_a_pin_of_more_than_90_days_is_not_sent(page: Page, tmp_path: Path) -> None:
    async with opened(page, tmp_path, {"POST /api/v1/pins": [(201, PIN)]}):
        await choose(page, KEY)
        await press(page, "Pin…")
        await fill(page, "reason", "incident 7")
        for unit, count in (("days", "91"), ("hours", "2161"), ("hours", "0"), ("minutes", "1.5")):
            await fill(page, "unit", unit)
            await fill(page, "count", count)
            await press(page, "Pin", "document.getElementById('act')")
            assert not await page.evaluate("document.querySelector('#act form').checkValidity()"), (unit, count)

        assert [] == await sent(page, "POST /api/v1/pins")
        await press(page, "Cancel")
        await page.wait(CLOSED)


async def test_the_history_of_a_key_offers_a_pin_and_a_roll_back_at_each_commit(page: Page, tmp_path: Path) -> None:
    async with opened(page, tmp_path, {"POST /api/v1/pins": [(201, PIN)]}):
        await choose(page, KEY)
        await press(page, "Show its history")
        items = "document.querySelectorAll('#key-history li')"
        await page.wait(f"{items}.length === 2")
        texts = await page.evaluate(f"[...{items}].map(each => each.innerText)")
        buttons = await page.evaluate(f"[...{items}].map(each => each.querySelectorAll('.buttons button').length)")
        commit = (
            await page.evaluate("document.querySelectorAll('#key-history .buttons button')[3].ariaLabel")
        ).split()[2]
        await page.evaluate(f"{items}[0].querySelector('summary').click(); {items}[0].scrollIntoView()")
        await page.wait(f"{items}[0].innerText.includes('size: 11')")
        first = await page.evaluate(f"{items}[0].innerText")
        await picture(page, "key-history")
        await press(page, "Pin to this…", f"{items}[1]")
        await asked(page, commit)
        await fill(page, "reason", "incident 7")
        await press(page, "Pin", "document.getElementById('act')")
        await page.wait(CLOSED)
        posted = await sent(page, "POST /api/v1/pins")
        # Another key has another history.
        await choose(page, "application:default:main")
        await press(page, "Show its history")

    assert "by Grace" in texts[0]
    assert "served now" in texts[0]
    assert "1 change\n" in texts[0] + "\n"
    assert "1 change\n− database.pool.size: 10\n+ database.pool.size: 11\n" in first
    assert "served now" not in texts[1]
    assert [2, 2] == buttons
    assert posted[0][1]["to"].startswith(commit)
    assert 40 == len(posted[0][1]["to"])
    assert [] == page.complaints


async def test_if_somebody_has_pinned_the_key_meanwhile_the_dialog_shows_that_pin(page: Page, tmp_path: Path) -> None:
    sentence = "the key is pinned already, by ada"
    async with opened(page, tmp_path, {"POST /api/v1/pins": [(409, {"message": sentence})]}):
        await choose(page, KEY)
        await press(page, "Pin…")
        await fill(page, "reason", "incident 7")
        await press(page, "Pin", "document.getElementById('act')")
        await asked(page, sentence)
        await page.evaluate(f"window.answers['GET /api/v1/pins'] = [[200, {json.dumps({'pins': [PIN]})}]]")
        await press(page, "Start again")
        said = await asked(page, "Lift the pin of")

    assert "ada has pinned this key" in said


async def test_if_somebody_has_lifted_the_pin_meanwhile_the_dialog_closes(page: Page, tmp_path: Path) -> None:
    delete = "DELETE /api/v1/pins/billing/default/main"
    answers: Answers = {"GET /api/v1/pins": [(200, {"pins": [PIN]})], delete: [(404, {"message": "not pinned"})]}
    async with opened(page, tmp_path, answers):
        await view(page, "pins", "incident 7")
        await press(page, "Lift…")
        await press(page, "Lift the pin")
        await asked(page, "not pinned")
        await page.evaluate("window.answers['GET /api/v1/pins'] = [[200, {pins: []}]]")
        await press(page, "Start again")
        await page.wait(CLOSED)
        await view(page, "pins", "No key is pinned.")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((503, {"message": "the pin can't be written: no space"}), "the pin can't be written: no space"),
        ((403, {"message": "the Origin isn't allowed"}), "the Origin isn't allowed"),
        ((0, None), "doesn't know whether the server did it"),
    ],
)
async def test_an_error_is_shown_in_the_dialog_which_stays_open_for_another_attempt(
    page: Page, tmp_path: Path, answer: tuple[int, Any], said: str
) -> None:
    async with opened(page, tmp_path, {"POST /api/v1/pins": [answer, (201, PIN)]}):
        await choose(page, KEY)
        await press(page, "Pin…")
        await fill(page, "reason", "incident 7")
        await press(page, "Pin", "document.getElementById('act')")
        text = await asked(page, said)
        await press(page, "Pin", "document.getElementById('act')")
        await page.wait(CLOSED)

        assert 2 == len(await sent(page, "POST /api/v1/pins"))
    assert "Start again" not in text


async def roll_back(page: Page, plan_has: str) -> str:
    """Open the dialog at the older of two commits, and return its text once it has the plan."""
    await choose(page, KEY)
    await press(page, "Show its history")
    await page.wait("document.querySelectorAll('#key-history li').length === 2")
    await press(page, "Roll back to this…", "document.querySelectorAll('#key-history li')[1]")
    return await asked(page, plan_has)


ROLL = "POST /api/v1/rollback"
EXPLAIN = "GET /api/v1/explain/billing/default/main"
EXPLANATION = {"version": PLAN["target"]["version"], "broken": [], "layers": [], "keys": []}  # type: ignore[index]


async def test_a_roll_back_shows_its_plan_and_then_waits_until_the_commit_is_served(page: Page, tmp_path: Path) -> None:
    done = PLAN | {"commit": "f" * 40}
    async with opened(page, tmp_path, {ROLL: [(200, PLAN), (200, done)], "GET /api/v1/gate": [(200, gate([]))]}):
        said = await roll_back(page, "configurations change, too")
        await picture(page, "plan")
        await fill(page, "reason", "incident 7")
        await press(page, "Push this commit")
        waiting = await asked(page, "is pushed")
        await page.evaluate(f"window.answers['{EXPLAIN}'] = [[200, {json.dumps(EXPLANATION)}]]")
        # A change of the key makes the page look at once.
        await page.evaluate(f"dispatchEvent(new CustomEvent('served', {{ detail: '{KEY}' }}))")
        served = await asked(page, "The server serves version fedcba98.")
        await picture(page, "rolled-back")
        await press(page, "Close")
        await page.wait(CLOSED)
        posted = [body for _, body in await sent(page, ROLL)]

    assert "makes one new commit on main" in said
    assert "The commit follows dddddddd." in said
    assert "The version changes from 01234567 to fedcba98." in said
    for line in (
        "billing.yml\tchanges",
        "billing-x.yml\tis deleted",
        "− database.pool.size: 11",
        "+ database.pool.size: 10",
    ):
        assert line in said
    assert "3 other configurations change, too" in said
    assert "billing:prod:main" in said
    assert "and 2 more" in said
    assert "hunter" not in said
    assert "waits until version fedcba98" in waiting
    assert "The commit ffffffff is pushed." in served
    base = {"application": "billing", "profile": "default", "label": "main", "shared": False}
    to = posted[0]["to"]
    assert 40 == len(to)
    assert [
        {**base, "to": to, "reason": "", "dry_run": True, "expected": None},
        {**base, "to": to, "reason": "incident 7", "dry_run": False, "expected": "d" * 40},
    ] == posted
    assert [] == page.complaints


def gate(held: Sequence[Any], standing: Sequence[Any] = ()) -> dict[str, Any]:
    return {"held_back": held, "standing": standing}


async def test_a_roll_back_that_the_gate_holds_back_says_so(page: Page, tmp_path: Path) -> None:
    done = PLAN | {"commit": HELD["state"]}
    async with opened(page, tmp_path, {ROLL: [(200, PLAN), (200, done)], "GET /api/v1/gate": [(200, gate([HELD]))]}):
        await roll_back(page, "billing.yml")
        await fill(page, "reason", "incident 7")
        await press(page, "Push this commit")
        await asked(page, "The gate holds the commit back")


async def test_if_the_branch_has_moved_the_dialog_starts_again_with_the_new_plan(page: Page, tmp_path: Path) -> None:
    sentence = "the branch has moved"
    moved = PLAN | {"head": "9" * 40}
    answers: Answers = {
        ROLL: [(200, PLAN), (409, {"message": sentence}), (200, moved), (200, moved | {"commit": "f" * 40})]
    }
    async with opened(page, tmp_path, answers):
        await roll_back(page, "The commit follows dddddddd.")
        await fill(page, "reason", "incident 7")
        await press(page, "Push this commit")
        await asked(page, sentence)
        # The old plan can't be pushed any more.
        assert await page.evaluate("document.querySelector('#act .danger').disabled")
        await press(page, "Start again")
        said = await asked(page, "The commit follows 99999999.")
        await fill(page, "reason", "incident 7")
        await press(page, "Push this commit")
        await asked(page, "The commit ffffffff is pushed.")
        posted = [body for _, body in await sent(page, ROLL)]

    assert sentence not in said
    assert ["9" * 40] == [each["expected"] for each in posted[3:]]


async def test_files_that_others_read_are_changed_only_if_the_person_asks_for_it(page: Page, tmp_path: Path) -> None:
    sentence = "application.yml belongs to other applications, too; --shared allows it"
    async with opened(page, tmp_path, {ROLL: [(409, {"message": sentence}), (200, PLAN)]}):
        await roll_back(page, sentence)
        assert await page.evaluate("document.querySelector('#act .danger').disabled")
        await page.evaluate("document.querySelector('#act [name=shared]').click()")
        await asked(page, "The commit follows dddddddd.")
        assert not await page.evaluate("document.querySelector('#act .danger').disabled")

        assert [False, True] == [body["shared"] for _, body in await sent(page, ROLL)]


async def test_where_the_server_may_not_push_the_dialog_offers_a_pin(page: Page, tmp_path: Path) -> None:
    async with opened(page, tmp_path, {ROLL: [(200, PLAN | {"pushable": False})]}):
        await roll_back(page, "may not push")
        assert await page.evaluate("document.querySelector('#act .danger').disabled")
        await press(page, "Pin this state…")
        await asked(page, f"Pin {KEY}")
        to = await page.evaluate("document.querySelector('#act [name=to]').value")

    assert 40 == len(to)


async def test_a_document_that_is_the_same_already_needs_no_commit(page: Page, tmp_path: Path) -> None:
    async with opened(page, tmp_path, {ROLL: [(200, PLAN | {"files": [], "changes": []})]}):
        await roll_back(page, "There is nothing to change")

        assert await page.evaluate("document.querySelector('#act .danger').disabled")


async def test_the_gate_shows_what_it_holds_back_and_what_stands_and_lets_one_state_through(
    page: Page, tmp_path: Path
) -> None:
    standing = {name: HELD[name] for name in ("label", "failure", "findings_count", "findings")} | {"label": "v1"}
    failed = HELD | {"label": "next", "failure": "didn't answer within 5 s", "findings": [], "findings_count": 0}
    answers: Answers = {
        "GET /api/v1/gate": [(200, gate([HELD, failed], [standing]))],
        "POST /api/v1/gate": [(204, None)],
    }
    async with opened(page, tmp_path, answers):
        text = await view(page, "gate", "held back")
        await picture(page, "gate")
        await press(page, "Let through…")
        said = await asked(page, "Let main through")
        await picture(page, "let-through")
        await fill(page, "reason", "incident 7")
        await page.evaluate("window.answers['GET /api/v1/gate'] = [[200, {held_back: [], standing: []}]]")
        await press(page, "Let it through")
        await page.wait(CLOSED)
        await view(page, "gate", "The gate holds nothing back.")
        posted = await sent(page, "POST /api/v1/gate")

    for part in (
        "aaaaaaaa",
        f"{KEY}\ttype of billing.schema.json\t/database/pool\tbilling.yml:4",
        "the whole document\tbilling.yml",
        "and 1 more",
        "The gate couldn't judge: it didn't answer within 5 s.",
        "Served although it breaks the rules",
        "v1",
    ):
        assert part in text
    assert "publishes the state aaaaaaaa of main at once, although 3 rules are broken" in said
    assert [("", {"label": "main", "state": "a" * 40, "reason": "incident 7"})] == posted
    assert [] == page.complaints


async def test_the_header_of_a_configuration_is_read_as_the_list_of_the_gate(page: Page, tmp_path: Path) -> None:
    key = Key("café", "default", "feature/ä,b")
    first = Finding(key, '/a"b;c=1,', "type", "x.schema.json", "café.yml", 4)
    findings = (first, Finding(key, "", "required", "x.schema.json"), Finding(key, "/b", "command", "judge", "b.yml"))
    refusals = [
        Refusal("feature/ä", "a" * 40, findings, 3),
        Refusal("next", "b" * 16, (), 0, "has failed"),
        Refusal("old", "c" * 40, (), 0),
    ]
    header = refused_headers(refusals)[HEADER]
    async with opened(page, tmp_path, {}):
        script = "import('/console/gate.js').then(gate => JSON.stringify([gate.refusalsOf(%s), gate.refusalsOf(null)]))"
        found, none = json.loads(await page.evaluate(script % json.dumps(header)))

    assert [each.members for each in refusals] == found
    assert [] == none


async def test_if_another_state_is_held_back_meanwhile_the_dialog_shows_that_one(page: Page, tmp_path: Path) -> None:
    newer = HELD | {"state": "b" * 40, "findings_count": 1, "findings": [FINDING]}
    answers: Answers = {
        "GET /api/v1/gate": [(200, gate([HELD]))],
        "POST /api/v1/gate": [(409, {"message": "another state is held back by now"}), (404, {"message": "not held"})],
    }
    async with opened(page, tmp_path, answers):
        await view(page, "gate", "held back")
        await press(page, "Let through…")
        await fill(page, "reason", "incident 7")
        await press(page, "Let it through")
        await asked(page, "another state is held back by now")
        await page.evaluate(f"window.answers['GET /api/v1/gate'] = [[200, {json.dumps(gate([newer]))}]]")
        await press(page, "Start again")
        said = await asked(page, "bbbbbbbb")
        await fill(page, "reason", "incident 7")
        await press(page, "Let it through")
        await asked(page, "not held")
        await page.evaluate(f"window.answers['GET /api/v1/gate'] = [[200, {json.dumps(gate([]))}]]")
        await press(page, "Start again")
        await page.wait(CLOSED)

    assert "although one rule is broken" in said


async def test_the_focus_stays_where_it_is_while_nothing_changes(page: Page, tmp_path: Path) -> None:
    answers: Answers = {
        "GET /api/v1/gate": [(200, gate([HELD]))],
        "GET /api/v1/pins": [(200, {"pins": [PIN]})],
    }
    async with opened(page, tmp_path, answers):
        for name, path in (("gate", "gate"), ("pins", "pins")):
            await page.evaluate(f"location.hash = '#{name}'")
            await page.wait(f"document.querySelector('#{name}-body button') !== null")
            await page.evaluate(f"document.querySelector('#{name}-body button').focus()")
            before = len(await sent(page, f"GET /api/v1/{path}"))
            await page.evaluate("dispatchEvent(new Event('refresh'))")
            await page.wait(f"window.sent.filter(([each]) => each === 'GET /api/v1/{path}').length > {before}")
            # The answer is shown after some turns of the page's loop.
            await page.evaluate("new Promise(done => setTimeout(done, 100))")

            assert await page.evaluate(f"document.activeElement.closest('#{name}-body') !== null"), name


def entry(number: int, act: str = "reload", who: str = "SIGHUP") -> dict[str, Any]:
    return {
        "id": f"id{number}",
        "time": SINCE,
        "who": who,
        "kind": "token",
        "from": "127.0.0.1",
        "act": act,
        "target": f"target {number} {MARKUP}",
        "outcome": "refused" if number % 2 else "done",
        "reason": "",
        "details": {"changed": "log.level"},
        "worker": 0,
    }


async def test_the_audit_log_is_shown_in_pages_and_filtered_by_act_and_person(page: Page, tmp_path: Path) -> None:
    first = {"entries": [entry(1), entry(2, "pin", "ada")], "next": "id2", "stored": True, "workers_silent": 0}
    second = {"entries": [entry(3)], "next": None, "stored": False, "workers_silent": 1}
    async with opened(page, tmp_path, {"GET /api/v1/audit": [(200, first)]}):
        text = await view(page, "audit", "target 2")
        await picture(page, "audit")
        choices = await page.evaluate("[...document.querySelectorAll('#audit-acts option')].map(each => each.value)")
        people = await page.evaluate("[...document.querySelectorAll('#audit-whos option')].map(each => each.value)")
        await page.evaluate(f"window.answers['GET /api/v1/audit'] = [[200, {json.dumps(second)}]]")
        await press(page, "Older")
        older = await view(page, "audit", "target 3")
        await page.evaluate(f"window.answers['GET /api/v1/audit'] = [[200, {json.dumps(first)}]]")
        await press(page, "Newest")
        await view(page, "audit", "target 2")
        await page.evaluate(
            "for (const [id, value] of [['audit-act', 'pin'], ['audit-who', 'ada']]) {"
            " const field = document.getElementById(id); field.value = value; field.dispatchEvent(new Event('change')); }"
        )
        await page.wait("window.sent.some(([, query]) => query.includes('act=pin&who=ada'))")
        queries = [query for query, _ in await sent(page, "GET /api/v1/audit")]
        images = await page.evaluate("document.querySelectorAll('main img').length")
        complaints = [*page.complaints]
        # Another user doesn't find what this one has chosen.
        await page.evaluate("document.getElementById('sign-out').click()")
        left = await page.evaluate("document.getElementById('audit-act').value")

    assert MARKUP in text
    assert "refused" in text
    assert "changed: log.level" in text
    assert ["pin", "reload"] == choices
    assert ["SIGHUP", "ada"] == people
    assert "loses the entries" not in text
    assert "loses the entries when it stops" in older
    assert "A worker hasn't answered" in older
    assert "Older" not in older
    assert "?limit=100&act=&who=&after=id2" in queries
    assert "?limit=100&act=&who=&after=" in queries
    assert "" == left
    assert 0 == images
    assert [] == complaints


async def test_a_key_of_the_changes_opens_its_configuration(page: Page, tmp_path: Path) -> None:
    async with opened(page, tmp_path, {}):
        await page.wait("document.querySelectorAll('#change-list > li').length >= 3")
        await press(page, KEY, "document.querySelector('#change-list')")
        await page.wait("document.querySelectorAll('#document tr').length > 0")

        assert KEY == await page.evaluate("document.querySelector('#document h3').innerText")
        assert "#configuration" == await page.evaluate("location.hash")


async def test_the_history_of_a_directory_says_why_there_is_none(page: Page, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "billing.yml").write_text("a: 1\n")
    await stand_in(page, {})
    with Server(tmp_path / "config") as server:
        await page.go(f"http://127.0.0.1:{server.port}/console/")
        await page.wait(CONNECTED)
        await choose(page, KEY)
        await press(page, "Show its history")
        await page.wait("document.querySelector('#key-history .bad') !== null")
        text = await page.evaluate("document.querySelector('#key-history').innerText")

    assert len(text) > len("History\n\n404")


def commit_of(number: int) -> dict[str, Any]:
    steps = [{"op": "add", "path": f"/a{step}", "new": step} for step in range(70)]
    return {
        "commit": f"{number:040x}",
        "author": "Ada",
        "time": SINCE,
        "message": f"message {number}",
        "old_version": "0" * 16,
        "version": f"{number:016x}",
        "changes": steps,
        "left_out": 5,
    }


async def test_a_long_history_is_shown_in_pages_up_to_a_limit(page: Page, tmp_path: Path) -> None:
    history = "GET /api/v1/history/billing/default/main"
    first = {"commits": [commit_of(number) for number in range(20)], "next": "n1"}
    async with opened(page, tmp_path, {history: [(200, first)]}):
        await choose(page, KEY)
        await press(page, "Show its history")
        items = "document.querySelectorAll('#key-history li')"
        await page.wait(f"{items}.length === 20")
        await page.evaluate(f"{items}[0].querySelector('summary').click()")
        await page.wait(f"{items}[0].innerText.includes('and 5 more changes')")
        text = await page.evaluate(f"{items}[0].innerText")
        lines = await page.evaluate("document.querySelectorAll('#key-history .diff div').length")
        for count in range(40, 201, 20):
            await press(page, "Show older commits")
            await page.wait(f"{items}.length === {count}")
        buttons = await page.evaluate("document.querySelector('#key-history').innerText.includes('older')")
        queries = [query for query, _ in await sent(page, history)]

    assert "75 changes" in text
    assert "and 10 more" in text
    # The lines of the other commits aren't made before they are opened.
    assert 60 == lines
    assert not buttons
    assert ["?limit=20&after=", "?limit=20&after=n1"] == [each for each in queries if "limit=20" in each][:2]


async def test_the_plan_that_was_asked_for_last_is_shown(page: Page, tmp_path: Path) -> None:
    shared = PLAN | {"head": "9" * 40}
    async with opened(page, tmp_path, {ROLL: [(200, shared), (200, PLAN)]}):
        await page.evaluate("location.hash = '#configuration'")
        await choose(page, KEY)
        await press(page, "Show its history")
        await page.wait("document.querySelectorAll('#key-history li').length === 2")
        await hold(page, "/api/v1/rollback")
        await press(page, "Roll back to this…", "document.querySelectorAll('#key-history li')[1]")
        await asked(page, "works out what changes")
        await page.evaluate("document.querySelector('#act [name=shared]').click()")
        await asked(page, "The commit follows 99999999.")
        await release(page)

        assert "The commit follows 99999999." in await page.evaluate(ACT)


async def test_without_a_plan_nothing_can_be_pushed(page: Page, tmp_path: Path) -> None:
    async with opened(page, tmp_path, {ROLL: [(0, None)]}):
        await roll_back(page, "The server can't be reached.")

        assert await page.evaluate("document.querySelector('#act .danger').disabled")


async def test_a_roll_back_that_is_not_served_in_time_says_where_to_look(page: Page, tmp_path: Path) -> None:
    done = PLAN | {"commit": "f" * 40}
    answers = {ROLL: [(200, PLAN), (200, done)], "GET /api/v1/gate": [(503, {"message": "starting"})]}
    async with opened(page, tmp_path, answers):
        await roll_back(page, "billing.yml")
        await fill(page, "reason", "incident 7")
        await press(page, "Push this commit")
        await asked(page, "waits until version")
        # Each change of the key makes the page look again. A change of another key doesn't.
        await page.evaluate(f"window.answers['{EXPLAIN}'] = [[200, {{version: 'x'}}]]; window.sent.length = 0")
        await page.evaluate("dispatchEvent(new CustomEvent('served', { detail: 'other:default:main' }))")
        early = await page.evaluate("new Promise(done => setTimeout(() => done(window.sent.length), 100))")
        await page.evaluate(
            f"setInterval(() => dispatchEvent(new CustomEvent('served', {{ detail: '{KEY}' }})), 5); undefined"
        )
        await asked(page, "The server doesn't serve the new version yet. Look at Sources and at Gate.")

    assert 0 == early


async def test_a_change_is_sent_once_and_the_dialog_stays_while_the_server_works(page: Page, tmp_path: Path) -> None:
    async with opened(page, tmp_path, {"POST /api/v1/pins": [(201, PIN)]}):
        await choose(page, KEY)
        await press(page, "Pin…")
        await hold(page, "/api/v1/pins")
        await fill(page, "reason", "incident 7")
        await press(page, "Pin", "document.getElementById('act')")
        await page.evaluate("document.querySelector('#act form').requestSubmit()")
        states = await page.evaluate(
            "const event = new Event('cancel', { cancelable: true }); document.getElementById('act').dispatchEvent(event);"
            " [event.defaultPrevented, ...[...document.querySelectorAll('#act .buttons button')].map(each => each.disabled)]"
        )
        await release(page)
        await page.wait(CLOSED)
        posted = await sent(page, "POST /api/v1/pins")

    # The button that starts again is hidden.
    assert [True, True, False, True] == states
    assert 1 == len(posted)


async def test_if_the_pins_are_not_available_the_other_views_are(page: Page, tmp_path: Path) -> None:
    answers = {
        "GET /api/v1/pins": [(503, {"message": "the pins can't be read"})],
        "GET /api/v1/gate": [(200, gate([]))],
    }
    async with opened(page, tmp_path, answers):
        pins = await view(page, "pins", "the pins can't be read")
        await view(page, "gate", "The gate holds nothing back.")
        await page.evaluate("window.answers['GET /api/v1/pins'] = [[200, {pins: []}]]")
        await view(page, "pins", "No key is pinned.")

    assert "No key" not in pins


async def test_with_the_right_admin_alone_the_pins_are_not_requested(page: Page, tmp_path: Path) -> None:
    _, source = committed(tmp_path)
    token, settings = guarded(tmp_path / "x", '["admin"]', "[]")
    await stand_in(page, {})
    with Server(tmp_path / "x", settings=settings.partition("[[source]]")[0] + source) as server:
        await signed_in(page, server, token)
        await page.wait("document.getElementById('state').textContent === 'signed in'")
        pins = await view(page, "pins", "requires the right read")
        await view(page, "gate", "The gate holds nothing back.")
        requests = await sent(page, "GET /api/v1/pins")

    assert "the list of pins requires the right read" in pins
    assert [] == requests
    assert [] == page.complaints


async def test_an_answer_for_another_key_filter_or_user_is_not_shown(page: Page, tmp_path: Path) -> None:
    history = {"commits": [commit_of(1)], "next": None}
    audit = {"entries": [entry(1)], "next": None, "stored": True, "workers_silent": 0}
    answers = {
        "GET /api/v1/history/billing/default/main": [(200, history)],
        "GET /api/v1/audit": [(200, audit)],
        "GET /api/v1/pins": [(200, {"pins": [PIN]})],
    }
    async with opened(page, tmp_path, answers, '["read", "subscribe", "admin"]'):
        await page.evaluate("location.hash = '#configuration'")
        await page.wait("document.querySelector('#key-list .mark') !== null")
        await page.evaluate("document.querySelectorAll('#key-list button')[1].click()")
        await hold(page, "/api/v1/history/billing/default/main")
        await press(page, "Show its history")
        await choose(page, "application:default:main")
        await release(page)
        other_key = await page.evaluate("document.querySelector('#key-history').innerText")

        await hold(page, "/api/v1/audit")
        await page.evaluate("location.hash = '#audit'")
        await page.wait("window.go !== null")
        await page.evaluate("document.getElementById('audit-act').value = 'pin'")
        await release(page)
        other_filter = await page.evaluate("document.querySelector('#audit-body').innerText")

        await hold(page, "/api/v1/pins")
        await page.evaluate("dispatchEvent(new Event('refresh'))")
        await page.wait("window.go !== null")
        await page.evaluate("document.getElementById('sign-out').click()")
        await page.wait("document.getElementById('sign-in').open")
        await release(page)
        other_user = await page.evaluate("document.getElementById('pins-count').textContent")

    assert "message 1" not in other_key
    assert "Show its history" == other_key
    assert "target" not in other_filter
    assert "" == other_user


async def test_if_a_page_of_the_audit_log_is_gone_the_view_begins_anew(page: Page, tmp_path: Path) -> None:
    first = {"entries": [entry(1)], "next": "id1", "stored": True, "workers_silent": 0}
    sentence = "there is no such entry any more"
    async with opened(page, tmp_path, {"GET /api/v1/audit": [(200, first)]}):
        await view(page, "audit", "target 1")
        answers = json.dumps([[404, {"message": sentence}], [200, first]])
        await page.evaluate(f"window.answers['GET /api/v1/audit'] = {answers}")
        await press(page, "Older")
        await view(page, "audit", sentence)
        await page.evaluate("dispatchEvent(new Event('refresh'))")
        text = await view(page, "audit", "target 1")

    assert sentence not in text


async def test_a_token_without_the_right_admin_reads_pins_and_gets_no_button(page: Page, tmp_path: Path) -> None:
    answers: Answers = {"GET /api/v1/pins": [(200, {"pins": [PIN]})]}
    async with opened(page, tmp_path, answers, '["read", "subscribe"]'):
        await page.wait("document.querySelectorAll('#key-list .mark').length > 0")
        pins = await view(page, "pins", "incident 7")
        held = await view(page, "gate", "requires the right admin")
        audit = await view(page, "audit", "requires the right admin")
        await page.evaluate("location.hash = '#configuration'")
        await page.evaluate("document.querySelectorAll('#key-list button')[1].click()")
        await page.wait("document.querySelectorAll('#document tr').length > 0")
        await press(page, "Show its history")
        await page.wait("document.querySelectorAll('#key-history li').length === 2")
        buttons = await page.evaluate("[...document.querySelectorAll('main button')].map(each => each.textContent)")
        document = await page.evaluate("document.querySelector('#document').innerText")
        fields = await page.evaluate("document.querySelector('#audit-filter').checkVisibility()")

    assert "Your token doesn't allow this: the list of labels that are held back requires the right admin." in held
    assert "Your token doesn't allow this: the audit log requires the right admin." in audit
    assert "ada has pinned this key" in document
    assert "Lift" not in pins
    assert not [each for each in buttons if each.startswith(("Lift", "Pin", "Roll", "Let"))]
    assert not fields
    # The page sent no request that its token doesn't allow.
    assert [] == page.complaints


async def test_a_sign_out_leaves_nothing_of_the_former_user_on_the_page(page: Page, tmp_path: Path) -> None:
    answers: Answers = {"GET /api/v1/pins": [(200, {"pins": [PIN]})], "GET /api/v1/gate": [(200, gate([HELD]))]}
    async with opened(page, tmp_path, answers, '["read", "subscribe", "admin"]'):
        await page.wait("document.querySelectorAll('#key-list .mark').length > 0")
        await view(page, "pins", "incident 7")
        await view(page, "gate", "held back")
        await page.evaluate("location.hash = '#configuration'")
        await page.evaluate("document.querySelectorAll('#key-list button')[1].click()")
        await page.wait("document.querySelectorAll('#document tr').length > 0")
        await press(page, "Lift the pin…")
        await page.evaluate("document.getElementById('sign-out').click()")
        await page.wait("document.getElementById('sign-in').open")
        assert await page.evaluate(CLOSED)
        text = await page.evaluate(
            "document.querySelector('main').textContent + document.querySelector('nav').textContent"
        )

    assert "incident 7" not in text
    assert "billing" not in text.replace("billing/prod/main", "")
    assert "aaaaaaaa" not in text
    assert "Pins 1" not in text


async def test_the_views_and_the_dialogs_fit_a_phone(page: Page, tmp_path: Path) -> None:
    answers: Answers = {
        "GET /api/v1/pins": [(200, {"pins": [PIN]})],
        "GET /api/v1/gate": [(200, gate([HELD], []))],
        ROLL: [(200, PLAN)],
    }
    async with opened(page, tmp_path, answers, is_phone=True):
        for name, has in (("gate", "held back"), ("pins", "incident 7"), ("audit", "Act")):
            await view(page, name, has)
            assert await page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), name
            await picture(page, f"phone-{name}")
        await view(page, "gate", "held back")
        await press(page, "Let through…")
        await asked(page, "Let main through")
        assert await page.evaluate("document.getElementById('act').getBoundingClientRect().right <= innerWidth")
        await picture(page, "phone-dialog")
        text = await page.evaluate(ACT)

    assert "billing.yml:4" in text

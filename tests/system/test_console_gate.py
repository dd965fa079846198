"""The gate and the audit log in the console, in a real browser. A stand-in gives the answers of the server."""

import json
from pathlib import Path

import attrs
import pytest

from vortexd.core.model import Key
from vortexd.gate.finding import HEADER, Finding, Refusal, refused_headers

from .browser import CHROMIUM, Page
from .console import CLOSED, MARKUP, asked, fill, picture, press, view
from .console_stand_in import FINDING, HELD, KEY, Answers, entry, gate, opened, sent

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")


async def test_the_gate_shows_what_it_holds_back_and_what_stands_and_lets_one_state_through(
    page: Page, tmp_path: Path
) -> None:
    standing = {name: HELD[name] for name in ("label", "failure", "findings_count", "findings")} | {"label": "v1"}
    failed = HELD | {"label": "next", "failure": "didn't answer within 5 s", "findings": [], "findings_count": 0}
    answers: Answers = {
        "GET /api/v1/gate": [(200, gate([HELD, failed], [standing, failed | {"label": "v2"}]))],
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
        "The gate didn't answer within 5 s.",
        "Served although it breaks the rules",
        "v1",
        "Served, but not judged yet",
        "v2",
    ):
        assert part in text
    assert "publishes the state aaaaaaaa of main at once, although 3 rules are broken" in said
    assert [("", {"label": "main", "state": "a" * 40, "reason": "incident 7"})] == posted
    assert [] == page.complaints


async def test_the_header_of_a_configuration_is_read_as_the_list_of_the_gate(page: Page, tmp_path: Path) -> None:
    key = Key("café", "default", "feature/ä,b")
    first = Finding(key, '/a"b;c=1,', "type", "x.schema.json", "café.yml", 4)
    broken = Finding(key, "", "schema", "x.schema.json", "x.schema.json", 2, "not JSON: the text ends too soon")
    others = (Finding(key, "", "required", "x.schema.json"), Finding(key, "/b", "command", "judge", "b.yml"))
    findings = (first, *others, broken, attrs.evolve(first, is_former=True))
    refusals = [
        Refusal("feature/ä", "a" * 40, findings, 5),
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


async def test_the_audit_log_is_shown_in_pages_and_filtered_by_act_and_person(page: Page, tmp_path: Path) -> None:
    first = {
        "entries": [entry(1), entry(2, "pin", "ada")],
        "next": "id2",
        "stored": True,
        "complete": True,
        "workers_silent": 0,
    }
    second = {"entries": [entry(3)], "next": None, "stored": False, "complete": True, "workers_silent": 1}
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


async def test_if_a_page_of_the_audit_log_is_gone_the_view_begins_anew(page: Page, tmp_path: Path) -> None:
    first = {"entries": [entry(1)], "next": "id1", "stored": True, "complete": True, "workers_silent": 0}
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


async def type_key(page: Page, key: str, code: int, text: str = "") -> None:
    event = {"key": key, "code": key, "windowsVirtualKeyCode": code}
    await page.call("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
    await page.call("Input.dispatchKeyEvent", type="keyUp", **event)


async def test_a_keyboard_is_enough(page: Page, tmp_path: Path) -> None:
    answers: Answers = {"GET /api/v1/gate": [(200, gate([HELD]))], "POST /api/v1/gate": [(204, None)]}
    async with opened(page, tmp_path, answers):
        await view(page, "gate", "held back")
        await page.evaluate("document.querySelector('nav [href=\"#audit\"]').focus()")
        await type_key(page, "Tab", 9)
        focused = await page.evaluate("document.activeElement.textContent")
        await type_key(page, "Enter", 13, "\r")
        await asked(page, "Let main through")
        await type_key(page, "Escape", 27)
        await page.wait(CLOSED)
        # The focus is back at the button.
        await type_key(page, "Enter", 13, "\r")
        await asked(page, "Let main through")
        for _ in range(5):
            if await page.evaluate("document.activeElement.name === 'reason'"):
                break
            await type_key(page, "Tab", 9)
        await page.call("Input.insertText", text="incident 7")
        await type_key(page, "Enter", 13, "\r")
        await page.wait(CLOSED)
        posted = await sent(page, "POST /api/v1/gate")

    assert "Let through…" == focused
    assert ["incident 7"] == [body["reason"] for _, body in posted]

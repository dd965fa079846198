"""The history of a key and the roll-back in the console, in a real browser. A stand-in gives the answers of the server."""

import json
from pathlib import Path

import pytest

from .browser import CHROMIUM, Page
from .console import ACT, CLOSED, CONNECTED, asked, choose, fill, picture, press
from .console_stand_in import (
    HELD,
    KEY,
    PIN,
    PLAN,
    ROLL,
    Answers,
    commit_of,
    gate,
    history_of,
    hold,
    opened,
    release,
    roll_back,
    sent,
    stand_in,
)
from .process import Server

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")]


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


EXPLAIN = "GET /api/v1/explain/billing/default/main"
EXPLANATION = {"version": "fedcba9876543210", "broken": [], "layers": [], "keys": []}


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


async def test_a_plan_that_the_gate_refuses_is_not_pushed(page: Page, tmp_path: Path) -> None:
    refused = {name: HELD[name] for name in ("failure", "findings_count", "findings")}
    async with opened(page, tmp_path, {ROLL: [(200, PLAN | {"refused": refused})]}):
        said = await roll_back(page, "The gate would hold this commit back")
        assert await page.evaluate("document.querySelector('#act .danger').disabled")

    assert "billing.yml:4" in said
    assert "type of billing.schema.json" in said


async def test_a_document_that_is_the_same_already_needs_no_commit(page: Page, tmp_path: Path) -> None:
    async with opened(page, tmp_path, {ROLL: [(200, PLAN | {"files": [], "changes": []})]}):
        await roll_back(page, "There is nothing to change")

        assert await page.evaluate("document.querySelector('#act .danger').disabled")


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


async def test_the_versions_of_a_directory_can_be_pinned_but_not_rolled_back_to(page: Page, tmp_path: Path) -> None:
    version = commit_of(7) | {"author": "", "message": ""}
    answers: Answers = {
        "GET /api/v1/history/billing/default/main": [(200, history_of([version]))],
        "POST /api/v1/pins": [(201, PIN)],
    }
    async with opened(page, tmp_path, answers):
        await choose(page, KEY)
        await press(page, "Show its history")
        await page.wait("document.querySelectorAll('#key-history li').length === 1")
        text = await page.evaluate("document.querySelector('#key-history li').innerText")
        await press(page, "Pin to this…")
        await asked(page, "version 00000000 of the directory")
        await fill(page, "reason", "incident 7")
        await press(page, "Pin", "document.getElementById('act')")
        await page.wait(CLOSED)
        posted = await sent(page, "POST /api/v1/pins")

    assert "version 00000000 of the directory" in text
    assert "Roll back" not in text
    assert "label main" not in text
    assert "0000000000000007" == posted[0][1]["to"]


async def test_if_several_sources_or_labels_have_a_history_each_commit_names_its_own(
    page: Page, tmp_path: Path
) -> None:
    history = history_of([commit_of(7)], layers=2)
    async with opened(page, tmp_path, {"GET /api/v1/history/billing/default/main": [(200, history)]}):
        await choose(page, KEY)
        await press(page, "Show its history")
        await page.wait("document.querySelectorAll('#key-history li').length === 1")

        assert "git, label main" in await page.evaluate("document.querySelector('#key-history li').innerText")


async def test_a_long_history_is_shown_in_pages_up_to_a_limit(page: Page, tmp_path: Path) -> None:
    history = "GET /api/v1/history/billing/default/main"
    first = history_of([commit_of(number) for number in range(20)], "n1")
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
    answers: Answers = {ROLL: [(200, PLAN), (200, done)], "GET /api/v1/gate": [(503, {"message": "starting"})]}
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

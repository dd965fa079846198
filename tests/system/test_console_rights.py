"""What the console shows to whom, and what stays when it changes, in a real browser. A stand-in gives the answers of the server."""

from pathlib import Path

import pytest

from .browser import CHROMIUM, Page
from .console import ACT, CLOSED, asked, choose, picture, press, view
from .console_stand_in import (
    HELD,
    PIN,
    PLAN,
    ROLL,
    Answers,
    commit_of,
    entry,
    gate,
    history_of,
    hold,
    opened,
    release,
    sent,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")


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


async def test_an_answer_for_another_key_filter_or_user_is_not_shown(page: Page, tmp_path: Path) -> None:
    history = history_of([commit_of(1)])
    audit = {"entries": [entry(1)], "next": None, "stored": True, "complete": True, "workers_silent": 0}
    answers: Answers = {
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

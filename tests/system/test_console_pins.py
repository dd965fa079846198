"""The pins in the console, in a real browser. A stand-in gives the answers of the server."""

import json
from pathlib import Path
from typing import Any

import pytest

from .browser import CHROMIUM, Page
from .console import CLOSED, MARKUP, asked, choose, committed, fill, guarded, picture, press, signed_in, view
from .console_stand_in import KEY, PIN, Answers, gate, hold, opened, release, sent, stand_in
from .process import Server

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")


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


async def test_a_pin_that_the_server_cannot_use_is_named(page: Page, tmp_path: Path) -> None:
    pin = PIN | {"served": False, "commit": None, "until": "2026-11-30T03:00:00Z"}
    async with opened(page, tmp_path, {"GET /api/v1/pins": [(200, {"pins": [pin]})]}):
        listed = await view(page, "pins", "The server can't use this pin")
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

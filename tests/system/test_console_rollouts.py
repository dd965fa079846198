"""The roll-outs in the console, in a real browser. A stand-in gives the answers of the server, except in the last test."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.http.described import whole_document

from ..repository import Repository
from .browser import CHROMIUM, Page
from .console import CLOSED, CONNECTED, MARKUP, asked, committed, fill, guarded, picture, press, signed_in, view
from .console_stand_in import KEY, PIN, ROLLOUT, Answers, gate, opened, sent, stand_in
from .process import Server
from .test_broken import git_settings

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")]
GET, POST = "GET /api/v1/rollouts", "POST /api/v1/rollouts"
HALTED = ROLLOUT | {"status": "halted", "counts": None, "deadline": None, "reason": f"web-1 rejected it: {MARKUP}"}
ABORTED = HALTED | {"status": "aborted", "reason": "incident 7", "by": "ada"}
UNRECORDED = {"status": "waiting", "id": None, "counts": None, "began": None, "stepped": None, "deadline": None}
WAITING = ROLLOUT | UNRECORDED | {"step": 1, "share": 5, "problem": "no space left"}
SENT = {"application": "billing", "profile": "default", "label": "main", "target": "fedcba9876543210"}
BUTTONS = "[...document.querySelectorAll('#rollouts-body button')].map(each => each.textContent)"
BODY = "document.getElementById('rollouts-body').innerText"
NONE = "No change is being rolled out"


def rollouts(*found: Any) -> list[tuple[int, Any]]:
    return [(200, {"rollouts": found})]


async def now(page: Page, *found: Any) -> None:
    """Let the stand-in give these roll-outs from now on."""
    await page.evaluate(f"window.answers['{GET}'] = {json.dumps(rollouts(*found))}")


async def refreshed(page: Page) -> None:
    """Refresh the view, and give the page time to show the answer."""
    before = len(await sent(page, GET))
    await page.evaluate("dispatchEvent(new Event('refresh'))")
    await page.wait(f"window.sent.filter(([each]) => each === '{GET}').length > {before}")
    await page.evaluate("new Promise(done => setTimeout(done, 100))")


def test_the_roll_outs_of_the_stand_in_are_as_the_api_describes_them() -> None:
    validator = jsonschema_rs.validator_for({"$ref": "#/components/schemas/Rollouts"} | whole_document())
    assert validator.is_valid({"rollouts": [ROLLOUT, HALTED, ABORTED, WAITING]})


async def test_a_running_roll_out_shows_its_step_its_counts_and_its_commit(page: Page, tmp_path: Path) -> None:
    async with opened(page, tmp_path, {GET: rollouts(ROLLOUT), "GET /api/v1/pins": [(200, {"pins": [PIN]})]}):
        text = await view(page, "rollouts", "running")
        await picture(page, "rollouts")
        buttons = await page.evaluate(BUTTONS)
        images = await page.evaluate("document.querySelectorAll('main img').length")

    for part in (
        f"{KEY} pinned",
        "version 01234567 → fedcba98",
        "step 2 of 3: 25 % of the named instances; 90 % of them must apply it within 60 s, until",
        "8 named connected, 7 reached: 2 applied, 1 rejected, 4 silent (3 of them gone)",
        f"commit cccccccc by Grace {MARKUP}, began ",
        ", this state since ",
    ):
        assert part in text
    assert "incomplete" not in text
    assert "recorded" not in text
    assert ["Abort…", "Promote…"] == buttons
    assert 0 == images
    assert [] == page.complaints


@pytest.mark.parametrize(
    ("rollout", "has", "lacks", "buttons"),
    [
        (HALTED, f"web-1 rejected it: {MARKUP}", "must apply", ["Resume…", "Abort…", "Promote…"]),
        (ABORTED, "incident 7 (ada)", "count", ["Promote…"]),
        (WAITING, "until its roll-out is recorded: no space left", "began", []),
        (WAITING | {"problem": None}, "until its roll-out is recorded.", "began", []),
        (ROLLOUT | {"counts": None}, "The server can't count the instances now.", "silent", ["Abort…", "Promote…"]),
        (
            ROLLOUT | {"counts": ROLLOUT["counts"] | {"gone": 0, "unanswered": 2}},
            "workers or nodes that haven't answered: 2",
            "gone",
            ["Abort…", "Promote…"],
        ),
        (ROLLOUT | {"author": None}, "commit cccccccc by an unknown author, began", "Grace", ["Abort…", "Promote…"]),
        (ROLLOUT | {"commit": None}, "without a commit, began", "Grace", ["Abort…", "Promote…"]),
    ],
)
async def test_each_state_shows_its_facts_and_the_acts_that_the_server_accepts(
    page: Page, tmp_path: Path, rollout: dict[str, Any], has: str, lacks: str, buttons: list[str]
) -> None:
    async with opened(page, tmp_path, {GET: rollouts(rollout)}):
        text = await view(page, "rollouts", has)
        found = await page.evaluate(BUTTONS)
        status = await page.evaluate("document.querySelector('#rollouts-body .title span:not([data-key])').className")

    assert rollout["status"] in text
    assert lacks not in text
    assert buttons == found
    assert ("good" if rollout["status"] == "running" else "bad") == status
    assert [] == page.complaints


async def test_the_urgent_ones_come_first_and_a_waiting_change_blocks_the_acts_on_its_key(
    page: Page, tmp_path: Path
) -> None:
    def of(application: str, rollout: dict[str, Any]) -> dict[str, Any]:
        return rollout | {"application": application}

    found = (of("a", ABORTED), of("d", ROLLOUT), of("b", ROLLOUT), of("w", WAITING), of("w", HALTED), of("z", HALTED))
    async with opened(page, tmp_path, {GET: rollouts(*found)}):
        await view(page, "rollouts", "running")
        keys = await page.evaluate(
            "[...document.querySelectorAll('#rollouts-body .card')].map(each => [each.querySelector('[data-key]').dataset.key[0],"
            " each.querySelector('.title span:not([data-key])').textContent, each.querySelectorAll('button').length])"
        )

    assert [
        ["w", "halted", 0],
        ["z", "halted", 3],
        ["w", "waiting", 0],
        ["b", "running", 2],
        ["d", "running", 2],
        ["a", "aborted", 1],
    ] == keys


@pytest.mark.parametrize(("count", "shown"), [(50, 50), (51, 50)])
async def test_at_most_50_are_shown_and_the_rest_is_counted(page: Page, tmp_path: Path, count: int, shown: int) -> None:
    async with opened(page, tmp_path, {GET: rollouts(*[HALTED | {"profile": f"p{each}"} for each in range(count)])}):
        text = await view(page, "rollouts", "halted")
        cards = await page.evaluate("document.querySelectorAll('#rollouts-body .card').length")

    assert shown == cards
    assert ("and 1 more" in text) == (count > shown)


@pytest.mark.parametrize(
    ("act", "rollout", "says"),
    [
        ("Resume", HALTED, ["begins step 2 of 3: 25 % again", "version fedcba98 to these named instances"]),
        ("Abort", HALTED, ["All instances have version 01234567 already", "Revert commit cccccccc afterwards"]),
        (
            "Abort",
            ROLLOUT,
            [
                "All instances that have version fedcba98 (up to 7) return to version 01234567 at once",
                "can't be resumed",
            ],
        ),
        ("Abort", ROLLOUT | {"counts": None}, ["All instances that have version fedcba98 return to version 01234567"]),
        ("Abort", ROLLOUT | {"commit": None}, ["Revert the change afterwards"]),
        ("Promote", ROLLOUT, ["All clients get version fedcba98 at once, also those without a name"]),
        ("Promote", ABORTED, ["All clients get version fedcba98 at once"]),
    ],
)
async def test_an_act_says_what_happens_and_names_the_version_that_was_shown(
    page: Page, tmp_path: Path, act: str, rollout: dict[str, Any], says: list[str]
) -> None:
    async with opened(page, tmp_path, {GET: rollouts(rollout), POST: [(200, rollout)]}):
        await view(page, "rollouts", rollout["status"])
        await press(page, f"{act}…")
        text = await asked(page, f"{act} the roll-out of {KEY}")
        # The dialog needs a reason that isn't blank.
        await fill(page, "reason", "  ")
        await press(page, act, "document.getElementById('act')")
        unsent = await sent(page, POST)
        await fill(page, "reason", "incident 7")
        await now(page)
        await press(page, act, "document.getElementById('act')")
        await page.wait(CLOSED)
        # The view shows the new state at once.
        await view(page, "rollouts", NONE)
        posted = await sent(page, POST)

    for part in says:
        assert part in text
    assert [] == unsent
    assert [("", SENT | {"act": act.lower(), "reason": "incident 7"})] == posted
    assert [] == page.complaints


async def test_if_the_roll_out_has_changed_meanwhile_the_dialog_shows_its_new_state(page: Page, tmp_path: Path) -> None:
    sentence = "the roll-out of this key is to version 1111111111111111"
    answers: Answers = {GET: rollouts(ROLLOUT), POST: [(409, {"message": sentence}), (200, ROLLOUT)]}
    async with opened(page, tmp_path, answers):
        await view(page, "rollouts", "running")
        await press(page, "Promote…")
        await fill(page, "reason", "incident 7")
        await press(page, "Promote", "document.getElementById('act')")
        await asked(page, sentence)
        other = HALTED | {"application": "application", "target": "2" * 16}
        await now(page, other, HALTED | {"target": "1" * 16})
        await press(page, "Start again")
        text = await asked(page, "version 11111111 at once")
        await fill(page, "reason", "incident 8")
        await press(page, "Promote", "document.getElementById('act')")
        await page.wait(CLOSED)
        posted = await sent(page, POST)

    assert sentence not in text
    assert [SENT["target"], "1" * 16] == [body["target"] for _, body in posted]


@pytest.mark.parametrize("after", [rollouts(), rollouts(ABORTED), rollouts(WAITING, HALTED), [(503, {"message": "x"})]])
async def test_if_the_act_is_not_possible_any_more_the_dialog_closes(page: Page, tmp_path: Path, after: Any) -> None:
    answers: Answers = {GET: rollouts(HALTED), POST: [(409, {"message": "this roll-out was aborted"})]}
    async with opened(page, tmp_path, answers):
        await view(page, "rollouts", "halted")
        await press(page, "Resume…")
        await fill(page, "reason", "incident 7")
        await press(page, "Resume", "document.getElementById('act')")
        await asked(page, "this roll-out was aborted")
        await page.evaluate(f"window.answers['{GET}'] = {json.dumps(after)}")
        await press(page, "Start again")
        await page.wait(CLOSED)

        assert 1 == len(await sent(page, POST))


async def test_a_failed_act_is_shown_in_the_dialog_which_stays_open(page: Page, tmp_path: Path) -> None:
    sentence = "the roll-out can't be written: no space"
    answers: Answers = {GET: rollouts(ROLLOUT), POST: [(503, {"message": sentence}), (200, ROLLOUT)]}
    async with opened(page, tmp_path, answers):
        await view(page, "rollouts", "running")
        await press(page, "Abort…")
        await fill(page, "reason", "incident 7")
        await press(page, "Abort", "document.getElementById('act')")
        text = await asked(page, sentence)
        await press(page, "Abort", "document.getElementById('act')")
        await page.wait(CLOSED)

        assert 2 == len(await sent(page, POST))
    assert "Start again" not in text


async def test_the_view_follows_the_roll_out_while_it_is_open_and_keeps_the_focus(page: Page, tmp_path: Path) -> None:
    answers: Answers = {GET: rollouts(ROLLOUT), "GET /api/v1/gate": [(200, gate([]))]}
    async with opened(page, tmp_path, answers):
        unasked = await sent(page, GET)
        await view(page, "rollouts", "2 applied")
        await page.evaluate("document.querySelectorAll('#rollouts-body button')[1].focus()")
        await now(page, ROLLOUT | {"counts": ROLLOUT["counts"] | {"applied": 6, "silent": 0, "gone": 0}})
        # Nobody refreshes it: the view asks again by itself.
        await page.wait(f"{BODY}.includes('6 applied')")
        focused = await page.evaluate("document.activeElement.getAttribute('aria-label')")
        # The roll-out is done, so its buttons have gone.
        await now(page)
        await refreshed(page)
        text = await page.evaluate(BODY)
        await view(page, "gate", "The gate holds nothing back.")
        before = len(await sent(page, GET))
        await page.evaluate("dispatchEvent(new Event('refresh'))")
        await view(page, "gate", "The gate holds nothing back.")
        after = len(await sent(page, GET))

    assert [] == unasked
    assert f"Promote the roll-out of {KEY}" == focused
    assert text.startswith(NONE)
    assert before == after
    assert [] == page.complaints


async def test_an_unchanged_view_and_another_focus_stay(page: Page, tmp_path: Path) -> None:
    async with opened(page, tmp_path, {GET: rollouts(ROLLOUT)}):
        await view(page, "rollouts", "2 applied")
        await page.evaluate("window.kept = document.querySelector('#rollouts-body button')")
        await refreshed(page)
        is_same = await page.evaluate("window.kept === document.querySelector('#rollouts-body button')")
        await page.evaluate("document.querySelector('nav a').focus()")
        await now(page, HALTED)
        await refreshed(page)

        assert is_same
        assert await page.evaluate("document.activeElement === document.querySelector('nav a')")


@pytest.mark.parametrize(
    ("rights", "patterns", "missing"),
    [('["read", "subscribe"]', '["*"]', "admin"), ('["subscribe"]', '["*"]', "admin"), ('["admin"]', "[]", "read")],
)
async def test_without_the_rights_the_roll_outs_are_not_requested(
    page: Page, tmp_path: Path, rights: str, patterns: str, missing: str
) -> None:
    _, source = committed(tmp_path)
    token, settings = guarded(tmp_path / "x", rights, patterns)
    await stand_in(page, {GET: rollouts(ROLLOUT)})
    with Server(tmp_path / "x", settings=settings.partition("[[source]]")[0] + source) as server:
        await signed_in(page, server, token)
        text = await view(page, "rollouts", "requires the right")
        requests = await sent(page, GET)

    assert f"Your token doesn't allow this: the list of roll-outs requires the right {missing}." in text
    assert [] == requests
    assert [] == page.complaints


async def test_an_answer_for_another_user_is_not_shown(page: Page, tmp_path: Path) -> None:
    answers: Answers = {GET: rollouts(HALTED), POST: [(409, {"message": "it has changed"})]}
    async with opened(page, tmp_path, answers, '["read", "subscribe", "admin"]'):
        await view(page, "rollouts", "halted")
        await press(page, "Resume…")
        await fill(page, "reason", "incident 7")
        await press(page, "Resume", "document.getElementById('act')")
        await asked(page, "it has changed")
        # Both requests of the button wait: the view's and the dialog's.
        await page.evaluate(
            "{ const fetched = window.fetch; window.waiting = []; window.fetch = async (url, options) => {"
            " if (new URL(url).pathname === '/api/v1/rollouts') await new Promise(done => window.waiting.push(done));"
            " return fetched(url, options); }; }"
        )
        await press(page, "Start again")
        await page.wait("window.waiting.length === 2")
        await page.evaluate("document.getElementById('sign-out').click()")
        await page.wait("document.getElementById('sign-in').open")
        cleared = await page.evaluate(BODY)
        await page.evaluate("window.waiting.forEach(done => done())")
        await page.evaluate("new Promise(done => setTimeout(done, 100))")
        text = await page.evaluate("document.querySelector('main').textContent")
        is_closed = await page.evaluate(CLOSED)

    assert "" == cleared
    assert "incident" not in text
    assert "fedcba98" not in text
    assert is_closed


async def test_an_error_is_shown_in_the_view_until_the_server_answers(page: Page, tmp_path: Path) -> None:
    async with opened(page, tmp_path, {GET: [(503, {"message": "the roll-outs can't be read"})]}):
        await view(page, "rollouts", "the roll-outs can't be read")
        await now(page)
        await refreshed(page)
        text = await view(page, "rollouts", NONE)

    assert "can't be read" not in text


async def test_the_view_and_its_dialog_fit_a_phone(page: Page, tmp_path: Path) -> None:
    async with opened(page, tmp_path, {GET: rollouts(ROLLOUT, HALTED)}, is_phone=True):
        await view(page, "rollouts", "halted")
        assert await page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
        await picture(page, "phone-rollouts")
        await press(page, "Abort…")
        await asked(page, "Abort the roll-out")
        assert await page.evaluate("document.getElementById('act').getBoundingClientRect().right <= innerWidth")


async def test_a_roll_out_of_the_real_server_is_shown_and_promoted(page: Page, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "config.git")
    repository.commit({"billing.yml": "a: 1\n"})
    rule = '\n[[rollout]]\napplications = ["billing"]\nsteps = [50, 100]\nwithin = 60\n'
    with Server(tmp_path / "x", settings=git_settings(tmp_path / "state", repository) + rule) as server:
        await page.go(f"http://127.0.0.1:{server.port}/console/#rollouts")
        await page.wait(CONNECTED)
        empty = await view(page, "rollouts", NONE)
        # An instance that acknowledges nothing.
        await page.evaluate(
            "window.instance = new WebSocket(`ws://${location.host}/ws/billing/default?label=main&instance=web-1`);"
            " window.received = 0; window.instance.onmessage = ({ data }) => {"
            " if (JSON.parse(data).type.startsWith('config')) window.received += 1; }"
        )
        await page.wait("window.received === 1")
        commit = repository.commit({"billing.yml": "a: 2\n"}, author="Grace <g@example.org>")
        await page.wait("window.received === 2")
        running = await view(page, "rollouts", "1 reached: 0 applied, 0 rejected, 1 silent")
        await press(page, "Promote…")
        await fill(page, "reason", "incident 7")
        await press(page, "Promote", "document.getElementById('act')")
        await page.wait(CLOSED)
        after = await view(page, "rollouts", NONE)

    assert "Promote" not in empty + after
    assert "step 1 of 2: 50 % of the named instances" in running
    assert f"commit {commit[:8]} by Grace" in running
    assert [] == page.complaints

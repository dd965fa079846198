"""What an administrator changes from the console, with a real vortexd and a Git source; and what a token without `admin` sees of it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from vortexd.auth.tokens import digest_of, new_token

from ..repository import Repository
from .browser import CHROMIUM, Page
from .console import CLOSED, CONNECTED, asked, choose, fill, picture, press, sign_in, signed_in, view
from .process import Server

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")

KEY = "billing:default:main"
SCHEMA = '{"properties": {"port": {"type": "integer"}}, "required": ["port"]}'
RIGHTS = {"grace": '["admin", "read", "subscribe"]', "reader": '["read", "subscribe"]'}
DOCUMENT = "document.querySelector('#document').innerText"


@attrs.frozen
class Running:
    """A server, its repository, and its tokens by their names."""

    page: Page
    repository: Repository
    tokens: dict[str, str]

    async def commit(self, port: object) -> str:
        return await trio.to_thread.run_sync(self.repository.commit, {"billing.yml": f"port: {port}\n"})

    async def become(self, name: str) -> None:
        """Sign in with another token."""
        await self.page.evaluate("document.getElementById('sign-out').click()")
        await self.page.wait("document.getElementById('sign-in').open")
        # The browser's console lists the requests without a token.
        self.page.complaints.clear()
        await sign_in(self.page, self.tokens[name], "")
        await self.page.wait(CONNECTED)


@asynccontextmanager
async def running(page: Page, tmp_path: Path, more: str = "", gate: str = "") -> AsyncIterator[Running]:
    """Run a server, and sign in as grace, who has all rights.

    Args:
        more: Settings of the source.
        gate: Settings after those of the source.
    """
    repository = Repository(tmp_path / "config.git")
    repository.commit({"billing.yml": "port: 1\n", "billing.schema.json": SCHEMA})
    tokens = {name: new_token() for name in RIGHTS}
    (tmp_path / "tokens.toml").write_text(
        "".join(
            f'[[token]]\nname = "{name}"\nsha256 = "{digest_of(tokens[name])}"\nrights = {rights}\npatterns = ["*"]\n'
            for name, rights in RIGHTS.items()
        )
    )
    (tmp_path / "tokens.toml").chmod(0o600)
    settings = (
        f'[server]\nbind = ["127.0.0.1:0"]\nstate_directory = "{tmp_path / "kept"}"\n[auth]\ntokens = ["tokens.toml"]\n'
        f'[[source]]\nkind = "git"\nschemes = ["file"]\nuri = "{repository.uri}"\nrefresh_interval = 0.2\n{more}{gate}'
    )
    await page.appear()
    with Server(tmp_path / "x", settings=settings) as server:
        await signed_in(page, server, tokens["grace"])
        await page.wait(CONNECTED)
        yield Running(page, repository, tokens)


async def test_a_refused_state_is_let_through_and_a_token_without_admin_sees_it_at_its_key(
    page: Page, tmp_path: Path
) -> None:
    async with running(page, tmp_path, gate="[[gate]]\nsource_schemas = true\ntimeout = 30.0\n") as run:
        await run.commit("hunter2")
        held = await view(page, "gate", "held back")
        await run.become("reader")
        seen = await view(page, "gate", "requires the right admin")
        await choose(page, KEY)
        shown = await page.evaluate(DOCUMENT)
        assert [] == page.complaints

        await run.become("grace")
        await view(page, "gate", "held back")
        await press(page, "Let through…")
        await asked(page, "although one rule is broken")
        await fill(page, "reason", "incident 7")
        await press(page, "Let it through")
        await page.wait(CLOSED)
        await view(page, "gate", "The gate holds nothing back.")
        standing = await view(page, "gate", "Served although it breaks the rules")
        await view(page, "changes", "hunter2")
        audit = await view(page, "audit", "incident 7")
        assert [] == page.complaints

    assert re.search("grace\t127.0.0.1\t.*\tmain\tdone\tincident 7", audit)
    finding = "type of billing.schema.json\t/port\tbilling.yml:1"
    assert "Let through" not in seen
    assert "The server keeps serving the former one." in shown
    for text in (held, shown, standing):
        assert finding in text
        assert "hunter2" not in text


async def test_a_key_is_pinned_and_its_pin_lifted_and_the_audit_log_names_who_did_it(
    page: Page, tmp_path: Path
) -> None:
    async with running(page, tmp_path) as run:
        await choose(page, KEY)
        await press(page, "Pin…")
        await fill(page, "reason", "incident 7")
        await press(page, "Pin", "document.getElementById('act')")
        await page.wait(CLOSED)
        await page.wait(f"{DOCUMENT}.includes('grace has pinned this key')")
        # A commit changes other keys only.
        await trio.to_thread.run_sync(
            run.repository.commit, {"billing.yml": "port: 2\n", "application.yml": "name: all\n"}
        )
        await view(page, "changes", "name")
        changes = await page.evaluate("document.querySelector('#change-list').innerText")
        await page.evaluate("dispatchEvent(new Event('refresh'))")
        await choose(page, f"{KEY} pinned")
        shown = await page.evaluate(DOCUMENT)
        await picture(page, "real-pin")

        await run.become("reader")
        pins = await view(page, "pins", "incident 7")
        await choose(page, f"{KEY} pinned")
        for_reader = await page.evaluate(DOCUMENT)
        assert [] == page.complaints

        await run.become("grace")
        await view(page, "pins", "incident 7")
        await press(page, "Lift…")
        await fill(page, "reason", "it is over")
        await press(page, "Lift the pin")
        await page.wait(CLOSED)
        await view(page, "pins", "No key is pinned.")
        await view(page, "changes", "+ port: 2")
        audit = await view(page, "audit", "it is over")
        await picture(page, "real-audit")
        assert [] == page.complaints

    assert "port: 2" not in changes
    assert "port\t1" in shown
    assert "by grace since" in pins
    assert "Lift" not in pins
    assert "grace has pinned this key" in for_reader
    assert "Lift" not in for_reader
    lines = [line.split("\t") for line in audit.splitlines()]
    acts = [(line[1], line[3], line[5], line[6]) for line in lines if len(line) > 6 and line[1] == "grace"]
    assert [("grace", "lift pin", "done", "it is over"), ("grace", "pin", "done", "incident 7")] == acts


async def test_a_key_is_pinned_at_a_commit_of_its_history(page: Page, tmp_path: Path) -> None:
    async with running(page, tmp_path) as run:
        await run.commit(2)
        await view(page, "changes", "+ port: 2")
        await choose(page, KEY)
        await press(page, "Show its history")
        await page.wait("document.querySelectorAll('#key-history li').length === 2")
        await press(page, "Pin to this…", "document.querySelectorAll('#key-history li')[1]")
        await fill(page, "reason", "incident 7")
        await fill(page, "unit", "until somebody lifts it")
        await press(page, "Pin", "document.getElementById('act')")
        await page.wait(CLOSED)
        await view(page, "changes", "− port: 2\n+ port: 1")
        pins = await view(page, "pins", "incident 7")
        assert [] == page.complaints

    assert "until somebody lifts it" in pins


async def test_somebody_else_is_faster_and_the_page_shows_that_pin(page: Page, tmp_path: Path) -> None:
    async with running(page, tmp_path) as run:
        await choose(page, KEY)
        await press(page, "Pin…")
        await fill(page, "reason", "incident 7")
        body = '{application: "billing", profile: "default", label: "main", to: "", reason: "mine", seconds: null}'
        status = await page.evaluate(
            f"fetch('/api/v1/pins', {{ method: 'POST', body: JSON.stringify({body}),"
            f" headers: {{ Authorization: 'Bearer {run.tokens['grace']}' }} }}).then(answer => answer.status)"
        )
        await press(page, "Pin", "document.getElementById('act')")
        said = await asked(page, "grace")
        await press(page, "Start again")
        await asked(page, "Lift the pin of")
        reason = await asked(page, "mine")

    assert 201 == status
    assert "Start again" in said
    assert "incident 7" not in reason


async def test_a_key_is_rolled_back_to_a_commit_of_its_history(page: Page, tmp_path: Path) -> None:
    async with running(page, tmp_path, more="push = true\n") as run:
        await run.commit(2)
        await view(page, "changes", "+ port: 2")
        before = run.repository.git("rev-parse", "main").strip()
        await choose(page, KEY)
        await press(page, "Show its history")
        await page.wait("document.querySelectorAll('#key-history li').length === 2")
        await press(page, "Roll back to this…", "document.querySelectorAll('#key-history li')[1]")
        plan = await asked(page, "The commit follows")
        await picture(page, "real-plan")
        # Nothing is pushed before the person confirms.
        assert before == run.repository.git("rev-parse", "main").strip()
        await fill(page, "reason", "incident 7")
        await press(page, "Push this commit")
        await asked(page, "is pushed")
        await asked(page, "The server serves version")
        await press(page, "Close")
        await page.wait(CLOSED)
        await view(page, "changes", "− port: 2\n+ port: 1")
        audit = await view(page, "audit", "incident 7")
        assert [] == page.complaints

    assert f"The commit follows {before[:8]}." in plan
    assert "billing.yml\tchanges" in plan
    assert "− port: 2\n+ port: 1" in plan
    assert "port: 1\n" == run.repository.git("show", "main:billing.yml").rstrip("\n") + "\n"
    assert before == run.repository.git("rev-parse", "main^").strip()
    assert "grace" == run.repository.git("log", "-1", "--format=%an", "main").strip()
    assert "incident 7" in run.repository.git("log", "-1", "--format=%B", "main")
    assert "rollback" in audit


async def test_if_somebody_pushes_meanwhile_the_roll_back_starts_again_from_that_commit(
    page: Page, tmp_path: Path
) -> None:
    async with running(page, tmp_path, more="push = true\n") as run:
        await run.commit(2)
        await view(page, "changes", "+ port: 2")
        await choose(page, KEY)
        await press(page, "Show its history")
        await page.wait("document.querySelectorAll('#key-history li').length === 2")
        await press(page, "Roll back to this…", "document.querySelectorAll('#key-history li')[1]")
        await asked(page, "The commit follows")
        newer = await run.commit(3)
        await page.wait("document.querySelector('#change-list').textContent.includes('port: 3')")
        await fill(page, "reason", "incident 7")
        await press(page, "Push this commit")
        await press(page, "Start again")
        await asked(page, f"The commit follows {newer[:8]}.")
        pushed = run.repository.git("rev-parse", "main").strip()
        await fill(page, "reason", "incident 7")
        await press(page, "Push this commit")
        await asked(page, "The server serves version")

    assert newer == pushed == run.repository.git("rev-parse", "main^").strip()


async def test_where_the_source_may_not_be_pushed_to_the_page_offers_a_pin(page: Page, tmp_path: Path) -> None:
    async with running(page, tmp_path) as run:
        await run.commit(2)
        await view(page, "changes", "+ port: 2")
        await choose(page, KEY)
        await press(page, "Show its history")
        await page.wait("document.querySelectorAll('#key-history li').length === 2")
        await press(page, "Roll back to this…", "document.querySelectorAll('#key-history li')[1]")
        await asked(page, "may not push")
        await press(page, "Pin this state…")
        await fill(page, "reason", "incident 7")
        await press(page, "Pin", "document.getElementById('act')")
        await page.wait(CLOSED)
        await view(page, "changes", "− port: 2\n+ port: 1")


async def test_a_token_without_admin_has_no_button_at_the_history(page: Page, tmp_path: Path) -> None:
    async with running(page, tmp_path) as run:
        await run.become("reader")
        await choose(page, KEY)
        await press(page, "Show its history")
        await page.wait("document.querySelectorAll('#key-history li').length === 1")
        buttons = await page.evaluate("[...document.querySelectorAll('main button')].map(each => each.textContent)")
        assert [] == page.complaints

    assert not [each for each in buttons if each.startswith(("Lift", "Pin", "Roll", "Let"))]

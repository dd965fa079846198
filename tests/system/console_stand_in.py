"""A stand-in, in the page, for the endpoints that change something, so that each answer of theirs can be tested."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from .browser import Page
from .console import CONNECTED, MARKUP, asked, choose, committed, guarded, press, signed_in
from .process import Server

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
ROLLOUT: dict[str, Any] = {
    "application": "billing",
    "profile": "default",
    "label": "main",
    "id": "r1",
    "status": "running",
    "stable": "0123456789abcdef",
    "target": "fedcba9876543210",
    "commit": "c" * 40,
    "author": f"Grace {MARKUP}",
    "steps": [5, 25, 100],
    "step": 2,
    "share": 25,
    "applied": 90,
    "within": 60.0,
    "counts": {"named": 8, "reached": 7, "applied": 2, "rejected": 1, "silent": 4, "gone": 3, "unanswered": 0},
    "reason": "",
    "by": "",
    "began": SINCE,
    "stepped": SINCE,
    "deadline": "2026-11-30T01:01:00Z",
    "problem": None,
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
# The answers of a test that gives no others.
DEFAULTS: Answers = {
    "GET /api/v1/pins": [(200, {"pins": []})],
    "GET /api/v1/rollouts": [(200, {"rollouts": []})],
}


STAND_IN = """
window.sent = [];
window.answers = %s;
const real = window.fetch;
window.fetch = async (url, options = {}) => {
  const { pathname, search } = new URL(url);
  const name = `${options.method ?? "GET"} ${pathname}`;
  const answers = window.answers[name];
  if (answers === undefined) return real(url, options);
  window.sent.push([name, search, options.body ? JSON.parse(options.body) : null]);
  const [status, body] = answers.length > 1 ? answers.shift() : answers[0];
  if (status === 0) throw new TypeError("Failed to fetch");
  return new Response(status === 204 ? null : JSON.stringify(body), { status });
};
"""


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


async def stand_in(page: Page, answers: Mapping[str, Sequence[tuple[int, Any]]]) -> None:
    """Answer some requests of the page in place of the server, and record them.

    Args:
        answers: By `METHOD path`, the status and the body of each answer. The last answer is given again and again.
            The status 0 is a connection that breaks.
    """
    source = STAND_IN % json.dumps({**DEFAULTS, **answers})
    await page.call("Page.addScriptToEvaluateOnNewDocument", source=source)


async def sent(page: Page, name: str) -> list[tuple[str, Any]]:
    """The query and the body of each request that the stand-in has answered."""
    found = json.loads(await page.evaluate("JSON.stringify(window.sent)"))
    return [(query, body) for each, query, body in found if each == name]


async def hold(page: Page, path: str) -> None:
    """Keep the next request for a path waiting until `window.go()` is called. Requests after it aren't kept."""
    await page.evaluate(
        "{ const fetched = window.fetch; let isHeld = false; window.fetch = async (url, options) => {"
        f" if (!isHeld && new URL(url).pathname === {json.dumps(path)}) {{"
        " isHeld = true; await new Promise(done => (window.go = done)); }"
        " return fetched(url, options); }; window.go = null; }"
    )


async def release(page: Page) -> None:
    """Let the request go on that `hold` keeps, and give the page time to show its answer."""
    await page.wait("window.go !== null")
    await page.evaluate("window.go()")
    await page.evaluate("new Promise(done => setTimeout(done, 100))")


def gate(held: Sequence[Any], standing: Sequence[Any] = ()) -> dict[str, Any]:
    return {"held_back": held, "standing": standing}


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


def history_of(commits: Sequence[Any], after: str | None = None, layers: int = 1) -> dict[str, Any]:
    """An answer of /api/v1/history, for a key with some layers that have a history, and one that has none."""
    kinds = [*["commits"] * layers, "none"]
    return {
        "commits": commits,
        "next": after,
        "layers": [{"source": "git", "label": "main", "kind": kind, "count": 1} for kind in kinds],
    }


def commit_of(number: int) -> dict[str, Any]:
    steps = [{"op": "add", "path": f"/a{step}", "new": step} for step in range(70)]
    return {
        "commit": f"{number:040x}",
        "author": "Ada",
        "time": SINCE,
        "message": f"message {number}",
        "old_version": "0" * 16,
        "version": f"{number:016x}",
        "source": "git",
        "label": "main",
        "changes": steps,
        "left_out": 5,
    }


async def roll_back(page: Page, plan_has: str) -> str:
    """Open the dialog at the older of two commits, and return its text once it has the plan."""
    await choose(page, KEY)
    await press(page, "Show its history")
    await page.wait("document.querySelectorAll('#key-history li').length === 2")
    await press(page, "Roll back to this…", "document.querySelectorAll('#key-history li')[1]")
    return await asked(page, plan_has)


ROLL = "POST /api/v1/rollback"

"""What the tests of the console do in a browser: they sign in, choose a key and read a view."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vortexd.auth.tokens import digest_of, new_token

from ..repository import Repository
from .browser import Page
from .process import Server

# The directory in which to keep screenshots, if one is set.
PICTURES = os.environ.get("VORTEXD_PICTURES")
MARKUP = "<img src=x onerror=document.title='run'>"
ACT = "document.getElementById('act').innerText"
CLOSED = "!document.getElementById('act').open"
CONNECTED = "document.getElementById('state').textContent === 'connected'"
BILLING = f"""
database:
  pool:
    size: {{size}}
  password: hunter2
greeting: "{MARKUP}"
"""


async def picture(page: Page, name: str) -> None:
    if PICTURES:
        await page.screenshot(Path(PICTURES) / f"{name}.png")


async def choose(page: Page, key: str) -> None:
    await page.evaluate("location.hash = '#configuration'")
    button = f"[...document.querySelectorAll('#key-list button')].find(each => each.textContent === '{key}')"
    await page.wait(button + " !== undefined")
    await page.evaluate(button + ".click()")
    await page.wait("document.querySelectorAll('#document tr').length > 0")


def guarded(source: Path, rights: str, patterns: str, more: str = "") -> tuple[str, str]:
    """Return a token with rights to patterns, both as TOML, and the settings of a server that requires it."""
    token = new_token()
    entry = f'[[token]]\nname = "people"\nsha256 = "{digest_of(token)}"\nrights = {rights}\npatterns = {patterns}\n'
    (source.parent / "tokens.toml").write_text(entry)
    (source.parent / "tokens.toml").chmod(0o600)
    settings = f'[server]\nbind = ["127.0.0.1:0"]\n[auth]\ntokens = ["tokens.toml"]\n[[source]]\nkind = "files"\npath = "{source}"\n'
    return token, settings + more


async def signed_in(page: Page, server: Server, token: str, pattern: str = "") -> None:
    await page.go(f"http://127.0.0.1:{server.port}/console/")
    await page.wait("document.getElementById('sign-in').open")
    # The browser's console lists the requests that were refused before.
    page.complaints.clear()
    await sign_in(page, token, pattern)


async def view(page: Page, name: str, has: str) -> str:
    """Return the text of a view, after something is in it."""
    await page.evaluate(f"location.hash = '#{name}'")
    await page.wait(f"document.querySelector('#{name}').innerText.includes({json.dumps(has)})")
    text: str = await page.evaluate(f"document.querySelector('#{name}').innerText")
    return text


async def sign_in(page: Page, token: str, pattern: str) -> None:
    await page.evaluate(
        f"document.getElementById('token').value = '{token}';"
        f"document.getElementById('pattern').value = '{pattern}';"
        "document.querySelector('#sign-in button').click()"
    )


def committed(tmp_path: Path) -> tuple[Repository, str]:
    """Return a repository with three commits that change billing, and the settings of a server for it."""
    repository = Repository(tmp_path / "repository.git")
    repository.commit({"application.yml": "database: {name: shared}\n", "billing.yml": BILLING.format(size=10)})
    repository.commit({"other.txt": "x\n"})
    repository.commit({"billing.yml": BILLING.format(size=11)}, author="Grace <g@example.org>")
    source = f'[[source]]\nkind = "git"\nschemes = ["file"]\nuri = "{repository.uri}"\n'
    return repository, source


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


async def stand_in(page: Page, answers: Mapping[str, Sequence[tuple[int, Any]]]) -> None:
    """Answer some requests of the page in place of the server, and record them.

    Args:
        answers: By `METHOD path`, the status and the body of each answer. The last answer is given again and again.
            The status 0 is a connection that breaks.
    """
    source = STAND_IN % json.dumps({"GET /api/v1/pins": [(200, {"pins": []})], **answers})
    await page.call("Page.addScriptToEvaluateOnNewDocument", source=source)


async def sent(page: Page, name: str) -> list[tuple[str, Any]]:
    """The query and the body of each request that the stand-in has answered."""
    found = json.loads(await page.evaluate("JSON.stringify(window.sent)"))
    return [(query, body) for each, query, body in found if each == name]


async def press(page: Page, text: str, within: str = "document") -> None:
    """Press the first visible button with a text, once it is enabled."""
    button = (
        f"[...{within}.querySelectorAll('button')].find(each => "
        f"each.textContent.trim() === {json.dumps(text)} && !each.disabled && each.checkVisibility())"
    )
    await page.wait(f"{button} !== undefined")
    await page.evaluate(f"{button}.click()")


async def fill(page: Page, name: str, value: str) -> None:
    """Enter a value in the dialog."""
    await page.evaluate(
        f"{{ const field = document.querySelector('#act [name={name}]'); field.value = {json.dumps(value)};"
        " field.dispatchEvent(new Event('change')); }"
    )


async def asked(page: Page, has: str) -> str:
    """Return the text of the dialog, after something is in it."""
    await page.wait(f"document.getElementById('act').open && {ACT}.includes({json.dumps(has)})")
    text: str = await page.evaluate(ACT)
    return text


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

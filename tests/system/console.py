"""What the tests of the console do in a browser: they sign in, choose a key and read a view."""

import json
import os
from pathlib import Path

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

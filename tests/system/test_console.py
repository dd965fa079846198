"""The console in a real browser: it shows what changes, why a value is what it is, who is connected, and nothing that only looks like markup."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from vortexd.auth.tokens import digest_of, new_token

from .browser import CHROMIUM, Page, open_page
from .fleet import save
from .process import Server

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")

# Where screenshots are left, for who wants to look at them.
PICTURES = os.environ.get("VORTEXD_PICTURES")
MARKUP = "<img src=x onerror=document.title='run'>"
CONNECTED = "document.getElementById('state').textContent === 'connected'"
BILLING = f"""
database:
  pool:
    size: {{size}}
  password: hunter2
greeting: "{MARKUP}"
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    (directory / "application.yml").write_text("database: {pool: {size: 5}, name: shared}\n")
    (directory / "billing.yml").write_text(BILLING.format(size=10))
    return directory


@pytest.fixture
def server(source: Path) -> Iterator[Server]:
    with Server(source) as server:
        yield server


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with open_page() as page:
        yield page


async def picture(page: Page, name: str) -> None:
    if PICTURES:
        await page.screenshot(Path(PICTURES) / f"{name}.png")


async def choose(page: Page, key: str) -> None:
    await page.evaluate("location.hash = '#configuration'")
    button = f"[...document.querySelectorAll('#key-list button')].find(each => each.textContent === '{key}')"
    await page.wait(button + " !== undefined")
    await page.evaluate(button + ".click()")
    await page.wait("document.querySelectorAll('#document tr').length > 0")


async def test_a_change_appears_and_each_value_says_where_it_is_from(page: Page, server: Server, source: Path) -> None:
    await page.go(f"http://127.0.0.1:{server.port}/console/")
    await page.wait(CONNECTED)
    await trio.to_thread.run_sync(save, source / "billing.yml", BILLING.format(size=11))
    await page.wait("document.querySelectorAll('#change-list > li').length === 1")
    change = await page.evaluate("document.querySelector('#change-list').innerText")
    await picture(page, "changes")

    await choose(page, "billing:default:main")
    await page.evaluate("document.querySelectorAll('#document details').forEach(each => each.open = true)")
    shown = await page.evaluate("document.querySelector('#document').innerText")
    await picture(page, "configuration")

    assert "billing:default:main" in change
    assert "− database.pool.size: 10" in change
    assert "+ database.pool.size: 11" in change
    assert "billing.yml:4 11 wins" in shown
    assert "application.yml:1 5 overridden by billing.yml" in shown
    # It is text, and nothing of it was carried out.
    assert MARKUP in shown
    assert 0 == await page.evaluate("document.querySelectorAll('main img').length")
    assert "vortexd" == await page.evaluate("document.title")
    # A secret by its name is seen when it is asked for.
    assert "hunter2" not in await page.evaluate("document.body.innerText")
    await page.evaluate("document.querySelector('[aria-label=\"Show database.password\"]').click()")
    assert "hunter2" in await page.evaluate("document.body.innerText")
    assert [] == page.complaints


async def test_broken_files_are_shown_with_their_place_and_with_the_keys_that_read_them(
    page: Page, server: Server, source: Path
) -> None:
    await page.go(f"http://127.0.0.1:{server.port}/console/#sources")
    await page.wait(CONNECTED)
    await trio.to_thread.run_sync(save, source / "billing.yml", f"a: 1\nb: [{MARKUP}\n")
    await trio.to_thread.run_sync(save, source / "new.yml", "a: [")
    body = "document.querySelector('#sources-body')"
    await page.wait(f"{body}?.innerText.includes('2 broken files')")
    sources = await page.evaluate(f"{body}.innerText")
    await picture(page, "broken")
    await choose(page, "billing:default:main")
    await page.wait("document.querySelector('#document').innerText.includes('is broken')")
    shown = await page.evaluate("document.querySelector('#document').innerText")

    assert "billing.yml:3" in sources
    assert "its last good content" in sources
    assert "billing:default:main" in sources
    assert "everything but this file" in sources
    assert "billing.yml:3 is broken" in shown
    assert "Served in its place: its last good content." in shown
    assert 0 == await page.evaluate("document.querySelectorAll('main img').length")
    assert [] == page.complaints


async def test_it_says_who_is_connected_and_how_the_sources_are_on_a_phone_in_the_dark(
    page: Page, server: Server, source: Path
) -> None:
    await page.appear(width=390, height=800, dark=True)
    await page.go(f"http://127.0.0.1:{server.port}/console/#clients")
    await page.wait(CONNECTED)
    # The page may have asked before its own connection was counted; it asks again.
    await page.wait("document.querySelector('#clients-body')?.innerText.includes('1 connection,')")
    clients = await page.evaluate("document.querySelector('#clients-body').innerText")
    await picture(page, "clients")
    await page.evaluate("location.hash = '#sources'")
    await page.wait("document.querySelector('#sources-body table') !== null")
    sources = await page.evaluate("document.querySelector('#sources-body').innerText")
    await choose(page, "billing:default:main")
    await picture(page, "phone")

    assert "1 connection," in clients
    assert "newest" in clients
    assert str(source) in sources
    assert "up to date" in sources
    for view in ("changes", "configuration", "clients", "sources"):
        await page.evaluate(f"location.hash = '#{view}'")
        # No view is wider than the phone.
        assert await page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), view
    ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert "rgb(17, 21, 27)" == ground
    assert [] == page.complaints


async def test_it_is_signed_in_with_a_token_and_shows_what_that_may_see(page: Page, source: Path) -> None:
    token = new_token()
    (source.parent / "tokens.toml").write_text(
        f'[[token]]\nname = "people"\nsha256 = "{digest_of(token)}"\nrights = ["read", "subscribe"]\npatterns = ["billing:*"]\n'
    )
    (source.parent / "tokens.toml").chmod(0o600)
    settings = (
        '[server]\nbind = ["127.0.0.1:0"]\n[auth]\ntokens = ["tokens.toml"]\n'
        f'[[source]]\nkind = "files"\npath = "{source}"\n'
    )
    with Server(source, settings=settings) as server:
        await page.go(f"http://127.0.0.1:{server.port}/console/")
        await page.wait("document.getElementById('sign-in').open")
        # What was refused until now is in the browser's console.
        page.complaints.clear()
        await sign_in(page, token, "billing:*")
        await page.wait(CONNECTED)
        await choose(page, "billing:default:main")
        keys = await page.evaluate("document.querySelector('#key-list').innerText")
        await page.evaluate("location.hash = '#sources'")
        await page.wait("document.querySelector('#sources-body .bad') !== null")
        sources = await page.evaluate("document.querySelector('#sources-body').innerText")
        stored = await page.evaluate(
            "JSON.stringify([localStorage.length, document.cookie, location.href.includes('vt_')])"
        )
        await page.evaluate("document.getElementById('sign-out').click()")
        await page.wait("document.getElementById('sign-in').open")
        output = server.output()

    assert "billing:default:main" == keys.strip()
    assert "doesn't allow this" in sources
    assert '[0,"",false]' == stored
    assert token not in output


async def sign_in(page: Page, token: str, pattern: str) -> None:
    await page.evaluate(
        f"document.getElementById('token').value = '{token}';"
        f"document.getElementById('pattern').value = '{pattern}';"
        "document.querySelector('#sign-in button').click()"
    )


async def test_W01_a_page_of_another_origin_gets_nothing(page: Page, server: Server, source: Path) -> None:
    with Server(source) as other:
        await page.go(f"http://127.0.0.1:{other.port}/console/")
        await page.wait(CONNECTED)
        # The page's own policy would refuse before we are asked: a blank one has none.
        await page.go("data:text/html,<title>elsewhere</title>")
        code = await page.evaluate(
            "new Promise(done => { const s = new WebSocket('ws://127.0.0.1:%d/ws/billing/default');"
            " s.onopen = () => done('open'); s.onclose = event => done(event.code); })" % server.port
        )

    assert 1006 == code


async def test_it_comes_back_by_itself_when_the_server_does(page: Page, source: Path) -> None:
    with Server(source) as first:
        address = f"127.0.0.1:{first.port}"
        await page.go(f"http://{address}/console/")
        await page.wait(CONNECTED)
        assert 0 == await trio.to_thread.run_sync(first.stop)
        await page.wait("document.getElementById('state').textContent === 'stale'")
        told = await page.evaluate("document.getElementById('notice').innerText")
    save(source / "billing.yml", BILLING.format(size=12))
    settings = f'[server]\nbind = ["{address}"]\n[[source]]\nkind = "files"\npath = "{source}"\n'
    with Server(source, settings=settings):
        await page.wait(CONNECTED)
        await page.wait("document.querySelector('#change-list').innerText.includes('database.pool.size: 12')")

    assert "comes back by itself" in told

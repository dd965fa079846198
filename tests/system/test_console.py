"""The console in a real browser: it shows changes, the origin of values and the connected clients, and never turns values into markup."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from .browser import CHROMIUM, Page
from .console import BILLING, CONNECTED, MARKUP, choose, committed, guarded, picture, sign_in, signed_in, view
from .fleet import save
from .process import Server
from .test_history import has_history, shown, until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")]


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
    # The value is text, and the browser executed none of it.
    assert MARKUP in shown
    assert 0 == await page.evaluate("document.querySelectorAll('main img').length")
    assert "vortexd" == await page.evaluate("document.title")
    # A value whose name suggests a secret is shown only on request.
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

    assert "billing.yml:2" in sources
    assert "its last good content" in sources
    assert "billing:default:main" in sources
    assert "everything but this file" in sources
    assert "billing.yml:2 is broken" in shown
    assert "The server uses instead: its last good content." in shown
    assert 0 == await page.evaluate("document.querySelectorAll('main img').length")
    assert [] == page.complaints


async def test_a_file_that_was_published_before_it_was_complete_is_listed(
    page: Page, server: Server, source: Path
) -> None:
    await page.go(f"http://127.0.0.1:{server.port}/console/#sources")
    await page.wait(CONNECTED)
    with (source / "billing.yml").open("a") as file:
        file.write("more: 1\n")
        file.flush()
        body = "document.querySelector('#sources-body')"
        await page.wait(f"{body}?.innerText.includes('Unfinished files')")
        sources = await page.evaluate(f"{body}.innerText")

    assert "billing.yml\ta program has modified it and not closed it, for 2 s" in sources
    assert [] == page.complaints


async def test_it_says_who_is_connected_and_how_the_sources_are_on_a_phone_in_the_dark(
    page: Page, server: Server, source: Path
) -> None:
    await page.appear(width=390, height=800, dark=True)
    await page.go(f"http://127.0.0.1:{server.port}/console/#clients")
    await page.wait(CONNECTED)
    # The page may have sent its request before the server counted its own connection; it repeats the request.
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
    for name in ("changes", "configuration", "gate", "pins", "rollouts", "clients", "sources", "audit"):
        await page.evaluate(f"location.hash = '#{name}'")
        # No view is wider than the phone.
        assert await page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), name
    ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert "rgb(17, 21, 27)" == ground
    assert [] == page.complaints


async def keys_of(page: Page) -> list[str]:
    await page.evaluate("location.hash = '#configuration'")
    text: str = await page.evaluate("document.querySelector('#key-list').innerText")
    return text.split()


async def test_it_is_signed_in_with_a_token_and_shows_what_that_may_see(page: Page, source: Path) -> None:
    token, settings = guarded(source, '["read", "subscribe"]', '["billing:*"]')
    with Server(source, settings=settings) as server:
        await signed_in(page, server, token, "billing:*")
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


@pytest.mark.parametrize(
    ("patterns", "pattern", "keys"),
    [
        ('["billing:*"]', "", ["billing:default:main", "billing:prod:main"]),
        ('["bill*"]', "*", ["billing:default:main", "billing:prod:main"]),
        ('["*:prod"]', "", ["application:prod:main", "billing:prod:main", "shop:prod:main"]),
        ('["billing:pro*:main", "shop"]', "", ["billing:prod:main", "shop:default:main", "shop:prod:main"]),
    ],
)
async def test_a_token_without_the_right_admin_shows_its_keys_and_reduced_pages_that_say_so(
    page: Page, source: Path, patterns: str, pattern: str, keys: list[str]
) -> None:
    save(source / "shop.yml", "open: true\n")
    save(source / "billing-prod.yml", "database: {pool: {size: 20}}\n")
    save(source / "shop-prod.yml", "open: false\n")
    token, settings = guarded(source, '["read", "subscribe"]', patterns)
    with Server(source, settings=settings) as server:
        await signed_in(page, server, token, pattern)
        await page.wait(CONNECTED)
        await page.wait(f"document.querySelectorAll('#key-list button').length === {len(keys)}")
        shown = await keys_of(page)
        await choose(page, keys[-1])
        clients = await view(page, "clients", "No instance has acknowledged")
        sources = await view(page, "sources", "The server is ready.")
        notice = await page.evaluate("document.getElementById('notice').hidden")

    assert keys == shown
    assert "Your token doesn't allow this: the list of connections requires the right admin." in clients
    assert "Your token doesn't allow this: the state of each source requires the right admin." in sources
    assert notice
    # The page sent no request that its token doesn't allow.
    assert [] == page.complaints


async def test_a_change_of_its_keys_appears_and_no_other(page: Page, source: Path) -> None:
    save(source / "shop.yml", "open: true\n")
    token, settings = guarded(source, '["read", "subscribe"]', '["bill*"]')
    with Server(source, settings=settings) as server:
        await signed_in(page, server, token)
        await page.wait(CONNECTED)
        await page.wait("document.querySelectorAll('#key-list button').length === 1")
        await trio.to_thread.run_sync(save, source / "shop.yml", "open: false\n")
        await trio.to_thread.run_sync(save, source / "billing.yml", BILLING.format(size=11))
        await page.wait("document.querySelectorAll('#change-list > li').length === 1")
        change = await page.evaluate("document.querySelector('#change-list').innerText")

    assert "billing:default:main" in change


async def test_without_the_right_read_values_are_shown_without_their_places(page: Page, source: Path) -> None:
    token, settings = guarded(source, '["subscribe"]', '["billing:*"]')
    with Server(source, settings=settings) as server:
        await signed_in(page, server, token)
        await page.wait(CONNECTED)
        await choose(page, "billing:default:main")
        document = await page.evaluate("document.querySelector('#document').innerText")
        clients = await view(page, "clients", "the list of acknowledgements")

    assert "Your token doesn't allow this: the origin of values requires the right read." in document
    assert "database.pool.size\t10" in document
    assert "hunter2" not in document
    assert "the list of acknowledgements requires the right read" in clients


async def test_without_the_right_subscribe_a_configuration_is_opened_by_its_name(page: Page, source: Path) -> None:
    token, settings = guarded(source, '["read"]', '["billing:*"]')
    with Server(source, settings=settings) as server:
        await signed_in(page, server, token)
        await page.wait("document.getElementById('state').textContent === 'signed in'")
        notice = await page.evaluate("document.getElementById('notice').innerText")
        await page.evaluate(
            "location.hash = '#configuration'; document.getElementById('other-key').value = 'billing';"
            "document.querySelector('#open-key button').click()"
        )
        await page.wait("document.querySelectorAll('#document tr').length > 0")
        document = await page.evaluate("document.querySelector('#document').innerText")

    assert "Your token lacks the right subscribe, so no changes appear here." in notice
    assert "billing.yml:4" in document
    assert [] == page.complaints


async def test_the_right_admin_alone_shows_connections_and_sources(page: Page, source: Path) -> None:
    token, settings = guarded(source, '["admin"]', "[]")
    with Server(source, settings=settings) as server:
        await signed_in(page, server, token)
        await page.wait("document.getElementById('state').textContent === 'signed in'")
        clients = await view(page, "clients", "0 connections, 0 parked.")
        sources = await view(page, "sources", "up to date")

    assert "doesn't allow" not in clients + sources
    assert [] == page.complaints


@pytest.mark.parametrize(
    ("token", "pattern", "said"),
    [
        ("", "shop:*", "refused with 403 the token doesn't allow this"),
        ("", "billing:*:nowhere", "refused with 404 no such label"),
        ("vt_" + "x" * 43, "", "a valid token is required"),
    ],
)
async def test_who_can_not_be_let_in_is_told_why_and_asked_again(
    page: Page, source: Path, token: str, pattern: str, said: str
) -> None:
    own, settings = guarded(source, '["read", "subscribe"]', '["billing:*"]')
    with Server(source, settings=settings) as server:
        await signed_in(page, server, token or own, pattern)
        await page.wait(f"document.getElementById('notice').innerText.includes({json.dumps(said)})")
        await page.wait("document.getElementById('sign-in').open")
        await sign_in(page, own, "")
        await page.wait(CONNECTED)
        notice = await page.evaluate("document.getElementById('notice').hidden")

    assert notice


async def test_labels_that_only_the_server_knows_have_to_be_named(page: Page, source: Path) -> None:
    token, settings = guarded(source, '["read", "subscribe"]', '["billing:*:mai*"]')
    with Server(source, settings=settings) as server:
        await signed_in(page, server, token)
        await page.wait("document.getElementById('notice').innerText.includes('Name one under Show')")
        await sign_in(page, token, "billing:*:main")
        await page.wait(CONNECTED)
        await page.wait("document.querySelectorAll('#key-list button').length === 1")

        assert ["billing:default:main"] == await keys_of(page)


async def test_many_names_are_listed_without_their_documents_and_a_change_of_one_in_use_appears(
    page: Page, source: Path
) -> None:
    for number in range(600):
        (source / f"app{number:03}.yml").write_text(f"size: {number}\nlist: [{{a: 1}}]\n")
    with Server(source) as server:
        address = f"127.0.0.1:{server.port}"
        await page.go(f"http://{address}/console/")
        await page.wait(CONNECTED)
        await page.evaluate(f"window.used = new WebSocket('ws://{address}/ws/app007/default')")
        keys = await keys_of(page)
        notice = await page.evaluate("document.getElementById('notice').innerText")
        # The page shows a change only if it has seen the version before it.
        known = "import('/console/session.js').then(({ session }) => session.names.get('app007:default:main') !== null)"
        await page.wait(known)
        await trio.to_thread.run_sync(save, source / "app007.yml", "size: 70\nlist: [{a: 2}]\n")
        await page.wait("document.querySelectorAll('#change-list > li').length === 1")
        await page.evaluate("location.hash = '#changes'")
        change = await page.evaluate("document.querySelector('#change-list').innerText")
        await choose(page, "app123:default:main")
        metrics = await page.evaluate("fetch('/metrics').then(answer => answer.text())")

    assert ["app000:default:main", "app001:default:main"] == keys[:2]
    # With the key of the page's own connection.
    assert ["and", "102", "more"] == keys[-3:]
    assert "There are 601 configurations." in notice
    assert "app007:default:main" in change
    for line in ("− size: 7", "+ size: 70", "− list[0].a: 1", "+ list[0].a: 2"):
        assert line in change.splitlines()
    # The page's own first state, and that of the other connection.
    assert 'vortexd_sent_messages_total{type="config_snapshot"} 2.0' in metrics
    assert [] == page.complaints


async def test_an_answer_for_a_view_that_was_left_does_not_stop_the_refreshes_of_the_one_that_is_shown(
    page: Page, source: Path
) -> None:
    with Server(source) as server:
        await page.go(f"http://127.0.0.1:{server.port}/console/")
        await page.wait(CONNECTED)
        await page.evaluate("""
            window.asked = [];
            const real = window.fetch;
            window.fetch = async (address, ...rest) => {
              window.asked.push(String(address));
              if (String(address).includes("/api/v1/gate")) await new Promise((done) => { window.release = done; });
              return real(address, ...rest);
            };
            location.hash = "#gate";
        """)
        await page.wait("window.release !== undefined")
        await page.evaluate("location.hash = '#sources'")
        asked = "window.asked.filter(each => each.includes('/status')).length"
        await page.wait(f"{asked} === 1 && document.querySelector('#sources-body table') !== null")
        await page.evaluate("window.release()")

        await page.wait(f"{asked} === 2")


async def test_more_patterns_than_a_client_may_have_are_said(page: Page, source: Path) -> None:
    patterns = ["billing", *(f"shop-{number}" for number in range(64))]
    token, settings = guarded(source, '["read", "subscribe"]', json.dumps(patterns))
    with Server(source, settings=settings) as server:
        await signed_in(page, server, token)
        await page.wait(CONNECTED)
        notice = await page.evaluate("document.getElementById('notice').innerText")
        await page.wait("document.querySelectorAll('#key-list button').length > 0")

    assert "Your token has 65 patterns. This page shows only the first 64." in notice
    assert [] == page.complaints


async def test_where_everybody_is_let_in_without_admin_the_pages_say_it_of_nobody(page: Page, source: Path) -> None:
    settings = f'[server]\nbind = ["127.0.0.1:0"]\n[auth]\nopen = true\n[[source]]\npath = "{source}"\n'
    with Server(source, settings=settings) as server:
        await page.go(f"http://127.0.0.1:{server.port}/console/")
        await page.wait(CONNECTED)
        clients = await view(page, "clients", "requires the right admin")

    assert "Anonymous users may not see this: the list of connections requires the right admin." in clients
    assert [] == page.complaints


async def test_W01_a_page_of_another_origin_gets_nothing(page: Page, server: Server, source: Path) -> None:
    with Server(source) as other:
        await page.go(f"http://127.0.0.1:{other.port}/console/")
        await page.wait(CONNECTED)
        # The page's own policy would refuse before the server is asked, so use a blank page, which has no policy.
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
        # The first document may come after the connection.
        save(source / "billing.yml", BILLING.format(size=11))
        await page.wait("document.querySelector('#change-list').innerText.includes('database.pool.size: 11')")
        assert 0 == await trio.to_thread.run_sync(first.stop)
        await page.wait("document.getElementById('state').textContent === 'stale'")
        told = await page.evaluate("document.getElementById('notice').innerText")
    save(source / "billing.yml", BILLING.format(size=12))
    settings = f'[server]\nbind = ["{address}"]\n[[source]]\nkind = "files"\npath = "{source}"\n'
    with Server(source, settings=settings):
        await page.wait(CONNECTED)
        await page.wait("document.querySelector('#change-list').innerText.includes('database.pool.size: 12')")

    assert "reconnects by itself" in told


# Changes from before the page was opened.

ITEMS = "document.querySelectorAll('#change-list > li').length"


async def test_versions_of_a_directory_from_before_are_listed(page: Page, tmp_path: Path) -> None:
    (directory := tmp_path / "config").mkdir()
    (file := directory / "billing.yml").write_text(BILLING.format(size=10))
    settings = f'[server]\nbind = ["127.0.0.1:0"]\nstate_directory = "{tmp_path}/state"\n'
    settings += f'[[source]]\nkind = "files"\npath = "{directory}"\n'
    with Server(tmp_path / "x", settings=settings) as server:
        path = "billing/default"
        await trio.to_thread.run_sync(until, lambda: has_history(server, path))
        file.write_text(BILLING.format(size=11))
        await trio.to_thread.run_sync(until, lambda: bool(shown(server, path)))
        await page.go(f"http://127.0.0.1:{server.port}/console/")
        await page.wait(f"{ITEMS} >= 1")
        first = await page.evaluate("document.querySelector('#change-list > li').innerText")

    assert "billing:default:main" in first
    assert re.search("version [0-9a-f]{8} of the directory", first)
    assert "+ database.pool.size: 11" in first


async def test_commits_from_before_are_listed_and_new_ones_are_above_them(page: Page, tmp_path: Path) -> None:
    repository, source = committed(tmp_path)
    settings = f'[server]\nbind = ["127.0.0.1:0"]\n{source}refresh_interval = 1\n'
    with Server(tmp_path / "x", settings=settings) as server:
        await page.go(f"http://127.0.0.1:{server.port}/console/")
        await page.wait(f"{ITEMS} >= 3")
        before = await page.evaluate("document.querySelector('#change-list').innerText")
        first = await page.evaluate("document.querySelector('#change-list > li').innerText")
        hidden = await page.evaluate("document.getElementById('changes-empty').hidden")
        count = await page.evaluate(ITEMS)
        await picture(page, "history")
        await trio.to_thread.run_sync(repository.commit, {"billing.yml": BILLING.format(size=12)})
        await page.wait("document.querySelector('#change-list > li').innerText.includes('size: 12')")
        after = await page.evaluate(ITEMS)
        images = await page.evaluate("document.querySelectorAll('main img').length")
        complaints = [*page.complaints]

    assert "billing:default:main" in first
    assert "by Grace: x" in first
    assert "− database.pool.size: 10" in first
    assert "+ database.pool.size: 11" in first
    assert hidden
    assert count + 1 == after
    # The values are text, and a secret is hidden.
    assert MARKUP in before
    assert "hunter2" not in before
    assert 0 == images
    assert [] == complaints


async def test_a_token_without_the_right_subscribe_sees_the_commits_of_its_keys(page: Page, tmp_path: Path) -> None:
    _, source = committed(tmp_path)
    token, settings = guarded(tmp_path / "x", '["read"]', '["billing:*"]')
    settings = settings.partition("[[source]]")[0] + source
    with Server(tmp_path / "x", settings=settings) as server:
        await signed_in(page, server, token)
        await page.wait(f"{ITEMS} === 2")
        text = await page.evaluate("document.querySelector('#change-list').innerText")
        await page.evaluate("document.getElementById('sign-out').click()")
        await page.wait("document.getElementById('sign-in').open")
        left = await page.evaluate(f"[{ITEMS}, document.getElementById('changes-empty').hidden]")

    assert "+ database.pool.size: 11" in text
    assert "application:default:main" not in text
    assert [0, False] == left

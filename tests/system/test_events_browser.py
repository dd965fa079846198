"""Event streams in a real browser: a page of an origin in `auth.origins` reads them, and a page of another origin gets nothing."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vortexd.auth.tokens import digest_of, new_token

from .browser import CHROMIUM, Page
from .process import Server
from .test_events import save, serving, source
from .test_proxies import free_port
from .test_vortex_js_proxies import pages

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
__all__ = ["source"]

TOKEN, OTHER = new_token(), new_token()
# Collects the events of an EventSource: their types, their ids and what they contain.
FOLLOW = """
window.seen = []; window.errors = [];
window.stream = new EventSource({url});
stream.onerror = () => errors.push(stream.readyState);
for (const type of ["config_snapshot", "config_change", "in_sync", "subscribed", "close"])
  stream.addEventListener(type, ({{ data, lastEventId }}) => seen.push({{ type, lastEventId, ...JSON.parse(data) }}));
"""
# The answer to a fetch, as far as the page may read it; or the name of the error.
FETCH = """
fetch({url}, {options}).then(async (answer) => {{
  const part = answer.status === 200 ? (await answer.body.getReader().read()).value : await answer.arrayBuffer();
  const header = (name) => answer.headers.get(name);
  return {{
    type: answer.type, status: answer.status, text: new TextDecoder().decode(part), kind: header("Content-Type"), id: header("X-Connection-Id"),
    challenge: header("WWW-Authenticate"), after: header("Retry-After"), all: [...answer.headers.keys()],
  }};
}}, (error) => error.name)
"""

# The script of a frame, which reports what it has got.
FRAMED = """<script>
  const stream = new EventSource(URL);
  let count = 0;
  for (const type of ["message", "hello", "config_snapshot"]) stream.addEventListener(type, () => count++);
  stream.onerror = async () => {
    const name = await fetch(URL).then((answer) => `${answer.status}`, (error) => error.name);
    parent.postMessage([stream.readyState, count, name], "*");
  };
</script>"""
IN_FRAME = """
new Promise((resolve) => {
  addEventListener("message", ({ data }) => resolve(data));
  const frame = document.createElement("iframe");
  frame.sandbox = "allow-scripts";
  frame.srcdoc = SCRIPT;
  document.body.append(frame);
})
"""


@contextmanager
def empty_pages(directory: Path) -> Iterator[str]:
    """Serve an empty page. Yields its origin."""
    directory.mkdir()
    (directory / "index.html").write_text("<!doctype html><link rel=icon href=data:,><title>x</title>")
    with pages(directory) as origin:
        yield origin


@pytest.fixture
def listed(tmp_path: Path) -> Iterator[str]:
    """The origin that the server lists."""
    with empty_pages(tmp_path / "listed") as origin:
        yield origin


@pytest.fixture
def other(tmp_path: Path) -> Iterator[str]:
    """Another origin, on the same host."""
    with empty_pages(tmp_path / "other") as origin:
        yield origin


def guarded(source: Path, origin: str) -> str:
    """Write a file of tokens, and return the settings that require one and list an origin."""
    tokens = source.parent / "tokens.toml"
    entry = (
        f'[[token]]\nname = "page"\nsha256 = "{digest_of(TOKEN)}"\nrights = ["subscribe", "admin"]\npatterns = ["*"]\n'
    )
    tokens.write_text(entry)
    tokens.chmod(0o600)
    return f'[auth]\ntokens = ["{tokens}"]\norigins = ["{origin}"]\nconnections_per_token = 1\n'


def events_url(server: Server, query: str) -> str:
    return f"http://127.0.0.1:{server.port}/api/v1/events/billing/prod?{query}"


async def follow(page: Page, url: str) -> None:
    await page.evaluate(FOLLOW.format(url=json.dumps(url)))


async def fetch(page: Page, url: str, **options: Any) -> Any:
    return await page.evaluate(FETCH.format(url=json.dumps(url), options=json.dumps(options)))


@pytest.mark.parametrize("query", ["", "&pattern=billing:*"], ids=["one key", "patterns"])
async def test_an_event_source_of_a_listed_origin_follows_and_resumes(
    source: Path, listed: str, page: Page, query: str
) -> None:
    port = free_port()
    with serving(source, port=port, more=guarded(source, listed)) as server:
        await page.go(f"{listed}/index.html")
        await follow(page, events_url(server, f"token={TOKEN}{query}"))
        await page.wait("seen.some((each) => each.type === 'config_snapshot' && each.profile === 'prod')")
        save(source, 1)
        await page.wait("seen.some((each) => each.type === 'config_change' && each.diff[0].value === 1)")
        keys = 2 if query else 1
        await page.wait(f"seen.filter((each) => each.type === 'config_change').length === {keys}")
        server.stop(signal.SIGKILL)
        await page.wait("errors.length > 0")
    # The browser comes back with the id of the last event. So it gets nothing that it has.
    with serving(source, port=port, more=guarded(source, listed)):
        await page.wait(f"seen.filter((each) => each.type === 'in_sync').length === {keys}")
        save(source, 2)
        await page.wait("seen.some((each) => each.type === 'config_change' && each.diff[0].value === 2)")
        assert keys == await page.evaluate("seen.filter((each) => each.type === 'config_snapshot').length")


async def test_a_fetch_of_a_listed_origin_reads_the_stream_and_each_refusal(
    source: Path, listed: str, page: Page
) -> None:
    """An Authorization header makes the browser ask by OPTIONS before."""
    with serving(source, more=guarded(source, listed)) as server:
        await page.go(f"{listed}/index.html")
        url = events_url(server, "label=main")
        right = {"headers": {"Authorization": f"Bearer {TOKEN}", "Last-Event-ID": "x"}}
        made = await fetch(page, url, **right)
        assert ("cors", 200, "text/event-stream") == (made["type"], made["status"], made["kind"])
        assert made["text"].startswith("retry: ")
        assert 36 == len(made["id"])

        full = await fetch(page, url, **right)
        assert (429, "1") == (full["status"], full["after"])
        wrong = await fetch(page, events_url(server, f"token={OTHER}"))
        assert (401, "Bearer") == (wrong["status"], wrong["challenge"].split()[0])
        assert "a valid token is required" == json.loads(wrong["text"])["message"]


async def test_a_page_of_an_origin_that_is_not_listed_gets_nothing(
    source: Path, listed: str, other: str, page: Page
) -> None:
    with serving(source, more=guarded(source, listed)) as server:
        await page.go(f"{other}/index.html")
        url = events_url(server, f"token={TOKEN}")
        await follow(page, url)
        await page.wait("errors.length > 0")
        assert ([2], []) == (await page.evaluate("errors"), await page.evaluate("seen"))
        assert "TypeError" == await fetch(page, url)
        assert "TypeError" == await fetch(page, url, headers={"Last-Event-ID": "x"})
        # The browser has sent the preflight of the last one, and the other two. The server has refused each.
        assert {'route="refused",status="4xx"': 3} == answers_of(server)

        # This mode sends no Origin. The browser shows the page nothing of the answer.
        opaque = await fetch(page, url, mode="no-cors")
        assert ("opaque", 0, "", []) == (opaque["type"], opaque["status"], opaque["text"], opaque["all"])


async def test_a_sandboxed_frame_in_a_listed_page_gets_nothing(source: Path, listed: str, page: Page) -> None:
    """Its origin is "null", which isn't listed."""
    with serving(source, more=guarded(source, listed)) as server:
        await page.go(f"{listed}/index.html")
        url = json.dumps(events_url(server, f"token={TOKEN}"))
        script = FRAMED.replace("URL", url)
        assert [2, 0, "TypeError"] == await page.evaluate(IN_FRAME.replace("SCRIPT", json.dumps(script)))
        assert {'route="refused",status="4xx"': 2} == answers_of(server)


def answers_of(server: Server) -> dict[str, int]:
    """Return the number of answers by their route and status."""
    command = ["curl", "-sS", "-H", f"Authorization: Bearer {TOKEN}", f"http://127.0.0.1:{server.port}/metrics"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    counts = re.findall(r"^vortexd_http_request_seconds_count\{(.*)\} (\d+)", shown, re.MULTILINE)
    return {labels: int(count) for labels, count in counts}

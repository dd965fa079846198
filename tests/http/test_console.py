"""The files of the console: their headers, and that no other file is served."""

import re

import pytest

from tests.fakes import open_gate
from tests.http.serving import headers_of
from vortexd.core.errors import RemoteError
from vortexd.http.console import console
from vortexd.http.endpoint import Request, Response
from vortexd.net.proxies import Sender

CONSOLE = console()


async def get(path: str, **headers: str) -> Response:
    admission = open_gate().admit([], path, Sender("127.0.0.1"))
    return await CONSOLE.answer(Request("GET", path, "", headers_of(headers), b"", None, lambda: admission))


async def test_the_page_asks_for_files_that_are_there_and_for_nothing_from_elsewhere() -> None:
    page = (await get("/console/")).body.decode()
    named = re.findall(r'(?:src|href)="([^"#]+)"', page)

    assert {"console.css", "console.js", "icon.svg"} == set(named)
    for name in (*named, "vortex.js"):
        answer = await get(f"/console/{name}")
        assert 200 == answer.status
        # Comments may name addresses, and the name of a namespace is one; nothing is loaded from them.
        code = [line for line in answer.body.decode().splitlines() if not line.lstrip().startswith(("//", "*", "/*"))]
        assert not [line for line in code if re.search(r"https?://(?!www\.w3\.org/2000/svg)", line)]


async def test_the_policy_lets_scripts_come_from_here_alone_and_none_be_within_the_page() -> None:
    answer = await get("/console/")
    policy = dict(each.strip().partition(" ")[::2] for each in answer.headers["Content-Security-Policy"].split(";"))

    assert "'none'" == policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"]
    assert "'self'" == policy["script-src"] == policy["style-src"] == policy["connect-src"]
    assert b"<script>" not in answer.body
    assert not re.search(rb' (?:style|on[a-z]+)="', answer.body)


async def test_what_a_browser_has_is_not_sent_again() -> None:
    first = await get("/console/console.js")
    again = await get("/console/console.js", **{"If-None-Match": first.headers["ETag"]})

    assert (304, b"") == (again.status, again.body)
    assert "no-cache" == first.headers["Cache-Control"]


async def test_without_its_slash_it_leads_there_behind_whatever_prefix() -> None:
    answer = await get("/console")

    assert (308, "console/") == (answer.status, answer.headers["Location"])


@pytest.mark.parametrize(
    "name", ["../settings.py", "..%2Fsettings.py", "__init__.py", "console.js/", "nothing", "%2e%2e/x", "index.html%00"]
)
async def test_nothing_else_is_there(name: str) -> None:
    with pytest.raises(RemoteError) as caught:
        await get(f"/console/{name}")

    assert 404 == caught.value.status

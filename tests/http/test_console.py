"""The files of the console: their headers, and that no other file is served."""

import re
from pathlib import Path

import pytest

import vortexd
from tests.fakes import open_gate
from tests.http.serving import headers_of
from vortexd.core.errors import RemoteError
from vortexd.http.console import console
from vortexd.http.endpoint import Request, Response
from vortexd.net.proxies import Sender

CONSOLE = console()
DIRECTORY = Path(vortexd.__file__).parent / "console"


async def get(path: str, **headers: str) -> Response:
    admission = open_gate().admit([], path, Sender("127.0.0.1"))
    return await CONSOLE.answer(Request("GET", path, "", headers_of(headers), b"", None, lambda: admission))


async def test_the_page_asks_for_files_that_are_there_and_for_nothing_from_elsewhere() -> None:
    page = (await get("/console/")).body.decode()
    named = re.findall(r'(?:src|href)="([^"#]+)"', page)

    assert {"console.css", "console.js", "icon.svg"} == {
        each for each in named if f'modulepreload" href="{each}"' not in page
    }
    waiting, seen = ["console.css", "console.js", "icon.svg"], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        answer = await get(f"/console/{name}")
        assert 200 == answer.status
        waiting += re.findall(r'from "\./([^"]+)"', answer.body.decode())
        # Comments may name addresses, and the name of a namespace is one; nothing is loaded from them.
        code = [line for line in answer.body.decode().splitlines() if not line.lstrip().startswith(("//", "*", "/*"))]
        assert not [line for line in code if re.search(r"https?://(?!www\.w3\.org/2000/svg)", line)]
    # Each file is used, and the page loads all modules at once instead of one after the other.
    files = {each.name for each in DIRECTORY.iterdir()} - {"index.html"}
    assert files == seen == set(named)


async def test_a_configuration_never_becomes_markup_and_a_page_has_no_style_or_code_of_its_own() -> None:
    for script in DIRECTORY.glob("*.js"):
        assert not re.search(
            r"(?:inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\(|new Function", script.read_text()
        )


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

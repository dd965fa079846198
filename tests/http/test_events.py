"""The endpoint of event streams: statuses, methods, and the headers for pages."""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from tests.console.node import VORTEX
from tests.fakes import open_gate, timestamp
from tests.http.serving import FakeReader
from vortexd.auth import Admission
from vortexd.core.broken_files import HEADER
from vortexd.core.errors import RemoteError
from vortexd.http.app import create_app
from vortexd.http.endpoint import Response
from vortexd.http.events import Events
from vortexd.http.request_head import RequestHead
from vortexd.http.routes import standard_routes
from vortexd.net.proxies import Sender
from vortexd.observe.metrics import Metrics

PATH = "/api/v1/events/orders/dev"
PAGE = b"https://page.example"


@attrs.define
class FakeStream:
    host: str
    connection_id: str = "c1"
    is_abandoned: bool = False

    async def serve(self, stream: trio.abc.Stream, head: bytes = b"", **_: Any) -> bool:
        raise NotImplementedError

    def abandon(self) -> None:
        self.is_abandoned = True


class FakeStreams:
    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.refusal: RemoteError | None = None
        self.opened: list[FakeStream] = []

    async def open(
        self, segments: Sequence[str], query: str, last: str | None, admission: Admission, host: str
    ) -> FakeStream:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append((list(segments), query, last, admission.name, host))
        self.opened.append(FakeStream(host))
        return self.opened[-1]


class Asking:
    def __init__(self, *, asks: bool = False, fails: bool = False) -> None:
        self.streams = FakeStreams()
        self.loads = 0
        self.fails = fails
        gate = open_gate(origins=(PAGE.decode(),))
        if asks:
            from vortexd.auth import Authority

            gate = open_gate(Authority(anonymous=frozenset()), origins=(PAGE.decode(),))
        routes = standard_routes(FakeReader(), Metrics(), more=[Events(self.load, gate.lists_origin)])
        self.app = create_app(routes, Metrics(), lambda: 100, timestamp, gate)

    def load(self) -> Any:
        self.loads += 1
        if self.fails:
            raise OSError(24, "too many open files")
        return self.streams

    async def ask(self, method: str = "GET", query: str = "", path: str = PATH, **headers: bytes) -> Response:
        raw = [(b"host", b"localhost"), *((name.replace("_", "-").encode(), value) for name, value in headers.items())]
        head = RequestHead(method, path, query, raw, Sender("192.0.2.1"))
        return await self.app.respond(head, None)  # type: ignore[arg-type]  # there is no body


async def test_a_request_is_opened_with_all_that_it_has() -> None:
    asking = Asking()
    made = await asking.ask(query="pattern=a", last_event_id=b"7")

    assert [(["orders", "dev"], "pattern=a", "7", "anonymous", "192.0.2.1")] == asking.streams.asked
    assert made.stream is asking.streams.opened[0]
    assert (200, "/api/v1/events/{application}/{profile}") == (made.status, made.route)
    assert {
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store, no-transform"),
        (b"x-accel-buffering", b"no"),
        (b"x-connection-id", b"c1"),
        (b"vary", b"Origin"),
        (b"x-content-type-options", b"nosniff"),
    } == set(made.head())


async def test_the_modules_are_loaded_for_the_first_stream() -> None:
    asking = Asking()
    assert 0 == asking.loads
    await asking.ask()
    await asking.ask()
    assert 1 == asking.loads


async def test_head_has_the_headers_and_no_stream() -> None:
    asking = Asking()
    made = await asking.ask("HEAD")

    assert (200, None, b"") == (made.status, made.stream, made.content("HEAD"))
    assert "text/event-stream" == made.headers["Content-Type"]
    assert asking.streams.opened[0].is_abandoned


async def test_a_refusal_has_its_status_and_headers() -> None:
    asking = Asking()
    asking.streams.refusal = RemoteError("too many", 429, {"Retry-After": "1"})
    made = await asking.ask(origin=PAGE)

    assert (429, "1", PAGE.decode()) == (
        made.status,
        made.headers["Retry-After"],
        made.headers["Access-Control-Allow-Origin"],
    )
    assert b"too many" in made.body


async def test_without_a_token_nothing_is_opened() -> None:
    asking = Asking(asks=True)
    made = await asking.ask(origin=PAGE)

    assert (401, []) == (made.status, asking.streams.asked)
    assert PAGE.decode() == made.headers["Access-Control-Allow-Origin"]
    assert 0 == asking.loads


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_only_a_listed_page_may_read(method: str) -> None:
    asking = Asking()
    listed = await asking.ask(method, origin=PAGE)
    other = await asking.ask(method, origin=b"https://other.example")
    none = await asking.ask(method)

    assert PAGE.decode() == listed.headers["Access-Control-Allow-Origin"]
    assert ("Access-Control-Expose-Headers" in listed.headers) is (method == "GET")
    assert 403 == other.status
    for each in (other, none):
        assert not [name for name in each.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_page_may_read_the_headers_that_its_client_needs(method: str) -> None:
    """These are the headers that vortex.js reads, and those of refusals in vortexd-api(7). A preflight never has the list."""
    asking = Asking()
    read = set(re.findall(r'headers\.get\("([\w-]+)"\)', VORTEX.read_text())) - {"Content-Type", "X-Vortex-Refused"}
    made = await asking.ask(method, origin=PAGE)
    asking.streams.refusal = RemoteError("the configuration can't be read", 500, {HEADER: '"a.yml"'})
    refused = await asking.ask(method, origin=PAGE)

    assert {"Retry-After"} == read
    for each in (made, refused):
        exposed = each.headers["Access-Control-Expose-Headers"]
        assert "Retry-After, WWW-Authenticate, X-Connection-Id, X-Vortex-Broken" == exposed
    assert '"a.yml"' == refused.headers[HEADER]


async def test_a_browser_may_ask_before_without_a_token() -> None:
    asking = Asking(asks=True)
    made = await asking.ask("OPTIONS", origin=PAGE)

    assert (204, b"") == (made.status, made.content("OPTIONS"))
    assert "GET" == made.headers["Access-Control-Allow-Methods"]
    assert "Authorization, Cache-Control, Last-Event-ID" == made.headers["Access-Control-Allow-Headers"]
    assert "GET, HEAD, OPTIONS" == (await asking.ask("OPTIONS")).headers["Allow"]


def test_the_description_names_the_headers_of_a_stream() -> None:
    described = Events.operations["/api/v1/events/{application}/{profile}"]["get"]["responses"]["200"]["headers"]

    assert {
        "X-Connection-Id": True,
        "Access-Control-Allow-Origin": False,
        "Access-Control-Expose-Headers": False,
    } == {name: each["required"] for name, each in described.items()}


async def test_modules_that_cannot_be_loaded_are_a_503() -> None:
    asking = Asking(fails=True)
    with capture_logs() as logs:
        made = await asking.ask()
    assert (503, "1") == (made.status, made.headers["Retry-After"])
    assert [("protocol not loaded", "Server-Sent Events")] == [(each["event"], each["protocol"]) for each in logs]


async def test_a_request_with_a_body_is_refused() -> None:
    from tests.http.serving import quart_at_once

    asking = Asking()
    asking.app._load = quart_at_once

    class Body:
        def __init__(self) -> None:
            self.parts: list[bytes | None] = [b"x", None]

        async def receive(self) -> bytes | None:
            return self.parts.pop(0)

        async def wait_gone(self) -> None:
            await trio.sleep_forever()

        def waiting(self) -> AbstractContextManager[None]:
            raise NotImplementedError

    head = RequestHead("GET", PATH, "", [(b"host", b"localhost"), (b"content-length", b"1")], Sender())
    made = await asking.app.respond(head, Body())
    assert (400, None) == (made.status, made.stream)
    assert asking.streams.opened[0].is_abandoned

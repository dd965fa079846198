"""`GET /api/v1/watch`: which requests wait, what ends the wait, and that each response is that of the ordinary endpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import KEY, FakeLine, Rounds, open_gate, timestamp
from tests.http.serving import FakeReader, quart_at_once
from tests.http.test_watchers import Counts, Middle
from vortexd.auth import Authority, Gate, Tokens, load_tokens
from vortexd.auth.tokens import digest_of
from vortexd.core.candidate import candidate_of
from vortexd.core.errors import UnknownLabel
from vortexd.core.model import Config, Json, Key
from vortexd.http.app import create_app
from vortexd.http.endpoint import Response
from vortexd.http.request_head import PeerGone, RequestHead
from vortexd.http.routes import standard_routes
from vortexd.http.watch import LateWatchers, Watch
from vortexd.http.watchers import Limits, Watchers
from vortexd.net.proxies import Proxies, Sender
from vortexd.observe.metrics import Metrics

# A fault often shows in a request that nothing wakes.
pytestmark = pytest.mark.timeout(60)
PATH = "/api/v1/watch/orders/dev"
OLD = "0123456789abcdef"
TOKEN = "vt_" + "x" * 43
FILE = f'[[token]]\nname = "one"\nsha256 = "{digest_of(TOKEN)}"\nrights = ["read"]\npatterns = ["orders"]\n'
# Trio's fake clock begins at 0, and this one at the epoch.
EXPIRING = FILE + 'expires = "1970-01-01T00:01:40Z"\n'
P = pytest.param


class Body:
    """The body of a request without one.

    Attributes:
        left: Set when the client leaves.
        is_waiting: Whether the request is inside `waiting`.
    """

    def __init__(self) -> None:
        self.left = trio.Event()
        self.is_waiting = False
        self.waits = 0
        self.parts: list[bytes | None] = [b"x", None]

    async def receive(self) -> bytes | None:
        return self.parts.pop(0)

    async def wait_gone(self) -> None:
        await self.left.wait()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self.is_waiting = True
        self.waits += 1
        try:
            yield
        finally:
            self.is_waiting = False


class Reader(FakeReader):
    """Serves the documents of a line, so that both have the same versions."""

    def __init__(self, line: FakeLine) -> None:
        super().__init__()
        self.line = line

    async def read(self, key: Key) -> Config:
        self.asked.append(key)
        if self.error is not None:
            raise self.error
        found = self.line._configs.get(key)
        if found is None:
            raise UnknownLabel("no such label")
        return found


class Polling:
    """A server over documents that the test sets."""

    def __init__(self, gate: Gate | None = None, limits: Limits | None = None) -> None:
        self.line = FakeLine({KEY: {"a": 1}})
        self.reader = Reader(self.line)
        self.metrics, self.counts = Metrics(), Counts()
        self.gate = gate or open_gate()
        self.limits = limits or Limits(10_000, 10_000)
        self.loads = 0
        self.load_error: Exception | None = None
        self.late = LateWatchers(self.load)
        routes = standard_routes(
            self.reader,
            self.metrics,
            tracks=self.line,
            beside=lambda ordinary: [Watch(ordinary, self.line, self.late)],
        )
        self.app = create_app(routes, self.metrics, lambda: 100, timestamp, self.gate, quart_at_once)
        self.responses: list[Response] = []
        self.body = Body()

    def load(self) -> Watchers:
        self.loads += 1
        if self.load_error is not None:
            raise self.load_error
        line = self.line
        return Watchers(line, line.registry, lambda: self.limits, self.counts, Middle(), trio.current_time)

    def load_now(self) -> Watchers:
        """Load without a thread, which a fake clock doesn't wait for."""
        self.late._watchers.loaded = self.load()
        return self.late._watchers.loaded

    def publish(self, document: dict[str, Json] | None, key: Key = KEY) -> None:
        self.reader.change({})
        self.line.publish(document, key)

    def version(self, key: Key = KEY) -> str:
        return self.line._configs[key].version

    async def ask(self, query: str = "", method: str = "GET", path: str = PATH, **headers: str) -> Response:
        raw = [(b"host", b"localhost")]
        raw += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        head = RequestHead(method, path, query, raw, Sender("192.0.2.1"))
        return await self.app.respond(head, self.body)

    async def poll(self, query: str = "", **headers: str) -> None:
        self.responses.append(await self.ask(query, **headers))

    async def ordinary(self, path: str = "/orders/dev", **headers: str) -> Response:
        return await self.ask(path=path, **headers)


@pytest.fixture
async def polling() -> Polling:
    made = Polling()
    made.load_now()
    return made


def content(response: Response) -> tuple[Any, ...]:
    return response.status, response.body, response.content_type, response.headers


# Requests that don't wait.


@pytest.mark.parametrize("query", ["", f"version={OLD}", "version=", "wait=5m", f"version={OLD}&wait=5m", "version=x"])
async def test_without_the_current_version_the_response_is_the_ordinary_one_at_once(
    autojump_clock: MockClock, query: str
) -> None:
    polling = Polling()
    response = await polling.ask(query)

    assert content(await polling.ordinary()) == content(response)
    assert 200 == response.status
    assert "/api/v1/watch/{application}/{profile}" == response.route
    assert (0, 0) == (trio.current_time(), polling.loads)
    assert 0 == polling.body.waits
    assert not polling.counts.outcomes


async def test_the_accept_header_counts_as_at_the_ordinary_endpoint(polling: Polling) -> None:
    accept = "application/vnd.spring-cloud.config-server.v2+json"
    response = await polling.ask(accept=accept)
    assert content(await polling.ordinary(accept=accept)) == content(response)
    assert accept == response.content_type
    assert 406 == (await polling.ask(accept="text/html")).status


async def test_another_version_takes_precedence_over_a_tag(polling: Polling) -> None:
    tag = (await polling.ordinary()).headers["ETag"]
    assert 200 == (await polling.ask(f"version={OLD}", if_none_match=tag)).status


async def test_another_tag_is_answered_at_once(polling: Polling) -> None:
    assert 200 == (await polling.ask(if_none_match='"other"')).status


@pytest.mark.parametrize("wait", ["0", "0s", "0m"])
async def test_with_a_wait_of_zero_nothing_is_waited_for(polling: Polling, mock_clock: MockClock, wait: str) -> None:
    ordinary = await polling.ordinary()
    for query, tag in ((f"version={polling.version()}&", "-"), ("", ordinary.headers["ETag"])):
        response = await polling.ask(f"{query}wait={wait}", if_none_match=tag)
        assert (304, b"", None, ordinary.headers) == content(response)
    assert 0 == polling.body.waits


async def test_head_never_waits(polling: Polling, mock_clock: MockClock) -> None:
    assert 304 == (await polling.ask(f"version={polling.version()}", "HEAD")).status
    assert 200 == (await polling.ask(f"version={OLD}", "HEAD")).status
    assert 0 == polling.body.waits


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("wait=x", b"wait is a number"),
        ("wait=-1", b"wait is a number"),
        ("wait=1.5", b"wait is a number"),
        ("wait=1h", b"wait is a number"),
        ("wait=1ms", b"wait is a number"),
        ("wait=s", b"wait is a number"),
        ("wait=%D9%A3", b"wait is a number"),
        ("wait=1s%0A", b"wait is a number"),
        ("wait=" + "1" * 10, b"wait is a number"),
        ("wait=1&wait=1", b"occurs twice"),
        ("index=1", b"the parameters are label, version, wait, instance, canary"),
        ("label=%00", b""),
    ],
)
async def test_a_query_that_is_not_valid_is_refused(polling: Polling, query: str, reason: bytes) -> None:
    for method in ("GET", "HEAD"):
        response = await polling.ask(query, method)
        assert 400 == response.status
        assert reason in response.body


@pytest.mark.parametrize("path", ["", "/orders", "/orders/", "//dev", "/orders/dev/main", "/orders/dev/"])
async def test_the_path_names_an_application_and_a_profile(polling: Polling, path: str) -> None:
    assert 404 == (await polling.ask(path="/api/v1/watch" + path)).status


async def test_names_are_decoded_once(polling: Polling) -> None:
    other = Key("a/b", "x,y", "main")
    polling.publish({"b": 1}, other)
    assert 200 == (await polling.ask(path="/api/v1/watch/a%2Fb/x%2Cy")).status
    assert other == polling.reader.asked[-1]


async def test_the_label_is_that_of_the_query_or_the_default_one(polling: Polling) -> None:
    other = Key("orders", "dev", "release/1.0")
    polling.publish({"b": 1}, other)
    found = [
        (await polling.ask(query)).headers["X-Vortex-Version"]
        for query in ("label=release/1.0", "label=", "label=main")
    ]
    assert [polling.version(other), polling.version(), polling.version()] == found
    assert 404 == (await polling.ask("label=none")).status


async def test_while_the_server_starts_it_is_503(polling: Polling) -> None:
    polling.reader.default_label = None
    response = await polling.ask()
    assert (503, "1") == (response.status, response.headers["Retry-After"])


@pytest.mark.parametrize(("method", "status"), [("POST", 405), ("DELETE", 405), ("OPTIONS", 405)])
async def test_only_get_and_head_are_answered(polling: Polling, method: str, status: int) -> None:
    assert status == (await polling.ask(method=method)).status


async def test_a_request_with_a_body_does_not_wait(polling: Polling) -> None:
    response = await polling.ask(f"version={polling.version()}", content_length="1")
    assert (400, 0) == (response.status, len(polling.late))
    assert b"no body" in response.body
    polling.body = Body()
    assert 200 == (await polling.ask(f"version={OLD}", content_length="1")).status


@pytest.mark.parametrize(("more", "status"), [(99, 304), (100, 400)])
async def test_a_request_with_many_headers_does_not_wait(
    polling: Polling, autojump_clock: MockClock, more: int, status: int
) -> None:
    headers = {f"x_{number}": "" for number in range(more)}
    response = await polling.ask(f"version={polling.version()}&wait=1", **headers)
    assert status == response.status
    assert (status == 400) == (b"at most 100 headers" in response.body)
    assert 200 == (await polling.ask(f"version={OLD}", **headers)).status


# The time of the wait.


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [
        ("1", 1),
        ("30", 30),
        ("30s", 30),
        ("030", 30),
        ("1m", 60),
        ("5m", 300),
        ("", 300),
        ("599", 599),
        ("600", 600),
        ("601", 600),
        ("10m", 600),
        ("11m", 600),
        ("999999999m", 600),
    ],
)
async def test_after_its_time_and_jitter_a_request_gets_304(
    polling: Polling, autojump_clock: MockClock, wait: str, seconds: float
) -> None:
    ordinary = await polling.ordinary()
    response = await polling.ask(f"version={polling.version()}" + (f"&wait={wait}" if wait else ""))

    assert seconds * 33 / 32 == pytest.approx(trio.current_time())
    assert (304, b"", None, ordinary.headers) == content(response)
    assert {"unchanged": 1} == polling.counts.outcomes
    assert (0, 0) == (len(polling.late), polling.line.held[KEY])


async def test_the_current_version_waits_whatever_the_tag(polling: Polling, autojump_clock: MockClock) -> None:
    for tag in ('"other"', "*", (await polling.ordinary()).headers["ETag"]):
        assert 304 == (await polling.ask(f"version={polling.version()}&wait=32", if_none_match=tag)).status
    assert 3 * 33 == pytest.approx(trio.current_time())


@pytest.mark.parametrize("form", ["{}", '"a", {}', "W/{}", "*"])
async def test_without_a_version_the_tag_counts(polling: Polling, autojump_clock: MockClock, form: str) -> None:
    tag = form.format((await polling.ordinary()).headers["ETag"])
    assert 304 == (await polling.ask("wait=32", if_none_match=tag)).status
    assert 33 == pytest.approx(trio.current_time())


async def test_a_wait_is_not_the_time_of_a_request(polling: Polling, autojump_clock: MockClock) -> None:
    await polling.ask(f"version={polling.version()}&wait=32")
    text = polling.metrics.render().decode()
    assert 'vortexd_http_request_seconds_count{route="/api/v1/watch/{application}/{profile}",status="3xx"} 1.0' in text
    assert 'profile}",status="2xx"' not in text


# Changes.


@pytest.mark.parametrize("by_tag", [False, True])
async def test_a_change_is_answered_with_the_ordinary_response(polling: Polling, by_tag: bool) -> None:
    tag = (await polling.ordinary()).headers["ETag"]
    async with trio.open_nursery() as nursery:
        if by_tag:
            nursery.start_soon(lambda: polling.poll(if_none_match=tag))
        else:
            nursery.start_soon(polling.poll, f"version={polling.version()}")
        await wait_all_tasks_blocked()
        assert ([], 1, True) == (polling.responses, len(polling.late), polling.body.is_waiting)
        polling.publish({"a": 2})

    (response,) = polling.responses
    assert content(await polling.ordinary()) == content(response)
    assert (200, polling.version()) == (response.status, response.headers["X-Vortex-Version"])
    assert not polling.body.is_waiting
    assert {"changed": 1} == polling.counts.outcomes
    assert (0, 0) == (len(polling.late), polling.line.held[KEY])


@pytest.mark.parametrize("tags", ["*", "several"])
async def test_a_change_ends_the_wait_of_a_client_whose_tags_the_new_body_has_too(polling: Polling, tags: str) -> None:
    first = (await polling.ordinary()).headers["ETag"]
    polling.publish({"a": 2})
    second = (await polling.ordinary()).headers["ETag"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: polling.poll(if_none_match="*" if tags == "*" else f"{first}, {second}"))
        await wait_all_tasks_blocked()
        polling.publish({"a": 1})
    assert [200] == [each.status for each in polling.responses]


async def test_a_change_that_was_undone_before_the_turn_does_not_end_the_wait(polling: Polling) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(polling.poll, f"version={polling.version()}")
        await wait_all_tasks_blocked()
        polling.publish({"a": 2})
        polling.publish({"a": 1})
        await wait_all_tasks_blocked()
        assert ([], 1, 2) == (polling.responses, len(polling.late), polling.body.waits)
        polling.publish({"a": 3})

    assert [(200, polling.version())] == [(each.status, each.headers["X-Vortex-Version"]) for each in polling.responses]


async def test_a_request_that_goes_on_ends_at_its_first_end(polling: Polling, mock_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(polling.poll, f"version={polling.version()}&wait=320")
        await wait_all_tasks_blocked()
        for _ in range(3):
            mock_clock.jump(100)
            polling.late.wake_all()
            await wait_all_tasks_blocked()
        assert [] == polling.responses
        mock_clock.jump(29.9)
        await wait_all_tasks_blocked()
        assert [] == polling.responses
        mock_clock.jump(0.2)
        await wait_all_tasks_blocked()
        assert [304] == [each.status for each in polling.responses]


@pytest.mark.parametrize("moment", ["read", "arriving"])
async def test_a_change_while_a_request_is_registered_is_not_lost(polling: Polling, moment: str) -> None:
    """The first response was made of the former state."""
    version = polling.version()
    if moment == "read":
        read = polling.line.read

        async def changed(key: Key) -> Config:
            found = await read(key)
            polling.publish({"a": 2})
            return found

        polling.line.read = changed  # type: ignore[method-assign]
        response = await polling.ask(f"version={version}")
    else:
        polling.line.doorway = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(polling.poll, f"version={version}")
            await wait_all_tasks_blocked()
            polling.publish({"a": 2})
            polling.line.doorway.set()
        (response,) = polling.responses

    assert (200, polling.version()) == (response.status, response.headers["X-Vortex-Version"])
    assert polling.version() != version
    assert 0 == polling.body.waits
    assert 0 == polling.line.held[KEY]


async def test_a_key_that_changes_at_each_attempt_is_answered_in_the_end(polling: Polling) -> None:
    """Only a fault would make it, and it must not hold the event loop."""
    polling.line.version_of = lambda key: "other"  # type: ignore[method-assign]
    response = await polling.ask(f"version={polling.version()}")
    assert (200, 0, 0) == (response.status, len(polling.late), polling.line.held[KEY])


@pytest.mark.parametrize("error", [UnknownLabel("no such label"), RuntimeError("a bug")])
async def test_after_a_wake_up_an_error_is_that_of_the_ordinary_endpoint(polling: Polling, error: Exception) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(polling.poll, f"version={polling.version()}")
        await wait_all_tasks_blocked()
        polling.reader.error = error
        polling.publish(None)

    assert [404 if isinstance(error, UnknownLabel) else 500] == [each.status for each in polling.responses]
    assert {"failed": 1} == polling.counts.outcomes
    assert (0, 0) == (len(polling.late), polling.line.held[KEY])


async def test_a_thousand_changes_do_not_hold_the_event_loop(polling: Polling) -> None:
    answered: dict[int, int] = {}

    async def poll() -> None:
        await polling.poll(f"version={version}")
        answered[rounds.count] = answered.get(rounds.count, 0) + 1

    version = polling.version()
    async with trio.open_nursery() as nursery:
        for _ in range(1_000):
            nursery.start_soon(poll)
        await wait_all_tasks_blocked()
        assert (1_000, 1) == (len(polling.late), polling.line.held[KEY])
        rounds = Rounds.counting()
        polling.publish({"a": 2})

    assert 1_000 == sum(answered.values()) == polling.counts.outcomes["changed"]
    assert max(answered.values()) <= 8


# The client and its rights.


async def test_a_client_that_leaves_is_freed_at_once(polling: Polling) -> None:
    async def poll() -> None:
        with pytest.raises(PeerGone):
            await polling.ask(f"version={polling.version()}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll)
        await wait_all_tasks_blocked()
        polling.body.left.set()

    assert {"gone": 1} == polling.counts.outcomes
    assert (0, 0) == (len(polling.late), polling.line.held[KEY])


async def test_a_request_that_is_cancelled_is_freed_at_once(polling: Polling) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(polling.poll, f"version={polling.version()}")
            await wait_all_tasks_blocked()
            scope.cancel()

    assert {"gone": 1} == polling.counts.outcomes
    assert (0, 0) == (len(polling.late), polling.line.held[KEY])


@attrs.frozen
class NoRights:
    """A token file in which the token has lost something."""

    text: str
    status: int


@pytest.mark.parametrize(
    "after",
    [
        P(NoRights("", 401), id="revoked"),
        P(NoRights(FILE.replace('["orders"]', '["cart"]'), 403), id="another application"),
        P(NoRights(FILE.replace('["read"]', '["subscribe"]'), 403), id="another right"),
    ],
)
@pytest.mark.parametrize("is_changed", [False, True], ids=["by the reload", "by a change"])
async def test_rights_that_are_lost_end_the_wait(after: NoRights, is_changed: bool) -> None:
    polling = Polling(open_gate(Authority(Tokens(load_tokens(FILE, "tokens.toml")))))
    polling.load_now()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: polling.poll(f"version={polling.version()}", authorization=f"Bearer {TOKEN}"))
        await wait_all_tasks_blocked()
        polling.gate.authority = Authority(Tokens(load_tokens(after.text, "tokens.toml") if after.text else ()))
        if is_changed:
            polling.publish({"a": 2})
        else:
            polling.late.wake_all()

    (response,) = polling.responses
    assert (after.status, {"refused": 1}) == (response.status, polling.counts.outcomes)
    assert not {"ETag", "X-Vortex-Version"} & response.headers.keys()


async def test_a_token_that_is_revoked_while_requests_wait_is_no_wrong_token() -> None:
    """Otherwise the server would answer 429, and limit all clients of that address."""
    authority = Authority(Tokens(load_tokens(FILE, "tokens.toml")))
    polling = Polling(open_gate(authority, failure_burst=1))
    polling.load_now()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(lambda: polling.poll(f"version={polling.version()}", authorization=f"Bearer {TOKEN}"))
        await wait_all_tasks_blocked()
        polling.gate.authority = Authority(Tokens(()))
        polling.late.wake_all()

    assert [401] * 3 == [each.status for each in polling.responses]
    assert [401, 429] == [(await polling.ask(authorization=f"Bearer {TOKEN}")).status for _ in range(2)]


async def test_rights_that_stay_let_a_request_wait_on(polling: Polling) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(polling.poll, f"version={polling.version()}")
        await wait_all_tasks_blocked()
        polling.late.wake_all()
        await wait_all_tasks_blocked()
        assert ([], 1) == (polling.responses, len(polling.late))
        nursery.cancel_scope.cancel()


async def test_the_expiry_of_the_token_ends_the_wait(autojump_clock: MockClock) -> None:
    gate = open_gate(Authority(Tokens(load_tokens(EXPIRING, "tokens.toml"))))
    gate._epoch = trio.current_time
    polling = Polling(gate)
    polling.load_now()
    response = await polling.ask(f"version={polling.version()}", authorization=f"Bearer {TOKEN}")

    assert 401 == response.status
    assert 100 <= trio.current_time() <= 100.1
    assert {"refused": 1} == polling.counts.outcomes


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [("", {}, 401), ("", {"authorization": "Bearer x"}, 401), (f"token={TOKEN}", {}, 200)],
)
async def test_a_token_with_the_right_is_needed(query: str, headers: dict[str, str], status: int) -> None:
    polling = Polling(open_gate(Authority(Tokens(load_tokens(FILE, "tokens.toml")))))
    assert status == (await polling.ask(query, **headers)).status
    other = await polling.ask(query, path="/api/v1/watch/cart/dev", **headers)
    assert (403 if status == 200 else status) == other.status


# Limits and the drain.


@pytest.mark.parametrize(("limits", "status"), [(Limits(1, 9), 503), (Limits(9, 1), 429)])
async def test_beyond_the_limit_a_request_that_would_wait_is_refused(limits: Limits, status: int) -> None:
    polling = Polling(limits=limits)
    polling.load_now()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(polling.poll, f"version={polling.version()}")
        await wait_all_tasks_blocked()
        response = await polling.ask(f"version={polling.version()}")
        assert (status, "1") == (response.status, response.headers["Retry-After"])
        # All other requests are answered.
        assert 200 == (await polling.ask(f"version={OLD}")).status
        assert 304 == (await polling.ask(f"version={polling.version()}&wait=0")).status
        assert 200 == (await polling.ordinary()).status
        polling.publish({"a": 2})

    assert {"limited": 1, "changed": 1} == polling.counts.outcomes


async def test_each_client_of_a_proxy_has_its_own_limit() -> None:
    polling = Polling(limits=Limits(9, 1))
    polling.load_now()
    proxies = Proxies(("192.0.2.1",))
    statuses: list[int] = []

    async def poll(client: str) -> None:
        headers = [(b"host", b"localhost"), (b"x-forwarded-for", client.encode())]
        head = RequestHead("GET", PATH, f"version={polling.version()}", headers, Sender("192.0.2.1"), proxies)
        statuses.append((await polling.app.respond(head, polling.body)).status)

    async with trio.open_nursery() as nursery:
        for client in ("198.51.100.1", "198.51.100.2"):
            nursery.start_soon(poll, client)
        await wait_all_tasks_blocked()
        await poll("198.51.100.1")
        assert [429] == statuses
        polling.publish({"a": 2})
    assert [429, 200, 200] == statuses


async def test_a_request_that_waits_holds_no_place_of_made_up_keys(polling: Polling) -> None:
    polling.reader.exists = lambda key: False  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        for number in range(8):
            key = Key(f"made-up-{number}", "dev", "main")
            polling.publish({"b": number}, key)
            path = f"/api/v1/watch/{key.application}/dev"
            nursery.start_soon(polling.ask, f"version={polling.version(key)}", "GET", path)
            await wait_all_tasks_blocked()
        assert 8 == len(polling.late)
        assert 200 == (await polling.ordinary("/made-up-0/dev")).status
        nursery.cancel_scope.cancel()


async def test_a_drain_answers_503_and_not_304(polling: Polling) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(polling.poll, f"version={polling.version()}")
        await wait_all_tasks_blocked()
        polling.late.drain()

    (response,) = polling.responses
    assert 503 == response.status
    assert response.headers["Retry-After"] in ("1", "2", "3")
    assert b"stopping" in response.body
    assert {"unavailable": 1} == polling.counts.outcomes


async def test_in_a_drain_a_change_is_still_answered(polling: Polling) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(polling.poll, f"version={polling.version()}")
        await wait_all_tasks_blocked()
        polling.late.drain()
        polling.publish({"a": 2})
    assert [200] == [each.status for each in polling.responses]


async def test_a_request_that_comes_in_a_drain_does_not_wait(polling: Polling) -> None:
    polling.late.drain()
    assert 503 == (await polling.ask(f"version={polling.version()}")).status
    assert 200 == (await polling.ask(f"version={OLD}")).status


# The candidate of a roll-out.


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("instance=one", {}),
        ("instance=one", {"x_vortex_instance": "two"}),
        ("", {"x_vortex_instance": "one"}),
        ("canary=true", {}),
        ("", {"x_vortex_canary": "true"}),
    ],
)
async def test_a_request_waits_for_the_version_of_its_track(
    polling: Polling, query: str, headers: dict[str, str]
) -> None:
    candidate = candidate_of(KEY)
    polling.publish({"a": 2}, candidate)
    polling.line.targets[KEY], polling.line.reached[KEY] = polling.version(candidate), ("one",)

    assert polling.version(candidate) == (await polling.ask(query, **headers)).headers["X-Vortex-Version"]
    assert polling.version() == (await polling.ask("instance=two")).headers["X-Vortex-Version"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: polling.poll(f"version={polling.version(candidate)}&{query}", **headers))
        await wait_all_tasks_blocked()
        assert (0, 1) == (polling.line.held[KEY], polling.line.held[candidate])
        polling.publish({"a": 3})
        await wait_all_tasks_blocked()
        assert [] == polling.responses
        polling.publish({"a": 4}, candidate)

    (response,) = polling.responses
    assert (200, polling.version(candidate)) == (response.status, response.headers["X-Vortex-Version"])
    assert 0 == polling.line.held[candidate]


async def test_a_request_whose_track_changes_is_answered(polling: Polling) -> None:
    candidate = candidate_of(KEY)
    polling.publish({"a": 2}, candidate)
    polling.line.targets[KEY] = polling.version(candidate)
    async with trio.open_nursery() as nursery:
        for name in ("one", "two"):
            nursery.start_soon(polling.poll, f"version={polling.version()}&instance={name}")
        await wait_all_tasks_blocked()
        polling.line.reached[KEY] = ("one",)
        polling.late.wake_keys([KEY])
        await wait_all_tasks_blocked()

        (response,) = polling.responses
        assert (200, polling.version(candidate)) == (response.status, response.headers["X-Vortex-Version"])
        assert 1 == len(polling.late)
        nursery.cancel_scope.cancel()


async def test_an_instance_that_loses_the_candidate_is_answered_with_its_own_key(polling: Polling) -> None:
    candidate = candidate_of(KEY)
    polling.publish({"a": 2}, candidate)
    polling.line.targets[KEY], polling.line.reached[KEY] = polling.version(candidate), ("one", "two")
    async with trio.open_nursery() as nursery:
        for name in ("one", "two"):
            nursery.start_soon(polling.poll, f"version={polling.version(candidate)}&instance={name}")
        await wait_all_tasks_blocked()
        polling.line.reached[KEY] = ("one",)
        polling.late.wake_keys([KEY])
        await wait_all_tasks_blocked()
        assert [polling.version()] == [each.headers["X-Vortex-Version"] for each in polling.responses]
        del polling.line.targets[KEY]
        polling.late.wake_keys([KEY])

    assert [polling.version()] * 2 == [each.headers["X-Vortex-Version"] for each in polling.responses]
    assert 0 == polling.line.held[candidate]


async def test_in_a_roll_out_the_responses_vary_by_the_instance(polling: Polling, autojump_clock: MockClock) -> None:
    candidate = candidate_of(KEY)
    polling.publish({"a": 2}, candidate)
    polling.line.targets[KEY], polling.line.reached[KEY] = polling.version(candidate), ("one",)
    ordinary = await polling.ordinary(x_vortex_instance="one")
    response = await polling.ask(f"version={polling.version(candidate)}&wait=1", x_vortex_instance="one")

    assert (304, ordinary.headers) == (response.status, response.headers)
    assert "X-Vortex-Instance, X-Vortex-Canary" in response.headers["Vary"]


async def test_a_roll_out_that_begins_refuses_a_request_with_an_invalid_instance(polling: Polling) -> None:
    candidate = candidate_of(KEY)
    polling.publish({"a": 2}, candidate)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(polling.poll, f"version={polling.version()}&canary=maybe")
        await wait_all_tasks_blocked()
        polling.line.targets[KEY] = polling.version(candidate)
        polling.late.wake_keys([KEY])

    assert [400] == [each.status for each in polling.responses]
    assert {"failed": 1} == polling.counts.outcomes


async def test_a_track_that_changes_to_the_same_version_moves_the_wait(polling: Polling) -> None:
    candidate = candidate_of(KEY)
    polling.publish({"a": 1}, candidate)
    polling.line.targets[KEY] = polling.version(candidate)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(polling.poll, f"version={polling.version()}&instance=one")
        await wait_all_tasks_blocked()
        polling.line.reached[KEY] = ("one",)
        polling.late.wake_keys([KEY])
        await wait_all_tasks_blocked()
        assert ([], 0, 1) == (polling.responses, polling.line.held[KEY], polling.line.held[candidate])
        polling.publish({"a": 5}, candidate)
    assert [200] == [each.status for each in polling.responses]


async def test_a_track_that_changes_while_a_request_is_registered_is_not_lost(polling: Polling) -> None:
    candidate = candidate_of(KEY)
    polling.publish({"a": 2}, candidate)
    polling.line.targets[KEY] = polling.version(candidate)
    polling.line.doorway = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(polling.poll, f"version={polling.version()}&instance=one")
        await wait_all_tasks_blocked()
        polling.line.reached[KEY] = ("one",)
        polling.late.wake_keys([KEY])
        polling.line.doorway.set()
    (response,) = polling.responses
    assert (200, polling.version(candidate)) == (response.status, response.headers["X-Vortex-Version"])


# The late import.


async def test_the_module_is_loaded_for_the_first_wait() -> None:
    polling = Polling()
    assert 0 == len(polling.late)
    for do in (polling.late.wake_all, lambda: polling.late.wake_keys([KEY])):
        do()
    assert 0 == polling.loads
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(polling.poll, f"version={polling.version()}")
            while not len(polling.late):  # noqa: ASYNC110 - it is loaded in a thread
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
    assert 1 == polling.loads


@pytest.mark.parametrize("error", [OSError(24, "too many open files"), ImportError("gone")])
async def test_if_it_can_not_be_loaded_the_request_is_refused(error: Exception) -> None:
    polling = Polling()
    polling.load_error = error
    with capture_logs() as logs:
        response = await polling.ask(f"version={polling.version()}")
    assert (503, "1") == (response.status, response.headers["Retry-After"])
    assert [
        {"event": "protocol not loaded", "protocol": "long poll", "reason": str(error), "log_level": "warning"}
    ] == logs
    polling.load_error = None
    assert 304 == (await polling.ask(f"version={polling.version()}&wait=0")).status


async def test_a_drain_before_the_module_is_loaded_counts() -> None:
    polling = Polling()
    polling.late.drain()
    response = await polling.ask(f"version={polling.version()}")
    assert (503, 1) == (response.status, polling.loads)
    assert b"stopping" in response.body

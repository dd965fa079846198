"""The application limits the number of large bodies that are received at a time. A body is large if it exceeds `server.body_bytes`."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ClassVar

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import open_gate, timestamp
from tests.http.adapter.test_quart import FakeBody
from tests.http.serving import FakeReader, quart_at_once
from vortexd.http import app as app_module
from vortexd.http.adapter.quart import QuartBodies
from vortexd.http.app import Application, create_app
from vortexd.http.endpoint import Endpoint, Headers, Request, Response
from vortexd.http.request_head import RequestHead
from vortexd.http.routes import standard_routes
from vortexd.net.proxies import Sender
from vortexd.observe.metrics import Metrics
from vortexd.settings.http import HttpSettings

MOST = 8
USUAL = 100


class Large(Endpoint):
    """Takes larger bodies than others, and answers when it may."""

    route: ClassVar = "/large"
    methods: ClassVar = ("POST",)
    is_public: ClassVar = True

    def __init__(self) -> None:
        self.may_answer = trio.Event()

    @property
    def body_bytes(self) -> int:
        return 2 * USUAL

    def is_announced(self, path: str, headers: Headers, length: int) -> bool:
        return (path, headers.get("sender"), length <= 2 * USUAL) == ("/large", "a node", True)

    async def answer(self, request: Request) -> Response:
        await self.may_answer.wait()
        return Response(body=b"%d" % len(request.body))


def application(endpoint: Endpoint, load: Callable[[], Awaitable[type[QuartBodies]]] = quart_at_once) -> Application:
    metrics = Metrics()
    routes = standard_routes(FakeReader(), metrics, more=[endpoint])
    return create_app(routes, metrics, lambda: USUAL, timestamp, open_gate(), load)


async def respond(app: Application, length: int | None, path: str = "/large", by: bytes = b"a stranger") -> Response:
    announced = [(b"sender", by)]
    if length is not None:
        announced.append((b"content-length", b"%d" % length))
    head = RequestHead("POST", path, "", [(b"host", b"localhost"), *announced], Sender("192.0.2.1"))
    with trio.fail_after(10):
        return await app.respond(head, FakeBody([b"x" * (length or 150)]))


@pytest.mark.parametrize(
    ("length", "status"),
    [pytest.param(USUAL, 200, id="usual"), pytest.param(USUAL + 1, 503, id="large"), pytest.param(None, 503, id="any")],
)
async def test_while_eight_are_received_others_are_refused_unless_they_are_small(
    autojump_clock: MockClock, length: int | None, status: int
) -> None:
    endpoint = Large()
    app = application(endpoint)
    responses: list[Response] = []

    async def ask() -> None:
        responses.append(await respond(app, USUAL + 1))

    async with trio.open_nursery() as nursery:
        for _ in range(MOST):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        if status == 200:
            endpoint.may_answer.set()
        extra = await respond(app, length)
        endpoint.may_answer.set()

    assert [200] * MOST == [each.status for each in responses]
    assert status == extra.status
    assert ("1" if status == 503 else None) == extra.headers.get("Retry-After")
    # All places are free again.
    assert 200 == (await respond(app, USUAL + 1)).status


async def test_eight_are_received_at_a_time(autojump_clock: MockClock) -> None:
    endpoint = Large()
    app = application(endpoint)

    async with trio.open_nursery() as nursery:
        for _ in range(MOST):
            nursery.start_soon(respond, app, USUAL + 1)
        await wait_all_tasks_blocked()
        assert MOST == len(nursery.child_tasks)
        endpoint.may_answer.set()


async def test_the_limit_is_that_of_the_endpoint(autojump_clock: MockClock) -> None:
    endpoint = Large()
    endpoint.may_answer.set()
    app = application(endpoint)

    assert 200 == (await respond(app, 2 * USUAL)).status
    assert 413 == (await respond(app, 2 * USUAL + 1)).status
    assert 413 == (await respond(app, USUAL + 1, "/health")).status
    assert 405 == (await respond(app, USUAL, "/health")).status


async def blocked(nursery: trio.Nursery, app: Application, count: int, **options: Any) -> None:
    """Let this many requests wait for their answers."""
    before = len(nursery.child_tasks)
    for _ in range(count):
        nursery.start_soon(partial(respond, app, USUAL + 1, **options))
    await wait_all_tasks_blocked()
    assert count == len(nursery.child_tasks) - before


async def test_large_bodies_of_strangers_do_not_keep_out_those_of_known_senders(autojump_clock: MockClock) -> None:
    endpoint = Large()
    app = application(endpoint)

    async with trio.open_nursery() as nursery:
        await blocked(nursery, app, MOST)
        await blocked(nursery, app, MOST, by=b"a node")
        for length in (None, 2 * USUAL + 1):
            # Without a length, or with one that exceeds the limit, nothing is announced.
            assert 503 == (await respond(app, length, by=b"a node")).status
        assert 503 == (await respond(app, USUAL + 1)).status
        endpoint.may_answer.set()


async def test_large_bodies_of_known_senders_do_not_keep_out_those_of_strangers(autojump_clock: MockClock) -> None:
    endpoint = Large()
    app = application(endpoint)

    async with trio.open_nursery() as nursery:
        await blocked(nursery, app, MOST, by=b"a node")
        await blocked(nursery, app, MOST)
        endpoint.may_answer.set()


async def test_large_bodies_of_known_senders_have_a_bound_and_then_take_the_other_places(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "_ANNOUNCED_BYTES", 3 * (USUAL + 1))
    endpoint = Large()
    app = application(endpoint)

    async with trio.open_nursery() as nursery:
        await blocked(nursery, app, 3 + MOST, by=b"a node")
        assert 503 == (await respond(app, USUAL + 1, by=b"a node")).status
        endpoint.may_answer.set()

    # All places are free again, also after a client that has left.
    endpoint.may_answer = trio.Event()
    async with trio.open_nursery() as nursery:
        await blocked(nursery, app, 3, by=b"a node")
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        await blocked(nursery, app, MOST)
        await blocked(nursery, app, 3, by=b"a node")
        endpoint.may_answer.set()


def test_the_bound_is_that_of_eight_of_the_largest_questions() -> None:
    assert app_module._ANNOUNCED_BYTES == 8 * 8_388_608


async def test_no_endpoint_knows_senders_unless_it_says_so() -> None:
    routes = standard_routes(FakeReader(), Metrics(), more=[Large()])
    headers = Headers([(b"sender", b"a node")])
    assert routes.is_announced("/large", headers, 1)
    assert not routes.is_announced("/health", headers, 1)
    assert not routes.is_announced("/nothing", headers, 1)
    routes.replace(HttpSettings(prefix="/p"))
    assert routes.is_announced("/p/large", headers, 1)


async def test_the_first_bodies_load_quart_once(autojump_clock: MockClock) -> None:
    may_load, loads, statuses = trio.Event(), 0, []

    async def load() -> type[QuartBodies]:
        nonlocal loads
        loads += 1
        await may_load.wait()
        return QuartBodies

    endpoint = Large()
    endpoint.may_answer.set()
    app = application(endpoint, load)

    async def ask() -> None:
        statuses.append((await respond(app, USUAL)).status)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        may_load.set()

    assert [200, 200, 200] == statuses
    assert 1 == loads


@pytest.mark.parametrize("error", [OSError("too many open files"), ImportError("no such module")])
async def test_if_quart_cannot_be_loaded_bodies_get_503_until_it_can(
    autojump_clock: MockClock, error: Exception
) -> None:
    errors = [error]

    async def load() -> type[QuartBodies]:
        if errors:
            raise errors.pop()
        return QuartBodies

    endpoint = Large()
    endpoint.may_answer.set()
    app = application(endpoint, load)
    with capture_logs() as logs:
        refused = await respond(app, USUAL)

    assert (503, "1") == (refused.status, refused.headers["Retry-After"])
    assert [("bodies not received", str(error))] == [(each["event"], each["reason"]) for each in logs]
    assert 200 == (await respond(app, USUAL)).status

"""The application limits the number of large bodies that are received at a time. A body is large if it exceeds `server.body_bytes`."""

from collections.abc import Awaitable, Callable
from typing import ClassVar

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import open_gate, timestamp
from tests.http.adapter.test_quart import FakeBody
from tests.http.serving import FakeReader, quart_at_once
from vortexd.http.adapter.quart import QuartBodies
from vortexd.http.app import Application, create_app
from vortexd.http.endpoint import Endpoint, Request, Response
from vortexd.http.request_head import RequestHead
from vortexd.http.routes import standard_routes
from vortexd.net.proxies import Sender
from vortexd.observe.metrics import Metrics

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

    async def answer(self, request: Request) -> Response:
        await self.may_answer.wait()
        return Response(body=b"%d" % len(request.body))


def application(endpoint: Endpoint, load: Callable[[], Awaitable[type[QuartBodies]]] = quart_at_once) -> Application:
    metrics = Metrics()
    routes = standard_routes(FakeReader(), metrics, more=[endpoint])
    return create_app(routes, metrics, lambda: USUAL, timestamp, open_gate(), load)


async def respond(app: Application, length: int | None, path: str = "/large") -> Response:
    announced = [] if length is None else [(b"content-length", b"%d" % length)]
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
    assert [("Quart can't be imported", str(error))] == [(each["event"], each["reason"]) for each in logs]
    assert 200 == (await respond(app, USUAL)).status

"""The internals of Quart that the adapter relies on, and the behaviour of the adapter."""

from collections.abc import Iterable
from contextlib import AbstractContextManager

import pytest
import trio
from quart_trio import QuartTrio
from quart_trio.wrappers import TrioRequest
from trio.testing import MockClock

from vortexd.core.errors import RemoteError
from vortexd.http.adapter.quart import QuartBodies
from vortexd.http.endpoint import Response
from vortexd.http.request_head import PeerGone, RequestHead
from vortexd.net.proxies import Sender

SENDER = Sender("192.0.2.1")


class FakeBody:
    """A body of some parts; then the peer stays, or leaves.

    Args:
        error: Raised behind the parts, in place of their end.
    """

    def __init__(self, parts: Iterable[bytes], error: Exception | None = None, *, stays: bool = True) -> None:
        self.parts = [*parts]
        self._error = error
        self._stays = stays

    async def receive(self) -> bytes | None:
        await trio.lowlevel.checkpoint()
        if self.parts:
            return self.parts.pop(0)
        if self._error is not None:
            raise self._error
        return None

    async def wait_gone(self) -> None:
        if self._stays:
            await trio.sleep_forever()

    def waiting(self) -> AbstractContextManager[None]:
        raise NotImplementedError


def head(method: str = "POST", path: str = "/x", **headers: str) -> RequestHead:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return RequestHead(method, path, "", raw, SENDER)


async def echo(_: RequestHead, body: bytes) -> Response:
    return Response(201, body)


def failure(error: RemoteError) -> Response:
    return Response(error.status, error.reason.encode())


async def responded(body: FakeBody, limit: int = 4, request: RequestHead | None = None) -> tuple[int, bytes]:
    response = await QuartBodies(echo, failure).respond(request or head(), body, limit)
    return response.status, response.body


# Contracts.


def test_contract_quart_passes_the_limit_and_the_scope_of_a_request_by_name() -> None:
    """Relied upon to give each request its own limit before its first byte: Quart has one limit for all."""
    app = QuartTrio("x")
    options: dict[str, object] = {}

    class Recorded(TrioRequest):
        def __init__(self, *_: object, **given: object) -> None:
            options.update(given)

    app.request_class = Recorded
    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": "/",
        "query_string": b"",
        "headers": [],
        "http_version": "1.0",
    }
    app.asgi_http_class(app, scope)._create_request_from_scope(None)  # type: ignore[arg-type]  # the function that sends is never called

    assert {"max_content_length", "scope"} <= options.keys()
    assert options["scope"] is scope


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/nowhere"), ("OPTIONS", "/x"), ("BREW", "//a//b/"), ("POST", "/%zz")]
)
async def test_contract_before_request_runs_whatever_the_router_makes_of_a_path(method: str, path: str) -> None:
    """Relied upon because Quart's router decodes a path before it takes it apart, so our router is asked instead."""
    assert (201, b"ab") == await responded(FakeBody([b"ab"]), request=head(method, path))


# What the adapter promises.


@pytest.mark.parametrize(
    ("parts", "status"), [([], 201), ([b"abcd"], 201), ([b"ab", b"", b"cd"], 201), ([b"abc", b"de"], 413)]
)
async def test_a_body_has_at_most_its_limit(parts: list[bytes], status: int) -> None:
    answer = b"a body has at most 4 bytes here" if status == 413 else b"".join(parts)

    assert (status, answer) == await responded(FakeBody(parts))


async def test_a_length_beyond_the_limit_is_refused_before_the_body_is_whole() -> None:
    body = FakeBody([b"x"], trio.TooSlowError())

    assert 413 == (await responded(body, request=head(content_length="5")))[0]


@pytest.mark.parametrize("error", [PeerGone(), trio.TooSlowError()])
async def test_a_body_that_does_not_become_whole_is_an_error_of_its_connection(error: Exception) -> None:
    with pytest.raises(type(error)):
        await responded(FakeBody([b"ab"], error))


async def test_a_peer_that_leaves_cancels_the_request(autojump_clock: MockClock) -> None:
    cancelled = trio.Event()

    async def slow(_: RequestHead, body: bytes) -> Response:
        try:
            await trio.sleep_forever()
            raise AssertionError
        finally:
            cancelled.set()

    with trio.fail_after(10), pytest.raises(PeerGone):
        await QuartBodies(slow, failure).respond(head(), FakeBody([], stays=False), 4)
    assert cancelled.is_set()


async def test_an_error_beside_the_request_handler_is_500() -> None:
    async def broken(_: RequestHead, body: bytes) -> Response:
        raise ZeroDivisionError

    response = await QuartBodies(broken, failure).respond(head(), FakeBody([]), 4)

    assert (500, b"Internal Server Error") == (response.status, response.body)

"""The POST of a hook, to a server of a few lines."""

import contextlib
import functools
from collections.abc import AsyncIterator

import pytest
import trio

from vortexd.agent.commands import Failure
from vortexd.agent.post import post


@contextlib.asynccontextmanager
async def server(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answers the first bytes of each connection. If the answer is empty, sends nothing."""
    heard: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        heard.append(bytes(await stream.receive_some(65_536)))
        if not answer:
            await trio.sleep_forever()
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(functools.partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        yield f"http://127.0.0.1:{port}", heard
        nursery.cancel_scope.cancel()


async def test_it_posts_nothing_with_its_authorization() -> None:
    async with server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]") as (url, heard):
        await post(f"{url}/actuator/refresh?x=1", "Bearer abc", 20.0)

    head = heard[0].decode().lower()
    assert head.startswith("post /actuator/refresh?x=1 http/1.1\r\n")
    assert "\r\nauthorization: bearer abc\r\n" in head
    assert "\r\ncontent-length: 0\r\n" in head


@pytest.mark.parametrize("status", [204, 404, 500, 302])
async def test_only_2xx_is_success(status: int) -> None:
    async with server(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status) as (url, _):
        if status == 204:
            await post(url, "", 20.0)
            return
        with pytest.raises(Failure, match=f"answered with {status}"):
            await post(url, "", 20.0)


@pytest.mark.parametrize(
    "answer", [b"\x00\x01\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000]
)
async def test_what_is_no_answer_is_a_failure(answer: bytes) -> None:
    async with server(answer) as (url, _):
        with pytest.raises(Failure, match="no answer"):
            await post(url, "", 20.0)


async def test_who_does_not_answer_is_waited_for_until_the_deadline() -> None:
    async with server(b"") as (url, _):
        with pytest.raises(Failure, match="longer than"):
            await post(url, "", 0.2)


async def test_who_is_not_there_is_a_failure() -> None:
    async with server(b"") as (url, _):
        pass

    with pytest.raises(Failure, match="is it running"):
        await post(url, "", 20.0)

"""The request for an explanation, against a server at the other end of memory streams. The clock jumps."""

import logging
import ssl
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from vortexd.client import explaining
from vortexd.client.address import Address
from vortexd.client.explaining import DEADLINE, ask
from vortexd.core.model import Key

ADDRESS = Address("config.example", 8888)
KEY = Key("shop", "prod", "main")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Web:
    """Answers each request with given pieces, and keeps what it has heard."""

    def __init__(self, *pieces: bytes, closes: bool = True) -> None:
        self.heard = b""
        self._pieces = pieces
        self._closes = closes
        self.stream: Any = None

    async def connect(self, _: Address) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.stream, theirs = trio.testing.memory_stream_pair()
        trio.lowlevel.spawn_system_task(self._serve, theirs)
        return self.stream  # type: ignore[no-any-return]

    async def _serve(self, stream: trio.abc.Stream) -> None:
        try:
            while b"\r\n\r\n" not in self.heard:
                self.heard += await stream.receive_some()
            for piece in self._pieces:
                await stream.send_all(piece)
            if self._closes:
                await stream.aclose()
        except trio.BrokenResourceError:
            pass


async def answer(*pieces: bytes, closes: bool = True) -> bytes | None:
    web = Web(*pieces, closes=closes)
    found = await ask(web.connect, ADDRESS, None, KEY, "")
    with pytest.raises(trio.ClosedResourceError):
        await web.stream.send_all(b"x")
    return found


async def test_it_asks_for_the_flat_key_with_the_token_of_the_client(autojump_clock: MockClock) -> None:
    web = Web(OK)

    assert b"{}" == await ask(web.connect, ADDRESS, "s3cret", KEY, "a.b")
    head, *fields = web.heard.decode().split("\r\n")
    assert "GET /api/v1/explain/shop/prod/main?key=a.b HTTP/1.1" == head
    assert {
        "Host: config.example:8888",
        "Accept: application/json",
        "Connection: close",
        "Authorization: Bearer s3cret",
    } == {field for field in fields if field}


async def test_without_a_token_it_sends_none(autojump_clock: MockClock) -> None:
    web = Web(OK)
    await ask(web.connect, ADDRESS, None, KEY, "")

    assert b"uthorization" not in web.heard


async def test_an_answer_may_come_in_pieces_and_after_other_responses(autojump_clock: MockClock) -> None:
    chunked = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"

    assert b"{}" == await answer(chunked, b"1\r\n}\r\n0\r\n\r\n", closes=False)


@pytest.mark.parametrize("status", [b"204 None", b"301 Moved", b"401 No", b"403 No", b"404 No", b"500 No"])
async def test_another_status_is_no_answer(autojump_clock: MockClock, status: bytes) -> None:
    assert await answer(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}", closes=False) is None


@pytest.mark.parametrize("pieces", [(), (b"SSH-2.0\r\n\r\n",), (OK[:-1],), (b"HTTP/1.1 101 Go\r\n\r\n",)])
async def test_what_isnt_a_whole_response_is_no_answer(autojump_clock: MockClock, pieces: tuple[bytes, ...]) -> None:
    assert await answer(*pieces) is None


async def test_an_answer_is_limited(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "MAX_BYTES", 2)

    assert b"{}" == await answer(OK)
    assert await answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{ }") is None


async def test_a_silent_server_is_waited_for_until_the_deadline(autojump_clock: MockClock) -> None:
    began = trio.current_time()

    assert await answer(closes=False) is None
    assert DEADLINE == trio.current_time() - began


async def test_a_connection_that_isnt_made_is_waited_for_until_the_deadline(autojump_clock: MockClock) -> None:
    async def connect(_: Address) -> trio.abc.Stream:
        await trio.sleep_forever()
        raise AssertionError

    began = trio.current_time()
    assert await ask(connect, ADDRESS, None, KEY, "") is None
    assert DEADLINE == trio.current_time() - began


@pytest.mark.parametrize(
    ("error", "level", "text"),
    [
        (ConnectionRefusedError(111, "refused"), logging.INFO, "the server doesn't explain where values come from: "),
        (ssl.SSLError(1, "no"), logging.INFO, "the server doesn't explain where values come from: "),
        (trio.BrokenResourceError(), logging.INFO, "the server doesn't explain where values come from: "),
        (RuntimeError("a mistake"), logging.ERROR, "asking where values come from failed"),
    ],
)
async def test_an_error_is_logged_and_never_raised(
    caplog: pytest.LogCaptureFixture, error: Exception, level: int, text: str
) -> None:
    async def connect(_: Address) -> trio.abc.Stream:
        raise error

    caplog.set_level(logging.INFO, "vortexd.client")

    assert await ask(connect, ADDRESS, None, KEY, "") is None
    [record] = caplog.records
    assert level == record.levelno
    assert record.getMessage().startswith(text)

"""The parser of HTTP/1.1 by h11, and the internals of h11 that it relies on."""

import inspect
from collections.abc import Callable
from typing import Any

import h11
import pytest
from h11._receivebuffer import ReceiveBuffer

from vortexd.http.adapter.h11 import Http1Parser

HEAD = b"GET /shop/dev HTTP/1.1\r\nHost: localhost\r\n\r\n"


def server(data: bytes) -> Http1Parser:
    connection = Http1Parser(1_024)
    connection.receive_data(data)
    return connection


def answered(connection: Http1Parser) -> None:
    """Answer the request that has come, and go on to the next one."""
    connection.send(h11.Response(status_code=204, headers=[]))
    connection.send(h11.EndOfMessage())
    connection.start_next_cycle()


def requests(connection: Http1Parser) -> int:
    """How many requests follow each other until more data is needed."""
    count = 0
    while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        if isinstance(event, h11.EndOfMessage):
            count += 1
            answered(connection)
    return count


POST = b"POST /monitor HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize("first", [HEAD, POST])
def test_an_empty_line_between_requests_is_ignored_each_time(first: bytes) -> None:
    assert 4 == requests(server(first + b"\r\n" + HEAD + b"\r\n" + HEAD + HEAD))


def test_an_empty_line_that_comes_in_parts_is_ignored() -> None:
    connection = server(HEAD)
    assert 1 == requests(connection)
    connection.receive_data(b"\r")
    assert 0 == requests(connection)
    connection.receive_data(b"\n")
    assert 0 == requests(connection)
    connection.receive_data(HEAD)
    assert 1 == requests(connection)


def test_a_second_empty_line_is_no_request() -> None:
    connection = server(HEAD + b"\r\n\r\n" + HEAD)

    with pytest.raises(h11.RemoteProtocolError):
        requests(connection)


def test_empty_lines_one_by_one_are_not_ignored_for_ever() -> None:
    connection = server(HEAD + b"\r\n")
    assert 1 == requests(connection)
    connection.receive_data(b"\r\n")

    with pytest.raises(h11.RemoteProtocolError):
        requests(connection)


@pytest.mark.parametrize("rest", [b"", b"\r\n"])
def test_who_closes_behind_a_request_has_closed(rest: bytes) -> None:
    connection = server(HEAD + rest)
    assert 1 == requests(connection)
    connection.receive_data(b"")

    assert isinstance(connection.next_event(), h11.ConnectionClosed)


def test_half_an_empty_line_and_the_end_is_no_request() -> None:
    connection = server(HEAD + b"\r")
    requests(connection)
    connection.receive_data(b"")

    with pytest.raises(h11.RemoteProtocolError):
        connection.next_event()


def test_a_head_that_is_too_long_is_refused() -> None:
    with pytest.raises(h11.RemoteProtocolError):
        server(b"GET / HTTP/1.1\r\nX: " + b"x" * 1_025).next_event()


# What h11 takes for a line, and what this parser does.

CHUNKED = b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "parameters"),
    [(ReceiveBuffer.maybe_extract_lines, ["self"]), (ReceiveBuffer.maybe_extract_next_line, ["self"])],
)
def test_contract_the_methods_that_are_replaced_are_there(method: Callable[..., Any], parameters: list[str]) -> None:
    """Relied upon to check heads, trailers and the lines of chunks before h11 takes them."""
    assert parameters == [*inspect.signature(method).parameters]


def test_contract_h11_takes_lines_from_the_buffer_of_the_connection() -> None:
    """Relied upon: this buffer is replaced."""
    assert type(h11.Connection(h11.SERVER)._receive_buffer) is ReceiveBuffer
    assert type(Http1Parser(1_024)._receive_buffer) is not ReceiveBuffer


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(HEAD.replace(b"\r\n", b"\n"), 400, id="LF"),
        pytest.param(HEAD.replace(b"1.1", b"2.0"), 505, id="another version"),
        pytest.param(b"GET /" + b"x" * 8_192, 414, id="a long request line"),
        pytest.param(HEAD[:-2] + b"X: " + b"x" * 16_384 + b"\r\n\r\n", 431, id="a long head"),
        pytest.param(HEAD.replace(b"/shop", b"http:///shop"), 400, id="an absolute target without a host"),
        pytest.param(CHUNKED + b"0\r\nX: y\n\r\n", 400, id="LF after a trailer"),
        pytest.param(CHUNKED + b"0\r\n\n", 400, id="LF in place of trailers"),
        pytest.param(CHUNKED + b"0\r\nX: y\n", 400, id="LF in trailers to come"),
        pytest.param(CHUNKED + b"1;a\rb\r\n", 400, id="CR in an extension"),
        pytest.param(CHUNKED + b"1;\0\r\n", 400, id="NUL in an extension"),
    ],
)
def test_H05_what_h11_would_take_is_refused_with_its_status(data: bytes, status: int) -> None:
    connection = Http1Parser(16_384)
    connection.receive_data(data)
    with pytest.raises(h11.RemoteProtocolError) as refused:
        for _ in range(3):
            connection.next_event()

    assert status == refused.value.error_status_hint
    assert connection.is_unfinished


@pytest.mark.parametrize("trailers", [b"\r\n", b"X: y\r\n\r\n", b"X: y\r\nZ:\r\n\r\n"])
def test_chunks_with_their_trailers_are_whole(trailers: bytes) -> None:
    assert 2 == requests(server(CHUNKED + b"1;a=b\r\nx\r\n0\r\n" + trailers + HEAD))


def test_trailers_are_checked_only_up_to_their_end() -> None:
    """The next request isn't a trailer, and its body may have any bytes."""
    more = b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n\n"

    assert 2 == requests(server(CHUNKED + b"0\r\n\r\n" + more))
    assert 2 == requests(server(CHUNKED + b"0\r\nX: y\r\n\r\n" + more))


def test_the_head_of_the_current_request_is_in_origin_form() -> None:
    connection = server(HEAD.replace(b"/shop", b"http://other/shop") + HEAD)
    connection.next_event()
    assert (b"/shop/dev", [(b"host", b"other")]) == (connection.head.target, [*connection.head.headers])
    connection.next_event()
    answered(connection)
    connection.next_event()
    assert [(b"host", b"localhost")] == [*connection.head.headers]


def test_bytes_behind_the_last_request_are_dropped() -> None:
    connection = server(HEAD.replace(b"1.1", b"1.0") + b"\0" * 100)
    assert [h11.Request, h11.EndOfMessage] == [type(connection.next_event()) for _ in range(2)]

    assert h11.NEED_DATA is connection.next_event()
    assert b"" == connection.trailing_data[0]
    connection.receive_data(b"\0")
    assert h11.NEED_DATA is connection.next_event()
    connection.receive_data(b"")
    assert isinstance(connection.next_event(), h11.ConnectionClosed)


def test_a_request_is_in_its_body_until_that_is_whole() -> None:
    connection = server(POST[:-1])
    found = [connection.is_in_body]
    connection.next_event()
    found.append(connection.is_in_body)
    connection.receive_data(b"}")
    while connection.next_event() not in (h11.NEED_DATA, h11.PAUSED):
        pass
    found.append(connection.is_in_body)

    assert [False, True, False] == found

"""The parser of HTTP/1.1 by h11, and the internals of h11 that it relies on."""

import h11
import pytest

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

"""Decisions from the first bytes of a connection: wait for more, start a task, or treat it as urgent."""

import pytest

from tests.system.crowd import client_hello
from vortexd.net.first_bytes import PEEK_BYTES, Expected, Verdict, is_whole, judge

HTTP, TLS = Expected(False, False, 16_384), Expected(False, True, 16_384)
BEHIND_PROXY, TLS_BEHIND_PROXY = Expected(True, False, 16_384), Expected(True, True, 16_384)
WAIT, URGENT, WHOLE, PARTLY = Verdict.WAIT, Verdict.URGENT, Verdict.WHOLE, Verdict.PARTLY
GET = b"GET /shop/dev HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /monitor HTTP/1.1\r\nHost: localhost\r\n"
PROXY = b"PROXY TCP4 203.0.113.7 127.0.0.1 4321 80\r\n"
PROXY_2 = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
HELLO = client_hello()
P = pytest.param


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"", WAIT),
        (b"G", WAIT),
        (GET[:-1], WAIT),
        (GET, WHOLE),
        (GET + b"more", WHOLE),
        (b"\r", WAIT),
        (b"\r\n", WAIT),
        (b"\r\nGET", WAIT),
        (b"\r\n" + GET, WHOLE),
        (b"\r\n\r\n", WHOLE),
        (b"\r\rG", WHOLE),
        (b" GET", WHOLE),
        (b"\x16", WHOLE),
        (b"PRI * HTTP/2.0\r\n", WHOLE),
        (b"GET / HTTP/1.1\n", WHOLE),
        (b"GET / HTTP/1.1\r\nX: y\n", WHOLE),
        (b"GET / HTTP/1.1\r\nX: y\r", WAIT),
        (b"GET / HTTP/1.1\r\nX: y\r\n", WAIT),
        (b"GET /" + b"x" * 8_187, WAIT),
        (b"GET /" + b"x" * 8_188, WHOLE),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * (16_384 - 19), WAIT),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * (16_385 - 19), WHOLE),
        (POST + b"\r\n", WHOLE),
        (POST + b"Content-Length: 0\r\n\r\n", WHOLE),
        (POST + b"content-length:2 \r\n\r\n{}", WHOLE),
        (POST + b"Content-Length: 3\r\n\r\n{}", PARTLY),
        (POST + b"Content-Length: 3, 3\r\n\r\n{}x", PARTLY),
        (POST + b"Content-Length: x\r\n\r\n{}", PARTLY),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", PARTLY),
        (POST + b"X: content-length: 3\r\n\r\n", WHOLE),
    ],
)
def test_plain_http_waits_for_a_head_and_knows_whether_its_body_is_there(data: bytes, verdict: Verdict) -> None:
    assert verdict is judge(data, HTTP)


def test_a_head_that_may_be_longer_than_is_looked_at_is_read_by_a_task() -> None:
    data = b"GET / HTTP/1.1\r\nX: "
    large = Expected(False, False, 1_000_000)

    assert WAIT is judge(data.ljust(PEEK_BYTES - 1, b"x"), large)
    assert PARTLY is judge(data.ljust(PEEK_BYTES, b"x"), large)


@pytest.mark.parametrize(
    ("request_line", "verdict"),
    [
        (b"GET /health HTTP/1.1", URGENT),
        (b"HEAD /ready HTTP/1.0", URGENT),
        (b"GET /metrics?x=1 HTTP/1.1", URGENT),
        (b"GET /status HTTP/1.1", URGENT),
        (b"POST /health HTTP/1.1", WHOLE),
        (b"GET /healthy HTTP/1.1", WHOLE),
        (b"GET /health/x HTTP/1.1", WHOLE),
        (b"GET /health HTTP/1.1x", WHOLE),
        (b"get /health HTTP/1.1", WHOLE),
        (b"GET http://localhost/health HTTP/1.1", WHOLE),
    ],
)
def test_who_asks_how_the_daemon_does_is_urgent(request_line: bytes, verdict: Verdict) -> None:
    assert verdict is judge(request_line + b"\r\nHost: localhost\r\n\r\n", HTTP)
    assert WAIT is judge(request_line + b"\r\nHost: localhost\r\n", HTTP)


def test_a_body_makes_it_less_urgent() -> None:
    head = b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n"

    assert (PARTLY, URGENT) == (judge(head, HTTP), judge(head + b"x", HTTP))


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"", WAIT),
        (HELLO[:1], WAIT),
        (HELLO[:4], WAIT),
        (HELLO[:5], WAIT),
        (HELLO[:-1], WAIT),
        (HELLO, PARTLY),
        (HELLO + b"more", PARTLY),
        (b"GET", WHOLE),
        (b"\x15\x03\x03", PARTLY),
        (b"\x16\x02", PARTLY),
        (b"\0\0\0\0\0\0", PARTLY),
        (b"\x16\x03\x01\x40\x00", WAIT),
        (b"\x16\x03\x01\x40\x01", PARTLY),
        (b"\x16\x03\x01\x40\x00".ljust(16_388, b"x"), WAIT),
        (b"\x16\x03\x01\x40\x00".ljust(16_389, b"x"), PARTLY),
    ],
)
def test_tls_waits_for_the_first_record(data: bytes, verdict: Verdict) -> None:
    assert verdict is judge(data, TLS)


@pytest.mark.parametrize(
    ("data", "expected", "verdict"),
    [
        (b"", BEHIND_PROXY, WAIT),
        (PROXY[:-1], BEHIND_PROXY, WAIT),
        (PROXY, BEHIND_PROXY, WAIT),
        (PROXY + GET[:-1], BEHIND_PROXY, WAIT),
        (PROXY + GET, BEHIND_PROXY, WHOLE),
        (PROXY_2[:-1], BEHIND_PROXY, WAIT),
        (PROXY_2, BEHIND_PROXY, WAIT),
        (PROXY_2 + GET, BEHIND_PROXY, WHOLE),
        (GET, BEHIND_PROXY, WHOLE),
        (PROXY, TLS_BEHIND_PROXY, WAIT),
        (PROXY + HELLO[:-1], TLS_BEHIND_PROXY, WAIT),
        (PROXY + HELLO, TLS_BEHIND_PROXY, PARTLY),
        (PROXY + GET, TLS_BEHIND_PROXY, WHOLE),
    ],
)
def test_a_proxys_header_is_waited_for_and_what_is_behind_it(data: bytes, expected: Expected, verdict: Verdict) -> None:
    assert verdict is judge(data, expected)


@pytest.mark.parametrize(
    ("data", "is_all"),
    [(GET, True), (POST + b"Content-Length: 2\r\n\r\n{}", True), (POST + b"Content-Length: 2\r\n\r\n{", False)],
)
def test_a_request_is_whole_with_its_body(data: bytes, is_all: bool) -> None:
    assert is_all is is_whole(data)

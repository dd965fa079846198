"""Request heads: empty lines before them, absolute targets, and their bytes."""

import pytest
import trio
from trio.testing import MockClock

from vortexd.net.head import (
    Head,
    Refused,
    end_of_head,
    in_origin_form,
    origin_form,
    parse_head,
    read_head,
    to_bytes,
    without_empty_line,
)

HEAD = b"GET /shop/dev HTTP/1.1\r\nHost: localhost\r\n\r\n"
P = pytest.param


class Parts:
    """A stream on which these parts come, and then the end, or nothing any more."""

    def __init__(self, *parts: bytes, ends: bool = True) -> None:
        self._parts, self._ends = list(parts), ends

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if not self._parts and not self._ends:
            await trio.sleep_forever()
        return self._parts.pop(0) if self._parts else b""


async def read(*parts: bytes, most: int = 1_024, ends: bool = True) -> bytes | None:
    return await read_head(Parts(*parts, ends=ends), 5, most)  # type: ignore[arg-type]  # a stream that is no socket


# Empty lines.


@pytest.mark.parametrize(
    "parts",
    [
        P([b"\r\n" + HEAD], id="before it"),
        P([b"\r", b"\n" + HEAD], id="in parts"),
        P([b"\r\n", HEAD], id="by itself"),
        P([HEAD], id="none"),
        P([HEAD[:5], HEAD[5:]], id="a head in parts"),
    ],
)
async def test_one_empty_line_before_a_head_is_left_out(parts: list[bytes]) -> None:
    assert await read(*parts) == HEAD


@pytest.mark.parametrize("beginning", [b"\r\n\r\n", b"\n", b"\r\r", b"\r\n\n", b"\r\n ", b"\r\n\r"])
async def test_more_than_one_empty_line_is_no_request(beginning: bytes) -> None:
    with pytest.raises(Refused) as refused:
        await read(beginning + HEAD)

    assert 400 == refused.value.status


async def test_who_says_an_empty_line_and_no_more_has_said_nothing(autojump_clock: MockClock) -> None:
    assert await read(b"\r\n", ends=False) is None

    with pytest.raises(Refused) as refused:
        await read(b"\r\nGET", ends=False)
    assert 408 == refused.value.status


async def test_an_empty_line_and_nothing_else_is_a_peer_that_went_away() -> None:
    assert await read(b"\r\n") is None
    assert await read(b"\r") is None


# Absolute targets.


def request(target: str, **headers: str) -> Head:
    lines = [f"GET {target} HTTP/1.1", "Host: first.example", "Accept: */*"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return parse_head("\r\n".join([*lines, "", ""]).encode())


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        ("http://second.example/a/b", b"/a/b", b"second.example"),
        ("https://second.example:8443/a/b?c=http://d/", b"/a/b?c=http://d/", b"second.example:8443"),
        ("HTTP://[::1]:80/", b"/", b"[::1]:80"),
        ("http://second.example", b"/", b"second.example"),
        ("http://second.example?a=1", b"/?a=1", b"second.example"),
        ("http://second.example//a", b"//a", b"second.example"),
        ("/a/http://second.example/", b"/a/http://second.example/", b"first.example"),
        ("//second.example/a", b"//second.example/a", b"first.example"),
        ("*", b"*", b"first.example"),
    ],
)
def test_an_absolute_target_says_the_path_and_the_host(target: str, path: bytes, host: bytes) -> None:
    made = origin_form(request(target, Upgrade="websocket"))

    assert path == made.target
    assert [(b"host", host)] == [each for each in made.headers if each[0] == b"host"]
    assert {(b"accept", b"*/*"), (b"upgrade", b"websocket")} < set(made.headers)
    assert (b"GET", b"1.1") == (made.method, made.http_version)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("ftp://first.example/a", 403),
        ("ws://first.example/a", 403),
        ("http:///a", 400),
        ("https://?a", 400),
        ("http://user@first.example/a", 400),
        ("http://user:secret@first.example/a", 400),
    ],
)
def test_a_target_of_somebody_else_or_of_nobody_is_refused(target: str, status: int) -> None:
    with pytest.raises(Refused) as refused:
        origin_form(request(target))

    assert status == refused.value.status


def test_a_head_in_absolute_form_becomes_one_in_origin_form_with_all_that_follows() -> None:
    rest = b"frames\r\n\r\nmore"
    head, made = in_origin_form(
        b"GET http://second.example/ws/a/b HTTP/1.1\r\nHost: first.example\r\nUpgrade: x\r\n\r\n" + rest
    )

    assert b"GET /ws/a/b HTTP/1.1\r\nHost: second.example\r\nUpgrade: x\r\n\r\n" + rest == head
    assert (b"/ws/a/b", to_bytes(made) + rest) == (made.target, head)


def test_any_other_head_stays_as_it_is() -> None:
    head = HEAD + b"frames"

    assert (head, b"/shop/dev") == (in_origin_form(head)[0], in_origin_form(head)[1].target)


def test_an_absolute_target_of_http_1_0_needs_no_host_header() -> None:
    head, made = in_origin_form(b"GET http://second.example/a HTTP/1.0\r\n\r\n")

    assert b"GET /a HTTP/1.0\r\nHost: second.example\r\n\r\n" == head
    assert b"/a" == made.target


# The end of a head.


@pytest.mark.parametrize(
    ("data", "size"),
    [
        P(b"", 0, id="nothing"),
        P(b"G", 0, id="a letter"),
        P(HEAD[:-1], 0, id="all but a byte"),
        P(HEAD, len(HEAD), id="a head"),
        P(HEAD + HEAD, len(HEAD), id="two heads"),
        P(HEAD + b"\n\0", len(HEAD), id="a head and a body"),
    ],
)
def test_a_head_ends_at_its_empty_line(data: bytes, size: int) -> None:
    assert size == end_of_head(data, len(HEAD) * 2)


@pytest.mark.parametrize(
    ("data", "most", "status", "reason"),
    [
        P(b"\x16\x03\x01", 99, 400, "this port speaks plain HTTP, not TLS", id="TLS"),
        P(b"\x16\x02", 99, 400, "this isn't an HTTP request", id="almost TLS"),
        P(b"\0", 99, 400, "this isn't an HTTP request", id="NUL"),
        P(b"PRI * HTTP/2.0", 99, 400, "this port speaks HTTP/1.1; HTTP/2 needs TLS", id="HTTP/2"),
        P(b"GET / HTTP/1.1\n", 99, 400, "each line of a request head must end in CR LF", id="LF"),
        P(HEAD, len(HEAD) - 1, 431, f"a request head must have at most {len(HEAD) - 1} bytes", id="a byte too many"),
        P(b"GET / HTTP/1.1\r\nX", 16, 431, "a request head must have at most 16 bytes", id="incomplete"),
        P(b"G" * 8_193, 16_384, 414, "a request line must have at most 8192 bytes", id="a long line"),
        P(b"G" * 8_193 + b"\r\n", 16_384, 414, "a request line must have at most 8192 bytes", id="a long whole line"),
    ],
)
def test_what_cannot_become_a_head_is_refused_at_once(data: bytes, most: int, status: int, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        end_of_head(data, most)

    assert (status, reason) == (refused.value.status, refused.value.reason)


@pytest.mark.parametrize("data", [b"G" * 8_192, b"G" * 8_192 + b"\r\n", b"GET / HTTP/1.1\r\nX"])
def test_what_may_still_become_a_head_is_waited_for(data: bytes) -> None:
    assert 0 == end_of_head(data, max(17, len(data)))


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (b"", b""),
        (b"\r", b""),
        (b"\r\n", b""),
        (b"\r\nG", b"G"),
        (b"\r\n\r\n", b"\r\n"),
        (b"\rG", b"\rG"),
        (HEAD, HEAD),
    ],
)
def test_one_empty_line_before_a_head_does_not_count(received: bytes, expected: bytes) -> None:
    assert expected == without_empty_line(received)


# The parts of a head.


def parsed(*lines: str, line: str = "GET /shop/dev HTTP/1.1", host: str = "Host: localhost") -> Head:
    return parse_head("\r\n".join([line, *([host] if host else []), *lines, "", ""]).encode("latin-1") + b"behind")


def test_a_head_is_taken_apart() -> None:
    head = parsed("Accept:  */* \t", "X-Empty:", "x-odd: \x01\xff a")

    assert (b"GET", b"/shop/dev", b"1.1") == (head.method, head.target, head.http_version)
    assert [(b"host", b"localhost"), (b"accept", b"*/*"), (b"x-empty", b""), (b"x-odd", b"\x01\xff a")] == [
        *head.headers
    ]
    assert b"Host: localhost\r\nAccept:  */* \t\r\nX-Empty:\r\nx-odd: \x01\xff a\r\n" == head.fields
    assert len(to_bytes(head)) == head.size
    assert not head.closes
    assert head.is_plain


@pytest.mark.parametrize(
    ("lines", "line", "is_plain"),
    [
        P([], "GET / HTTP/1.1", True, id="nothing special"),
        P([], "POST / HTTP/1.1", True, id="a method without a body"),
        P([], "CONNECT localhost:80 HTTP/1.1", False, id="CONNECT"),
        P([], "connect localhost:80 HTTP/1.1", True, id="another method than CONNECT"),
        P(["Content-Length: 0"], "GET / HTTP/1.1", True, id="no body"),
        P(["Content-Length: 1"], "GET / HTTP/1.1", False, id="a body"),
        P(["Content-Length: 00"], "GET / HTTP/1.1", False, id="an unusual length"),
        P(["Transfer-Encoding: chunked"], "GET / HTTP/1.1", False, id="chunks"),
        P(["Expect: 100-continue"], "GET / HTTP/1.1", False, id="an interim response"),
        P(["Expect: x"], "GET / HTTP/1.1", False, id="another expectation"),
        P(["Upgrade: h2c"], "GET / HTTP/1.1", False, id="an upgrade"),
        P(["Connection: Upgrade"], "GET / HTTP/1.1", True, id="no upgrade"),
        P(["Expect: x", "Content-Length: 0"], "GET / HTTP/1.1", False, id="no body and an expectation"),
    ],
)
def test_a_plain_request_needs_nothing_but_a_response(lines: list[str], line: str, is_plain: bool) -> None:
    assert is_plain == parsed(*lines, line=line).is_plain


@pytest.mark.parametrize(
    ("lines", "version", "closes"),
    [
        ([], "1.1", False),
        ([], "1.2", False),
        ([], "1.0", True),
        (["Connection: keep-alive"], "1.0", True),
        (["Connection: CLOSE"], "1.1", True),
        (["Connection: keep-alive , close"], "1.1", True),
        (["Connection: keep-alive", "Connection: close"], "1.1", True),
        (["Connection: closed"], "1.1", False),
        (["X-Connection: close"], "1.1", False),
    ],
)
def test_a_connection_ends_if_the_client_says_so_or_speaks_http_1_0(
    lines: list[str], version: str, closes: bool
) -> None:
    assert closes == parsed(*lines, line=f"GET / HTTP/{version}").closes


@pytest.mark.parametrize(
    ("lines", "length"),
    [([], None), (["Content-Length: 5"], b"5"), (["content-length: 5, 5"], b"5"), (["Content-Length: 5"] * 2, b"5")],
)
def test_a_length_is_stated_once_however_often_it_was_sent(lines: list[str], length: bytes | None) -> None:
    head = parsed(*lines, "X: y")

    assert ([] if length is None else [length]) == [value for name, value in head.headers if name == b"content-length"]
    assert (b"x", b"y") in head.headers


def test_a_length_of_20_digits_is_the_longest() -> None:
    assert (b"content-length", b"0" * 20) in parsed("Content-Length: " + "0" * 20).headers

    with pytest.raises(Refused):
        parsed("Content-Length: " + "0" * 21)


def test_http_1_0_needs_no_host() -> None:
    assert b"1.0" == parsed(line="GET / HTTP/1.0", host="").http_version


@pytest.mark.parametrize(
    ("head", "status", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", 400, "each line of a request head must end in CR LF"),
        (b"GET /\r\n\r\n", 400, "this isn't a valid HTTP request"),
        (HEAD[:-2], 400, "this isn't a valid HTTP request"),
        (HEAD.replace(b"1.1", b"3.0"), 505, "this server speaks HTTP/1.1"),
        (HEAD.replace(b"Host", b"Transfer-Encoding: x\r\nHost"), 501, "this isn't a valid HTTP request"),
        (
            HEAD.replace(b"Host", b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\nHost"),
            400,
            "a request must not have both Content-Length and Transfer-Encoding",
        ),
        (
            HEAD.replace(b"1.1", b"1.0").replace(b"Host", b"Transfer-Encoding: chunked\r\nHost"),
            400,
            "a request of HTTP/1.0 must not have Transfer-Encoding",
        ),
    ],
)
def test_an_invalid_head_is_refused_with_its_reason(head: bytes, status: int, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_head(head)

    assert (status, reason) == (refused.value.status, refused.value.reason)


def test_an_absolute_target_replaces_the_host_wherever_it_stands() -> None:
    made = origin_form(parsed("Accept: */*", "hOsT:first", "Hostile: x", host="", line="GET http://second/a HTTP/1.1"))

    assert b"Host: second\r\nAccept: */*\r\nHostile: x\r\n" == made.fields
    assert [(b"host", b"second"), (b"accept", b"*/*"), (b"hostile", b"x")] == [*made.headers]
    assert len(to_bytes(made)) == made.size


async def test_a_head_that_comes_whole_but_is_too_large_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        await read(HEAD, most=len(HEAD) - 1)

    assert 431 == refused.value.status

"""Request heads: empty lines before them, absolute targets, and their bytes."""

import pytest
import trio
from trio.testing import MockClock

from vortexd.net.head import Head, Refused, in_origin_form, origin_form, parse_head, read_head, to_bytes

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

"""The head of an HTTP/2 request, and the parts of its body."""

import math

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.core.errors import RemoteError
from vortexd.http.http2_request import HeadRefused, RequestStream
from vortexd.net.proxies import Proxies, Sender

SENDER = Sender("192.0.2.1")
GET = [(b":method", b"GET"), (b":path", b"/a?b=c"), (b":scheme", b"https"), (b":authority", b"localhost")]


def stream(headers: list[tuple[bytes, bytes]] | None = None, taken: list[int] | None = None) -> RequestStream:
    async def note(length: int) -> None:
        if taken is not None:
            taken.append(length)

    return RequestStream(1, GET if headers is None else headers, 10.0, note)


def changed(**pseudo: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, pseudo.get(name[1:].decode(), value)) for name, value in GET]


def test_a_head_is_as_the_application_takes_it() -> None:
    proxies = Proxies(["192.0.2.1"])
    request = stream([*GET, (b"x-y", b"z")])
    request.is_whole = True
    head = request.head(SENDER, proxies)

    assert ("GET", "/a", "b=c") == (head.method, head.path, head.query)
    assert [(b"host", b"localhost"), (b"x-y", b"z")] == head.headers
    assert (SENDER, proxies, False) == (head.sender, head.proxies, head.may_have_body)


def test_a_host_that_equals_the_authority_is_one_host_and_another_one_is_kept() -> None:
    same, other = (b"host", b"localhost"), (b"host", b"evil")

    assert [same, (b"transfer-encoding", b"chunked")] == stream([*GET, same]).head(SENDER, None).headers
    assert [same, other, (b"transfer-encoding", b"chunked")] == stream([*GET, other]).head(SENDER, None).headers


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], [(b"transfer-encoding", b"chunked")]),
        ([(b"content-length", b"3")], [(b"content-length", b"3")]),
    ],
)
def test_a_body_without_a_length_is_announced(
    headers: list[tuple[bytes, bytes]], expected: list[tuple[bytes, bytes]]
) -> None:
    assert [(b"host", b"localhost"), *expected] == stream([*GET, *headers]).head(SENDER, None).headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (changed(method=b"CONNECT"), 501),
        (changed(authority=b""), 400),
        (changed(path=b"a"), 400),
        (changed(path="/\xe4".encode()), 400),
        (changed(method="\xe4".encode()), 400),
        (changed(path=b"/" + b"x" * 8_192), 414),
    ],
)
def test_a_head_that_cannot_be_answered_is_refused(headers: list[tuple[bytes, bytes]], status: int) -> None:
    with pytest.raises(HeadRefused) as refused:
        stream(headers).head(SENDER, None)
    assert (status, []) == (refused.value.status, refused.value.headers)


def test_a_target_may_have_8192_bytes() -> None:
    assert 8_192 == len(stream(changed(path=b"/" + b"x" * 8_191)).head(SENDER, None).path)


def test_where_there_are_too_many_connections_only_some_paths_are_answered() -> None:
    assert "/a" == stream().head(SENDER, None, frozenset(["/a"])).path
    with pytest.raises(HeadRefused) as refused:
        stream().head(SENDER, None, frozenset(["/b"]))
    assert (503, [(b"retry-after", b"1")]) == (refused.value.status, refused.value.headers)


async def test_what_has_come_of_a_body_is_one_part_and_is_reported_as_taken() -> None:
    taken: list[int] = []
    request = stream(taken=taken)
    request.received = [(b"ab", 3), (b"c", 2)]

    assert b"abc" == await request.receive()
    assert [5] == taken
    request.is_whole = True
    assert await request.receive() is None
    assert await request.receive() is None
    assert [5] == taken


async def test_a_part_that_comes_later_is_waited_for() -> None:
    request, parts = stream(), []
    request.deadline = math.inf

    async def receive() -> None:
        parts.append(await request.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        request.received.append((b"ab", 2))
        request.arrived.set()

    assert [b"ab"] == parts


async def test_a_body_that_is_late_is_too_slow(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    request = stream()
    request.deadline = began + 10

    with pytest.raises(trio.TooSlowError):
        await request.receive()
    assert 10 == trio.current_time() - began


async def test_nothing_ends_the_wait_for_a_client_that_leaves_but_cancellation(autojump_clock: MockClock) -> None:
    with trio.move_on_after(3_600) as scope:
        await stream().wait_gone()

    assert scope.cancelled_caught


async def test_a_request_that_waits_says_so() -> None:
    request = stream()
    with request.waiting():
        assert request.is_waiting
    assert not request.is_waiting
    with pytest.raises(ZeroDivisionError), request.waiting():
        raise ZeroDivisionError
    assert not request.is_waiting


async def test_a_request_that_may_not_wait_is_refused() -> None:
    request = stream()
    request.may_wait = lambda: False
    with pytest.raises(RemoteError) as refused, request.waiting():
        raise AssertionError
    assert (429, "1") == (refused.value.status, refused.value.headers["Retry-After"])
    assert not request.is_waiting

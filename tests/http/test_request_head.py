"""The head of a request: whether a body may follow, and its length."""

import pytest

from vortexd.http.request_head import RequestHead
from vortexd.net.proxies import Sender


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", [], False),
        ("HEAD", [], False),
        ("GET", [(b"content-length", b"0")], True),
        ("HEAD", [(b"x", b"y"), (b"transfer-encoding", b"chunked")], True),
        ("POST", [], True),
        ("get", [], True),
    ],
)
def test_a_body_may_follow_a_length_a_coding_and_most_methods(
    method: str, headers: list[tuple[bytes, bytes]], expected: bool
) -> None:
    assert expected == RequestHead(method, "/", "", headers, Sender()).may_have_body


@pytest.mark.parametrize(("headers", "expected"), [([], None), ([(b"a", b"1"), (b"content-length", b"23")], 23)])
def test_the_length_is_what_is_announced(headers: list[tuple[bytes, bytes]], expected: int | None) -> None:
    assert expected == RequestHead("POST", "/", "", headers, Sender()).content_length

"""Headers of requests as endpoints read them, and headers of responses in the form of ASGI."""

from vortexd.http.endpoint import Headers, Response


def test_headers_are_found_whatever_their_case_and_the_first_counts() -> None:
    headers = Headers([(b"accept", b"a/b"), (b"accept", b"c/d"), (b"x-name", "é".encode("latin-1"))])

    assert ("a/b", "é", None, "") == (
        headers.get("Accept"),
        headers.get("X-Name"),
        headers.get("Missing"),
        headers.get("Missing", ""),
    )


def test_an_answer_says_how_long_it_is_and_that_nobody_keeps_it() -> None:
    assert [
        (b"x-content-type-options", b"nosniff"),
        (b"content-type", b"application/json"),
        (b"content-length", b"2"),
        (b"cache-control", b"no-store"),
        (b"allow", b"GET"),
    ] == Response(405, b"{}", headers={"Allow": "GET"}).head()


def test_an_answer_without_content_has_no_length_and_may_say_who_keeps_it() -> None:
    answer = Response(304, content_type=None, headers={"Cache-Control": "no-cache", "ETag": '"x"'})

    assert [
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-cache"),
        (b"etag", b'"x"'),
    ] == answer.head()

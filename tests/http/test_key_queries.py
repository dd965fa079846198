"""The choice of a media type by the Accept header."""

import pytest

from vortexd.core.errors import RemoteError
from vortexd.http.endpoint import Headers, Request
from vortexd.http.key_queries import accepted

OFFERED = ("application/json", "application/json-patch+json", "text/plain")


def wanted(accept: str | None) -> str:
    headers = Headers([] if accept is None else [(b"accept", accept.encode())])
    return accepted(Request("GET", "/", "", headers, b"", None, lambda: pytest.fail("nobody is asked")), OFFERED)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "application/json"),
        (" ", "application/json"),
        ("*/*", "application/json"),
        ("text/*", "text/plain"),
        ("application/json-patch+json", "application/json-patch+json"),
        ("application/*+json", "application/json-patch+json"),
        ("APPLICATION/*+JSON", "application/json-patch+json"),
        ("application/*+json;q=0.1, text/plain;q=0.2", "text/plain"),
        ("application/*+json;q=0.2, text/plain;q=0.1", "application/json-patch+json"),
        ("application/*+json, application/json-patch+json;q=0, text/plain;q=0.1", "text/plain"),
        ("application/*+xml, text/plain;q=0.1", "text/plain"),
        ("text/*+json, text/plain;q=0.1", "text/plain"),
        ("application/*+, text/plain;q=0.1", "text/plain"),
    ],
)
def test_a_form_is_what_is_wanted_most(accept: str | None, form: str) -> None:
    assert form == wanted(accept)


@pytest.mark.parametrize("accept", ["image/png", "application/*+xml", "application/*+json;q=0"])
def test_what_nothing_can_be_is_406(accept: str) -> None:
    with pytest.raises(RemoteError) as error:
        wanted(accept)

    assert 406 == error.value.status

"""The JSON of an error has Spring's members, and nothing but the given texts."""

import json

import pytest

from vortexd.http.spring.errors import error


@pytest.mark.parametrize(
    ("status", "phrase"),
    [(400, "Bad Request"), (404, "Not Found"), (500, "Internal Server Error"), (503, "Service Unavailable")],
)
def test_an_error_has_the_members_of_spring_in_its_order(status: int, phrase: str) -> None:
    found = json.loads(error(status, "no such label", "2030-01-01T00:00:00.000Z"))

    assert [
        ("timestamp", "2030-01-01T00:00:00.000Z"),
        ("status", status),
        ("error", phrase),
        ("message", "no such label"),
    ] == [*found.items()]


def test_a_message_is_escaped() -> None:
    message = 'a "quoted"\\ line\nand <another>, é'

    assert message == json.loads(error(400, message, ""))["message"]
    assert b"\n" not in error(400, message, "")

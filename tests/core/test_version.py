"""The version of a document, as vortexd-api(7) describes it."""

import hashlib
from unittest import mock

import pytest

from vortexd.core.version import encode, version_of


def test_a_version_is_a_function_of_the_content_alone() -> None:
    assert "44136fa355b3678a" == version_of(b"{}")
    assert "015abd7f5cc57a2d" == version_of(b'{"a":1}')


@pytest.mark.parametrize("size", [0, 1, 2_046, 2_047, 2_048, 4_094, 4_095, 100_000])
def test_a_version_is_the_beginning_of_the_sha_256_of_a_document_of_any_size(size: int) -> None:
    body = (b"0123456789abc" * (size // 13 + 1))[:size]
    assert hashlib.sha256(body).hexdigest()[:16] == version_of(body)


def test_hashing_a_document_never_releases_the_interpreter_lock() -> None:
    """hashlib releases it for pieces of 2,048 bytes or more."""
    digest = mock.Mock(**{"hexdigest.return_value": "0" * 64})
    with mock.patch.object(hashlib, "sha256", return_value=digest) as sha256:
        version_of(bytes(10_000))

    assert [mock.call()] == sha256.call_args_list
    assert [2_047, 2_047, 2_047, 2_047, 1_812] == [len(call.args[0]) for call in digest.update.call_args_list]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (0.1 + 0.2, "0.30000000000000004"),
        (0.00001, "0.00001"),
        (0.0000015, "1.5e-6"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e+16"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (5e-324, "5e-324"),
        (2**63 - 1, "9223372036854775807"),
        (True, "true"),
        (None, "null"),
        ('\x00\b\t\n\f\r\x1f\x7f"\\/<', '"\\u0000\\b\\t\\n\\f\\r\\u001f\x7f\\"\\\\/<"'),
        ("\u2028\xe9\U0001f600", '"\u2028\xe9\U0001f600"'),
        ({"\U0001f600": 1, "\uffff": 2, "b": 3, "a": [1, {}]}, '{"a":[1,{}],"b":3,"\uffff":2,"\U0001f600":1}'),
    ],
)
def test_documents_are_written_as_the_page_says(value: object, text: str) -> None:
    """The version is a hash of these bytes: written otherwise, by another release of a library, clients couldn't resume."""
    assert text == encode(value).decode()

"""The errors of decryption say nothing about the key, and one key serves every text."""

import pytest

from vortexd.core.errors import RemoteError
from vortexd.encryption.ciphers import AesEncryptor
from vortexd.encryption.contract import NoSuchKey, OneKey, Undecryptable


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (Undecryptable(), 400, "Text not encrypted with this key"),
        (NoSuchKey(), 404, "No key was installed for encryption service"),
    ],
)
def test_the_errors_have_springs_texts_and_statuses(error: RemoteError, status: int, text: str) -> None:
    assert (status, text, {}) == (error.status, error.reason, dict(error.headers))


@pytest.mark.parametrize("selectors", [{}, {"key": "other"}, {"key": "other", "secret": "x"}])
def test_one_key_is_found_whatever_the_text_selects(selectors: dict[str, str]) -> None:
    encryptor = AesEncryptor("foo")

    assert OneKey(encryptor).find(selectors) is encryptor


def test_the_repr_of_one_key_does_not_show_the_key() -> None:
    assert "secret-password" not in repr(OneKey(AesEncryptor("secret-password")))

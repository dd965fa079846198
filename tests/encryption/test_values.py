"""Encrypted values are decrypted at the end of their property source, or are marked as invalid."""

from vortexd.core.model import PropertySource
from vortexd.encryption.ciphers import AesEncryptor
from vortexd.encryption.values import decrypted

AES = AesEncryptor("foo")
SOURCE = PropertySource(
    "file:/a.yml",
    {"a": "{cipher}" + AES.encrypt("secret"), "b": 1, "c": "{cipher}00", "d": "x{cipher}"},
    {"a": (1, 1), "b": (2, 1), "c": (3, 1), "d": (4, 1)},
)


def test_what_was_encrypted_comes_last_and_without_an_origin() -> None:
    source = decrypted(SOURCE, AES.decrypt)

    assert [("b", 1), ("d", "x{cipher}"), ("a", "secret"), ("invalid.c", "<n/a>")] == list(source.values.items())
    assert {"b": (2, 1), "d": (4, 1)} == source.origins


def test_what_cannot_be_decrypted_keeps_its_text_without_the_prefix_where_asked() -> None:
    assert "00" == decrypted(SOURCE, AES.decrypt, prefix_invalid=False).values["c"]


def test_a_source_without_encrypted_values_is_returned_as_it_is() -> None:
    source = PropertySource("file:/a.yml", {"a": "b", "c": None}, {})

    assert source is decrypted(source, AES.decrypt)

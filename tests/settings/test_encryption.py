"""[encryption]: its defaults, salts, paths and algorithms."""

import pytest

from vortexd.settings.encryption import EncryptionSettings

from .sections import problems, read, waiting


def test_by_default_vortexd_decrypts_and_has_no_key() -> None:
    expected = EncryptionSettings(
        enabled=True,
        key_file="",
        salt="deadbeef",
        key_store="",
        key_store_password_file="",
        key_store_alias="",
        rsa_algorithm="default",
        rsa_strong=False,
        rsa_salt="deadbeef",
        prefix_invalid_properties=True,
        plain_text=False,
    )

    assert expected == read(EncryptionSettings)


@pytest.mark.parametrize("key", ["salt", "rsa_salt"])
@pytest.mark.parametrize("value", ["00", "deadBEEF", "0123456789abcdefABCDEF", "a0" * 64])
def test_a_salt_has_two_hex_digits_for_each_of_1_to_64_bytes(key: str, value: str) -> None:
    assert value == getattr(read(EncryptionSettings, f'{key} = "{value}"'), key)


@pytest.mark.parametrize("key", ["salt", "rsa_salt"])
@pytest.mark.parametrize("value", ["", "0", "000", "0g", "0x00", "00 00", "00\\n", "٠٠", "a0" * 65])
def test_another_salt_is_refused(key: str, value: str) -> None:
    expected = {key: "must be hex digits, two for each byte, of at most 64 bytes"}

    assert expected == problems(EncryptionSettings, f'{key} = "{value}"')


@pytest.mark.parametrize("value", ["default", "oaep"])
def test_there_are_two_rsa_algorithms(value: str) -> None:
    assert value == read(EncryptionSettings, f'rsa_algorithm = "{value}"').rsa_algorithm


@pytest.mark.parametrize("value", ["", "OAEP", "pkcs1"])
def test_another_rsa_algorithm_is_refused(value: str) -> None:
    expected = {"rsa_algorithm": 'must be "default" or "oaep"'}

    assert expected == problems(EncryptionSettings, f'rsa_algorithm = "{value}"')


@pytest.mark.parametrize("key", ["key_file", "key_store", "key_store_password_file"])
def test_a_path_has_no_nul(key: str) -> None:
    for value in ("", "keys/a b", "/etc/vortexd/key"):
        assert value == getattr(read(EncryptionSettings, f'{key} = "{value}"'), key)
    assert {key: "must be the path of a file, or empty"} == problems(EncryptionSettings, f'{key} = "a\\u0000b"')


def test_a_reload_applies_every_key() -> None:
    assert set() == waiting(EncryptionSettings)

"""Spring's ciphers: vortexd reads Spring's ciphertexts and its own, and refuses all other texts."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from vortexd.encryption.ciphers import AesEncryptor, RsaEncryptor, derive_key
from vortexd.encryption.contract import Encryptor, Undecryptable

RECORDED = json.loads((Path(__file__).parent / "vectors.json").read_text())
_LOADED = load_pem_private_key(RECORDED["private_key"].encode(), None)
assert isinstance(_LOADED, RSAPrivateKey)
KEY: RSAPrivateKey = _LOADED
MYSECRET = "682bc583f4641835fa2db009355293665d2647dade3375c0ee201de2a49f7bda"
FORMS: dict[str, Encryptor] = {
    "aes": AesEncryptor("foo"),
    **{
        f"rsa oaep={oaep} strong={strong}": RsaEncryptor(KEY, oaep, strong)
        for oaep in (False, True)
        for strong in (False, True)
    },
}
each_form = pytest.mark.parametrize("encryptor", FORMS.values(), ids=FORMS.keys())


def test_the_documented_vector_is_read() -> None:
    assert "mysecret" == AesEncryptor("foo").decrypt(MYSECRET)


@pytest.mark.parametrize("vector", RECORDED["vectors"], ids=lambda each: f"{each['form']}-{each['strong']}")
def test_what_spring_wrote_is_read(vector: dict[str, str | bool]) -> None:
    salt = str(vector["salt"])
    encryptor: Encryptor = (
        AesEncryptor("foo", salt)
        if vector["form"] == "aes"
        else RsaEncryptor(KEY, vector["form"] == "oaep", bool(vector["strong"]), salt)
    )

    assert vector["text"] == encryptor.decrypt(str(vector["cipher"]))


@each_form
@settings(max_examples=examples(25), deadline=None)
@given(text=st.text())
def test_what_is_encrypted_is_decrypted(encryptor: Encryptor, text: str) -> None:
    assert text == encryptor.decrypt(encryptor.encrypt(text))


@each_form
def test_the_same_text_gives_another_ciphertext_each_time(encryptor: Encryptor) -> None:
    assert encryptor.encrypt("a") != encryptor.encrypt("a")


@each_form
@pytest.mark.parametrize(
    "text", ["", "a", "zz", "ab", "\N{EURO SIGN}", "0" * 32, "AQA=", "ab" * 1_000_001, "AAAA" * 100_000]
)
def test_what_is_no_ciphertext_is_refused_without_quoting_it(encryptor: Encryptor, text: str) -> None:
    with pytest.raises(Undecryptable) as caught:
        encryptor.decrypt(text)

    assert "Text not encrypted with this key" == str(caught.value)
    assert 400 == caught.value.status


def test_a_cut_off_ciphertext_is_refused() -> None:
    for length in range(len(MYSECRET)):
        with pytest.raises(Undecryptable):
            AesEncryptor("foo").decrypt(MYSECRET[:length])


def test_another_key_or_salt_does_not_read_it() -> None:
    for encryptor in (AesEncryptor("bar"), AesEncryptor("foo", "beef")):
        with pytest.raises(Undecryptable):
            encryptor.decrypt(MYSECRET)


def test_another_rsa_key_does_not_read_it() -> None:
    other = rsa.generate_private_key(65_537, 2_048)

    with pytest.raises(Undecryptable):
        RsaEncryptor(other, strong=True).decrypt(RsaEncryptor(KEY, strong=True).encrypt("a"))


def test_a_salt_that_is_not_hex_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="hex"):
        derive_key("foo", "salt")


def test_no_key_is_in_a_repr() -> None:
    assert "RsaEncryptor(oaep=False, strong=False)" == repr(RsaEncryptor(KEY))
    assert "foo" not in repr(AesEncryptor("foo"))

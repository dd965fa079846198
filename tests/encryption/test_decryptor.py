"""Decrypting values: each text is decrypted once for all callers, and no message reveals a value."""

import pytest

from vortexd.core.model import PropertySource, Scalar
from vortexd.encryption.ciphers import AesEncryptor
from vortexd.encryption.contract import OneKey, Undecryptable
from vortexd.encryption.decryptor import Decryptor

AES = AesEncryptor("foo")


class Counting:
    """An encryptor that counts, whose ciphertexts are the texts backwards."""

    public_key = None

    def __init__(self) -> None:
        self.decrypted: list[str] = []

    def encrypt(self, text: str) -> str:
        return text[::-1]

    def decrypt(self, ciphertext: str) -> str:
        self.decrypted.append(ciphertext)
        if ciphertext == "wrong":
            raise Undecryptable
        return ciphertext[::-1]


def source(values: dict[str, Scalar], name: str = "file:/a.yml") -> PropertySource:
    return PropertySource(name, values, {})


def test_prefixes_are_for_finding_the_key_and_no_part_of_the_text() -> None:
    (opened,) = Decryptor(OneKey(AES)).opened((source({"a": "{cipher}{key:x}{secret:y}" + AES.encrypt("s")}),))

    assert {"a": "s"} == opened.values


def test_each_text_is_decrypted_once_wherever_it_stands() -> None:
    counting = Counting()
    decryptor = Decryptor(OneKey(counting))
    for _ in range(3):
        decryptor.opened((source({"a": "{cipher}x", "b": "{cipher}x"}), source({"c": "{cipher}wrong"})))

    assert ["x", "wrong"] == counting.decrypted


def test_what_is_remembered_has_bounds_and_what_is_in_use_stays() -> None:
    counting = Counting()
    decryptor = Decryptor(OneKey(counting), room_bytes=1_024)
    for number in range(100):
        decryptor.opened((source({"a": "{cipher}used", "b": f"{{cipher}}{number}"}),))

    assert 1 == counting.decrypted.count("used")
    assert len(decryptor._young) + len(decryptor._old) <= 2 * 1_024 // 256


def test_without_a_key_nothing_can_be_decrypted() -> None:
    (opened,) = Decryptor(None).opened((source({"a": "{cipher}" + AES.encrypt("s"), "b": 1}),))

    assert {"b": 1, "invalid.a": "<n/a>"} == opened.values


def test_what_cannot_be_decrypted_may_keep_its_text() -> None:
    (opened,) = Decryptor(None, prefix_invalid=False).opened((source({"a": "{cipher}x"}),))

    assert {"a": "x"} == opened.values


def test_sources_without_encrypted_values_stay_what_they_are() -> None:
    plain = source({"a": "b"})

    assert plain is Decryptor(None).opened((plain,))[0]


def test_each_failure_is_told_once_by_its_place() -> None:
    decryptor = Decryptor(OneKey(AES))
    for _ in range(2):
        decryptor.opened((source({"a": "{cipher}00", "b": "{cipher}" + AES.encrypt("s")}),))

    assert [("file:/a.yml", "a")] == decryptor.take_failures()
    assert [] == decryptor.take_failures()
    decryptor.opened((source({"a": "{cipher}01"}),))
    assert [("file:/a.yml", "a")] == decryptor.take_failures()


def test_failures_that_nobody_takes_do_not_grow() -> None:
    decryptor = Decryptor(None)
    for number in range(5_000):
        decryptor.opened((source({f"k{number}": "{cipher}x"}),))

    assert 64 == len(decryptor.take_failures())
    assert len(decryptor._reported) <= 1_024


@pytest.mark.parametrize("text", ["\ud800", "}" * 10_000, "{key:" * 10_000, ""])
def test_whatever_a_value_holds_is_at_worst_invalid(text: str) -> None:
    (opened,) = Decryptor(OneKey(AES)).opened((source({"a": "{cipher}" + text}),))

    assert {"invalid.a": "<n/a>"} == opened.values


def test_in_a_text_the_longest_value_counts_that_begins_at_a_place() -> None:
    values = ["{cipher}ab", "{cipher}abc", "{cipher}wrong", "no cipher", " {cipher}blank"]
    text = "{cipher}abc {cipher}ab {cipher}abcd {cipher}wrong {cipher}other {cipher}"

    opened = Decryptor(OneKey(Counting())).opened_text("a.yml", text, values)

    assert "cba ba cbad {cipher}wrong {cipher}other {cipher}" == opened

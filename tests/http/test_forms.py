"""The text in a body: plain text stays as it is, and a form is changed in the same way as in Spring."""

import pytest

from vortexd.core.errors import RemoteError
from vortexd.http.forms import media_type_of, received, unwrapped

FORM = "application/x-www-form-urlencoded"


def text_of(body: bytes, content_type: str, *, is_cipher: bool = False) -> str:
    media_type = media_type_of(content_type)
    return unwrapped(received(body, media_type), media_type, is_cipher=is_cipher)


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain;charset=UTF-8", "Text/Plain ; charset=utf-8"])
def test_text_is_taken_as_it_is_whatever_its_parameters_say(content_type: str) -> None:
    assert "a+b%20c=" == text_of(b"a+b%20c=", content_type)


def test_what_curl_sends_by_itself_is_the_text_that_was_meant() -> None:
    assert "my secret" == text_of(b"my secret", FORM)
    assert "my secret!" == text_of(b"my+secret%21", FORM)


def test_an_equals_sign_at_the_end_is_a_forms() -> None:
    assert "a" == text_of(b"a=", FORM)
    assert "a" == text_of(b"a=", "application/json")


@pytest.mark.parametrize("cipher", ["00ff", "ab+/", "abc=", "ab=="])
def test_a_ciphertext_keeps_what_belongs_to_it(cipher: str) -> None:
    for body in (cipher, cipher + "="):
        assert cipher == text_of(body.encode(), "application/json", is_cipher=True)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "text/plain", 400),
        (b"\xff", "text/plain", 400),
        (b"%ff", FORM, 400),
        (b"&", FORM, 400),
        (b"=", FORM, 400),
        (b"a%", FORM, 400),
        (b"%zz=", "application/json", 400),
        (b"a", "", 400),
        (b"a", "nonsense", 415),
        (b"a", "text/", 415),
        (b"a", "text/pl ain", 415),
    ],
)
def test_what_means_nothing_is_refused_without_quoting_it(body: bytes, content_type: str, status: int) -> None:
    with pytest.raises(RemoteError) as caught:
        text_of(body, content_type)

    assert status == caught.value.status
    assert "zz" not in str(caught.value)


def test_many_fields_take_no_longer_than_their_length() -> None:
    assert 400_000 > len(text_of(b"a&" * 65_536, FORM))

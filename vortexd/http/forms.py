"""Extracts the text from a request body in the same way as Spring's `/encrypt` and `/decrypt`. Pure.

`curl -d secret` declares its body as a form, but the user means plain text. Spring parses the form and writes it again.
That appends a `=`, which Spring then removes. This also changes some other characters of a text. This module makes the
same changes, so that a decrypted text is the same as with Spring. If the type is `text/plain`, the body stays as it is,
whatever the parameters of the type are.
"""

import re
from urllib.parse import quote_plus, unquote_to_bytes

from ..core.errors import RemoteError

_TEXT = "text/plain"
_FORM = "application/x-www-form-urlencoded"
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_MEDIA_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def media_type_of(content_type: str | None) -> str:
    """The media type of a body, without its parameters.

    Raises:
        RemoteError: The header is missing, or isn't a media type.
    """
    if not content_type:
        raise RemoteError("a Content-Type is required, such as text/plain")
    name = content_type.partition(";")[0].strip().lower()
    if not _MEDIA_TYPE.fullmatch(name):
        raise RemoteError("this can't be a Content-Type", 415)
    return name


def received(body: bytes, media_type: str) -> str:
    """Decode a body as text. A form is parsed and written again.

    Raises:
        RemoteError: The body is empty, isn't UTF-8, or isn't a form.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise RemoteError("the body must be UTF-8") from None
    if media_type == _FORM:
        text = _put_together(text)
    if not text:
        raise RemoteError("there must be a body")
    return text


def unwrapped(text: str, media_type: str, *, is_cipher: bool = False) -> str:
    """Remove the `=` that a form appends to the text.

    Args:
        text: The result of `received`.
        is_cipher: Whether the text is a ciphertext, which may contain `+` and `=`.

    Raises:
        RemoteError: The text of the form can't be decoded.
    """
    if media_type == _TEXT or not text.endswith("="):
        return text
    text = _decoded(text)
    if not is_cipher:
        return text[:-1]
    text = text.replace(" ", "+")
    # Hex digits and base64 have an even length. So if the length is odd, the form has appended the `=`.
    return text[:-1] if text.endswith("=") and len(text) % 2 else text


def _put_together(form: str) -> str:
    values: dict[str, list[str]] = {}
    for pair in filter(None, form.split("&")):
        name, _, value = (_decoded(part) for part in pair.partition("="))
        if not name:
            raise RemoteError("the body isn't a form; send it as text/plain")
        values.setdefault(name, []).append(value)
    return "&".join(f"{_encoded(name)}={_encoded(value)}" for name, each in values.items() for value in each)


def _decoded(text: str) -> str:
    if _BAD_PERCENT.search(text):
        raise RemoteError("the body isn't a form; send it as text/plain")
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode("utf-8")
    except UnicodeDecodeError:
        raise RemoteError("the body must be UTF-8") from None


def _encoded(text: str) -> str:
    # Encode as java.net.URLEncoder does.
    return quote_plus(text, safe="*").replace("~", "%7E")

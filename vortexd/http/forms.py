"""The text that a body means, as Spring's `/encrypt` and `/decrypt` take it. Pure.

`curl -d secret` says that it sends a form, and means text. Spring takes the form apart, puts it together again, which leaves a `=` at the end, and takes
that off. What else this does to a text is done here, too, for a ciphertext is only worth what it is decrypted to. `text/plain` is taken as it is,
whatever its parameters say.
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
        RemoteError: There is none, or it can't be one.
    """
    if not content_type:
        raise RemoteError("a Content-Type is required, such as text/plain")
    name = content_type.partition(";")[0].strip().lower()
    if not _MEDIA_TYPE.fullmatch(name):
        raise RemoteError("this can't be a Content-Type", 415)
    return name


def received(body: bytes, media_type: str) -> str:
    """A body as text; a form is taken apart and put together again.

    Raises:
        RemoteError: It is empty, isn't UTF-8, or isn't a form.
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
    """What `received` gave, without the `=` that a form leaves at its end.

    Args:
        is_cipher: The text is a ciphertext, of which `+` and `=` may be part.

    Raises:
        RemoteError: What is left of the form can't be decoded.
    """
    if media_type == _TEXT or not text.endswith("="):
        return text
    text = _decoded(text)
    if not is_cipher:
        return text[:-1]
    text = text.replace(" ", "+")
    # Hex digits and base64 are even.
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
    # As java.net.URLEncoder does.
    return quote_plus(text, safe="*").replace("~", "%7E")

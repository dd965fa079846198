"""Credentials: the token that a request carries, wherever clients can put one. Pure.

In come headers and a request target, out goes `Credentials`, which are never judged here: whether anybody asked for them is the
authority's to know. The token of a request is never shown by `repr`, and `redact_target` takes it out of what goes to logs.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_to_bytes

import attrs

from ..core import names
from ..core.errors import InvalidName

MAX_TOKEN_LENGTH = 8_192
REDACTED = "[redacted]"

_SUBPROTOCOL = "bearer."
# RFC 6750's b64token, and nothing that could end a header, a log line or a query.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_DELIMITERS = re.compile(r"([?&;#])")
_SECRET = re.compile(r"token[^=]*=|vt_[a-z0-9_-]{16}", re.DOTALL)
# How often a target may have been percent-encoded before it is taken as it stands.
_ROUNDS = 4


@attrs.frozen(slots=True)
class Credentials:
    """What a request says to prove who sent it.

    Attributes:
        token: The one token, or None.
        is_malformed: There was something, but not one token: empty, of an unknown scheme, or two that differ.
        is_spare: It was in `X-Config-Token`, where clients of Spring send a token of Vault: nobody is judged by it who needs no token.
    """

    token: str | None = attrs.field(default=None, repr=False)
    is_malformed: bool = False
    is_spare: bool = False

    @property
    def is_empty(self) -> bool:
        """Nothing was sent: somebody who hasn't been asked yet, and no failed attempt."""
        return self.token is None and not self.is_malformed


def extract_credentials(headers: Iterable[tuple[bytes, bytes]], target: str) -> Credentials:
    """Find the token of a request: `Authorization: Bearer` or `Basic` (the password; any user), the subprotocol
    `bearer.<token>`, or `?token=`; where there is none of these, `X-Config-Token`.

    Never raises. The same token in several places is one token.

    Args:
        headers: Names in any case.
        target: The request target as sent, with its query.
    """
    found: set[str | None] = set()
    spare: set[str | None] = set()
    for name, value in headers:
        name = name.lower()
        if name == b"authorization":
            found.add(_of_authorization(value))
        elif name == b"sec-websocket-protocol":
            found.update(_of_subprotocols(value))
        elif name == b"x-config-token":
            spare.add(_ascii(value.strip()))
    found.update(_of_query(target.partition("?")[2]))
    is_spare = bool(spare and not found)
    tokens = {token if token is not None and _is_token(token) else None for token in found or spare}
    if not tokens:
        return Credentials()
    if len(tokens) > 1 or None in tokens:
        return Credentials(is_malformed=True, is_spare=is_spare)
    return Credentials(tokens.pop(), is_spare=is_spare)


def redact_target(target: str) -> str:
    """A request target for logs: whatever may be a token is replaced, the rest stays as it was sent.

    It errs on the side of silence: any parameter with `token` in its name, in whatever case and however often encoded, loses its value.
    """
    return "".join(_redacted(piece) for piece in _DELIMITERS.split(target))


def _is_token(token: str) -> bool:
    return len(token) <= MAX_TOKEN_LENGTH and _TOKEN.fullmatch(token) is not None


# Where a token can be; None stands for something that isn't one.


def _of_authorization(value: bytes) -> str | None:
    scheme, _, rest = value.strip().partition(b" ")
    if scheme.lower() == b"bearer":
        return _ascii(rest.strip())
    if scheme.lower() == b"basic" and len(rest) <= 2 * MAX_TOKEN_LENGTH:
        try:
            return _ascii(base64.b64decode(rest.strip(), validate=True).partition(b":")[2])
        except binascii.Error:
            return None
    return None


def _of_subprotocols(value: bytes) -> Iterator[str | None]:
    for offer in value.decode("latin-1").split(","):
        offer = offer.strip()
        if offer[: len(_SUBPROTOCOL)].lower() == _SUBPROTOCOL:
            yield offer[len(_SUBPROTOCOL) :]


def _of_query(query: str) -> Iterator[str | None]:
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        try:
            is_token = names.decode_segment(name) == "token"
        except InvalidName:
            continue
        if is_token:
            try:
                yield names.decode_segment(value)
            except InvalidName:
                yield None


def _ascii(value: bytes) -> str | None:
    return value.decode("ascii") if value.isascii() else None


# For logs.


def _redacted(piece: str) -> str:
    if not _SECRET.search(_decoded(piece)):
        return piece
    name, equals, _ = piece.partition("=")
    if not equals or "=" in _decoded(name) or _SECRET.search(_decoded(name)):
        return REDACTED
    return f"{name}={REDACTED}"


def _decoded(text: str) -> str:
    for _ in range(_ROUNDS):
        if "%" not in text:
            break
        text = unquote_to_bytes(text.encode("utf-8", "surrogatepass")).decode("latin-1")
    return text.lower()

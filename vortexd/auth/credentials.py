"""Finds the token of a request, wherever a client may put it. Pure.

`extract_credentials` takes headers and a request target, and returns `Credentials`. It judges nothing, because only the
authority knows whether a token is needed. `repr` never shows a token, and `redact_target` removes it from log texts.
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
# The b64token of RFC 6750. It contains nothing that could end a header, a log line or a query.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_DELIMITERS = re.compile(r"([?&;#])")
_SECRET = re.compile(r"token[^=]*=|vt_[a-z0-9_-]{16}", re.DOTALL)
# The most layers of percent-encoding that are removed from a target before it is searched for tokens.
_ROUNDS = 4


@attrs.frozen(slots=True)
class Credentials:
    """The proof of identity that a request carries.

    Attributes:
        token: The only token, or None.
        is_malformed: Whether there was something other than one token: an empty token, an unknown scheme, or two
            different tokens.
        is_spare: Whether the token was in `X-Config-Token`, where Spring's clients send a token for Vault. The server
            ignores it if the client needs no token.
    """

    token: str | None = attrs.field(default=None, repr=False)
    is_malformed: bool = False
    is_spare: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing was sent. Then the client hasn't been asked yet, and this is no failed attempt."""
        return self.token is None and not self.is_malformed


def extract_credentials(headers: Iterable[tuple[bytes, bytes]], target: str) -> Credentials:
    """Find the token of a request.

    The token may be in `Authorization: Bearer`, in `Basic` (the password, with any user), in the subprotocol
    `bearer.<token>`, or in `?token=`. If there is none of these, `X-Config-Token` counts.

    This function never raises. The same token in several places counts as one token.

    Args:
        headers: The names may be in any case.
        target: The request target as it was sent, with its query.
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


def token_parameters(target: str) -> str:
    """Return the parameters of a target that may be a token, as they were sent. Empty if the target has no token.

    Two targets with the same of these parameters have the same credentials.
    """
    query = target.partition("?")[2]
    if not _may_be_token(query):
        return ""
    return "&".join(filter(_may_be_token, query.split("&")))


def _may_be_token(text: str) -> bool:
    # The name of a parameter may be percent-encoded.
    return "token" in text or "%" in text


def redact_target(target: str) -> str:
    """Remove possible tokens from a request target, for logs. The rest stays as it was sent.

    In doubt, a text is removed. A parameter loses its value if its name contains `token`, in any case and encoding.
    """
    return "".join(_redacted(piece) for piece in _DELIMITERS.split(target))


def _is_token(token: str) -> bool:
    return len(token) <= MAX_TOKEN_LENGTH and _TOKEN.fullmatch(token) is not None


# The places of a token. None means that there is something other than a token.


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

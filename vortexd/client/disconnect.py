"""Why a connection ended, and what follows from it: close codes and refused handshakes in, an `Disconnect` out. Pure.

The rule is that of vortexd-api(7): what isn't known is for the future, and its range says whether to come back.
"""

import attrs
import orjson

from ..core.text import printable
from ..protocol.close import CloseReason

_KNOWN = {reason.code: reason for reason in CloseReason}
# No close frame, or one without a code: nobody said anything, as in 1006 (RFC 6455 section 7.4.1).
_SILENT = frozenset({1005, 1006})
# Refusals that time or the server can mend.
_PASSING = frozenset({408, 425, 429})
_MAX_TEXT = 200
_MAX_RETRY_AFTER = 86_400


@attrs.frozen
class Disconnect:
    """The end of a connection, or of an attempt to have one.

    Attributes:
        reason: For people, on one line; no secret is in it.
        may_return: Whether the same client may come back to the same server.
        reconnect_after_ms: What the server asked for, or None.
        is_token: It is the token that wasn't accepted: another one may be.
    """

    reason: str
    may_return: bool = True
    reconnect_after_ms: int | None = None
    is_token: bool = False


def closed(code: int, text: str | None = None, reconnect_after_ms: int | None = None) -> Disconnect:
    """What a close code means; `text` is what came with it."""
    if code in _SILENT:
        return Disconnect("the connection broke", reconnect_after_ms=reconnect_after_ms)
    known = _KNOWN.get(code)
    may_return = known.may_return if known else 4000 <= code <= 4399 or 4500 <= code <= 4999
    said = _line(text) or (known.text if known else "")
    return Disconnect(
        f"{code} {said}".rstrip(), may_return, reconnect_after_ms, is_token=known is CloseReason.UNAUTHORIZED
    )


def refused(status: int, retry_after: str | None = None, body: bytes = b"", *, had_it: bool = False) -> Disconnect:
    """What the answer to a handshake means, where it isn't 101.

    Args:
        retry_after: The header of that name; a date in it is ignored.
        body: The JSON object of the refusal, or whatever a proxy said.
        had_it: Whether there was such a configuration before: then its label may be gone for a while.
    """
    may_return = status >= 500 or status in _PASSING or (status == 404 and had_it)
    after = None
    if may_return and retry_after is not None and retry_after.isascii() and retry_after.isdecimal():
        after = min(int(retry_after[:9]), _MAX_RETRY_AFTER) * 1_000
    reason = f"refused with {status} {_message(body)}".rstrip()
    return Disconnect(reason, may_return, after, is_token=status == 401)


def _message(body: bytes) -> str:
    try:
        message = orjson.loads(body)
    except ValueError:
        return ""
    text = message.get("message") if isinstance(message, dict) else None
    return _line(text) if isinstance(text, str) else ""


def _line(text: str | None) -> str:
    return printable((text or "")[:_MAX_TEXT])

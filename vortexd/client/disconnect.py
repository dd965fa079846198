"""Why a connection ended, and whether to reconnect: takes a close code or a refused handshake, returns a `Disconnect`. Pure.

The rule is that of vortexd-api(7): for an unknown close code, its range says whether the client may come back.
"""

import attrs
import orjson

from ..core.text import printable
from ..protocol.close import CloseReason

_KNOWN = {reason.code: reason for reason in CloseReason}
# No close frame, or a close frame without a code: the server gave no reason, as in 1006 (RFC 6455 section 7.4.1).
_SILENT = frozenset({1005, 1006})
# Status codes of refusals that may pass with time, or by a change on the server.
_PASSING = frozenset({408, 425, 429})
_MAX_TEXT = 200
_MAX_RETRY_AFTER = 86_400


@attrs.frozen
class Disconnect:
    """The end of a connection, or of an attempt to connect.

    Attributes:
        reason: One line for people, without secrets.
        may_return: Whether the same client may come back to the same server.
        reconnect_after_ms: The delay that the server asked for, or None.
        is_token: The server refused the token; it may accept another one.
        is_behind: The server has an older state than the client, and another server may have the newest.
    """

    reason: str
    may_return: bool = True
    reconnect_after_ms: int | None = None
    is_token: bool = False
    is_behind: bool = False


def closed(code: int, text: str | None = None, reconnect_after_ms: int | None = None) -> Disconnect:
    """Interpret a close code; `text` is the reason in the close frame."""
    if code in _SILENT:
        return Disconnect("the connection broke", reconnect_after_ms=reconnect_after_ms)
    known = _KNOWN.get(code)
    may_return = known.may_return if known else 4000 <= code <= 4399 or 4500 <= code <= 4999
    said = _line(text) or (known.text if known else "")
    return Disconnect(
        f"{code} {said}".rstrip(),
        may_return,
        reconnect_after_ms,
        is_token=known is CloseReason.UNAUTHORIZED,
        is_behind=known is CloseReason.BEHIND,
    )


def refused(
    status: int, retry_after: str | None = None, body: bytes = b"", *, existed_before: bool = False
) -> Disconnect:
    """Interpret a handshake response other than 101.

    Args:
        retry_after: The value of the header Retry-After. A date in it is ignored.
        body: The JSON object of the refusal, or any text that a proxy sent.
        existed_before: Whether the configuration existed before. If so, a 404 may pass: its label may be gone only for a while.
    """
    may_return = status >= 500 or status in _PASSING or (status == 404 and existed_before)
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

"""The reasons why connections end. The close frame, the log line and the counter use the same enum."""

import enum

import attrs


@attrs.frozen(slots=True)
class _Facts:
    code: int
    text: str
    may_return: bool


class CloseReason(enum.Enum):
    """A reason why a connection ends.

    Attributes:
        code: The close code (RFC 6455 section 7.4). This protocol defines the codes from 4000 to 4999.
        text: The text for the close frame, the log and the metric; at most 123 bytes.
        may_return: Whether the client should reconnect by itself.
    """

    CLIENT = _Facts(1000, "closed by the client", True)
    DRAIN = _Facts(1001, "the server is stopping", True)
    PROTOCOL = _Facts(1002, "protocol error", False)
    NOT_TEXT = _Facts(1003, "messages are text", False)
    LOST = _Facts(1006, "the connection broke", True)
    NOT_UTF8 = _Facts(1007, "text is UTF-8", False)
    POLICY = _Facts(1008, "too many messages, or too many that are wrong", False)
    TOO_BIG = _Facts(1009, "the message is too big", False)
    INTERNAL = _Facts(1011, "internal error", True)
    OVERLOAD = _Facts(1013, "overloaded", True)
    UNAUTHORIZED = _Facts(4401, "unauthorized", False)
    FORBIDDEN = _Facts(4403, "forbidden", False)
    HEARTBEAT = _Facts(4408, "no sign of life", True)
    SLOW = _Facts(4410, "the client doesn't read", True)
    BEHIND = _Facts(4421, "another server has a newer state", True)

    @property
    def code(self) -> int:
        return self.value.code

    @property
    def text(self) -> str:
        return self.value.text

    @property
    def may_return(self) -> bool:
        return self.value.may_return

    @property
    def is_sent(self) -> bool:
        """Whether a close frame may contain this reason. It must never contain 1006 (section 7.4.1)."""
        return self is not CloseReason.LOST

"""Interprets a client's messages, and limits their rate. Pure: text comes in, requests go out, and time is an argument.

A session uses no socket and no store. It only returns the requests that the connection must execute. If a message is invalid
or exceeds a limit, the client gets an `error`. If the client continues, the connection is closed.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, TypeAlias

import attrs

from ..core import names
from ..core.candidate import plain
from ..core.errors import InvalidName
from ..core.model import Key
from ..core.patterns import Pattern, parse_pattern
from ..protocol import messages
from ..protocol.close import CloseReason
from ..protocol.limits import Bucket
from ..protocol.messages import InvalidMessage
from ..settings.realtime import RealtimeSettings

_MAX_VERSION_LENGTH = 64
_MAX_ERROR_LENGTH = 4_096


@attrs.frozen(slots=True)
class Answer:
    """Request: send this message to the client.

    Attributes:
        kind: The label for the metric of received messages: "ping", or "refused" if the message is invalid or over a limit.
    """

    message: bytes
    kind: str = "refused"


@attrs.frozen(slots=True)
class Resync:
    """Request: send the newest document to the client, unless the client has it.

    Attributes:
        last_version: The version that the client claims to have; None if it has none.
        wants_diff: Whether the client accepts the patch from that version in place of the document.
    """

    kind: ClassVar[str] = "resync"

    key: Key
    last_version: str | None
    wants_diff: bool = False


@attrs.frozen(slots=True)
class Subscribe:
    """Request: subscribe to patterns, and confirm them.

    Attributes:
        patterns: All patterns in the client's message.
        new: The patterns among them that weren't in force before.
    """

    kind: ClassVar[str] = "subscribe"

    patterns: tuple[Pattern, ...]
    new: tuple[Pattern, ...]


@attrs.frozen(slots=True)
class Unsubscribe:
    """Request: end subscriptions to patterns, and confirm this.

    Attributes:
        patterns: All patterns in the client's message.
        ended: The patterns among them that were in force.
    """

    kind: ClassVar[str] = "unsubscribe"

    patterns: tuple[Pattern, ...]
    ended: tuple[Pattern, ...]


@attrs.frozen(slots=True)
class Acknowledge:
    """Request: record that the application has applied or rejected a version."""

    kind: ClassVar[str] = "ack"

    key: Key
    version: str
    status: str
    error: str | None


@attrs.frozen(slots=True)
class Close:
    """Request: end the connection."""

    # This counts no received message. If the message was refused, the `Answer` before this counts it.
    kind: ClassVar[None] = None

    reason: CloseReason


Request: TypeAlias = Answer | Resync | Subscribe | Unsubscribe | Acknowledge | Close


class Session:
    """The conversation with one client.

    Args:
        key: The main subscription. If it is a candidate, messages that name its plain key mean it.
        settings: The limits of messages and patterns.
    """

    def __init__(self, key: Key, settings: RealtimeSettings) -> None:
        self._key = key
        self._settings = settings
        self._messages = Bucket(settings.messages_per_second, settings.messages_per_second)
        self._resyncs = Bucket(settings.resyncs_per_second, settings.resync_burst)
        self._errors = Bucket(settings.errors_per_minute / 60, settings.errors_per_minute)
        self._buckets = self._messages, self._resyncs, self._errors
        # The number of messages above the limit since the last message within the limit.
        self._over = 0
        self._patterns: dict[Pattern, None] = {}

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The patterns in force, in the order of their subscriptions."""
        return tuple(self._patterns)

    def is_fresh(self, now: float) -> bool:
        """Whether the session has no state except its patterns, so that a new session with them would be the same."""
        return all(bucket.is_full(now) for bucket in self._buckets)

    def fresh_in(self, now: float) -> float:
        """The seconds until the session is fresh, if the client sends nothing until then."""
        return max(bucket.full_in(now) for bucket in self._buckets)

    def move(self, key: Key) -> None:
        """Continue with another track of the main key."""
        self._key = key

    def restore(self, patterns: Iterable[Pattern]) -> None:
        """Restore the patterns of an earlier session that was fresh."""
        self._patterns = dict.fromkeys(patterns)

    def receive_control(self, now: float) -> tuple[Request, ...]:
        """Count a ping or pong frame. These share a bucket with messages, because they cost as much.

        Frames above the limit are only counted. If there are more of them than the limit, the connection ends.
        """
        if self._messages.take(now):
            self._over = 0
            return ()
        return self._over_limit()

    def receive(self, text: str, now: float, timestamp: str) -> tuple[Request, ...]:
        """Take one message, and return the requests to execute, in order.

        This never raises. If a message is invalid, the result is an answer with an `error`.

        Args:
            now: The monotonic time in seconds.
            timestamp: The current time as RFC 3339, for answers.
        """
        if not self._messages.take(now):
            is_first = not self._over
            closing = self._over_limit()
            if not is_first or closing:
                return closing
            return (Answer(messages.error("RATE_LIMITED", "more messages than are allowed", timestamp)),)
        self._over = 0
        try:
            return self._understand(messages.parse(text, self._settings.message_depth), now, timestamp)
        except InvalidMessage as error:
            return self.refuse(error.code, error.reason, now, timestamp)
        except InvalidName as error:
            return self.refuse("SUBSCRIPTION_FAILED", error.reason, now, timestamp)

    def refuse(self, code: str, reason: str, now: float, timestamp: str) -> tuple[Request, ...]:
        """Answer a message with an error. If the client has made too many errors, end the connection."""
        answer = Answer(messages.error(code, reason, timestamp))
        return (answer,) if self._errors.take(now) else (answer, Close(CloseReason.POLICY))

    def in_force(self, patterns: Iterable[Pattern]) -> tuple[Pattern, ...]:
        """Return the patterns among these that are in force."""
        return tuple(pattern for pattern in patterns if pattern in self._patterns)

    def forget(self, patterns: Iterable[Pattern]) -> None:
        """Remove patterns from those in force."""
        for pattern in patterns:
            self._patterns.pop(pattern, None)

    def _over_limit(self) -> tuple[Request, ...]:
        self._over += 1
        return (Close(CloseReason.POLICY),) if self._over > self._settings.messages_per_second else ()

    def _understand(self, message: dict[str, Any], now: float, timestamp: str) -> tuple[Request, ...]:
        match message["type"]:
            case "pong":
                return ()
            case "ping":
                return (Answer(messages.pong(timestamp), "ping"),)
            case "resync":
                if not self._resyncs.take(now):
                    return (Answer(messages.error("RATE_LIMITED", "more resyncs than are allowed", timestamp)),)
                return (self._resync(message),)
            case "subscribe":
                patterns = _patterns(message, self._settings.patterns)
                if len(self._patterns.keys() | set(patterns)) > self._settings.patterns:
                    raise InvalidMessage(f"at most {self._settings.patterns} patterns", "SUBSCRIPTION_FAILED")
                # Patterns that are in force already are only confirmed again.
                new = tuple(pattern for pattern in patterns if pattern not in self._patterns)
                self._patterns.update(dict.fromkeys(new))
                return (Subscribe(patterns, new),)
            case "unsubscribe":
                patterns = _patterns(message, self._settings.patterns)
                ended = self.in_force(patterns)
                self.forget(ended)
                return (Unsubscribe(patterns, ended),)
            case "ack":
                return (self._acknowledge(message),)
            case _:
                raise InvalidMessage("there is no such type of message")

    def _key_of(self, message: dict[str, Any]) -> Key:
        """Return the key that a message names. If it names no key, this is the main key."""
        members = [
            _text(message, member, own)
            for member, own in (
                ("app", self._key.application),
                ("profile", self._key.profile),
                ("label", self._key.label),
            )
        ]
        key = names.parse_key(*(member or "" for member in members))
        return self._key if key == plain(self._key) else key

    def _resync(self, message: dict[str, Any]) -> Resync:
        mode = message.get("mode", "full")
        if mode not in ("full", "diff"):
            raise InvalidMessage("mode is full or diff")
        return Resync(self._key_of(message), _text(message, "last_version", None), mode == "diff")

    def _acknowledge(self, message: dict[str, Any]) -> Acknowledge:
        version, status = _text(message, "version", ""), _text(message, "status", "")
        if not version or len(version) > _MAX_VERSION_LENGTH or status not in ("applied", "rejected"):
            raise InvalidMessage("an ack has a version and a status, applied or rejected")
        error = _text(message, "error", None)
        return Acknowledge(self._key_of(message), version, status, error and error[:_MAX_ERROR_LENGTH])


def _text(message: dict[str, Any], member: str, default: str | None) -> str | None:
    value = message.get(member, default)
    if value is not None and not isinstance(value, str):
        raise InvalidMessage(f"{member} must be text")
    return value


def _patterns(message: dict[str, Any], most: int) -> tuple[Pattern, ...]:
    texts = message.get("patterns")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise InvalidMessage("patterns is a list of text", "SUBSCRIPTION_FAILED")
    texts = dict.fromkeys(texts)
    if len(texts) > most:
        # Check this before parsing, because a message can contain thousands of patterns.
        raise InvalidMessage(f"at most {most} patterns", "SUBSCRIPTION_FAILED")
    return tuple(dict.fromkeys(parse_pattern(text) for text in texts))

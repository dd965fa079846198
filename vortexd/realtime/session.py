"""What a client's messages mean, and what may be said how often. Sans-IO: text in, requests out, time as an argument.

A session knows nothing of sockets or of the store: it says what the connection is to do. A message that is wrong, or one too many, costs
the client an `error`; going on like that costs it the connection.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, TypeAlias

import attrs

from ..core import names
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
    """Send the client this message.

    Attributes:
        kind: The received message as the metric counts it: "ping", or "refused" if it is invalid or over a limit.
    """

    message: bytes
    kind: str = "refused"


@attrs.frozen(slots=True)
class Resync:
    """Send the client the newest document, unless it has that.

    Attributes:
        last_version: What the client says it has; None is nothing.
        wants_diff: It takes the patch from there in place of the document.
    """

    kind: ClassVar[str] = "resync"

    key: Key
    last_version: str | None
    wants_diff: bool = False


@attrs.frozen(slots=True)
class Subscribe:
    """Subscribe to patterns, and confirm them.

    Attributes:
        patterns: What the client asked for.
        new: Those of them that weren't in force.
    """

    kind: ClassVar[str] = "subscribe"

    patterns: tuple[Pattern, ...]
    new: tuple[Pattern, ...]


@attrs.frozen(slots=True)
class Unsubscribe:
    """End subscriptions to patterns, and confirm it.

    Attributes:
        patterns: What the client asked for.
        ended: Those of them that were in force.
    """

    kind: ClassVar[str] = "unsubscribe"

    patterns: tuple[Pattern, ...]
    ended: tuple[Pattern, ...]


@attrs.frozen(slots=True)
class Acknowledge:
    """The application says what it did with a version."""

    kind: ClassVar[str] = "ack"

    key: Key
    version: str
    status: str
    error: str | None


@attrs.frozen(slots=True)
class Close:
    """End the connection."""

    # The refused message before it has been counted.
    kind: ClassVar[None] = None

    reason: CloseReason


Request: TypeAlias = Answer | Resync | Subscribe | Unsubscribe | Acknowledge | Close


class Session:
    """One client's conversation.

    Args:
        key: The main subscription.
        settings: How much may be said.
    """

    def __init__(self, key: Key, settings: RealtimeSettings) -> None:
        self._key = key
        self._settings = settings
        self._messages = Bucket(settings.messages_per_second, settings.messages_per_second)
        self._resyncs = Bucket(settings.resyncs_per_second, settings.resync_burst)
        self._errors = Bucket(settings.errors_per_minute / 60, settings.errors_per_minute)
        self._buckets = self._messages, self._resyncs, self._errors
        # Messages over the limit since the last one within it.
        self._over = 0
        self._patterns: dict[Pattern, None] = {}

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The patterns in force, in the order they were asked for."""
        return tuple(self._patterns)

    def is_fresh(self, now: float) -> bool:
        """Whether nothing but patterns is left of what the client has said: it could as well be a new session with these."""
        return all(bucket.is_full(now) for bucket in self._buckets)

    def fresh_in(self, now: float) -> float:
        """Seconds until it is fresh, if the client says nothing until then."""
        return max(bucket.full_in(now) for bucket in self._buckets)

    def restore(self, patterns: Iterable[Pattern]) -> None:
        """Put in force the patterns of a former session that was fresh."""
        self._patterns = dict.fromkeys(patterns)

    def receive_control(self, now: float) -> tuple[Request, ...]:
        """Count a ping or pong frame; they come out of the same bucket as messages, for they cost as much.

        Over the limit they are counted and left at that, until they are as many as the limit.
        """
        if self._messages.take(now):
            self._over = 0
            return ()
        return self._over_limit()

    def receive(self, text: str, now: float, timestamp: str) -> tuple[Request, ...]:
        """Take one message, and return what is to be done about it, in order.

        Never raises: what is wrong with a message becomes an `error` message.

        Args:
            now: Monotonic, in seconds.
            timestamp: RFC 3339, for answers.
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
        """Answer a message with an error, and end the connection of a client that makes too many."""
        answer = Answer(messages.error(code, reason, timestamp))
        return (answer,) if self._errors.take(now) else (answer, Close(CloseReason.POLICY))

    def in_force(self, patterns: Iterable[Pattern]) -> tuple[Pattern, ...]:
        """Those of some patterns that are in force."""
        return tuple(pattern for pattern in patterns if pattern in self._patterns)

    def forget(self, patterns: Iterable[Pattern]) -> None:
        """Let patterns be in force no longer."""
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
                # Those in force already are told again, and nothing else.
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
        """The key a message is about: the main one, or the one it names."""
        members = [
            _text(message, member, own)
            for member, own in (
                ("app", self._key.application),
                ("profile", self._key.profile),
                ("label", self._key.label),
            )
        ]
        return names.parse_key(*(member or "" for member in members))

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
        raise InvalidMessage(f"{member} is text")
    return value


def _patterns(message: dict[str, Any], most: int) -> tuple[Pattern, ...]:
    texts = message.get("patterns")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise InvalidMessage("patterns is a list of text", "SUBSCRIPTION_FAILED")
    texts = dict.fromkeys(texts)
    if len(texts) > most:
        # Before they are parsed: a message has room for thousands.
        raise InvalidMessage(f"at most {most} patterns", "SUBSCRIPTION_FAILED")
    return tuple(dict.fromkeys(parse_pattern(text) for text in texts))

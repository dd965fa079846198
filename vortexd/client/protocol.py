"""The client's end of one connection. Sans-IO: text in, events and outgoing text out, time as an argument. Pure.

The client's state outlives connections. Each conversation begins with it, requests missing documents, and never returns to an older
state. Invariant: a `Change` is made only after the version of its document was verified. If a version can't be verified, the client asks
for it again, a bounded number of times. After that the conversation is over, and the client needs a new connection.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import attrs
import orjson

from ..core.model import Key
from ..core.patterns import Pattern
from ..core.text import printable
from ..protocol.limits import Bucket
from .change import Change
from .client_state import Ack, ClientState
from .disconnect import Disconnect, closed
from .replica import OutOfSync, Replica

SCHEMA = 1
# If the server doesn't name its own: the sum of the defaults of realtime.heartbeat_interval and heartbeat_timeout.
_HEARTBEAT = 40.0
_SHORTEST_HEARTBEAT, _LONGEST_HEARTBEAT = 1.0, 3_600.0
# Slightly less than a server allows (realtime.resyncs_per_second, resync_burst and messages_per_second).
_RESYNC_RATE, _RESYNC_BURST = 0.9, 8
_ACK_RATE = 50
_MOST_RESYNCS = 3
# Messages sent before the answer to a resync may not apply either. For this many seconds they cause no further resync.
_RESYNC_PAUSE = 1.0
_RESYNC_PATIENCE = 10.0
# One heartbeat may precede the first snapshots, but not two.
_FENCE = 2
# More keys and bytes than a server serves to one client by default, and than a program wants to hold.
_MOST_KEYS = 100_000
_MOST_BYTES = 268_435_456
_MAX_ERROR = 4_096
_STATES = frozenset({"config_snapshot", "config_change", "config_removed", "in_sync"})


@attrs.frozen
class Current:
    """The main subscription now has the server's current version."""


@attrs.frozen
class Heartbeat:
    """A heartbeat has confirmed that the main subscription is still current."""


@attrs.frozen
class Refused:
    """The server refused a message and keeps the connection; `code` is that of its `error`, or UNSUBSCRIBED."""

    code: str
    message: str


@attrs.frozen
class Over:
    """The connection can't be used any more."""

    end: Disconnect


Event: TypeAlias = Change | Current | Heartbeat | Refused | Over


@attrs.define(eq=False)
class _Trouble:
    """A key that is out of sync: how often and when the client sent `resync`, and when it is due again."""

    asked: int = 0
    asked_at: float = -math.inf
    due: float = -math.inf


class Conversation:
    """The client's end of one connection, after the handshake.

    Args:
        held: The client's state; changed in place.
        patterns: Further subscriptions beside the main one.
        now: Monotonic time, in seconds.

    Attributes:
        reconnect_after_ms: The delay that the server named before it closes, or None.
    """

    def __init__(self, held: ClientState, patterns: Iterable[Pattern], now: float) -> None:
        self._held = held
        self._patterns = {str(pattern): pattern for pattern in patterns}
        self._heard = now
        self._heartbeat = _HEARTBEAT
        self._resyncs = Bucket(_RESYNC_RATE, _RESYNC_BURST)
        self._troubles: dict[Key, _Trouble] = {}
        self._acks: dict[Key, Ack] = {}
        self._ack_bucket = Bucket(_ACK_RATE, _ACK_RATE)
        self._may_acknowledge = True
        # Whether the first state has arrived, and whether the main subscription has reached the server's version.
        self._has_begun = self._is_current = False
        self._unconfirmed = set(held.others)
        # Heartbeats since `subscribed`. None until the server has answered.
        self._heartbeats_seen: int | None = None if self._patterns else 0
        self._outgoing: list[str] = []
        self.reconnect_after_ms: int | None = None
        if self._patterns:
            self._send("subscribe", patterns=list(self._patterns))

    def take_outgoing(self, now: float) -> list[str]:
        """Return the messages to send now, in order. Each message is returned only once."""
        while self._acks and self._ack_bucket.take(now):
            key = next(iter(self._acks))
            ack = self._acks.pop(key)
            reason = {} if ack.error is None else {"error": ack.error[:_MAX_ERROR]}
            self._send("ack", version=ack.version, status=ack.status, **reason, **_named(key))
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def hear(self, now: float) -> None:
        """Note a sign of life from the server. Any byte counts, not only a whole message."""
        self._heard = max(self._heard, now)

    @property
    def heard_at(self) -> float:
        """When the server last gave a sign of life."""
        return self._heard

    def wake_at(self, now: float) -> float:
        """The latest time to call `tick` and `take_outgoing`."""
        acks = now + 1 / _ACK_RATE if self._acks else math.inf
        return min(self._heard + self._heartbeat, acks, *(trouble.due for trouble in self._troubles.values()))

    def tick(self, now: float) -> list[Event]:
        """Perform the actions that are due: give up on a silent server, and repeat a resync that had no answer."""
        if now >= self._heard + self._heartbeat:
            return [Over(Disconnect("the server is silent: no heartbeat in time"))]
        return [event for key in list(self._troubles) for event in self._ask_if_due(key, now)]

    def close(self, code: int, text: str | None = None) -> Disconnect:
        """Interpret the code with which the connection has ended, and note whether the server sends the client on to another server."""
        end = closed(code, text, self.reconnect_after_ms)
        if end.is_behind:
            self._held.is_sent_on = True
        return end

    def acknowledge(self, key: Key, ack: Ack) -> None:
        """Queue an acknowledgement of a key. If several are queued for one key, only the last is sent."""
        if self._may_acknowledge:
            self._acks.pop(key, None)
            self._acks[key] = ack

    def receive(self, text: str | bytes, now: float) -> list[Event]:
        """Process one message. Never raises: if the server breaks the protocol, the result is `Over`."""
        self.hear(now)
        try:
            message = orjson.loads(text) if isinstance(text, str) else None
        except ValueError:
            message = None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            return [Over(Disconnect("the server sent an invalid message"))]
        if message.get("schema", SCHEMA) != SCHEMA:
            return [
                Over(
                    Disconnect(
                        "the server uses a message schema that this client doesn't know; update the client",
                        may_return=False,
                    )
                )
            ]
        try:
            return self._understand(message["type"], message, now)
        except _InvalidMessage as error:
            return [Over(Disconnect(f"the server sent {error}"))]

    def _understand(self, kind: str, message: dict[str, Any], now: float) -> list[Event]:
        if kind in _STATES:
            return self._state(message, now)
        match kind:
            case "hello":
                self._heartbeat = _heartbeat(message)
            case "ping":
                return self._receive_heartbeat(message, now)
            case "subscribed":
                self._heartbeats_seen = 0
            case "unsubscribed":
                return self._unsubscribed(_texts(message, "patterns"))
            case "connection_closing":
                self.reconnect_after_ms = _milliseconds(message, "reconnect_after_ms")
            case "error":
                return [self._refused(_text(message, "code"), _text(message, "message"))]
        return []

    def _state(self, message: dict[str, Any], now: float) -> list[Event]:
        key = Key(*(_text(message, member) for member in ("app", "profile", "label")))
        if not self._has_begun:
            # The first state belongs to the main subscription, by whatever name the server now calls it.
            self._has_begun = True
            self._held.key = key
            if former := self._held.others.pop(key, None):
                self._count(-former.size)
        replica = self._replica(key)
        if replica is None:
            return []
        if replica.is_ahead_of(message) and (key != self._held.key or message["type"] == "config_change"):
            # This server hasn't reached the state that another one sent, or it still passes through former states with the same
            # content. The key exists, so it must not be dropped at the heartbeats.
            self._unconfirmed.discard(key)
            return []
        return self._apply(key, replica, message, now)

    def _apply(self, key: Key, replica: Replica, message: dict[str, Any], now: float) -> list[Event]:
        old = replica.version, replica.document, replica.size
        try:
            has_changed = replica.receive(message)
        except OutOfSync:
            trouble = self._troubles.setdefault(key, _Trouble())
            trouble.due = max(now, trouble.asked_at + _RESYNC_PAUSE)
            return self._ask_if_due(key, now)
        self._troubles.pop(key, None)
        self._unconfirmed.discard(key)
        events: list[Event] = []
        if has_changed:
            self._count(replica.size - old[2])
            patch = message["diff"] if message["type"] == "config_change" else None
            origin, is_behind = _origin(message), replica.is_behind
            events.append(
                Change(key, old[0], replica.version, replica.document, origin, old[1], patch, is_behind=is_behind)
            )
        elif (ack := self._held.acks.get(key)) and ack.version == replica.version:
            self.acknowledge(key, ack)
        if key == self._held.key and not self._is_current:
            self._is_current = True
            self._held.is_sent_on = False
            events.append(Current())
        if message["type"] == "config_removed" and key != self._held.key:
            self._held.forget(key)
        return events

    def _replica(self, key: Key) -> Replica | None:
        """Return the state of a key. None if this client doesn't follow it: the message may have crossed an `unsubscribe`."""
        replica = self._held.replica(key)
        if replica is None and any(pattern.matches(key) for pattern in self._patterns.values()):
            if len(self._held.others) >= _MOST_KEYS:
                raise _InvalidMessage("more keys than this client can hold")
            replica = self._held.others[key] = Replica()
        return replica

    def _count(self, more: int) -> None:
        self._held.size += more
        if self._held.size > _MOST_BYTES:
            raise _InvalidMessage("more bytes than this client can hold")

    def _receive_heartbeat(self, message: dict[str, Any], now: float) -> list[Event]:
        versions = message.get("versions")
        if not isinstance(versions, dict) or self._held.key is None:
            return []
        events: list[Event] = []
        key, version = self._held.key, self._held.main.version
        if versions.get(str(key), version) != version:
            self._troubles.setdefault(key, _Trouble(due=now))
            events += self._ask_if_due(key, now)
        elif self._is_current and version is not None and key not in self._troubles:
            events.append(Heartbeat())
        if self._heartbeats_seen is not None and self._heartbeats_seen < _FENCE:
            self._heartbeats_seen += 1
            if self._heartbeats_seen == _FENCE:
                # By now the server has sent every key that matches. Keys that it didn't send ended while the client was disconnected.
                events += self._forget(self._unconfirmed)
        return events

    def _unsubscribed(self, patterns: list[str]) -> list[Event]:
        lost = [text for text in patterns if self._patterns.pop(text, None)]
        if not lost:
            return []
        kept = self._patterns.values()
        ended = {key for key in self._held.others if not any(pattern.matches(key) for pattern in kept)}
        return [Refused("UNSUBSCRIBED", printable(" ".join(lost))), *self._forget(ended)]

    def _forget(self, keys: set[Key]) -> list[Event]:
        events: list[Event] = []
        for key in sorted(keys):
            self._troubles.pop(key, None)
            self._acks.pop(key, None)
            replica = self._held.forget(key)
            if replica is not None and replica.version is not None:
                self._count(-replica.size)
                events.append(Change(key, replica.version, None, None, None, replica.document))
        keys.clear()
        return events

    def _refused(self, code: str, message: str) -> Refused:
        if code == "FORBIDDEN" and self._heartbeats_seen is None:
            # This answers `subscribe`: the server may no longer know which keys the patterns matched.
            self._heartbeats_seen = 0
        elif code == "FORBIDDEN":
            # This answers an ack. If the client went on, the server would close the connection for good (realtime.errors_per_minute).
            self._may_acknowledge = False
            self._acks.clear()
        return Refused(printable(code), printable(message))

    def _ask_if_due(self, key: Key, now: float) -> list[Event]:
        trouble = self._troubles[key]
        if now < trouble.due:
            return []
        if trouble.asked >= _MOST_RESYNCS:
            return [Over(Disconnect("the server's changes don't lead to the version that it names"))]
        if not self._resyncs.take(now):
            trouble.due = now + _RESYNC_PAUSE
            return []
        replica = self._held.replica(key)
        # The second request asks for the whole document, because the client's own copy may be wrong.
        last_version = replica.version if replica and not trouble.asked else None
        trouble.asked += 1
        trouble.asked_at, trouble.due = now, now + _RESYNC_PATIENCE
        # Without a mode, newer servers send the whole document. Older servers know no mode, and send a diff.
        self._send("resync", last_version=last_version, mode="diff", **_named(key))
        return []

    def _send(self, kind: str, **members: Any) -> None:
        self._outgoing.append(orjson.dumps({"type": kind, **members}).decode())


class _InvalidMessage(Exception):
    """The server broke the protocol; the text names the part of the message that is wrong."""


def _named(key: Key) -> dict[str, str]:
    return {"app": key.application, "profile": key.profile, "label": key.label}


def _text(message: Mapping[str, Any], member: str) -> str:
    value = message.get(member)
    if not isinstance(value, str):
        raise _InvalidMessage(f"an incomplete message: {member} isn't a string")
    return value


def _texts(message: Mapping[str, Any], member: str) -> list[str]:
    value = message.get(member)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _InvalidMessage(f"an incomplete message: {member} isn't a list of strings")
    return value


def _milliseconds(message: Mapping[str, Any], member: str) -> int | None:
    value = message.get(member)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _heartbeat(hello: Mapping[str, Any]) -> float:
    parts = [_milliseconds(hello, member) for member in ("heartbeat_interval_ms", "heartbeat_timeout_ms")]
    if None in parts:
        return _HEARTBEAT
    return min(max(sum(filter(None, parts)) / 1_000, _SHORTEST_HEARTBEAT), _LONGEST_HEARTBEAT)


def _origin(message: Mapping[str, Any]) -> Mapping[str, str] | None:
    origin = message.get("origin")
    return origin if isinstance(origin, dict) else None

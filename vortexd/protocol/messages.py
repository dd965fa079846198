"""The JSON messages of the protocol: messages that the server sends, and the parser for messages of clients.

Only this module builds server messages. They are bytes, each with `type`, `schema` and `timestamp`. If a message holds
nothing that belongs to one connection, several connections share it. So its timestamp is the time at which it was made,
not the time at which it was sent. The parser is strict: no duplicate member, no NaN, no lone surrogate, bounded depth.
"""

import json
import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import attrs
import orjson

from ..core.errors import RemoteError
from ..core.model import Change, Config, Key
from ..core.patterns import Pattern
from ..core.text import rfc3339

SCHEMA = 1
# Each message of the server begins with its type.
_BEGINNING = b'{"type":"'
MAX_DEPTH = 32
# The texts of `hello` to remember: one for each type of the first state, and for the settings before and after a reload.
_HELLOS = 64
# The type of the message with the first state, and the word for it in `hello`.
_RESUMES = {"config_snapshot": "snapshot", "config_change": "diff", "in_sync": "in_sync", "config_removed": "removed"}


class InvalidMessage(RemoteError):
    """A client's message is invalid. The reason is for the client, and repeats nothing of the message.

    Attributes:
        code: The code of the `error` message that the server answers with.
    """

    def __init__(self, reason: str, code: str = "INVALID_MESSAGE") -> None:
        super().__init__(reason)
        self.code = code


# Messages that the server sends.


def config_snapshot(config: Config, timestamp: str, generation: str | None = None, *, is_stale: bool = False) -> bytes:
    """Make the message with the whole document of a key.

    Args:
        generation: The generation of the configuration as text, or None if it has none.
        is_stale: Whether the client has a newer state, which this server doesn't have.
    """
    members = _key(config.key) | {"version": config.version, "config": orjson.Fragment(config.body)}
    stale = {"stale": True} if is_stale else {}
    more = _order(generation) | stale | _origin(config) | _pinned(config)
    return _message("config_snapshot", timestamp, members | more)


def config_change(change: Change, timestamp: str, generation: str | None = None) -> bytes:
    """Make the message for a change: its patch, the snapshot if it has no patch, or the removal of the key.

    Args:
        generation: The generation of the new configuration as text, or None if it has none.
    """
    if change.new is None:
        return config_removed(change.key, change.old.version if change.old else None, timestamp)
    if change.old is None or change.patch is None:
        return config_snapshot(change.new, timestamp, generation)
    versions = {"old_version": change.old.version, "new_version": change.new.version}
    members = _key(change.key) | versions | {"diff": orjson.Fragment(change.patch)}
    more = _order(generation) | _origin(change.new) | _pinned(change.new)
    return _message("config_change", timestamp, members | more)


def config_removed(key: Key, old_version: str | None, timestamp: str) -> bytes:
    """Make the message for a key that was removed, because its label is gone."""
    return _message("config_removed", timestamp, _key(key) | {"old_version": old_version})


def in_sync(config: Config, timestamp: str, generation: str | None = None) -> bytes:
    """Make the message for a client that resumes and has missed nothing.

    Args:
        generation: The generation of the configuration as text, or None if it has none.
    """
    members = _key(config.key) | {"version": config.version}
    return _message("in_sync", timestamp, members | _order(generation) | _pinned(config))


def ping(key: Key, version: str | None, timestamp: str) -> bytes:
    """Make the heartbeat. It has the current version of the main subscription, from which the client can resume."""
    return _message("ping", timestamp, {"versions": {str(key): version}})


def pong(timestamp: str) -> bytes:
    """Make the answer to a client's `ping`."""
    return _message("pong", timestamp, {})


def hello(
    connection_id: str, server: str, heartbeat_interval: float, heartbeat_timeout: float, first: str, timestamp: str
) -> bytes:
    """Make the first message to a client of the subprotocol. Its first state follows.

    Args:
        connection_id: A UUID. It and the timestamp are put into the text of an earlier message, so they must need no escapes.
        heartbeat_interval: In seconds.
        heartbeat_timeout: In seconds.
        first: The type of the message with the first state.
    """
    before, between, after = _hello_around(server, heartbeat_interval, heartbeat_timeout, first)
    return b"%b%b%b%b%b" % (before, timestamp.encode("ascii"), between, connection_id.encode("ascii"), after)


# The messages of all clients differ only in the timestamp and the id.
@lru_cache(_HELLOS)
def _hello_around(
    server: str, heartbeat_interval: float, heartbeat_timeout: float, first: str
) -> tuple[bytes, bytes, bytes]:
    """Return the text of `hello` before the timestamp, between it and the connection's id, and after that."""
    members = {
        "connection_id": "",
        "server": server,
        "protocol": 1,
        "heartbeat_interval_ms": round(heartbeat_interval * 1_000),
        "heartbeat_timeout_ms": round(heartbeat_timeout * 1_000),
        "resume": _RESUMES[first],
    }
    # These are the first two empty texts.
    before, between, after = _message("hello", "", members).split(b'""', 2)
    return before + b'"', b'"' + between + b'"', b'"' + after


def subscribed(patterns: Iterable[Pattern], timestamp: str) -> bytes:
    """Make the answer to `subscribe`: these patterns are in force, and the states of the matching keys follow."""
    return _message("subscribed", timestamp, {"patterns": [str(pattern) for pattern in patterns]})


def unsubscribed(patterns: Iterable[Pattern], timestamp: str) -> bytes:
    """Make the answer to `unsubscribe`: these patterns are no longer in force."""
    return _message("unsubscribed", timestamp, {"patterns": [str(pattern) for pattern in patterns]})


def lagged(dropped: int, timestamp: str) -> bytes:
    """Make the message to a lagging client: its queue was dropped, and the next messages bring it up to date.

    Args:
        dropped: The number of dropped messages.
    """
    return _message("lagged", timestamp, {"dropped": dropped})


def connection_closing(reason: str, reconnect_after_ms: int, timestamp: str) -> bytes:
    """Make the announcement that the server closes the connection, and when the client may reconnect."""
    return _message("connection_closing", timestamp, {"reason": reason, "reconnect_after_ms": reconnect_after_ms})


def error(code: str, message: str, timestamp: str) -> bytes:
    """Make the message that the server has refused the client's last message. The connection stays open."""
    return _message("error", timestamp, {"code": code, "message": message})


def kind_of(message: bytes) -> str:
    """Return the type of a message that this module has made."""
    start = len(_BEGINNING)
    return message[start : message.index(b'"', start)].decode("ascii")


def _message(kind: str, timestamp: str, members: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": kind, "schema": SCHEMA, "timestamp": timestamp} | members)


def _origin(config: Config) -> dict[str, Any]:
    """The member for the commit that a version comes from; empty if it doesn't come from git."""
    return {"origin": attrs.asdict(config.origin)} if config.origin else {}


def _order(generation: str | None) -> dict[str, Any]:
    """The member for the generation; empty if there is none."""
    return {} if generation is None else {"generation": generation}


def _pinned(config: Config) -> dict[str, Any]:
    """The member for the pin of the key; empty if it isn't pinned."""
    term = config.pinned
    if term is None:
        return {}
    return {"pinned": {"since": rfc3339(term.since), "until": None if term.until is None else rfc3339(term.until)}}


def _key(key: Key) -> dict[str, Any]:
    return {"app": key.application, "profile": key.profile, "label": key.label}


# Messages that a client sends.


def parse(text: str, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Parse a client's message into an object with a `type`.

    Args:
        max_depth: The deepest nesting of objects and lists, with the message itself.

    Raises:
        InvalidMessage: The text isn't a valid message. The connection may stay open.
    """
    try:
        message = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
        if "\\u" in text:
            # JSON allows lone surrogates in escapes, but UTF-8 doesn't. They would fail later, when a message is encoded.
            orjson.dumps(message)
    except InvalidMessage:
        raise
    except (ValueError, TypeError, RecursionError):
        raise InvalidMessage("a message is one JSON object") from None
    if not _is_within(message, max_depth):
        raise InvalidMessage(f"a message is nested at most {max_depth} deep")
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise InvalidMessage("a message is one JSON object with a type")
    return message


def _is_within(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    children = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_within(child, depth - 1) for child in children)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidMessage("an object has a member twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise InvalidMessage("a number is too large")
    return number


def _no_constant(name: str) -> None:
    raise InvalidMessage("NaN and Infinity aren't JSON")

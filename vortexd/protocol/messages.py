"""The JSON of the protocol: what the server says, and what a client may say.

Server messages are built here and nowhere else, as bytes, each with `type`, `schema` and `timestamp`. Those that hold nothing
of one connection are shared between connections, so their timestamp is the time they were made, not the time they were sent.
Client messages are parsed strictly: no duplicate member, no NaN, no lone surrogate, bounded depth.
"""

import json
import math
from collections.abc import Iterable
from typing import Any

import attrs
import orjson

from ..core.errors import RemoteError
from ..core.model import Change, Config, Key
from ..core.patterns import Pattern

SCHEMA = 1
MAX_DEPTH = 32
# The first state by its type, as `hello` announces it.
_RESUMES = {"config_snapshot": "snapshot", "config_change": "diff", "in_sync": "in_sync", "config_removed": "removed"}


class InvalidMessage(RemoteError):
    """A client's message that isn't one. The reason is for the client, and repeats nothing of the message.

    Attributes:
        code: The code of the `error` that answers it.
    """

    def __init__(self, reason: str, code: str = "INVALID_MESSAGE") -> None:
        super().__init__(reason)
        self.code = code


# What the server says.


def config_snapshot(config: Config, timestamp: str) -> bytes:
    """The whole document of a key."""
    members = _key(config.key) | {"version": config.version, "config": orjson.Fragment(config.body)}
    return _message("config_snapshot", timestamp, members | _origin(config))


def config_change(change: Change, timestamp: str) -> bytes:
    """A change: its patch, the snapshot if it has none, or the end of the key."""
    if change.new is None:
        return config_removed(change.key, change.old.version if change.old else None, timestamp)
    if change.old is None or change.patch is None:
        return config_snapshot(change.new, timestamp)
    versions = {"old_version": change.old.version, "new_version": change.new.version}
    members = _key(change.key) | versions | {"diff": orjson.Fragment(change.patch)}
    return _message("config_change", timestamp, members | _origin(change.new))


def config_removed(key: Key, old_version: str | None, timestamp: str) -> bytes:
    """The key has ended: its label is gone."""
    return _message("config_removed", timestamp, _key(key) | {"old_version": old_version})


def in_sync(config: Config, timestamp: str) -> bytes:
    """The answer to a resume that missed nothing."""
    return _message("in_sync", timestamp, _key(config.key) | {"version": config.version})


def ping(key: Key, version: str | None, timestamp: str) -> bytes:
    """The heartbeat, with the current version of the main subscription as a bookmark."""
    return _message("ping", timestamp, {"versions": {str(key): version}})


def pong(timestamp: str) -> bytes:
    """The answer to a client's `ping`."""
    return _message("pong", timestamp, {})


def hello(
    connection_id: str, server: str, heartbeat_interval: float, heartbeat_timeout: float, first: str, timestamp: str
) -> bytes:
    """What a client of the subprotocol is told before its first state.

    Args:
        first: The type of the message with that state.
    """
    return _message(
        "hello",
        timestamp,
        {
            "connection_id": connection_id,
            "server": server,
            "protocol": 1,
            "heartbeat_interval_ms": round(heartbeat_interval * 1_000),
            "heartbeat_timeout_ms": round(heartbeat_timeout * 1_000),
            "resume": _RESUMES[first],
        },
    )


def subscribed(patterns: Iterable[Pattern], timestamp: str) -> bytes:
    """These patterns are in force now; the state of what they match follows."""
    return _message("subscribed", timestamp, {"patterns": [str(pattern) for pattern in patterns]})


def unsubscribed(patterns: Iterable[Pattern], timestamp: str) -> bytes:
    """These patterns are in force no longer."""
    return _message("unsubscribed", timestamp, {"patterns": [str(pattern) for pattern in patterns]})


def lagged(dropped: int, timestamp: str) -> bytes:
    """What was waiting for this client was dropped; what follows brings it up to date."""
    return _message("lagged", timestamp, {"dropped": dropped})


def connection_closing(reason: str, reconnect_after_ms: int, timestamp: str) -> bytes:
    """The connection is about to be closed; come back after this many milliseconds."""
    return _message("connection_closing", timestamp, {"reason": reason, "reconnect_after_ms": reconnect_after_ms})


def error(code: str, message: str, timestamp: str) -> bytes:
    """The client's last message was refused; the connection stays."""
    return _message("error", timestamp, {"code": code, "message": message})


def _message(kind: str, timestamp: str, members: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": kind, "schema": SCHEMA, "timestamp": timestamp} | members)


def _origin(config: Config) -> dict[str, Any]:
    """The commit with which a version came, where it comes from git."""
    return {"origin": attrs.asdict(config.origin)} if config.origin else {}


def _key(key: Key) -> dict[str, Any]:
    return {"app": key.application, "profile": key.profile, "label": key.label}


# What a client says.


def parse(text: str, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Parse a client's message into an object with a `type`.

    Args:
        max_depth: Nesting of objects and lists, the message itself included.

    Raises:
        InvalidMessage: It isn't one; the connection can go on.
    """
    try:
        message = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
        if "\\u" in text:
            # Lone surrogates are legal in JSON's escapes and nowhere else: they would fail later, on the way out.
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
        raise InvalidMessage("a member stands twice in one object")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise InvalidMessage("a number is too large")
    return number


def _no_constant(name: str) -> None:
    raise InvalidMessage("NaN and Infinity aren't JSON")

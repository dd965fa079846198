"""The JSON of etcd's gateway: requests, answers and errors. Pure.

Keys and values are base64, and 64-bit numbers are text. A field with its default value is missing. The names are those
of etcd's rpc.proto.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import attrs

from ..engine import (
    Batch,
    Committed,
    Compacted,
    Condition,
    CreatedAt,
    Delete,
    Denied,
    EngineAway,
    EngineError,
    Entry,
    Event,
    Full,
    Reading,
    TooLarge,
    Write,
)

# The numbers of gRPC's states, as the gateway sends them.
_DEADLINE_EXCEEDED, _PERMISSION_DENIED, _OUT_OF_RANGE, _UNAVAILABLE, _UNAUTHENTICATED = 4, 7, 11, 14, 16
# Most of etcd's errors begin with this.
_PREFIX = "etcdserver: "
_TOO_LARGE = ("request is too large", "too many operations in txn request")
_SPACE = "mvcc: database space exceeded"
# Reasons for which a new token helps: etcd forgets tokens when it restarts, and when rights change.
_STALE_TOKEN = ("invalid auth token", "revision of auth store is old")
_BAD_USER = ("authentication failed", "user name is empty", "user name not found")
# What an operator can do about a refusal.
_REMEDIES = {
    "authentication failed": "check user, and the password in password_file",
    "user name": "its authentication is enabled; set user and password_file",
    "permission denied": "grant a role of the user the right to these keys",
}
_NO_AUTHENTICATION = "authentication is not enabled"


class StaleToken(EngineError):
    """The token isn't valid any more. Nothing was done. A new token may help."""


class NoAuthentication(EngineError):
    """etcd knows no users: its authentication isn't enabled."""


class Malformed(EngineError):
    """An answer isn't what etcd sends. Another server may listen there."""


class TooLong(Malformed):
    """An answer or a line of a watch is longer than vortexd reads."""


def error_of(answer: object) -> EngineError:
    """Return the error that an answer stands for; see the gateway's `code` and `message`."""
    if not isinstance(answer, Mapping):
        return Malformed("the answer isn't etcd's")
    # etcd 3.4 names the number of a stream's error otherwise.
    code = answer.get("code", answer.get("grpc_code"))
    message = answer.get("message") or answer.get("error")
    if not isinstance(code, int) or not isinstance(message, str):
        return Malformed("the answer isn't etcd's")
    return _error(code, message.removeprefix(_PREFIX)[:200])


def _error(code: int, text: str) -> EngineError:
    if any(each in text for each in _STALE_TOKEN):
        return StaleToken(text)
    if _NO_AUTHENTICATION in text:
        return NoAuthentication(text)
    if code in (_PERMISSION_DENIED, _UNAUTHENTICATED) or any(each in text for each in _BAD_USER):
        return _denied(text)
    if _SPACE in text:
        return Full("etcd has no space left; compact and defragment it, and run etcdctl alarm disarm")
    if any(each in text for each in _TOO_LARGE):
        return TooLarge(text)
    if code == _OUT_OF_RANGE:
        return Compacted(text)
    if code in (_UNAVAILABLE, _DEADLINE_EXCEEDED):
        return EngineAway(text)
    return EngineError(text)


def _denied(text: str) -> Denied:
    remedy = next((remedy for part, remedy in _REMEDIES.items() if part in text), "")
    return Denied(f"etcd refuses it: {text}" + (f"; {remedy}" if remedy else ""))


# Requests.


def range_of(key: str, *, end: str | None = None, revision: int = 0, limit: int = 0) -> dict[str, Any]:
    """Return a request for one key or, with `end`, for the keys from `key` to before `end`."""
    body: dict[str, Any] = {"key": _encoded(key)}
    if end is not None:
        body["range_end"] = _encoded(end)
    if revision:
        body["revision"] = str(revision)
    if limit:
        body["limit"] = str(limit)
    return body


def end_of(prefix: str) -> str:
    """Return the end of the range of all keys with a prefix. The prefix isn't empty and ends with an ASCII character."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def after(key: str) -> str:
    """Return the first key after a given key."""
    return key + "\0"


def transaction(writes: Iterable[Write], conditions: Sequence[Condition]) -> dict[str, Any]:
    """Return a request that writes if all conditions hold, and else reads the keys that the conditions name."""
    keys = dict.fromkeys(each.key for each in conditions)
    return {
        "compare": list(map(_compare, conditions)),
        "success": list(map(_operation, writes)),
        "failure": [{"request_range": range_of(key)} for key in keys],
    }


def several(keys: Iterable[str]) -> dict[str, Any]:
    """Return a request that reads several keys at one revision."""
    return {"success": [{"request_range": range_of(key)} for key in keys]}


def watch_of(prefix: str, after_revision: int) -> dict[str, Any]:
    """Return a request for the events of all keys with a prefix, from the revision after a given one."""
    create = range_of(prefix, end=end_of(prefix))
    create["start_revision"] = str(after_revision + 1)
    return {"create_request": create}


def _compare(condition: Condition) -> dict[str, Any]:
    target = "CREATE" if isinstance(condition, CreatedAt) else "MOD"
    name = "create_revision" if isinstance(condition, CreatedAt) else "mod_revision"
    return {"key": _encoded(condition.key), "result": "EQUAL", "target": target, name: str(condition.revision)}


def _operation(write: Write) -> dict[str, Any]:
    if isinstance(write, Delete):
        return {"request_delete_range": {"key": _encoded(write.key)}}
    put = {"key": _encoded(write.key), "value": b64encode(write.value).decode()}
    return {"request_put": put | ({"lease": write.lease} if write.lease else {})}


def _encoded(key: str) -> str:
    return b64encode(_bytes(key)).decode()


def _bytes(key: str) -> bytes:
    return key.encode(errors="surrogateescape")


# Answers.


@attrs.frozen
class Page:
    """One answer to a request for a range.

    Attributes:
        more: Whether the range has more keys after the last entry.
    """

    reading: Reading
    more: bool


def page(answer: Mapping[str, Any]) -> Page:
    """Parse the answer to a request for a range."""
    with _parsing():
        header = answer["header"]
        reading = Reading(_entries(answer), int(header["revision"]), str(header["cluster_id"]))
        return Page(reading, answer.get("more") is True)


def page_of(start: str, end: str, answer: Mapping[str, Any]) -> Page:
    """Parse the answer to a request for the keys from `start` to before `end`.

    Raises:
        Malformed: The keys aren't in this range and in order, or more are announced after none. Otherwise the reading of
            all pages might never end.
    """
    one = page(answer)
    keys = [_bytes(start), *(_bytes(each.key) for each in one.reading.entries), _bytes(end)]
    is_ordered = all(before < after for before, after in pairwise(keys[1:])) and keys[0] <= keys[1]
    if not is_ordered or (one.more and not one.reading.entries):
        raise Malformed("the answer isn't etcd's")
    return one


def found(answer: Mapping[str, Any]) -> Reading:
    """Parse the answer to `several`."""
    with _parsing():
        header = answer["header"]
        return Reading(_responses(answer), int(header["revision"]), str(header["cluster_id"]))


def committed(answer: Mapping[str, Any]) -> Committed:
    """Parse the answer to a transaction."""
    with _parsing():
        is_done = answer.get("succeeded") is True
        return Committed(is_done, int(answer["header"]["revision"]), () if is_done else _responses(answer))


@attrs.frozen
class Created:
    """The first line of a watch: the watch has begun.

    Attributes:
        revision: The revision of the member that answers. It may be behind the others.
    """

    revision: int
    store: str


def watch_line(line: Mapping[str, Any]) -> Created | Batch:
    """Parse a line of a watch.

    Raises:
        EngineError: The line says that the watch has ended, and why.
    """
    with _parsing():
        if "error" in line:
            raise error_of(line["error"])
        result = line["result"]
        header = result["header"]
        if result.get("canceled"):
            if "compact_revision" in result:
                oldest = int(result["compact_revision"])
                raise Compacted(f"etcd keeps only revisions from {oldest}", oldest)
            raise _cancelled(str(result.get("cancel_reason", "")))
        if result.get("created"):
            return Created(int(header["revision"]), str(header["cluster_id"]))
        events = tuple(map(_event, result.get("events", ())))
        return Batch(events, max((each.revision for each in events), default=0))


def _cancelled(reason: str) -> EngineError:
    """Return the error for a watch that etcd has cancelled. The reason may contain the text of a gRPC error."""
    text = reason.rpartition("desc = ")[2].removeprefix(_PREFIX)
    if "permission denied" in text:
        return _denied(text)
    return _error(_UNAVAILABLE, text or "etcd has cancelled the watch")


@attrs.frozen
class Granted:
    """A lease, and the seconds for which it is in force from now on; 0 if it doesn't exist any more."""

    id: str
    seconds: float


def granted(answer: Mapping[str, Any]) -> Granted:
    """Parse the answer to a request for a lease, or to one that keeps a lease alive."""
    with _parsing():
        answer = answer.get("result", answer)
        if answer.get("error"):
            raise EngineError(str(answer["error"])[:200])
        return Granted(str(answer["ID"]), float(answer.get("TTL", 0)))


def token(answer: Mapping[str, Any]) -> str:
    """Parse the answer to an authentication."""
    with _parsing():
        text = answer["token"]
        # A header takes no other text.
        if not isinstance(text, str) or not (text.isascii() and text.isprintable()) or text != text.strip():
            raise TypeError
        return text


@contextmanager
def _parsing() -> Iterator[None]:
    """Turn the errors of an answer that has another shape into Malformed."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError):
        raise Malformed("the answer isn't etcd's") from None


def _entries(answer: Mapping[str, Any]) -> tuple[Entry, ...]:
    return tuple(map(_entry, answer.get("kvs", ())))


def _responses(answer: Mapping[str, Any]) -> tuple[Entry, ...]:
    return tuple(entry for each in answer.get("responses", ()) for entry in _entries(each["response_range"]))


def _entry(kv: Mapping[str, Any]) -> Entry:
    lease = str(kv.get("lease", "0"))
    return Entry(
        _decoded(kv["key"]),
        b64decode(kv.get("value", ""), validate=True),
        int(kv["create_revision"]),
        int(kv["mod_revision"]),
        "" if lease == "0" else lease,
    )


def _event(event: Mapping[str, Any]) -> Event:
    kv = event["kv"]
    if event.get("type") == "DELETE":
        return Event(_decoded(kv["key"]), None, int(kv["mod_revision"]))
    entry = _entry(kv)
    return Event(entry.key, entry, entry.modified)


def _decoded(key: str) -> str:
    """Return a key as text. Bytes that aren't UTF-8 stay what they are, as surrogates."""
    return b64decode(key, validate=True).decode(errors="surrogateescape")

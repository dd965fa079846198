"""The id of an event for a client with several keys: a cursor with its version of each key, signed. Pure.

The cursor holds no names, because the next request names the same key and patterns. It has a digest of each key and the
version. The MAC covers the main key, the patterns and the client's token. So a cursor is valid only for the same stream of
the same client, at each server that knows the secret. An invalid cursor is like none: the stream begins with snapshots.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import attrs

from ...core.model import Key
from ...core.patterns import Pattern

# The longest cursor, as text. Proxies and servers limit the size of a request head.
MOST_BYTES = 4_096
_MAC_BYTES = 16
# 48 bits: two of a client's 200 keys collide once in ten billion times, and the client would get a snapshot then.
_DIGEST_BYTES = 6
_VERSION_BYTES = 8
_ENTRY_BYTES = _DIGEST_BYTES + _VERSION_BYTES
_MOST_ENTRIES = (MOST_BYTES * 3 // 4 - _MAC_BYTES) // _ENTRY_BYTES
# The keys whose digest is remembered.
_CACHED_KEYS = 16_384


@attrs.frozen(slots=True)
class Owner:
    """The stream that a cursor belongs to.

    Attributes:
        key: The main subscription.
        patterns: The patterns in force, in any order.
        identity: Identifies the token and its name. Empty texts if the client needs no token.
    """

    key: Key
    patterns: Sequence[Pattern]
    identity: tuple[str, str]

    def to_bytes(self) -> bytes:
        """Encode it for the MAC. No part has a line break, except a name, whose length comes first."""
        name = self.identity[1].encode("utf-8", "surrogatepass")
        patterns = sorted(str(each) for each in self.patterns)
        lines = ["vortexd events 1", str(self.key), str(len(patterns)), *patterns, self.identity[0], str(len(name))]
        return "\n".join(lines).encode() + b"\n" + name


class Resumed:
    """The versions that a valid cursor claims."""

    def __init__(self, versions: Mapping[bytes, str]) -> None:
        self._versions = versions

    def version_of(self, key: Key) -> str | None:
        """Return the version of a key, or None if the client has none."""
        return self._versions.get(_digest(key))

    def entries_without(self, keys: Iterable[Key]) -> Iterator[bytes]:
        """Return the entries of a cursor, except those of some keys."""
        named = set(map(_digest, keys))
        return (digest + bytes.fromhex(version) for digest, version in self._versions.items() if digest not in named)


class Cursors:
    """Makes and checks cursors.

    Args:
        secrets: Returns the secrets that are known now, at least one. New cursors are signed with the first one. A cursor
            that is signed with any of them is valid.
    """

    def __init__(self, secrets: Callable[[], Sequence[bytes]]) -> None:
        self._secrets = secrets

    def make(self, owner: Owner, versions: Mapping[Key, str | None], resumed: Resumed | None = None) -> bytes:
        """Make the cursor of a client with these versions. It is empty if it would be too long.

        Args:
            resumed: The versions that the client has of the keys that `versions` doesn't name, or None.
        """
        entries = _encode(versions.items()) if len(versions) <= _MOST_ENTRIES else None
        if entries is not None and resumed is not None:
            entries += b"".join(resumed.entries_without(versions))
        if entries is None or len(entries) > _MOST_ENTRIES * _ENTRY_BYTES:
            return b""
        return base64.urlsafe_b64encode(_mac(self._secrets()[0], owner, entries) + entries).rstrip(b"=")

    def read(self, owner: Owner, cursor: str) -> Resumed | None:
        """Return the versions of a cursor. Returns None if the cursor isn't a valid one for this stream."""
        if len(cursor) > MOST_BYTES or not cursor.isascii():
            return None
        try:
            data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            return None
        mac, entries = data[:_MAC_BYTES], data[_MAC_BYTES:]
        if len(mac) < _MAC_BYTES or len(entries) % _ENTRY_BYTES:
            return None
        if not any(hmac.compare_digest(mac, _mac(each, owner, entries)) for each in self._secrets()):
            return None
        starts = range(0, len(entries), _ENTRY_BYTES)
        split = (entries[start : start + _ENTRY_BYTES] for start in starts)
        return Resumed({each[:_DIGEST_BYTES]: each[_DIGEST_BYTES:].hex() for each in split})


def _encode(versions: Iterable[tuple[Key, str | None]]) -> bytes | None:
    """Encode the versions that the client has. Returns None if a version isn't one of this server."""
    parts = []
    for key, version in versions:
        if version is None:
            continue
        try:
            encoded = bytes.fromhex(version)
        except ValueError:
            return None
        if len(encoded) != _VERSION_BYTES or encoded.hex() != version:
            return None
        parts.append(_digest(key) + encoded)
    return b"".join(parts)


@lru_cache(_CACHED_KEYS)
def _digest(key: Key) -> bytes:
    return hashlib.blake2b(str(key).encode(), digest_size=_DIGEST_BYTES).digest()


def _mac(secret: bytes, owner: Owner, entries: bytes) -> bytes:
    digest = hashlib.sha256(owner.to_bytes()).digest()
    return hmac.digest(secret, b"vortexd events\n" + digest + entries, hashlib.sha256)[:_MAC_BYTES]

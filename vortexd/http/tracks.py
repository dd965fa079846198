"""Chooses between a key and its candidate for a request over HTTP, as a WebSocket of the same client would. Pure.

Endpoints call `track_of` after the check of rights. The query names the instance, or a header does, for clients of Spring that
can't add parameters to their requests. The invariant: a request never makes an instance count for a roll-out.
"""

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import parse_qsl

from ..core.errors import RemoteError
from ..core.model import Key
from ..core.names import is_instance_name
from .endpoint import Headers

# The name of the instance, and whether a client without a name asks for the candidate: in the query, and as headers.
INSTANCE, CANARY = "instance", "canary"
INSTANCE_HEADER, CANARY_HEADER = "X-Vortex-Instance", "X-Vortex-Canary"
# These may change the response to a request about a key in a roll-out.
VARY = f"{INSTANCE_HEADER}, {CANARY_HEADER}"


class ChoosesTracks(Protocol):
    """The part of the pipeline that knows the roll-outs."""

    def track(self, key: Key, instance: str | None, *, wants_candidate: bool = False) -> Key:
        """The key that is served to a client: `key`, or its candidate."""
        ...

    def target(self, key: Key) -> str | None:
        """The target version of the key's roll-out, or None."""
        ...


def track_of(tracks: ChoosesTracks, key: Key, query: str, headers: Headers) -> Key:
    """Return the key that is served to a request: `key`, or its candidate. A parameter counts before its header.

    A named instance has the candidate if the roll-out has reached it. A request without a name has it if it asks for it.

    Raises:
        RemoteError: The name of the instance isn't valid, or `canary` is neither true nor false.
    """
    found: Mapping[str, str] = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
    name = found.get(INSTANCE, headers.get(INSTANCE_HEADER) or "")
    canary = found.get(CANARY, headers.get(CANARY_HEADER) or "")
    if not is_instance_name(name):
        raise RemoteError("instance is a name of at most 128 printable characters")
    if canary not in ("", "true", "false"):
        raise RemoteError("canary is true or false")
    return tracks.track(key, name or None, wants_candidate=not name and canary == "true")

"""Selects keys for the endpoints that list them: by the parameters of a query, and by the rights of the client.

A client that may not see a key can't learn from a response whether the key exists.
"""

from collections.abc import Callable, Iterable, Mapping

import attrs
import trio

from ..auth import Admission, Forbidden, Right
from ..core import names
from ..core.errors import RemoteError
from ..core.model import Key
from ..core.patterns import Pattern, parse_pattern
from .operation import in_query
from .schemas import Schema

PARTS = ("app", "profile", "label")
KEY_PARAMETERS = [in_query(name, "a name or a glob") for name in PARTS]
DEFAULT_LIMIT, MOST = 100, 1_000
LIMIT_SCHEMA: Schema = {"type": "integer", "minimum": 1, "maximum": MOST}
# This many keys are checked before other tasks run.
_AT_ONCE = 100


@attrs.frozen
class _Part:
    """One part of a key in a query: anything, a glob, or one exact text."""

    text: str
    matches: Callable[[str], bool]

    @property
    def is_exact(self) -> bool:
        return "*" not in self.text


@attrs.frozen
class KeyFilter:
    """Selects keys by application, profile and label."""

    parts: tuple[_Part, _Part, _Part]

    def matches(self, key: Key) -> bool:
        """Whether the query selects this key."""
        texts = key.application, key.profile, key.label
        return all(part.matches(text) for part, text in zip(self.parts, texts, strict=True))

    def key(self, default_label: str | None) -> Key | None:
        """Return the key that the query names, if it names exactly one. If it names no label, the default label is used."""
        application, profile, label = self.parts
        if not application.is_exact or not profile.is_exact:
            return None
        return Key(application.text, profile.text, label.text if label.is_exact else default_label or "")


def parse_filter(parameters: Mapping[str, str]) -> KeyFilter:
    """Parse the parameters `app`, `profile` and `label`.

    Raises:
        RemoteError: A parameter isn't valid. The text names the mistake.
    """
    return KeyFilter(
        (
            _part(parameters.get("app"), 0, names.application),
            _part(parameters.get("profile"), 1, names.profile),
            _part(parameters.get("label"), 2, names.labels),
        )
    )


def _part(text: str | None, place: int, gate: Callable[[str], str]) -> _Part:
    if not text or text == "*":
        return _Part("*", lambda _: True)
    if "*" not in text:
        text = gate(text)
        return _Part(text, text.__eq__)
    pattern = parse_pattern(":".join(text if number == place else "*" for number in range(3)))
    glob = (pattern.application, pattern.profile, pattern.label)[place]
    return _Part(glob, lambda name: Pattern(glob).matches(Key(name, "", "")))


def parse_limit(parameters: Mapping[str, str]) -> int:
    """Parse the parameter `limit`: the most entries on a page.

    Raises:
        RemoteError: It isn't valid.
    """
    limit = parameters.get("limit") or str(DEFAULT_LIMIT)
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 4 and 1 <= int(limit) <= MOST):
        raise RemoteError(f"limit is a whole number from 1 to {MOST}")
    return int(limit)


async def visible_keys(
    owner: Admission,
    wanted: KeyFilter,
    keys: Iterable[Key],
    *,
    most: int | None = None,
    sees_all: Right | None = None,
) -> list[Key]:
    """Return the keys that the query selects and the owner may read, in their order.

    Args:
        most: The most keys to return. None means all.
        sees_all: With this right, the owner sees all keys. None if there is no such right.
    """
    has_all = sees_all is not None and owner.may(sees_all, None)
    visible: list[Key] = []
    for number, key in enumerate(keys, 1):
        if wanted.matches(key) and (has_all or owner.may(Right.READ, key)):
            visible.append(key)
            if len(visible) == most:
                break
        # Checking a right with many patterns takes some time for each key.
        if number % _AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
    return visible


def refuse_one(owner: Admission, wanted: KeyFilter, default_label: str | None, sees_all: Right | None = None) -> None:
    """Refuse a query that names exactly one key, if the owner may not see it. The key may exist or not.

    Raises:
        Forbidden: The owner may not see the key.
    """
    one = wanted.key(default_label)
    has_all = sees_all is not None and owner.may(sees_all, None)
    if one is not None and not has_all and not owner.may(Right.READ, one):
        raise Forbidden

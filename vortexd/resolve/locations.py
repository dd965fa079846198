"""Search locations: the places in a tree where the files of a key may be, with Spring's placeholders and wildcards. Pure.

A location is a path prefix ("" is the root, others end in `/`). In it, `{application}` and `{profile}` are replaced by
each requested name. `*` matches any text within one name. The functions take locations with a key or a path, and
return prefixes.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from ..core.model import Key

_PLACEHOLDER = re.compile(r"(\{application\}|\{profile\}|\*)")
# An application may contain slashes (`team/orders`). A profile may not.
_STANDS_FOR = {"{application}": "(?P<application>[^*]+)", "{profile}": "(?P<profile>[^/*]+)", "*": "[^/]*"}


def is_plain(locations: Iterable[str]) -> bool:
    """Return whether no location contains a placeholder or wildcard."""
    return not any(_PLACEHOLDER.search(each) for each in locations)


def prefixes_for(locations: Sequence[str], key: Key, directories: Iterable[str]) -> tuple[str, ...]:
    """Return the prefixes in which to search for a key, in Spring's order: later ones win.

    Args:
        directories: The existing prefixes, for wildcards.
    """
    if is_plain(locations):
        return tuple(locations)
    prefixes = dict.fromkeys(
        location.replace("{application}", application).replace("{profile}", profile)
        for location in locations
        for profile in key.profiles
        for application in key.applications
    )
    found: dict[str, None] = {}
    for prefix in prefixes:
        found |= dict.fromkeys(_matching(prefix, directories) if "*" in prefix else [prefix])
    return tuple(found)


def places_of(path: str, locations: Sequence[str]) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield the prefixes under which the server may search for a path, with their application and profile, or None.

    Only the longest plain prefix counts. With "" and `prod/`, `prod/x.yml` is in `prod/`, and also in each place that a
    location with placeholders allows.
    """
    plain = [each for each in locations if is_plain((each,)) and path.startswith(each)]
    longest = max(plain, key=len, default=None)
    others = list(_placed(path, [each for each in locations if not is_plain((each,))]))
    if longest is not None and not any(len(prefix) > len(longest) for prefix, _, _ in others):
        yield longest, None, None
    yield from others


def _placed(path: str, locations: Sequence[str]) -> Iterator[tuple[str, str | None, str | None]]:
    ends = [index + 1 for index, character in enumerate(path) if character == "/"] if locations else []
    for location in locations:
        for end in ends:
            if match := _pattern(location).fullmatch(path, 0, end):
                groups = match.groupdict()
                yield path[:end], groups.get("application"), groups.get("profile")


def _matching(pattern: str, directories: Iterable[str]) -> list[str]:
    compiled = _pattern(pattern)
    return sorted(each for each in directories if compiled.fullmatch(each))


def directories_of(paths: Iterable[str]) -> frozenset[str]:
    """Return the prefixes of all directories that contain paths, at any depth, without the root."""
    found: set[str] = set()
    for path in paths:
        end = path.rfind("/")
        while end > 0 and path[: end + 1] not in found:
            found.add(path[: end + 1])
            end = path.rfind("/", 0, end)
    return frozenset(found)


@lru_cache(maxsize=1_024)
def _pattern(location: str) -> re.Pattern[str]:
    seen: set[str] = set()
    parts = []
    for part in _PLACEHOLDER.split(location):
        # A placeholder that occurs again must match the same name.
        parts.append(f"(?P={part[1:-1]})" if part in seen else _STANDS_FOR.get(part) or re.escape(part))
        if part.startswith("{"):
            seen.add(part)
    return re.compile("".join(parts))


def matches(patterns: Sequence[str], key: Key) -> bool:
    """Return whether patterns `application/profile` match a key. As for Spring's repositories, one of its profiles suffices.

    A pattern without a slash matches every profile. An empty list matches every key.
    """
    if not patterns:
        return True
    return any(
        _simple(pattern if "/" in pattern else pattern + "/*").fullmatch(f"{key.application}/{profile}")
        for profile in key.profiles
        for pattern in patterns
    )


@lru_cache(maxsize=1_024)
def _simple(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))))

"""Search locations: where in a tree the files of a key may lie, with Spring's placeholders and wildcards.

A location is a path prefix ("" is the root, others end in `/`). `{application}` and `{profile}` in it stand for each of those asked for, `*` for anything
within one name. In come locations with a key, or with a path; out go prefixes. Pure.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from ..core.model import Key

_PLACEHOLDER = re.compile(r"(\{application\}|\{profile\}|\*)")
# An application may be several names deep (`team/orders`), a profile is one name.
_STANDS_FOR = {"{application}": "(?P<application>[^*]+)", "{profile}": "(?P<profile>[^/*]+)", "*": "[^/]*"}


def is_plain(locations: Iterable[str]) -> bool:
    """Whether locations are prefixes just as they stand."""
    return not any(_PLACEHOLDER.search(each) for each in locations)


def prefixes_for(locations: Sequence[str], key: Key, directories: Iterable[str]) -> tuple[str, ...]:
    """The prefixes that a key is searched in, in Spring's order: later ones win.

    Args:
        directories: The prefixes that exist, for wildcards.
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
    """The prefixes that a path may be searched under, with the application and the profile that each is for, if it is for one only.

    The longest plain prefix counts alone: with "" and `prod/`, `prod/x.yml` is in `prod/`, unless a placeholder says that it is elsewhere, too.
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
    """The prefixes of all directories that paths lie in, however deep; not the root."""
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
        # The second time it is the same name again.
        parts.append(f"(?P={part[1:-1]})" if part in seen else _STANDS_FOR.get(part) or re.escape(part))
        if part.startswith("{"):
            seen.add(part)
    return re.compile("".join(parts))


def matches(patterns: Sequence[str], key: Key) -> bool:
    """Whether patterns `application/profile` are for a key, as Spring's repositories have it: any of its profiles will do.

    A pattern without a slash is for every profile. No pattern at all is for everything.
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

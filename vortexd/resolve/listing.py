"""Which keys exist: what a pattern can match before anybody has asked for it.

Spring's file names say less than one would like: `a-b.yml` may be application `a-b`, or `a` in profile `b`. The rule here: a file is a
profile's where the part before some `-` is an application with a file of its own (the longest such), else its whole name is an
application. What is served doesn't depend on it: whoever asks for a key gets it.
"""

from collections.abc import Iterable

from ..model import Key
from .tree import ParsedFiles

_SHARED = "application"
DEFAULT_PROFILE = "default"


def existing_keys(label: str, files: ParsedFiles) -> frozenset[Key]:
    """The keys that have files of their own: each application in `default` and in every profile that it, or everybody, has."""
    stems = {_stem(path, files.files.locations) for path in (*files.documents, *files.broken)}
    owned = [_owner(stem, stems) for stem in stems]
    shared = {profile for name, profile in owned if name == _SHARED}
    profiles: dict[str, set[str]] = {}
    for name, profile in owned:
        if name != _SHARED:
            profiles.setdefault(name, {DEFAULT_PROFILE} | shared).add(profile)
    return frozenset(Key(name, profile, label) for name, names in profiles.items() for profile in names)


def _stem(path: str, locations: Iterable[str]) -> str:
    # The longest location: with `""` and `prod/`, `prod/a.yml` is `a` and not `prod/a`.
    location = max((each for each in locations if path.startswith(each)), key=len, default="")
    return path[len(location) :].rpartition(".")[0]


def _owner(stem: str, stems: set[str]) -> tuple[str, str]:
    parts = stem.split("-")
    for count in range(len(parts) - 1, 0, -1):
        name = "-".join(parts[:count])
        if name in stems or name == _SHARED:
            return name, "-".join(parts[count:])
    return stem, DEFAULT_PROFILE

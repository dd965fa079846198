"""Lists the keys that exist, so that a pattern can match keys that no client has requested yet.

Spring's file names are ambiguous: `a-b.yml` may belong to application `a-b`, or to `a` in profile `b`. The rule here: if
the part before some `-` is an application with its own file, `a-b.yml` belongs to a profile of that application. The
longest such part counts. Otherwise the whole name is an application. This rule affects only the list: the server answers
every key that a client requests.
"""

from collections.abc import Callable, Collection, Iterator

import attrs

from ..core.model import Key, Names
from .locations import matches, places_of
from .tree import ParsedFiles, ParsedTree

_SHARED = "application"
DEFAULT_PROFILE = "default"


@attrs.frozen(slots=True, eq=False)
class Listed:
    """The keys that exist under one label.

    Attributes:
        found_in: The objects that were searched. If they are the same, they aren't searched again.
        names: The names that occur in the keys and in the names of the files.
    """

    found_in: tuple[object, ...]
    keys: frozenset[Key]
    names: Names


@attrs.frozen(slots=True, eq=False)
class Listing:
    """The keys that exist in a tree.

    Attributes:
        labels: Maps each label to its keys.
        keys: All keys. If they haven't changed, it is the same object as before.
    """

    labels: dict[str, Listed]
    keys: frozenset[Key]


def list_keys(parsed: ParsedTree, before: Listing | None = None) -> Listing:
    """List the keys of a whole tree. Labels whose file names haven't changed aren't searched again."""
    labels = {}
    is_same = before is not None and parsed.labels.keys() == before.labels.keys()
    for label, files in parsed.labels.items():
        # Keep references to the objects, so that the same identity means the same object.
        found_in = tuple(part for each in files.layers for part in (each.paths, each.files.locations))
        former = before.labels.get(label) if before else None
        if former is not None and _are_same(former.found_in, found_in):
            labels[label] = former
        else:
            owned = _all_owned(label, files)
            keys = _existing(label, owned)
            labels[label] = Listed(found_in, keys, _names_in(keys, owned))
            is_same = False
    if before is not None and is_same:
        return Listing(labels, before.keys)
    return Listing(labels, frozenset[Key]().union(*(each.keys for each in labels.values())))


def with_former(listing: Listing, former: Listing, label: str, held: Callable[[Key], bool]) -> Listing:
    """Return a listing in which some keys of a label are listed as in a former listing.

    Args:
        held: Returns whether a key is one of them.
    """
    now, before = listing.labels[label], former.labels[label]
    keys = frozenset(key for key in now.keys if not held(key)) | frozenset(key for key in before.keys if held(key))
    applications, profiles = (frozenset(getattr(key, name) for key in keys) for name in ("application", "profile"))
    names = Names(applications, profiles, now.names.beginnings | before.names.beginnings)
    # The next listing must search the label again.
    labels = {**listing.labels, label: Listed((), keys, names)}
    return Listing(labels, frozenset[Key]().union(*(each.keys for each in labels.values())))


def _names_in(keys: frozenset[Key], owned: Collection[tuple[str, str]]) -> Names:
    stems = {name if profile == DEFAULT_PROFILE else f"{name}-{profile}" for name, profile in owned}
    beginnings = {stem[:at] for stem in stems for at in range(1, len(stem) + 1) if stem[at : at + 1] in ("", "-")}
    applications = frozenset(key.application for key in keys)
    return Names(applications, frozenset(key.profile for key in keys), frozenset(beginnings))


def _are_same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return len(one) == len(other) and all(a is b or a == b for a, b in zip(one, other, strict=True))


def existing_keys(label: str, files: ParsedFiles) -> frozenset[Key]:
    """Return the keys that have files of their own: each application in `default`, its profiles and the shared profiles."""
    return _existing(label, _all_owned(label, files))


def _all_owned(label: str, files: ParsedFiles) -> frozenset[tuple[str, str]]:
    """Return the applications and profiles that the files of all sources belong to."""
    return frozenset(each for layer in files.layers for each in _owned(layer, label))


def _existing(label: str, owned: Collection[tuple[str, str]]) -> frozenset[Key]:
    shared = {profile for name, profile in owned if name == _SHARED}
    profiles: dict[str, set[str]] = {}
    for name, profile in owned:
        if name != _SHARED:
            profiles.setdefault(name, {DEFAULT_PROFILE} | shared).add(profile)
    return frozenset(Key(name, profile, label) for name, names in profiles.items() for profile in names)


def _owned(layer: ParsedFiles, label: str) -> Iterator[tuple[str, str]]:
    """Yield the applications and profiles that the files of one source belong to, if the source serves them."""
    stems: set[str] = set()
    placed: list[tuple[str, str | None, str | None]] = []
    for path in layer.paths:
        for prefix, application, profile in places_of(path, layer.files.locations):
            stem = path[len(prefix) :].rpartition(".")[0]
            if application is None:
                stems.add(stem)
            placed.append((stem, application, profile))
    for stem, application, place_profile in placed:
        if application is None:
            name, profile = _owner(stem, stems)
        else:
            # A directory for one application holds its own files, and shared files, which apply only to it here.
            own = next((each for each in (application, _SHARED) if stem == each or stem.startswith(each + "-")), None)
            if own is None:
                continue
            name, profile = application, stem[len(own) + 1 :] or DEFAULT_PROFILE
        profile = place_profile if place_profile and profile == DEFAULT_PROFILE else profile
        if matches(layer.files.applications, Key(name, profile, label)) or name == _SHARED:
            yield name, profile


def _owner(stem: str, stems: set[str]) -> tuple[str, str]:
    parts = stem.split("-")
    for count in range(len(parts) - 1, 0, -1):
        name = "-".join(parts[:count])
        if name in stems or name == _SHARED:
            return name, "-".join(parts[count:])
    return stem, DEFAULT_PROFILE

"""Plain files of a source: which one is meant, and whose it is.

In come the layers of a key and a path; out goes a file, and what somebody must be allowed to read to have it. The invariant: a file comes from the
immutable contents of a state, and never from a disk.

Whose a file is (ATTACKS P14, T09), for those who may not read everything under the label:

- A configuration file is its application's (`application` is everybody's), with all of its profiles, for documents within may be for any.
- Another file is that of each application that a directory on its way, or its own name, begins with: the longest that is known, up to a
  character that is neither a letter nor a digit. Upper and lower case don't count, unless two known applications differ in nothing else.
- Where such a name only begins with the letters of a known application (`ordersx.txt` beside `orders`), or with two that differ in case alone, the file
  is for those who may read every application. So it is where the name begins with the first part of a known one (`orders_key.txt` beside
  `orders-prod`, which may be a profile of `orders`), unless the application that was asked for begins with that part, too.
  Below a directory that is called as an application, the directory has said whose the file is.
- Else it is everybody's.
- Where a directory is called as a known profile, or one stands behind a `-` in the file's own name, it is that profile's.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import product

import attrs

from ...core.errors import FormatError
from ...core.model import Key, Names
from ...core.patterns import Pattern
from ...encryption.values import PREFIX
from ...resolve.formats import Document, extension
from ...resolve.locations import places_of, prefixes_for
from ...resolve.tree import ParsedFiles, is_configuration

_SHARED = "application"
_DEFAULT = "default"
_EVERY = "*"
# States and labels whose names are kept in the form in which they are looked up.
_KEPT = 8
# Those in which Spring looks for encrypted values.
_ENCRYPTED = ("yml", "yaml", "json", "properties")
_PLACEHOLDER = re.compile(r"[{*]")
# The charsets in which a file may be read, as Accept-Charset names them; another one is as good as none.
_CHARSETS = frozenset(
    ["utf-8", "utf-16", "utf-16be", "utf-16le", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252"]
)


# As `formats.parse`, by the bounds in force.
ParseFile = Callable[[str, bytes], tuple[Document, ...]]


@attrs.frozen(slots=True, eq=False)
class Resource:
    """A plain file.

    Attributes:
        path: Below the root of its source.
        content: Its bytes; None where it is there, and can't be read.
    """

    layer: ParsedFiles
    path: str
    content: bytes | None


def find(layers: Iterable[ParsedFiles], key: Key, path: str, hidden: Sequence[str] = ()) -> Resource | None:
    """The file that is meant by a path, or None.

    Of all locations, as they are listed, the first that has it; in each, first as a file of each profile (`name-profile.extension`), then as
    it is named. The order isn't that of configuration, and it is Spring's.

    Args:
        hidden: Globs of the names that no file has that is served, and no directory on its way.
    """
    variants = list(dict.fromkeys(_variants(path, key.profiles)))
    for layer in layers:
        for prefix in prefixes_for(layer.files.locations, key, layer.directories):
            head = _head(prefix, layer.files.locations)
            for variant in variants:
                full = prefix + variant
                if is_hidden(full[len(head) :], hidden):
                    continue
                if full in layer.files.contents:
                    return Resource(layer, full, layer.files.contents[full])
                if full in layer.files.unreadable:
                    return Resource(layer, full, None)
    return None


def _variants(path: str, profiles: Iterable[str]) -> Iterator[str]:
    stem, dot, extension = path.rpartition(".")
    if not dot or "/" in extension:
        stem, dot, extension = path, "", ""
    for profile in profiles:
        yield path if profile == _DEFAULT else f"{stem}-{profile}{dot}{extension}"
    yield path


def is_hidden(path: str, hidden: Sequence[str]) -> bool:
    """Whether a name on a path is one of those that aren't served, in upper or lower case."""
    return any(fnmatchcase(each.lower(), glob.lower()) for each in path.split("/") for glob in hidden)


def needed(resource: Resource, key: Key, *names: Names) -> list[Key | Pattern]:
    """What somebody must be allowed to read, all of it, to have a file; see the module.

    Args:
        key: What was asked for, which they may read.
        names: The applications and profiles that are known.
    """
    known = _known_of(names)
    found = _Found()
    for place in places_of(resource.path, resource.layer.files.locations):
        _look_through(place, resource, key, known, found)
    owners = [each for each in dict.fromkeys(found.owners) if each != _SHARED] or list(key.applications)
    if found.is_for_all:
        owners = [_EVERY]
    profiles = list(dict.fromkeys(found.profiles)) or list(key.profiles)
    if is_configuration(resource.path, resource.layer.files.locations):
        # The keys, for its name may be that of a file of others, as tokens have it.
        everything: list[Key | Pattern] = [Pattern(*each) for each in product(owners, (_EVERY,), key.labels)]
        return everything + [Key(name, found.rest or _DEFAULT, key.label) for name in owners if name != _EVERY]
    if found.is_for_all:
        return [Pattern(*each) for each in product(owners, profiles, key.labels)]
    return [Key(*each, key.label) for each in product(owners, profiles)]


@attrs.define
class _Found:
    """What a path says of whose its file is.

    Attributes:
        is_for_all: It is for those who may read every application.
        rest: What stands behind the application and a `-` in the file's own name, without its extension.
    """

    owners: list[str] = attrs.field(factory=list)
    profiles: list[str] = attrs.field(factory=list)
    is_for_all: bool = False
    rest: str = ""


@attrs.frozen(slots=True, eq=False)
class _Known:
    """Known names, in lower case, to those that are so written.

    Attributes:
        parts: What stands before each `-` within the name of an application.
        longest: The length of the longest name.
    """

    applications: Mapping[str, tuple[str, ...]]
    profiles: Mapping[str, tuple[str, ...]]
    parts: frozenset[str]
    longest: int

    def begun_by(self, text: str, at: int, names: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], int]:
        """The longest names that a text begins with at a place, up to a boundary, and where that is; none where there are none."""
        for end in range(min(len(text), at + self.longest), at, -1):
            if _is_boundary(text, end) and (found := names.get(text[at:end].lower())):
                exact = text[at:end]
                return ((exact,) if exact in found else found), end
        return (), at

    def is_begun_by_letters(self, text: str, at: int) -> bool:
        """Whether a text begins with the letters of an application at a place, wherever these end."""
        ends = range(at + 1, min(len(text), at + self.longest) + 1)
        return any((name := text[at:end].lower()) in self.applications and name != _SHARED for end in ends)

    def part_of(self, text: str, at: int) -> str:
        """The longest first part of an application that a text begins with at a place, up to a boundary; "" where there is none."""
        for end in range(min(len(text), at + self.longest), at, -1):
            if _is_boundary(text, end) and text[at:end].lower() in self.parts:
                return text[at:end].lower()
        return ""


def _is_boundary(text: str, at: int) -> bool:
    return not text[at : at + 1].isalnum()


@lru_cache(maxsize=_KEPT)
def _known_of(names: tuple[Names, ...]) -> _Known:
    applications = {_SHARED}.union(*(each.applications for each in names))
    profiles = frozenset[str]().union(*(each.profiles for each in names))
    parts = {name[:at].lower() for name in applications for at, character in enumerate(name) if character == "-"}
    longest = max(map(len, (*applications, *profiles)))
    return _Known(_by_lower_case(applications), _by_lower_case(profiles), frozenset(parts), longest)


def _by_lower_case(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(names):
        found[name.lower()] = (*found.get(name.lower(), ()), name)
    return found


def _look_through(
    place: tuple[str, str | None, str | None], resource: Resource, key: Key, known: _Known, found: _Found
) -> None:
    """Note what a path says as that of a file in one place, of those that it may be searched under."""
    prefix, application, profile = place
    found.owners += [application] if application else []
    found.profiles += [profile] if profile else []
    locations = resource.layer.files.locations
    # What `*` stands for says nothing of configuration, which is served from there to everybody.
    if application is profile is None and not is_configuration(resource.path, locations):
        prefix = _head(prefix, locations)
    text = resource.path[len(prefix) :]
    names: tuple[str, ...] = ()
    at, behind, is_within = 0, 0, application is not None
    while at < len(text):
        names, behind = known.begun_by(text, at, known.applications)
        end = text.find("/", behind)
        end = len(text) if end < 0 else end
        if len(names) > 1 or (not names and not is_within and _may_be_of_others(text, at, key, known)):
            found.is_for_all = True
        elif names:
            found.owners += names
            is_within |= behind == end < len(text) and names != (_SHARED,)
        at = end + 1
    _note_profiles(text, behind, known, found)
    stem = text[behind:].rpartition(".")[0] or text[behind:]
    # Without an owner, what is behind the first `-` may be a profile.
    found.rest = stem.partition("-")[2] if stem.startswith("-") or not names else ""


def _may_be_of_others(text: str, at: int, key: Key, known: _Known) -> bool:
    """Whether a name that begins with no known application may be of one all the same."""
    if known.is_begun_by_letters(text, at):
        return True
    part = known.part_of(text, at)
    return bool(part) and not all(f"{name.lower()}-".startswith(f"{part}-") for name in key.applications)


def _note_profiles(text: str, behind: int, known: _Known, found: _Found) -> None:
    """Note the profiles that directories are called as, and those behind a `-` in the file's own name, from where its application ends."""
    for directory in text.split("/")[:-1]:
        found.profiles += known.profiles.get(directory.lower(), ())
    at = text.find("-", behind)
    while at >= 0:
        names, end = known.begun_by(text, at + 1, known.profiles)
        found.profiles += names
        at = text.find("-", end)


def _head(prefix: str, locations: Sequence[str]) -> str:
    """What of a place stands just so in its location, before any placeholder: it says nothing of whose a file is."""
    heads = (_PLACEHOLDER.split(each, 1)[0] for each in locations)
    literal = (each if each in locations else each[: each.rfind("/") + 1] for each in heads)
    return max((each for each in literal if prefix.startswith(each)), key=len, default="")


def may_hold_ciphertext(path: str, content: bytes) -> bool:
    """Whether a file is of a kind in which encrypted values are looked for, and something looks like one."""
    return extension(path) in _ENCRYPTED and PREFIX.encode() in content


def texts_in(path: str, content: bytes, parse_file: ParseFile) -> Iterator[str]:
    """The values of a file that are texts; none where it can't be parsed."""
    try:
        documents = parse_file(path, content)
    except FormatError:
        return
    for document in documents:
        yield from (value for value in document.values.values() if isinstance(value, str))


def charset(accept_charset: str | None) -> str:
    """The charset in which a file is to be read; UTF-8 where none is asked for that we know."""
    name = (accept_charset or "").partition(",")[0].partition(";")[0].strip().lower()
    return name if name in _CHARSETS else "utf-8"

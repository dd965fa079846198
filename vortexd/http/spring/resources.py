"""Finds plain files of a source, and the rights that a client needs to read them.

A file is found by a path and the layers of a key. It always comes from the immutable contents of a state, never from a disk.

If a client may not read everything under the label, the applications and profiles of a file decide (ATTACKS P14, T09):

- A configuration file belongs to its application, with all profiles, because its documents may be for any profile. A file
  of `application` belongs to everybody.
- A file that isn't configuration belongs to an application if a directory of its path, or its own name, begins with the
  name of that application. The longest known name counts, if the next character is neither a letter nor a digit. Case is ignored, unless two known applications differ
  only in case.
- A directory or the file's name may begin with the letters of a known application without such a boundary. Then the file is
  for clients that may read every application. An example is `ordersx.txt` beside `orders`. The same rule applies if the
  name begins with two applications that differ only in case.
- The same rule applies if the name begins with the first part of a known application. An example is `orders_key.txt` beside
  `orders-prod`, which may be a profile of `orders`. It doesn't apply if the requested application begins with that part, too.
- Below a directory with the name of an application, that directory decides. A further name that begins with no known
  application then changes nothing.
- If no rule above applies, the file belongs to everybody.
- If a directory has the name of a known profile, the file belongs to that profile. The same rule applies if the file's name
  has the profile after a `-`.
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
# The cache for looking up names keeps this many combinations of states and labels.
_KEPT = 8
# The kinds of files in which Spring looks for encrypted values.
_ENCRYPTED = ("yml", "yaml", "json", "properties")
_PLACEHOLDER = re.compile(r"[{*]")
# The charsets in which a file may be decoded, as Accept-Charset names them. Other charsets are ignored.
_CHARSETS = frozenset(
    ["utf-8", "utf-16", "utf-16be", "utf-16le", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252"]
)


# The same as `formats.parse`, with the bounds in force.
ParseFile = Callable[[str, bytes], tuple[Document, ...]]


@attrs.frozen(slots=True, eq=False)
class Resource:
    """A plain file.

    Attributes:
        path: The path below the root of its source.
        content: The bytes of the file; None if the file exists but can't be read.
    """

    layer: ParsedFiles
    path: str
    content: bytes | None


def find(layers: Iterable[ParsedFiles], key: Key, path: str, hidden: Sequence[str] = ()) -> Resource | None:
    """Find the file for a path. Returns None if there is no such file.

    The locations are searched in the order of the settings, and the first file found counts. In each location, the search
    first looks for a file of each profile (`name-profile.extension`), and then for the path itself. This is Spring's order,
    which differs from the order of configuration.

    Args:
        hidden: Globs of names. If a file or a directory on its path has such a name, the file isn't served.
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
    """Whether a name on a path matches one of these globs. Case is ignored."""
    return any(fnmatchcase(each.lower(), glob.lower()) for each in path.split("/") for glob in hidden)


def needed(resource: Resource, key: Key, *names: Names) -> list[Key | Pattern]:
    """List the keys and patterns that a client must be allowed to read, all of them, to get a file. See the module.

    Args:
        key: The requested key, which the client may read.
        names: The known applications and profiles.
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
        # Check the keys too. By a token's patterns, the file's name may be the name of another application's file.
        everything: list[Key | Pattern] = [Pattern(*each) for each in product(owners, (_EVERY,), key.labels)]
        return everything + [Key(name, found.rest or _DEFAULT, key.label) for name in owners if name != _EVERY]
    if found.is_for_all:
        return [Pattern(*each) for each in product(owners, profiles, key.labels)]
    return [Key(*each, key.label) for each in product(owners, profiles)]


@attrs.define
class _Found:
    """The applications and profiles that a file belongs to, as far as its path shows them.

    Attributes:
        owners: The applications.
        profiles: The profiles.
        is_for_all: Whether the file is only for clients that may read every application.
        rest: The part of the file's name after the application and a `-`, without the extension.
    """

    owners: list[str] = attrs.field(factory=list)
    profiles: list[str] = attrs.field(factory=list)
    is_for_all: bool = False
    rest: str = ""


@attrs.frozen(slots=True, eq=False)
class _Known:
    """The known names. The dictionaries map each name in lower case to its spellings.

    Attributes:
        applications: The names of applications.
        profiles: The names of profiles.
        parts: The part before each `-` within the name of an application.
        longest: The length of the longest name.
    """

    applications: Mapping[str, tuple[str, ...]]
    profiles: Mapping[str, tuple[str, ...]]
    parts: frozenset[str]
    longest: int

    def begun_by(self, text: str, at: int, names: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], int]:
        """Find the longest name that begins at a position and ends at a boundary.

        Returns its spellings and its end. If there is no such name, the spellings are empty and the end is the position.
        """
        for end in range(min(len(text), at + self.longest), at, -1):
            if _is_boundary(text, end) and (found := names.get(text[at:end].lower())):
                exact = text[at:end]
                return ((exact,) if exact in found else found), end
        return (), at

    def is_begun_by_letters(self, text: str, at: int) -> bool:
        """Whether the letters of an application begin at a position, even if no boundary follows them."""
        ends = range(at + 1, min(len(text), at + self.longest) + 1)
        return any((name := text[at:end].lower()) in self.applications and name != _SHARED for end in ends)

    def part_of(self, text: str, at: int) -> str:
        """Find the longest first part of an application that begins at a position and ends at a boundary; "" if none does."""
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
    """Add the applications and profiles that a path shows, if the file is found in this place of its locations."""
    prefix, application, profile = place
    found.owners += [application] if application else []
    found.profiles += [profile] if profile else []
    locations = resource.layer.files.locations
    # A directory that `*` matches doesn't decide for a configuration file, because everybody gets the configuration in it.
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
    # If no application was found, the part after the first `-` may be a profile.
    found.rest = stem.partition("-")[2] if stem.startswith("-") or not names else ""


def _may_be_of_others(text: str, at: int, key: Key, known: _Known) -> bool:
    """Whether a name may belong to another application, although it begins with no known application."""
    if known.is_begun_by_letters(text, at):
        return True
    part = known.part_of(text, at)
    return bool(part) and not all(f"{name.lower()}-".startswith(f"{part}-") for name in key.applications)


def _note_profiles(text: str, behind: int, known: _Known, found: _Found) -> None:
    """Add the profiles that directories have as their names, and the profiles after a `-` in the file's name.

    The search in the file's name begins after its application.
    """
    for directory in text.split("/")[:-1]:
        found.profiles += known.profiles.get(directory.lower(), ())
    at = text.find("-", behind)
    while at >= 0:
        names, end = known.begun_by(text, at + 1, known.profiles)
        found.profiles += names
        at = text.find("-", end)


def _head(prefix: str, locations: Sequence[str]) -> str:
    """Return the part of a prefix that its location has literally, before any placeholder. It shows no application."""
    heads = (_PLACEHOLDER.split(each, 1)[0] for each in locations)
    literal = (each if each in locations else each[: each.rfind("/") + 1] for each in heads)
    return max((each for each in literal if prefix.startswith(each)), key=len, default="")


def may_hold_ciphertext(path: str, content: bytes) -> bool:
    """Whether a file may contain encrypted values: by its extension, and by a text in it that looks like a ciphertext."""
    return extension(path) in _ENCRYPTED and PREFIX.encode() in content


def texts_in(path: str, content: bytes, parse_file: ParseFile) -> Iterator[str]:
    """Yield the values of a file that are texts. If the file can't be parsed, yield nothing."""
    try:
        documents = parse_file(path, content)
    except FormatError:
        return
    for document in documents:
        yield from (value for value in document.values.values() if isinstance(value, str))


def charset(accept_charset: str | None) -> str:
    """Choose the charset in which a file is decoded. If the client names no known charset, it is UTF-8."""
    name = (accept_charset or "").partition(",")[0].partition(";")[0].strip().lower()
    return name if name in _CHARSETS else "utf-8"

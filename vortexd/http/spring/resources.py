"""Plain files of a source: which one is meant, and whose it is.

In come the layers of a key and a path; out goes a file, and what somebody must be allowed to read to have it. The invariant: a file comes from the
immutable contents of a state, and never from a disk.

Whose a file is (ATTACKS P14, T09), for those who may not read everything under the label:

- A configuration file is its application's (`application` is everybody's), with all of its profiles, for documents within may be for any.
- Another file is that of each application that a directory on its way is called, or that its name begins with, the longest that is
  known; else it is everybody's. Where a directory is called as a profile that is known, or one stands behind a `-` at the end of its name, it is
  that profile's.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import product

import attrs

from ...encryption.values import PREFIX
from ...errors import FormatError
from ...model import Key, Names
from ...patterns import Pattern
from ...resolve.formats import Document, extension
from ...resolve.locations import places_of, prefixes_for
from ...resolve.tree import ParsedFiles, is_configuration

_SHARED = "application"
_DEFAULT = "default"
# Those in which Spring looks for encrypted values.
_ENCRYPTED = ("yml", "yaml", "json", "properties")
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


def find(layers: Iterable[ParsedFiles], key: Key, path: str) -> Resource | None:
    """The file that is meant by a path, or None.

    Of all locations, as they are listed, the first that has it; in each, first as a file of each profile (`name-profile.extension`), then as
    it is named. The order isn't that of configuration, and it is Spring's.
    """
    variants = list(dict.fromkeys(_variants(path, key.profiles)))
    for layer in layers:
        for prefix in prefixes_for(layer.files.locations, key, layer.directories):
            for variant in variants:
                full = prefix + variant
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


def needed(resource: Resource, key: Key, names: Names) -> list[Key | Pattern]:
    """What somebody must be allowed to read, all of it, to have a file; see the module.

    Args:
        key: What was asked for, which they may read.
        names: The applications and profiles that are known.
    """
    owners, profiles, rest = _named(resource, names)
    owners = [each for each in owners if each != _SHARED] or list(key.applications)
    if is_configuration(resource.path, resource.layer.files.locations):
        # The keys, for its name may be that of a file of others, as tokens have it.
        everything: list[Key | Pattern] = [Pattern(*each) for each in product(owners, ("*",), key.labels)]
        return everything + [Key(name, rest or _DEFAULT, key.label) for name in owners]
    return [Key(*each, key.label) for each in product(owners, profiles or key.profiles)]


def _named(resource: Resource, names: Names) -> tuple[list[str], list[str], str]:
    """The applications and profiles whose names are in the path of a file, and what is left of its own name behind the application's."""
    owners: list[str] = []
    profiles: list[str] = []
    rest = ""
    for prefix, application, profile in places_of(resource.path, resource.layer.files.locations):
        owners += [application] if application else []
        profiles += [profile] if profile else []
        *directories, name = resource.path[len(prefix) :].split("/")
        stem = name.rpartition(".")[0] or name
        profiles += [each for each in directories if each in names.profiles]
        parts = [*directories, stem]
        at = 0
        while at < len(parts):
            owner, behind, at = _longest(parts, at, names)
            owners += [owner] if owner else []
            rest = behind if at == len(parts) else ""
        pieces = rest.split("-")
        profiles += [each for start in range(len(pieces)) if (each := "-".join(pieces[start:])) in names.profiles]
    return owners, profiles, rest


def _longest(parts: list[str], start: int, names: Names) -> tuple[str, str, int]:
    """The longest name of an application that begins at a part of a path, what of the last part is behind it, and where to go on."""
    for end in range(len(parts), start, -1):
        pieces = parts[end - 1].split("-") if end == len(parts) else [parts[end - 1]]
        for count in range(len(pieces), 0, -1):
            name = "/".join((*parts[start : end - 1], "-".join(pieces[:count])))
            if name in names.applications or name == _SHARED:
                return name, "-".join(pieces[count:]), end
    # Without an owner, what is behind the first `-` may be a profile.
    return "", parts[start].partition("-")[2], start + 1


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

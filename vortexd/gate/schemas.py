"""Chooses the schemas that apply to a key: those that settings name, and those in the source. Pure.

The rules of the sections [[gate]] arrive, and the files of the served state. The names of schemas leave.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from ..core.model import Key
from ..core.patterns import Pattern
from ..resolve.locations import places_of
from ..resolve.tree import SCHEMA_SUFFIX, ParsedFiles

SUFFIX = SCHEMA_SUFFIX
_SHARED = "application"


@attrs.frozen(slots=True)
class Schema:
    """A JSON Schema.

    Attributes:
        name: Its file name. Other schemas of the same set may refer to it by this name.
        text: The JSON text.
        file: The path of the file, for messages.
    """

    name: str
    text: str
    file: str


@attrs.frozen(slots=True, eq=False)
class SourceSchemas:
    """The schemas in the source, under one label.

    Attributes:
        found: The schemas. If the same file is in several sources, the strongest source has it.
        applications: Maps each application to the names of its schemas.
        unreadable: Maps the path of each schema that can't be read as text to the reason.
    """

    found: Mapping[str, Schema] = attrs.field(factory=dict)
    applications: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    unreadable: Mapping[str, str] = attrs.field(factory=dict)

    def for_key(self, key: Key) -> Iterator[str]:
        """Yield the names of the schemas that apply to a key."""
        for application in dict.fromkeys((*key.applications, _SHARED)):
            yield from self.applications.get(application, ())


def source_schemas(files: ParsedFiles) -> SourceSchemas:
    """Find the schemas among the files of one label."""
    found: dict[str, Schema] = {}
    applications: dict[str, list[str]] = {}
    unreadable: dict[str, str] = {}
    for layer in files.layers:
        for path in sorted({*layer.files.contents, *layer.files.unreadable}):
            if not path.endswith(SUFFIX) or path in found or path in unreadable:
                continue
            owners = [*_owners(path, layer.files.locations)]
            if not owners:
                continue
            if path in layer.files.unreadable:
                unreadable[path] = layer.files.unreadable[path]
                continue
            try:
                text = layer.files.contents[path].decode("utf-8-sig")
            except UnicodeDecodeError:
                unreadable[path] = "not UTF-8"
                continue
            found[path] = Schema(path, text, path)
            for owner in owners:
                applications.setdefault(owner, []).append(path)
    return SourceSchemas(found, applications, unreadable)


def schema_contents(files: ParsedFiles) -> Sequence[tuple[str, str, object]]:
    """Return what decides about the schemas of a label. If two of these are equal, so are the schemas."""
    return [
        (layer.files.root, path, content)
        for layer in files.layers
        for part in (layer.files.contents, layer.files.unreadable)
        for path, content in sorted(part.items())
        if path.endswith(SUFFIX)
    ]


def _owners(path: str, locations: Sequence[str]) -> Iterator[str]:
    """Yield the applications that a schema is for."""
    for prefix, application, _ in places_of(path, locations):
        stem = path[len(prefix) :].removesuffix(SUFFIX)
        hidden = any(segment.startswith(".") for segment in path[len(prefix) :].split("/"))
        if stem and not hidden and (application is None or stem in (application, _SHARED)):
            yield stem if application is None else application


def applies(patterns: Iterable[Pattern], key: Key) -> bool:
    """Return whether a gate with these patterns judges a key. If the key has several names, one that matches is enough."""
    return any(all(each.matched(key)) for each in patterns)

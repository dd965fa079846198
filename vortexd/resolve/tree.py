"""Parses trees. The bytes of a Tree become documents once, and again only if they change.

`parse_tree` takes a `Tree` and the `ParsedTree` before it. It returns a new `ParsedTree` that shares all unchanged parts:
the parsed files of a label, their documents, and their names. The cost grows with the number of changed files. If a
file can't be parsed, it becomes an entry in `broken`, never an exception. If its last good documents are known, they
replace it, and `fallbacks` records this.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from ..core.errors import FormatError
from ..core.identity import altered
from ..core.model import BrokenFile, Files, Former, Key, Served, Tree
from ..settings.formats import FormatSettings
from .formats import EXTENSIONS, Document, Parse, extension, parse
from .locations import directories_of, is_plain, matches, places_of

# A file with such a name is a JSON Schema for the gate, and no configuration.
SCHEMA_SUFFIX = ".schema.json"
_Parsed = tuple[Document, ...] | FormatError


@attrs.frozen(slots=True, eq=False)
class Fallback:
    """The replacement of a broken file.

    Attributes:
        documents: The documents of the last good content, or none if there was no such file.
        former: The last good content, and where it comes from.
    """

    documents: tuple[Document, ...]
    former: Former


@attrs.frozen(slots=True, eq=False)
class ParsedFiles:
    """The parsed files of one label from one source, with the files of other sources under the same label.

    Attributes:
        files: The files that were parsed.
        documents: Maps each path to its documents, in no particular order. It has only configuration files in or below
            one of `files.locations`. For a broken file, these are the documents of its fallback.
        broken: Maps each path that can't be used to the error. This includes files that couldn't be read.
        paths: The paths in `documents` and `broken`. If they haven't changed, it is the same object as before.
        directories: The directories of all files, if `files.locations` has placeholders or wildcards.
        others: As `Files.others`.
        fallbacks: The replacements of broken files. A broken path without an entry has no replacement, so keys that
            read it can't be resolved.
    """

    files: Files
    documents: Mapping[str, tuple[Document, ...]]
    broken: Mapping[str, FormatError]
    paths: frozenset[str] = frozenset()
    directories: frozenset[str] = frozenset()
    others: "tuple[ParsedFiles, ...]" = ()
    fallbacks: Mapping[str, Fallback] = attrs.field(factory=dict)

    @property
    def layers(self) -> "tuple[ParsedFiles, ...]":
        """This object and the others, strongest first."""
        return (self, *self.others)

    def layers_for(self, key: Key) -> "Iterator[ParsedFiles]":
        """Yield the layers that serve a key, strongest first. From each group, only the first matching layer counts."""
        taken: set[int] = set()
        for layer in self.layers:
            if layer.files.group not in taken and matches(layer.files.applications, key):
                taken.add(layer.files.group)
                yield layer

    def broken_file(self, label: str, path: str) -> BrokenFile:
        """Describe a broken file of this layer for people and programs."""
        error, fallback = self.broken[path], self.fallbacks.get(path)
        served = Served.NOTHING
        if fallback is not None:
            served = Served.WITHOUT if fallback.former.content is None else Served.LAST_GOOD
        revision = fallback.former.revision if fallback and served is Served.LAST_GOOD else None
        return BrokenFile(label, self.files.root, path, error.line, error.column, error.reason, served, revision)

    def with_fallbacks(self, found: "Mapping[str, Fallback | None]") -> "ParsedFiles":
        """Return the same files with other fallbacks for some broken paths. None removes a fallback."""
        documents, fallbacks = dict(self.documents), dict(self.fallbacks)
        for path, fallback in found.items():
            documents.pop(path, None)
            fallbacks.pop(path, None)
            if fallback is not None:
                _fall_back(path, fallback, documents, fallbacks)
        return attrs.evolve(self, documents=documents, fallbacks=fallbacks)


@attrs.frozen(slots=True, eq=False)
class ParsedTree:
    """A parsed Tree: maps each label to its parsed files."""

    labels: Mapping[str, ParsedFiles]
    default_label: str


def broken_files(labels: Mapping[str, ParsedFiles]) -> dict[tuple[str, str], BrokenFile]:
    """Return all files that are broken now, by label and by a name that is unique within the label."""
    return {
        (label, layer.files.root + path if files.others else path): layer.broken_file(label, path)
        for label, files in labels.items()
        for layer in files.layers
        for path in layer.broken
    }


def parse_tree(
    tree: Tree,
    limits: FormatSettings,
    before: ParsedTree | None = None,
    served: ParsedTree | None = None,
    parse_file: Parse = parse,
) -> ParsedTree:
    """Parse every configuration file of the tree. Files with unchanged bytes are taken from `before`.

    `before` must have been made with the same limits. If a path has the same bytes under several labels, it is parsed
    once. Parsing many megabytes takes seconds, so call this function in a thread.

    Args:
        served: The tree that is served now, made with any limits. If a file is broken from now on, its content in
            `served` becomes the fallback. None means `before`.
        parse_file: Parses one file, in this process or another.
    """
    known = _Known(before.labels.values() if before else (), limits, parse_file)
    served = served or before
    labels = {
        label: _parse_label(
            files,
            known,
            before.labels.get(label) if before else None,
            served.labels.get(label) if served else None,
        )
        for label, files in tree.labels.items()
    }
    return ParsedTree(labels, tree.default_label)


class _Known:
    """Results of earlier parsing, of this tree and of the tree before it."""

    def __init__(self, before: Iterable[ParsedFiles], limits: FormatSettings, parse_file: Parse) -> None:
        self._before = [layer for files in before for layer in files.layers]
        self._limits = limits
        self._parse_file = parse_file
        self._new: dict[tuple[str, bytes], _Parsed] = {}

    def parsed(self, path: str, content: bytes) -> _Parsed:
        found = self._new.get((path, content))
        if found is None:
            found = self._new[path, content] = self._former(path, content) or self._parse(path, content)
        return found

    def _parse(self, path: str, content: bytes) -> _Parsed:
        try:
            return self._parse_file(path, content, self._limits)
        except FormatError as error:
            # The error is kept while the file is broken. Drop the traceback, which would keep its frames alive.
            return error.with_traceback(None)

    def _former(self, path: str, content: bytes) -> _Parsed | None:
        for layer in self._before:
            if layer.files.contents.get(path) == content and path not in layer.files.unreadable:
                return layer.broken.get(path) or layer.documents.get(path)
        return None


def _parse_label(files: Files, known: _Known, before: ParsedFiles | None, served: ParsedFiles | None) -> ParsedFiles:
    if before is not None and before.files is files:
        return before
    # A source that is added or removed shifts the others. So compare each source with its own former state.
    former = {layer.files.root: layer for layer in before.layers} if before else {}
    shown = {layer.files.root: layer for layer in served.layers} if served else {}
    first, *others = (
        _parse_files(each, known, former.get(each.root), shown.get(each.root)) for each in (files, *files.others)
    )
    return attrs.evolve(first, others=tuple(others)) if others else first


def _parse_files(files: Files, known: _Known, before: ParsedFiles | None, served: ParsedFiles | None) -> ParsedFiles:
    if before is None or before.files.locations != files.locations:
        before = ParsedFiles(Files({}, locations=files.locations), {}, {})
    changed = _different(files, before.files)
    # Copies are cheap. Unchanged files aren't examined.
    documents, broken, fallbacks = dict(before.documents), dict(before.broken), dict(before.fallbacks)
    for path in changed:
        documents.pop(path, None)
        broken.pop(path, None)
        fallbacks.pop(path, None)
        if not is_configuration(path, files.locations):
            continue
        if path in files.unreadable:
            broken[path] = FormatError(path, files.unreadable[path])
        elif path in files.contents:
            parsed = known.parsed(path, files.contents[path])
            if isinstance(parsed, FormatError):
                broken[path] = parsed
            else:
                documents[path] = parsed
        if path in broken and served is not None and served.files.locations == files.locations:
            fallback = _served_fallback(path, served)
            if fallback is not None:
                _fall_back(path, fallback, documents, fallbacks)
    paths, directories = before.paths, before.directories
    if any((path in documents or path in broken) != (path in paths) for path in changed):
        paths = frozenset((*documents, *broken))
    if changed and not is_plain(files.locations):
        directories = directories_of((*files.contents, *files.unreadable))
    return ParsedFiles(files, documents, broken, paths, directories, fallbacks=fallbacks)


def _served_fallback(path: str, served: ParsedFiles) -> Fallback | None:
    """Return the content that was served for a path until now, or None if that was an error."""
    if path in served.broken:
        return served.fallbacks.get(path)
    if path in served.documents:
        return Fallback(served.documents[path], Former(served.files.contents.get(path), served.files.revision))
    return Fallback((), Former(None, served.files.revision))


def _fall_back(
    path: str, fallback: Fallback, documents: dict[str, tuple[Document, ...]], fallbacks: dict[str, Fallback]
) -> None:
    fallbacks[path] = fallback
    if fallback.former.content is not None:
        documents[path] = fallback.documents


def _different(files: Files, before: Files) -> list[str]:
    """Return the paths whose bytes, or whose reason for having no bytes, have changed."""
    found: dict[str, None] = {}
    pairs: tuple[tuple[Mapping[str, object], Mapping[str, object]], ...] = (
        (files.contents, before.contents),
        (files.unreadable, before.unreadable),
    )
    for new, old in pairs:
        # Compare identities first. For most files this suffices.
        found |= {path: None for path in altered(old, new) if old.get(path) != new.get(path)}
    return list(found)


def location_of(path: str, locations: Iterable[str]) -> str | None:
    """Return the location that contains a path, or None.

    The longest location counts: with "" and `prod/`, `prod/x.yml` is only in `prod/`.
    """
    return max((each for each in locations if path.startswith(each)), key=len, default=None)


def is_configuration(path: str, locations: Sequence[str]) -> bool:
    """Return whether a path is a configuration file.

    Such a file has a known extension and isn't a JSON Schema. It is in or below a location. Neither the file nor a directory on its way is hidden.
    It may be below a location because an application's name may contain `/`: `foo/app.yml` is the file of `foo/app`.
    """
    if extension(path) not in EXTENSIONS or path.endswith(SCHEMA_SUFFIX):
        return False
    return any(
        not any(segment.startswith(".") for segment in path[len(prefix) :].split("/"))
        for prefix, _, _ in places_of(path, locations)
    )

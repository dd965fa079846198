"""Parsed trees: a Tree's bytes become documents once, and again only where they changed.

In comes a `Tree` and the `ParsedTree` made before it; out goes a new one, which shares with it all that is the same: a label's whole parsed files, their
documents, what is known of their names. What it costs grows with the number of changed files. A file that can't be parsed is an
entry in `broken`, never an exception. Its last good documents, if any are known, stand in its place, and `fallbacks` says so.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from ..core.errors import FormatError
from ..core.model import BrokenFile, Files, Former, Key, Served, Tree
from ..settings.sections import FormatSettings
from .formats import EXTENSIONS, Document, Parse, extension, parse
from .locations import directories_of, is_plain, matches, places_of

_Parsed = tuple[Document, ...] | FormatError


@attrs.frozen(slots=True, eq=False)
class Fallback:
    """What takes the place of a broken file.

    Attributes:
        documents: The documents of the last good content; none if there was no such file.
        former: That content, and where it comes from.
    """

    documents: tuple[Document, ...]
    former: Former


@attrs.frozen(slots=True, eq=False)
class ParsedFiles:
    """One label's files of one source, parsed, with those of other sources under the same label.

    Attributes:
        files: What it was parsed from.
        documents: Path to its documents, in no particular order; only configuration files in or below one of `files.locations`. For a broken
            file these are the documents of its fallback.
        broken: Path to why it can't be used, files that couldn't be read included.
        paths: The paths of both; the same object as before where they are the same.
        directories: The directories that files lie in, whatever they are, where `files.locations` needs to know.
        others: As `Files.others`.
        fallbacks: What takes the place of broken files. A broken path without an entry has none: keys that read it can't be resolved.
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
        """This and the others, the strongest first."""
        return (self, *self.others)

    def layers_for(self, key: Key) -> "Iterator[ParsedFiles]":
        """Those that serve a key, the strongest first: of each group the first that is for it."""
        taken: set[int] = set()
        for layer in self.layers:
            if layer.files.group not in taken and matches(layer.files.applications, key):
                taken.add(layer.files.group)
                yield layer

    def broken_file(self, label: str, path: str) -> BrokenFile:
        """What people are told of a broken file of this layer."""
        error, fallback = self.broken[path], self.fallbacks.get(path)
        served = Served.NOTHING
        if fallback is not None:
            served = Served.WITHOUT if fallback.former.content is None else Served.LAST_GOOD
        revision = fallback.former.revision if fallback and served is Served.LAST_GOOD else None
        return BrokenFile(label, self.files.root, path, error.line, error.column, error.reason, served, revision)

    def with_fallbacks(self, found: "Mapping[str, Fallback | None]") -> "ParsedFiles":
        """The same files with other fallbacks for some broken paths; None takes one away."""
        documents, fallbacks = dict(self.documents), dict(self.fallbacks)
        for path, fallback in found.items():
            documents.pop(path, None)
            fallbacks.pop(path, None)
            if fallback is not None:
                _fall_back(path, fallback, documents, fallbacks)
        return attrs.evolve(self, documents=documents, fallbacks=fallbacks)


@attrs.frozen(slots=True, eq=False)
class ParsedTree:
    """A Tree, parsed: label to its parsed files."""

    labels: Mapping[str, ParsedFiles]
    default_label: str


def broken_files(labels: Mapping[str, ParsedFiles]) -> dict[tuple[str, str], BrokenFile]:
    """All files that are broken now, by label and by a name that no two files of a label have."""
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
    """Parse every configuration file of the tree, taking over what `before` has of files with the same bytes.

    `before` must have been made with the same limits. The same path with the same bytes under several labels is parsed once.
    Takes as long as it takes (seconds for many megabytes): call it in a thread.

    Args:
        served: What is served now, within whatever limits: what it has of a file that is broken from now on becomes the fallback. None
            means `before`.
        parse_file: Parses one file, wherever that is done.
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
    """What was parsed already, in this tree or the one before."""

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
            # Kept for as long as the file is broken: without the frames it passed through.
            return error.with_traceback(None)

    def _former(self, path: str, content: bytes) -> _Parsed | None:
        for layer in self._before:
            if layer.files.contents.get(path) == content and path not in layer.files.unreadable:
                return layer.broken.get(path) or layer.documents.get(path)
        return None


def _parse_label(files: Files, known: _Known, before: ParsedFiles | None, served: ParsedFiles | None) -> ParsedFiles:
    if before is not None and before.files is files:
        return before
    # A source that came or went shifts the others: each is compared with what it was itself.
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
    # Copies cost next to nothing; what isn't touched isn't looked at.
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
    """What has been served of a path until now; None if that was an error."""
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
    """The paths of which the bytes, or the reason why there are none, aren't what they were."""
    found: dict[str, None] = {}
    pairs: tuple[tuple[Mapping[str, object], Mapping[str, object]], ...] = (
        (files.contents, before.contents),
        (files.unreadable, before.unreadable),
    )
    for new, old in pairs:
        if new is not old:
            # The same object first: that is all it takes for most.
            found |= {
                path: None for path, value in new.items() if old.get(path) is not value and old.get(path) != value
            }
            if len(new) != len(old) or not old.keys() <= new.keys():
                found |= dict.fromkeys(path for path in old if path not in new)
    return list(found)


def location_of(path: str, locations: Iterable[str]) -> str | None:
    """The location a path lies in, or None. The longest counts: with "" and `prod/`, `prod/x.yml` is in `prod/` alone."""
    return max((each for each in locations if path.startswith(each)), key=len, default=None)


def is_configuration(path: str, locations: Sequence[str]) -> bool:
    """Whether a path is a configuration file: a known extension, in or below a location, and nothing hidden on its way.

    Below, because an application's name may hold `/`: `foo/app.yml` is the file of `foo/app`.
    """
    if extension(path) not in EXTENSIONS:
        return False
    return any(
        not any(segment.startswith(".") for segment in path[len(prefix) :].split("/"))
        for prefix, _, _ in places_of(path, locations)
    )

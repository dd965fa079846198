"""Parsed trees: a Tree's bytes become documents once, and again only where they changed.

In comes a `Tree` and the `ParsedTree` made before it; out goes a new one, which shares with it all that is the same: a label's whole parsed files, their
documents, what is known of their names. What it costs grows with the number of changed files. A file that can't be parsed is an
entry in `broken`, never an exception: whoever resolves decides what it touches.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from ..errors import FormatError
from ..model import Files, Key, Tree
from ..settings import FormatSettings
from .formats import EXTENSIONS, Document, extension, parse
from .imports import importers
from .locations import directories_of, is_plain, matches, places_of

_Parsed = tuple[Document, ...] | FormatError


@attrs.frozen(slots=True, eq=False)
class ParsedFiles:
    """One label's files of one source, parsed, with those of other sources under the same label.

    Attributes:
        files: What it was parsed from.
        documents: Path to its documents, in no particular order; only configuration files in or below one of `files.locations`.
        broken: Path to why it can't be used, files that couldn't be read included.
        paths: The paths of both; the same object as before where they are the same.
        directories: The directories that files lie in, whatever they are, where `files.locations` needs to know.
        others: As `Files.others`.
    """

    files: Files
    documents: Mapping[str, tuple[Document, ...]]
    broken: Mapping[str, FormatError]
    paths: frozenset[str] = frozenset()
    directories: frozenset[str] = frozenset()
    others: "tuple[ParsedFiles, ...]" = ()

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

    def own_faults(self) -> "Iterator[tuple[frozenset[str], FormatError]]":
        """What is broken here, without the others, with the applications that it touches: those whose files import it, too."""
        if not self.broken:
            return
        imports = [
            (path, target)
            for path, documents in self.documents.items()
            for document in documents
            for target in document.imports
        ]
        for path, error in self.broken.items():
            touching = (path, *importers(path, imports))
            yield frozenset().union(*(touched_by(each, self.files) for each in touching)), error

    def faults(self) -> "Iterator[tuple[str, FormatError]]":
        """All that is broken, the others included, with a name that no two have."""
        for layer in self.layers:
            for path, error in layer.broken.items():
                yield (layer.files.root + path if self.others else path), error


@attrs.frozen(slots=True, eq=False)
class ParsedTree:
    """A Tree, parsed: label to its parsed files."""

    labels: Mapping[str, ParsedFiles]
    default_label: str


def parse_tree(tree: Tree, limits: FormatSettings, before: ParsedTree | None = None) -> ParsedTree:
    """Parse every configuration file of the tree, taking over what `before` has of files with the same bytes.

    `before` must have been made with the same limits. The same path with the same bytes under several labels is parsed once.
    Takes as long as it takes (seconds for many megabytes): call it in a thread.
    """
    known = _Known(before.labels.values() if before else (), limits)
    labels = {
        label: _parse_label(files, known, before.labels.get(label) if before else None)
        for label, files in tree.labels.items()
    }
    return ParsedTree(labels, tree.default_label)


class _Known:
    """What was parsed already, in this tree or the one before."""

    def __init__(self, before: Iterable[ParsedFiles], limits: FormatSettings) -> None:
        self._before = [layer for files in before for layer in files.layers]
        self._limits = limits
        self._new: dict[tuple[str, bytes], _Parsed] = {}

    def parsed(self, path: str, content: bytes) -> _Parsed:
        found = self._new.get((path, content))
        if found is None:
            found = self._new[path, content] = self._former(path, content) or _parse(path, content, self._limits)
        return found

    def _former(self, path: str, content: bytes) -> _Parsed | None:
        for layer in self._before:
            if layer.files.contents.get(path) == content and path not in layer.files.unreadable:
                found = layer.documents.get(path)
                return layer.broken.get(path) if found is None else found
        return None


def _parse_label(files: Files, known: _Known, before: ParsedFiles | None) -> ParsedFiles:
    if before is not None and before.files is files:
        return before
    # A source that came or went shifts the others: each is compared with what it was itself.
    former = {layer.files.root: layer for layer in before.layers} if before else {}
    first, *others = (_parse_files(each, known, former.get(each.root)) for each in (files, *files.others))
    return attrs.evolve(first, others=tuple(others)) if others else first


def _parse_files(files: Files, known: _Known, before: ParsedFiles | None) -> ParsedFiles:
    if before is None or before.files.locations != files.locations:
        before = ParsedFiles(Files({}, locations=files.locations), {}, {})
    changed = _different(files, before.files)
    # Copies cost next to nothing; what isn't touched isn't looked at.
    documents = dict(before.documents)
    broken = dict(before.broken)
    for path in changed:
        documents.pop(path, None)
        broken.pop(path, None)
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
    paths, directories = before.paths, before.directories
    if any((path in documents or path in broken) != (path in paths) for path in changed):
        paths = frozenset((*documents, *broken))
    if changed and not is_plain(files.locations):
        directories = directories_of((*files.contents, *files.unreadable))
    return ParsedFiles(files, documents, broken, paths, directories)


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


def _parse(path: str, content: bytes, limits: FormatSettings) -> _Parsed:
    try:
        return parse(path, content, limits)
    except FormatError as error:
        # Kept for as long as the file is broken: without the frames it passed through.
        return error.with_traceback(None)


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


def touched_by(path: str, files: Files) -> frozenset[str]:
    """The applications a file can have a part in; "application" among them means everybody.

    `a-b-c.yml` may be `a-b-c`, or `a-b` in profile `c`, or `a` in profile `b-c`. In a location of one application it is for that alone.
    """
    touched: set[str] = set()
    for prefix, application, _ in places_of(path, files.locations) if files.locations else ():
        if application is not None:
            touched.add(application)
            continue
        directory, slash, name = path[len(prefix) :].rpartition("/")
        parts = name.rpartition(".")[0].split("-")
        touched |= {directory + slash + "-".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return frozenset(touched)

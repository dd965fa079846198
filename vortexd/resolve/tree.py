"""Parsed trees: a Tree's bytes become documents once, and again only where they changed.

In comes a `Tree` and the `ParsedTree` made before it; out goes a new one. A file that can't be parsed is an entry in
`broken`, never an exception: whoever resolves decides what it touches.
"""

from collections.abc import Iterable, Mapping

import attrs

from ..errors import FormatError
from ..model import Files, Tree
from ..settings import FormatSettings
from .formats import EXTENSIONS, Document, extension, parse

_Parsed = tuple[Document, ...] | FormatError


@attrs.frozen(slots=True, eq=False)
class ParsedFiles:
    """One label's files, parsed.

    Attributes:
        files: What it was parsed from.
        documents: Path to its documents, in file order; only configuration files below one of `files.locations`.
        broken: Path to why it can't be used, files that couldn't be read included.
    """

    files: Files
    documents: Mapping[str, tuple[Document, ...]]
    broken: Mapping[str, FormatError]


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
    known: dict[tuple[str, bytes], _Parsed] = {}
    for former in before.labels.values() if before else ():
        parts: dict[str, _Parsed] = {**former.documents, **former.broken}
        for path, parsed in parts.items():
            content = former.files.contents.get(path)
            if content is not None and path not in former.files.unreadable:
                known[path, content] = parsed
    labels = {label: _parse_files(files, limits, known) for label, files in tree.labels.items()}
    return ParsedTree(labels, tree.default_label)


def _parse_files(files: Files, limits: FormatSettings, known: dict[tuple[str, bytes], _Parsed]) -> ParsedFiles:
    documents: dict[str, tuple[Document, ...]] = {}
    broken: dict[str, FormatError] = {}
    for path, content in files.contents.items():
        if path in files.unreadable or not is_configuration(path, files.locations):
            continue
        if (path, content) not in known:
            known[path, content] = _parse(path, content, limits)
        parsed = known[path, content]
        if isinstance(parsed, FormatError):
            broken[path] = parsed
        else:
            documents[path] = parsed
    for path, reason in files.unreadable.items():
        if is_configuration(path, files.locations):
            broken[path] = FormatError(path, reason)
    return ParsedFiles(files, documents, broken)


def _parse(path: str, content: bytes, limits: FormatSettings) -> _Parsed:
    try:
        return parse(path, content, limits)
    except FormatError as error:
        # Kept for as long as the file is broken: without the frames it passed through.
        return error.with_traceback(None)


def location_of(path: str, locations: Iterable[str]) -> str | None:
    """The location a path lies in, or None. The longest counts: with "" and `prod/`, `prod/x.yml` is in `prod/` alone."""
    return max((each for each in locations if path.startswith(each)), key=len, default=None)


def is_configuration(path: str, locations: Iterable[str]) -> bool:
    """Whether a path is a configuration file: a known extension, in or below a location, and nothing hidden on its way.

    Below, because an application's name may hold `/`: `foo/app.yml` is the file of `foo/app`.
    """
    location = location_of(path, locations)
    if location is None or extension(path) not in EXTENSIONS:
        return False
    return not any(segment.startswith(".") for segment in path[len(location) :].split("/"))


def touched_by(path: str, files: Files) -> frozenset[str]:
    """The applications a file can have a part in; "application" among them means everybody.

    `a-b-c.yml` may be `a-b-c`, or `a-b` in profile `c`, or `a` in profile `b-c`.
    """
    location = location_of(path, files.locations) or ""
    directory, slash, name = path[len(location) :].rpartition("/")
    parts = name.rpartition(".")[0].split("-")
    return frozenset(directory + slash + "-".join(parts[:count]) for count in range(1, len(parts) + 1))

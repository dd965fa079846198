"""Parsed trees: a Tree's bytes become documents once, and again only where they changed.

In comes a `Tree` and the `ParsedTree` made before it; out goes a new one. A file that can't be parsed is an entry in
`broken`, never an exception: whoever resolves decides what it touches.
"""

from collections.abc import Mapping

import attrs

from ..errors import FormatError
from ..model import Files, Tree
from ..settings import FormatSettings
from .formats import Document


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

    Takes as long as it takes (seconds for many megabytes): call it in a thread.
    """
    raise NotImplementedError

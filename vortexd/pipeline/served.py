"""What is served at one moment, as one frozen value. Pure.

In come the tree of a publication, the state that keys are resolved from, the listing of what exists, and the bounds of parsing. The store swaps the whole value in its
commit, and everybody reads it there. The invariant: a reader that has the value never sees a part of one publication beside a part of another.
"""

from collections.abc import Mapping

import attrs

from ..core.model import BrokenFile, Key, Tree
from ..observe.publication import without_configuration
from ..resolve.listing import Listing
from ..resolve.tree import ParsedFiles, ParsedTree, broken_files
from ..settings.formats import FormatSettings
from .state import State


@attrs.frozen(slots=True, eq=False)
class ServedState:
    """See the module.

    Attributes:
        tree: What the sources gave.
        state: What keys are resolved from.
        listing: The keys and the names that exist in it.
        formats: The bounds that its files were parsed within.
        failures: The keys that keep their last good configuration because their files can't be combined, each with the reason.
        broken: The files that can't be used, by label and by a name that no two files of a label have.
        empty_sources: The roots of the sources that hold no configuration file under any label.
    """

    tree: Tree
    state: State
    listing: Listing
    formats: FormatSettings
    failures: Mapping[Key, str] = attrs.field(factory=dict)
    broken: Mapping[tuple[str, str], BrokenFile] = attrs.field()
    empty_sources: frozenset[str] = attrs.field()

    @broken.default
    def _all_broken(self) -> Mapping[tuple[str, str], BrokenFile]:
        return broken_files(self.state.labels)

    @empty_sources.default
    def _all_empty(self) -> frozenset[str]:
        layers = [layer for files in self.state.labels.values() for layer in files.layers]
        return without_configuration((layer.files.root, bool(layer.paths)) for layer in layers)

    @property
    def parsed(self) -> ParsedTree:
        """The files of all labels, parsed."""
        return ParsedTree(self.state.labels, self.state.default_label)

    def has_file(self, broken: BrokenFile) -> bool:
        """Whether a file that is or was broken is there, sound or not."""
        files: ParsedFiles | None = self.state.labels.get(broken.label)
        layers = files.layers if files else ()
        return any(layer.files.root == broken.root and broken.path in layer.files.contents for layer in layers)

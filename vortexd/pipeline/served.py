"""Everything that is served at one moment, as one frozen value. Pure.

The value holds the tree of a publication, and the state that keys are resolved from. It also holds the listing of keys
and names, and the limits of parsing. The store replaces the whole value in its commit, and all readers take it from
there. The invariant: a reader that has the value never sees parts of two publications.
"""

from collections.abc import Mapping

import attrs

from ..core.model import BrokenFile, Key, Tree
from ..gate.finding import Refusal
from ..observe.publication import without_configuration
from ..resolve.listing import Listing
from ..resolve.tree import ParsedFiles, ParsedTree, broken_files
from ..settings.formats import FormatSettings
from .state import State


@attrs.frozen(slots=True, eq=False)
class ServedState:
    """Everything that is served at one moment; see the module.

    Attributes:
        tree: The tree from the sources.
        state: The state that keys are resolved from.
        listing: The keys and the names that exist in it.
        formats: The limits within which its files were parsed.
        failures: The keys that keep their last good configuration because their files can't be combined, with the
            reasons.
        broken: The files that can't be used, by label and by a name that is unique in the label.
        refusals: The labels that the gate holds back. Their files are those of an earlier publication.
        empty_sources: The roots of the sources that hold no configuration file under any label.
    """

    tree: Tree
    state: State
    listing: Listing
    formats: FormatSettings
    failures: Mapping[Key, str] = attrs.field(factory=dict)
    refusals: Mapping[str, Refusal] = attrs.field(factory=dict)
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
        """Return whether a file that is or was broken exists, broken or not."""
        files: ParsedFiles | None = self.state.labels.get(broken.label)
        layers = files.layers if files else ()
        return any(layer.files.root == broken.root and broken.path in layer.files.contents for layer in layers)

"""Makes the state that keys are resolved from at a commit of a branch. Pure.

The files of a commit arrive. A `BranchState` leaves, in which these files take the place of those that are served from the
branch. The files of all other sources and labels are those of the served state, and so are the limits, the decryptor and
the overrides.
"""

from collections.abc import Collection, Mapping, Sequence

import attrs

from ...core.commits import PastFiles
from ...core.errors import FormatError, ResolveError, UnknownLabel
from ...core.model import Config, Files, Key, Tree
from ...resolve.formats import Document, parse
from ...resolve.locations import is_plain
from ...resolve.spring import selection
from ...resolve.tree import ParsedFiles, ParsedTree, parse_tree
from ...settings.formats import FormatSettings
from ..served import ServedState
from ..state import State


@attrs.frozen(slots=True, eq=False)
class BranchState:
    """The state at a commit of a branch, or with other files on top of that.

    Attributes:
        past: The files of the commit. Their contents are those of this state.
        state: Resolves keys.
        root: The root of the branch's files, as in `Files.root`.
        labels: The labels that are served from the branch.
    """

    past: PastFiles
    state: State
    root: str
    labels: Sequence[str]

    @property
    def parsed(self) -> ParsedTree:
        """The files of the labels that are served from the branch."""
        return ParsedTree({label: self.state.labels[label] for label in self.labels}, self.labels[0])

    def resolve(self, key: Key) -> Config:
        """Resolve a key. Raises the errors of `State.resolve`."""
        return self.state.resolve(key)

    def resolved(self, key: Key) -> Config | None:
        """Resolve a key. Return None if that isn't possible."""
        try:
            return self.state.resolve(key)
        except (FormatError, ResolveError, UnknownLabel):
            return None

    def layers(self, key: Key) -> list[ParsedFiles]:
        """Return the files of the branch that serve a key, once for each label and source."""
        labels = (self.state.labels[label] for label in key.labels if label in self.labels)
        return [layer for files in labels for layer in files.layers_for(key) if layer.files.root == self.root]

    def reads(self, key: Key) -> dict[str, str] | None:
        """Return the paths of the branch that a key searches for, with their stems.

        Return None if any path may decide about the key.
        """
        found: dict[str, str] = {}
        try:
            for layer in self.layers(key):
                found |= selection(layer, key).reads
        except ResolveError:
            return None
        return found

    def broken(self, key: Key) -> list[str]:
        """Return the files of the branch that a key reads and that are broken, even if other content replaces them.

        Raises:
            ResolveError: There are too many profiles or imports.
        """
        return [path for layer in self.layers(key) if layer.broken for path in selection(layer, key).broken]

    def is_at(self, key: Key, version: str) -> bool:
        """Return whether the files of the branch, none of them broken, give a key a version."""
        config = self.resolved(key)
        return config is not None and config.version == version and not self.broken(key)

    def deciding(self, key: Key) -> frozenset[str] | None:
        """Return the paths that decide about a key, with those that its links lead through. None means every path."""
        reads = self.reads(key)
        # Which directories a pattern matches depends on all files.
        if reads is None or not all(is_plain(layer.files.locations) for layer in self.layers(key)):
            return None
        paths = set(reads)
        for link, way in self.past.ways.items():
            if link in reads:
                for path in way:
                    paths.add(path)
                    paths.update(path[:end] for end, character in enumerate(path) if character == "/")
        return frozenset(paths)


class BranchStates:
    """Makes the states of one branch; see the module.

    Args:
        served: The served state.
        root: The root of the branch's files.
        labels: The labels that are served from the branch. Each of them is served.
    """

    def __init__(self, served: ServedState, root: str, labels: Sequence[str]) -> None:
        self._served = served
        self._root = root
        self._labels = tuple(labels)
        self._parsed: dict[tuple[str, bytes], tuple[Document, ...] | FormatError] = {}

    def at(self, past: PastFiles, *, repairs: bool) -> BranchState:
        """Return the state at a commit.

        Args:
            repairs: Whether the served content replaces a file that is broken at the commit, as when the commit is
                published.
        """
        labels = {label: self._served.state.labels[label] for label in self._labels}
        return self._state(past, labels, labels if repairs else {})

    def changed(self, at: BranchState, contents: Mapping[str, bytes | None]) -> BranchState:
        """Return a state with other files.

        Args:
            contents: The new contents of paths. None means that there is no such file.
        """
        files = at.past.files
        new, unreadable = dict(files.contents), dict(files.unreadable)
        for path, content in {**contents, **_through_links(contents, at.past.ways)}.items():
            new.pop(path, None)
            unreadable.pop(path, None)
            if content is not None:
                new[path] = content
        past = attrs.evolve(at.past, files=attrs.evolve(files, contents=new, unreadable=unreadable))
        return self._state(past, at.parsed.labels, at.parsed.labels)

    def _state(
        self, past: PastFiles, before: Mapping[str, ParsedFiles], fallbacks: Mapping[str, ParsedFiles]
    ) -> BranchState:
        served, default = self._served.state, self._labels[0]
        tree = Tree({label: self._files(files, past.files) for label, files in before.items()}, default)
        parsed = parse_tree(
            tree, self._served.formats, ParsedTree(before, default), ParsedTree(fallbacks, default), self._parse
        )
        labels = {**served.labels, **parsed.labels}
        state = State(labels, served.default_label, served.decryptor, served.overrides)
        return BranchState(past, state, self._root, self._labels)

    def _files(self, parsed: ParsedFiles, files: Files) -> Files:
        """Return the files of a label, with those of the branch replaced."""
        first, *others = (
            attrs.evolve(
                layer.files,
                contents=files.contents,
                unreadable=files.unreadable,
                revision=files.revision,
                origin=files.origin,
                others=(),
                edits=None,
                past=None,
            )
            if layer.files.root == self._root
            else attrs.evolve(layer.files, others=())
            for layer in parsed.layers
        )
        return attrs.evolve(first, others=tuple(others))

    def _parse(self, path: str, content: bytes, limits: FormatSettings) -> tuple[Document, ...]:
        """Parse a file once, however many states have it."""
        found = self._parsed.get((path, content))
        if found is None:
            try:
                found = parse(path, content, limits)
            except FormatError as error:
                found = error.with_traceback(None)
            self._parsed[path, content] = found
        if isinstance(found, FormatError):
            raise found
        return found


def _through_links(
    contents: Mapping[str, bytes | None], ways: Mapping[str, Collection[str]]
) -> dict[str, bytes | None]:
    """Return the new contents of the links that lead to or through changed paths."""
    found: dict[str, bytes | None] = {}
    for link, way in ways.items():
        changed = next((path for path in way if path in contents), None)
        if changed is not None and link not in contents:
            found[link] = contents[changed]
    return found

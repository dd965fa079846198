"""Resolves keys from the commit before the served one. The results last as long as one served state.

A layer of files and a commit of its git source arrive. The configuration from the files of the commit before leaves.
The invariant: the work is bounded. The files of few commits are kept. Commits are read one after the other. Their files
are parsed within the limits of the served state.
"""

from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import trio

from ..aio import threads
from ..core.errors import FormatError, ResolveError
from ..core.model import Config, Files, Key, Tree
from ..resolve.tree import ParsedFiles, ParsedTree, parse_tree
from .served import ServedState
from .state import State

# How many earlier commits have their files kept.
_FORMER = 4


class FormerCommits:
    """Resolves keys from earlier commits; see the module.

    Args:
        served: The served state, whose layers callers ask about.
        load: Reads the files of the commit before a given commit, from the git source with a given root. Returns None
            if there is no such commit.
        reading: Limits how many commits are read at a time.
        resolving: Limits the threads that parse and resolve.
    """

    def __init__(
        self,
        served: ServedState,
        load: Callable[[str, str], Awaitable[Files | None]],
        reading: trio.CapacityLimiter,
        resolving: trio.CapacityLimiter,
    ) -> None:
        self._served = served
        self._load = load
        self._reading = reading
        self._resolving = resolving
        # By root and commit, oldest first.
        self._files: dict[tuple[str, str], Files | None] = {}

    async def resolve(self, layer: ParsedFiles, key: Key, commit: str) -> Config | None:
        """Return the configuration of a key at the commit before a given commit.

        Args:
            layer: The only layer that serves the key.

        Returns:
            None if there is no such commit, or if its files can't be used.
        """
        files = await self._files_before(layer.files.root, commit)
        if files is None:
            return None
        resolve = partial(_resolved_by, files, layer, self._served, key)
        return await threads.run_sync(resolve, abandon_on_cancel=True, limiter=self._resolving)

    async def _files_before(self, root: str, commit: str) -> Files | None:
        async with self._reading:
            if (root, commit) not in self._files:
                files = await self._load(root, commit)
                while len(self._files) >= _FORMER:
                    del self._files[next(iter(self._files))]
                self._files[root, commit] = files
            return self._files[root, commit]


def _resolved_by(files: Files, layer: ParsedFiles, served: ServedState, key: Key) -> Config | None:
    """Resolve a key with other files in place of a layer's files. Return None if those files are broken."""
    try:
        return state_with(files, layer, served, key.label).resolve(key)
    except (FormatError, ResolveError):
        return None


def state_with(files: Files, layer: ParsedFiles, served: ServedState, label: str) -> State:
    """Return the state in which only a layer serves a label, with other files in place of its own.

    Args:
        layer: The layer, parsed from similar files.
        served: The served state, whose limits, decryptor and overrides count.
    """
    parsed = parsed_with(files, layer, served)
    state = served.state
    return State({label: parsed}, label, state.decryptor, state.overrides)


def parsed_with(files: Files, layer: ParsedFiles, served: ServedState) -> ParsedFiles:
    """Parse other files in place of those of a layer. The result has no other layers; see `state_with`."""
    layer = attrs.evolve(layer, others=())
    there = attrs.evolve(
        layer.files,
        contents=files.contents,
        unreadable=files.unreadable,
        revision=files.revision,
        origin=files.origin,
        others=(),
        edits=None,
        past=None,
    )
    label = served.state.default_label
    # Unchanged files aren't parsed again. Today's content must not replace a file that was broken at that commit.
    before, nothing = ParsedTree({label: layer}, label), ParsedTree({}, label)
    return parse_tree(Tree({label: there}, label), served.formats, before, nothing).labels[label]

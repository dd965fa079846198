"""What keys were by the commits before those that are served, for as long as one served state is in force.

In come a layer of files, and a commit of its git source; out goes the configuration by the files of the commit before. The invariant: the work is
bounded: the files of few commits are held, they are read one after the other, and they are parsed within the bounds of the served state.
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

# Commits before those that are served whose files are held.
_FORMER = 4


class FormerCommits:
    """See the module.

    Args:
        served: What is served, with the layers that are asked for.
        load: Reads the files of the commit before one, of the git source with a root; None where there is none.
        reading: Bounds how many commits are read at a time.
        resolving: Bounds the threads that parse and resolve.
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
        """What a key was by the commit before one.

        Args:
            layer: The only layer that serves the key.

        Returns:
            None where there is no such commit, or its files can't be used.
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
    """What a key is by other files in the place of a layer; None where they are broken."""
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
    label, state = key.label, served.state
    # What is the same isn't parsed again; what is broken there has no content of now in its place.
    before, nothing = ParsedTree({label: layer}, label), ParsedTree({}, label)
    parsed = parse_tree(Tree({label: there}, label), served.formats, before, nothing)
    try:
        return State(parsed.labels, label, state.decryptor, state.overrides).resolve(key)
    except (FormatError, ResolveError):
        return None

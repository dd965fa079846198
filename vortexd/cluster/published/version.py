"""A whole version of a state: its manifest and its contents as chunks, and the head that names them. Pure."""

from collections.abc import Mapping

import attrs

from ...core.model import Tree
from ..engine import TooLarge
from .head import MOST_CHUNKS, Announcement, Head
from .manifest_writer import manifest_of
from .packing import CHUNK_BYTES, Chunk, digest_of


@attrs.frozen(eq=False)
class Version:
    """A state that is ready to be written.

    Attributes:
        id: As in `Announcement`.
        manifest: The names of the chunks of the manifest's root, in order.
        chunks: All chunks by name, each once.
    """

    id: str
    manifest: tuple[str, ...]
    chunks: Mapping[str, Chunk]

    def head(self, number: int, at: float, by: str) -> Head:
        """Return the head of this version.

        Raises:
            TooLarge: It has too many chunks.
        """
        if len(self.chunks) > MOST_CHUNKS:
            raise TooLarge(f"the state has more than {MOST_CHUNKS} chunks; serve fewer files or labels")
        return Head(Announcement(number, self.id, at, by), self.manifest)

    @property
    def names(self) -> frozenset[str]:
        """The names of all chunks."""
        return frozenset(self.chunks)


def version_of(tree: Tree) -> Version:
    """Cut a state into chunks. Takes long if the state is large.

    Raises:
        TooLarge: See `manifest_of`.
    """
    written = manifest_of(tree)
    view = memoryview(written.root)
    parts = [view[start : start + CHUNK_BYTES] for start in range(0, len(written.root), CHUNK_BYTES)]
    root = [Chunk(digest_of(part), [part]) for part in parts]
    chunks = {each.name: each for each in (*written.chunks, *written.pages, *root)}
    return Version(digest_of(written.root), tuple(each.name for each in root), chunks)

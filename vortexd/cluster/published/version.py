"""A whole version of a state: its manifest and its contents as chunks, and the head that names them. Pure."""

from collections.abc import Mapping

import attrs

from ...core.model import Tree
from ..engine import TooLarge
from .head import MOST_CHUNKS, RECORD_BYTES, Announcement, Head
from .manifest import manifest_of
from .packing import CHUNK_BYTES, Chunk, digest_of


@attrs.frozen(eq=False)
class Version:
    """A state that is ready to be written.

    Attributes:
        id: As in `Announcement`.
        manifest: The names of the manifest's chunks, in order.
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
        others = tuple(name for name in self.chunks if name not in self.manifest)
        head = Head(Announcement(number, self.id, at, by), self.manifest, others)
        if len(self.manifest) + len(others) > MOST_CHUNKS or len(head.encoded()) > RECORD_BYTES:
            raise TooLarge(f"the state has more than {MOST_CHUNKS} chunks; serve fewer files or labels")
        return head


def version_of(tree: Tree) -> Version:
    """Cut a state into chunks. Takes long if the state is large."""
    manifest, chunks = manifest_of(tree)
    view = memoryview(manifest)
    parts = [view[start : start + CHUNK_BYTES] for start in range(0, len(manifest), CHUNK_BYTES)]
    own = [Chunk(digest_of(part), [part]) for part in parts]
    return Version(digest_of(manifest), tuple(each.name for each in own), {each.name: each for each in (*chunks, *own)})

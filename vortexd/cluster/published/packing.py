"""Cuts contents into chunks, and puts them together again. Pure.

Small contents share chunks, and large ones have several. The end of a shared chunk depends on the contents in it. So a
changed content changes few chunks, and all others keep their names.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs

from ..records import Unusable

# The most bytes of a chunk. By default etcd takes requests of 1.5 MiB.
CHUNK_BYTES = 524_288
# The least and the most bytes of a shared chunk on average. A change of one small content writes about twice as much.
_LEAST_AVERAGE, _AVERAGE = 4_096, 131_072
# The shared chunks of a state on average, at most. Between the limits, the average follows from that in powers of two.
# So it seldom changes, because each change of it makes all chunks anew.
_SHARED = 2_000

# A part of a content: the number of the chunk, the offset in it, and the number of bytes.
Piece: TypeAlias = tuple[int, int, int]


def digest_of(data: bytes | memoryview) -> str:
    """Return the name of a content or a chunk: its SHA-256 as hex digits."""
    return hashlib.sha256(data).hexdigest()


@attrs.frozen
class Content:
    """A content of files, by its digest, and where its bytes are."""

    digest: str
    size: int
    pieces: tuple[Piece, ...]


@attrs.frozen(eq=False)
class Chunk:
    """A chunk, made of parts of contents. The parts are joined only when the chunk is written."""

    name: str
    parts: Sequence[memoryview]

    @property
    def size(self) -> int:
        """The number of bytes."""
        return sum(map(len, self.parts))

    @property
    def data(self) -> bytes:
        """The bytes, made anew each time."""
        return b"".join(self.parts)


@attrs.define(eq=False)
class _Packer:
    chunks: list[Chunk] = attrs.field(factory=list)
    parts: list[memoryview] = attrs.field(factory=list)
    size: int = 0

    def add(self, view: memoryview) -> list[Piece]:
        """Put a content behind the last one. Return its pieces."""
        pieces = []
        while view:
            part = view[: CHUNK_BYTES - self.size]
            pieces.append((len(self.chunks), self.size, len(part)))
            self.parts.append(part)
            self.size += len(part)
            view = view[len(part) :]
            if self.size == CHUNK_BYTES:
                self.end()
        return pieces

    def end(self) -> None:
        """End the present chunk, if it has any bytes."""
        if self.parts:
            name = hashlib.sha256()
            for each in self.parts:
                name.update(each)
            self.chunks.append(Chunk(name.hexdigest(), self.parts))
            self.parts, self.size = [], 0


def average_of(total: int) -> int:
    """Return the bytes of a shared chunk on average, for contents of so many bytes together."""
    average = _LEAST_AVERAGE
    while average < _AVERAGE and average * _SHARED < total:
        average *= 2
    return average


def pack(contents: Mapping[str, bytes]) -> tuple[list[Chunk], list[list[Piece]]]:
    """Cut contents into chunks. Return the chunks, and the pieces of each content.

    Args:
        contents: Maps the digest of each content to its bytes.
    """
    packer = _Packer()
    pieces = []
    average = average_of(sum(map(len, contents.values())))
    for digest, content in contents.items():
        if packer.size + len(content) > CHUNK_BYTES:
            packer.end()
        pieces.append(packer.add(memoryview(content)))
        # The larger the content, the likelier a chunk ends with it. The decision depends on this content alone.
        if int(digest[:8], 16) * average < len(content) << 32:
            packer.end()
    packer.end()
    return packer.chunks, pieces


def verified(name: str, data: bytes, most_bytes: int = CHUNK_BYTES) -> bytes:
    """Return a chunk.

    Raises:
        Unusable: It isn't the chunk of that name, or it is longer than the manifest says.
    """
    if len(data) > most_bytes:
        raise Unusable(f"chunk {name[:12]} has {len(data)} bytes, and the manifest allows {most_bytes}")
    if digest_of(data) != name:
        raise Unusable(f"chunk {name[:12]} has another content than its name says")
    return data


def unpack(content: Content, names: Sequence[str], chunks: Mapping[str, bytes]) -> bytes:
    """Put a content together.

    Args:
        names: The names of the chunks, by their numbers.
        chunks: The chunks by name. They are verified.

    Raises:
        Unusable: The result isn't the content of that digest.
    """
    parts = [chunks[names[number]][offset : offset + length] for number, offset, length in content.pieces]
    found = b"".join(parts)
    if len(found) != content.size or digest_of(found) != content.digest:
        raise Unusable(f"content {content.digest[:12]} isn't what its digest says")
    return found


def needed(wanted: Iterable[Collection[Piece]], names: Sequence[str]) -> list[str]:
    """Return the names of the chunks that these contents need, each once."""
    return list(dict.fromkeys(names[number] for pieces in wanted for number, _, _ in pieces))


def stated_sizes(contents: Iterable[Content], names: Sequence[str]) -> dict[str, int]:
    """Return the bytes that each chunk must have for these contents, by name.

    A chunk has nothing but contents. So this is its whole size, as the manifest states it.
    """
    sizes = dict.fromkeys(names, 0)
    for content in contents:
        for number, offset, length in content.pieces:
            sizes[names[number]] = max(sizes[names[number]], offset + length)
    return sizes


def batches(sizes: Mapping[str, int], most: int, most_bytes: int) -> Iterator[list[str]]:
    """Divide chunks into batches, in their order. A chunk that is larger than a batch is alone.

    Args:
        sizes: Maps the name of each chunk to its bytes.
        most: The most chunks of a batch.
        most_bytes: The most bytes of a batch.
    """
    batch, total = list[str](), 0
    for name, size in sizes.items():
        if batch and (len(batch) == most or total + size > most_bytes):
            yield batch
            batch, total = [], 0
        batch.append(name)
        total += size
    if batch:
        yield batch

"""Fetches chunks, several with one request, and verifies each."""

from collections.abc import Mapping

from ..engine import Engine
from ..records import Unusable
from .head import Places
from .packing import batches, verified

# The most chunks of one request, and the bytes from which on it has no further chunk.
_AT_ONCE, _BYTES_AT_ONCE = 64, 1_048_576


class Missing(Unusable):
    """The store doesn't have a chunk.

    Attributes:
        name: The chunk.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"chunk {name[:12]} isn't there")
        self.name = name


async def fetched(engine: Engine, places: Places, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """Return chunks by name.

    Args:
        sizes: Maps the name of each chunk to the most bytes that it may have.

    Raises:
        Missing: See the class.
        Unusable: A chunk is damaged.
        EngineError: The store can't be read now.
    """
    found = dict[str, bytes]()
    for names in batches(sizes, _AT_ONCE, _BYTES_AT_ONCE):
        reading = await engine.read([places.chunk(name) for name in names])
        entries = {entry.key: entry.value for entry in reading.entries}
        for name in names:
            data = entries.get(places.chunk(name))
            if data is None:
                raise Missing(name)
            found[name] = verified(name, data, sizes[name])
    return found

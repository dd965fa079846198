"""Facts about versions: their id, their chunks, and how large they may be."""

from random import Random

import pytest

from vortexd.cluster.engine import TooLarge
from vortexd.cluster.published.head import MOST_CHUNKS
from vortexd.cluster.published.manifest_writer import manifest_of
from vortexd.cluster.published.packing import CHUNK_BYTES, Chunk, digest_of
from vortexd.cluster.published.version import Version, version_of
from vortexd.core.model import Files, Tree

from .trees import names_in, rich, tree


def test_the_id_is_the_hash_of_the_root_and_the_chunks_contain_all() -> None:
    written = manifest_of(rich())
    version = version_of(rich())

    assert digest_of(written.root) == version.id
    assert written.root == b"".join(version.chunks[name].data for name in version.manifest)
    chunks = [*written.chunks, *written.pages]
    assert {each.name for each in chunks} | {*version.manifest} == set(version.chunks) == version.names
    assert all(name == each.name == digest_of(each.data) for name, each in version.chunks.items())
    head = version.head(3, 1.5, "a")
    assert (3, version.id, 1.5, "a") == (head.said.number, head.said.id, head.said.at, head.said.by)
    assert (version.manifest, None) == (head.manifest, head.chunks)
    assert names_in(head, lambda name: version.chunks[name].data) == version.names


def test_a_large_root_has_several_chunks() -> None:
    version = version_of(Tree({"main": Files({}, locations=("x" * 600_000,))}))

    sizes = [len(version.chunks[name].data) for name in version.manifest]
    assert len(sizes) == 2
    assert sizes[0] == CHUNK_BYTES


def test_equal_states_are_one_version_and_others_are_not() -> None:
    assert version_of(tree(a="1")).id == version_of(tree(a="1")).id != version_of(tree(a="2")).id


@pytest.mark.parametrize(("count", "is_refused"), [(MOST_CHUNKS, False), (MOST_CHUNKS + 1, True)])
def test_a_version_has_a_most_number_of_chunks(count: int, is_refused: bool) -> None:
    names = [Random(number).randbytes(32).hex() for number in range(count)]
    version = Version(names[0], (names[0],), {name: Chunk(name, []) for name in names})

    if is_refused:
        with pytest.raises(TooLarge, match="more than 5000 chunks"):
            version.head(1, 0.0, "a")
    else:
        assert (names[0],) == version.head(1, 0.0, "a").manifest

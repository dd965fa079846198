"""Facts about chunks: their size, what shares them, what a change costs, and what is refused."""

from random import Random
from typing import Any

import attrs
import pytest

from vortexd.cluster.published.packing import (
    CHUNK_BYTES,
    Chunk,
    Content,
    average_of,
    batches,
    digest_of,
    needed,
    pack,
    stated_sizes,
    unpack,
    verified,
)
from vortexd.cluster.records import Unusable


def packed(*contents: bytes) -> tuple[list[Chunk], list[Content]]:
    by_digest = {digest_of(each): each for each in contents}
    chunks, pieces = pack(by_digest)
    return chunks, [
        Content(digest, len(content), tuple(each))
        for (digest, content), each in zip(by_digest.items(), pieces, strict=True)
    ]


def read(chunks: list[Chunk], contents: list[Content]) -> list[bytes]:
    names = [each.name for each in chunks]
    data = {each.name: verified(each.name, each.data) for each in chunks}
    return [unpack(each, names, data) for each in contents]


def random_bytes(seed: int, size: int) -> bytes:
    return Random(seed).randbytes(size)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7])
def test_a_content_of_any_size_is_cut_and_put_together(size: int) -> None:
    content = random_bytes(1, size)
    chunks, contents = packed(content, b"other")

    assert [content, b"other"] == read(chunks, contents)
    assert all(0 < len(each.data) <= CHUNK_BYTES for each in chunks)
    assert [each.name for each in chunks] == [digest_of(each.data) for each in chunks]


def test_a_large_content_takes_as_few_chunks_as_it_can() -> None:
    chunks, [content] = packed(random_bytes(1, 2 * CHUNK_BYTES + 1))

    assert [CHUNK_BYTES, CHUNK_BYTES, 1] == [len(each.data) for each in chunks]
    assert ((0, 0, CHUNK_BYTES), (1, 0, CHUNK_BYTES), (2, 0, 1)) == content.pieces


def test_small_contents_share_chunks() -> None:
    many = [random_bytes(number, 1_000) for number in range(1_000)]
    chunks, contents = packed(*many)

    assert many == read(chunks, contents)
    assert 100 < len(chunks) < 300
    # No content that fits into a chunk is cut.
    assert {1} == {len(each.pieces) for each in contents}


def test_a_content_that_no_longer_fits_begins_a_chunk() -> None:
    first, second = (b"\0" * (CHUNK_BYTES - 1), b"ab")
    chunks, contents = packed(first, second)

    assert [first, second] == read(chunks, contents)
    assert ((1, 0, 2),) == contents[1].pieces


def test_a_chunk_may_be_filled_to_the_last_byte() -> None:
    small = b"eight by"
    chunks, contents = packed(small, random_bytes(3, CHUNK_BYTES - 8))

    assert [CHUNK_BYTES] == [len(each.data) for each in chunks]
    assert [((0, 0, 8),), ((0, 8, CHUNK_BYTES - 8),)] == [each.pieces for each in contents]


@pytest.mark.parametrize("changed", [0, 500, 999])
def test_a_changed_content_changes_few_chunks(changed: int) -> None:
    many = [random_bytes(number, 2_000) for number in range(1_000)]
    before = {each.name for each in packed(*many)[0]}
    after = [each for each in packed(*many[:changed], b"x" * 1_990, *many[changed + 1 :])[0] if each.name not in before]

    assert 0 < sum(len(each.data) for each in after) <= 65_536
    assert len(before) > 8


@pytest.mark.parametrize(
    ("total", "average"),
    [
        (0, 4_096),
        (8_192_000, 4_096),
        (8_192_001, 8_192),
        (131_072_000, 65_536),
        (131_072_001, 131_072),
        (10**12, 131_072),
    ],
)
def test_the_average_of_shared_chunks_follows_from_the_size_of_the_state(total: int, average: int) -> None:
    assert average == average_of(total)


def test_a_large_state_has_larger_chunks() -> None:
    content = random_bytes(0, 400_000)
    many = [content[number : number + 100_000] for number in range(300)]

    # One fits all: 30 MB with an average of 16 KiB, which each of these exceeds.
    assert len(packed(*many)[0]) == 300
    assert average_of(300 * 100_000) == 16_384


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([9], ["0"]),
        ([5, 5, 1], ["01", "2"]),
        ([5, 6, 4], ["0", "12"]),
        ([11, 1, 11, 11], ["0", "1", "2", "3"]),
        ([0, 0, 0, 0, 0], ["012", "34"]),
    ],
)
def test_batches_keep_the_order_and_their_limits(sizes: list[int], expected: list[str]) -> None:
    named = {str(number): size for number, size in enumerate(sizes)}

    assert expected == ["".join(each) for each in batches(named, 3, 10)]


def test_a_chunk_knows_its_size() -> None:
    assert 5 == Chunk("x", [memoryview(b"abc"), memoryview(b"de")]).size


def test_a_chunk_with_another_content_than_its_name_says_is_refused() -> None:
    with pytest.raises(Unusable, match=f"chunk {digest_of(b'a')[:12]} has another content"):
        verified(digest_of(b"a"), b"b")


@pytest.mark.parametrize(
    "change", [{"digest": "0" * 64}, {"size": 3}, {"pieces": ((0, 1, 4),)}, {"pieces": ((0, 4, 4),)}, {"pieces": ()}]
)
def test_a_content_that_is_not_what_its_digest_says_is_refused(change: dict[str, Any]) -> None:
    chunks, [content] = packed(b"abcd")
    wrong = attrs.evolve(content, **change)

    with pytest.raises(Unusable, match="isn't what its digest says"):
        read(chunks, [wrong])


def test_a_chunk_that_several_contents_need_is_needed_once() -> None:
    assert ["c", "a"] == needed([((2, 0, 1),), ((0, 0, 1), (2, 1, 1)), ()], ["a", "b", "c"])


def test_a_chunk_that_is_longer_than_its_limit_is_refused() -> None:
    name = digest_of(b"abc")

    assert verified(name, b"abc", 3) == b"abc"
    with pytest.raises(Unusable, match="has 3 bytes, and the manifest allows 2"):
        verified(name, b"abc", 2)


def test_the_contents_of_a_manifest_state_the_size_of_each_chunk() -> None:
    chunks, contents = packed(*(random_bytes(number, 90_000) for number in range(20)), bytes(2 * CHUNK_BYTES + 1))

    sizes = stated_sizes(contents, [each.name for each in chunks])
    assert sizes == {each.name: len(each.data) for each in chunks}
    # Two numbers may have one name, and a chunk may have no content.
    twice = [Content("d", 3, ((0, 0, 2), (1, 4, 1)))]
    assert {"a": 5, "b": 0} == stated_sizes(twice, ["a", "a", "b"])

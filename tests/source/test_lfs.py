"""Pointers of Git LFS: files that are recognised as pointers, and others."""

import pytest

from vortexd.source.lfs import is_pointer

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


@pytest.mark.parametrize("size", [len(POINTER), 1_023])
def test_a_short_file_that_begins_like_one_is_a_pointer(size: int) -> None:
    assert is_pointer(POINTER.ljust(size, b"x"))


@pytest.mark.parametrize(
    "content", [b"", b"a: 1\n", b" " + POINTER, POINTER.ljust(1_024, b"x"), b"version https://git-lfs.github.com/"]
)
def test_anything_else_is_none(content: bytes) -> None:
    assert not is_pointer(content)

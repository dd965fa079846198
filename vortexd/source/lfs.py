"""Pointers of Git LFS: what git has in the place of a file whose content is kept elsewhere. Pure."""

# By its specification a pointer is shorter than this, and begins so.
_LESS_THAN = 1_024
_BEGINNING = b"version https://git-lfs.github.com/spec/"

POINTER = (
    "a Git LFS pointer in place of the file; keep the file in git itself (git lfs migrate export), "
    "or run git lfs pull if this directory is a checkout"
)


def is_pointer(content: bytes) -> bool:
    """Whether a file's content is a pointer to what it should be."""
    return len(content) < _LESS_THAN and content.startswith(_BEGINNING)

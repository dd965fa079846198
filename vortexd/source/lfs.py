"""Recognizes pointers of Git LFS, which git stores in place of a file whose content is kept elsewhere. Pure."""

# The specification says that a pointer is shorter than this and begins with this text.
_LESS_THAN = 1_024
_BEGINNING = b"version https://git-lfs.github.com/spec/"

POINTER = (
    "a Git LFS pointer in place of the file; keep the file in git itself (git lfs migrate export), "
    "or run git lfs pull if this directory is a checkout"
)


def is_pointer(content: bytes) -> bool:
    """Return whether the content of a file is a Git LFS pointer."""
    return len(content) < _LESS_THAN and content.startswith(_BEGINNING)

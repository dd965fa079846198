"""Computes the version of a document from its content alone. So it is equal on every node and after every restart. Pure."""

import hashlib

import orjson

# hashlib releases the interpreter lock for a piece of 2,048 bytes or more. A thread that hashes thousands of documents
# would release the lock so often, and so briefly, that the event loop wakes up each time and finds the lock taken again.
_PIECE_BYTES = 2_047


def version_of(body: bytes) -> str:
    """Return the version of a document in compact JSON with sorted keys: the first 16 hex digits of its SHA-256."""
    digest = hashlib.sha256()
    for start in range(0, len(body), _PIECE_BYTES):
        digest.update(body[start : start + _PIECE_BYTES])
    return digest.hexdigest()[:16]


def encode(document: object) -> bytes:
    """Encode a document as compact JSON with sorted keys, UTF-8. Versions are computed from this form."""
    # orjson returns its whole buffer, which may be four times as long. Many documents are kept, so the bytes are copied.
    return bytes(memoryview(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)))

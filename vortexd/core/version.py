"""The version of a document: a function of its content alone, so that it is the same on every node and after every restart. Pure."""

import hashlib

import orjson


def version_of(body: bytes) -> str:
    """The version of a document: the first 16 hex digits of SHA-256 over it as compact JSON with sorted keys."""
    return hashlib.sha256(body).hexdigest()[:16]


def encode(document: object) -> bytes:
    """A document as compact JSON with sorted keys, UTF-8: the form that versions are computed from."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)

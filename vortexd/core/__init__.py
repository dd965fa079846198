"""The nouns that every other package speaks of, and the RFC 6902 diff between two documents. Pure.

Bytes and settings arrive from elsewhere; keys, trees, configurations, patches and errors leave. This package imports no other package.
"""

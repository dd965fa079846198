"""The types that every other package uses, and the RFC 6902 diff between two documents. Pure.

Other packages pass in bytes and settings. Keys, trees, configurations, patches and errors come out. This package
imports no other package.
"""

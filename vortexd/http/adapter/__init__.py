"""Adapters: the only modules that rely on internals of Quart, Hypercorn and h2.

Quart receives request bodies. Hypercorn reads HTTP/1.1. h2 knows HTTP/2. Each class and function here says after "Relies on" which internal it uses
and why; tests/http/adapter/ has a contract test for each. pyproject.toml pins the minor versions. Nothing else in vortexd imports their internals.
"""

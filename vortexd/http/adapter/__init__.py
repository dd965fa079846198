"""Adapters: the only modules that rely on internals of Quart, Hypercorn, h11 and h2.

Quart receives request bodies. Hypercorn and h11 read HTTP/1.1 from the first request with a body on. h2 implements HTTP/2.
After "Relies on", each class and function here names the internals that it uses, and the reason. tests/http/adapter/ has
a contract test for each of them.
pyproject.toml pins the minor versions. No other module of vortexd imports their internals.
"""

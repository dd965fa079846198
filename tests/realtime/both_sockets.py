"""The implementations of `Sockets` that this machine has. Tests of all ways of writing run with each."""

import pytest

from vortexd.aio.native import load_native
from vortexd.realtime.sockets import NativeSockets, PythonSockets, Sockets

NAMES = ["python", "native"]


def made(name: str) -> Sockets:
    """Return the implementation with a name, or skip the test."""
    if name == "python":
        return PythonSockets()
    module = load_native({})
    if module is None:
        pytest.skip("vortexd-native isn't installed: packaging/native/install builds it if there is a C compiler")
    return NativeSockets(module)

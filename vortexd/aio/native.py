"""Finds vortexd-native, the optional module in C for system calls on many sockets. vortexd is whole without it."""

import importlib
import os
from collections.abc import Mapping
from types import ModuleType

# The interface of the module that this version of vortexd knows.
_INTERFACE = 2
# If this variable is "off", vortexd doesn't use the module.
VARIABLE = "VORTEXD_NATIVE"


def load_native(environment: Mapping[str, str] = os.environ) -> ModuleType | None:
    """Return the module. Returns None if it isn't installed, can't be loaded, has another interface, or is turned off."""
    if environment.get(VARIABLE) == "off":
        return None
    try:
        module = importlib.import_module("vortexd_native")
    except ImportError:
        return None
    return module if getattr(module, "INTERFACE", None) == _INTERFACE else None


def name_of(module: ModuleType | None) -> str:
    """Return the name for `--version` and the metrics of how vortexd writes to many sockets."""
    return "python" if module is None else "native"

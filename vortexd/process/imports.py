"""Imports without garbage collection. Like `early_signals`, the module imports almost nothing, so an entry point can call it first."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Collect no garbage meanwhile: imports create many objects that stay, and each collection examines all of them again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()

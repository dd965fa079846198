"""A start without garbage collection. Like `early_signals`, the module imports almost nothing, so an entry point can call it first."""

import contextlib
import gc
from collections.abc import Iterator

_is_paused = False


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Collect no garbage meanwhile, or until `freeze`.

    A start creates many objects that stay, and each collection would examine all of them again.
    """
    global _is_paused
    if not gc.isenabled():
        yield
        return
    gc.disable()
    _is_paused = True
    try:
        yield
    finally:
        _is_paused = False
        gc.enable()


def freeze() -> None:
    """End the start: all objects that exist now stay, and are never examined again. From now on, garbage is collected.

    After a start without collection, the garbage of the imports stays, too. That is a quarter of a megabyte, and its collection
    would take 20 ms.
    """
    if gc.isenabled():
        gc.collect()
    gc.freeze()
    if _is_paused:
        gc.enable()

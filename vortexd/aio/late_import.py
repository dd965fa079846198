"""Imports of libraries that few clients need. They are done when the first client needs them, in a thread, so that other clients don't wait."""

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

from . import threads

T = TypeVar("T")


class LateImport(Generic[T]):
    """An object of a module that is imported at the first use.

    Args:
        load: Imports the module, and returns the object. Called in a thread.

    Attributes:
        loaded: The object, or None before the first use.
    """

    def __init__(self, load: Callable[[], T]) -> None:
        self._load = load
        self.loaded: T | None = None
        self._loading = trio.Lock()

    async def get(self) -> T:
        """Return the object. Only the first call imports.

        Raises:
            ImportError, OSError: The import fails, for example because the process has no descriptor left. The next call tries again.
        """
        if self.loaded is None:
            async with self._loading:
                # Another task may have loaded it while this one waited.
                if self.loaded is None:
                    self.loaded = await threads.run_sync(self._load)
        return self.loaded

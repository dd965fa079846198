"""Keeps the garbage collector away from objects that live long.

A full collection examines every object of the process, and holds the interpreter lock meanwhile: a tenth of a second for
10,000 configurations. It finds nothing in them, because configurations have no cycles. So the collector pauses while many
of them are made, and afterwards they are frozen: no later collection examines them. They are still freed with their last
reference.

The configurations that they replace leave holes in the memory of the C library. It returns them to the system only if it
is asked to, so the pause ends with that, too. This takes about a millisecond.

Clients' subscriptions pause it, too, and may wait for others meanwhile. So their pauses have a longest time. Otherwise slow
subscriptions that overlap could keep the collector off for good.

Everything else that exists at that time is frozen, too. If it is part of a cycle, it isn't freed when it ends. So `run`
examines all objects once an hour, but only if some were frozen since.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import trio

# Making this many configurations, or more, pauses the collector.
MANY = 1_000
# Seconds between two examinations of all objects.
_INTERVAL = 3_600.0
# The longest pause for subscriptions, in seconds. To make 10,000 configurations takes a few.
_LONGEST = 10.0


class GarbageCollector(Protocol):
    """The functions of the module `gc` that a `Collector` calls."""

    def isenabled(self) -> bool: ...
    def enable(self) -> None: ...
    def disable(self) -> None: ...
    def freeze(self) -> None: ...
    def unfreeze(self) -> None: ...
    def collect(self) -> int: ...


def trim_memory() -> bool:
    """Return free memory of the C library to the system. Returns whether the C library can do that; glibc can."""
    try:
        # Few servers need this, and none at its start.
        import ctypes

        library = ctypes.CDLL(None)
    except (ImportError, OSError):
        # This Python has no ctypes, or the process has no descriptor left. The publication is done in any case.
        return False
    trim = getattr(library, "malloc_trim", None)
    if trim is None:
        return False
    trim(0)
    return True


class Collector:
    """Pauses the collector while many long-lived objects are made, and tidies up afterwards; see the module.

    Args:
        collector: The garbage collector.
        trim: Returns free memory to the system.
    """

    def __init__(self, collector: GarbageCollector = gc, trim: Callable[[], object] = trim_memory) -> None:
        self._collector = collector
        self._trim = trim
        # The number of `with` statements that are under way, with and without a longest time.
        self._brief = self._others = 0
        # Whether the longest time is over, although brief statements are under way.
        self._is_over = False
        # Set when the first of the brief statements begins, and when the last one ends.
        self._began, self._ended = trio.Event(), trio.Event()
        self._was_enabled = False
        self._has_frozen = False

    @property
    def _is_paused(self) -> bool:
        return self._others > 0 or (self._brief > 0 and not self._is_over)

    @contextmanager
    def paused(self, count: int = MANY) -> Iterator[None]:
        """Pause the collector, and freeze all objects at the end. Several tasks may do so at the same time.

        Args:
            count: The number of configurations that are made. If there are fewer than `MANY`, nothing happens.
        """
        if count < MANY:
            yield
            return
        self._pause()
        self._others += 1
        try:
            yield
        finally:
            self._others -= 1
            self._tidy()

    @contextmanager
    def briefly_paused(self, count: int = MANY) -> Iterator[None]:
        """Do what `paused` does, but for at most ten seconds, also if several such statements overlap. `run` ends the pause.

        Args:
            count: As in `paused`.
        """
        if count < MANY:
            yield
            return
        if self._brief == 0:
            self._pause()
            self._ended = trio.Event()
            self._began.set()
        self._brief += 1
        try:
            yield
        finally:
            self._brief -= 1
            if self._brief == 0:
                self._is_over = False
                self._began = trio.Event()
                self._ended.set()
            self._tidy()

    def _pause(self) -> None:
        if not self._is_paused:
            self._was_enabled = self._collector.isenabled()
            self._collector.disable()

    def _tidy(self) -> None:
        """Freeze all objects, unless the collector is still paused for others."""
        if not self._is_paused:
            self._resume()
            self._trim()

    def _resume(self) -> None:
        self._collector.freeze()
        self._has_frozen = True
        if self._was_enabled:
            self._collector.enable()

    async def run(self) -> None:
        """End brief pauses that take too long. Free what was frozen and has ended since, at intervals. Never returns."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_long_pauses)
            nursery.start_soon(self._free_frozen)

    async def _end_long_pauses(self) -> None:
        while True:
            await self._began.wait()
            ended = self._ended
            with trio.move_on_after(_LONGEST):
                await ended.wait()
            if not ended.is_set():
                self._is_over = True
                if not self._is_paused:
                    self._resume()
                # Until all of these statements have ended, no further one pauses the collector.
                await ended.wait()

    async def _free_frozen(self) -> None:
        while True:
            await trio.sleep(_INTERVAL)
            # While the collector is paused, the objects that are being made would be examined, too.
            if self._has_frozen and not self._is_paused:
                self._has_frozen = False
                self._collector.unfreeze()
                self._collector.collect()
                self._collector.freeze()

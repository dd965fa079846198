"""Takes locks without a pass of the event loop, if they are free.

Trio lets other tasks run whenever a task takes a lock. A caller that waits for something else anyway doesn't need that.
"""

import trio


class Held:
    """Holds a lock inside an `async with`. The order of the waiting tasks is the lock's own.

    Args:
        lock: The lock.
    """

    __slots__ = ("_lock",)

    def __init__(self, lock: trio.Lock) -> None:
        self._lock = lock

    async def __aenter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()

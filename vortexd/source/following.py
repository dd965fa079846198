"""Follows an etcd for a source: makes the engine, and makes it anew after each failure, with a pause.

A function that reads and watches arrives. It is called again whenever it can't go on. The status of the source gets each
failure.
"""

from collections.abc import Awaitable, Callable
from random import Random

import structlog
import trio

from ..cluster.engine import Compacted, Engine, EngineError
from ..cluster.etcd.access import in_thread
from .status import SourceStatus

log = structlog.get_logger()

# Seconds until the source tries again to reach etcd. The pause doubles up to the second figure.
_AGAIN, _AGAIN_AT_MOST = 1.0, 15.0
# Seconds until the connections must be closed when the source ends.
_FAREWELL = 1.0


class Following:
    """Follows an etcd; see the module.

    Args:
        name: The name of the source, for the log.
        engine: Makes the engine, in a thread. If it can't now, it raises EngineError.
        random: Makes jitter.
    """

    def __init__(self, name: str, status: SourceStatus, engine: Callable[[], Engine], random: Random) -> None:
        self._name = name
        self._status = status
        self._open = engine
        self._random = random
        self._has_begun = False

    def begun(self) -> None:
        """Record that everything was read, and a watch has begun after it. The next pause is short again."""
        self._has_begun = True

    async def run(self, follow: Callable[[Engine], Awaitable[None]]) -> None:
        """Call the function again and again. Never returns.

        Args:
            follow: Reads and watches. It never returns, and raises EngineError if it can't go on.
        """
        pause = _AGAIN
        while True:
            self._has_begun = False
            try:
                # The engine is made anew each time, so that it uses certificates that were replaced.
                engine = await in_thread(self._open)
                try:
                    await follow(engine)
                finally:
                    with trio.CancelScope(shield=True, deadline=trio.current_time() + _FAREWELL):
                        await engine.aclose()
            except Compacted as error:
                log.info("etcd is read anew", source=self._name, reason=str(error))
            except EngineError as error:
                self._status.failed(str(error))
            if self._has_begun:
                pause = _AGAIN
            await trio.sleep(pause * self._random.uniform(0.5, 1.0))
            pause = min(2 * pause, _AGAIN_AT_MOST)

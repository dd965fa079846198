"""A thread that runs Trio for programs without it: the same client, and no second one to keep right.

In come a view that other threads read, and the arguments of `watch`; out go when it has begun and when it has ended. The invariants: the thread ends
when it is told to, within the time for the closing handshake or at once; and who waits for it can stop waiting without leaving it behind.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

import trio

from ..core.model import Key
from .client_state import Ack
from .following import Options, Url, following
from .view import Failed, View

log = logging.getLogger("vortexd.client")
# Seconds until the first document: a program that waits in a thread has no scope of its own to end the wait.
START_TIMEOUT = 60.0


class Background:
    """The thread of one view.

    Args:
        make: Makes the view, with a lock.

    Attributes:
        begun: The view, or what `watch` raises.
        ended: Done when the thread is; never fails.
    """

    def __init__(
        self, make: Callable[[float], View], url: Url, app: str, profile: str, label: str | None, options: Options
    ) -> None:
        self._make = make
        self._arguments = url, app, profile, label, options
        self.begun: Future[View] = Future()
        self.ended: Future[None] = Future()
        for future in (self.begun, self.ended):
            # Who waits for it may be cancelled; what it stands for isn't by that.
            future.set_running_or_notify_cancel()
        self._stopping = threading.Lock()
        self._is_stopped = False
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._stop = trio.Event()
        # A daemon: a program that ends without leaving the block isn't held up.
        self._thread = threading.Thread(target=self._run, name="vortexd.client", daemon=True)
        self._thread.start()

    def stop(self, *, at_once: bool) -> None:
        """Have it end: with a closing handshake, or without. From any thread; `ended` says when."""
        with self._stopping:
            self._is_stopped = True
            token = self._token
        if token is not None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self._scope.cancel if at_once or not self.begun.done() else self._stop.set)

    def join(self) -> None:
        """Wait for the thread itself, which after `ended` has nothing left to do."""
        self._thread.join()

    def _run(self) -> None:
        try:
            trio.run(self._follow)
        except BaseException as error:  # it belongs to who waits, or else into the log
            if self.begun.done():
                log.exception("the configuration's thread failed")
                self.begun.result().turn(Failed("an error of this client, which is in the log"))
            else:
                self.begun.set_exception(error)
        finally:
            if not self.begun.done():
                self.begun.set_exception(trio.RunFinishedError("it was stopped before it had begun"))
            self.ended.set_result(None)

    async def _follow(self) -> None:
        token = trio.lowlevel.current_trio_token()
        with self._stopping:
            if self._is_stopped:
                return
            self._token = token

        def soon(say: Callable[[Key, Ack], None], key: Key, ack: Ack) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(say, key, ack)

        with self._scope:
            async with following(self._make, *self._arguments, soon) as view:
                self.begun.set_result(view)
                await self._stop.wait()

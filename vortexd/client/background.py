"""A thread that runs the Trio client for programs without Trio, so that there is only one client to maintain.

The caller passes a function that makes a view for several threads, and the arguments of `watch`. Two futures say when the watch has begun
and when the thread has ended. Invariants: after `stop`, the thread ends at once, or within the time for the closing handshake. A caller
that is cancelled while it waits for a future still leaves no thread behind.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

import trio

from .following import Options, Url, following
from .view import Failed, View

log = logging.getLogger("vortexd.client")
# Seconds until the first document. A program that waits in a thread has no cancel scope of its own to end the wait.
START_TIMEOUT = 60.0


class Background:
    """The thread that keeps one view up to date.

    Args:
        make: Makes the view, with a lock.

    Attributes:
        begun: Holds the view, or the exception that `watch` raises.
        ended: Done when the thread has finished; never fails.
    """

    def __init__(
        self, make: Callable[[float], View], url: Url, app: str, profile: str, label: str | None, options: Options
    ) -> None:
        self._make = make
        self._arguments = url, app, profile, label, options
        self.begun: Future[View] = Future()
        self.ended: Future[None] = Future()
        for future in (self.begun, self.ended):
            # A caller that waits for the future may be cancelled. This state keeps the cancellation from reaching the future.
            future.set_running_or_notify_cancel()
        self._stopping = threading.Lock()
        self._is_stopped = False
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._stop = trio.Event()
        # A daemon thread, so that it doesn't hold up a program that exits without leaving the block.
        self._thread = threading.Thread(target=self._run, name="vortexd.client", daemon=True)
        self._thread.start()

    def stop(self, *, at_once: bool) -> None:
        """End the thread, with or without a closing handshake. Callable from any thread; `ended` says when it is done."""
        with self._stopping:
            self._is_stopped = True
            token = self._token
        if token is not None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self._scope.cancel if at_once or not self.begun.done() else self._stop.set)

    def join(self) -> None:
        """Wait for the thread itself. After `ended`, it has nothing left to do."""
        self._thread.join()

    def _run(self) -> None:
        try:
            trio.run(self._follow)
        except BaseException as error:  # raised to the caller that waits, or else logged
            if self.begun.done():
                log.exception("the configuration's thread failed")
                self.begun.result().turn(Failed("an error in this client; see the log"))
            else:
                self.begun.set_exception(error)
        finally:
            if not self.begun.done():
                self.begun.set_exception(trio.RunFinishedError("the watch was stopped before it had begun"))
            self.ended.set_result(None)

    async def _follow(self) -> None:
        token = trio.lowlevel.current_trio_token()
        with self._stopping:
            if self._is_stopped:
                return
            self._token = token

        def soon(function: Callable[..., None], *arguments: object) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(function, *arguments)

        with self._scope:
            async with following(self._make, *self._arguments, soon) as view:
                self.begun.set_result(view)
                await self._stop.wait()

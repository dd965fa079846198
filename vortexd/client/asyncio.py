"""`watch` for programs on asyncio. A thread that runs Trio holds the connection; nothing here blocks the asyncio loop.

Cancellation works as usual in asyncio: a cancelled wait stops at once and loses no change. The thread ends whenever the block is left.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, TypeVar

from ..core.model import Key
from .background import START_TIMEOUT, Background
from .change import Change
from .following import MAX_MESSAGE_BYTES, Options, Url
from .last_known_good import LastKnownGood
from .link import Timeouts
from .streams import Connect
from .view import PATIENCE, State, View

if TYPE_CHECKING:
    from .bound import Bound, Rejection

T = TypeVar("T")


class Config(View):
    """The configuration that `watch` follows: a mapping of the nested document, and a stream of changes, as on Trio.

    Use it only on the event loop that was running when it was made.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, since: float) -> None:
        super().__init__(since, RLock())
        self._loop = loop
        self._notifier = asyncio.Event()
        self.listen(self._wake_soon)

    async def ack(self, version: str, status: str, error: str | None = None, *, key: Key | None = None) -> None:
        """Report to the server how the application handled a version, as Trio's `Config.ack` does. It doesn't wait for a server.

        Raises:
            ValueError: The status is neither "applied" nor "rejected".
        """
        self.acknowledge(version, status, error, key)

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        # No await stands between `take` and `return`, so a cancellation can't lose the change.
        while (change := self.take()) is None:
            if self.is_over:
                raise StopAsyncIteration
            await self._notifier.wait()
        return change

    async def bind(self, model: type[T], prefix: str = "") -> T:
        """Make one object of a class from the current document, as Trio's `Config.bind` does, with its arguments and exceptions."""
        from .bound import Rejection, attempt

        found = attempt(self, model, prefix)
        if isinstance(found, Rejection):
            raise (await self._located(found)).error
        return found

    @asynccontextmanager
    async def bound(
        self, model: type[T], prefix: str = "", *, apply: "Callable[[T], object] | None" = None
    ) -> "AsyncIterator[Bound[T]]":
        """Keep an object of a class up to date, as Trio's `Config.bound` does. `apply` is called on the event loop."""
        from .bound import Bound

        live = Bound(self, model, prefix, apply)
        await self._refresh(live)
        if live.error is not None:
            raise live.error
        keeping = asyncio.create_task(self._keep(live), name="vortexd.client bound")
        try:
            yield live
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])

    async def _keep(self, live: "Bound[T]") -> None:
        is_last = False
        while not is_last:
            # Both come before the view is read, so that no news is missed.
            news, is_last = self._notifier, self.is_over
            await self._refresh(live)
            if not is_last:
                await news.wait()

    async def _refresh(self, live: "Bound[T]") -> None:
        if rejection := live.refresh():
            live.reject(await self._located(rejection))

    async def _located(self, rejection: "Rejection") -> "Rejection":
        if (wanted := rejection.wanted) is None:
            return rejection
        answer: Future[bytes | None] = Future()
        answer.set_running_or_notify_cancel()
        self.explain(wanted, answer.set_result)
        try:
            body = await asyncio.wait_for(asyncio.wrap_future(answer), PATIENCE)
        except TimeoutError:
            body = None
        return rejection.located(body)

    async def states(self) -> AsyncIterator[State]:
        """Yield the current state, then each new one. A slow reader skips to the newest state. Ends when the changes end."""
        shown: State | None = None
        while True:
            while self.state == shown:
                if self.is_over:
                    return
                await self._notifier.wait()
            shown = self.state
            yield shown

    def _wake_soon(self) -> None:
        # If the loop is closed, no task is left that could wait.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._notifier.set()
        self._notifier = asyncio.Event()


@asynccontextmanager
async def watch(
    url: Url,
    app: str,
    profile: str = "default",
    label: str | None = None,
    *,
    token: str | Callable[[], str | None] | None = None,
    patterns: Iterable[str] = (),
    instance: str | None = None,
    last_known_good: str | os.PathLike[str] | LastKnownGood | None = None,
    start_timeout: float | None = START_TIMEOUT,
    ssl_context: ssl.SSLContext | None = None,
    ca_file: str | os.PathLike[str] | None = None,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    connect: Connect | None = None,
) -> AsyncIterator[Config]:
    """Follow a configuration, as `vortexd.client.watch` does and with its arguments.

    If `token` is a function, the connection's thread calls it. `start_timeout` defaults to `START_TIMEOUT`; None waits without a limit.

    Raises:
        ValueError: An argument is invalid.
        WatchFailed: There is no document to begin with.
    """
    options: Options = {
        "token": token,
        "patterns": patterns,
        "instance": instance,
        "last_known_good": last_known_good,
        "start_timeout": start_timeout,
        "ssl_context": ssl_context,
        "ca_file": ca_file,
        "max_message_bytes": max_message_bytes,
        "timeouts": timeouts,
        "connect": connect,
    }
    make = partial(Config, asyncio.get_running_loop())
    background = Background(make, url, app, profile, label, options)
    is_orderly = False
    try:
        config = await asyncio.wrap_future(background.begun)
        assert isinstance(config, Config)
        yield config
        is_orderly = True
    finally:
        background.stop(at_once=not is_orderly)
        await asyncio.wrap_future(background.ended)
        background.join()

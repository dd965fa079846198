"""`watch` for programs on asyncio. The connection lives in a thread that runs Trio; nothing here blocks the loop.

Cancellation means what it means in asyncio: who waits stops at once and has lost no change, and leaving the block, however, ends the thread.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from threading import RLock

from ..core.model import Key
from .background import START_TIMEOUT, Background
from .change import Change
from .following import MAX_MESSAGE_BYTES, Options, Url
from .last_known_good import LastKnownGood
from .link import Timeouts
from .streams import Connect
from .view import State, View


class Config(View):
    """The configuration that `watch` follows: a mapping of the nested document, and a stream of changes, as on Trio.

    To be used on the loop that it was made on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, since: float) -> None:
        super().__init__(since, RLock())
        self._loop = loop
        self._notifier = asyncio.Event()
        self.listen(self._tell)

    async def ack(self, version: str, status: str, error: str | None = None, *, key: Key | None = None) -> None:
        """Tell the server what the application did with a version, as Trio's `Config.ack`; it waits for no server.

        Raises:
            ValueError: The status is neither "applied" nor "rejected".
        """
        self.acknowledge(version, status, error, key)

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        # No wait between taking and returning: a cancellation can't lose it.
        while (change := self.take()) is None:
            if self.is_over:
                raise StopAsyncIteration
            await self._notifier.wait()
        return change

    async def states(self) -> AsyncIterator[State]:
        """Give the state and wait for each one that it turns to; who is slow gets the newest. Ends as the changes do."""
        shown: State | None = None
        while True:
            while self.state == shown:
                if self.is_over:
                    return
                await self._notifier.wait()
            shown = self.state
            yield shown

    def _tell(self) -> None:
        # Of a loop that is closed nobody waits.
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

    A function as `token` is called in the thread of the connection. `start_timeout` is `START_TIMEOUT` unless it is given; None waits as
    long as it takes.

    Raises:
        ValueError: An argument can't be one.
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

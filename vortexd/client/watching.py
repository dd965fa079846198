"""`watch`: a configuration that keeps itself up to date, for programs on Trio."""

import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager

import trio

from ..core.model import Key
from .change import Change
from .change_notifier import ChangeNotifier
from .following import MAX_MESSAGE_BYTES, Options, Url, following
from .last_known_good import LastKnownGood
from .link import Timeouts
from .streams import Connect
from .view import State, View


class Config(View):
    """The configuration that `watch` follows: a mapping of the nested document, and a stream of changes.

    `async for change in config` gives each `Change` since the `watch` was entered, until it is left or `state` is `Failed`. Who is
    slow gets one change for several. It is one stream: two loops would share it.
    """

    def __init__(self, since: float) -> None:
        super().__init__(since)
        self._notifier = ChangeNotifier(self)

    async def ack(self, version: str, status: str, error: str | None = None, *, key: Key | None = None) -> None:
        """Tell the server what the application did with a version.

        It doesn't wait for a server: it is said when there is one, and again after each reconnect.

        Args:
            status: "applied" or "rejected".
            error: Why it was rejected, in a sentence without secrets.
            key: Of which of `others`. Default: the main one.

        Raises:
            ValueError: Another status.
        """
        self.acknowledge(version, status, error, key)
        await trio.lowlevel.checkpoint()

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        # First, so that a change that was taken can't be lost to a cancellation.
        await trio.lowlevel.checkpoint()
        while (change := self.take()) is None:
            if self.is_over:
                raise StopAsyncIteration
            await self._notifier.event.wait()
        return change

    def states(self) -> "States":
        """Iterate over the state and each one that it turns to, with `async for`. Ends as the changes do."""
        return States(self, self._notifier)


class States(AsyncIterator[State]):
    """The state of a `Config` now, and each one that it turns to; who is slow gets the newest."""

    def __init__(self, config: Config, notifier: ChangeNotifier) -> None:
        self._config = config
        self._notifier = notifier
        self._shown: State | None = None

    async def __anext__(self) -> State:
        await trio.lowlevel.checkpoint()
        while self._config.state == self._shown:
            if self._config.is_over:
                raise StopAsyncIteration
            await self._notifier.event.wait()
        self._shown = self._config.state
        return self._shown


def watch(
    url: Url,
    app: str,
    profile: str = "default",
    label: str | None = None,
    *,
    token: str | Callable[[], str | None] | None = None,
    patterns: Iterable[str] = (),
    instance: str | None = None,
    last_known_good: str | os.PathLike[str] | LastKnownGood | None = None,
    start_timeout: float | None = None,
    ssl_context: ssl.SSLContext | None = None,
    ca_file: str | os.PathLike[str] | None = None,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    connect: Connect | None = None,
) -> AbstractAsyncContextManager[Config]:
    """Follow a configuration. Entering waits for its current document; then it is kept up to date until the end of the block.

    Within the block nothing that a server does raises: `config.state` says how it is, and what was known last stays.
    Errors of the block itself leave it as they are, and cancellation ends it at once.

    Args:
        url: A server (`ws://`, `wss://`, `http://`, `https://`, `unix:///path`), or several of the same configuration, taken in turn.
        app: One application, or several separated by commas.
        label: Default: the server's default label.
        token: Sent as a header. A function is asked before each attempt, and when a token is refused, until it gives another one.
        patterns: `application:profile:label` with globs: further keys, whose changes come in the same stream.
        instance: Who acknowledges; default `host:pid`. "" is a client that only watches, and isn't counted.
        last_known_good: A file that keeps the document, so that a start while every server is away begins with it, as `Stale` or `Failed`.
        start_timeout: How long to wait for the first document, in seconds. None: as long as it takes.
        ssl_context: For client certificates and the like.
        ca_file: The authorities, in PEM, that sign the server's certificate, in place of the system's.
        max_message_bytes: A server whose documents are larger is not for this client.
        connect: Opens a stream to an address, in place of TCP, TLS and Unix sockets.

    Raises:
        ValueError: An argument can't be one.
        WatchFailed: There is no document to begin with, not even in a file: each server said no, or `start_timeout` has passed.
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
    return following(Config, url, app, profile, label, options)

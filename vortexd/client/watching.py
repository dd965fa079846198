"""`watch` for programs on Trio: a configuration that keeps itself up to date."""

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

    `async for change in config` yields each `Change` since `watch` was entered, until the block ends or `state` is `Failed`. A slow
    reader gets several changes combined into one. There is only one stream: two loops would share it.
    """

    def __init__(self, since: float) -> None:
        super().__init__(since)
        self._notifier = ChangeNotifier(self)

    async def ack(self, version: str, status: str, error: str | None = None, *, key: Key | None = None) -> None:
        """Report to the server how the application handled a version.

        It doesn't wait for a server. The client sends it as soon as there is a connection, and again after each reconnect.

        Args:
            status: "applied" or "rejected".
            error: Why the application rejected the version, in a sentence without secrets.
            key: One of `others`. Default: the main key.

        Raises:
            ValueError: The status is neither "applied" nor "rejected".
        """
        self.acknowledge(version, status, error, key)
        await trio.lowlevel.checkpoint()

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        # The checkpoint comes first, so that a cancellation can't lose a change that was already taken.
        await trio.lowlevel.checkpoint()
        while (change := self.take()) is None:
            if self.is_over:
                raise StopAsyncIteration
            await self._notifier.event.wait()
        return change

    def states(self) -> "States":
        """Iterate over the current state and each new one, with `async for`. Ends when the changes end."""
        return States(self, self._notifier)


class States(AsyncIterator[State]):
    """Yields the current state of a `Config`, then each new one. A slow reader skips to the newest state."""

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
    """Follow a configuration. Entering waits for the current document. The client then keeps it up to date until the block ends.

    Inside the block, nothing that a server does raises. `config.state` describes the connection, and the last known document stays.
    Exceptions of the block itself propagate unchanged. Cancellation ends the block at once.

    Args:
        url: A server (`ws://`, `wss://`, `http://`, `https://`, `unix:///path`), or several with the same configuration, tried in turn.
        app: One application, or several separated by commas.
        label: Default: the server's default label.
        token: Sent as a header. A function is called before each attempt. After a refusal, it is called until it returns another token.
        patterns: Further keys, as `application:profile:label` with globs. Their changes come in the same stream.
        instance: The name under which this client acknowledges; default `host:pid`. A client with "" only watches, and isn't counted.
        last_known_good: A file that keeps the document. If every server is down, a start uses it, with the state `Stale` or `Failed`.
        start_timeout: How long to wait for the first document, in seconds. None: no limit.
        ssl_context: For client certificates and other TLS options.
        ca_file: The authorities, in PEM, that sign the server's certificate. They replace the system's authorities.
        max_message_bytes: If a server sends a larger message, the client doesn't return to that server.
        connect: Opens a stream to an address. It replaces TCP, TLS and Unix sockets.

    Raises:
        ValueError: An argument is invalid.
        WatchFailed: There is no document to begin with, not even in a file: every server refused, or `start_timeout` has passed.
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

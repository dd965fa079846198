"""`watch` for programs on Trio: a configuration that keeps itself up to date."""

import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import trio

from ..core.model import Key
from .change import Change
from .change_notifier import ChangeNotifier
from .following import MAX_MESSAGE_BYTES, Options, Url, following, is_cancellation
from .last_known_good import LastKnownGood
from .link import Timeouts
from .streams import Connect
from .view import PATIENCE, State, View

if TYPE_CHECKING:
    from .bound import Bound, Rejection

T = TypeVar("T")


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

    async def bind(self, model: type[T], prefix: str = "") -> T:
        """Make one object of a class of attrs, dataclasses or pydantic from the current document. Later changes don't affect it.

        Names match without regard to case, `-` and `_`. If values don't fit, the call asks the server for files and lines, for at most two seconds.

        Args:
            prefix: The path of the mapping that holds the fields. Default: the whole document.

        Raises:
            BindError: The document doesn't fit. It has all problems, with the file and line of each that the server explains.
            TypeError: The class is none of these.
            ImportError: The class is one of attrs or dataclasses, and cattrs isn't installed.
        """
        from .bound import Rejection, attempt

        found = attempt(self, model, prefix)
        await trio.lowlevel.checkpoint()
        if isinstance(found, Rejection):
            raise (await self._located(found)).error
        return found

    @asynccontextmanager
    async def bound(
        self, model: type[T], prefix: str = "", *, apply: "Callable[[T], object] | None" = None
    ) -> "AsyncIterator[Bound[T]]":
        """Keep an object of a class up to date, as `async with config.bound(Settings) as live:` with the current object in `live.value`.

        A change that binds makes a new object, and is acknowledged as applied. A change that doesn't bind leaves the last good object in place.
        It is logged, set as `live.error`, and acknowledged as rejected with the reason. The values themselves don't leave the program.

        Args:
            prefix: The path of the mapping that holds the fields. Default: the whole document.
            apply: Called with each new object before `live.value` shows it. If it raises, the version is rejected.

        Raises:
            BindError: The first document doesn't fit.
            TypeError, ImportError: As in `bind`.
        """
        from .bound import Bound

        live = Bound(self, model, prefix, apply)
        await self._refresh(live)
        if live.error is not None:
            raise live.error
        error: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep, live, name="vortexd.client bound")
                try:
                    yield live
                except BaseException as raised:  # raised again below, outside the nursery, so that no group wraps it
                    if is_cancellation(raised):
                        raise
                    error = raised
                nursery.cancel_scope.cancel()
        finally:
            if error is not None:
                raise error

    async def _keep(self, live: "Bound[T]") -> None:
        is_last = False
        while not is_last:
            # Both come before the view is read, so that no news is missed.
            news, is_last = self._notifier.event, self.is_over
            await self._refresh(live)
            if not is_last:
                await news.wait()

    async def _refresh(self, live: "Bound[T]") -> None:
        if rejection := live.refresh():
            live.reject(await self._located(rejection))

    async def _located(self, rejection: "Rejection") -> "Rejection":
        if (wanted := rejection.wanted) is None:
            return rejection
        answered, bodies = trio.Event(), []

        def done(body: bytes | None) -> None:
            bodies.append(body)
            answered.set()

        self.explain(wanted, done)
        with trio.move_on_after(PATIENCE):
            await answered.wait()
        return rejection.located(bodies[0] if bodies else None)

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

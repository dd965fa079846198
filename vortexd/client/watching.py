"""`watch`: a configuration that keeps itself up to date, for programs on Trio."""

import logging
import math
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import trio

from ..model import Key
from ..patterns import parse_pattern
from .address import headers, parse_address, subject_of
from .change import Change
from .held import Ack, Held
from .keeper import Keeper
from .last_known_good import LastKnownGood
from .link import Connect, Link, Timeouts, connector
from .replica import Replica
from .view import Stale, State, View, WatchFailed

log = logging.getLogger("vortexd.client")
MAX_MESSAGE_BYTES = 33_554_432


class Config(View):
    """The configuration that `watch` follows: a mapping of the nested document, and a stream of changes.

    `async for change in config` gives each `Change` since the `watch` was entered, until it is left or `state` is `Failed`. Who is
    slow gets one change for several. It is one stream: two loops would share it.
    """

    def __init__(self, since: float) -> None:
        super().__init__(since)
        self._event = trio.Event()
        self._link: Link | None = None

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
        if status not in ("applied", "rejected"):
            raise ValueError('the status of an ack is "applied" or "rejected"')
        key = key or self.key
        if self._link is not None and key is not None:
            self._link.acknowledge(key, Ack(version, status, error))
        await trio.lowlevel.checkpoint()

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        # First, so that a change that was taken can't be lost to a cancellation.
        await trio.lowlevel.checkpoint()
        while (change := self.take()) is None:
            if self.is_over:
                raise StopAsyncIteration
            await self.news.wait()
        return change

    def states(self) -> "States":
        """Iterate over the state and each one that it turns to, with `async for`. Ends as the changes do."""
        return States(self)

    async def wait_answer(self) -> None:
        """Wait until a server has said what there is, or all have said no."""
        while self.confirmed_at is None and isinstance(self.state, Stale):
            await self.news.wait()

    def confirm(self, now: float) -> None:
        super().confirm(now)
        self._notify()

    def turn(self, state: State) -> None:
        super().turn(state)
        self._notify()

    def change(self, change: Change, *, is_main: bool) -> None:
        super().change(change, is_main=is_main)
        self._notify()

    def end(self) -> None:
        super().end()
        self._notify()

    @property
    def news(self) -> trio.Event:
        """Is set when something becomes different; then there is another one."""
        return self._event

    def _notify(self) -> None:
        self._event.set()
        self._event = trio.Event()


class States(AsyncIterator[State]):
    """The state of a `Config` now, and each one that it turns to; who is slow gets the newest."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._shown: State | None = None

    async def __anext__(self) -> State:
        await trio.lowlevel.checkpoint()
        while self._config.state == self._shown:
            if self._config.is_over:
                raise StopAsyncIteration
            await self._config.news.wait()
        self._shown = self._config.state
        return self._shown


@asynccontextmanager
async def watch(
    url: str | Sequence[str],
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
) -> AsyncIterator[Config]:
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
    addresses = [parse_address(each) for each in ([url] if isinstance(url, str) else url)]
    if not addresses:
        raise ValueError("watch needs at least one address")
    if not callable(token):
        # Now, rather than in a task of its own.
        headers(token)
    if ssl_context is None and ca_file is not None:
        ssl_context = ssl.create_default_context(cafile=ca_file)
    subject = subject_of(app, profile, label, _myself() if instance is None else instance)
    wanted = [parse_pattern(text) for text in patterns]
    keeper = None
    saved = None
    if last_known_good is not None:
        keeper = Keeper(last_known_good, subject)
        saved = await keeper.load()
    config = Config(saved.confirmed_at if saved else time.time())
    if saved:
        config.begin(Change(saved.key, None, saved.version, saved.document))
    link = Link(
        addresses,
        subject,
        token if callable(token) else lambda: token,
        wanted,
        Held(saved.key, Replica(saved.version, saved.document)) if saved else Held(),
        config,
        has_other_tokens=callable(token),
        max_message_bytes=max_message_bytes,
        connect=connect or connector(ssl_context),
        timeouts=timeouts,
    )
    config._link = link
    error: Exception | None = None
    async with trio.open_nursery() as nursery:
        ended = trio.Event()
        nursery.start_soon(_run, link, config, keeper, ended, name="vortexd.client")
        try:
            await _begin(config, start_timeout, keeper)
            yield config
        except Exception as raised:  # noqa: BLE001 - it leaves below, not wrapped into a group of the nursery
            error = raised
        else:
            link.stop()
            with trio.move_on_after(timeouts.close):
                await ended.wait()
        nursery.cancel_scope.cancel()
    if error is not None:
        raise error


async def _run(link: Link, config: Config, keeper: Keeper | None, ended: trio.Event) -> None:
    try:
        async with trio.open_nursery() as nursery:
            if keeper is not None:
                nursery.start_soon(keeper.run, config)
            try:
                await link.run()
            finally:
                config.end()
    finally:
        ended.set()


async def _begin(config: Config, timeout: float | None, keeper: Keeper | None) -> None:
    patience = math.inf if timeout is None else timeout
    if keeper is not None and config.has_begun:
        patience = min(patience, keeper.patience)
    with trio.move_on_after(patience):
        await config.wait_answer()
    if not config.has_begun:
        raise WatchFailed(str(config.state))
    if config.confirmed_at is None:
        log.warning("beginning with the last known good configuration, version %s: %s", config.version, config.state)
    config.take_all()


def _myself() -> str:
    return f"{socket.gethostname()[:100]}:{os.getpid()}"

"""The part that all clients share: keeps a view up to date for as long as a block lasts. Trio.

`watching` offers it to programs on Trio; `background` runs it in a separate thread for all other programs.
"""

import logging
import math
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypedDict, TypeVar

import trio

from ..core.errors import InvalidName
from ..core.model import Key
from ..core.patterns import parse_pattern
from .address import Subject, headers, parse_address, subject_of
from .cache_writer import CacheWriter
from .change import Change
from .change_notifier import ChangeNotifier
from .client_state import ClientState
from .last_known_good import LastKnownGood
from .link import Link, Timeouts
from .replica import Replica
from .streams import Connect, connector
from .view import Stale, View, WatchFailed

log = logging.getLogger("vortexd.client")
MAX_MESSAGE_BYTES = 33_554_432
# Seconds without a first document until the log says why, and seconds between later reminders.
FIRST_REMINDER = 3.0
LATER_REMINDERS = 60.0
V = TypeVar("V", bound=View)
Url = str | Sequence[str]


class Options(TypedDict, total=False):
    """The keyword arguments of `watch`, which describes them."""

    token: str | Callable[[], str | None] | None
    patterns: Iterable[str]
    instance: str | None
    last_known_good: str | os.PathLike[str] | LastKnownGood | None
    start_timeout: float | None
    ssl_context: ssl.SSLContext | None
    ca_file: str | os.PathLike[str] | None
    max_message_bytes: int
    timeouts: Timeouts
    connect: Connect | None


@asynccontextmanager
async def following(
    make: Callable[[float], V],
    url: Url,
    app: str,
    profile: str,
    label: str | None,
    options: Options,
    through: Callable[..., None] | None = None,
) -> AsyncIterator[V]:
    """Follow a configuration; `watch` describes the arguments and the exceptions.

    Args:
        make: Makes the view; its argument is the time since when the view is stale.
        through: Calls a function in this thread with the given arguments, so that other threads can acknowledge and ask.
    """
    instance = options.get("instance")
    subject = subject_of(app, profile, label, _myself() if instance is None else instance)
    # Report every invalid argument before anything is opened.
    link_to = _linker(url, subject, options)
    file = options.get("last_known_good")
    cache_writer = None if file is None else CacheWriter(file, subject)
    saved = await cache_writer.load() if cache_writer else None
    view = make(saved.confirmed_at if saved else time.time())
    if saved:
        view.begin(Change(saved.key, None, saved.version, saved.document))
    notifier = ChangeNotifier(view)
    held = ClientState(saved.key, Replica(saved.version, saved.document, saved.generation)) if saved else ClientState()
    link = link_to(view, held)
    error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            ended = trio.Event()
            keep = partial(cache_writer.run, view, notifier, held) if cache_writer else None
            nursery.start_soon(_run, link, view, keep, ended, name="vortexd.client")
            ask = partial(_ask, nursery, link)
            if through is None:
                view.attach(link.acknowledge, ask)
            else:
                view.attach(partial(through, link.acknowledge), partial(through, ask))
            try:
                await _begin(view, notifier, options.get("start_timeout"), cache_writer)
                yield view
            except BaseException as raised:  # raised again below, outside the nursery, so that no group wraps it
                if is_cancellation(raised):
                    raise
                error = raised
            else:
                link.stop()
                with trio.move_on_after(options.get("timeouts", Timeouts()).close):
                    await ended.wait()
            nursery.cancel_scope.cancel()
    finally:
        # Raise the block's own error even if the nursery's exit was cancelled.
        if error is not None:
            raise error


def is_cancellation(error: BaseException) -> bool:
    """Whether the error holds a cancellation, which may belong to the scope of the nursery."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(trio.Cancelled) is not None
    return isinstance(error, trio.Cancelled | GeneratorExit)


def _linker(url: Url, subject: Subject, options: Options) -> Callable[[View, ClientState], Link]:
    addresses = [parse_address(each) for each in ([url] if isinstance(url, str) else url)]
    if not addresses:
        raise ValueError("watch needs at least one address")
    token = options.get("token")
    if not callable(token):
        headers(token)
    try:
        patterns = [parse_pattern(text) for text in options.get("patterns", ())]
    except InvalidName as error:
        raise ValueError(error.reason) from None
    context, ca_file = options.get("ssl_context"), options.get("ca_file")
    if context is None and ca_file is not None:
        context = ssl.create_default_context(cafile=ca_file)

    def link_to(view: View, held: ClientState) -> Link:
        return Link(
            addresses,
            subject,
            token if callable(token) else lambda: token,
            patterns,
            held,
            view,
            has_other_tokens=callable(token),
            max_message_bytes=options.get("max_message_bytes", MAX_MESSAGE_BYTES),
            connect=options.get("connect") or connector(context),
            timeouts=options.get("timeouts", Timeouts()),
        )

    return link_to


async def _run(link: Link, view: View, keep: Callable[[], Awaitable[None]] | None, ended: trio.Event) -> None:
    """Follow, and let `keep` keep the file of the last known good configuration up to date."""
    try:
        async with trio.open_nursery() as nursery:
            if keep is not None:
                nursery.start_soon(keep)
            try:
                await link.run()
            finally:
                view.end()
    finally:
        ended.set()


def _ask(nursery: trio.Nursery, link: Link, key: Key, wanted: str, done: Callable[[bytes | None], None]) -> None:
    """Ask the server in a task of its own; see `View.explain`."""
    try:
        nursery.start_soon(_answer, link, key, wanted, done, name="vortexd.client explain")
    except RuntimeError:
        # The nursery has ended already.
        done(None)


async def _answer(link: Link, key: Key, wanted: str, done: Callable[[bytes | None], None]) -> None:
    answer = None
    try:
        answer = await link.explain(key, wanted)
    finally:
        done(answer)


async def _begin(view: View, notifier: ChangeNotifier, timeout: float | None, cache_writer: CacheWriter | None) -> None:
    patience = math.inf if timeout is None else timeout
    if cache_writer is not None and view.has_begun:
        patience = min(patience, cache_writer.patience)
    with trio.move_on_after(patience):
        await _first_answer(view, notifier)
    if not view.has_begun:
        # No server has refused, so the timeout must have passed.
        if isinstance(view.state, Stale):
            raise WatchFailed(f"no configuration after {timeout:g} s: {view.state.reason}")
        raise WatchFailed(str(view.state))
    if view.confirmed_at is None:
        log.warning("starting with the last known good configuration, version %s: %s", view.version, view.state)
    view.take_all()


async def _first_answer(view: View, notifier: ChangeNotifier) -> None:
    """Wait until a server has confirmed a state, or all servers have refused. Until then, remind the log at intervals."""
    began = trio.current_time()
    reminder = began + FIRST_REMINDER
    while view.confirmed_at is None and isinstance(view.state, Stale):
        with trio.move_on_at(reminder) as waiting:
            await notifier.event.wait()
        if waiting.cancelled_caught:
            waited = trio.current_time() - began
            log.warning("no configuration after %.0f s, and still trying: %s", waited, view.state.reason)
            reminder += LATER_REMINDERS


def _myself() -> str:
    return f"{socket.gethostname()[:100]}:{os.getpid()}"

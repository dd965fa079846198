"""`watch` for programs without Trio or asyncio: any thread may read, wait and acknowledge."""

import os
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
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
    """The configuration that `watch` follows: a mapping of the nested document, and a stream of changes. Any thread may use it.

    If two threads wait for changes, they share one stream: each change reaches only one of them.
    """

    def __init__(self, since: float) -> None:
        self._condition = threading.Condition()
        super().__init__(since, self._condition)
        self.listen(self._wake)

    def next_change(self, timeout: float | None = None) -> Change | None:
        """Wait for the next change. Return None if `timeout` seconds pass without one, or if no more will come (`is_over`)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._condition:
            while (change := self.take()) is None and not self.is_over:
                if not self._condition.wait(None if deadline is None else deadline - time.monotonic()):
                    return self.take()
            return change

    def changes(self) -> Iterator[Change]:
        """Yield each change until the block ends or the state is `Failed`. To iterate over the names, iterate over the `Config` itself."""
        while change := self.next_change():
            yield change

    def bind(self, model: type[T], prefix: str = "") -> T:
        """Make one object of a class from the current document, as Trio's `Config.bind` does, with its arguments and exceptions."""
        from .bound import Rejection, attempt

        found = attempt(self, model, prefix)
        if isinstance(found, Rejection):
            raise self._located(found).error
        return found

    @contextmanager
    def bound(
        self, model: type[T], prefix: str = "", *, apply: "Callable[[T], object] | None" = None
    ) -> "Iterator[Bound[T]]":
        """Keep an object of a class up to date, as Trio's `Config.bound` does.

        A thread of its own calls `apply` after each change. That thread has ended when the block is left.
        """
        from .bound import Bound

        live = Bound(self, model, prefix, apply)
        self._refresh(live)
        if live.error is not None:
            raise live.error
        stop = threading.Event()
        # A daemon thread, so that it doesn't hold up a program that exits without leaving the block.
        keeping = threading.Thread(target=self._keep, args=(live, stop), name="vortexd.client bound", daemon=True)
        keeping.start()
        try:
            yield live
        finally:
            stop.set()
            self._wake()
            keeping.join()

    def _keep(self, live: "Bound[T]", stop: threading.Event) -> None:
        while not stop.is_set():
            self._refresh(live)
            with self._condition:
                while live.is_current and not stop.is_set():
                    if self.is_over:
                        return
                    self._condition.wait()

    def _refresh(self, live: "Bound[T]") -> None:
        if rejection := live.refresh():
            live.reject(self._located(rejection))

    def _located(self, rejection: "Rejection") -> "Rejection":
        if (wanted := rejection.wanted) is None:
            return rejection
        answer: Future[bytes | None] = Future()
        self.explain(wanted, answer.set_result)
        try:
            body = answer.result(PATIENCE)
        except TimeoutError:
            body = None
        return rejection.located(body)

    def states(self) -> Iterator[State]:
        """Yield the current state, then each new one. A slow reader skips to the newest state. Ends when the changes end."""
        shown: State | None = None
        while True:
            with self._condition:
                while self.state == shown and not self.is_over:
                    self._condition.wait()
                if self.state == shown:
                    return
                shown = self.state
            yield shown

    def ack(self, version: str, status: str, error: str | None = None, *, key: Key | None = None) -> None:
        """Report to the server how the application handled a version, as Trio's `Config.ack` does. It doesn't wait.

        Raises:
            ValueError: The status is neither "applied" nor "rejected".
        """
        self.acknowledge(version, status, error, key)

    def _wake(self) -> None:
        with self._condition:
            self._condition.notify_all()


@contextmanager
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
    start_timeout: float | None = START_TIMEOUT,
    ssl_context: ssl.SSLContext | None = None,
    ca_file: str | os.PathLike[str] | None = None,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    connect: Connect | None = None,
) -> Iterator[Config]:
    """Follow a configuration in a separate thread, as `vortexd.client.watch` does and with its arguments.

    The thread has ended when the block is left. If `token` is a function, that thread calls it. `start_timeout` defaults to
    `START_TIMEOUT`; None waits without a limit.

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
    background = Background(Config, url, app, profile, label, options)
    is_orderly = False
    try:
        config = background.begun.result()
        assert isinstance(config, Config)
        yield config
        is_orderly = True
    finally:
        background.stop(at_once=not is_orderly)
        background.join()

"""`watch` for programs without Trio or asyncio: any thread may read, wait and acknowledge."""

import os
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ..core.model import Key
from .background import START_TIMEOUT, Background
from .change import Change
from .following import MAX_MESSAGE_BYTES, Options, Url
from .last_known_good import LastKnownGood
from .link import Timeouts
from .streams import Connect
from .view import State, View


class Config(View):
    """The configuration that `watch` follows: a mapping of the nested document, and a stream of changes. For all threads.

    Two threads that wait for changes share one stream: each change goes to one of them.
    """

    def __init__(self, since: float) -> None:
        self._condition = threading.Condition()
        super().__init__(since, self._condition)
        self.listen(self._wake)

    def next_change(self, timeout: float | None = None) -> Change | None:
        """Wait for the next change; None after so many seconds without one, and when none comes any more (`is_over`)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._condition:
            while (change := self.take()) is None and not self.is_over:
                if not self._condition.wait(None if deadline is None else deadline - time.monotonic()):
                    return self.take()
            return change

    def changes(self) -> Iterator[Change]:
        """Wait for each change, until the end of the block or `Failed`. Iterating the configuration itself gives its names."""
        while change := self.next_change():
            yield change

    def states(self) -> Iterator[State]:
        """Give the state and wait for each one that it turns to; who is slow gets the newest. Ends as the changes do."""
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
        """Tell the server what the application did with a version, as Trio's `Config.ack`; it doesn't wait.

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
    """Follow a configuration, as `vortexd.client.watch` does and with its arguments, in a thread of its own.

    At the end of the block the thread has ended. A function as `token` is called there. `start_timeout` is `START_TIMEOUT` unless it is
    given; None waits as long as it takes.

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

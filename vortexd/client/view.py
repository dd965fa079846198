"""The application's view of a configuration: a mapping, a state, and the changes since the application last looked. Pure.

The events of all connections update it, one after another. Invariants: it shows only verified documents. However slow the application
is, each key has at most one unseen `Change`, from the version that the application saw last to the newest.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import attrs

from ..core.model import Key
from .change import Change
from .client_state import Ack

# What a state says while the server is behind.
BEHIND = "the server is behind: this state is older than the one before, and the newer one follows by itself"


@attrs.frozen
class Connected:
    """The view shows the server's current document, as of the last heartbeat.

    Attributes:
        is_behind: The server is behind, so the document is older than one that the view showed before. The newer one follows by itself.
    """

    is_behind: bool = False

    def __str__(self) -> str:
        return f"connected, but {BEHIND}" if self.is_behind else "connected"


@attrs.frozen
class Stale:
    """There is no connection. The client is trying to connect, or will try again.

    Attributes:
        since: The last time, in seconds since the epoch, at which the view was known to be current. If nothing is known, the start.
        reason: Why there is no connection, on one line.
    """

    since: float
    reason: str

    def __str__(self) -> str:
        return f"stale: {self.reason}"


@attrs.frozen
class Failed:
    """Every server has refused, and the client doesn't try again: an operator has to act."""

    reason: str

    def __str__(self) -> str:
        return f"failed: {self.reason}"


State: TypeAlias = Connected | Stale | Failed
# Asks the server to explain a key; see `View.explain`.
Ask: TypeAlias = Callable[[Key, str, Callable[[bytes | None], None]], None]
# Seconds to wait for such an answer. It comes within `explaining.DEADLINE`, unless the connection's thread has ended.
PATIENCE = 3.0


class WatchFailed(Exception):
    """There is no document to begin with: every server refused, or none answered in time."""


class View(Mapping[str, Any]):
    """The configuration of one key, and of further keys that patterns match.

    Read it like the nested document that it holds, and don't modify the document. A name may also be a path, as `database.pool.size` and
    `servers[0].host`; a key that contains dots itself takes precedence. After `watch` has ended, it keeps its content.

    Args:
        since: The current time, or the time of a saved document that the view begins with, in seconds since the epoch.
        lock: Needed if several threads use the view: held while changes are shown or taken. It must be reentrant.
    """

    def __init__(self, since: float, lock: AbstractContextManager[object] | None = None) -> None:
        self._lock = lock or nullcontext()
        self._listeners: list[Callable[[], None]] = []
        self._send_ack: Callable[[Key, Ack], None] | None = None
        self._ask: Ask | None = None
        self._main: Change | None = None
        self._others: dict[Key, Change] = {}
        self._unseen: dict[Key, Change] = {}
        self._is_over = False
        self._confirmed_at: float | None = None
        self._state: State = Stale(since, "no server has answered yet")

    @property
    def key(self) -> Key | None:
        """The watched key, as the server names it, including the label."""
        return self._main.key if self._main else None

    @property
    def version(self) -> str | None:
        """The version of the shown document. None if the server no longer has this configuration."""
        return self._main.version if self._main else None

    @property
    def document(self) -> dict[str, Any]:
        """The nested document, or an empty one if there is none. Each change makes a new object; no object is ever modified."""
        return (self._main.document if self._main else None) or {}

    @property
    def origin(self) -> Mapping[str, str] | None:
        """{commit, author, time} of this version. Only git sources set it."""
        return self._main.origin if self._main else None

    @property
    def others(self) -> dict[Key, dict[str, Any]]:
        """The documents of the keys that patterns match."""
        with self._lock:
            return {key: change.document for key, change in self._others.items() if change.document is not None}

    @property
    def state(self) -> State:
        return self._state

    @property
    def is_behind(self) -> bool:
        """Whether the connected server is behind, so that the document is older than one that the view showed before."""
        return isinstance(self._state, Connected) and self._state.is_behind

    @property
    def has_begun(self) -> bool:
        """Whether there is a document, or a server has confirmed that there is none."""
        return self._main is not None or self._confirmed_at is not None

    @property
    def confirmed_at(self) -> float | None:
        """When a server last confirmed that this is current, in seconds since the epoch. None if no server has yet."""
        return self._confirmed_at

    @property
    def is_over(self) -> bool:
        """Whether no more changes will come. Changes that weren't taken yet are still available."""
        return self._is_over or isinstance(self._state, Failed)

    def __getitem__(self, name: str) -> Any:
        document = self.document
        if name in document or not isinstance(name, str) or not ("." in name or "[" in name):
            return document[name]
        # Most programs need no paths, so the module is loaded only here.
        from .paths import find

        return find(document, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.document)

    def __len__(self) -> int:
        return len(self.document)

    def __repr__(self) -> str:
        # No values: output that is printed by accident may reach people who must not see them.
        return f"<{type(self).__name__} {self.key or ''} {self.version} {self._state}>"

    def acknowledge(self, version: str, status: str, error: str | None = None, key: Key | None = None) -> None:
        """Report to the server how the application handled a version; see the `ack` of each kind of client.

        Raises:
            ValueError: The status is neither "applied" nor "rejected".
        """
        if status not in ("applied", "rejected"):
            raise ValueError('the status of an ack must be "applied" or "rejected"')
        key = key or self.key
        if self._send_ack is not None and key is not None:
            self._send_ack(key, Ack(version, status, error))

    # For the connection, and for the tasks that wait for news.

    def listen(self, listener: Callable[[], None]) -> None:
        """Call a function after every update of the view."""
        self._listeners.append(listener)

    def attach(self, send_ack: Callable[[Key, Ack], None], ask: Ask | None = None) -> None:
        """Set the functions that send acknowledgements, and that ask the server where values come from."""
        self._send_ack, self._ask = send_ack, ask

    @property
    def current(self) -> Change | None:
        """The shown version with its document, as one object: another thread may change the view between two reads."""
        return self._main

    def explain(self, wanted: str, done: Callable[[bytes | None], None]) -> None:
        """Ask the connected server where the values at and below a flat key come from. "" asks about all keys.

        `done` is called once with the answer, in the thread of the connection. It gets None at once if there is no connection. If the
        view ends meanwhile, it may never be called.
        """
        if self._ask is None or self.key is None or self.is_over or not isinstance(self._state, Connected):
            done(None)
        else:
            self._ask(self.key, wanted, done)

    def begin(self, change: Change) -> None:
        """Set the document that the application begins with; it doesn't count as a change."""
        self._main = change

    def change(self, change: Change, *, is_main: bool) -> None:
        """Show a new document, and keep the change until the application takes it."""
        with self._lock:
            if is_main:
                self._main = change
            elif change.document is None:
                self._others.pop(change.key, None)
            else:
                self._others[change.key] = change
            before = self._unseen.pop(change.key, None)
            if step := before.followed_by(change) if before else change:
                self._unseen[change.key] = step
        self._notify()

    def confirm(self, now: float) -> None:
        """Record that a server has confirmed the shown document as current."""
        self._confirmed_at = now
        self._notify()

    def turn(self, state: State) -> None:
        """Set the state."""
        self._state = state
        self._notify()

    def end(self) -> None:
        """Mark the view as over: readers get the changes that are left, and then the end."""
        self._is_over = True
        self._notify()

    def take(self) -> Change | None:
        """Return one change that the application hasn't seen, and count it as seen. Each key has at most one."""
        with self._lock:
            return self._unseen.pop(next(iter(self._unseen))) if self._unseen else None

    def take_all(self) -> None:
        """Count all changes so far as seen, because the application begins with them."""
        with self._lock:
            self._unseen.clear()

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()

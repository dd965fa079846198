"""A configuration as an application has it: a mapping, a state, and what has changed since it last looked. Pure.

In come the events of conversations, one after the other over all connections. The invariants: what is shown was verified; and however slow the
application is, there is at most one `Change` of a key that it hasn't seen, from what it saw last to the newest.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import attrs

from ..core.model import Key
from .change import Change
from .client_state import Ack


@attrs.frozen
class Connected:
    """What is shown is what a server has, as far as the last heartbeat says."""

    def __str__(self) -> str:
        return "connected"


@attrs.frozen
class Stale:
    """There is no connection, and another attempt is under way or to come.

    Attributes:
        since: Until when what is shown is known to be what a server had, in seconds since the epoch; the beginning where nothing is known.
        reason: Why, on one line.
    """

    since: float
    reason: str

    def __str__(self) -> str:
        return f"stale: {self.reason}"


@attrs.frozen
class Failed:
    """The server said no, and this client doesn't come back: a person has to look."""

    reason: str

    def __str__(self) -> str:
        return f"failed: {self.reason}"


State: TypeAlias = Connected | Stale | Failed


class WatchFailed(Exception):
    """There is nothing to begin with: every server said no, or none answered in time."""


class View(Mapping[str, Any]):
    """The configuration of one key, and of others that patterns match.

    It is read like the nested document that it holds; nothing of it may be changed. After `watch` has ended it stays as it was.

    Args:
        since: The time, or that of what it begins with, in seconds since the epoch.
        lock: Held by who changes it and who takes changes, where these are several threads; has to be reentrant.
    """

    def __init__(self, since: float, lock: AbstractContextManager[object] | None = None) -> None:
        self._lock = lock or nullcontext()
        self._listeners: list[Callable[[], None]] = []
        self._say: Callable[[Key, Ack], None] | None = None
        self._main: Change | None = None
        self._others: dict[Key, Change] = {}
        self._unseen: dict[Key, Change] = {}
        self._is_over = False
        self._confirmed_at: float | None = None
        self._state: State = Stale(since, "no server has answered yet")

    @property
    def key(self) -> Key | None:
        """What is watched, as the server names it: with the label, too."""
        return self._main.key if self._main else None

    @property
    def version(self) -> str | None:
        """The version of what is shown; None where the server has no such configuration any more."""
        return self._main.version if self._main else None

    @property
    def document(self) -> dict[str, Any]:
        """The nested document, the empty one where there is none. A new object with each change, and never changed itself."""
        return (self._main.document if self._main else None) or {}

    @property
    def origin(self) -> Mapping[str, str] | None:
        """{commit, author, time} of who made this version, of git sources."""
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
    def has_begun(self) -> bool:
        """Whether there is a document, or a server has said that there is none."""
        return self._main is not None or self._confirmed_at is not None

    @property
    def confirmed_at(self) -> float | None:
        """When a server said last that this is current, in seconds since the epoch; None where none has yet."""
        return self._confirmed_at

    @property
    def is_over(self) -> bool:
        """Whether nothing comes any more, but for what wasn't taken yet."""
        return self._is_over or isinstance(self._state, Failed)

    def __getitem__(self, name: str) -> Any:
        return self.document[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.document)

    def __len__(self) -> int:
        return len(self.document)

    def __repr__(self) -> str:
        # Without values: what is printed by accident isn't for everybody.
        return f"<{type(self).__name__} {self.key or ''} {self.version} {self._state}>"

    def acknowledge(self, version: str, status: str, error: str | None = None, key: Key | None = None) -> None:
        """Have the server told what the application did with a version; see the `ack` of each kind of client.

        Raises:
            ValueError: The status is neither "applied" nor "rejected".
        """
        if status not in ("applied", "rejected"):
            raise ValueError('the status of an ack is "applied" or "rejected"')
        key = key or self.key
        if self._say is not None and key is not None:
            self._say(key, Ack(version, status, error))

    # For the connection, and who waits for news.

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this after everything that becomes different."""
        self._listeners.append(listener)

    def bind(self, say: Callable[[Key, Ack], None]) -> None:
        """Say acknowledgements by this."""
        self._say = say

    def begin(self, change: Change) -> None:
        """Show what the application begins with; it is no change."""
        self._main = change

    def change(self, change: Change, *, is_main: bool) -> None:
        """Show what has changed, and keep it until the application looks."""
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
        """Note that a server has said that what is shown is current."""
        self._confirmed_at = now
        self._notify()

    def turn(self, state: State) -> None:
        """Show another state."""
        self._state = state
        self._notify()

    def end(self) -> None:
        """Nothing comes any more: who waits for changes gets what is left, and then the end."""
        self._is_over = True
        self._notify()

    def take(self) -> Change | None:
        """One change that the application hasn't seen, of each key at most one; it has now."""
        with self._lock:
            return self._unseen.pop(next(iter(self._unseen))) if self._unseen else None

    def take_all(self) -> None:
        """Take everything that has come for seen: the application begins with it."""
        with self._lock:
            self._unseen.clear()

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()

"""The current configuration of each key in use, and a bounded history of what it was.

In comes a `State`; out go the `Change`s of those keys whose *effective* document became another one. Pure and synchronous.
A publication has two steps, so that the long one can run in a thread while the loop goes on serving: `stage` computes
everything from what it is given and touches nothing; `commit` puts it in force at once, and resolves only the keys that came into
use meanwhile.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs

from ..core.diff import patch_between
from ..core.errors import FormatError, ResolveError, UnknownLabel
from ..core.model import Change, Config, Key
from ..settings.sections import HistorySettings
from .state import State


@attrs.frozen(slots=True, eq=False)
class Staged:
    """A publication that is ready to be committed.

    Attributes:
        configs: For each staged key what it will be; None where its label is gone.
        changes: Those that are another document than before.
        failures: Keys that keep what they have, because their files can't be combined now.
        diff_seconds: What of the work was diffing.
    """

    state: State
    configs: Mapping[Key, Config | None]
    changes: Sequence[Change]
    failures: Mapping[Key, ResolveError]
    diff_seconds: float = 0.0

    def with_more(self, more: "Staged") -> "Staged":
        """Both, of the same state."""
        return Staged(
            self.state,
            {**self.configs, **more.configs},
            [*self.changes, *more.changes],
            {**self.failures, **more.failures},
            self.diff_seconds + more.diff_seconds,
        )


@attrs.define(slots=True, eq=False)
class _Entry:
    """A key in use, or lately in use.

    Attributes:
        history: Former versions to their bodies, oldest first.
    """

    config: Config | None
    uses: int = 0
    history: OrderedDict[str, bytes] = attrs.field(factory=OrderedDict)
    history_bytes: int = 0


class Store:
    """See the module. Not thread-safe: everything but `stage` belongs to the event loop's thread.

    Args:
        settings: The bounds of history.
    """

    def __init__(self, settings: HistorySettings) -> None:
        self._settings = settings
        self._state: State | None = None
        self._entries: dict[Key, _Entry] = {}
        # Keys nobody uses any more: a client that comes back still finds its history. Oldest first.
        self._idle: OrderedDict[Key, None] = OrderedDict()

    @property
    def state(self) -> State | None:
        """What is served, or None before the first commit."""
        return self._state

    def replace(self, settings: HistorySettings) -> None:
        """Put other bounds in force, and let go at once of what is beyond them."""
        self._settings = settings
        for entry in self._entries.values():
            self._trim(entry)
        self._trim_idle()

    # Keys in use.

    def hold(self, key: Key, resolved: Config | None = None) -> None:
        """Bring a key into use; `release` it as often. Resolves it if it wasn't in use.

        Args:
            resolved: What the state in force makes of the key, where the caller knows it already.

        Raises:
            UnknownLabel, FormatError, ResolveError: As `State.resolve`; the key is then not held.
        """
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(resolved or self._resolve(key))
        elif entry.config is None:
            entry.config = resolved or self._resolve(key)
        entry.uses += 1
        self._idle.pop(key, None)

    def expect(self, key: Key, resolved: Config | None = None) -> None:
        """Bring a key into use as `hold` does, but as it is: one that can't be resolved begins with the commit that can."""
        entry = self._entries.setdefault(key, _Entry(resolved))
        if entry.config is None:
            entry.config = resolved
        entry.uses += 1
        self._idle.pop(key, None)

    def release(self, key: Key) -> None:
        """Take back one `hold`. The key stays for clients that come back, until newer ones need the room."""
        entry = self._entries[key]
        entry.uses -= 1
        if entry.uses == 0:
            self._idle[key] = None
            self._trim_idle()

    def find(self, key: Key) -> Config | None:
        """The current configuration of a key, if it is held or was lately."""
        entry = self._entries.get(key)
        return entry.config if entry else None

    def body_of(self, key: Key, version: str) -> bytes | None:
        """The document a key had at a version, as JSON; None when it isn't known (any more)."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.config is not None and entry.config.version == version:
            return entry.config.body
        return entry.history.get(version)

    def history(self, key: Key) -> dict[str, bytes]:
        """The former versions of a key that are known, to their documents as JSON, oldest first."""
        entry = self._entries.get(key)
        return dict(entry.history) if entry else {}

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[Key]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    # Publications.

    def configs(self) -> dict[Key, Config | None]:
        """What `stage` needs to know of the keys in use."""
        return {key: entry.config for key, entry in self._entries.items()}

    def commit(self, staged: Staged) -> list[Change]:
        """Put a staged publication in force, and return all its changes.

        Keys that came into use after `configs` was called are resolved here.
        """
        self._state = staged.state
        changes = list(staged.changes)
        configs = dict(staged.configs)
        late = {key: entry.config for key, entry in self._entries.items() if key not in configs}
        if late:
            rest = stage(staged.state, late)
            changes += rest.changes
            configs |= rest.configs
        for key, config in configs.items():
            if key in self._entries:
                self._replace(self._entries[key], config)
        return [change for change in changes if change.key in self._entries]

    def _resolve(self, key: Key) -> Config:
        if self._state is None:
            raise ResolveError("no configuration has been read yet")
        return self._state.resolve(key)

    def _replace(self, entry: _Entry, config: Config | None) -> None:
        old, entry.config = entry.config, config
        if old is None or (config is not None and old.version == config.version):
            return
        if old.version in entry.history:
            entry.history_bytes -= len(entry.history.pop(old.version))
        entry.history[old.version] = old.body
        entry.history_bytes += len(old.body)
        self._trim(entry)

    def _trim(self, entry: _Entry) -> None:
        while len(entry.history) > self._settings.versions or entry.history_bytes > self._settings.bytes:
            _, body = entry.history.popitem(last=False)
            entry.history_bytes -= len(body)

    def _trim_idle(self) -> None:
        while len(self._idle) > self._settings.idle_keys:
            oldest, _ = self._idle.popitem(last=False)
            del self._entries[oldest]


def stage(state: State, configs: Mapping[Key, Config | None], clock: Callable[[], float] = lambda: 0.0) -> Staged:
    """Resolve the keys in use against a state, and diff those that became another document.

    Touches nothing but its arguments' values, so it may run in a thread.

    Args:
        clock: In seconds, for `Staged.diff_seconds`.
    """
    diff_seconds = 0.0
    staged: dict[Key, Config | None] = {}
    changes: list[Change] = []
    failures: dict[Key, ResolveError] = {}
    for key, old in configs.items():
        try:
            new = _carry_over(old, state.resolve(key))
        except UnknownLabel:
            new = None
        except FormatError:
            # The key reads a broken file without a fallback: there is nothing to serve, and nothing to take away from those who have it.
            new = old
        except ResolveError as failure:
            failures[key] = failure
            new = old
        staged[key] = new
        if (old and old.version) != (new and new.version):
            began = clock()
            changes.append(Change(key, old, new, patch_between(old, new) if old and new else None))
            diff_seconds += clock() - began
    return Staged(state, staged, changes, failures, diff_seconds)


def _carry_over(old: Config | None, new: Config) -> Config:
    """Share the old document where the new one is the same: most keys don't change, and memory counts."""
    if old is None or old.version != new.version:
        return new
    # A commit that only reformats a file is the origin of the same version from then on, and nothing is sent.
    published = old.published if old.origin == new.origin else new.published
    return attrs.evolve(new, document=old.document, body=old.body, published=published)

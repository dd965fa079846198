"""What is served, the current configuration of each key that `KeyUsage` keeps here, and a bounded history of its former versions.

In comes a `ServedState`; out go the `Change`s of those keys whose *effective* document became another one. Pure and synchronous.
A publication has two steps, so that the long one can run in a thread while the loop goes on serving. `stage` computes everything
from its arguments and changes nothing. `commit` puts the result in force at once, and resolves only the keys that came into use meanwhile.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs

from ..core.diff import patch_between
from ..core.errors import FormatError, ResolveError, UnknownLabel
from ..core.model import Change, Config, Key
from ..settings.history import HistorySettings
from .served import ServedState
from .state import State


@attrs.frozen(slots=True, eq=False)
class Staged:
    """A publication that is ready to be committed.

    Attributes:
        served: What it puts in force; the commit adds the failures to it.
        configs: For each staged key what it will be; None where its label is gone.
        changes: Those that are another document than before.
        failures: Keys that keep what they have, because their files can't be combined now.
        diff_seconds: What of the work was diffing.
    """

    served: ServedState
    configs: Mapping[Key, Config | None]
    changes: Sequence[Change]
    failures: Mapping[Key, ResolveError]
    diff_seconds: float = 0.0

    def with_more(self, more: "Staged") -> "Staged":
        """Both, of the same state."""
        return Staged(
            self.served,
            {**self.configs, **more.configs},
            [*self.changes, *more.changes],
            {**self.failures, **more.failures},
            self.diff_seconds + more.diff_seconds,
        )


@attrs.define(slots=True, eq=False)
class _Entry:
    """A key that is kept.

    Attributes:
        history: Former versions to their bodies, oldest first.
    """

    config: Config | None
    history: OrderedDict[str, bytes] = attrs.field(factory=OrderedDict)
    history_bytes: int = 0


class Store:
    """See the module. Not thread-safe: everything but `stage` belongs to the event loop's thread.

    Args:
        settings: The bounds of history.
    """

    def __init__(self, settings: HistorySettings) -> None:
        self._settings = settings
        self._served: ServedState | None = None
        self._entries: dict[Key, _Entry] = {}

    @property
    def served(self) -> ServedState | None:
        """What is served, or None before the first commit."""
        return self._served

    @property
    def state(self) -> State | None:
        """What keys are resolved from, or None before the first commit."""
        return self._served.state if self._served is not None else None

    def replace(self, settings: HistorySettings) -> None:
        """Put other bounds in force, and let go at once of what is beyond them."""
        self._settings = settings
        for entry in self._entries.values():
            self._trim(entry)

    # Keys. `KeyUsage` says which are here.

    def add(self, key: Key, resolved: Config | None = None) -> None:
        """Keep a key from now on, resolved; a key that is here and resolved stays as it is.

        Args:
            resolved: What the state in force makes of the key, where the caller knows it already.

        Raises:
            UnknownLabel, FormatError, ResolveError: As `State.resolve`; nothing has changed then.
        """
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(resolved or self._resolve(key))
        elif entry.config is None:
            entry.config = resolved or self._resolve(key)

    def expect(self, key: Key, resolved: Config | None = None) -> None:
        """Keep a key from now on, resolved or not: a key that can't be resolved begins with the commit that can."""
        entry = self._entries.setdefault(key, _Entry(resolved))
        if entry.config is None:
            entry.config = resolved

    def drop(self, key: Key) -> None:
        """Forget a key and its history."""
        del self._entries[key]

    def find(self, key: Key) -> Config | None:
        """The current configuration of a key that is kept, if it could be resolved."""
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
        """The keys that are kept, and what is served of each, for `stage`."""
        return {key: entry.config for key, entry in self._entries.items()}

    def commit(self, staged: Staged) -> list[Change]:
        """Put a staged publication in force, and return all its changes.

        Keys that were added after `configs` was called are resolved here.
        """
        late = {key: entry.config for key, entry in self._entries.items() if key not in staged.configs}
        if late:
            staged = staged.with_more(stage(staged.served, late))
        failures = {key: str(failure) for key, failure in staged.failures.items()}
        self._served = attrs.evolve(staged.served, failures=failures)
        for key, config in staged.configs.items():
            if key in self._entries:
                self._replace(self._entries[key], config)
        return [change for change in staged.changes if change.key in self._entries]

    def _resolve(self, key: Key) -> Config:
        if self._served is None:
            raise ResolveError("no configuration has been read yet")
        return self._served.state.resolve(key)

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


def stage(
    served: ServedState, configs: Mapping[Key, Config | None], clock: Callable[[], float] = lambda: 0.0
) -> Staged:
    """Resolve the keys in use against what is to be served, and diff those that became another document.

    Changes nothing, so it may run in a thread.

    Args:
        configs: The keys, and what is served of each now.
        clock: In seconds, for `Staged.diff_seconds`.
    """
    diff_seconds = 0.0
    staged: dict[Key, Config | None] = {}
    changes: list[Change] = []
    failures: dict[Key, ResolveError] = {}
    for key, old in configs.items():
        try:
            new = _carry_over(old, served.state.resolve(key))
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
    return Staged(served, staged, changes, failures, diff_seconds)


def _carry_over(old: Config | None, new: Config) -> Config:
    """Share the old document where the new one is the same: most keys don't change, and memory counts."""
    if old is None or old.version != new.version:
        return new
    # A commit that only reformats a file is the origin of the same version from then on, and nothing is sent.
    published = old.published if old.origin == new.origin else new.published
    return attrs.evolve(new, document=old.document, body=old.body, published=published)

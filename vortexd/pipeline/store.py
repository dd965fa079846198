"""Holds the served state, and the configuration and bounded history of each key that `KeyUsage` keeps here.

A `ServedState` arrives. `Change`s leave for the keys whose *effective* document has changed. Pure and synchronous. A
publication has two steps, so that the long one can run in a thread while the event loop serves clients. `stage`
computes everything from its arguments and changes nothing. `commit` puts the result in force at once. It resolves only
the keys that came into use meanwhile.

A commit that visits each of 10,000 keys holds the event loop for 15 ms. So `commit` only notes the staged configurations
as *pending*. The store applies a pending configuration before it uses the key, and `apply` and the next publication apply
the rest. The invariant: no caller can see whether a configuration is pending.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import attrs

from ..core.candidate import CandidateKey
from ..core.errors import FormatError, ResolveError, UnknownLabel
from ..core.model import Change, Config, Key
from ..resolve.alterations import Alterations
from ..resolve.parts import Difference
from ..settings.history import HistorySettings
from .dependencies import Dependencies
from .resolution import Resolution
from .served import ServedState
from .state import State

# Applying this many configurations takes about a millisecond.
_APPLIED_AT_ONCE = 512


@attrs.frozen(slots=True, eq=False)
class Staged:
    """A publication that is ready to be committed.

    Attributes:
        served: The state that the commit puts in force. The commit adds the failures to it.
        configs: The new configuration of each staged key; None if its label is gone.
        changes: The changes of the keys whose document has changed.
        failures: The keys that keep their old configuration, because their files can't be combined now.
        diff_seconds: The part of the time that was spent on diffs, in seconds.
        kept: The staged keys that keep an old configuration which isn't the one of this state.
        is_withheld: The argument of `stage`, for keys that are still late at the commit.
    """

    served: ServedState
    configs: Mapping[Key, Config | None]
    changes: Sequence[Change]
    failures: Mapping[Key, ResolveError]
    diff_seconds: float = 0.0
    kept: frozenset[Key] = frozenset()
    is_withheld: Callable[[Key], bool] | None = None

    def only(self, keys: Collection[Key]) -> "Staged":
        """Return the result for some of the keys."""
        return attrs.evolve(
            self,
            configs={key: config for key, config in self.configs.items() if key in keys},
            changes=[change for change in self.changes if change.key in keys],
            failures={key: failure for key, failure in self.failures.items() if key in keys},
            kept=frozenset(key for key in self.kept if key in keys),
        )

    def with_more(self, more: "Staged") -> "Staged":
        """Combine two results that were staged from the same state."""
        return Staged(
            self.served,
            {**self.configs, **more.configs},
            [*self.changes, *more.changes],
            {**self.failures, **more.failures},
            self.diff_seconds + more.diff_seconds,
            self.kept | more.kept,
            self.is_withheld,
        )


@attrs.define(slots=True, eq=False)
class _Entry:
    """A key that the store keeps.

    Attributes:
        history: The bodies of former versions by version, in pieces, oldest first.
        revision_at: The number of the commit at which the configuration was last given its revision.
        note: See `Store.note`.
    """

    config: Config | None
    history: dict[str, tuple[bytes, ...]] = attrs.field(factory=dict)
    history_bytes: int = 0
    revision_at: int = -1
    note: object = None

    def remember(self, old: Config, settings: HistorySettings) -> None:
        """Add a former configuration to the history, as the newest."""
        history, version = self.history, old.version
        if version in history:
            self.history_bytes -= sum(map(len, history.pop(version)))
        history[version] = old.pieces
        self.history_bytes += old.size
        if self.history_bytes > settings.bytes or len(history) > settings.versions:
            self.trim(settings)

    def has_room(self, settings: HistorySettings) -> bool:
        """Return whether the history may take an older configuration, if it is small enough."""
        return len(self.history) < settings.versions and self.history_bytes < settings.bytes

    def recall(self, old: Config, settings: HistorySettings) -> None:
        """Add a former configuration to the history, as the oldest, if there is room for it."""
        if len(self.history) < settings.versions and self.history_bytes + old.size <= settings.bytes:
            self.history = {old.version: old.pieces, **self.history}
            self.history_bytes += old.size

    def trim(self, settings: HistorySettings) -> None:
        """Drop the oldest former versions beyond the limits."""
        while len(self.history) > settings.versions or self.history_bytes > settings.bytes:
            self.history_bytes -= sum(map(len, self.history.pop(next(iter(self.history)))))


class Store:
    """Holds the served state and the configurations of keys; see the module.

    Not thread-safe: only the event loop's thread may use it. `stage` may run in other threads.

    Args:
        settings: The limits of the history.
    """

    def __init__(self, settings: HistorySettings) -> None:
        self._settings = settings
        self._served: ServedState | None = None
        self._entries: dict[Key, _Entry] = {}
        # The keys whose configuration is the one of the served state. All others are staged each time.
        self._dependencies = Dependencies()
        self._unsettled: dict[Key, None] = {}
        # The configurations of the last commit that aren't applied yet, and which of them are kept; see `Staged.kept`.
        self._pending: dict[Key, Config | None] = {}
        self._kept: frozenset[Key] = frozenset()
        # The keys that were resolved from the served state since a publication began to be staged, and whether a key was
        # dropped since then.
        self._late: dict[Key, None] = {}
        self._has_dropped = False
        self._commits = 0
        self._candidates: set[Key] = set()

    @property
    def served(self) -> ServedState | None:
        """The served state, or None before the first commit."""
        return self._served

    @property
    def state(self) -> State | None:
        """The state that keys are resolved from, or None before the first commit."""
        return self._served.state if self._served is not None else None

    def replace(self, settings: HistorySettings) -> None:
        """Put other limits in force, and drop the former versions beyond them at once."""
        self._apply_all()
        self._settings = settings
        for entry in self._entries.values():
            entry.trim(settings)

    # Keys. `KeyUsage` decides which keys the store keeps.

    def add(self, key: Key, resolved: Config | None = None) -> None:
        """Resolve a key and keep it from now on. If the store has it resolved already, nothing changes.

        Args:
            resolved: The key's configuration in the current state, if the caller has it already.

        Raises:
            UnknownLabel, FormatError, ResolveError: As in `State.resolve`. Then nothing has changed.
        """
        if self.find(key) is None:
            self._put(key, resolved or self._resolve(key))

    def expect(self, key: Key, resolved: Config | None = None) -> None:
        """Keep a key from now on, resolved or not.

        If it can't be resolved now, it begins with the first commit that resolves it.
        """
        if self.find(key) is None:
            self._put(key, resolved)

    def _put(self, key: Key, config: Config | None) -> None:
        """Keep a key with its configuration in the served state."""
        self._entries.setdefault(key, _Entry(None)).config = config
        if isinstance(key, CandidateKey):
            self._candidates.add(key)
        self._late[key] = None
        self._settle(key, config)

    def _settle(self, key: Key, config: Config | None) -> None:
        """Note whether a configuration is the one of the served state. If it isn't, it is None."""
        if config is None:
            self._dependencies.discard(key)
            self._unsettled[key] = None
        else:
            self._dependencies.put(config)
            self._unsettled.pop(key, None)

    def drop(self, key: Key) -> None:
        """Forget a key and its history."""
        self._has_dropped = True
        del self._entries[key]
        self._candidates.discard(key)
        self._dependencies.discard(key)
        self._unsettled.pop(key, None)
        self._late.pop(key, None)

    def find(self, key: Key) -> Config | None:
        """Return the current configuration of a key that the store keeps, or None if it isn't resolved."""
        entry = self._entry(key)
        if entry is None or entry.config is None:
            return None
        if entry.revision_at != self._commits:
            # A new commit revises each key, so `commit` would have to visit all of them.
            entry.revision_at = self._commits
            if self._served is not None and key not in self._unsettled:
                entry.config = self._served.state.revised(entry.config)
        return entry.config

    def body_of(self, key: Key, version: str) -> bytes | None:
        """Return the document that a key had at a version, as JSON; None if it isn't known (any more)."""
        entry = self._entry(key)
        if entry is None:
            return None
        if entry.config is not None and entry.config.version == version:
            return entry.config.body
        pieces = entry.history.get(version)
        return b"".join(pieces) if pieces is not None else None

    def knows(self, key: Key, version: str) -> bool:
        """Return whether `body_of` knows a version of a key."""
        entry = self._entry(key)
        return entry is not None and (
            version in entry.history or (entry.config is not None and entry.config.version == version)
        )

    def history(self, key: Key) -> dict[str, bytes]:
        """Return the known former versions of a key, with their documents as JSON, oldest first."""
        entry = self._entry(key)
        return {version: b"".join(pieces) for version, pieces in entry.history.items()} if entry else {}

    def has_room(self, key: Key) -> bool:
        """Return whether the history of a key may take an older configuration."""
        entry = self._entry(key)
        return entry is not None and entry.has_room(self._settings)

    def recall(self, old: Config) -> None:
        """Add a former configuration to the history of its key, as the oldest.

        If the version is known, the key isn't kept, or there is no room for it, nothing happens.
        """
        entry = self._entry(old.key)
        if entry is not None and not self.knows(old.key, old.version):
            entry.recall(old, self._settings)

    def remember(self, config: Config) -> None:
        """Add a configuration that isn't the current one to the history of its key, as the newest former version.

        If the key isn't kept, nothing happens.
        """
        entry = self._entry(config.key)
        if entry is not None and (entry.config is None or entry.config.version != config.version):
            entry.remember(config, self._settings)

    def note(self, key: Key, note: object) -> None:
        """Keep an object for another part, in place of the last one, for as long as the store keeps the key."""
        if (entry := self._entries.get(key)) is not None:
            entry.note = note

    def note_of(self, key: Key) -> object:
        """Return the object that `note` has kept for a key, or None."""
        entry = self._entries.get(key)
        return entry.note if entry is not None else None

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[Key]:
        """Iterate over the keys that clients know. Candidates of roll-outs aren't among them."""
        if self._candidates:
            return (key for key in tuple(self._entries) if key not in self._candidates)
        return iter(self._entries)

    def __len__(self) -> int:
        """The number of all keys, including candidates."""
        return len(self._entries)

    # Publications, one at a time: `configs` or `affected`, then `stage`, and `commit`.

    def configs(self) -> dict[Key, Config | None]:
        """Return all keys that the store keeps with their current configurations, for `stage`.

        Keys that are added from now on are late.
        """
        self._begin()
        return {key: entry.config for key, entry in self._entries.items()}

    def affected(self, found: Alterations) -> dict[Key, Config | None]:
        """Return the keys that alterations of the served state can change, with their current configurations.

        Keys that are added from now on are late.
        """
        self._begin()
        altered = self._dependencies.altered(found) | self._unsettled.keys()
        if len(altered) <= 1:
            return self._configs(altered)
        # The changes go out in the order in which the keys came.
        is_all = len(altered) == len(self._entries)
        return {key: entry.config for key, entry in self._entries.items() if is_all or key in altered}

    def _begin(self) -> None:
        """Note that a publication begins to be staged."""
        self._apply_all()
        self._late, self._has_dropped = {}, False

    @property
    def unsettled(self) -> frozenset[Key]:
        """The keys whose configuration isn't the one of the served state."""
        self._apply_all()
        return frozenset(self._unsettled)

    def late(self, staged: Staged) -> dict[Key, Config | None]:
        """Return the keys that were added since `configs` or `affected` and that aren't staged yet."""
        return self._configs(key for key in self._late if key not in staged.configs)

    def commit(self, staged: Staged) -> list[Change]:
        """Put a staged publication in force, and return all its changes.

        This also resolves the keys that are still late.
        """
        if late := self.late(staged):
            staged = staged.with_more(stage(staged.served, late, is_withheld=staged.is_withheld))
        failures = {key: str(failure) for key, failure in staged.failures.items()}
        self._served = attrs.evolve(staged.served, failures=failures)
        self._commits += 1
        self._pending, self._kept = dict(staged.configs), staged.kept
        if len(self._pending) <= _APPLIED_AT_ONCE:
            self._apply_all()
        # The store may lack a key that was dropped since, and a key that it didn't keep before. It has all others.
        may_lack, entries = self._has_dropped, self._entries
        return [each for each in staged.changes if (each.old is not None and not may_lack) or each.key in entries]

    def apply(self) -> bool:
        """Apply some of the pending configurations, and return whether there are more.

        This does nothing that the store wouldn't do later. Each call takes a bounded time.
        """
        self._apply_some(_APPLIED_AT_ONCE)
        return bool(self._pending)

    def _apply_all(self) -> None:
        self._apply_some(len(self._pending))

    def _apply_some(self, most: int) -> None:
        for _ in range(min(most, len(self._pending))):
            self._apply(*self._pending.popitem())
        if not self._pending:
            # An empty dictionary keeps the memory of its former entries.
            self._pending.clear()

    def _apply(self, key: Key, config: Config | None) -> None:
        """Give a key the configuration that the last commit brought, unless the store no longer keeps the key."""
        entry = self._entries.get(key)
        if entry is None:
            return
        old, entry.config = entry.config, config
        if old is not None and (config is None or old.version != config.version):
            entry.remember(old, self._settings)
        if key in self._kept:
            self._settle(key, None)
        elif config is None or old is None or config.reads is not old.reads:
            # All other keys read the same files as before, and were settled before.
            self._settle(key, config)

    def _entry(self, key: Key) -> _Entry | None:
        """Return what the store keeps of a key after the last commit, or None if it doesn't keep the key."""
        if self._pending and key in self._pending:
            self._apply(key, self._pending.pop(key))
        return self._entries.get(key)

    def _configs(self, keys: Iterable[Key]) -> dict[Key, Config | None]:
        self._apply_all()
        return {key: self._entries[key].config for key in keys}

    def _resolve(self, key: Key) -> Config:
        if self._served is None:
            raise ResolveError("no configuration has been read yet")
        return self._served.state.resolve(key)


def stage(
    served: ServedState,
    configs: Mapping[Key, Config | None],
    clock: Callable[[], float] = lambda: 0.0,
    before: State | None = None,
    unsettled: Collection[Key] = (),
    is_withheld: Callable[[Key], bool] | None = None,
) -> Staged:
    """Resolve keys from the new state, and diff those whose document changes.

    Changes nothing, so it may run in a thread.

    Args:
        configs: The keys, with their current configurations.
        clock: A clock in seconds, for `Staged.diff_seconds`.
        before: The served state that the configurations are from, or None if that isn't known.
        unsettled: The keys whose configuration is from an earlier state.
        is_withheld: Returns whether a key keeps its configuration for now, because the gate hasn't judged another one.
    """
    diff_seconds = 0.0
    staged: dict[Key, Config | None] = {}
    changes: list[Change] = []
    failures: dict[Key, ResolveError] = {}
    kept: set[Key] = set()
    resolution = Resolution(served.state, before)
    for key, old in configs.items():
        difference: Difference | None = None
        try:
            if is_withheld is not None and is_withheld(key):
                raise ResolveError("the gate hasn't judged its new configuration yet")
            resolved, difference = resolution.resolve(key, old, is_current=key not in unsettled)
            new: Config | None = _carry_over(old, resolved)
        except UnknownLabel:
            new = None
        except FormatError:
            # The key reads a broken file without a fallback. There is nothing new to serve, and subscribers keep the
            # old configuration.
            new = old
            kept.add(key)
        except ResolveError as failure:
            failures[key] = failure
            new = old
            kept.add(key)
        staged[key] = new
        if (old and old.version) != (new and new.version):
            began = clock()
            changes.append(Change(key, old, new, resolution.patch(old, new, difference) if old and new else None))
            diff_seconds += clock() - began
    return Staged(served, staged, changes, failures, diff_seconds, frozenset(kept), is_withheld)


def _carry_over(old: Config | None, new: Config) -> Config:
    """Share the old document if the new one is the same. Most keys don't change, so this saves memory."""
    if old is None or old.version != new.version:
        return new
    # If a commit only reformats a file, the version stays the same and nothing is sent. The commit becomes its origin.
    published = old.published if old.origin == new.origin else new.published
    return attrs.evolve(new, body=old.pieces, published=published)

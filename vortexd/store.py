"""The current configuration of each key in use, and a bounded history of what it was.

In comes a `ParsedTree`; out go the `Change`s of those keys whose *effective* document became another one. Pure and synchronous.
A publication has two steps, so that the long one can run in a thread while the loop goes on serving: `stage` computes
everything from what it is given and touches nothing; `commit` puts it in force at once, and resolves only the keys that came into
use meanwhile.

The invariant: what is served is always the whole, sound state of some moment. A broken file holds the applications it touches at
the newest state in which none of their files was broken; the others move on.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs
import orjson

from .diff import patch_between
from .encryption.decryptor import Decryptor
from .errors import FormatError, ResolveError, UnknownLabel
from .model import OVERRIDES, Change, Config, Key, PropertySource
from .resolve.explain import Explanation, explain
from .resolve.labels import layers_of
from .resolve.nest import effective_document
from .resolve.spring import property_sources
from .resolve.tree import ParsedFiles, ParsedTree
from .settings import HistorySettings

_SHARED = "application"
# Pairs of a source and an application.
_Blocked: TypeAlias = frozenset[tuple[str, str]]
# Files that break and heal in turn may need one generation for each set of applications; nobody's habits need more than a few.
_MAX_GENERATIONS = 32


def version_of(body: bytes) -> str:
    """The version of a document: the first 16 hex digits of SHA-256 over it as compact JSON with sorted keys."""
    return hashlib.sha256(body).hexdigest()[:16]


def encode(document: object) -> bytes:
    """A document as compact JSON with sorted keys, UTF-8: the form that versions are computed from."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


@attrs.frozen(slots=True, eq=False)
class Generation:
    """One label at one moment.

    Attributes:
        blocked: For each source (by the root of its files) the applications that can't be resolved from it, for one of their files there
            is broken; "application" is everybody who is served from that source.
    """

    files: ParsedFiles
    blocked: _Blocked

    def blocks(self, key: Key) -> bool:
        if not self.blocked:
            return False
        names = (_SHARED, *key.applications)
        return any((layer.files.root, name) in self.blocked for layer in self.files.layers_for(key) for name in names)


@attrs.frozen(slots=True, eq=False)
class State:
    """Everything served at one moment.

    Attributes:
        labels: For each label its generations, newest first, as far back as a broken file needs.
        decryptor: Opens what is encrypted; None where it is served as it is.
        overrides: What goes over all that the sources have, or None. Nothing in it is decrypted, as in Spring.
    """

    labels: Mapping[str, tuple[Generation, ...]]
    default_label: str
    decryptor: Decryptor | None = None
    overrides: PropertySource | None = None

    def resolve(self, key: Key) -> Config:
        """Resolve a key from the newest sound generation of its label, or of each of its labels.

        Raises:
            UnknownLabel: There is no such label.
            FormatError: A file is broken, and has been since the start.
            ResolveError: The files can't be combined.
        """
        labels = self._labels(key)
        sources = property_sources(layers_of(labels), key)
        if self.decryptor is not None:
            sources = self.decryptor.opened(sources)
        if self.overrides is not None:
            sources = (self.overrides, *sources)
        return _config(key, sources, labels)

    def explain(self, key: Key) -> tuple[Explanation, str]:
        """Explain what `resolve` makes of a key, and give its version.

        Raises:
            UnknownLabel, FormatError, ResolveError: As `resolve`.
        """
        explanation = explain(list(layers_of(self._labels(key))), key, self.decryptor, self.overrides)
        return explanation, version_of(encode(effective_document(explanation.served)))

    def fault_of(self, key: Key) -> FormatError | None:
        """What is broken now of what serves a key, so that it is served as it was; None where nothing is."""
        for label in key.labels:
            newest = self._generations(label)[0]
            if newest.blocks(key):
                return self._fault(key, newest)
        return None

    def newest(self, key: Key) -> list[ParsedFiles]:
        """The layers that serve a key as they are now, the strongest first, whatever is broken in them.

        Raises:
            UnknownLabel: There is no such label.
        """
        return list(layers_of([list(self._generations(label)[0].files.layers_for(key)) for label in key.labels]))

    def _labels(self, key: Key) -> list[list[ParsedFiles]]:
        """The sound layers of each label of a key, the strongest first."""
        return [list(self._sound(key, label).layers_for(key)) for label in key.labels]

    def _generations(self, label: str) -> tuple[Generation, ...]:
        generations = self.labels.get(label)
        if generations is None:
            raise UnknownLabel("no such label")
        return generations

    def _sound(self, key: Key, label: str) -> ParsedFiles:
        generations = self._generations(label)
        for generation in generations:
            if not generation.blocks(key):
                return generation.files
        raise self._fault(key, generations[0])

    def _fault(self, key: Key, generation: Generation) -> FormatError:
        names = {_SHARED, *key.applications}
        layers = generation.files.layers_for(key)
        return next(error for layer in layers for touched, error in layer.own_faults() if names & touched)


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


def overrides_of(overrides: Mapping[str, str]) -> PropertySource | None:
    """[overrides] as the strongest property source; None where there are none.

    A backslash before `{` or `${` has kept somebody on the way from resolving it, and goes, as it does in Spring.
    """
    values = {key: value.replace("\\{", "{").replace("\\${", "${") for key, value in overrides.items()}
    return PropertySource(OVERRIDES, values, {}) if values else None


def next_state(
    parsed: ParsedTree,
    before: State | None,
    decryptor: Decryptor | None = None,
    overrides: PropertySource | None = None,
) -> State:
    """The state that a newly parsed tree makes, with the former generations that broken files still need.

    Args:
        decryptor: As `State.decryptor`.
        overrides: As `State.overrides`; always the same.
    """
    labels = {}
    for label, files in parsed.labels.items():
        former = before.labels.get(label, ()) if before else ()
        if former and former[0].files is files:
            labels[label] = former
            continue
        blocked = _blocked(files)
        labels[label] = (Generation(files, blocked), *_needed(former, blocked))
    return State(labels, parsed.default_label, decryptor, overrides)


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
            # Broken since its label began: there is nothing to serve, and nothing to take away from those who have it.
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
    # The commit with which this version came, not the last one: frames of a version are made once.
    return attrs.evolve(new, document=old.document, body=old.body, origin=old.origin)


def _blocked(files: ParsedFiles) -> _Blocked:
    return frozenset(
        (layer.files.root, name) for layer in files.layers for touched, _ in layer.own_faults() for name in touched
    )


def _needed(former: Sequence[Generation], blocked: _Blocked) -> Iterator[Generation]:
    """Those former generations from which somebody is still served, newest first.

    A generation is needed where each newer one blocks an application that it doesn't, for then it is the newest that is
    sound for all the applications which it doesn't block: a key may have several. However long a file stays broken, no two
    generations with the same blocked applications stay; and beyond a bound only those that a single application needs.
    """
    newer = [blocked]
    for generation in former:
        if any(_covers(generation.blocked, other) for other in newer):
            continue
        if len(newer) >= _MAX_GENERATIONS and _covers(generation.blocked, blocked):
            continue
        yield generation
        newer.append(generation.blocked)
        blocked = _intersection(blocked, generation.blocked)


def _covers(one: _Blocked, other: _Blocked) -> bool:
    """Whether whoever is blocked by `other` is blocked by `one`; `application` stands for everybody of a source."""
    return all(_has(one, each) for each in other)


def _intersection(one: _Blocked, other: _Blocked) -> _Blocked:
    """Who is blocked by both."""
    return frozenset(each for each in one if _has(other, each)) | frozenset(each for each in other if _has(one, each))


def _has(blocked: _Blocked, each: tuple[str, str]) -> bool:
    return each in blocked or (each[0], _SHARED) in blocked


def _config(key: Key, sources: tuple[PropertySource, ...], labels: Sequence[Sequence[ParsedFiles]]) -> Config:
    document = effective_document(sources)
    body = encode(document)
    revisions = [next((layer.files.revision for layer in layers), None) for layers in labels]
    revision = ",".join(each for each in revisions if each) or None
    # Of several sources the one that has changed last is the one that people ask about.
    origins = [layer.files.origin for layers in labels for layer in layers if layer.files.origin]
    origin = max(origins, key=lambda each: each.time, default=None)
    return Config(key, version_of(body), document, body, sources, revision, origin)

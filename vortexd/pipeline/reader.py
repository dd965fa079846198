"""What is served now, for those who ask once: configurations of any key, plain files, explanations, and what is known of names.

In come questions, and each new state with the listing that belongs to it; out go answers from the state in force. Long work runs in threads over
immutable values. The invariant: an answer is of one state, and what is kept of answers is bounded and goes with its state, for names come from
the network.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import attrs
import structlog
import trio

from ..aio import threads
from ..core.cache import Cache
from ..core.errors import FormatError, ResolveError, UnknownLabel
from ..core.model import BrokenFile, Config, Files, HeldBack, Key, Names, Tree
from ..encryption.decryptor import Decryptor
from ..resolve.explain import Explanation
from ..resolve.listing import Listing
from ..resolve.tree import ParsedFiles, ParsedTree, broken_files, parse_tree
from ..settings.sections import FormatSettings
from .state import State
from .store import Store

log = structlog.get_logger()
T = TypeVar("T")

# Labels that are looked at for those that a client may be told of.
_MOST_LABELS = 100
# Configurations that were read and that no connection holds.
_CACHE_KEYS = 1_024
_CACHE_BYTES = 67_108_864
# Commits before those that are served whose files are held.
_FORMER = 4


# Of the keys that a broken file holds back, so many are named.
SHOWN_KEYS = 20


class ConfigReader:
    """See the module.

    Args:
        store: The state, and the keys in use.
        formats: The bounds of parsing.
        limiter: Of the threads for this work.
    """

    def __init__(self, store: Store, formats: FormatSettings, limiter: trio.CapacityLimiter) -> None:
        self.formats = formats
        self._store = store
        self._threads = limiter
        # An explanation takes many times as long as a configuration; nobody who wants one of those waits behind it.
        self._explaining = trio.CapacityLimiter(1)
        self._listing: Listing | None = None
        self._failing: Mapping[Key, str] = {}
        self._held_back: tuple[State, Sequence[HeldBack]] | None = None
        self._cache: Cache[Key, Config] = Cache(_CACHE_BYTES, _CACHE_KEYS)
        # What the commits before those that are served hold, by root and commit; read one after the other.
        self._former: dict[tuple[str, str], Files | None] = {}
        self._reading_former = trio.CapacityLimiter(1)
        self._flight = threads.SingleFlight()
        # How a label is brought in that sources have and that nobody has asked for yet: returns whether it may be there now.
        self.load_label: Callable[[str], Awaitable[bool]] | None = None
        # How what the commit before one holds is read, of the git source with a root; None where there is none.
        self.load_before: Callable[[str, str], Awaitable[Files | None]] | None = None

    def renew(self, listing: Listing | None, failing: Mapping[Key, str]) -> None:
        """Let go of the former state.

        Args:
            listing: What exists in the one in force.
            failing: The keys that keep what they had, and why.
        """
        self._listing = listing
        self._failing = failing
        self._cache.clear()
        self._former.clear()

    @property
    def state(self) -> State | None:
        """What is served now; None until the first complete state is."""
        return self._store.state

    @property
    def default_label(self) -> str | None:
        """The label of a request that names none; None until the first complete state is served."""
        return self._store.state.default_label if self._store.state else None

    @property
    def decryptor(self) -> Decryptor | None:
        """What opens encrypted values in what is served now; None where nothing is opened."""
        return self._store.state.decryptor if self._store.state else None

    async def read(self, key: Key) -> Config:
        """The current configuration of a key.

        Raises:
            UnknownLabel: There is no such label, or nothing has been read yet.
            FormatError, ResolveError: It can't be resolved, and never could since the start.
        """
        while True:
            config = self._store.find(key) or self.kept(key)
            if config is not None:
                return config
            state = await self._state_with(key)
            config = await self._flight.shared((state, key), partial(self._resolved, state, key))
            if self._store.state is state:
                return config

    def kept(self, key: Key) -> Config | None:
        """What was read of a key lately, if it is still so."""
        return self._cache.get(key)

    async def _resolved(self, state: State, key: Key) -> Config:
        config = await self._in_thread(state.resolve, key)
        self.report_undecryptable()
        if self._store.state is state:
            self._cache.put(key, config, len(config.body), is_known=self.exists(key))
        return config

    async def files(self, key: Key) -> list[ParsedFiles]:
        """The layers of files that serve a key as they are now, the strongest first, whatever is broken in them.

        Raises:
            UnknownLabel: As `read`.
        """
        state = await self._state_with(key)
        # Several labels are put together anew each time.
        return await self._in_thread(state.newest, key) if "," in key.label else state.newest(key)

    async def _state_with(self, key: Key) -> State:
        """The state in force, with the labels of a key."""
        state = self._store.state
        if state is None:
            raise UnknownLabel("nothing has been read yet", status=503)
        for label in key.labels:
            if label not in state.labels:
                if self.load_label is not None:
                    await self.load_label(label)
                state = self._store.state or state
                if label not in state.labels:
                    raise _unknown(key, label, state)
        return state

    async def explain(self, key: Key) -> tuple[Explanation, str]:
        """Why the configuration of a key is what it is, and its version.

        Raises:
            UnknownLabel, FormatError, ResolveError: As `read`.
        """
        state = await self._state_with(key)
        explain = partial(threads.run_sync, state.explain, key, abandon_on_cancel=True, limiter=self._explaining)
        return await self._flight.shared((Explanation, state, key), explain)

    async def before(self, key: Key) -> Config | None:
        """The configuration of a key by the commit before the one that it last changed with, where one git source serves it; else None.

        Where that one isn't known, it is the commit before the one that is served.

        It is for who may read the key: a server that ran when the commit came has it in the key's history.

        Raises:
            UnknownLabel, FormatError, ResolveError: As `read`.
        """
        config = await self.read(key)
        layers = await self.files(key)
        commit = config.origin.commit if config.origin is not None else config.revision
        if (
            self.load_before is None
            or config.revision is None
            or commit is None
            or "," in key.label
            or len(layers) != 1
        ):
            return None
        # No label is called so.
        former = attrs.evolve(key, label=f"{commit}^")
        if (found := self.kept(former)) is not None:
            return found
        state = self._store.state
        assert state is not None  # something has been read
        made = await self._flight.shared((state, former), partial(self._before, state, layers[0], key, commit))
        if made is not None and self._store.state is state:
            self._cache.put(former, made, len(made.body), is_known=self.exists(key))
        return made

    async def _before(self, state: State, layer: ParsedFiles, key: Key, commit: str) -> Config | None:
        assert self.load_before is not None  # it was asked for
        place = layer.files.root, commit
        async with self._reading_former:
            if place not in self._former:
                files = await self.load_before(*place)
                while len(self._former) >= _FORMER:
                    del self._former[next(iter(self._former))]
                self._former[place] = files
            files = self._former[place]
        if files is None:
            return None
        resolve = partial(_resolved_by, files, layer, state, key, self.formats)
        return await threads.run_sync(resolve, abandon_on_cancel=True, limiter=self._explaining)

    def history(self, key: Key) -> Mapping[str, bytes]:
        """The former versions of a key that are known, to their documents as JSON, oldest first: of keys in use, and lately in use."""
        return self._store.history(key)

    # What is broken.

    @property
    def broken(self) -> Mapping[tuple[str, str], BrokenFile]:
        """The files that can't be used now, by label and by a name that no two of a label have."""
        return broken_files(self._store.state.labels) if self._store.state else {}

    def broken_for(self, key: Key) -> list[BrokenFile]:
        """The broken files that a key reads; none if it is served as its files are now, or can't be resolved for another reason."""
        try:
            return self._store.state.broken(key) if self._store.state else []
        except (UnknownLabel, ResolveError):
            return []

    async def held_back(self) -> Sequence[HeldBack]:
        """Every broken file, with the keys that it holds back: of those that exist and those in use. Takes its time in a thread."""
        state = self._store.state
        if state is None or not self.broken:
            return ()
        if self._held_back is None or self._held_back[0] is not state:
            keys = {*(self._listing.keys if self._listing else ()), *self._store}
            found = await self._flight.shared((HeldBack, state), partial(self._in_thread, _held_back, state, keys))
            self._held_back = state, found
        return self._held_back[1]

    def fault_of(self, key: Key) -> FormatError | ResolveError | None:
        """Why a key that is served is served as it was, and not as its files are now; None where it isn't."""
        broken = self.broken_for(key)
        if broken:
            return FormatError(broken[0].path, broken[0].reason, broken[0].line, broken[0].column)
        reason = self._failing.get(key)
        return ResolveError(reason) if reason else None

    def exists(self, key: Key) -> bool:
        """Whether a key is in use, or only names of files are in it: what is made of others isn't worth the room."""
        return key in self._store or all(self._has_names_of(key, label) for label in key.labels)

    def _has_names_of(self, key: Key, label: str) -> bool:
        names = self.names_in(label)
        return names.applications.issuperset(key.applications) and names.profiles.issuperset(key.profiles)

    def names_in(self, label: str) -> Names:
        """The applications and the profiles that have files of their own under a label."""
        listed = self._listing.labels.get(label) if self._listing else None
        return listed.names if listed else Names()

    def report_undecryptable(self) -> None:
        """Log what couldn't be decrypted since the last time."""
        for source, key in self.decryptor.take_failures() if self.decryptor else ():
            log.warning("value not decrypted", source=source, property=key, reason="no key that is set decrypts it")

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        # Pure functions over immutable values: a thread that nobody waits for any more does no harm.
        return await threads.run_sync(function, *arguments, abandon_on_cancel=True, limiter=self._threads)


def _held_back(state: State, keys: Iterable[Key]) -> list[HeldBack]:
    """Each broken file with the keys that read it, in order."""
    found: dict[BrokenFile, list[Key]] = {each: [] for each in broken_files(state.labels).values()}
    labels = {each.label for each in found}
    for key in sorted(keys):
        if not labels.isdisjoint(key.labels):
            try:
                for each in state.broken(key):
                    found[each].append(key)
            except (UnknownLabel, ResolveError):
                continue
    return [HeldBack(each, len(held), tuple(held[:SHOWN_KEYS])) for each, held in sorted(found.items(), key=_order)]


def _order(item: tuple[BrokenFile, object]) -> tuple[str, str, str]:
    return item[0].label, item[0].root, item[0].path


def _resolved_by(files: Files, layer: ParsedFiles, state: State, key: Key, limits: FormatSettings) -> Config | None:
    """What a key is by other files in the place of a layer; None where they are broken."""
    layer = attrs.evolve(layer, others=())
    there = attrs.evolve(
        layer.files,
        contents=files.contents,
        unreadable=files.unreadable,
        revision=files.revision,
        origin=files.origin,
        others=(),
        edits=None,
        past=None,
    )
    label = key.label
    # What is the same isn't parsed again; what is broken there has no content of now in its place.
    parsed = parse_tree(Tree({label: there}, label), limits, ParsedTree({label: layer}, label), ParsedTree({}, label))
    try:
        return State(parsed.labels, label, state.decryptor, state.overrides).resolve(key)
    except (FormatError, ResolveError):
        return None


def _unknown(key: Key, label: str, state: State) -> UnknownLabel:
    if label != state.default_label:
        return UnknownLabel.named(label)
    there_are = sorted(state.labels)[:_MOST_LABELS]
    return UnknownLabel(
        "there is no default label; name a label, or set default_label of the source",
        alternatives=[attrs.evolve(key, label=each) for each in there_are],
    )

"""Answers single questions about what is served now: configurations of any key, plain files, explanations, and names.

In come questions; out go answers from the served state that the store has. Long work runs in threads over immutable values. The invariant: an
answer comes from one served state. Answers are kept within bounds, for names come from the network, and no longer than their served state.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import attrs
import trio

from ..aio import threads
from ..core.cache import Cache
from ..core.errors import FormatError, ResolveError, UnknownLabel
from ..core.model import BrokenFile, Config, Files, HeldBack, Key, Names
from ..encryption.decryptor import Decryptor
from ..resolve.explain import Explanation
from ..resolve.tree import ParsedFiles
from ..settings.formats import FormatSettings
from .former_commits import FormerCommits
from .publication_log import report_undecryptable
from .served import ServedState
from .state import State
from .store import Store

T = TypeVar("T")

# Labels that are looked at for those that a client may be told of.
_MOST_LABELS = 100
# Bounds of the configurations that are kept.
_CACHE_KEYS = 1_024
_CACHE_BYTES = 67_108_864
# Of the keys that a broken file holds back, so many are named.
SHOWN_KEYS = 20


@attrs.define(eq=False)
class _Answers:
    """What is kept of the answers from one served state.

    Attributes:
        configs: Configurations that were read and that no connection holds.
        former: What was served by the commits before; None where nobody knows them.
        held_back: None until they are asked for.
    """

    served: ServedState | None = None
    former: FormerCommits | None = None
    configs: Cache[Key, Config] = attrs.field(factory=lambda: Cache(_CACHE_BYTES, _CACHE_KEYS))
    held_back: Sequence[HeldBack] | None = None


class ConfigReader:
    """See the module.

    Args:
        store: The served state, and the keys in use.
        limiter: Of the threads for this work.
        load_label: Reads a label that sources have and that nobody has asked for yet; returns whether it may be there now.
        load_before: Reads the files of the commit before one, of the git source with a root; None where there is none.
    """

    def __init__(
        self,
        store: Store,
        limiter: trio.CapacityLimiter,
        load_label: Callable[[str], Awaitable[bool]] | None = None,
        load_before: Callable[[str, str], Awaitable[Files | None]] | None = None,
    ) -> None:
        self._store = store
        self._threads = limiter
        self._load_label = load_label
        self._load_before = load_before
        # An explanation takes many times as long as a configuration, so explanations have a thread of their own.
        self._explaining = trio.CapacityLimiter(1)
        self._current = _Answers()
        # The files of former commits are read one after the other.
        self._reading_former = trio.CapacityLimiter(1)
        self._flight = threads.SingleFlight()

    def drop_old_answers(self) -> None:
        """Free the answers from a served state that is no longer in force; otherwise the next question frees them."""
        _ = self._answers

    @property
    def _answers(self) -> _Answers:
        """What is kept of the answers from the served state that is in force."""
        served = self._store.served
        if served is not None and self._current.served is not served:
            former = None
            if self._load_before is not None:
                former = FormerCommits(served, self._load_before, self._reading_former, self._explaining)
            self._current = _Answers(served, former)
        return self._current

    @property
    def state(self) -> State | None:
        """What is served now; None until the first complete state is."""
        return self._store.state

    @property
    def formats(self) -> FormatSettings:
        """The bounds that the files which are served were parsed within; the defaults until the first complete state is served."""
        return self._store.served.formats if self._store.served is not None else FormatSettings()

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
        return self._answers.configs.get(key)

    async def _resolved(self, state: State, key: Key) -> Config:
        config = await self._in_thread(state.resolve, key)
        self.report_undecryptable()
        if self._store.state is state:
            self._answers.configs.put(key, config, len(config.body), is_known=self.exists(key))
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
                if self._load_label is not None:
                    await self._load_label(label)
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
        answers = self._answers
        if answers.former is None or config.revision is None or commit is None or "," in key.label or len(layers) != 1:
            return None
        # No label is called so.
        former = attrs.evolve(key, label=f"{commit}^")
        if (found := answers.configs.get(former)) is not None:
            return found
        resolve = partial(answers.former.resolve, layers[0], key, commit)
        made = await self._flight.shared((answers.served, former), resolve)
        if made is not None:
            answers.configs.put(former, made, len(made.body), is_known=self.exists(key))
        return made

    def history(self, key: Key) -> Mapping[str, bytes]:
        """The former versions of a key that are known, to their documents as JSON, oldest first: of keys in use, and lately in use."""
        return self._store.history(key)

    # What is broken.

    @property
    def broken(self) -> Mapping[tuple[str, str], BrokenFile]:
        """The files that can't be used now, by label and by a name that no two of a label have."""
        return self._store.served.broken if self._store.served is not None else {}

    def broken_for(self, key: Key) -> list[BrokenFile]:
        """The broken files that a key reads; none if it is served as its files are now, or can't be resolved for another reason."""
        try:
            return self._store.state.broken(key) if self._store.state else []
        except (UnknownLabel, ResolveError):
            return []

    async def held_back(self) -> Sequence[HeldBack]:
        """Every broken file, with the keys that it holds back: of those that exist and those in use. Takes its time in a thread."""
        answers, served = self._answers, self._store.served
        if served is None or not served.broken:
            return ()
        if answers.held_back is None:
            keys = {*served.listing.keys, *self._store}
            find = partial(self._in_thread, _held_back, served, keys)
            answers.held_back = await self._flight.shared((HeldBack, served), find)
        return answers.held_back

    def fault_of(self, key: Key) -> FormatError | ResolveError | None:
        """Why a key that is served is served as it was, and not as its files are now; None where it isn't."""
        broken = self.broken_for(key)
        if broken:
            return FormatError(broken[0].path, broken[0].reason, broken[0].line, broken[0].column)
        reason = self._store.served.failures.get(key) if self._store.served is not None else None
        return ResolveError(reason) if reason else None

    def exists(self, key: Key) -> bool:
        """Whether a key is in use, or only names of files are in it: what is made of others isn't worth the room."""
        return key in self._store or all(self._has_names_of(key, label) for label in key.labels)

    def _has_names_of(self, key: Key, label: str) -> bool:
        names = self.names_in(label)
        return names.applications.issuperset(key.applications) and names.profiles.issuperset(key.profiles)

    def names_in(self, label: str) -> Names:
        """The applications and the profiles that have files of their own under a label."""
        listed = self._store.served.listing.labels.get(label) if self._store.served is not None else None
        return listed.names if listed else Names()

    def report_undecryptable(self) -> None:
        """Log what couldn't be decrypted since the last time."""
        report_undecryptable(self.decryptor)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        # Pure functions over immutable values: a thread that nobody waits for any more does no harm.
        return await threads.run_sync(function, *arguments, abandon_on_cancel=True, limiter=self._threads)


def _held_back(served: ServedState, keys: Iterable[Key]) -> list[HeldBack]:
    """Each broken file with the keys that read it, in order."""
    found: dict[BrokenFile, list[Key]] = {each: [] for each in served.broken.values()}
    labels = {each.label for each in found}
    for key in sorted(keys):
        if not labels.isdisjoint(key.labels):
            try:
                for each in served.state.broken(key):
                    found[each].append(key)
            except (UnknownLabel, ResolveError):
                continue
    return [HeldBack(each, len(held), tuple(held[:SHOWN_KEYS])) for each, held in sorted(found.items(), key=_order)]


def _order(item: tuple[BrokenFile, object]) -> tuple[str, str, str]:
    return item[0].label, item[0].root, item[0].path


def _unknown(key: Key, label: str, state: State) -> UnknownLabel:
    if label != state.default_label:
        return UnknownLabel.named(label)
    there_are = sorted(state.labels)[:_MOST_LABELS]
    return UnknownLabel(
        "there is no default label; name a label, or set default_label of the source",
        alternatives=[attrs.evolve(key, label=each) for each in there_are],
    )

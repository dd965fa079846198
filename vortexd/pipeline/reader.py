"""Answers single questions about the served state: configurations of any key, plain files, explanations, and names.

Questions arrive. Answers leave, made from the store's served state. Long work runs in threads over immutable values.
The invariant: each answer comes from one served state. Answers are cached within limits, because clients can invent
names. They are dropped with their served state.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio

from ..aio import threads
from ..core.broken_files import at_fault
from ..core.cache import Cache
from ..core.commits import Commit
from ..core.errors import FormatError, RefusedLabel, ResolveError, UnknownLabel
from ..core.model import BrokenFile, Config, Files, HeldBack, Key, Names
from ..encryption.decryptor import Decryptor
from ..gate.finding import Refusal, refused_headers
from ..gate.opening import open_gate
from ..resolve.explain import Explanation
from ..resolve.tree import ParsedFiles
from ..settings.formats import FormatSettings
from .former_commits import FormerCommits
from .former_states import FormerSources, FormerStates, Limits
from .history_turns import HistoryTurns
from .key_history import HistoryPage, KeyHistory
from .key_layers import no_history
from .past_keys import Commits, Document, Layers
from .publication_log import report_undecryptable
from .served import ServedState
from .state import State
from .store import Store

if TYPE_CHECKING:
    from ..core.term import Term
    from ..gate.gate import PublicationGate, Rules, Verdict
    from .pin_targets import Target

T = TypeVar("T")

# How many labels an error may suggest to a client.
_MOST_LABELS = 100
# Limits of the cached configurations.
_CACHE_KEYS = 1_024
_CACHE_BYTES = 67_108_864
# How many of the keys that a broken file holds back are named.
SHOWN_KEYS = 20
# How many keys are remembered that the gate refuses.
_REFUSED_KEYS = 1_024


@attrs.define(eq=False)
class _Answers:
    """The cached answers from one served state.

    Attributes:
        configs: Configurations that were read and that no connection holds.
        former: Resolves keys from earlier commits; None if no source knows them.
        states: Finds former documents in the states before the served one; None if no source knows them.
        history: Reads the commits that changed keys; None if no source has commits.
        refused: Keys that the gate refuses, with the errors.
        held_back: None until a caller asks for it.
        listed: The keys that have files of their own, in order. None until a caller asks for them.
    """

    served: ServedState | None = None
    former: FormerCommits | None = None
    states: FormerStates | None = None
    history: KeyHistory | None = None
    configs: Cache[Key, Config] = attrs.field(factory=lambda: Cache(_CACHE_BYTES, _CACHE_KEYS))
    refused: dict[Key, FormatError | ResolveError] = attrs.field(factory=dict)
    held_back: Sequence[HeldBack] | None = None
    listed: Sequence[Key] | None = None


class ConfigReader:
    """Answers single questions about the served state; see the module.

    Args:
        store: The served state, and the configurations of the keys in use.
        limiter: Limits the threads for this work.
        load_label: Reads a label that sources have but that no client has asked for yet. Returns whether the label may
            be served now.
        load_before: Reads the files of the commit before a given commit, from the git source with a given root. Returns
            None if there is no such commit.
        sources: Reads the states before the served one, if there are any; see `former_states`.
        commits: Reads the commits of labels, if there are any; see `key_history`.
        gate: Judges keys that no publication judges, because they aren't listed and not in use. It isn't the gate of the
            publications, so that these don't wait behind requests.
    """

    def __init__(
        self,
        store: Store,
        limiter: trio.CapacityLimiter,
        load_label: Callable[[str], Awaitable[bool]] | None = None,
        load_before: Callable[[str, str], Awaitable[Files | None]] | None = None,
        sources: FormerSources | None = None,
        commits: Commits | None = None,
        gate: "PublicationGate | None" = None,
    ) -> None:
        self._gate = gate
        self._store = store
        self._threads = limiter
        self._load_label = load_label
        self._load_before = load_before
        self._sources = sources
        self._commits = commits
        # An explanation takes many times as long as a configuration, so explanations have a thread of their own.
        self._explaining = trio.CapacityLimiter(1)
        self._current = _Answers()
        # The files of earlier commits are read one commit after the other.
        self._reading_former = trio.CapacityLimiter(1)
        self._history_turns = HistoryTurns()
        # The same holds for former states. Clients wait for them at a handshake, so they don't wait for explanations.
        self._former_limits = Limits()
        self._flight = threads.SingleFlight()

    def drop_old_answers(self) -> None:
        """Free the answers from a served state that is no longer in force.

        Without this call, the next question frees them.
        """
        # Each publication calls this, and often no question follows. So the next question makes the new answers.
        if self._current.served is not self._store.served:
            self._current = _Answers()

    @property
    def _answers(self) -> _Answers:
        """The cached answers from the served state that is in force."""
        served = self._store.served
        if served is not None and self._current.served is not served:
            former = None
            if self._load_before is not None:
                former = FormerCommits(served, self._load_before, self._reading_former, self._explaining)
            states = None
            if self._sources is not None and self._sources.has_former:
                states = FormerStates(served, self._store, self._sources, self._former_limits)
            history = None
            if self._commits is not None:
                history = KeyHistory(served, self._commits, self._history_turns, self._explaining)
            self._current = _Answers(served, former, states, history)
        return self._current

    @property
    def state(self) -> State | None:
        """The served state; None until the first complete state is served."""
        return self._store.state

    @property
    def formats(self) -> FormatSettings:
        """The limits within which the served files were parsed.

        Until the first complete state is served, the defaults.
        """
        return self._store.served.formats if self._store.served is not None else FormatSettings()

    @property
    def default_label(self) -> str | None:
        """The label for requests that name none; None until the first complete state is served."""
        return self._store.state.default_label if self._store.state else None

    @property
    def decryptor(self) -> Decryptor | None:
        """The decryptor of the served state; None if the server decrypts nothing."""
        return self._store.state.decryptor if self._store.state else None

    async def read(self, key: Key) -> Config:
        """Return the current configuration of a key.

        Raises:
            UnknownLabel: There is no such label, or no source has been read yet.
            RefusedLabel: The gate holds the label back, and it was never served.
            FormatError, ResolveError: The key can't be resolved, and the server has never resolved it since its start.
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
        """Return the cached configuration of a key, if it was read recently and is still current."""
        return self._answers.configs.get(key)

    async def _resolved(self, state: State, key: Key) -> Config:
        if (refusal := self._answers.refused.get(key)) is not None:
            raise refusal.with_traceback(None)
        config = await self._in_thread(state.resolve, key)
        self.report_undecryptable()
        await self._judge(config, state)
        if self._store.state is state:
            self._answers.configs.put(key, config, config.size, is_known=self.exists(key))
        return config

    # The gate.

    @property
    def gate(self) -> "PublicationGate | None":
        """The gate that judges by the rules in force, or None if there was none yet."""
        return self._gate

    async def judge_by(self, rules: "Sequence[Rules]") -> None:
        """Judge by other rules from now on. Configurations that were read already stay until the next publication."""
        if self._gate is not None:
            await self._gate.replace(rules)
        else:
            self._gate = open_gate(rules)
        self._answers.refused.clear()

    def is_unjudged(self, key: Key) -> bool:
        """Return whether a key must be judged before it is served for the first time."""
        served = self._store.served
        if served is None or self._gate is None or not self._gate.rules:
            return False
        if key in served.listing.keys or self._store.find(key) is not None:
            return False
        if key in served.state.pinned:
            return False
        return self._gate.judges(key)

    async def _judge(self, config: Config, state: State) -> None:
        """Judge a configuration, unless the publications do so.

        Raises:
            FormatError, ResolveError: The gate refuses it.
        """
        key = config.key
        if self._gate is None or self._store.state is not state or not self.is_unjudged(key):
            return
        verdict = (await self._gate.judge([config], state.labels, state.labels))[key.label]
        if verdict.accepts:
            return
        error = _refused(verdict)
        # If the gate couldn't judge, the next request tries again.
        if self._store.state is state and verdict.failure is None:
            refused = self._answers.refused
            refused[key] = error
            if len(refused) > _REFUSED_KEYS:
                del refused[next(iter(refused))]
        raise error

    @property
    def refusals(self) -> Mapping[str, Refusal]:
        """The labels that the gate holds back."""
        return self._store.served.refusals if self._store.served is not None else {}

    def refusals_for(self, key: Key) -> list[Refusal]:
        """Return the refusals because of which a key may be served in an older state than its files.

        They have only the findings about this key, because a client may read a key without reading others. All clients of
        a key get the same response. A key with several labels has the findings about the same key of each label. If only
        other applications of a label are held back, that isn't such a refusal.
        """
        return [
            attrs.evolve(
                each,
                findings=tuple(one for one in each.findings if one.key in (key, single)),
                applications=(key.application,) if each.applications else (),
            )
            for single in (attrs.evolve(key, label=label) for label in key.labels)
            if (each := self.refusals.get(single.label)) is not None
            and (not each.applications or self._is_held(key, single.label))
        ]

    def _is_held(self, key: Key, label: str) -> bool:
        state = self._store.state
        return state is not None and key in state.held.get(label, ())

    async def files(self, key: Key) -> list[ParsedFiles]:
        """Return the layers of files of a key's labels as they are now, the strongest first.

        They include layers with broken files. A pin doesn't change them.

        Raises:
            UnknownLabel: As in `read`.
        """
        state = (await self._state_with(key)).unpinned
        # Several labels are merged anew each time, so that runs in a thread.
        return await self._in_thread(state.newest, key) if "," in key.label else state.newest(key)

    async def _state_with(self, key: Key) -> State:
        """Return the state in force. Load the labels of a key first, if necessary."""
        state = self._store.state
        if state is None:
            raise UnknownLabel("nothing has been read yet", status=503)
        for label in key.labels:
            if label not in state.labels:
                if self._load_label is not None:
                    await self._load_label(label)
                state = self._store.state or state
                if label not in state.labels and label in self.refusals:
                    raise RefusedLabel(key, refused_headers(self.refusals_for(key)))
                if label not in state.labels:
                    raise _unknown(key, label, state)
        return state

    async def explain(self, key: Key) -> tuple[Explanation, str]:
        """Explain the configuration of a key. Return the explanation and the version.

        Raises:
            UnknownLabel, FormatError, ResolveError: As in `read`.
        """
        state = await self._state_with(key)
        explain = partial(threads.run_sync, state.explain, key, abandon_on_cancel=True, limiter=self._explaining)
        return await self._flight.shared((Explanation, state, key), explain)

    async def before(self, key: Key) -> Config | None:
        """Return the configuration of a key from before the commit that last changed it.

        Return None unless exactly one source serves the key, and it is a git source with a usable commit before. If the
        commit that changed the key isn't known, use the commit before the served one.

        Any client that may read the key may read the result. If the server ran when the commit came, the key's history
        has the same document.

        Raises:
            UnknownLabel, FormatError, ResolveError: As in `read`.
        """
        config = await self.read(key)
        layers = await self.files(key)
        commit = config.origin.commit if config.origin is not None else config.revision
        answers = self._answers
        if answers.former is None or config.revision is None or commit is None or "," in key.label or len(layers) != 1:
            return None
        # No label has such a name.
        former = attrs.evolve(key, label=f"{commit}^")
        if (found := answers.configs.get(former)) is not None:
            return found
        resolve = partial(answers.former.resolve, layers[0], key, commit)
        made = await self._flight.shared((answers.served, former), resolve)
        if made is not None:
            answers.configs.put(former, made, made.size, is_known=self.exists(key))
        return made

    async def changes(self, key: Key, part: str, limit: int, after: str, client: str | None) -> HistoryPage:
        """Return a page of the commits that changed a key, the newest first; see `KeyHistory.page`.

        Any client that may read the key may read the result.

        Raises:
            RemoteError: The key has no history, or it can't be read now.
        """
        history, layers = await self._key_history(key)
        page = partial(history.page, layers, key, part, limit, after, client)
        # An act of an administrator doesn't wait for a client's turn.
        return await self._flight.shared((history, key, part, limit, after, client is None), page)

    async def document_at(
        self, key: Key, choose: Callable[[Sequence[Commit]], Commit], client: str | None
    ) -> tuple[Commit, Document | None]:
        """Return a commit of a key's labels, and the document of the key there. It is None if it can't be resolved.

        The other layers of the key are as they were at that time.

        Args:
            choose: Chooses one of the commits. They are ordered, the newest first.
            client: As in `HistoryTurns.turn`.

        Raises:
            RemoteError: As in `changes`, and as `choose` raises it.
        """
        history, layers = await self._key_history(key)
        commit = choose(await history.commits_of(layers, key))
        return commit, await history.document(layers, key, commit.id, client)

    # Pins.

    async def pin_target(self, key: Key, to: str) -> "Target":
        """Find the files for a pin; see `pin_targets.find_target`."""
        from .pin_targets import find_target

        return await find_target(self, key, to, self._in_thread)

    def served_with(self, key: Key) -> ServedState:
        """Return the served state.

        Raises:
            UnknownLabel: It doesn't have one of the labels of the key.
        """
        served = self._store.served
        if served is None:
            raise UnknownLabel("nothing has been read yet", status=503)
        for label in key.labels:
            if label not in served.state.labels:
                raise _unknown(key, label, served.state)
        return served

    async def files_at(
        self, key: Key, choose: Callable[[Sequence[Commit]], Commit]
    ) -> tuple[Commit, Sequence[Sequence[ParsedFiles]], Document | None]:
        """Return a commit of a key's labels, the layers of each label there, and the document of the key, or None.

        This is for acts of administrators.

        Raises:
            RemoteError: As in `document_at`.
        """
        history, layers = await self._key_history(key)
        commit = choose(await history.commits_of(layers, key))
        there, document = await history.files(layers, key, commit.id, None)
        return commit, there, document

    async def former_files(self, key: Key, version: str) -> Sequence[Sequence[ParsedFiles]] | None:
        """Return the layers of each label of a key in a state before the served one, in which it has a version."""
        states = self._answers.states
        return await states.find_files(key, version) if states is not None else None

    def term(self, key: Key) -> "Term | None":
        """Return the term of the pin that serves a key, or None if none does."""
        return self._store.state.term(key) if self._store.state is not None else None

    def is_pinned(self, key: Key) -> bool:
        """Return whether a pin serves a key."""
        return self.term(key) is not None

    async def _key_history(self, key: Key) -> tuple[KeyHistory, Layers]:
        state = await self._state_with(key)
        history = self._answers.history
        if history is None:
            raise no_history()
        return history, [list(state.layers_in(label, key)) for label in key.labels]

    def history(self, key: Key) -> Mapping[str, bytes]:
        """Return the known former versions of a key, with their documents as JSON, oldest first.

        They are known for keys that are in use or were in use recently.
        """
        return self._store.history(key)

    def may_recall(self, key: Key, version: str) -> bool:
        """Return whether `recall` may find a version that isn't in the history of a key."""
        states = self._answers.states
        return states is not None and states.may_know(key, version)

    async def recall(self, key: Key, version: str) -> None:
        """Look for a version of a key in the states before the served one, for a limited time.

        If it is found, it is in the history of the key from now on.
        """
        if (states := self._answers.states) is not None:
            await states.find(key, version)

    # Broken files.

    @property
    def broken(self) -> Mapping[tuple[str, str], BrokenFile]:
        """The files that can't be used now, by label and by a name that is unique in the label."""
        return self._store.served.broken if self._store.served is not None else {}

    def broken_for(self, key: Key) -> list[BrokenFile]:
        """Return the broken files that a key reads.

        The list is empty if the key is served from its current files, or if it can't be resolved for another reason. If the
        gate refuses a key that was never served, the list has the file that its finding names.
        """
        if (refusal := self._answers.refused.get(key)) is not None:
            return at_fault(refusal, key)
        try:
            return self._store.state.broken(key) if self._store.state else []
        except (UnknownLabel, ResolveError):
            return []

    async def held_back(self) -> Sequence[HeldBack]:
        """Return every broken file, with the keys that it holds back.

        Only keys that exist or are in use count. The search runs in a thread and takes a while.
        """
        answers, served = self._answers, self._store.served
        if served is None or not served.broken:
            return ()
        if answers.held_back is None:
            keys = {*served.listing.keys, *self._store}
            find = partial(self._in_thread, _held_back, served, keys)
            answers.held_back = await self._flight.shared((HeldBack, served), find)
        return answers.held_back

    def fault_of(self, key: Key) -> FormatError | ResolveError | None:
        """Return the reason why a key is served in an older state than its files, or None if it isn't."""
        broken = self.broken_for(key)
        if broken:
            return FormatError(broken[0].path, broken[0].reason, broken[0].line, broken[0].column)
        reason = self._store.served.failures.get(key) if self._store.served is not None else None
        return ResolveError(reason) if reason else None

    def exists(self, key: Key) -> bool:
        """Return whether a key is in use, or all its names occur in file names.

        Configurations of other keys aren't worth caching.
        """
        return key in self._store or all(self._has_names_of(key, label) for label in key.labels)

    def _has_names_of(self, key: Key, label: str) -> bool:
        names = self.names_in(label)
        return names.applications.issuperset(key.applications) and names.profiles.issuperset(key.profiles)

    async def keys(self) -> Sequence[Key]:
        """Return all keys that have files of their own or are in use, ordered by application, profile and label."""
        answers, served = self._answers, self._store.served
        if served is None:
            return ()
        if answers.listed is None:
            answers.listed = await self._in_thread(_ordered, served.listing.keys)
        # The keys in use change at any time.
        return await self._in_thread(_with_more, answers.listed, served.listing.keys, tuple(self._store))

    def known_version(self, key: Key) -> str | None:
        """Return the version of a key that is in use or was read recently. None means that the key isn't resolved now."""
        config = self._store.find(key) or self.kept(key)
        return config.version if config is not None else None

    def names_in(self, label: str) -> Names:
        """Return the applications and profiles that have files of their own under a label."""
        listed = self._store.served.listing.labels.get(label) if self._store.served is not None else None
        return listed.names if listed else Names()

    def report_undecryptable(self) -> None:
        """Log the values that couldn't be decrypted since the last call."""
        report_undecryptable(self.decryptor)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        # These are pure functions over immutable values, so an abandoned thread does no harm.
        return await threads.run_sync(function, *arguments, abandon_on_cancel=True, limiter=self._threads)


def _refused(verdict: "Verdict") -> FormatError | ResolveError:
    """Return the error for a key that the gate refuses."""
    if verdict.failure is not None:
        return ResolveError(f"the gate {verdict.failure}")
    first = verdict.findings[0]
    reason = f"refused by the gate: {first.reason}"
    return ResolveError(reason) if first.file is None else FormatError(first.file, reason, first.line)


def _held_back(served: ServedState, keys: Iterable[Key]) -> list[HeldBack]:
    """Return each broken file with the keys that read it, in order."""
    found: dict[BrokenFile, list[Key]] = {each: [] for each in served.broken.values()}
    labels = {each.label for each in found}
    for key in sorted(keys):
        if not labels.isdisjoint(key.labels):
            try:
                for each in served.state.broken(key):
                    # A key that the gate holds back may read a former file, which isn't broken any more.
                    if each in found:
                        found[each].append(key)
            except (UnknownLabel, ResolveError):
                continue
    return [HeldBack(each, len(held), tuple(held[:SHOWN_KEYS])) for each, held in sorted(found.items(), key=_order)]


_BY_NAME = attrgetter("application", "profile", "label")


def _ordered(keys: Iterable[Key]) -> Sequence[Key]:
    return sorted(keys, key=_BY_NAME)


def _with_more(ordered: Sequence[Key], known: Collection[Key], keys: Iterable[Key]) -> Sequence[Key]:
    """Return the ordered keys, together with those of `keys` that aren't known."""
    more = [key for key in keys if key not in known]
    return _ordered((*ordered, *more)) if more else ordered


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

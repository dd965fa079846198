"""Lets the gate judge a publication before its commit, and holds back the labels that it refuses.

A prepared state arrives from the publisher. The same state leaves, in which each refused label has the files of the
served state. If only single applications are refused, their keys keep their files; see `holding`. The invariant: a key is
served from new files only if the gate has accepted them for it, or if the state was served before the gate's rules came into
force. Such a state is reported. Unless the refusal is one of single applications, the same holds for a whole label.

A state is served before the rules also if it was so before the process started. `Accepted` remembers the states that
were served last. A label begins with its remembered state, if its newest files are refused.

A changed key counts if it is in the listing or in use. Other keys are judged when they are first read; see `reader`.
"""

import hashlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import structlog

from ..core.candidate import CandidateKey, plain
from ..core.errors import RemoteError
from ..core.model import Config, Files, Key, Tree
from ..gate.decision import Decision, Kind, Person
from ..gate.finding import MOST_FINDINGS, Refusal
from ..gate.gate import PublicationGate, Rules, Verdict
from ..gate.schemas import schema_contents
from ..resolve.alterations import Alterations
from ..resolve.tree import ParsedFiles, ParsedTree
from ..settings.formats import FormatSettings
from .dependencies import Dependencies
from .holding import listing_of, without
from .served import ServedState
from .store import Staged, Store, stage
from .ungated import Admitted

if TYPE_CHECKING:
    from ..pins.pin import Pinned

log = structlog.get_logger()
InThread = Callable[..., Awaitable[Any]]
Parse = Callable[[Tree, ParsedTree, FormatSettings], Awaitable[ParsedTree]]
# At most this many findings and applications of one label are logged.
_LOGGED = 5


class Accepted(Protocol):
    """Remembers the accepted states of labels beyond the end of the process."""

    def note(self, labels: Mapping[str, Files]) -> None:
        """Remember the files of all labels that are served."""
        ...

    def forget(self) -> None:
        """Forget everything, because there is no gate any more."""
        ...

    async def recall(self, label: str, newest: Files) -> Files | None:
        """Return the files of a label that were accepted last, or None. If `newest` is the same, return it."""
        ...

    def note_refused(self, refused: Mapping[str, tuple[str, float]]) -> None:
        """Remember the refused states by label, each with the time since which it is refused."""
        ...

    async def recall_refused(self) -> Mapping[str, tuple[str, float]]:
        """Return the refused states that were noted last."""
        ...


class NothingAccepted:
    """Remembers nothing."""

    def note(self, labels: Mapping[str, Files]) -> None:
        """See `Accepted`."""

    def forget(self) -> None:
        """See `Accepted`."""

    async def recall(self, label: str, newest: Files) -> Files | None:
        """See `Accepted`."""
        return None

    def note_refused(self, refused: Mapping[str, tuple[str, float]]) -> None:
        """See `Accepted`."""

    async def recall_refused(self) -> Mapping[str, tuple[str, float]]:
        """See `Accepted`."""
        return {}


@attrs.frozen
class _Exception:
    """A state of a label that an administrator lets through.

    Attributes:
        is_asked: Whether this worker was asked, and not another one.
    """

    state: str
    by: Person
    reason: str
    is_asked: bool


class GatedPublications:
    """Judges publications; see the module. The publisher calls one method at a time.

    Args:
        gate: Judges configurations.
        store: The served state. This class changes nothing in it.
        in_thread: Runs a function in a thread.
        now: Returns the seconds since the epoch.
        accepted: Remembers accepted states.
        parse: Parses a tree within limits, and repairs it. Labels with the same files as in the parsed tree are its
            objects.
        decided: Called with each decision, once it is in force. It must not wait.
    """

    def __init__(
        self,
        gate: PublicationGate,
        store: Store,
        in_thread: InThread,
        now: Callable[[], float],
        accepted: Accepted,
        parse: Parse,
        decided: Callable[[Decision], None],
    ) -> None:
        self._gate = gate
        self._store = store
        self._in_thread = in_thread
        self._now = now
        self._accepted = accepted
        self._parse = parse
        self._decided = decided
        # The keys of the listing that the gate judges, with their configurations in the served state.
        self._configs: dict[Key, Config] = {}
        self._dependencies = Dependencies()
        self._unsettled: set[Key] = set()
        self._held: dict[str, tuple[Files, Refusal]] = {}
        self._exceptions: dict[str, _Exception] = {}
        self._standing: dict[str, Verdict] = {}
        # The refused states of an earlier process, which it has recorded already.
        self._recorded: Mapping[str, tuple[str, float]] = {}
        # The files of each label when nothing of it was held back.
        self._whole: Mapping[str, Files] = {}

    @property
    def is_on(self) -> bool:
        """Whether there is a gate."""
        return bool(self._gate.rules)

    @property
    def standing(self) -> Mapping[str, Verdict]:
        """By label, the rules that served keys break: they were served before the rules came into force, or let through."""
        return self._standing

    @property
    def has_failed(self) -> bool:
        """Whether a label is held back because the gate couldn't judge it, so that it should be judged again."""
        return any(refusal.failure is not None for _, refusal in self._held.values())

    @property
    def unexamined(self) -> frozenset[str]:
        """The labels of which the gate couldn't judge what is served, so that it should be examined again."""
        names = [name for name, verdict in self._standing.items() if verdict.failure is not None]
        return frozenset(label for name in names for label in name.split(","))

    @property
    def has_exceptions(self) -> bool:
        """Whether a state is let through that isn't published yet."""
        return bool(self._exceptions)

    # Publications.

    async def admitted(
        self, prepared: ServedState, altered: Alterations | None, before: ServedState | None
    ) -> Admitted:
        """Judge a prepared state, and hold back the labels that are refused.

        Args:
            altered: The differences from the served state, or None if nothing is served.
            before: The served state, or None.
        """
        if not self.is_on:
            self._held.clear()
            return Admitted(prepared, altered)
        if before is None:
            self._recorded = await self._accepted.recall_refused()
        pinned = prepared.state.pinned
        found = await self._admitted(_with_pins(prepared, {}), altered, before)
        return attrs.evolve(found, served=_with_pins(found.served, pinned)) if pinned else found

    async def _admitted(
        self, prepared: ServedState, altered: Alterations | None, before: ServedState | None
    ) -> Admitted:
        """Do as `admitted`, with a state without pins."""
        recalled = await self._recalled(prepared, before)
        if not recalled and before is not None and altered is not None:
            return await self._judged(prepared, altered, before)
        if all(prepared.tree.labels[label] is files for label, files in recalled.items()) and before is None:
            self._held.clear()
            return Admitted(prepared, altered)
        self._whole = {**self._whole, **recalled}
        former = await self._former(prepared, before, recalled)
        found = await self._judged(prepared, prepared.state.altered_from(former.state), former)
        if before is None:
            return attrs.evolve(found, altered=None, ready=None)
        return attrs.evolve(found, altered=found.served.state.altered_from(before.state), recalled=frozenset(recalled))

    async def _recalled(self, prepared: ServedState, before: ServedState | None) -> dict[str, Files]:
        """Return the remembered states of the labels that this process hasn't served yet."""
        served = before.tree.labels if before is not None else {}
        new = {label: files for label, files in prepared.tree.labels.items() if label not in served}
        found = {label: await self._accepted.recall(label, files) for label, files in new.items()}
        return {label: files for label, files in found.items() if files is not None}

    async def _former(
        self, prepared: ServedState, before: ServedState | None, recalled: Mapping[str, Files]
    ) -> ServedState:
        """Return the state as if the remembered labels had been served until now. It is what new files are compared with.

        If nothing is served yet, a label without a remembered state counts as served, so that it isn't judged.
        """
        served = before.tree.labels if before is not None else prepared.tree.labels
        tree = attrs.evolve(prepared.tree, labels={**served, **recalled})
        parsed = await self._parse(attrs.evolve(tree, labels=recalled), prepared.parsed, prepared.formats)
        known = before.state.labels if before is not None else prepared.state.labels
        state = attrs.evolve(prepared.state, labels={**known, **parsed.labels})
        if before is not None:
            state = attrs.evolve(state, held=before.state.held)
        listing = await self._in_thread(listing_of, state, prepared.listing, before)
        refusals = before.refusals if before is not None else {}
        former = ServedState(tree, state, listing, prepared.formats, refusals=refusals)
        keys = [key for key in listing.keys if before is None or not recalled.keys().isdisjoint(key.labels)]
        await self._learn(former, keys)
        return former

    async def _judged(self, prepared: ServedState, altered: Alterations, before: ServedState) -> Admitted:
        """Judge a prepared state by its differences from the served one, and hold back the labels that are refused."""
        for label in self._held.keys() - prepared.tree.labels.keys():
            del self._held[label]
        held = {
            label: refusal
            for label, (files, refusal) in self._held.items()
            # The same files would be refused for the same reasons. If the gate couldn't judge them, it tries again.
            if prepared.tree.labels[label] is files and refusal.failure is None and label not in self._exceptions
        }
        whole, ready = prepared, None
        if held:
            prepared, altered = await self._without(prepared, held, before)
        refused = await self._refused_schemas(before, prepared, altered)
        judged: set[Key] = set()
        withheld: set[Key] = set()
        while True:
            ready, configs = await self._changed(prepared, altered, before, judged)
            judged |= {each.key for each in configs}
            verdicts = await self._gate.judge(configs, before.state.labels, prepared.state.labels)
            refused |= {label: each for label, each in verdicts.items() if not each.accepts}
            new = self._refusals(refused, whole, altered, prepared, before, held)
            withheld |= _withheld(configs, verdicts, altered, prepared)
            if not new:
                break
            held |= new
            refused = {}
            prepared, altered = await self._without(prepared, new, before)
            # What these keys have with the former files wasn't judged.
            judged -= {key for key in judged if _is_held(key, new, prepared)}
        self._held = {label: each for label, each in self._held.items() if label in held}
        if withheld:
            ready = ready.only(ready.configs.keys() - withheld)
        labels = frozenset(label for key in judged for label in key.labels)
        return Admitted(attrs.evolve(prepared, refusals=held), altered, ready, judged=labels)

    def _refusals(
        self,
        verdicts: Mapping[str, Verdict],
        whole: ServedState,
        altered: Alterations,
        prepared: ServedState,
        before: ServedState,
        held: Mapping[str, Refusal],
    ) -> dict[str, Refusal]:
        """Return the refusals that verdicts add, without those of states that are let through.

        Args:
            whole: The state with all new files.
            prepared: The state without what is held back already.
            held: The refusals because of which this is held back.
        """
        found: dict[str, Refusal] = {}
        for name, verdict in verdicts.items():
            for label in dict.fromkeys(name.split(",")):
                files = whole.tree.labels.get(label)
                former = found.get(label) or held.get(label)
                if label not in altered.stems or files is None or (label in found and not found[label].applications):
                    continue
                applications = self._refused_applications(verdict, label, whole, before)
                if applications and verdict.keys <= prepared.state.held.get(label, {}).keys():
                    continue  # these keys have their former files already
                state = state_of(files)
                exception = self._exceptions.get(label)
                if exception is not None and exception.state == state:
                    self._standing[label] = verdict
                    continue
                known = self._held.get(label)
                recorded = self._recorded.get(label, ("", 0.0))
                since = recorded[1] if recorded[0] == state else self._now()
                if known is not None and known[1].state == state:
                    since = known[1].since
                if former is not None:
                    verdict = _both(Verdict(former.findings, former.count), verdict)
                    applications = applications and applications | {*former.applications}
                names = tuple(sorted(applications))
                refusal = Refusal(label, state, verdict.findings, verdict.count, verdict.failure, since, names)
                found[label] = refusal
                self._held[label] = files, refusal
        return found

    def _refused_applications(
        self, verdict: Verdict, label: str, whole: ServedState, before: ServedState
    ) -> frozenset[str]:
        """Return the applications that a verdict holds back, or nothing if it holds back the whole label."""
        former = before.state.labels.get(label)
        if not verdict.keys or former is None:
            return frozenset()
        new = whole.state.labels[label]
        # The schemas of the served state count. So a state that changes them is published as a whole or not at all.
        has_schemas = any(each.has_source_schemas for each in self._gate.rules)
        if has_schemas and schema_contents(former) != schema_contents(new):
            return frozenset()
        return frozenset(key.application for key in verdict.keys)

    async def _refused_schemas(
        self, before: ServedState, prepared: ServedState, altered: Alterations
    ) -> dict[str, Verdict]:
        """Return the verdicts about the labels whose new schemas can't be used."""
        found: dict[str, Verdict] = {}
        for label in sorted(set(prepared.state.labels)):
            new, old = prepared.state.labels[label], before.state.labels.get(label)
            if new is not old and not (verdict := await self._gate.unusable(old, new, label)).accepts:
                found[label] = verdict
        return found

    async def _changed(
        self, prepared: ServedState, altered: Alterations, before: ServedState, judged: Collection[Key]
    ) -> tuple[Staged, list[Config]]:
        """Resolve the keys that a state can change. Return them, and those configurations that are to be judged."""
        # The store has the documents of pins. The gate judges the documents without them.
        # The same holds for roll-outs. A candidate has what its key would have without one.
        state = self._store.state
        pinned = state.pinned.keys() | state.stable.keys() if state is not None else frozenset()
        affected = {plain(key): each for key, each in self._store.affected(altered).items() if key not in pinned}
        keys = {key: each for key, each in affected.items() if self._gate.judges(key)}
        listed = prepared.listing.keys
        own = self._dependencies.altered(altered) | self._unsettled
        if listed is not before.listing.keys:
            own |= {key for key in listed - before.listing.keys if self._gate.judges(key)}
        for key in own & listed:
            keys.setdefault(key, (self._store.find(key) if key not in pinned else None) or self._configs.get(key))
        unsettled = self._store.unsettled | self._unsettled
        ready: Staged = await self._in_thread(stage, prepared, keys, time.perf_counter, before.state, unsettled)
        configs = [
            new
            for key, new in ready.configs.items()
            if new is not None and key not in ready.kept and key not in judged and _is_new(keys[key], new)
        ]
        return ready, configs

    async def _without(
        self, prepared: ServedState, refused: Mapping[str, Refusal], before: ServedState
    ) -> tuple[ServedState, Alterations]:
        """Return a state without what is refused, and its differences from the served state; see `holding`."""
        made: tuple[ServedState, Alterations] = await self._in_thread(
            _without, prepared, refused, before, frozenset(self._store)
        )
        return made

    def committed(self, admitted: Admitted, before: ServedState | None, now: ServedState) -> None:
        """Note what was committed, and log what the gate has decided."""
        former = before.refusals if before is not None else {}
        self.remember(now)
        if self.is_on:
            self._note(admitted, now)
        for label, refusal in now.refusals.items():
            if former.get(label) != refusal:
                report_refusal(refusal, is_served=label in now.tree.labels)
                is_new = label in former or self._recorded.get(label, ("", 0.0))[0] != refusal.state
                if refusal.failure is not None or is_new:
                    self._decide(Kind.REFUSED if refusal.failure is None else Kind.UNJUDGED, refusal)
        for name in [each for each in self._standing if not now.state.labels.keys() >= {*each.split(",")}]:
            del self._standing[name]
        for label in former.keys() - now.refusals.keys():
            exception = self._exceptions.pop(label, None)
            state = state_in(now, label)
            if exception is None:
                report_release(former[label], state)
                self._decided(Decision(Kind.RELEASED, label, state, applications=former[label].applications))
                continue
            report_exception(former[label], exception.by.name, exception.reason)
            self._decide(Kind.OVERRIDDEN, former[label], exception.by if exception.is_asked else None, exception.reason)
        for label in sorted(admitted.judged - now.refusals.keys() - former.keys()):
            self._decided(Decision(Kind.ACCEPTED, label, state_in(now, label)))
        self._exceptions.clear()
        # Labels of which nothing was read yet keep what an earlier process has recorded.
        self._recorded = {label: each for label, each in self._recorded.items() if label not in now.tree.labels}
        if self.is_on:
            self._accepted.note_refused({**self._recorded, **_refused(now)})

    def _decide(self, kind: Kind, about: Refusal, by: Person | None = None, reason: str = "") -> None:
        verdict = about.findings, about.count, about.failure
        self._decided(Decision(kind, about.label, about.state, *verdict, by, reason, about.applications))

    def _note(self, admitted: Admitted, now: ServedState) -> None:
        """Keep the configurations of listed keys, for the next publication."""
        ready, listed = admitted.ready, now.listing.keys
        for key in [key for key in self._configs if key not in listed]:
            del self._configs[key]
            self._dependencies.discard(key)
        self._unsettled &= listed
        if ready is None:
            return
        for key, config in ready.configs.items():
            if key in listed:
                self._settle(key, None if key in ready.kept else config)

    def _settle(self, key: Key, config: Config | None) -> None:
        if config is None:
            self._unsettled.add(key)
            self._dependencies.discard(key)
        else:
            self._unsettled.discard(key)
            self._configs[key] = config
            self._dependencies.put(config)

    # What is served already.

    async def examine(self, served: ServedState) -> None:
        """Judge everything that is served, and report what breaks the rules. It stays served."""
        self._configs.clear()
        self._dependencies, self._unsettled = Dependencies(), set()
        if not self.is_on:
            self._standing = {}
            return
        found = await self._examined(served, {*served.listing.keys, *self._store}, served.state.labels)
        before, self._standing = self._standing, found
        for label, each in self._standing.items():
            if not _is_known(before.get(label), each):
                report_standing(label, each)

    async def examine_labels(self, served: ServedState, labels: Collection[str]) -> None:
        """Judge what is served under some labels, and report what breaks the rules. It stays served."""
        found = {label: served.state.labels[label] for label in labels if label in served.state.labels}
        keys = [key for key in {*served.listing.keys, *self._store} if not found.keys().isdisjoint(key.labels)]
        verdicts = await self._examined(served, keys, found)
        before = self._standing
        others = {name: each for name, each in before.items() if found.keys().isdisjoint(name.split(","))}
        self._standing = {**others, **verdicts}
        for name, verdict in sorted(verdicts.items()):
            if _is_known(before.get(name), verdict):
                continue
            report_standing(name, verdict)
            state = ",".join(filter(None, (state_in(served, label) for label in dict.fromkeys(name.split(",")))))
            self._decided(Decision(Kind.STANDING, name, state, verdict.findings, verdict.count, verdict.failure))

    def outdated(self, before: ServedState, now: ServedState) -> frozenset[str]:
        """Return the labels about which a publication has outdated what is known. They must be examined again.

        These are the labels with findings that have changed, and those with other schemas.
        """
        standing = {label for name in self._standing for label in name.split(",")}
        has_schemas = any(each.has_source_schemas for each in self._gate.rules)
        found = set()
        for label, files in now.state.labels.items():
            former = before.state.labels.get(label)
            is_same = former is files and before.state.held.get(label) is now.state.held.get(label)
            if not is_same and (label in standing or (has_schemas and _has_other_schemas(former, files))):
                found.add(label)
        return frozenset(found)

    async def _examined(
        self, served: ServedState, keys: Iterable[Key], labels: Mapping[str, ParsedFiles]
    ) -> dict[str, Verdict]:
        """Judge keys as they are served, and the schemas in labels. Return what breaks the rules."""
        # In the same order each time, so that a verdict names the same findings first.
        configs = await self._learn(served, await self._in_thread(_in_order, keys))
        verdicts = await self._gate.judge(configs, served.state.labels, served.state.labels)
        for label, files in labels.items():
            unusable = await self._gate.unusable(None, files, label)
            verdicts[label] = _both(unusable, verdicts.get(label, Verdict()))
        return {label: each for label, each in verdicts.items() if not each.accepts}

    async def _learn(self, served: ServedState, keys: Iterable[Key]) -> list[Config]:
        """Resolve those keys that the gate judges, and keep the listed ones for the next publication."""
        served = _with_pins(served, {})
        known: dict[Key, Config | None] = {key: self._store.find(key) for key in keys if self._gate.judges(key)}
        ready: Staged = await self._in_thread(stage, served, known, time.perf_counter, served.state, known)
        configs = []
        for key, config in ready.configs.items():
            is_kept = key in ready.kept
            if key in served.listing.keys:
                self._settle(key, None if is_kept else config)
            if config is not None and not is_kept:
                configs.append(config)
        return configs

    async def replace(self, rules: Sequence[Rules]) -> None:
        """Put other rules in force. Labels that are held back are judged again by the next publication."""
        await self._gate.replace(rules)
        self._held.clear()
        if not self.is_on:
            self._accepted.forget()

    def remember(self, served: ServedState) -> None:
        """Remember what is served, for the next start. Of a label, the last state counts of which nothing was held back."""
        if self.is_on:
            labels, held = served.tree.labels, served.state.held
            if held:
                labels = {
                    label: self._whole.get(label, each) if label in held else each for label, each in labels.items()
                }
            self._whole = labels
            self._accepted.note(labels)

    def let_through(self, label: str, state: str, by: Person, reason: str, *, is_asked: bool = True) -> None:
        """Let the next publication publish a state of a label that is held back.

        Args:
            is_asked: Whether this worker was asked, and not another one.

        Raises:
            RemoteError: The label isn't held back, or another state of it is.
        """
        held = self._held.get(label)
        if held is None:
            raise RemoteError("this label is not held back", 404)
        if held[1].state != state:
            raise RemoteError("another state of this label is held back by now; look at it first", 409)
        self._exceptions[label] = _Exception(state, by, reason, is_asked)

    # Keys that are first asked for later.

    def judges_at_first_read(self, key: Key, served: ServedState) -> bool:
        """Return whether a key must be judged when it is read: the publications don't judge it."""
        if key in served.state.pinned or isinstance(key, CandidateKey):
            return False
        return self.is_on and key not in served.listing.keys and self._gate.judges(key)


def state_of(files: Files) -> str:
    """Return the name of a state of a label: its commit, or a digest of its files."""
    if files.revision is not None and not files.others:
        return files.revision
    digest = hashlib.sha256()
    for layer in (files, *files.others):
        contents = {**layer.contents, **{path: why.encode() for path, why in layer.unreadable.items()}}
        for name, data in sorted(contents.items()):
            digest.update(f"{layer.root}\0{name}\0{len(data)}\0".encode())
            digest.update(data)
    return digest.hexdigest()[:16]


def state_in(served: ServedState, label: str) -> str | None:
    """Return the name of the state of a label that is served, or None if there is no such label."""
    files = served.tree.labels.get(label)
    return None if files is None else state_of(files)


def report_refusal(refusal: Refusal, *, is_served: bool) -> None:
    """Log a label that is held back.

    Args:
        is_served: Whether an earlier state of the label is served.
    """
    kept = "its keys keep their former state" if is_served else "it isn't served, because it has no earlier state"
    others = "labels"
    if refusal.applications:
        kept, others = "their keys keep their former state", "applications and labels"
    members = {
        "label": refusal.label,
        "state": refusal.state,
        **_named(refusal),
        "findings": [str(each) for each in refusal.findings[:_LOGGED]],
        "findings_count": refusal.count,
        **({"failure": f"the gate {refusal.failure}"} if refusal.failure else {}),
        "consequence": f"{kept}; other {others} are published",
    }
    if refusal.applications:
        log.warning("applications held back", **members)
    else:
        log.warning("label held back", **members)


def report_release(refusal: Refusal, state: str | None) -> None:
    """Log that a refusal no longer holds back anything.

    Args:
        state: The state of the label that is served now, or None if the label is gone.
    """
    event = "applications no longer held back" if refusal.applications else "label no longer held back"
    log.info(event, label=refusal.label, state=state, **_named(refusal))


def _named(refusal: Refusal) -> dict[str, Any]:
    """Return the applications of a refusal, for the log."""
    names = refusal.applications
    return {"applications": [*names[:_LOGGED]], "applications_count": len(names)} if names else {}


def report_exception(refusal: Refusal, by: str, reason: str) -> None:
    """Log a state that an administrator has let through."""
    log.warning(
        "gate overridden",
        label=refusal.label,
        state=refusal.state,
        by=by,
        reason=reason,
        **_named(refusal),
        findings=[str(each) for each in refusal.findings[:_LOGGED]],
        findings_count=refusal.count,
        consequence="clients get this state although it breaks the rules",
    )


def report_standing(label: str, verdict: Verdict) -> None:
    """Log what is served although it breaks the rules, or although nothing of it could be judged."""
    if not verdict.count:
        log.warning(
            "served configuration not judged",
            label=label,
            failure=f"the gate {verdict.failure}",
            consequence="it stays served; the gate judges it again in 5 to 60 s",
        )
        return
    log.warning(
        "served configuration breaks the gate's rules",
        label=label,
        findings=[str(each) for each in verdict.findings[:_LOGGED]],
        findings_count=verdict.count,
        **({"failure": f"the gate {verdict.failure}"} if verdict.failure else {}),
        consequence="it stays served; the next change of these keys must keep the rules",
    )


def _withheld(
    configs: Sequence[Config], verdicts: Mapping[str, Verdict], altered: Alterations, prepared: ServedState
) -> set[Key]:
    """Return the refused keys that can't be held back, because their files are served already.

    These keys aren't listed. No publication has judged them before, for example while they were pinned.
    """
    keys = {each.key for each in configs if each.key not in prepared.listing.keys}
    return {
        key
        for key in keys
        if verdicts[key.label].refuses(key)
        and all(name not in altered.stems or key in prepared.state.held.get(name, ()) for name in key.labels)
    }


def _is_held(key: Key, new: Mapping[str, Refusal], prepared: ServedState) -> bool:
    """Return whether new refusals give a key former files."""
    found = [(label, new[label]) for label in key.labels if label in new]
    return any(not each.applications or key in prepared.state.held.get(label, ()) for label, each in found)


def _refused(now: ServedState) -> dict[str, tuple[str, float]]:
    """Return what is to be remembered of the refusals. What couldn't be judged is recorded again by the next process."""
    return {label: (each.state, each.since) for label, each in now.refusals.items() if each.failure is None}


def _in_order(keys: Iterable[Key]) -> list[Key]:
    return sorted(keys, key=attrgetter("label", "application", "profile"))


def _is_known(before: Verdict | None, now: Verdict) -> bool:
    """Return whether a verdict about what is served says the same as the one before, in whatever order."""
    return before is not None and (
        ({*before.findings}, before.count, before.failure) == ({*now.findings}, now.count, now.failure)
    )


def _has_other_schemas(before: ParsedFiles | None, now: ParsedFiles) -> bool:
    """Return whether a label has other schemas than before. A new label was judged by its own schemas."""
    return before is not None and schema_contents(before) != schema_contents(now)


def _with_pins(served: ServedState, pinned: "Mapping[Key, Pinned]") -> ServedState:
    """Return the same state with these pins."""
    state = served.state.with_pins(pinned)
    return served if state is served.state else attrs.evolve(served, state=state)


def _is_new(old: Config | None, new: Config) -> bool:
    return old is None or old.version != new.version


def _both(one: Verdict, other: Verdict) -> Verdict:
    findings = (*one.findings, *other.findings)[:MOST_FINDINGS]
    return Verdict(findings, one.count + other.count, one.failure or other.failure)


def _without(
    prepared: ServedState, refused: Mapping[str, Refusal], before: ServedState, used: Collection[Key]
) -> tuple[ServedState, Alterations]:
    served = without(prepared, refused, before, used)
    return served, served.state.altered_from(before.state)

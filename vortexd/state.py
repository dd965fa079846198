"""Everything served at one moment, as one immutable object: what each key is resolved from.

In comes a `ParsedTree` with the state before it, out goes a new state, and from that the `Config` of any key. Pure and synchronous.

The invariant: what is served is always the whole, sound state of some moment. A broken file holds the applications it touches at
the newest state in which none of their files was broken; the others move on.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs

from .encryption.decryptor import Decryptor
from .errors import FormatError, UnknownLabel
from .model import OVERRIDES, Config, Key, PropertySource
from .resolve.explain import Explanation, explain
from .resolve.labels import layers_of
from .resolve.nest import effective_document
from .resolve.spring import property_sources
from .resolve.tree import ParsedFiles, ParsedTree
from .version import encode, version_of

_SHARED = "application"
# Pairs of a source and an application.
_Blocked: TypeAlias = frozenset[tuple[str, str]]
# Files that break and heal in turn may need one generation for each set of applications; nobody's habits need more than a few.
_MAX_GENERATIONS = 32


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

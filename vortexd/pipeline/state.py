"""The state that keys are resolved from at one moment, as one immutable object.

A `ParsedTree` arrives, and the `Config` of any key leaves. Pure and synchronous. A key that is pinned reads the files of its
pin instead. A key that the gate holds back reads former files of a label. A key in a roll-out reads the files of its stable
version, and its candidate reads those that the key would read otherwise. All of them still need their labels: if one of them
is gone, the key has no configuration.

The invariant: a key depends only on the files that it reads. If such a file is broken, its last good content replaces
it. If there is none, the key can't be resolved. Other keys aren't affected.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import attrs

from ..core.candidate import CandidateKey, StableConfig, candidate_of, plain
from ..core.errors import UnknownLabel
from ..core.model import OVERRIDES, BrokenFile, Config, Key, Moment, PropertySource
from ..core.version import encode, version_of
from ..encryption.decryptor import Decryptor
from ..resolve.alterations import Alterations, alterations
from ..resolve.explain import Explanation, explain
from ..resolve.labels import layers_of
from ..resolve.nest import effective_document
from ..resolve.spring import Selection, selection, sources_of
from ..resolve.tree import ParsedFiles

if TYPE_CHECKING:
    from ..core.term import Term
    from ..pins.pin import Pinned

# The files of keys that keep former files, by label.
Held: TypeAlias = Mapping[str, Mapping[Key, Sequence[ParsedFiles]]]

# The layers of each label of a key, the strongest first.
Frozen: TypeAlias = Mapping[Key, Sequence[Sequence[ParsedFiles]]]

# All states without a roll-out share it.
_NO_STABLE: Frozen = MappingProxyType({})
# All states without a pin share it, and all states without a key that is held back.
_NO_PINS: "Mapping[Key, Pinned]" = MappingProxyType({})
_NONE_HELD: Held = MappingProxyType({})


@attrs.frozen(slots=True, eq=False)
class Selected:
    """The files of a key, before anything is decrypted or merged.

    Attributes:
        labels: The layers of each label of the key, the strongest first.
        chosen: The documents of all layers, the strongest layer first.
        sources: The property sources, highest precedence first, without the overrides.
    """

    key: Key
    labels: Sequence[Sequence[ParsedFiles]]
    chosen: Sequence[Selection]
    sources: tuple[PropertySource, ...]


@attrs.frozen(slots=True, eq=False)
class State:
    """The state that keys are resolved from at one moment.

    Attributes:
        decryptor: Decrypts encrypted values. If it is None, they are served encrypted.
        overrides: The values that override those of all sources, or None. They are never decrypted, as in Spring.
        published: When the state was committed.
        pinned: The keys that are pinned, with the files that they read.
        held: For each label, the keys that the gate holds back, with the layers that they read in place of the label's.
        stable: The keys in roll-outs, with the layers of their stable versions.
    """

    labels: Mapping[str, ParsedFiles]
    default_label: str
    decryptor: Decryptor | None = None
    overrides: PropertySource | None = None
    published: Moment = attrs.field(factory=Moment)
    pinned: "Mapping[Key, Pinned]" = _NO_PINS
    held: Held = _NONE_HELD
    stable: Frozen = _NO_STABLE

    @property
    def unpinned(self) -> "State":
        """The same state without pins and roll-outs. It has the same moment."""
        return attrs.evolve(self, pinned=_NO_PINS, stable=_NO_STABLE) if self.pinned or self.stable else self

    def with_pins(self, pinned: "Mapping[Key, Pinned]") -> "State":
        """Return the same state, of the same moment, with these pins."""
        return attrs.evolve(self, pinned=pinned) if self.pinned or pinned else self

    def with_stable(self, stable: Frozen) -> "State":
        """Return the same state, of the same moment, with the stable versions of these keys."""
        return attrs.evolve(self, stable=stable) if self.stable or stable else self

    def term(self, key: Key) -> "Term | None":
        """Return the term of the pin that serves a key, or None if it isn't pinned or one of its labels is gone."""
        found = self.pinned.get(plain(key)) if self.pinned else None
        return found.pin.term if found is not None and all(label in self.labels for label in key.labels) else None

    def resolve(self, key: Key) -> Config:
        """Resolve a key from its label, or from each of its labels.

        Raises:
            UnknownLabel: There is no such label.
            FormatError: The key reads a broken file, and no earlier good content of the file is known.
            ResolveError: The files can't be combined.
        """
        selected = self.select(key)
        sources = selected.sources if self.decryptor is None else self.decryptor.opened(selected.sources)
        return self.config(selected, sources)

    def select(self, key: Key) -> Selected:
        """Select the property sources of a key. Raises the errors of `resolve`."""
        labels = self.layers(key)
        chosen = _sound(layers_of(labels), key)
        return Selected(key, labels, chosen, tuple(source for each in chosen for source in sources_of(each)))

    def config(
        self, selected: Selected, sources: tuple[PropertySource, ...], pieces: tuple[bytes, ...] | None = None
    ) -> Config:
        """Make the configuration of a key.

        Args:
            sources: The decrypted sources. The overrides aren't among them.
            pieces: The document as JSON, in pieces, if it is known.

        Raises:
            ResolveError: The files can't be combined.
        """
        sources = self.with_overrides(sources)
        body = encode(effective_document(sources)) if pieces is None else b"".join(pieces)
        # Commits of several sources have no common order, so their commit times decide.
        origins = [each.origin for each in selected.chosen if each.origin]
        origin = max(origins, key=lambda each: each.time, default=None)
        reads = tuple(dict.fromkeys(stem for each in selected.chosen for stem in each.stems))
        revision, version = _revision(selected.labels), version_of(body)
        members = selected.key, version, pieces or body, sources, revision, origin, self.published, reads
        term = self.term(selected.key) if self.pinned else None
        if term is None:
            return StableConfig(*members) if selected.key in self.stable else Config(*members)
        from ..core.term import PinnedConfig

        return PinnedConfig(*members, pinned=term)

    def renewed(self, old: Config, sources: tuple[PropertySource, ...], pieces: tuple[bytes, ...]) -> Config:
        """Make the configuration of a key that reads the same files as before. Only values in them have changed.

        Args:
            old: The configuration in the state before.
            sources: The decrypted sources, with the overrides.
            pieces: The document as JSON, in pieces.

        Raises:
            UnknownLabel: There is no such label.
        """
        version, revision = version_of(b"".join(pieces)), _revision(self.layers(old.key))
        return Config(old.key, version, pieces, sources, revision, old.origin, self.published, old.reads)

    def check(self, key: Key) -> None:
        """Check that a key can be resolved, with as little work as possible. Raises the errors of `resolve`."""
        selected = self.select(key)
        sources = self.with_overrides(selected.sources)
        # Only the indexes of lists can make a document impossible, and decrypting adds none.
        if any(source.has_lists for source in sources):
            effective_document(sources)

    def with_overrides(self, sources: tuple[PropertySource, ...]) -> tuple[PropertySource, ...]:
        """Return property sources with the overrides above them."""
        return sources if self.overrides is None else (self.overrides, *sources)

    def revised(self, config: Config) -> Config:
        """Return a configuration whose files haven't changed, with the commit that is served now.

        Raises:
            UnknownLabel: There is no such label.
        """
        revision = _revision(self.layers(config.key))
        return config if revision == config.revision else attrs.evolve(config, revision=revision)

    def explain(self, key: Key) -> tuple[Explanation, str]:
        """Explain the result of `resolve` for a key. Return the explanation and the version.

        Raises:
            UnknownLabel, FormatError, ResolveError: As in `resolve`.
        """
        layers = self.newest(key)
        _sound(layers, key)
        explanation = explain(layers, key, self.decryptor, self.overrides)
        return explanation, version_of(encode(effective_document(explanation.served)))

    def broken(self, key: Key) -> list[BrokenFile]:
        """Return the broken files that a key reads. If it is served from its current files, the list is empty.

        Raises:
            UnknownLabel: There is no such label.
            ResolveError: There are too many profiles or imports.
        """
        return [
            layer.broken_file(label, path)
            for label, layers in zip(key.labels, self.layers(key), strict=True)
            for layer in layers
            if layer.broken
            for path in selection(layer, key).broken
        ]

    def newest(self, key: Key) -> list[ParsedFiles]:
        """Return the layers that serve a key as they are now, the strongest first, even if files in them are broken.

        Raises:
            UnknownLabel: There is no such label.
        """
        return list(layers_of(self.layers(key)))

    def layers(self, key: Key) -> list[list[ParsedFiles]]:
        """Return the layers of each label of a key, the strongest first.

        Raises:
            UnknownLabel: There is no such label.
        """
        labels = [self._files(label) for label in key.labels]
        if isinstance(key, CandidateKey):
            key = plain(key)
            stable = None
        else:
            stable = self.stable.get(key) if self.stable else None
        pinned = self.pinned.get(key) if self.pinned else None
        if pinned is not None:
            return [list(layers) for layers in pinned.labels]
        if stable is not None:
            return [list(layers) for layers in stable]
        if self.held:
            return [list(self.layers_in(label, key)) for label in key.labels]
        return [list(files.layers_for(key)) for files in labels]

    def layers_in(self, label: str, key: Key) -> Sequence[ParsedFiles]:
        """Return the layers that a key reads in one label, the strongest first, as if it weren't pinned.

        Raises:
            UnknownLabel: There is no such label.
        """
        held = self.held.get(label)
        found = held.get(key) if held is not None else None
        return found if found is not None else tuple(self._files(label).layers_for(key))

    def is_apart(self, key: Key) -> bool:
        """Return whether a key reads other files than those of its labels, because of a pin, the gate or a roll-out."""
        if key in self.stable:
            return True
        key = plain(key)
        return key in self.pinned or any(key in self.held.get(label, ()) for label in key.labels)

    def altered_from(self, before: "State") -> Alterations:
        """Find the files that differ from those of a former state, and the keys that are held back otherwise.

        If other keys of a label are held back, the label counts as altered.
        """
        found = alterations(before.labels, self.labels)
        stems, keys = dict(found.stems), set[Key]()
        for label in before.held.keys() | self.held.keys():
            one, other = before.held.get(label, {}), self.held.get(label, {})
            if one is not other:
                stems.setdefault(label, frozenset())
                keys.update(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
        if self.stable:
            keys |= {candidate_of(key) for key in keys}
        return Alterations(stems, frozenset(keys))

    def _files(self, label: str) -> ParsedFiles:
        files = self.labels.get(label)
        if files is None:
            raise UnknownLabel.named(label)
        return files


def _revision(labels: Sequence[Sequence[ParsedFiles]]) -> str | None:
    revisions = [next((layer.files.revision for layer in layers), None) for layers in labels]
    return ",".join(each for each in revisions if each) or None


def _sound(layers: Iterator[ParsedFiles] | Sequence[ParsedFiles], key: Key) -> list[Selection]:
    chosen = [selection(layer, key) for layer in layers]
    fault = next((each.fault for each in chosen if each.fault), None)
    if fault is not None:
        raise fault
    return chosen


def overrides_of(overrides: Mapping[str, str]) -> PropertySource | None:
    """Return [overrides] as the strongest property source, or None if there are none.

    A backslash before `{` or `${` protects a placeholder from programs that would resolve it earlier. Here the
    backslash is removed, as in Spring.
    """
    values = {key: value.replace("\\{", "{").replace("\\${", "${") for key, value in overrides.items()}
    return PropertySource(OVERRIDES, values, {}) if values else None

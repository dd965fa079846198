"""Everything served at one moment, as one immutable object: what each key is resolved from.

In comes a `ParsedTree`, out comes the `Config` of any key. Pure and synchronous.

The invariant: a key depends on the files that it reads, and on no others. The last good content takes the place of a broken file that it
reads; if there is none, the key can't be resolved, and all other keys can.
"""

from collections.abc import Iterator, Mapping, Sequence

import attrs

from ..core.errors import UnknownLabel
from ..core.model import OVERRIDES, BrokenFile, Config, Key, Moment, PropertySource
from ..core.version import encode, version_of
from ..encryption.decryptor import Decryptor
from ..resolve.explain import Explanation, explain
from ..resolve.labels import layers_of
from ..resolve.nest import effective_document
from ..resolve.spring import Selection, selection, sources_of
from ..resolve.tree import ParsedFiles


@attrs.frozen(slots=True, eq=False)
class State:
    """Everything served at one moment.

    Attributes:
        decryptor: Opens what is encrypted; None where it is served as it is.
        overrides: What goes over all that the sources have, or None. Nothing in it is decrypted, as in Spring.
        published: When it was committed.
    """

    labels: Mapping[str, ParsedFiles]
    default_label: str
    decryptor: Decryptor | None = None
    overrides: PropertySource | None = None
    published: Moment = attrs.field(factory=Moment)

    def resolve(self, key: Key) -> Config:
        """Resolve a key from its label, or from each of its labels.

        Raises:
            UnknownLabel: There is no such label.
            FormatError: The key reads a broken file, and no former content of it is known.
            ResolveError: The files can't be combined.
        """
        labels = self._labels(key)
        chosen = _sound(layers_of(labels), key)
        sources = tuple(source for each in chosen for source in sources_of(each))
        if self.decryptor is not None:
            sources = self.decryptor.opened(sources)
        if self.overrides is not None:
            sources = (self.overrides, *sources)
        return self._config(key, sources, labels, chosen)

    def explain(self, key: Key) -> tuple[Explanation, str]:
        """Explain what `resolve` makes of a key, and give its version.

        Raises:
            UnknownLabel, FormatError, ResolveError: As `resolve`.
        """
        layers = self.newest(key)
        _sound(layers, key)
        explanation = explain(layers, key, self.decryptor, self.overrides)
        return explanation, version_of(encode(effective_document(explanation.served)))

    def broken(self, key: Key) -> list[BrokenFile]:
        """The broken files that a key reads; none if it is served as its files are now.

        Raises:
            UnknownLabel: There is no such label.
            ResolveError: There are too many profiles or imports.
        """
        return [
            layer.broken_file(label, path)
            for label in key.labels
            for layer in self._files(label).layers_for(key)
            if layer.broken
            for path in selection(layer, key).broken
        ]

    def newest(self, key: Key) -> list[ParsedFiles]:
        """The layers that serve a key as they are now, the strongest first, whatever is broken in them.

        Raises:
            UnknownLabel: There is no such label.
        """
        return list(layers_of(self._labels(key)))

    def _labels(self, key: Key) -> list[list[ParsedFiles]]:
        """The layers of each label of a key, the strongest first."""
        return [list(self._files(label).layers_for(key)) for label in key.labels]

    def _files(self, label: str) -> ParsedFiles:
        files = self.labels.get(label)
        if files is None:
            raise UnknownLabel.named(label)
        return files

    def _config(
        self,
        key: Key,
        sources: tuple[PropertySource, ...],
        labels: Sequence[Sequence[ParsedFiles]],
        chosen: Sequence[Selection],
    ) -> Config:
        document = effective_document(sources)
        body = encode(document)
        revisions = [next((layer.files.revision for layer in layers), None) for layers in labels]
        revision = ",".join(each for each in revisions if each) or None
        # Several sources have no common order of commits, so their clocks decide.
        origins = [each.origin for each in chosen if each.origin]
        origin = max(origins, key=lambda each: each.time, default=None)
        return Config(key, version_of(body), document, body, sources, revision, origin, self.published)


def _sound(layers: Iterator[ParsedFiles] | Sequence[ParsedFiles], key: Key) -> list[Selection]:
    chosen = [selection(layer, key) for layer in layers]
    fault = next((each.fault for each in chosen if each.fault), None)
    if fault is not None:
        raise fault
    return chosen


def overrides_of(overrides: Mapping[str, str]) -> PropertySource | None:
    """[overrides] as the strongest property source; None where there are none.

    A backslash before `{` or `${` has kept somebody on the way from resolving it, and goes, as it does in Spring.
    """
    values = {key: value.replace("\\{", "{").replace("\\${", "${") for key, value in overrides.items()}
    return PropertySource(OVERRIDES, values, {}) if values else None

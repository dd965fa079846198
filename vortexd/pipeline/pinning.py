"""Takes the files of a pin from a state, and parses the files of pins. Loaded only if there is a pin.

A key and its parsed layers arrive, and the files that the key reads leave. Later pins arrive, and `Pinned`s leave for the
state. The invariant: a pin's files alone give the document that it was put for. `resolves_to` checks this before a pin is put.
"""

from collections.abc import Mapping, Sequence

import attrs

from ..core.errors import FormatError, ResolveError
from ..core.model import Config, Edits, Files, Key, Tree
from ..pins.pin import Pin, Pinned
from ..resolve.spring import selection
from ..resolve.tree import ParsedFiles, ParsedTree
from ..settings.formats import FormatSettings
from .parsing import parse_all
from .state import State

Labels = tuple[tuple[Files, ...], ...]


def files_of(layers: Sequence[Sequence[ParsedFiles]], key: Key) -> Labels:
    """Return the files that a key reads, for each of its labels.

    Args:
        layers: The layers of each label of the key, the strongest first.

    Raises:
        FormatError: The key reads a broken file, and no earlier good content of the file is known.
        ResolveError: There are too many profiles or imports.
    """
    return tuple(tuple(_read_by(key, layer) for layer in each) for each in layers)


def _read_by(key: Key, layer: ParsedFiles) -> Files:
    chosen, files = selection(layer, key), layer.files
    if chosen.fault is not None:
        raise chosen.fault
    contents = {}
    for path in chosen.reads:
        fallback = layer.fallbacks.get(path)
        # A broken file stays out. Its last good content is served.
        content = files.contents.get(path) if fallback is None else fallback.former.content
        if path in layer.documents and content is not None:
            contents[path] = content
    edits = files.edits
    if edits is not None:
        # The pin keeps the last commit that changed one of the key's files, and no other commit.
        last = edits.last(chosen.reads)
        edits = Edits(0, {} if last is None else {next(iter(chosen.reads)): (0, last)})
    return Files(
        contents,
        root=files.root,
        locations=files.locations,
        revision=files.revision,
        origin=files.origin,
        applications=files.applications,
        group=files.group,
        edits=edits,
    )


def parse_pins(
    pins: Sequence[Pin], limits: FormatSettings, former: Mapping[Key, Pinned]
) -> tuple[dict[Key, Pinned], dict[Key, str]]:
    """Parse the files of pins. Return the pins that can be used, and the reasons why others can't. Blocks.

    Args:
        former: The pins that are in force. If a file exceeds new limits, its former documents stay in use.
    """
    usable: dict[Key, Pinned] = {}
    unusable: dict[Key, str] = {}
    for pin in pins:
        before = former.get(pin.key)
        if before is not None and before.pin.id != pin.id:
            before = None
        if before is not None and before.limits == limits:
            usable[pin.key] = before
            continue
        pinned = parse_pin(pin, limits, before)
        faults = [
            layer.broken[path]
            for layers in pinned.labels
            for layer in layers
            for path in layer.broken
            if path not in layer.fallbacks
        ]
        if faults:
            unusable[pin.key] = str(faults[0])
        else:
            usable[pin.key] = pinned
    return usable, unusable


def parse_pin(pin: Pin, limits: FormatSettings, former: Pinned | None = None) -> Pinned:
    """Parse the files of a pin. Blocks."""
    return Pinned(pin, parse_labels(pin.labels, limits, former.labels if former is not None else None), limits)


def parse_labels(
    labels: Labels, limits: FormatSettings, former: Sequence[Sequence[ParsedFiles]] | None = None
) -> tuple[tuple[ParsedFiles, ...], ...]:
    """Parse the files of the labels of one key. Return the layers of each label. Blocks.

    Args:
        former: The same files, parsed within other limits. If a file exceeds the new limits, its former documents stay.
    """
    tree = Tree({str(number): _joined(layers) for number, layers in enumerate(labels) if layers})
    served = None
    if former is not None:
        known = {str(number): _together(layers) for number, layers in enumerate(former) if layers}
        served = ParsedTree(known, tree.default_label)
    parsed = parse_all(tree, limits, None, served).labels
    return tuple(_layers(parsed.get(str(number))) for number in range(len(labels)))


def resolves_to(pin: Pin, limits: FormatSettings, state: State) -> str | None:
    """Return the version of the document of a pin's files, or None if they give none. Blocks.

    Args:
        state: Its labels, decryptor and overrides count.
    """
    pinned = parse_pin(pin, limits)
    try:
        config: Config = state.with_pins({pin.key: pinned}).resolve(pin.key)
    except (FormatError, ResolveError):
        return None
    return config.version


def _joined(layers: Sequence[Files]) -> Files:
    return attrs.evolve(layers[0], others=tuple(layers[1:]))


def _together(layers: Sequence[ParsedFiles]) -> ParsedFiles:
    return attrs.evolve(layers[0], files=_joined([each.files for each in layers]), others=tuple(layers[1:]))


def _layers(files: ParsedFiles | None) -> tuple[ParsedFiles, ...]:
    if files is None:
        return ()
    return tuple(attrs.evolve(layer, others=()) for layer in files.layers)

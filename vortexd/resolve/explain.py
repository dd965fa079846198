"""Explains a configuration: for each key, the layers that hold it, the layer that wins, and the place of each value.

`explain` takes the files that serve a key, before decryption, and returns an `Explanation`. The invariant: the winners
are exactly the values in `effective_document`. Both apply the same rules to the same values. A layer is never left out
because its value can't be shown.
"""

import enum
from collections.abc import Iterator, Mapping, Sequence

import attrs

from ..core.model import Key, Origin, PropertySource, Scalar
from ..encryption.decryptor import Decryptor
from ..encryption.values import PREFIX
from .activation import canonical, written
from .nest import standing_keys
from .spring import Candidate, Reason, Selection, selection
from .tree import ParsedFiles

_INVALID = "invalid."


class Outcome(enum.Enum):
    """The outcome for a value.

    Attributes:
        WINS: The value is served.
        OVERRIDDEN: A stronger layer has the same key.
        LIST_REPLACED: A stronger layer has a list of the same name. Lists are replaced as a whole.
        SHADOWED: The value is a scalar where a list is served, or part of a list where a scalar is served.
        UNREADABLE: The value can't be decrypted. The server sends `invalid.<key>` in place of its key.
    """

    WINS = "wins"
    OVERRIDDEN = "overridden"
    LIST_REPLACED = "list_replaced"
    SHADOWED = "shadowed"
    UNREADABLE = "unreadable"


class Cipher(enum.Enum):
    """The result of decryption for a value that is encrypted in its file.

    Attributes:
        DECRYPTED: The value is shown, and served, as plain text.
        FAILED: No key decrypts the value.
        KEPT: The server decrypts nothing. It serves the encrypted value.
    """

    DECRYPTED = "decrypted"
    FAILED = "failed"
    KEPT = "kept"


@attrs.frozen(slots=True)
class Place:
    """A place in a file. Line and column count from 1. They are None if the format doesn't record them."""

    document: str
    line: int | None
    column: int | None


@attrs.frozen(slots=True)
class Profile:
    """An active profile.

    Attributes:
        because: The key that activated the profile, `spring.profiles.include` or `spring.profiles.group.<name>`. None if
            the client requested the profile.
        place: The place of that key.
    """

    name: str
    because: str | None = None
    place: Place | None = None


@attrs.frozen(slots=True, eq=False)
class Source:
    """A source of layers, with its active profiles.

    Attributes:
        root: As `Files.root`.
        origin: The newest commit of this source that changed a file of the key.
        profiles: The active profiles, the strongest last.
    """

    root: str
    revision: str | None
    origin: Origin | None
    profiles: tuple[Profile, ...]


@attrs.frozen(slots=True, eq=False)
class Layer:
    """A document that was considered for the key.

    Attributes:
        name: As `PropertySource.name`.
        source: The index of its source in `Explanation.sources`, or None if it isn't a file.
        file: The path below the root of its source.
        document: The document's number in a file of several documents, from 0.
        profile: The profile in the name of its file.
        on_profile: Its condition in `spring.config.activate.on-profile`, or None.
        is_active: Whether the document is active. `Explanation.keys` has only values of active layers.
        is_last_good: Whether its file is broken now, so that this is the last good content. Lines refer to that content.
    """

    name: str
    source: int | None = None
    file: str | None = None
    document: int | None = None
    profile: str | None = None
    on_profile: str | None = None
    is_active: bool = True
    is_last_good: bool = False


@attrs.frozen(slots=True, eq=False)
class Holding:
    """The value of one layer for a key.

    Attributes:
        layer: The index of the layer in `Explanation.layers`.
        value: The value in the form in which it is served. None if it is unreadable.
        cipher: None if the value isn't encrypted in its file.
        by: If the value doesn't win, the layer that overrides it. None if the value is unreadable.
    """

    layer: int
    line: int | None
    column: int | None
    value: Scalar
    cipher: Cipher | None
    outcome: Outcome
    by: int | None = None


@attrs.frozen(slots=True, eq=False)
class Explanation:
    """The explanation of one key.

    Attributes:
        layers: All layers, strongest first.
        keys: Maps each flat key to its values, strongest first. The keys are in alphabetical order.
        served: The property sources of the active layers, decrypted.
    """

    key: Key
    sources: tuple[Source, ...]
    layers: tuple[Layer, ...]
    keys: Mapping[str, Sequence[Holding]]
    served: tuple[PropertySource, ...]


def explain(
    layers: Sequence[ParsedFiles],
    key: Key,
    decryptor: Decryptor | None = None,
    overrides: PropertySource | None = None,
) -> Explanation:
    """Explain a key. The time is proportional to the content of its layers.

    Args:
        layers: The layers that serve the key, strongest first.
        overrides: The property source over all layers. It isn't decrypted.

    Raises:
        ResolveError: As in `property_sources` and `effective_document`.
    """
    sources: list[Source] = []
    looked_at: list[Layer] = []
    raw: dict[int, PropertySource] = {}
    if overrides is not None:
        looked_at.append(Layer(overrides.name))
        raw[0] = overrides
    for number, files in enumerate(layers):
        chosen = selection(files, key)
        active = set(chosen.active())
        sources.append(_source(chosen))
        for each in chosen.candidates:
            is_active = each in active
            if is_active:
                raw[len(looked_at)] = each.property_source(files.files.root)
            looked_at.append(_layer(number, files, each, is_active))
    # The overrides aren't decrypted, because they come from the operator's settings.
    served = {
        at: source if decryptor is None or source is overrides else decryptor.opened((source,))[0]
        for at, source in raw.items()
    }
    return Explanation(key, tuple(sources), tuple(looked_at), _keys(raw, served), tuple(served.values()))


def is_below(key: str, wanted: str) -> bool:
    """Return whether a flat key is the wanted key or is below it: `a.b` and `a[0]` are below `a`."""
    return key.startswith(wanted) and key[len(wanted) : len(wanted) + 1] in ("", ".", "[")


def _source(chosen: Selection) -> Source:
    files = chosen.files.files
    found = tuple(_profile(files.root, name, reason) for name, reason in chosen.profiles.items())
    return Source(files.root, files.revision, chosen.origin, found)


def _profile(root: str, name: str, reason: Reason | None) -> Profile:
    if reason is None:
        return Profile(name)
    document = reason.document.document
    places = (place for key, place in document.origins.items() if canonical(key) == reason.key)
    line, column = next(places, (None, None))
    return Profile(name, reason.key.partition("[")[0], Place(root + reason.document.name, line, column))


def _layer(source: int, files: ParsedFiles, candidate: Candidate, is_active: bool) -> Layer:
    demand = candidate.document.profiles
    return Layer(
        files.files.root + candidate.name,
        source,
        candidate.path,
        candidate.number,
        candidate.profile or None,
        None if demand is None else ", ".join(map(written, demand.any_of)),
        is_active,
        candidate.path in files.broken,
    )


@attrs.frozen(slots=True)
class _Value:
    """A value of a layer, with the place and the key that it had before decryption."""

    written_as: str
    line: int | None
    column: int | None
    value: Scalar
    cipher: Cipher | None


def _keys(raw: Mapping[int, PropertySource], served: Mapping[int, PropertySource]) -> dict[str, Sequence[Holding]]:
    """Map each key of all layers to its values."""
    values: dict[str, dict[int, _Value]] = {}
    owners: dict[str, int] = {}
    keys: dict[str, list[Holding]] = {}
    for at, source in served.items():
        for key, value in _values(raw[at], source):
            values.setdefault(key, {})[at] = value
            name, bracket, _ = key.partition("[")
            owners.setdefault(name + bracket, at)
            if key != value.written_as:
                lost = Holding(at, value.line, value.column, None, value.cipher, Outcome.UNREADABLE)
                keys.setdefault(value.written_as, []).append(lost)
    standing = standing_keys([*served.values()])
    for key, held in values.items():
        for at, value in held.items():
            outcome, by = _outcome(key, at, held, owners, standing)
            keys.setdefault(key, []).append(
                Holding(at, value.line, value.column, value.value, value.cipher, outcome, by)
            )
    return {key: sorted(keys[key], key=lambda each: each.layer) for key in sorted(keys)}


def _values(raw: PropertySource, served: PropertySource) -> Iterator[tuple[str, _Value]]:
    encrypted = {
        key: value.removeprefix(PREFIX)
        for key, value in raw.values.items()
        if isinstance(value, str) and value.startswith(PREFIX)
    }
    moved = {_INVALID + key: key for key in encrypted if key not in served.values}
    for key, value in served.values.items():
        written_as = moved.get(key, key)
        cipher: Cipher | None = None
        if written_as in encrypted:
            is_open = key == written_as and value != encrypted[key]
            is_kept = value == raw.values[written_as]
            cipher = Cipher.KEPT if is_kept else Cipher.DECRYPTED if is_open else Cipher.FAILED
        line, column = raw.origins.get(written_as, (None, None))
        yield key, _Value(written_as, line, column, value, cipher)


def _outcome(
    key: str, at: int, held: Mapping[int, _Value], owners: Mapping[str, int], standing: set[str]
) -> tuple[Outcome, int | None]:
    name, bracket, _ = key.partition("[")
    owner = owners[name + bracket]
    if at != owner:
        return (Outcome.OVERRIDDEN if owner in held else Outcome.LIST_REPLACED), owner
    if key in standing:
        return Outcome.WINS, None
    # The other kind of value overrides this one. If both are in one layer, or deep in a list, it is that same layer.
    return Outcome.SHADOWED, owners.get(name if bracket else name + "[", at)

"""Why a configuration is what it is: for each key the layers that hold it, which of them wins, and where in its file each value stands.

In come the files that serve a key, before anything is decrypted; out goes an `Explanation`. The invariant: what is said to win is what
`effective_document` has, for both look at the same values by the same rules, and no layer is left out because its value can't be shown.
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
    """What became of a value.

    Attributes:
        WINS: It is what is served.
        OVERRIDDEN: A stronger layer has the same key.
        LIST_REPLACED: A stronger layer has a list of the same name, and lists are replaced as a whole.
        SHADOWED: A list stands where it is a scalar, or a scalar where it is part of a list.
        UNREADABLE: It can't be decrypted, and is served as `invalid.<key>` in place of its key.
    """

    WINS = "wins"
    OVERRIDDEN = "overridden"
    LIST_REPLACED = "list_replaced"
    SHADOWED = "shadowed"
    UNREADABLE = "unreadable"


class Cipher(enum.Enum):
    """How it is with a value that is encrypted in its file.

    Attributes:
        DECRYPTED: It is shown, and served, in the open.
        FAILED: No key decrypts it.
        KEPT: Nothing is decrypted here; it is served as it was written.
    """

    DECRYPTED = "decrypted"
    FAILED = "failed"
    KEPT = "kept"


@attrs.frozen(slots=True)
class Place:
    """Where somebody has written something; line and column count from 1, None where the format doesn't tell."""

    document: str
    line: int | None
    column: int | None


@attrs.frozen(slots=True)
class Profile:
    """A profile that is active.

    Attributes:
        because: The key that made it so, `spring.profiles.include` or `spring.profiles.group.<name>`; None where it was asked for.
        place: Where that is.
    """

    name: str
    because: str | None = None
    place: Place | None = None


@attrs.frozen(slots=True, eq=False)
class Source:
    """Where layers come from, and what is active in it.

    Attributes:
        root: As `Files.root`.
        origin: The newest commit that changed a file of it which the key reads.
        profiles: The strongest last.
    """

    root: str
    revision: str | None
    origin: Origin | None
    profiles: tuple[Profile, ...]


@attrs.frozen(slots=True, eq=False)
class Layer:
    """A document that was looked at.

    Attributes:
        name: As `PropertySource.name`.
        source: Its place in `Explanation.sources`; None with what is no file.
        file: Its path below the root of its source.
        document: Its number in a file of several, from 0.
        profile: The one that the name of its file is for.
        on_profile: What it demands by `spring.config.activate.on-profile`, or None.
        is_active: Whether it counts. Nothing that another layer holds is in `Explanation.keys`.
        is_last_good: Whether its file is broken now, so that this is its last good content: lines are those of that content.
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
    """What one layer holds under a key.

    Attributes:
        layer: Its place in `Explanation.layers`.
        value: As it would be served; None, too, where it is unreadable.
        cipher: None where it isn't encrypted in its file.
        by: The layer that is in its way, where it doesn't win; None where it is unreadable.
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
    """See the module.

    Attributes:
        layers: The strongest first.
        keys: Flat key to those that hold it, the strongest first; in order of their names.
        served: The property sources that the active layers are, decrypted.
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
    """Explain a key. Takes time in proportion to what its layers hold.

    Args:
        layers: Those that serve it, the strongest first.
        overrides: What goes over all of them, and isn't decrypted.

    Raises:
        ResolveError: As `property_sources` and `effective_document`.
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
    # Nothing is decrypted in what goes over everything; it is the operator's own.
    served = {
        at: source if decryptor is None or source is overrides else decryptor.opened((source,))[0]
        for at, source in raw.items()
    }
    return Explanation(key, tuple(sources), tuple(looked_at), _keys(raw, served), tuple(served.values()))


def is_below(key: str, wanted: str) -> bool:
    """Whether a flat key is the one wanted, or one of those below it: `a.b` and `a[0]` are below `a`."""
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
    """A value of a layer, with its place from before it was decrypted, and the key that it has there."""

    written_as: str
    line: int | None
    column: int | None
    value: Scalar
    cipher: Cipher | None


def _keys(raw: Mapping[int, PropertySource], served: Mapping[int, PropertySource]) -> dict[str, Sequence[Holding]]:
    """The keys of all layers, each with what holds it."""
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
    # The other of the two; where both are in one layer, or deep within a list, it is that layer's own.
    return Outcome.SHADOWED, owners.get(name if bracket else name + "[", at)

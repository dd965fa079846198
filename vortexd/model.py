"""The nouns of the line, all frozen: what one stage hands to the next.

A source yields a `Tree`; resolve makes `PropertySource`s of it and the store a `Config`; two of these make a `Change`.
Nothing here is ever mutated after it was made, mappings included: stages and threads share them without locks.
"""

from collections.abc import Mapping
from typing import TypeAlias

import attrs

Scalar: TypeAlias = "str | int | float | bool | None"
Json: TypeAlias = "Scalar | list[Json] | dict[str, Json]"

# The name of the property source that goes over all others: what the operator has set for everybody.
OVERRIDES = "overrides"


@attrs.frozen(slots=True, order=True)
class Key:
    """What is asked for: Spring's triple. Make one with `names.parse_key`, which validates.

    Attributes:
        application: One name, or several separated by commas (later ones win).
        profile: One name, or several separated by commas (later ones win).
        label: A git branch or tag, a label directory, or the one label of a plain directory; over HTTP several separated by commas.
    """

    application: str
    profile: str
    label: str

    @property
    def applications(self) -> tuple[str, ...]:
        return tuple(self.application.split(","))

    @property
    def profiles(self) -> tuple[str, ...]:
        return tuple(self.profile.split(","))

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.label.split(","))

    def __str__(self) -> str:
        return f"{self.application}:{self.profile}:{self.label}"


@attrs.frozen(slots=True)
class Names:
    """The names that somebody speaks of: a label by its files, tokens by their patterns."""

    applications: frozenset[str] = frozenset()
    profiles: frozenset[str] = frozenset()


@attrs.frozen(slots=True)
class Origin:
    """Where a state comes from, for people who ask who did that.

    Attributes:
        commit: The git commit.
        author: The author's name, without an address.
        time: When it was committed, as RFC 3339, UTC.
    """

    commit: str
    author: str
    time: str


@attrs.frozen(slots=True, eq=False)
class Files:
    """Everything one label holds, read at one moment.

    Attributes:
        contents: Path relative to the root, with `/`, to bytes.
        unreadable: Path to why it couldn't be read (permission, size, a link out of the tree, not a regular file). Such a
            file is *broken*, not absent: what it touches keeps its last good state.
        root: What goes before a path to name it for people and Spring clients: `file:/etc/vortexd/config/` (ends in `/`).
        locations: The directories searched, as path prefixes ("" is the root, others end in `/`); later ones win. {application} and
            {profile} stand for what is asked for, `*` for anything within one name.
        revision: The git commit, or None.
        origin: Who made that commit and when, or None.
        applications: Which applications and profiles it is for, as `SourceSettings.applications`; empty is all.
        group: Of the sources of one group a key is served from the first that is for it; different groups go over one another.
        others: What other sources have under the same label, the stronger first; all weaker than this. Theirs are empty.
    """

    contents: Mapping[str, bytes]
    unreadable: Mapping[str, str] = attrs.field(factory=dict)
    root: str = "file:/"
    locations: tuple[str, ...] = ("",)
    revision: str | None = None
    origin: Origin | None = None
    applications: tuple[str, ...] = ()
    group: int = 0
    others: "tuple[Files, ...]" = ()


@attrs.frozen(slots=True, eq=False)
class Tree:
    """A source's whole state at one moment, never a delta.

    Attributes:
        labels: Label to its files. A label that isn't here doesn't exist.
        default_label: The label of a request that names none.
        shared: What belongs to every label that other sources have and this one doesn't, or None.
        noticed: When the source noticed that there is something new, in seconds since the epoch; None where it doesn't say.
    """

    labels: Mapping[str, Files]
    default_label: str = "main"
    shared: Files | None = None
    noticed: float | None = None


@attrs.frozen(slots=True, eq=False)
class PropertySource:
    """One of Spring's property sources: one document of one file, flattened.

    Attributes:
        name: `<root><path>`, with ` (document #N)` behind it where a file has several, or `OVERRIDES`; Spring's clients match on it.
        values: Flat key (`a.b[0].c`) to scalar, in file order.
        origins: Flat key to its (line, column) in the file, both from 1; keys without a place in a file are missing.
    """

    name: str
    values: Mapping[str, Scalar]
    origins: Mapping[str, tuple[int, int]]


@attrs.frozen(slots=True, eq=False)
class Config:
    """The resolved configuration of one key at one moment.

    Attributes:
        version: 16 hex digits, a function of `body` alone (`version.version_of`); the same content has it everywhere.
        document: The effective nested document.
        body: The document as compact JSON with sorted keys, UTF-8.
        sources: Spring's property sources, highest precedence first.
        revision: The git commit it was resolved from, or None; None with several sources. Of several labels the commits, separated by commas.
        origin: The commit with which this version came, or None.
    """

    key: Key
    version: str
    document: dict[str, Json]
    body: bytes
    sources: tuple[PropertySource, ...]
    revision: str | None = None
    origin: Origin | None = None


@attrs.frozen(slots=True, eq=False)
class Change:
    """One key's step from one state to another; never one to itself.

    Attributes:
        old: What the key was, or None where it begins to exist.
        new: What the key is, or None where it ends (its label is gone).
        patch: The RFC 6902 patch from old to new as compact JSON, or None if there is none, or if it is so long that a snapshot is sent.
    """

    key: Key
    old: Config | None
    new: Config | None
    patch: bytes | None = None


@attrs.frozen(slots=True)
class SourceReport:
    """A source at one moment, as people and programs are told.

    Attributes:
        name: The source's name; holds no credentials.
        kind: "files" or "git".
        revision: The commit of the default label, or None.
        last_success: When it was last read, in seconds since the epoch; None if it never was.
        last_error: What is wrong now, or was last; None if nothing ever was. Holds no secret.
        last_error_at: When that was, in seconds since the epoch.
        is_failing: The last attempt failed.
        stale_for: Seconds since it was last read while it fails; 0 while it doesn't. Counts from the start if it never was read.
        is_too_stale: `stale_for` is beyond the source's max_staleness.
        errors: How often it couldn't be read.
    """

    name: str
    kind: str
    revision: str | None
    last_success: float | None
    last_error: str | None
    last_error_at: float | None
    is_failing: bool
    stale_for: float
    is_too_stale: bool
    errors: int = 0

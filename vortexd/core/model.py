"""The nouns of the pipeline, all frozen: what one stage hands to the next.

A source yields a `Tree`; resolve makes `PropertySource`s of it and the store a `Config`; two of these make a `Change`.
Nothing here is ever mutated after it was made, mappings included: stages and threads share them without locks.
"""

import enum
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Protocol, TypeAlias

import attrs

Scalar: TypeAlias = "str | int | float | bool | None"
Json: TypeAlias = "Scalar | list[Json] | dict[str, Json]"

# So many commits of a label are looked at, along first parents: for who changed a file, and for the last good content of a broken one.
EDIT_COMMITS = 1_000
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
    """The names that somebody speaks of: a label by its files, tokens by their patterns.

    Attributes:
        beginnings: What names of files begin with, up to a hyphen or their end, of a label: `a-b.yml` may be `a-b`, or `a` in profile `b`.
    """

    applications: frozenset[str] = frozenset()
    profiles: frozenset[str] = frozenset()
    beginnings: frozenset[str] = frozenset()

    def has_file_of(self, application: str) -> bool:
        """Whether a file is named after an application, in whatever profile; `application` is everybody's."""
        return application == "application" or application in self.beginnings


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
class Edits:
    """Which commit changed each path last, looking at the newest commits of one label along first parents.

    Attributes:
        newest: The number of the newest commit. Numbers rise by one from each commit to the next; only their differences mean something.
        by_path: Path to the number and the origin of the newest commit that changed it, deleted paths included.
        depth: So many commits count, the newest included; older entries of `by_path` don't.
    """

    newest: int
    by_path: Mapping[str, tuple[int, Origin]]
    depth: int = EDIT_COMMITS

    def last(self, paths: Iterable[str]) -> Origin | None:
        """The newest commit that changed one of these paths; None if that was before the first commit that counts."""
        found = [edit for edit in map(self.by_path.get, paths) if edit and self.newest - edit[0] < self.depth]
        return max(found, key=lambda edit: edit[0], default=(0, None))[1]


class Past(Protocol):
    """Former contents of a source's files, for the paths that are broken now."""

    @property
    def is_authoritative(self) -> bool:
        """Whether it decides alone what replaces a broken file, on every instance alike, whatever was served before."""
        ...

    def contents(
        self, path: str, passed_over: Callable[[str], bool] = lambda _: False
    ) -> "AsyncGenerator[Former, None]":
        """What a path held before, the newest first; nothing if that isn't known. The caller closes the iterator.

        Args:
            passed_over: Whether a content is of no use, by its `Former.id`; then it needn't be read.

        Raises:
            SourceError: It can't be read now.
        """
        ...

    def remember(self, good: "Callable[[], Good]") -> None:
        """Take note of what is good now, for the time when it is broken. Returns at once.

        Args:
            good: Gives it; call it in a thread.
        """
        ...


@attrs.frozen(slots=True, eq=False)
class Good:
    """What of a source is good at one moment.

    Attributes:
        contents: Path to bytes, of all configuration files that aren't broken.
        broken: The paths of broken files; True for each that wasn't there when the source was last good.
    """

    contents: Mapping[str, bytes]
    broken: Mapping[str, bool]


@attrs.frozen(slots=True)
class Former:
    """What a path held at a former moment.

    Attributes:
        content: None if there was no such file.
        revision: The commit that it is from, or None.
        id: A name of the content that no other one has, or None.
    """

    content: bytes | None
    revision: str | None = None
    id: str | None = attrs.field(default=None, eq=False)


@attrs.frozen(slots=True, eq=False)
class Files:
    """Everything one label holds, read at one moment.

    Attributes:
        contents: Path relative to the root, with `/`, to bytes.
        unreadable: Path to why it couldn't be read (permission, size, a link out of the tree, not a regular file). Such a
            file is *broken*, not absent: the last good content that `past` knows takes its place.
        root: What goes before a path to name it for people and Spring clients: `file:/etc/vortexd/config/` (ends in `/`).
        locations: The directories searched, as path prefixes ("" is the root, others end in `/`); later ones win. {application} and
            {profile} stand for what is asked for, `*` for anything within one name.
        revision: The git commit, or None.
        origin: Who made that commit and when, or None.
        applications: Which applications and profiles it is for, as `SourceSettings.applications`; empty is all.
        group: Of the sources of one group a key is served from the first that is for it; different groups go over one another.
        others: What other sources have under the same label, the stronger first; all weaker than this. Theirs are empty.
        edits: Which commit changed each path last, or None.
        past: Where the former contents of broken files are found, or None.
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
    edits: Edits | None = None
    past: Past | None = None


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


@attrs.define(slots=True, eq=False)
class Moment:
    """When a publication was committed: the one thing about a state that is known only after the state was made.

    Attributes:
        seconds: Since the epoch; set once, by the commit. Later publications never have a smaller one.
    """

    seconds: float = 0.0


@attrs.frozen(slots=True, eq=False)
class Config:
    """The resolved configuration of one key at one moment.

    Attributes:
        version: 16 hex digits, a function of `body` alone (`version.version_of`); the same content has it everywhere.
        document: The effective nested document.
        body: The document as compact JSON with sorted keys, UTF-8.
        sources: Spring's property sources, highest precedence first.
        revision: The git commit it was resolved from, or None; None with several sources. Of several labels the commits, separated by commas.
        origin: The newest commit that changed a file which the key reads, or None. It is a function of the commit that is served, so every
            instance names the same one.
        published: When the publication that brought this version, or this origin, was committed.
    """

    key: Key
    version: str
    document: dict[str, Json]
    body: bytes
    sources: tuple[PropertySource, ...]
    revision: str | None = None
    origin: Origin | None = None
    published: Moment = attrs.field(factory=Moment)


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
class BrokenFile:
    """A configuration file that can't be used now, as people and programs are told.

    Attributes:
        label: The label it is broken in.
        root: As `Files.root` of its source.
        path: Its path below the root.
        line, column: From 1; None where they aren't known.
        reason: What is wrong; quotes no value of the file.
        served: What the keys that read it get in its place.
        revision: The commit that the last good content is from, where `served` is LAST_GOOD and the source knows.
    """

    label: str
    root: str
    path: str
    line: int | None
    column: int | None
    reason: str
    served: "Served"
    revision: str | None = None

    @property
    def place(self) -> str:
        """`path:line`, as far as it is known."""
        return self.path if self.line is None else f"{self.path}:{self.line}"


class Served(enum.Enum):
    """What keys get that read a broken file.

    Attributes:
        LAST_GOOD: The last content of the file that could be used.
        WITHOUT: Everything but this file, because it wasn't there when the label was last sound.
        NOTHING: An error, because no former content of the file is known.
    """

    LAST_GOOD = "last_good"
    WITHOUT = "without"
    NOTHING = "nothing"


@attrs.frozen(slots=True)
class HeldBack:
    """A broken file, and the keys that it holds back.

    Attributes:
        count: How many keys; all that have files of their own, and those in use.
        keys: The first of them.
    """

    file: BrokenFile
    count: int
    keys: tuple[Key, ...]


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
        root: As `Files.root` of what it gives.
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
    root: str = ""

"""The values that the stages of the pipeline hand to each other, all frozen.

A source yields a `Tree`. `resolve` makes `PropertySource`s of it, and the store makes a `Config`. Two of these make a
`Change`. Nothing here is mutated after it was made, mappings included, so stages and threads share them without locks.
"""

import enum
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs
import orjson

if TYPE_CHECKING:
    from .term import Term

Scalar: TypeAlias = "str | int | float | bool | None"
Json: TypeAlias = "Scalar | list[Json] | dict[str, Json]"

# The server reads at most this many commits of a label, along first parents. It searches them for the last change of a
# file and for the last good content of a broken file.
EDIT_COMMITS = 1_000
# The property source that takes precedence over all others. It holds the values that the operator sets for every client.
OVERRIDES = "overrides"


@attrs.frozen(slots=True, order=True, cache_hash=True)
class Key:
    """Names one configuration by application, profile and label, as Spring does. `names.parse_key` makes and validates it.

    Attributes:
        application: One name, or several separated by commas (later ones win).
        profile: One name, or several separated by commas (later ones win).
        label: A git branch or tag, a label directory, or the only label of a plain directory. Over HTTP a client may
            name several labels, separated by commas.
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
    """Names that appear in the files of a label or in the patterns of tokens.

    Attributes:
        beginnings: Each file name of a label up to each of its hyphens, and in full. `a-b.yml` may belong to
            application `a-b`, or to application `a` in profile `b`.
    """

    applications: frozenset[str] = frozenset()
    profiles: frozenset[str] = frozenset()
    beginnings: frozenset[str] = frozenset()

    def has_file_of(self, application: str) -> bool:
        """Return whether a file is named after an application, in any profile. `application` belongs to all applications."""
        return application == "application" or application in self.beginnings


@attrs.frozen(slots=True)
class Origin:
    """The commit that a state comes from.

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
    """The commit that last changed each path, among the newest commits of one label along first parents.

    Attributes:
        newest: The number of the newest commit. Numbers rise by one per commit. Only their differences have a meaning.
        by_path: Maps each path to the number and origin of the newest commit that changed it, deleted paths included.
        depth: The number of commits that count, including the newest. Older entries of `by_path` are ignored.
    """

    newest: int
    by_path: Mapping[str, tuple[int, Origin]]
    depth: int = EDIT_COMMITS

    def last(self, paths: Iterable[str]) -> Origin | None:
        """Return the newest commit that changed one of these paths, or None if no counted commit did."""
        found = [edit for edit in map(self.by_path.get, paths) if edit and self.newest - edit[0] < self.depth]
        return max(found, key=lambda edit: edit[0], default=(0, None))[1]


class Past(Protocol):
    """Former contents of a source's files. They replace files that are broken now."""

    @property
    def is_authoritative(self) -> bool:
        """Whether this source alone decides what replaces a broken file.

        If so, every instance chooses the same content, whatever it served before.
        """
        ...

    def contents(
        self, path: str, passed_over: Callable[[str], bool] = lambda _: False
    ) -> "AsyncGenerator[Former, None]":
        """Yield the former contents of a path, newest first, or nothing if none is known. The caller closes the iterator.

        Args:
            passed_over: Returns whether a content is useless, given its `Former.id`. Such contents needn't be read.

        Raises:
            SourceError: The source can't be read now.
        """
        ...

    def remember(self, good: "Callable[[], Good]") -> None:
        """Record the files that are good now, for the time when they are broken. Returns at once.

        Args:
            good: Returns the good files. It must be called in a thread.
        """
        ...


@attrs.frozen(slots=True, eq=False)
class Good:
    """The good and the broken files of a source at one moment.

    Attributes:
        contents: Maps the path of each configuration file that isn't broken to its bytes.
        broken: Maps the path of each broken file to True if it was absent when the source was last good.
    """

    contents: Mapping[str, bytes]
    broken: Mapping[str, bool]


@attrs.frozen(slots=True)
class Former:
    """The content of a path at a former moment.

    Attributes:
        content: The bytes, or None if there was no such file.
        revision: The commit that the content comes from, or None.
        id: A unique name of the content, or None.
    """

    content: bytes | None
    revision: str | None = None
    id: str | None = attrs.field(default=None, eq=False)


@attrs.frozen(slots=True, eq=False)
class Files:
    """All files of one label from one source, read at one moment.

    Attributes:
        contents: Maps each path, relative to the root and with `/`, to its bytes.
        unreadable: Maps each path that couldn't be read to the reason: permission, size, a link out of the tree, or not
            a regular file. Such a file is *broken*, not absent. The last good content that `past` knows replaces it.
        root: The prefix that turns a path into its name for people and Spring clients: `file:/etc/vortexd/config/`. It
            ends in `/`.
        locations: The directories to search, as path prefixes. "" is the root, others end in `/`, and later ones win.
            The server replaces {application} and {profile} by the requested names. `*` matches any text within a name.
        revision: The git commit, or None.
        origin: The author and the time of that commit, or None.
        applications: The applications and profiles that these files serve, as in `SourceSettings.applications`. Empty
            means all.
        group: Within a group, a key is served from the first source that serves its application. Groups override one
            another.
        others: The files of other sources under the same label, strongest first, all weaker than these. Their own
            `others` is empty.
        edits: The commit that last changed each path, or None.
        past: The former contents that replace broken files, or None.
        position: The place of this content in the order of its source, if that isn't the commit of `origin`: a number that
            grows, or such a number, a hyphen and a digest of the content. With digests, equal ones mean the same place. None
            means that the source has no order.
        trailers: Maps each commit with a trailer `Vortexd-Rollout` to its values, among the newest commits of the label.
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
    position: str | None = None
    trailers: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)


@attrs.frozen(slots=True, eq=False)
class Tree:
    """A source's whole state at one moment, never a delta.

    Attributes:
        labels: Maps each label to its files. A label that is missing here doesn't exist.
        default_label: The label of a request that names no label.
        shared: Files for every label that only other sources have, or None.
        noticed: When the source noticed the change, in seconds since the epoch, or None if it doesn't report this.
    """

    labels: Mapping[str, Files]
    default_label: str = "main"
    shared: Files | None = None
    noticed: float | None = None


def part_of(key: str) -> str:
    """Return the part of a document that a flat key belongs to: its text before the first `.` or `[`."""
    return key.partition("[")[0].partition(".")[0]


@attrs.frozen(slots=True, eq=False)
class PropertySource:
    """One of Spring's property sources: one document of one file, flattened.

    Attributes:
        name: `<root><path>`, followed by ` (document #N)` if a file has several documents, or `OVERRIDES`. Spring's
            clients match on it.
        values: Maps each flat key (`a.b[0].c`) to its scalar, in file order.
        origins: Maps each flat key to its (line, column) in the file, both from 1. Keys without a place are missing.
        encrypted: The values as the file has them, if some of `values` were decrypted. Otherwise None.
    """

    name: str
    values: Mapping[str, Scalar]
    origins: Mapping[str, tuple[int, int]]
    encrypted: Mapping[str, Scalar] | None = None
    _parts: frozenset[str] | None = attrs.field(default=None, init=False)
    _has_lists: bool | None = attrs.field(default=None, init=False)

    @property
    def parts(self) -> frozenset[str]:
        """The parts that the keys belong to; see `part_of`."""
        # This is found out once, when it is first needed. Threads that do so at the same time find the same.
        if self._parts is None:
            # Most keys have the same few beginnings, so each beginning is examined once.
            beginnings = {key.split(".", 1)[0] for key in self.values}
            object.__setattr__(self, "_parts", frozenset(sys.intern(part_of(each)) for each in beginnings))
        assert self._parts is not None
        return self._parts

    @property
    def has_lists(self) -> bool:
        """Whether a key has a list index."""
        if self._has_lists is None:
            object.__setattr__(self, "_has_lists", "[" in "".join(self.values))
        assert self._has_lists is not None
        return self._has_lists

    @property
    def raw(self) -> Mapping[str, Scalar]:
        """The values as the file has them. As long as the file is unchanged, this is the same object."""
        return self.values if self.encrypted is None else self.encrypted


@attrs.define(slots=True, eq=False)
class Moment:
    """When a publication was committed. These are the only facts about a state that are known only after it was made.

    Attributes:
        seconds: Seconds since the epoch. The commit sets it once. It never decreases from one publication to the next.
        sequence: The number of the publication in this process. The commit sets it once.
    """

    seconds: float = 0.0
    sequence: int = 0


@attrs.frozen(slots=True, eq=False)
class Config:
    """The resolved configuration of one key at one moment.

    Attributes:
        version: 16 hex digits, a function of `body` alone (`version.version_of`). Equal contents have equal versions.
        body: The effective nested document as compact JSON with sorted keys, UTF-8. It may be given in pieces.
        sources: Spring's property sources, highest precedence first.
        revision: The git commit of the files, or None. It is None if there are several sources. For several labels it
            is their commits, separated by commas.
        origin: The newest commit that changed a file of this key, or None. It depends only on the commit that is
            served, so every instance names the same commit.
        published: When the publication that brought this version, or this origin, was committed.
        reads: The files that were searched for, whether they exist or not, as paths without a known extension. No other
            file decides about this key.
    """

    key: Key
    version: str
    _body: bytes | tuple[bytes, ...]
    sources: tuple[PropertySource, ...]
    revision: str | None = None
    origin: Origin | None = None
    published: Moment = attrs.field(factory=Moment)
    reads: tuple[str, ...] = ()
    _size: int | None = attrs.field(default=None, init=False)

    @property
    def pinned(self) -> "Term | None":
        """The term of the pin, or None if this isn't a `term.PinnedConfig`."""
        return None

    @property
    def is_stable(self) -> bool:
        """Whether this is the stable version of a key in a roll-out: a `candidate.StableConfig`."""
        return False

    @property
    def body(self) -> bytes:
        """The effective nested document as JSON. If it is kept in pieces, they are joined each time."""
        return self._body if isinstance(self._body, bytes) else b"".join(self._body)

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """The body in pieces. Keys that read the same files share pieces, and so do the versions of one key."""
        return (self._body,) if isinstance(self._body, bytes) else self._body

    @property
    def size(self) -> int:
        """The length of the body, in bytes."""
        # As `PropertySource.parts`.
        if self._size is None:
            object.__setattr__(self, "_size", sum(map(len, self.pieces)))
        assert self._size is not None
        return self._size

    @property
    def document(self) -> dict[str, Json]:
        """The effective nested document, decoded anew each time. Only its JSON is kept, because it is much smaller."""
        document: dict[str, Json] = orjson.loads(self.body)
        return document


@attrs.frozen(slots=True, eq=False)
class Change:
    """The step of one key from one state to another. The two states always differ.

    Attributes:
        old: The former state, or None if the key is new.
        new: The new state, or None if the key has been removed with its label.
        patch: The RFC 6902 patch from old to new as compact JSON. It is None if `old` or `new` is None, or if the
            patch is so long that the server sends a snapshot.
    """

    key: Key
    old: Config | None
    new: Config | None
    patch: bytes | None = None


@attrs.frozen(slots=True)
class BrokenFile:
    """A configuration file that can't be used now, in the form in which people and programs see it.

    Attributes:
        label: The label in which the file is broken.
        root: As `Files.root` of its source.
        path: The path below the root.
        line, column: From 1, or None if they aren't known.
        reason: What is wrong. It quotes no value of the file.
        served: What replaces the file for the keys that read it.
        revision: The commit of the last good content, if `served` is LAST_GOOD and the source knows the commit.
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
        """`path:line`, or only the path if the line isn't known."""
        return self.path if self.line is None else f"{self.path}:{self.line}"


class Served(enum.Enum):
    """What replaces a broken file for the keys that read it.

    Attributes:
        LAST_GOOD: The last good content of the file.
        WITHOUT: Nothing, because the file was absent when the label was last good. The other files are served.
        NOTHING: An error, because no former content of the file is known.
    """

    LAST_GOOD = "last_good"
    WITHOUT = "without"
    NOTHING = "nothing"


@attrs.frozen(slots=True)
class HeldBack:
    """A broken file, and the keys that can't be updated because of it.

    Attributes:
        count: The number of these keys: keys that have files of their own, and keys in use.
        keys: The first of these keys.
    """

    file: BrokenFile
    count: int
    keys: tuple[Key, ...]


@attrs.frozen(slots=True)
class SourceReport:
    """The state of a source at one moment, in the form in which people and programs see it.

    Attributes:
        name: The source's name. It contains no credentials.
        kind: The name of its kind, as `[[source]] kind` has it.
        revision: The commit of the default label, or None.
        last_success: When the source was last read, in seconds since the epoch, or None if it never was.
        last_error: The present or last error, or None if there never was an error. It contains no secret.
        last_error_at: When that error occurred, in seconds since the epoch.
        is_failing: Whether the last attempt failed.
        stale_for: While the source fails, the seconds since it was last read, else 0. If it was never read, the
            seconds since the start.
        is_too_stale: Whether `stale_for` exceeds the source's max_staleness.
        errors: How many attempts to read the source have failed.
        root: As `Files.root` of its files.
        unfinished: The files that were published before they were complete, and that haven't changed since. Maps each
            path to the reason.
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
    unfinished: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class ClusterMember:
    """A node of a cluster at one moment, in the form in which people and programs see it.

    Attributes:
        state: "serving", "draining" or "away".
        version: The version of vortexd.
        address: The address at which other nodes reach it, or "".
        started: When its process started, as RFC 3339.
        away_for: The seconds since this server has noticed that the node is away, or None if it isn't away.
    """

    node: str
    state: str
    version: str
    address: str
    started: str
    away_for: float | None = None


@attrs.frozen
class ClusterVersion:
    """The newest version of a published state, in the form in which people and programs see it.

    Attributes:
        number: Counts the versions.
        id: Identifies the content, with its labels and commits.
        at: When it was written, in seconds since the epoch.
        by: The node that wrote it.
    """

    number: int
    id: str
    at: float
    by: str


@attrs.frozen
class ClusterPublishing:
    """Whether a node that publishes can do so.

    Attributes:
        is_failing: Whether the last attempt failed.
        last_error: The present or last error, or None if there never was an error. It contains no secret.
        written: The number of versions that this process has written.
    """

    is_failing: bool
    last_error: str | None
    written: int


@attrs.frozen
class ClusterOrder:
    """The order of publications in a cluster, in the form in which people and programs see it.

    Attributes:
        epoch: The epoch of the generations, or None if it isn't known yet.
        behind: The labels of which another node has published a newer state.
        unordered: The labels that have no order, because a source of theirs has none.
    """

    epoch: str | None
    behind: tuple[str, ...]
    unordered: tuple[str, ...]


@attrs.frozen
class ClusterReport:
    """The state of a cluster at one moment, as one node sees it, in the form in which people and programs see it.

    Attributes:
        name: The name of the cluster.
        node: The name of the node that reports.
        is_up: Whether the node can use the store.
        since: Since when that is so, in seconds since the epoch.
        last_error: The present or last error of the store, or None if there never was an error. It contains no secret.
        members: All nodes that the store lists, by name. While the store is away, they are as they were.
        leader: The node that leads, or None if no node leads.
        announced: The number of hints that this process has written.
        heard: The number of hints of others that this process has acted on.
        questions: The number of questions between nodes, by outcome: "answered", "failed" or "refused".
        summaries: The number of summaries of this node's instances that this process has written.
        published: The newest published version, or None if there is none.
        publishing: Whether this process can publish, or None if it isn't set to publish.
        order: The order of publications, as this process knows it.
        last_error_at: When the store failed last, in seconds since the epoch, or None if there never was an error.
        member: How the store lists this process: "listed", "name taken" or "not listed". None if the process is one of several
            workers and keeps no record.
        stands_in: Whether the published state is served now, because the sources haven't been read yet.
    """

    name: str
    node: str
    is_up: bool
    since: float
    last_error: str | None
    members: tuple[ClusterMember, ...]
    leader: str | None
    announced: int = 0
    heard: int = 0
    questions: Mapping[str, int] = attrs.field(factory=lambda: {"answered": 0, "failed": 0, "refused": 0})
    summaries: int = 0
    published: ClusterVersion | None = None
    publishing: ClusterPublishing | None = None
    order: ClusterOrder = attrs.field(factory=lambda: ClusterOrder(None, (), ()))
    last_error_at: float | None = None
    member: str | None = None
    stands_in: bool = False

"""Plans a roll-back: finds the fewest files to restore, and the keys that change with them. Pure.

The states of a branch at its newest commit and at the target arrive. A `Plan` leaves. The invariant: with the files of the
plan, the document of the key has the version that it has at the target. The work is bounded: in the files that may
differ, in the sets of files that are tried, and in time.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import attrs

from ...core.errors import FormatError, RemoteError, ResolveError
from ...core.model import Config, Key
from ...core.pushes import Branch, FileChange
from ...resolve.listing import list_keys
from ...resolve.locations import places_of
from ...resolve.stems import stem
from .branch_states import BranchState, BranchStates

if TYPE_CHECKING:
    from ...gate.gate import Verdict

# The most files of a key that may differ between two commits.
MOST_FILES = 200
# The most sets of files that are tried. Each one is parsed and resolved.
MOST_TRIALS = 400
# The most other keys that a plan names. All of them are counted.
MOST_OTHERS = 100
# The most paths that an error names.
_NAMED = 10
_SHARED_NAME = "application"


@attrs.frozen(slots=True, eq=False)
class Plan:
    """A roll-back before it is carried out.

    Attributes:
        branch: The branch, with its newest commit.
        target: The commit whose document the key gets.
        old: The document of the key at the newest commit. None if it can't be resolved there.
        new: The document of the key at the target.
        files: The files to restore, by path.
        created: The paths among them that the newest commit doesn't have.
        others: The other keys that change, at most `MOST_OTHERS`, in order.
        others_count: The number of all of them.
        after: The state with these files.
        changed: The new documents of the key and of all others, of those that can be resolved.
        refused: What the gate says against them. None if it accepts them, or if there is no gate.
    """

    key: Key
    branch: Branch
    target: str
    old: Config | None
    new: Config
    files: Sequence[FileChange]
    created: Collection[str]
    others: Sequence[Key]
    others_count: int
    after: BranchState | None = None
    changed: Sequence[Config] = ()
    refused: "Verdict | None" = None


def make_plan(
    states: BranchStates,
    branch: Branch,
    head: BranchState,
    target: BranchState,
    key: Key,
    in_use: Collection[Key],
    tick: Callable[[], None],
    *,
    shared: bool,
) -> Plan:
    """Plan a roll-back of a key.

    Args:
        states: Makes the states of the branch.
        head: The state at the newest commit of the branch.
        target: The state at the target.
        in_use: The keys in use. Together with those that are listed, they are the others that may change.
        tick: Called before each piece of work. It raises RemoteError if the time is over.
        shared: Whether files of other applications may be restored, too.

    Raises:
        RemoteError: The document can't be made equal, or not within the bounds.
    """
    try:
        new = target.resolve(key)
    except (FormatError, ResolveError) as error:
        raise RemoteError(f"the configuration can't be read at the target: {error}", 409) from None
    if broken := target.broken(key):
        raise RemoteError(f"the configuration can't be read at the target: {_named(broken)} is broken there", 409)
    old = head.resolved(key)
    paths: Sequence[str] = ()
    if not head.is_at(key, new.version):
        paths = _Search(states, head, target, key, new.version, tick).found(shared=shared)
    contents = {path: target.past.files.contents.get(path) for path in sorted(paths)}
    after = states.changed(head, contents) if contents else head
    others = _others(head, after, key, in_use, contents, tick) if contents else {}
    documents = (after.resolved(key), *others.values()) if contents else ()
    files = head.past.files
    created = {path for path in contents if path not in files.contents and path not in files.unreadable}
    changes = [FileChange(path, content) for path, content in contents.items()]
    commit = target.past.files.revision
    assert commit is not None  # it was read from a commit
    named = [*others][:MOST_OTHERS]
    changed = [each for each in documents if each is not None]
    return Plan(key, branch, commit, old, new, changes, created, named, len(others), after, changed)


class _Search:
    """Searches for the fewest files that make the document of a key equal to that of the target.

    Args:
        version: The version at the target.
    """

    def __init__(
        self,
        states: BranchStates,
        head: BranchState,
        target: BranchState,
        key: Key,
        version: str,
        tick: Callable[[], None],
    ) -> None:
        self._states = states
        self._head = head
        self._target = target
        self._key = key
        self._version = version
        self._tick = tick
        self._left = MOST_TRIALS
        self._known: dict[frozenset[str], bool] = {}

    def found(self, *, shared: bool) -> Sequence[str]:
        """Return the paths to restore.

        If files of the application alone suffice, no others are restored.

        Raises:
            RemoteError: See `make_plan`.
        """
        candidates = self._candidates()
        if len(candidates) > MOST_FILES:
            raise RemoteError(f"more than {MOST_FILES} files of this key differ from those of the target", 409)
        locations = [layer.files.locations for layer in self._target.layers(self._key)]
        own = [path for path in candidates if any(is_own(path, each, self._key) for each in locations)]
        found = self._smallest(own)
        if found is not None:
            return found
        all_of_them = [*own, *(path for path in candidates if path not in own)]
        found = self._smallest(all_of_them)
        if found is None:
            raise RemoteError(
                f"the document can't be made equal to that of the target by {_named(all_of_them) or 'any file'}", 409
            )
        if not shared:
            others = [path for path in found if path not in own]
            raise RemoteError(
                f"this needs files that other applications share: {_named(others)}; "
                "allow that with shared (vortexctl rollback --shared), or pin the key (vortexctl pin)",
                409,
            )
        return found

    def _candidates(self) -> list[str]:
        """Return the paths that the key reads and that differ, in order. Paths that the target can't restore are left out."""
        old, new = self._head.past.files, self._target.past.files
        reads = self._head.reads(self._key), self._target.reads(self._key)
        paths: Collection[str]
        if None in reads:
            paths = {*old.contents, *old.unreadable, *new.contents}
        else:
            paths = {path for each in reads for path in each or ()}
        return sorted(
            path
            for path in paths
            if path not in new.unreadable
            and (path in old.unreadable or old.contents.get(path) != new.contents.get(path))
        )

    def _smallest(self, candidates: Sequence[str]) -> Sequence[str] | None:
        """Return the smallest of the sets that are tried, the earlier candidates first. Return None if none suffices."""
        best: Sequence[str] | None = None
        if candidates and self._suffice(candidates):
            best = candidates
            for path in reversed(candidates):
                fewer = [each for each in best if each != path]
                if fewer and self._suffice(fewer):
                    best = fewer
        most = len(candidates) if best is None else len(best) - 1
        for size in range(1, most + 1):
            for some in combinations(candidates, size):
                if self._left <= 0:
                    return best
                if self._suffice(some):
                    return some
        return best

    def _suffice(self, paths: Sequence[str]) -> bool:
        """Return whether these files of the target make the documents equal."""
        chosen = frozenset(paths)
        if chosen not in self._known:
            self._tick()
            self._left -= 1
            contents = {path: self._target.past.files.contents.get(path) for path in paths}
            self._known[chosen] = self._states.changed(self._head, contents).is_at(self._key, self._version)
        return self._known[chosen]


def is_own(path: str, locations: Sequence[str], key: Key) -> bool:
    """Return whether a file belongs to the applications of a key alone.

    It does if it is named after one of them, or if it is in a search location of one of them.
    """
    for prefix, application, _ in places_of(path, locations):
        if application is not None:
            if application in key.applications:
                return True
            continue
        name = stem(path[len(prefix) :])
        own = (each for each in key.applications if each != _SHARED_NAME)
        if any(name == each or name.startswith(f"{each}-") for each in own):
            return True
    return False


def _others(
    before: BranchState,
    after: BranchState,
    key: Key,
    in_use: Collection[Key],
    contents: Mapping[str, bytes | None],
    tick: Callable[[], None],
) -> dict[Key, Config | None]:
    """Return the other keys whose documents differ between two states, in order, with the new documents."""
    keys = {*list_keys(before.parsed).keys, *list_keys(after.parsed).keys, *in_use}
    labels = frozenset(before.labels)
    stems = {stem(path) for path in contents}
    stems |= {stem(link) for link, way in before.past.ways.items() if not contents.keys().isdisjoint(way)}
    # The directories decide which files a pattern in a search path finds.
    are_alike = all(
        one.directories == other.directories
        for label in labels
        for one, other in zip(before.state.labels[label].layers, after.state.labels[label].layers, strict=True)
    )
    found: dict[Key, Config | None] = {}
    for each in sorted(keys, key=lambda each: (each.application, each.profile, each.label)):
        if each == key or labels.isdisjoint(each.labels):
            continue
        tick()
        reads = before.reads(each)
        if are_alike and reads is not None and stems.isdisjoint(reads.values()):
            continue
        one, other = before.resolved(each), after.resolved(each)
        if (one and one.version) != (other and other.version):
            found[each] = other
    return found


def _named(paths: Sequence[str]) -> str:
    more = len(paths) - _NAMED
    return ", ".join(paths[:_NAMED]) + (f" and {more} more" if more > 0 else "")

"""The kept versions of a directory as values, and as the text of their index. Pure.

Each version names the digests that its change has replaced. So the state of a version is that of the next newer one, with
these digests. The records of a journal add newer versions to those of the index.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import orjson

from ...core.commits import Commit
from ...core.model import Origin

# Increased when older readers could no longer understand the index. Format 1 has no journal.
FORMAT = 2
_READABLE = (1, 2)
# The parent of the oldest version that is known.
_UNKNOWN = "unknown"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[0-9a-f]{40}")
_JOURNAL = re.compile(r"[0-9a-f]{32}")


@attrs.frozen
class Version:
    """One version of a directory.

    Attributes:
        id: Identifies it, as 40 hex digits.
        time: When it was published, as RFC 3339, UTC.
        before: The digests that its change has replaced, by path. None if there was no such file. It is empty for the
            oldest version that is known.
    """

    id: str
    time: str
    before: Mapping[str, str | None]


@attrs.frozen
class Added:
    """A version in a record of a journal.

    Attributes:
        version: If nothing before it is known, its `before` is empty.
        sizes: The sizes of the contents that its change has replaced, by their digests.
    """

    version: Version
    sizes: Mapping[str, int]


@attrs.frozen
class Step:
    """The part of a record of a journal that concerns versions.

    Attributes:
        changed: The new digests by path.
        removed: The paths that have gone.
        added: The new version, or None if there is none.
    """

    changed: Mapping[str, str]
    removed: Iterable[str]
    added: Added | None


@attrs.frozen(eq=False)
class Kept:
    """The versions of a directory that are kept.

    Attributes:
        files: The digest of each path in the newest version. "" if the content isn't kept.
        versions: The newest first.
        sizes: The sizes of the replaced contents by their digests.
        journal: The name of the journal that continues this index, as `index.Index.journal`; "" if none does.
    """

    files: Mapping[str, str]
    versions: Sequence[Version] = ()
    sizes: Mapping[str, int] = attrs.field(factory=dict)
    journal: str = ""

    def at(self, id: str) -> dict[str, str] | None:
        """Return the digests of all paths in a version, or None if it isn't kept."""
        found: dict[str, str | None] = dict(self.files)
        for each in self.versions:
            if each.id == id:
                return {path: digest for path, digest in found.items() if digest is not None}
            found |= each.before
        return None

    def bounded(self, most_versions: int, most_paths: int, max_bytes: int) -> "Kept":
        """Drop the oldest versions beyond the limits, and those before a content that isn't in `sizes`.

        The newest one stays.
        """
        versions: list[Version] = []
        sizes: dict[str, int] = {}
        paths = size = 0
        for each in self.versions[:most_versions]:
            paths += len(each.before)
            replaced = {digest for digest in each.before.values() if digest is not None}
            more = {digest: self.sizes[digest] for digest in replaced - sizes.keys() if digest in self.sizes}
            size += sum(more.values())
            is_known = replaced <= self.sizes.keys()
            if not is_known or paths > most_paths or size > max_bytes or len(versions) + 1 == most_versions:
                # The state before this version isn't known.
                versions.append(attrs.evolve(each, before={}))
                break
            versions.append(each)
            sizes |= more
        return Kept(self.files, versions, sizes, self.journal)

    def newest(self) -> Added:
        """Return the newest version as the record of a journal has it. There must be one."""
        version = self.versions[0]
        return Added(version, {digest: self.sizes[digest] for digest in version.before.values() if digest is not None})

    def continued(self, steps: Iterable[Step]) -> "Kept":
        """Return the state after the records of a journal. The caller applies the limits."""
        files, versions, sizes = dict(self.files), list(self.versions), dict(self.sizes)
        for step in steps:
            for path in step.removed:
                files.pop(path, None)
            files |= step.changed
            if step.added is not None:
                if not step.added.version.before:
                    versions.clear()
                versions.insert(0, step.added.version)
                sizes |= step.added.sizes
        return Kept(files, versions, sizes, self.journal)


def commits_of(kept: Kept) -> Sequence[Commit]:
    """Return the versions as commits without authors, the newest first."""
    parents = [*(each.id for each in kept.versions[1:]), _UNKNOWN]
    return [
        Commit(Origin(each.id, "", each.time), parent, each.before.keys())
        for each, parent in zip(kept.versions, parents, strict=True)
    ]


def encoded(root: str, kept: Kept) -> bytes:
    """Return the text of the index of the versions of a source with this root."""
    return orjson.dumps(
        {
            "format": FORMAT,
            "root": root,
            "journal": kept.journal,
            "files": dict(kept.files),
            "versions": [_shown(each) for each in kept.versions],
            "sizes": dict(kept.sizes),
        }
    )


def decoded(found: Any, root: str) -> Kept:
    """Check an index that was parsed as JSON, and return its versions.

    Raises:
        ValueError: It can't be used.
    """
    try:
        if found["format"] not in _READABLE:
            raise ValueError(
                f"it has format {found['format']}, but this version only reads format {FORMAT} and older ones"
            )
        versions = [_version(each) for each in found["versions"]]
        kept = Kept(dict(found["files"]), versions, dict(found["sizes"]), found.get("journal", ""))
        is_right = found["root"] == root and versions and not versions[-1].before and _is_right(kept)
    except (KeyError, TypeError, AttributeError):
        is_right = False
    if not is_right:
        raise ValueError("it isn't an index of versions")
    return kept


def shown(added: Added) -> dict[str, Any]:
    """Return the version of a record as JSON."""
    return _shown(added.version) | {"sizes": dict(added.sizes)}


def added_of(found: Any) -> Added:
    """Read the version of a record.

    Raises:
        ValueError: It isn't one.
    """
    try:
        added = Added(_version(found), dict(found["sizes"]))
        is_right = _is_right(Kept({}, [added.version], added.sizes))
    except (KeyError, TypeError, AttributeError):
        is_right = False
    if not is_right:
        raise ValueError("a version can't be read")
    return added


def _shown(version: Version) -> dict[str, Any]:
    return {"id": version.id, "time": version.time, "before": dict(version.before)}


def _version(found: Any) -> Version:
    return Version(found["id"], found["time"], dict(found["before"]))


def _is_right(kept: Kept) -> bool:
    before = [digest for each in kept.versions for digest in each.before.values() if digest is not None]
    return (
        all(
            isinstance(each.id, str) and _ID.fullmatch(each.id) and isinstance(each.time, str) for each in kept.versions
        )
        and all(isinstance(digest, str) and (not digest or _DIGEST.fullmatch(digest)) for digest in kept.files.values())
        and all(isinstance(size, int) for size in kept.sizes.values())
        and all(digest in kept.sizes for digest in before)
        and isinstance(kept.journal, str)
        and (not kept.journal or _JOURNAL.fullmatch(kept.journal) is not None)
    )

"""The kept versions of a directory as values, and as the text of their index. Pure.

Each version names the digests that its change has replaced. So the state of a version is that of the next newer one, with
these digests.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import orjson

from ...core.commits import Commit
from ...core.model import Origin

# Increased when older readers could no longer understand the index.
FORMAT = 1
# The parent of the oldest version that is known.
_UNKNOWN = "unknown"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[0-9a-f]{40}")


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


@attrs.frozen(eq=False)
class Kept:
    """The versions of a directory that are kept.

    Attributes:
        files: The digest of each path in the newest version. "" if the content isn't kept.
        versions: The newest first.
        sizes: The sizes of the replaced contents by their digests.
    """

    files: Mapping[str, str]
    versions: Sequence[Version] = ()
    sizes: Mapping[str, int] = attrs.field(factory=dict)

    def at(self, id: str) -> dict[str, str] | None:
        """Return the digests of all paths in a version, or None if it isn't kept."""
        found: dict[str, str | None] = dict(self.files)
        for each in self.versions:
            if each.id == id:
                return {path: digest for path, digest in found.items() if digest is not None}
            found |= each.before
        return None

    def bounded(self, most_versions: int, most_paths: int, max_bytes: int) -> "Kept":
        """Drop the oldest versions beyond the limits. The newest one stays."""
        versions: list[Version] = []
        sizes: dict[str, int] = {}
        paths = size = 0
        for each in self.versions[:most_versions]:
            paths += len(each.before)
            replaced = {digest for digest in each.before.values() if digest is not None}
            more = {digest: self.sizes[digest] for digest in replaced - sizes.keys()}
            size += sum(more.values())
            if paths > most_paths or size > max_bytes or len(versions) + 1 == most_versions:
                # The state before this version isn't known.
                versions.append(attrs.evolve(each, before={}))
                break
            versions.append(each)
            sizes |= more
        return Kept(self.files, versions, sizes)


def commits_of(kept: Kept) -> Sequence[Commit]:
    """Return the versions as commits without authors, the newest first."""
    parents = [*(each.id for each in kept.versions[1:]), _UNKNOWN]
    return [
        Commit(Origin(each.id, "", each.time), parent, each.before.keys())
        for each, parent in zip(kept.versions, parents, strict=True)
    ]


def encoded(root: str, kept: Kept) -> bytes:
    """Return the text of the index of the versions of a source with this root."""
    versions = [{"id": each.id, "time": each.time, "before": dict(each.before)} for each in kept.versions]
    return orjson.dumps(
        {"format": FORMAT, "root": root, "files": dict(kept.files), "versions": versions, "sizes": dict(kept.sizes)}
    )


def decoded(found: Any, root: str) -> Kept:
    """Check an index that was parsed as JSON, and return its versions.

    Raises:
        ValueError: It can't be used.
    """
    try:
        if found["format"] != FORMAT:
            raise ValueError(f"it has format {found['format']}, but this version only reads format {FORMAT}")
        versions = [Version(each["id"], each["time"], dict(each["before"])) for each in found["versions"]]
        kept = Kept(dict(found["files"]), versions, dict(found["sizes"]))
        is_right = found["root"] == root and versions and not versions[-1].before and _is_right(kept)
    except (KeyError, TypeError, AttributeError):
        is_right = False
    if not is_right:
        raise ValueError("it isn't an index of versions")
    return kept


def _is_right(kept: Kept) -> bool:
    before = [digest for each in kept.versions for digest in each.before.values() if digest is not None]
    return (
        all(
            isinstance(each.id, str) and _ID.fullmatch(each.id) and isinstance(each.time, str) for each in kept.versions
        )
        and all(isinstance(digest, str) and (not digest or _DIGEST.fullmatch(digest)) for digest in kept.files.values())
        and all(isinstance(size, int) for size in kept.sizes.values())
        and all(digest in kept.sizes for digest in before)
    )

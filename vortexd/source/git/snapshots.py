"""Reads commits of a mirror as immutable files: ids arrive, and `Snapshot`s leave, which share their common parts.

The cost of a new commit grows with the size of its changes. git compares its tree with the former one, and only unknown
blobs are read. Links are followed within the commit alone. Submodules are never followed, and nothing is ever checked
out.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

import attrs

from ...aio import threads
from ...core.commits import subject_of
from ...core.errors import SourceError
from ...core.model import Origin
from ..lfs import POINTER, is_pointer
from .commits import Step, message_of, own_step, parent_of, parse_commit, path_of
from .links import MAX_TARGET_BYTES, Way, follow
from .mirror import Mirror
from .objects import Object, Objects
from .process import GitError, TooMuch
from .settings import GitSettings

# One entry of `ls-tree -r -z`, and of `diff-tree -r -z`: the new mode, id and path.
_LISTED = re.compile(rb"(\d{6}) \w+ ([0-9a-f]+)\t([^\0]+)\0")
_CHANGED = re.compile(rb":\d{6} (\d{6}) [0-9a-f]+ ([0-9a-f]+) \w+\0([^\0]+)\0")
_GONE, _FILE, _LINK, _SUBMODULE = b"000000", b"100644", b"120000", b"160000"
SUBMODULE = "a submodule; submodules are not followed"
# The largest size of a listing, for each file that is allowed.
ENTRY_BYTES = 512
_MAX_COMMIT = 1_048_576
_MAX_TAGS = 8


class LabelError(SourceError):
    """A label that can't be served as it is. Other labels aren't affected."""


@attrs.frozen(slots=True, eq=False)
class Snapshot:
    """A commit.

    Attributes:
        tree: The id of its tree. Snapshots with the same tree share their mappings.
        blobs: For each regular file, path to the id of its blob.
        links: For each symbolic link, path to the id of the blob that holds its target.
        ways: Path of a link to its way. The link has the content of the file at the end. If there is none, it is
            missing.
        contents: Path to bytes, including links.
        unreadable: Path to the reason why it can't be used, including links.
        step: The commit's own step of the history, if it is known without a question to git.
    """

    origin: Origin
    tree: str
    blobs: Mapping[str, str]
    links: Mapping[str, str]
    ways: Mapping[str, Way]
    contents: Mapping[str, bytes]
    unreadable: Mapping[str, str]
    step: Step | None = None

    @property
    def not_followed(self) -> Mapping[str, str]:
        """The links that lead to no file: path to the reason. Such a link counts as missing."""
        return {link: way.why for link, way in self.ways.items() if way.why}


@attrs.define(eq=False)
class Paths:
    """A snapshot that is being made.

    Attributes:
        touched: The paths that differ from the former snapshot.
    """

    blobs: dict[str, str] = attrs.field(factory=dict)
    links: dict[str, str] = attrs.field(factory=dict)
    contents: dict[str, bytes] = attrs.field(factory=dict)
    unreadable: dict[str, str] = attrs.field(factory=dict)
    touched: set[str] = attrs.field(factory=set)

    @property
    def count(self) -> int:
        """The number of files, before any was read."""
        return len(self.blobs) + len(self.links) + len(self.unreadable)

    def apply(self, entries: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Apply git's list of changed or existing paths."""
        for mode, id, raw in entries:
            path = path_of(raw)
            if path is None:
                continue
            self.touched.add(path)
            for each in (self.blobs, self.links, self.contents, self.unreadable):
                each.pop(path, None)
            if mode == _SUBMODULE:
                self.unreadable[path] = SUBMODULE
            elif mode == _LINK:
                self.links[path] = id.decode()
            elif mode != _GONE:
                self.blobs[path] = id.decode()


class Snapshots:
    """Reads commits, and keeps the blobs that it has read for later commits.

    Args:
        objects: The objects of the same mirror.
    """

    def __init__(self, mirror: Mirror, objects: Objects, settings: GitSettings) -> None:
        self._mirror = mirror
        self._objects = objects
        self._settings = settings
        self._blobs: dict[str, bytes] = {}
        self._too_large: dict[str, int] = {}
        self._bytes = 0

    async def read(
        self,
        id: str,
        near: Snapshot | None,
        known: Iterable[Snapshot],
        changes: Mapping[str, str | None] | None = None,
    ) -> Snapshot:
        """Read the commit that an id leads to.

        Args:
            near: A former snapshot that is probably similar, or None.
            known: Former snapshots, whose mappings are reused if the tree is the same.
            changes: For each path that differs from `near`, the id of its blob, or None if there is none. If it is
                None, git compares the commits.

        Raises:
            LabelError: It can't be served: it isn't a commit, or has too many files or too many bytes.
            GitError: The mirror can't be read.
        """
        commit = await self._commit(id)
        tree, origin = parse_commit(commit)
        for each in known:
            if each.tree == tree:
                return attrs.evolve(each, origin=origin, step=None)
        try:
            if near is not None:
                return await self._changed(commit, near, changes)
        except (TooMuch, GitError):
            pass  # The former commit is too different, or the mirror no longer has it. Read the whole tree.
        return await self._whole(origin, tree)

    async def parent(self, id: str) -> str | None:
        """Return the commit before a given commit.

        For a merge, it is the one on the branch itself. For the first commit, it is None.

        Raises:
            LabelError, GitError: As in `read`.
        """
        return parent_of(await self._commit(id))

    async def subject(self, id: str) -> str:
        """Return the first line of a commit's message, as `commits.subject_of` does.

        Raises:
            LabelError, GitError: As in `read`.
        """
        return subject_of(message_of(await self._commit(id)))

    async def _commit(self, id: str) -> Object:
        """Return the commit with this id, or the commit that a tag with this id leads to."""
        for _ in range(_MAX_TAGS):
            # Check the size before reading, because a message has no size limit.
            [header] = await self._objects.sizes([id])
            if header.kind not in ("commit", "tag") or header.size > _MAX_COMMIT:
                break
            [found] = await self._objects.read([id])
            if found.kind == "commit":
                return found
            id = found.content.partition(b"\n")[0].removeprefix(b"object ").decode("ascii", "replace")
        raise LabelError("it doesn't lead to a commit")

    async def _whole(self, origin: Origin, tree: str) -> Snapshot:
        limit = self._settings.files
        try:
            listed = await self._mirror.listing(tree, None, limit * ENTRY_BYTES)
        except TooMuch:
            raise self._too_many() from None
        return await self._filled(origin, tree, listed_paths(listed))

    async def _changed(self, commit: Object, near: Snapshot, changes: Mapping[str, str | None] | None) -> Snapshot:
        tree, origin = parse_commit(commit)
        listed = b""
        if changes is None:
            listed = await self._mirror.listing(tree, near.tree, self._settings.files * ENTRY_BYTES)
        paths = Paths(dict(near.blobs), dict(near.links), dict(near.contents), dict(near.unreadable))
        for link in near.links:
            # The target file may have changed although the link didn't.
            paths.contents.pop(link, None)
            paths.unreadable.pop(link, None)
        paths.apply(_CHANGED.findall(listed) if changes is None else _entries(changes))
        found = await self._filled(origin, tree, paths)
        if changes is not None:
            return found
        return attrs.evolve(found, step=own_step(commit, near.origin.commit, listed))

    async def _filled(self, origin: Origin, tree: str, paths: Paths) -> Snapshot:
        """Read the contents of the touched paths, and follow the links."""
        if paths.count > self._settings.files:
            raise self._too_many()
        missing = [path for path in paths.touched if path in paths.blobs]
        await self._read_blobs(dict.fromkeys([*(paths.blobs[path] for path in missing), *paths.links.values()]))
        for path in missing:
            content = self._blobs.get(paths.blobs[path])
            if content is None:
                paths.unreadable[path] = (
                    f"larger than {self._settings.file_bytes} bytes; raise source.file_bytes to allow this"
                )
            elif is_pointer(content):
                paths.unreadable[path] = POINTER
            else:
                paths.contents[path] = content
        ways = await self._follow(paths)
        for link, way in ways.items():
            if way.why:
                continue
            if way.end in paths.contents:
                paths.contents[link] = paths.contents[way.end]
            else:
                paths.unreadable[link] = paths.unreadable[way.end]
        return Snapshot(origin, tree, paths.blobs, paths.links, ways, paths.contents, paths.unreadable)

    async def _follow(self, paths: Paths) -> Mapping[str, Way]:
        if not paths.links:
            return {}
        # If a target is too large to be read, it is too long to be followed.
        texts = {path: self._blobs.get(id, bytes(MAX_TARGET_BYTES + 1)) for path, id in paths.links.items()}
        return await threads.run_sync(follow, texts, paths.blobs.keys())

    async def _read_blobs(self, ids: Mapping[str, None]) -> None:
        unknown = [id for id in ids if id not in self._blobs and id not in self._too_large]
        sizes = await self._objects.sizes(unknown)
        # A blob that is too large is never read, because it may be larger than the memory.
        self._too_large |= {each.id: each.size for each in sizes if each.size > self._settings.file_bytes}
        wanted = [each for each in sizes if each.id not in self._too_large]
        if self._bytes + sum(each.size for each in wanted) > self._settings.total_bytes:
            limit = self._settings.total_bytes
            raise LabelError(f"it takes the repository beyond {limit} bytes; raise source.total_bytes to allow this")
        for each in await self._objects.read([each.id for each in wanted]):
            self._blobs[each.id] = each.content
            self._bytes += each.size

    def forget_all_but(self, snapshots: Iterable[Snapshot], *, at_once: bool = False) -> None:
        """Drop the blobs that none of these snapshots has.

        Unless `at_once` is set, wait until there are as many of them as blobs in use.
        """
        different = {id(each.blobs): each for each in snapshots}.values()
        used = {id for each in different for id in (*each.blobs.values(), *each.links.values())}
        if len(self._blobs) + len(self._too_large) <= (1 if at_once else 2) * len(used):
            return
        self._blobs = {id: content for id, content in self._blobs.items() if id in used}
        self._too_large = {id: size for id, size in self._too_large.items() if id in used}
        self._bytes = sum(map(len, self._blobs.values()))

    def _too_many(self) -> LabelError:
        return LabelError(f"it holds more than {self._settings.files} files; raise source.files to allow this")


def _entries(changes: Mapping[str, str | None]) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield changes in the form in which git lists them."""
    for path, id in changes.items():
        yield (_GONE, b"", path.encode()) if id is None else (_FILE, id.encode(), path.encode())


def listed_paths(listed: bytes) -> Paths:
    """Parse the content of a tree, as `Mirror.listing` returns it.

    Submodules are unreadable. No content is read yet.
    """
    paths = Paths()
    paths.apply(_LISTED.findall(listed))
    return paths

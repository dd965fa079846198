"""Reads the newest commits of a label along first parents.

They show which commit changed each path last, and the former content of broken files.
The id of a commit arrives. A `History` of at most `EDIT_COMMITS` commits leaves. One `git log` reads the commits that
no label has yet. After a push of one commit, its step is known from the reading of its files.

The invariant: a history depends only on its newest commit. The commits that are kept between two readings save time but
change no result. So two instances with an old and a new mirror agree.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence

import attrs

from ...aio import threads
from ...core.errors import SourceError
from ...core.model import EDIT_COMMITS, Edits, Former, Good, Origin
from ..lfs import is_pointer
from .commits import NO_FILE, Step, author_of, former_blob, moment_of, path_of
from .links import MAX_TARGET_BYTES, TOO_LONG, Way, followed, text_of
from .mirror import Mirror
from .process import GitError, TooMuch
from .settings import GitSettings
from .snapshots import ENTRY_BYTES, listed_paths
from .trailers import own_trailers, trailers_of, with_merged

# The limit for the changed files of one history together. The commit that exceeds it, and all older commits, don't
# count.
_MAX_CHANGES = 100_000
# The limit for one reading of git's output, in bytes. If there is more, fewer commits are read at a time.
_MAX_BYTES = 16_777_216
# The most commits that are searched for trailers because merges have brought them.
_MAX_MERGED = 1_000
# The number of commits that are named to git as known.
_MAX_TIPS = 64
# The number of trees that are listed for one broken file, to follow its link as it was then.
_MAX_LISTINGS = 32


@attrs.frozen(slots=True, eq=False)
class History:
    """The newest commits of a label, the newest first.

    Attributes:
        edits: The commit that changed each path last.
    """

    steps: Sequence[Step]
    edits: Edits

    @property
    def trailers(self) -> Mapping[str, tuple[str, ...]]:
        """The trailers of these commits and of those that they have merged; see `Files.trailers`."""
        return trailers_of(self.steps)

    def changes(self, newer: str, older: str) -> Mapping[str, str | None] | None:
        """Return the changes that lead from a commit back to an older one.

        Map each path that may differ to the id of its blob at the older commit, or to None if there is none. Return
        None if these steps don't lead there, or if a path wasn't a regular file.
        """
        found: dict[str, str | None] | None = None
        for step in self.steps:
            if step.origin.commit == newer:
                found = {}
            elif step.origin.commit == older:
                break
            if found is not None:
                found |= step.before
        else:
            return None
        return None if found is None or NO_FILE in found.values() else found


class Histories:
    """Reads histories, and keeps the commits that it has read for later histories."""

    def __init__(self, mirror: Mirror, max_changes: int = _MAX_CHANGES, max_bytes: int = _MAX_BYTES) -> None:
        self._mirror = mirror
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        self._steps: dict[str, Step] = {}
        # The newest commits of the histories that were read last.
        self._tips: OrderedDict[str, None] = OrderedDict()

    async def read(self, commit: str, former: History | None = None, own: Step | None = None) -> History:
        """Read the history of a commit.

        Args:
            former: The former history of the same label. The new history probably continues it.
            own: The commit's own step, if it is known. Then git isn't asked for it.

        Raises:
            GitError: The mirror can't be read.
        """
        if own is not None and commit not in self._steps:
            await self._keep([own])
        steps: list[Step] = []
        left, id = self._max_changes, commit
        while len(steps) < EDIT_COMMITS:
            if id not in self._steps and not await self._fetch(id, EDIT_COMMITS - len(steps)):
                break
            step = self._steps[id]
            left -= len(step.before)
            if left < 0:
                break
            steps.append(step)
            if step.parent is None:
                break
            id = step.parent
        self._tips[commit] = None
        self._tips.move_to_end(commit)
        while len(self._tips) > _MAX_TIPS:
            self._tips.popitem(last=False)
        return History(steps, _edits(steps, former))

    async def _fetch(self, commit: str, count: int) -> bool:
        """Read a commit and those before it, until one is known.

        Return False if the commit changes too much to be read.
        """
        # Most labels have most of their commits in common. git stops where the commits of another label begin.
        known = tuple(self._tips)
        while count:
            try:
                listed = await self._mirror.commits(commit, count, known, self._max_bytes)
            except TooMuch:
                count //= 8
                continue
            except GitError:
                if not known:
                    raise
                # The mirror may have lost one of the known commits.
                self._tips.clear()
                listed = b""
            found = [*_parse(listed)]
            await self._keep(found)
            if commit in self._steps:
                return True
            # The commit is an ancestor of a known commit, but not along first parents.
            known = ()
        return False

    async def _keep(self, steps: Sequence[Step]) -> None:
        """Keep steps that follow each other, the newest first, with the trailers of the commits that they have merged."""
        merging = [number for number, step in enumerate(steps) if step.is_merge]
        count = _MAX_MERGED if merging else 0
        while count:
            newest, oldest = merging[0], merging[-1] + 1
            merges = steps[newest:oldest]
            try:
                listed = await self._mirror.merged(merges[0].origin.commit, merges[-1].parent, count, self._max_bytes)
            except TooMuch:
                count //= 8
                continue
            steps = [*steps[:newest], *with_merged(merges, listed), *steps[oldest:]]
            break
        for step in steps:
            self._steps.setdefault(step.origin.commit, step)

    def forget_all_but(self, histories: Collection[History]) -> None:
        """Drop the commits that none of these histories has, once there are as many of them as commits in use."""
        used = {step.origin.commit: step for each in histories for step in each.steps}
        if len(self._steps) > 2 * len(used):
            self._steps = used


class GitPast:
    """The former content of a commit's files; a `model.Past`.

    It depends only on the commit, so it decides alone: every instance replaces a broken file by the same content.

    Args:
        history: The history of the commit.
        ways: The ways of the commit, as in `Snapshot.ways`. A broken link falls back to the file that it led to in each
            former commit.
    """

    is_authoritative = True

    def __init__(self, mirror: Mirror, settings: GitSettings, history: History, ways: Mapping[str, Way]) -> None:
        self._mirror = mirror
        self._settings = settings
        self._history = history
        self._ways = ways

    async def contents(
        self, path: str, passed_over: Callable[[str], bool] = lambda _: False
    ) -> AsyncGenerator[Former, None]:
        """See `model.Past`."""
        way = self._ways.get(path) or Way((path,))
        listings = 0
        for step in self._history.steps:
            before = step.before
            if before.get(path, NO_FILE) != NO_FILE:
                way, blob = Way((path,)), before[path]
            elif step.parent is not None and _turned(step, way):
                listings += 1
                then = await self._followed(path, step.parent) if listings <= _MAX_LISTINGS else None
                if then is None:
                    return
                way, blob = then
            elif way.end in before:
                blob = before[way.end]
            else:
                continue
            if blob is None:
                yield Former(None, step.parent)
            elif blob != NO_FILE and not passed_over(blob):
                content = await self._content(blob)
                if content is not None and not is_pointer(content):
                    yield Former(content, step.parent, blob)

    async def _followed(self, path: str, commit: str) -> tuple[Way, str | None] | None:
        """Follow a path in a former commit.

        Return the way and the blob, as in `Step.before`, or None if the commit holds too much.
        """
        limit = self._settings.files
        try:
            listed = await self._mirror.listing(commit, None, limit * ENTRY_BYTES)
        except TooMuch:
            return None
        paths = await threads.run_sync(listed_paths, listed)
        if paths.count > limit:
            return None
        if path not in paths.links:
            return Way((path,)), NO_FILE if path in paths.unreadable else paths.blobs.get(path)
        # Only the targets on the way are read. The way ends at each link whose target isn't read yet.
        texts: dict[str, str | None] = dict.fromkeys(paths.links)
        unknown = set(paths.links)
        way = followed(path, texts, paths.blobs)
        while way.why == TOO_LONG and way.end in unknown:
            unknown.remove(way.end)
            target = await self._content(paths.links[way.end], MAX_TARGET_BYTES)
            texts[way.end] = None if target is None else text_of(target)
            way = followed(path, texts, paths.blobs)
        return way, None if way.why else paths.blobs.get(way.end)

    async def _content(self, blob: str, max_bytes: int | None = None) -> bytes | None:
        """Return the bytes of a blob, or None if it is too large to be read."""
        limit = self._settings.file_bytes
        try:
            return await self._mirror.blob(blob, limit if max_bytes is None else min(limit, max_bytes))
        except TooMuch:
            return None

    def remember(self, good: Callable[[], Good]) -> None:
        """Do nothing, because the mirror has all former content."""


def _turned(step: Step, way: Way) -> bool:
    """Return whether the way may have been different before a step: the step changed a link on it, or removed one."""
    *links, _ = way.through
    if not step.before.keys().isdisjoint(links):
        return True
    places = (place for path in way.through for place in (path, *_directories(path)))
    return any(step.before.get(place) == NO_FILE for place in places)


def _directories(path: str) -> Iterator[str]:
    """Yield the directories that contain a path."""
    return (path[:end] for end, character in enumerate(path) if character == "/")


def edits_through(edits: Edits, ways: Mapping[str, Way]) -> Edits:
    """Return the edits with those of links added.

    A commit that changed a path on a link's way counts as a change of the link.

    Args:
        ways: The ways of the newest commit, as in `Snapshot.ways`.
    """
    by_path = edits.by_path
    found = {link: [by_path[path] for path in way.through if path in by_path] for link, way in ways.items()}
    newest = {link: max(each, key=lambda edit: edit[0]) for link, each in found.items() if each}
    return attrs.evolve(edits, by_path={**by_path, **newest}) if newest else edits


def _edits(steps: Sequence[Step], former: History | None) -> Edits:
    added = _added(steps, former) if former is not None else None
    # Old entries remain for commits that no longer count, so now and then all entries are made anew.
    if former is None or added is None or former.edits.newest > 2 * EDIT_COMMITS:
        newest, by_path, added = len(steps), {}, steps
    else:
        newest, by_path = former.edits.newest + len(added), dict(former.edits.by_path)
    for distance in range(len(added) - 1, -1, -1):
        step = added[distance]
        by_path |= dict.fromkeys(step.before, (newest - distance, step.origin))
    return Edits(newest, by_path, len(steps))


def _added(steps: Sequence[Step], former: History) -> Sequence[Step] | None:
    """Return the steps that are newer than a former history, or None if these steps don't continue it."""
    if not former.steps:
        return None
    tip = former.steps[0]
    number = next((number for number, step in enumerate(steps) if step is tip), None)
    return None if number is None else steps[:number]


def _parse(listed: bytes) -> Iterator[Step]:
    """Yield the commits that `Mirror.commits` lists."""
    tokens = iter(listed.split(b"\0"))
    step: Step | None = None
    before: dict[str, str | None] = {}
    for token in tokens:
        if token.lstrip(b"\n").startswith(b":"):
            old_mode, _, old_id, *_ = token.lstrip(b"\n")[1:].split(b" ")
            path = path_of(next(tokens, b""))
            if path is not None:
                before[path] = former_blob(old_mode, old_id)
            continue
        if step is not None:
            yield step
            step = None
        id = next(tokens, b"").decode()
        if not id:
            return
        parents, seconds, author, trailers = (next(tokens, b"").decode("utf-8", "replace") for _ in range(4))
        origin = Origin(id, author_of(author), moment_of(int(seconds) if seconds.isdigit() else 0))
        parent, _, others = parents.partition(" ")
        before = {}
        step = Step(parent or None, origin, before, bool(others), own_trailers(id, trailers))
    if step is not None:
        raise SourceError("git log ended early")

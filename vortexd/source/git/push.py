"""Makes commits in a mirror, and pushes them to the remote, without a work tree.

A `NewCommit` arrives. The id of a commit in the mirror leaves, and then the commit goes to the branch of the remote. The
invariant: the push changes one branch, and only if that branch is at the commit from which the new one was made. The refs
of the mirror change only by a fetch. So a failed push leaves nothing behind but objects that no ref leads to, and git
removes those later.
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import attrs
import structlog
import trio

from ...core.errors import SourceError
from ...core.pushes import FileChange, NewCommit, PushError, PushFault
from .complaints import Fault, was_there
from .process import MAX_OUTPUT, Git, GitError, TooMuch
from .refs import BRANCH
from .settings import GitSettings

log = structlog.get_logger()

# This file is in the mirror's directory. If the process is killed, the next push replaces it. The mirror removes its lock
# at the next start.
INDEX = "vortexd-push.index"
COMMITTER = "vortexd"
_EMAIL = "vortexd@localhost"
# Seconds for a push, and for the question whether a push has arrived whose outcome git doesn't know. Together with a plan
# they are within the default of `server.request_timeout`.
PUSH_SECONDS, CHECK_SECONDS = 12.0, 3.0
_FILE, _EXECUTABLE, _DIRECTORY = b"100644", b"100755", b"040000"
# The entry that removes a path from an index.
_GONE = b"0 %s"
# The most bytes of the paths on one command line. Linux allows at least 128 KiB for one argument and more for all.
_MOST_ARGUMENTS_BYTES = 65_536
# If the paths of other files that a commit would change are longer, they are neither read nor named.
_MOST_OTHERS_BYTES = 65_536
# One entry of `ls-tree -z`: the mode, the kind and the id, and the path.
_LISTED = re.compile(rb"(\d{6} \w+ [0-9a-f]+)\t([^\0]+)\0")
_MOST_AUTHOR = 100
# git refuses a name that has only such characters, and removes them from both ends of others.
_CRUD = " .,:;<>\"\\'"
_FAULTS = {
    Fault.MOVED: PushFault.MOVED,
    Fault.REJECTED: PushFault.REJECTED,
    Fault.UNREACHED: PushFault.AWAY,
    Fault.SHALLOW: PushFault.REJECTED,
}


def pushing(git: Git) -> Git:
    """Return a `Git` with the credentials for pushing. If there are none, those for fetching count."""
    settings = git.settings
    return attrs.evolve(
        git,
        settings=attrs.evolve(
            settings,
            username=settings.push_username or settings.username,
            password_file=settings.push_password_file or settings.password_file,
            ssh_key=settings.push_ssh_key or settings.ssh_key,
        ),
    )


class Push:
    """Makes commits and pushes them; see the module. One at a time.

    Args:
        git: Runs git for the mirror.
    """

    def __init__(self, git: Git) -> None:
        self._git = pushing(git)
        self._settings: GitSettings = git.settings
        self._index = Path(git.directory, INDEX)
        self._making = trio.Lock()

    async def commit(self, new: NewCommit) -> str:
        """Make a commit in the mirror, which no ref leads to. Return its id.

        Raises:
            PushError: The mirror can't be read or written, or a change would touch other files.
        """
        async with self._making:
            try:
                return await self._commit(new)
            except PushError:
                raise
            except SourceError as error:
                raise PushError(f"the commit can't be made: {error}", PushFault.LOCAL) from None
            finally:
                self._remove_index()

    async def _commit(self, new: NewCommit) -> str:
        """Make a commit. The work of this process depends on the number of changes, not on that of all files."""
        self._remove_index()
        before = await self._entries(new.head, [each.path for each in new.changes])
        lost = [each.path for each in new.changes if not _is_file(before.get(each.path))]
        origin = await self._entries(new.origin, lost) if new.origin else {}
        entries = {each.path: await self._entry(each, {**origin, **_files(before)}) for each in new.changes}
        await self._run("read-tree", new.head)
        # git removes a file in the place of another one's directory, so the files that are deleted come first.
        lines = sorted(entries.items(), key=lambda item: item[1] is not None)
        gone = _GONE % (b"0" * len(new.head))
        info = b"".join(b"%s\t%s\0" % (entry or gone, path.encode()) for path, entry in lines)
        await self._run("update-index", "-z", "--index-info", input=info)
        # An empty directory next to a changed path isn't kept, because an index can't have one.
        tree = await self._id("write-tree")
        _check(new, before, await self._differing(new, tree, before))
        identity = self._identity(new)
        message = new.message.encode()
        return await self._id("commit-tree", "-p", new.head, tree, input=message, variables=identity)

    async def _entries(self, commit: str, paths: Sequence[str]) -> dict[str, bytes]:
        """Return the entries of those paths that a commit has, as `ls-tree` prints them without the path."""
        found: dict[str, bytes] = {}
        for some in _batches(paths):
            listed = await self._run(
                *("ls-tree", "-t", "-z", "--full-tree", commit, "--", *some),
                variables={"GIT_LITERAL_PATHSPECS": "1"},
            )
            found |= {_decoded(path): entry for entry, path in _LISTED.findall(listed)}
        return found

    async def _differing(self, new: NewCommit, tree: str, before: Mapping[str, bytes]) -> set[str]:
        """Return the paths of the files that differ between the commit before and a tree.

        Raises:
            PushError: There are so many that a new file has taken the place of a directory.
        """
        most = sum(len(each.path.encode()) + 1 for each in new.changes) + _MOST_OTHERS_BYTES
        try:
            listed = await self._run(
                "diff-tree", "-r", "-z", "--no-renames", "--name-only", new.head, tree, max_bytes=most
            )
        except TooMuch:
            paths = (each.path for each in new.changes if each.content is not None)
            raise _in_place(next(path for path in paths if path in before and not _is_file(before[path]))) from None
        return {_decoded(path) for path in listed.split(b"\0") if path}

    async def _entry(self, change: FileChange, known: Mapping[str, bytes]) -> bytes | None:
        """Return the new entry of a path, as `ls-tree` prints it without the path. Return None if there is no such file."""
        if change.content is None:
            return None
        blob = await self._id("hash-object", "-w", "--stdin", input=change.content)
        is_executable = known.get(change.path, b"").startswith(_EXECUTABLE)
        # A link becomes a file, because the file that it leads to may be another application's.
        return b"%s blob %s" % (_EXECUTABLE if is_executable else _FILE, blob.encode())

    def _identity(self, new: NewCommit) -> dict[str, str]:
        email, date = self._settings.push_email or _EMAIL, f"{new.seconds} +0000"
        return {
            "GIT_AUTHOR_NAME": author_name(new.author),
            "GIT_AUTHOR_EMAIL": email,
            "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_NAME": COMMITTER,
            "GIT_COMMITTER_EMAIL": email,
            "GIT_COMMITTER_DATE": date,
        }

    async def _id(self, *arguments: str, input: bytes = b"", variables: Mapping[str, str] | None = None) -> str:
        return (await self._run(*arguments, input=input, variables=variables)).decode().strip()

    async def _run(
        self,
        *arguments: str,
        input: bytes = b"",
        variables: Mapping[str, str] | None = None,
        max_bytes: int = MAX_OUTPUT,
    ) -> bytes:
        own = {"GIT_INDEX_FILE": str(self._index)}
        return await self._git.run(
            *arguments,
            timeout=self._settings.read_timeout,
            input=input,
            variables={**own, **(variables or {})},
            max_bytes=max_bytes,
        )

    def _remove_index(self) -> None:
        with suppress(OSError):
            os.unlink(self._index)

    async def push(self, branch: str, head: str, commit: str) -> None:
        """Push a commit of the mirror to a branch of the remote.

        If this is cancelled, git ends, and the push may have arrived.

        Args:
            branch: The name of the branch, without `refs/heads/`.
            head: The parent of the commit. The remote refuses the push unless its branch is there.

        Raises:
            PushError: The push has failed, or it isn't known whether it has arrived.
        """
        ref = BRANCH + branch
        try:
            # The lease makes the push stricter: without it, git would recreate a branch that was deleted, and bring back
            # commits that were removed. It never overwrites a commit, because the new commit's parent is `head`.
            report = await self._git.run(
                *("push", "--porcelain", "--no-verify", "--no-follow-tags", "--recurse-submodules=no"),
                *(f"--force-with-lease={ref}:{head}", "--end-of-options", self._git.remote.uri, f"{commit}:{ref}"),
                timeout=min(PUSH_SECONDS, self._settings.fetch_timeout),
                is_remote=True,
            )
        except GitError as error:
            fault = _FAULTS.get(error.fault, PushFault.UNKNOWN)
            if fault is PushFault.UNKNOWN and await self._has_arrived(ref, commit):
                log.info("push confirmed", remote=self._git.remote.uri, branch=branch, commit=commit, reason=str(error))
                return
            raise PushError(str(error), fault) from None
        except SourceError as error:
            # A secret can't be read.
            raise PushError(str(error), PushFault.LOCAL) from None
        if was_there(report.decode("utf-8", "replace")):
            # Another worker has made the same commit in the same second.
            raise PushError("the remote has the same commit already", PushFault.MOVED)

    async def _has_arrived(self, ref: str, commit: str) -> bool:
        """Return whether the remote's branch is at a commit. False may also mean that the remote doesn't answer."""
        try:
            listed = await self._git.run(
                *("ls-remote", "--quiet", "--end-of-options", self._git.remote.uri, ref),
                timeout=min(CHECK_SECONDS, self._settings.fetch_timeout),
                is_remote=True,
            )
        except SourceError:
            return False
        return f"{commit}\t{ref}" in listed.decode("utf-8", "replace").splitlines()


def _check(new: NewCommit, before: Mapping[str, bytes], differing: Collection[str]) -> None:
    """Check that the changes touch no other files.

    Args:
        before: The entries of the changed paths in the commit before.
        differing: The paths that differ between the commit before and the new tree.

    Raises:
        PushError: A file to delete doesn't exist, or a new file would take the place of a directory or be below a file.
    """
    made = {each.path for each in new.changes if each.content is not None}
    others = set(differing) - {each.path for each in new.changes}
    lost = {directory for path in (*made, *others) for directory in _directories(path)}
    for each in new.changes:
        if each.content is None and not _is_file(before.get(each.path)):
            raise PushError(f"{each.path} can't be deleted, because there is no such file", PushFault.REJECTED)
        if each.content is not None and (each.path in lost or not others.isdisjoint(_directories(each.path))):
            raise _in_place(each.path)
    if others:
        raise PushError("the commit would change other files", PushFault.LOCAL)


def _in_place(path: str) -> PushError:
    return PushError(f"{path} can't be restored, because other files are in its place", PushFault.REJECTED)


def _is_file(entry: bytes | None) -> bool:
    """Return whether there is an entry, and it isn't a directory."""
    return entry is not None and not entry.startswith(_DIRECTORY)


def _files(entries: Mapping[str, bytes]) -> dict[str, bytes]:
    return {path: entry for path, entry in entries.items() if _is_file(entry)}


def _directories(path: str) -> Iterator[str]:
    """Yield the directories that contain a path."""
    return (path[:end] for end, character in enumerate(path) if character == "/")


def _decoded(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield all paths, in groups that a command line can have."""
    some: list[str] = []
    size = 0
    for path in paths:
        # A path is UTF-8 in git, and an argument has the encoding of the system.
        encoded = path.encode()
        if some and size + len(encoded) + 1 > _MOST_ARGUMENTS_BYTES:
            yield some
            some, size = [], 0
        some.append(os.fsdecode(encoded))
        size += len(encoded) + 1
    if some:
        yield some


def author_name(text: str) -> str:
    """Return a name in a form that git accepts as the name of an author."""
    plain = "".join(each for each in text if each.isprintable() and each not in "<>")
    return plain[:_MOST_AUTHOR].strip(_CRUD) or "unknown"

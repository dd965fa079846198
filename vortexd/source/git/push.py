"""Makes commits in a mirror, and pushes them to the remote, without a work tree.

A `NewCommit` arrives. The id of a commit in the mirror leaves, and then the commit goes to the branch of the remote. The
invariant: the push changes one branch, and only if that branch is at the commit from which the new one was made. The refs
of the mirror change only by a fetch. So a failed push leaves nothing behind but objects that no ref leads to, and git
removes those later.
"""

import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import attrs
import structlog
import trio

from ...core.errors import SourceError
from ...core.pushes import FileChange, NewCommit, PushError, PushFault
from .complaints import Fault, was_there
from .process import Git, GitError
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
_FILE, _EXECUTABLE = b"100644", b"100755"
_SLASH = ord("/")
# One entry of `ls-tree -r -z`: the mode, the kind and the id, and the path.
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
        self._remove_index()
        listed = await self._run("ls-tree", "-r", "-z", "--full-tree", new.head)
        before = {path: entry for entry, path in _LISTED.findall(listed)}
        after = {**before, **{each.path.encode(): await self._entry(each, before) for each in new.changes}}
        kept = {path: entry for path, entry in after.items() if entry is not None}
        _check(new, before, kept)
        # A new index has these entries alone, so nothing else can get into the tree.
        lines = b"".join(b"%s\t%s\0" % (entry, path) for path, entry in kept.items())
        await self._run("update-index", "-z", "--index-info", input=lines)
        tree = await self._id("write-tree")
        identity = self._identity(new)
        message = new.message.encode()
        return await self._id("commit-tree", "-p", new.head, tree, input=message, variables=identity)

    async def _entry(self, change: FileChange, before: Mapping[bytes, bytes]) -> bytes | None:
        """Return the new entry of a path, as `ls-tree` prints it without the path. Return None if there is no such file."""
        if change.content is None:
            return None
        blob = await self._id("hash-object", "-w", "--stdin", input=change.content)
        is_executable = before.get(change.path.encode(), b"").startswith(_EXECUTABLE)
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

    async def _run(self, *arguments: str, input: bytes = b"", variables: Mapping[str, str] | None = None) -> bytes:
        own = {"GIT_INDEX_FILE": str(self._index)}
        return await self._git.run(
            *arguments, timeout=self._settings.read_timeout, input=input, variables={**own, **(variables or {})}
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


def _check(new: NewCommit, before: Collection[bytes], after: Collection[bytes]) -> None:
    """Check that the changes touch no other files.

    Raises:
        PushError: A file to delete doesn't exist, or a new file would take the place of a directory or be below a file.
    """
    directories = {path[:end] for path in after for end, byte in enumerate(path) if byte == _SLASH}
    for each in new.changes:
        path = each.path.encode()
        parents = (path[:end] for end, byte in enumerate(path) if byte == _SLASH)
        if each.content is None and path not in before:
            raise PushError(f"{each.path} can't be deleted, because there is no such file", PushFault.REJECTED)
        if each.content is not None and (path in directories or any(parent in after for parent in parents)):
            raise PushError(f"{each.path} can't be restored, because other files are in its place", PushFault.REJECTED)


def author_name(text: str) -> str:
    """Return a name in a form that git accepts as the name of an author."""
    plain = "".join(each for each in text if each.isprintable() and each not in "<>")
    return plain[:_MOST_AUTHOR].strip(_CRUD) or "unknown"

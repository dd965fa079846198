"""The mirror of one repository: a bare repository in the state directory, without a work tree.

`fetch` brings the remote's state. The commits of its branches and tags leave. The invariant: the directory with the
mirror's name is always a whole repository. If it is broken, a new mirror is made completely next to it, and takes its
place by renaming.
"""

import fcntl
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import attrs
import structlog
import trio

from ...aio import threads
from ...core.errors import SourceError
from .complaints import Fault, fault_of
from .disk import Room, remove, remove_halves, remove_leftovers, room_at
from .fetch import Fetch
from .process import Git, GitError, trusting
from .refs import BRANCH, Ref, parse_advertised, parse_refs, shown
from .remotes import Remote
from .settings import GitSettings
from .trailers import FORMAT as TRAILERS

log = structlog.get_logger()

# git's messages about its own broken repository. If the message isn't clear, the mirror asks the remote to find the
# cause.
_BROKEN = re.compile(
    r"corrupt|bad object|missing (?:blob|tree|commit|object)|loose object|packfile|not a git repository|bad config|"
    r"invalid sha1 pointer|broken|inflate|unable to read|index file|did not send all necessary|bad (?:tree|signature)|"
    r"unable to resolve reference|cannot lock ref"
)
_REBUILT_SUFFIX, _OLD_SUFFIX = ".new", ".old"
# The full id of a commit, by SHA-1 or SHA-256.
_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
# Seconds between two looks at a full disk. They are cheap, and the remote isn't asked meanwhile.
_ROOM_INTERVAL = 1.0
# The HEAD of a mirror while that of the remote isn't known.
_NO_HEAD = f"{BRANCH}main"


@attrs.frozen
class Fetched:
    """The result of a fetch.

    Attributes:
        refs: All branches and tags of the mirror by full name.
        is_new: Whether they differ from those after the fetch before.
        refused: Branches and tags of the remote that lead to an object that git refuses, with the reasons. They stay as
            they were.
        problem: The reason why other refs are out of date; "" if none is.
        state: Identifies all branches and tags with what they point to. It is alike in all mirrors of a repository.
    """

    refs: Mapping[str, Ref]
    is_new: bool
    refused: Mapping[str, str]
    problem: str
    state: str


def _digest(listed: bytes) -> str:
    # git lists the refs in the order of their names.
    return hashlib.sha256(listed).hexdigest()[:32]


def mirror_name(remote: Remote) -> str:
    """Return a directory name for a remote: readable, unique, and without secrets."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", remote.path.removesuffix(".git"))[-40:].strip("-")
    return f"{readable}-{hashlib.sha256(remote.uri.encode()).hexdigest()[:12]}.git"


class Mirror:
    """Keeps the mirror of a repository; see the module. One task at a time.

    Args:
        directory: The directory of the mirror. If its parent is missing, it is made.
    """

    def __init__(self, directory: Path, remote: Remote, settings: GitSettings) -> None:
        self._directory = directory
        self._remote = remote
        self._settings = settings
        self.git = Git(str(directory), remote, settings)
        self._fetch = Fetch(self.git)
        self._listed: bytes | None = None
        self._head = _NO_HEAD
        # The free space after the clean-up, if the last fetch filled the disk.
        self._room: Room | None = None

    @property
    def head(self) -> str:
        """The full name of the branch that the remote's HEAD pointed to when it was last asked.

        There may be no such branch.
        """
        return self._head

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Lock the directory for this process while the context lasts.

        Raises:
            SourceError: The directory can't be used. The error says what to do.
        """
        parent = self._directory.parent
        try:
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for each in (parent, self._directory):
                if each.exists():
                    _check_owner(each)
            lock = os.open(f"{self._directory}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise SourceError(f"{parent} can't be used for the mirror: {(error.strerror or 'error').lower()}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise SourceError(
                f"another vortexd uses {self._directory}; give each its own server.state_directory"
            ) from None
        try:
            if self._remote.scheme == "file":
                _write_trust(trusting(str(self._directory)), self._remote.path)
            yield
        finally:
            os.close(lock)

    async def prepare(self) -> bool:
        """Make the mirror usable, even if it is broken or missing. Return whether it holds anything of the remote.

        Raises:
            SourceError: The mirror can't be made.
        """
        version = (await self._local("version")).decode("utf-8", "replace").strip()
        # Distributions patch old versions of git, so the version is only logged. Nothing depends on it.
        log.info("mirror opened", mirror=str(self._directory), git=version)
        await threads.run_sync(self._recover)
        if not self._directory.exists():
            await self._create(self.git)
            return False
        try:
            refs = await self.refs()
            await self._fetch.remember()
            # If HEAD isn't symbolic, the remote is asked again later.
            with suppress(GitError):
                self._head = (await self._local("symbolic-ref", "HEAD")).decode("utf-8", "replace").strip()
            return bool(refs)
        except GitError as error:
            if error.fault is not Fault.UNKNOWN:
                raise  # if the disk is slow or full, that is no reason to delete the mirror
            log.warning("mirror broken", mirror=str(self._directory), reason=str(error), consequence="it is made anew")
            await threads.run_sync(shutil.rmtree, self._directory)
            await self._create(self.git)
            return False

    def _recover(self) -> None:
        """Finish or undo an interrupted swap, and remove the locks of dead processes.

        Only this process uses the directory now.
        """
        old, new = self._beside(_OLD_SUFFIX), self._beside(_REBUILT_SUFFIX)
        if old.exists() and not self._directory.exists():
            old.rename(self._directory)
        for each in (old, new):
            shutil.rmtree(each, ignore_errors=True)
        if self._directory.exists():
            remove_leftovers(self._directory, 0.0)

    async def fetch(self, timeout: float) -> Fetched:
        """Bring the mirror up to date with the remote, except for the refs that git refuses.

        Raises:
            GitError: The remote can't be reached, or not in time. The mirror is unchanged or newer.
            SourceError: A secret can't be read.
        """
        self._room = None
        try:
            await self._fetch.run(timeout)
        except GitError as error:
            raise await threads.run_sync(self._cleaned_up, error) from None
        return await self._fetched()

    async def _fetched(self) -> Fetched:
        listed = await self._list()
        before, self._listed = self._listed, listed
        # There may be a hundred thousand refs.
        refs = await threads.run_sync(parse_refs, listed)
        state = await threads.run_sync(_digest, listed)
        return Fetched(refs, listed != before, self._fetch.names, self._fetch.problem, state)

    def _cleaned_up(self, error: GitError) -> GitError:
        """Remove the leftovers of a failed fetch. Return the error to raise."""
        try:
            is_full = error.fault is Fault.FULL or (
                error.fault is Fault.UNKNOWN and room_at(self._directory).is_used_up
            )
            remove_halves(self._directory)
            # If git was killed, it has left its locks. An operator who runs git here by hand is done before a fetch
            # times out.
            remove_leftovers(self._directory, 0.0 if error.fault is Fault.LATE else self._settings.fetch_timeout)
            if not is_full:
                return error
            self._room = room_at(self._directory)
        except OSError:
            return error
        remedy = "free some, or move server.state_directory"
        return GitError(f"the disk of {self._directory.parent} is full; {remedy}; {error}", Fault.FULL)

    async def wait_for_room(self) -> None:
        """Wait until there is more free space than after the last fetch.

        If that fetch didn't fill the disk, wait for ever.
        """
        if self._room is None:
            await trio.sleep_forever()
        assert self._room is not None
        while True:
            await trio.sleep(_ROOM_INTERVAL)
            with suppress(OSError):
                if (await threads.run_sync(room_at, self._directory)).is_more_than(self._room):
                    return

    async def follow_head(self, timeout: float) -> bool:
        """Ask the remote which branch its HEAD points to, and remember it. Return whether it has changed.

        Raises:
            SourceError: The remote can't be asked. That isn't the mirror's fault.
        """
        try:
            listed = await self.git.run(
                *("ls-remote", "--quiet", "--symref", "--end-of-options", self._remote.uri, "HEAD"),
                timeout=timeout,
                is_remote=True,
            )
        except GitError as error:
            raise SourceError(str(error)) from None
        before, self._head = self._head, parse_advertised(listed).head or _NO_HEAD
        if self._head != before:
            await self._remember_head(self.git)
        return self._head != before

    async def _remember_head(self, git: Git) -> None:
        # If the remote can't be reached at the next start, this branch counts. If it can't be written, the next start
        # asks again.
        with suppress(GitError):
            await git.run("symbolic-ref", "HEAD", self._head, timeout=self._settings.read_timeout)

    async def tidy(self) -> None:
        """Pack the objects of many fetches. git would do so by itself only if it may leave processes behind.

        Raises:
            GitError: It can't be done now. Nothing is lost.
        """
        await self.git.run("gc", "--quiet", "--prune=1.day.ago", timeout=self._settings.fetch_timeout)

    async def is_at_fault(self, error: GitError) -> bool:
        """Return whether a fetch failed because of the mirror and not because of the remote.

        To find out, it may ask the remote.
        """
        if error.fault is not Fault.UNKNOWN:
            return False
        if _BROKEN.search(str(error)):
            return True
        try:
            await self.git.run(
                *("ls-remote", "--quiet", "--heads", "--end-of-options", self._remote.uri),
                timeout=self._settings.fetch_timeout,
                is_remote=True,
            )
        except SourceError:
            return False
        return True

    async def rebuild(self) -> Fetched:
        """Make a new mirror next to the old one, and put it in its place when it is complete.

        Raises:
            GitError: It can't be made now. The old mirror stays.
        """
        log.warning(
            "mirror rebuilt",
            mirror=str(self._directory),
            consequence="the repository is fetched whole; what the server serves stays as it is meanwhile",
        )
        try:
            await self._replace()
        except (OSError, SourceError) as error:
            # On a full disk a partial mirror would keep the disk full.
            await threads.run_sync(partial(shutil.rmtree, self._beside(_REBUILT_SUFFIX), ignore_errors=True))
            if isinstance(error, OSError):
                words = (error.strerror or "I/O error").lower()
                error = GitError(f"the mirror can't be made anew: {words}", fault_of(words))
            if isinstance(error, GitError):
                error = await threads.run_sync(self._cleaned_up, error)
            raise error from None
        return await self._fetched()

    async def _replace(self) -> None:
        new, old = self._beside(_REBUILT_SUFFIX), self._beside(_OLD_SUFFIX)
        await threads.run_sync(remove, new)
        git = attrs.evolve(self.git, directory=str(new))
        if self._remote.scheme == "file":
            _write_trust(trusting(str(new)), self._remote.path)
        await self._create(git)
        fetch = Fetch(git, self._fetch.refused)
        await fetch.run(self._settings.fetch_timeout)
        if fetch.unreached:
            raise GitError(fetch.problem, Fault.OBJECT)
        for name, why in fetch.names.items():
            if name in parse_refs(self._listed or b""):
                # This ref keeps its former state, and only the old mirror has that state.
                raise GitError(f"the mirror can't be made anew without {shown(name)}: {why}", Fault.OBJECT)
        await self._remember_head(git)
        await threads.run_sync(remove, old)
        with suppress(FileNotFoundError):
            self._directory.rename(old)
        new.rename(self._directory)
        fetch.git = self.git
        self._fetch = fetch
        await threads.run_sync(remove, old)

    async def refs(self) -> Mapping[str, Ref]:
        """Return all branches and tags by full name.

        Raises:
            GitError: The mirror can't be read.
        """
        return await threads.run_sync(parse_refs, await self._list())

    async def _list(self) -> bytes:
        return await self._local("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags")

    async def newest(self) -> list[str]:
        """Return the full names of all branches and tags, those with the newest commits first."""
        listed = await self._local(
            "for-each-ref", "--sort=refname", "--sort=-creatordate", "--format=%(refname)", "refs/heads", "refs/tags"
        )
        return listed.decode("utf-8", "replace").splitlines()

    async def holds(self, commit: str, names: frozenset[str]) -> bool:
        """Return whether one of these branches and tags has a commit in its history.

        Args:
            commit: A full id, which may not exist.
        """
        try:
            listed = await self._local(
                *("for-each-ref", f"--contains={commit}", "--format=%(refname)", "refs/heads", "refs/tags")
            )
        except GitError:
            return False
        return not names.isdisjoint(listed.decode("utf-8", "replace").splitlines())

    async def is_before(self, commit: str, other: str) -> bool | None:
        """Return whether a commit is an ancestor of another one. Return None if the mirror lacks one of them.

        Args:
            commit: A full id, or any text.
            other: Likewise.
        """
        if not (_ID.fullmatch(commit) and _ID.fullmatch(other)):
            return None
        try:
            listed = await self._local("rev-list", "--max-count=1", commit, f"^{other}", "--")
        except GitError:
            return None
        return not listed.strip()

    async def listing(self, tree: str, before: str | None, max_bytes: int) -> bytes:
        """Return the content of a tree as `ls-tree -r -z` prints it, or its difference from another tree.

        `diff-tree -r -z` prints the difference.

        Raises:
            GitError: The mirror can't be read.
            TooMuch: The output is larger than `max_bytes`.
        """
        if before is None:
            return await self._local("ls-tree", "-r", "-z", "--end-of-options", tree, max_bytes=max_bytes)
        return await self._local(
            *("diff-tree", "-r", "-z", "--no-renames", "--end-of-options", before, tree), max_bytes=max_bytes
        )

    async def commits(self, commit: str, count: int, known: Collection[str], max_bytes: int) -> bytes:
        """Return a commit and those before it along first parents, with their first parents and changes.

        `history` parses the result.

        Args:
            count: The largest number of commits.
            known: Commits that are left out, with all commits before them.

        Raises:
            GitError: The mirror can't be read.
            TooMuch: The output is larger than `max_bytes`.
        """
        return await self._local(
            *("log", "--first-parent", "--diff-merges=first-parent", "--raw", "-z", "--no-renames", "--no-abbrev"),
            *("--root", "--no-show-signature", "--no-mailmap", f"--max-count={count}"),
            *(f"--format=tformat:%x00%H%x00%P%x00%ct%x00%an%x00{TRAILERS}", commit),
            *(*(f"^{each}" for each in known), "--"),
            max_bytes=max_bytes,
        )

    async def merged(self, commit: str, before: str | None, count: int, max_bytes: int) -> bytes:
        """Return a commit and those that lead to it, merged ones included, with their parents and trailers.

        `trailers` parses the result.

        Args:
            before: A commit that is left out, with all commits before it, or None.
            count: The largest number of commits.

        Raises:
            GitError: The mirror can't be read.
            TooMuch: The output is larger than `max_bytes`.
        """
        return await self._local(
            *("log", "-z", "--no-show-signature", f"--max-count={count}", f"--format=tformat:%H%x00%P%x00{TRAILERS}"),
            *(commit, *([] if before is None else [f"^{before}"]), "--"),
            max_bytes=max_bytes,
        )

    async def blob(self, id: str, max_bytes: int) -> bytes:
        """Return the bytes of a blob.

        Raises:
            GitError: The mirror can't be read.
            TooMuch: The blob is larger than `max_bytes`.
        """
        return await self._local("cat-file", "blob", id, max_bytes=max_bytes)

    async def _local(self, *arguments: str, max_bytes: int = 2**26) -> bytes:
        return await self.git.run(*arguments, timeout=self._settings.read_timeout, max_bytes=max_bytes)

    async def _create(self, git: Git) -> None:
        await git.run("init", "--quiet", "--bare", "--template=", timeout=self._settings.read_timeout)
        os.chmod(git.directory, 0o700)

    def _beside(self, suffix: str) -> Path:
        return self._directory.with_name(self._directory.name + suffix)


def _check_owner(path: Path) -> None:
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise SourceError(f"{path} isn't a directory; remove it, or set server.state_directory")
    if status.st_uid != os.geteuid():
        raise SourceError(f"{path} belongs to another user; chown it to the one that vortexd runs as")
    if stat.S_IMODE(status.st_mode) & 0o022:
        raise SourceError(f"{path} can be written by other users; run chmod 700 on it")


def _write_trust(path: str, repository: str) -> None:
    """Write a git configuration that allows fetches from one repository on this machine, even if another user owns it.

    Raises:
        GitError: The file can't be written.
    """
    quoted = repository.replace("\\", "\\\\").replace('"', '\\"')
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with open(os.open(path, flags, 0o600), "w") as file:
            file.write(f'[safe]\n\tdirectory = "{quoted}"\n\tdirectory = "{quoted}/.git"\n')
    except OSError as error:
        words = (error.strerror or "I/O error").lower()
        raise GitError(f"{path} can't be written: {words}", fault_of(words)) from None

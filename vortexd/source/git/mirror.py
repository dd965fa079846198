"""The mirror of one repository: a bare repository in the state directory, without a work tree.

In comes the remote's state by `fetch`; out go the commits of its branches and tags. The invariant: the directory under the mirror's
name is always a whole repository. One that is broken is replaced by another that was made whole beside it, in one rename.
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

log = structlog.get_logger()

# What git says when it is its own repository that is broken. What it doesn't say so clearly is found out by asking the remote.
_BROKEN = re.compile(
    r"corrupt|bad object|missing (?:blob|tree|commit|object)|loose object|packfile|not a git repository|bad config|"
    r"invalid sha1 pointer|broken|inflate|unable to read|index file|did not send all necessary|bad (?:tree|signature)|"
    r"unable to resolve reference|cannot lock ref"
)
_REBUILT_SUFFIX, _OLD_SUFFIX = ".new", ".old"
# Seconds between two looks at a full disk: cheap, and the remote is left alone meanwhile.
_ROOM_INTERVAL = 1.0
# What HEAD of a mirror is where nobody knows that of the remote.
_NO_HEAD = f"{BRANCH}main"


@attrs.frozen
class Fetched:
    """What a fetch has brought.

    Attributes:
        refs: All branches and tags of the mirror by full name.
        is_new: They aren't what they were after the fetch before.
        refused: Branches and tags of the remote that lead to an object that git refuses, and why. They stay as they were.
        problem: Why other refs are out of date; "" if none is.
    """

    refs: Mapping[str, Ref]
    is_new: bool
    refused: Mapping[str, str]
    problem: str


def mirror_name(remote: Remote) -> str:
    """A directory name for a remote: readable, unique, and without secrets."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", remote.path.removesuffix(".git"))[-40:].strip("-")
    return f"{readable}-{hashlib.sha256(remote.uri.encode()).hexdigest()[:12]}.git"


class Mirror:
    """See the module. One task at a time.

    Args:
        directory: Where it is; its parent is made when it is missing.
    """

    def __init__(self, directory: Path, remote: Remote, settings: GitSettings) -> None:
        self._directory = directory
        self._remote = remote
        self._settings = settings
        self.git = Git(str(directory), remote, settings)
        self._fetch = Fetch(self.git)
        self._listed: bytes | None = None
        self._head = _NO_HEAD
        # The room that was left after the clean-up of a fetch that ran out of it.
        self._room: Room | None = None

    @property
    def head(self) -> str:
        """The full name of the branch that the remote's HEAD stood for when it was asked last; there may be no such branch."""
        return self._head

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Make the directory ours, and nobody else's while the context lasts.

        Raises:
            SourceError: It isn't ours to use; says what to do.
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
        """Make the mirror usable after whatever happened to it. Returns whether it holds anything of the remote.

        Raises:
            SourceError: It can't be made.
        """
        version = (await self._local("version")).decode("utf-8", "replace").strip()
        # Distributions mend old versions: it is said, and nothing hangs on it.
        log.info("mirror opened", mirror=str(self._directory), git=version)
        await threads.run_sync(self._recover)
        if not self._directory.exists():
            await self._create(self.git)
            return False
        try:
            refs = await self.refs()
            await self._fetch.remember()
            # Whatever else HEAD is, it is asked for again.
            with suppress(GitError):
                self._head = (await self._local("symbolic-ref", "HEAD")).decode("utf-8", "replace").strip()
            return bool(refs)
        except GitError as error:
            if error.fault is not Fault.UNKNOWN:
                raise  # a disk that is slow or full is no reason to lose what is on it
            log.warning("mirror broken", mirror=str(self._directory), reason=str(error), consequence="made anew")
            await threads.run_sync(shutil.rmtree, self._directory)
            await self._create(self.git)
            return False

    def _recover(self) -> None:
        """Finish or undo a swap that was broken off, and remove the locks of processes that are gone. We alone are here."""
        old, new = self._beside(_OLD_SUFFIX), self._beside(_REBUILT_SUFFIX)
        if old.exists() and not self._directory.exists():
            old.rename(self._directory)
        for each in (old, new):
            shutil.rmtree(each, ignore_errors=True)
        if self._directory.exists():
            remove_leftovers(self._directory, 0.0)

    async def fetch(self, timeout: float) -> Fetched:
        """Bring the mirror up to date with the remote, as far as git takes what the remote has.

        Raises:
            GitError: The remote can't be reached, or not in time; the mirror is what it was, or newer.
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
        # There may be a hundred thousand.
        refs = await threads.run_sync(parse_refs, listed)
        return Fetched(refs, listed != before, self._fetch.names, self._fetch.problem)

    def _cleaned_up(self, error: GitError) -> GitError:
        """Remove the leftovers of our own failed fetch. Returns the error to raise."""
        try:
            is_full = error.fault is Fault.FULL or (
                error.fault is Fault.UNKNOWN and room_at(self._directory).is_used_up
            )
            remove_halves(self._directory)
            # What was killed has left its locks behind; who works here by hand is done long before a fetch may end.
            remove_leftovers(self._directory, 0.0 if error.fault is Fault.LATE else self._settings.fetch_timeout)
            if not is_full:
                return error
            self._room = room_at(self._directory)
        except OSError:
            return error
        remedy = "free some, or move server.state_directory"
        return GitError(f"the disk of {self._directory.parent} is full; {remedy}; {error}", Fault.FULL)

    async def wait_for_room(self) -> None:
        """Wait until there is more room than after the last fetch, if that found too little; else for ever."""
        if self._room is None:
            await trio.sleep_forever()
        assert self._room is not None
        while True:
            await trio.sleep(_ROOM_INTERVAL)
            with suppress(OSError):
                if (await threads.run_sync(room_at, self._directory)).is_more_than(self._room):
                    return

    async def follow_head(self, timeout: float) -> bool:
        """Ask the remote which branch its HEAD stands for, and remember it. Returns whether it is another one than before.

        Raises:
            SourceError: The remote can't be asked, which isn't the mirror's fault.
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
        # A start that can't reach the remote goes by it. Where it can't be written, the next start asks anew.
        with suppress(GitError):
            await git.run("symbolic-ref", "HEAD", self._head, timeout=self._settings.read_timeout)

    async def tidy(self) -> None:
        """Pack what has gathered: git does so by itself only where it may leave processes behind.

        Raises:
            GitError: It can't be done now; nothing is lost.
        """
        await self.git.run("gc", "--quiet", "--prune=1.day.ago", timeout=self._settings.fetch_timeout)

    async def is_at_fault(self, error: GitError) -> bool:
        """Whether a fetch failed because of the mirror rather than of the remote, which answers then."""
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
        """Make the mirror anew beside the old one, and put it in its place when it is whole.

        Raises:
            GitError: It can't be made now; the old one stays.
        """
        log.warning("mirror rebuilt", mirror=str(self._directory), consequence="what is served stays as it is")
        try:
            await self._replace()
        except (OSError, SourceError) as error:
            # On a full disk half a mirror is what would keep it full.
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
                # It stays what it was, and only the old mirror has that.
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
        """All branches and tags by full name.

        Raises:
            GitError: The mirror can't be read.
        """
        return await threads.run_sync(parse_refs, await self._list())

    async def _list(self) -> bytes:
        return await self._local("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags")

    async def newest(self) -> list[str]:
        """The full names of all branches and tags, those with the newest commits first."""
        listed = await self._local(
            "for-each-ref", "--sort=refname", "--sort=-creatordate", "--format=%(refname)", "refs/heads", "refs/tags"
        )
        return listed.decode("utf-8", "replace").splitlines()

    async def holds(self, commit: str, names: frozenset[str]) -> bool:
        """Whether one of these branches and tags has a commit in its past.

        Args:
            commit: A full id, which may be nobody's.
        """
        try:
            listed = await self._local(
                *("for-each-ref", f"--contains={commit}", "--format=%(refname)", "refs/heads", "refs/tags")
            )
        except GitError:
            return False
        return not names.isdisjoint(listed.decode("utf-8", "replace").splitlines())

    async def listing(self, tree: str, before: str | None, max_bytes: int) -> bytes:
        """What a tree holds, or what is different from another, as `ls-tree -r -z` and `diff-tree -r -z` print it.

        Raises:
            GitError: The mirror can't be read.
            TooMuch: There is more than that.
        """
        if before is None:
            return await self._local("ls-tree", "-r", "-z", "--end-of-options", tree, max_bytes=max_bytes)
        return await self._local(
            *("diff-tree", "-r", "-z", "--no-renames", "--end-of-options", before, tree), max_bytes=max_bytes
        )

    async def commits(self, commit: str, count: int, known: Collection[str], max_bytes: int) -> bytes:
        """A commit and those before it along first parents, each with its first parent and what it changed, as `git_history` reads it.

        Args:
            count: At most so many.
            known: Commits that are left out, with all before them.

        Raises:
            GitError: The mirror can't be read.
            TooMuch: There is more than that.
        """
        return await self._local(
            *("log", "--first-parent", "--diff-merges=first-parent", "--raw", "-z", "--no-renames", "--no-abbrev"),
            *("--root", "--no-show-signature", "--no-mailmap", f"--max-count={count}"),
            *("--format=tformat:%x00%H%x00%P%x00%ct%x00%an", commit, *(f"^{each}" for each in known), "--"),
            max_bytes=max_bytes,
        )

    async def blob(self, id: str, max_bytes: int) -> bytes:
        """The bytes of a blob.

        Raises:
            GitError: The mirror can't be read.
            TooMuch: It is larger.
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
    """Name the one repository of this machine that git may serve to us, whoever owns it.

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

"""Reads a directory or a local repository as the server's sources would: its working tree, or the files of a ref.

The server's own code reads the path into a whole `Tree`. Invariant: this module writes nothing and changes no working tree. git runs with the
same environment as in the server.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import attrs
import trio

from ..core.model import Files, Tree
from ..source.files import directory
from ..source.files.settings import FilesSettings
from ..source.files.source import tree_of
from ..source.git.command_line import is_bare_repository
from ..source.git.labels import locations_of
from ..source.git.links import follow
from ..source.git.mirror import Mirror
from ..source.git.objects import Objects
from ..source.git.process import Git, GitError
from ..source.git.remotes import Remote
from ..source.git.settings import GitSettings
from ..source.git.snapshots import Snapshots
from .errors import CtlError

# During a push, a hook finds the objects of the push through these variables (githooks(5), git-receive-pack(1)).
_QUARANTINE = ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH")


@attrs.frozen
class Read:
    """The result of reading a path.

    Attributes:
        where: The prefix that makes a file's path relative to the current directory.
        skipped: Directories and links that the server doesn't serve, with the reasons.
    """

    tree: Tree
    where: str = ""
    skipped: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class _HookedGit(Git):
    """git for a local repository, including the objects of a push that isn't accepted yet."""

    def environment(self, credential: int | None = None) -> dict[str, str]:
        """See `Git`."""
        found = {name: os.environ[name] for name in _QUARANTINE if name in os.environ}
        if "GIT_OBJECT_DIRECTORY" in found:
            found["GIT_OBJECT_DIRECTORY"] = os.path.abspath(found["GIT_OBJECT_DIRECTORY"])
        return super().environment(credential) | found


def repository_at(path: str) -> str | None:
    """Return the object directory of the repository at a path: a bare one, or that of a working tree. None if there is no repository."""
    inside = os.path.join(path, ".git")
    if os.path.isdir(inside):
        return os.path.abspath(inside)
    try:
        # In a linked working tree or a submodule, `.git` is a file.
        text = Path(inside).read_text()
    except (OSError, UnicodeError, ValueError):
        return os.path.abspath(path) if is_bare_repository(path) else None
    return os.path.abspath(os.path.join(path, text.removeprefix("gitdir:").strip()))


def read_directory(path: str, settings: FilesSettings) -> Read:
    """Read the files of a directory.

    Raises:
        SourceError: The server would serve nothing from it.
    """
    scan = directory.read(path, settings, None)
    tree, skipped = tree_of(scan, settings, path)
    return Read(tree, path, skipped)


def read_working_tree(path: str, settings: GitSettings, label: str) -> Read:
    """Read the files of a working tree, as the server will see them after a commit.

    Raises:
        SourceError: The server would serve nothing from it.
    """
    limits = FilesSettings(
        file_bytes=settings.file_bytes, total_bytes=settings.total_bytes, files=settings.files, path=path
    )
    scan = directory.read(path, limits, None)
    links = _links(path)
    contents = {each: content for each, content in scan.contents.items() if each not in links}
    unreadable = {each: why for each, why in scan.unreadable.items() if each not in links}
    # Follow links as a commit stores them, not as this machine does: an absolute target doesn't exist elsewhere.
    ways = follow(links, {*contents, *unreadable})
    contents |= {link: contents[way.end] for link, way in ways.items() if not way.why and way.end in contents}
    unreadable |= {link: unreadable[way.end] for link, way in ways.items() if not way.why and way.end in unreadable}
    not_followed = {link: way.why for link, way in ways.items() if way.why}
    files = Files(contents, unreadable, "", locations_of(settings.search_paths, label))
    return Read(Tree({label: files}, label), path, not_followed)


def _links(root: str) -> dict[str, bytes]:
    """Return the symbolic links of a working tree with their targets. Hidden links are left out."""
    found = {}
    for place, directories, files in os.walk(root):
        directories[:] = [name for name in directories if not name.startswith(".")]
        for name in (*directories, *files):
            link = os.path.join(place, name)
            if os.path.islink(link) and not name.startswith("."):
                found[os.path.relpath(link, root)] = os.fsencode(os.readlink(link))
    return found


def read_ref(repository: str, settings: GitSettings, label: str, ref: str) -> Read:
    """Read the files of a branch, a tag or a commit.

    Raises:
        CtlError: There is no such ref, or the repository can't be read.
        SourceError: The server would serve nothing from it.
    """
    return trio.run(_read_ref, repository, settings, label, ref)


async def _read_ref(repository: str, settings: GitSettings, label: str, ref: str) -> Read:
    remote = Remote(repository, "none", "", repository)
    mirror = Mirror(Path(repository), remote, settings)
    git = mirror.git = _HookedGit(repository, remote, settings)
    try:
        named = f"{ref}^{{commit}}"
        arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", named)
        id = (await git.run(*arguments, timeout=settings.read_timeout)).decode("ascii", "replace").strip()
    except GitError as error:
        why = "; fetch it first" if "exit status" in str(error) else f": {error}"
        raise CtlError(f"{ref} isn't a branch, tag or commit of {repository}{why}", 2) from None
    try:
        async with Objects(git, settings.read_timeout) as objects:
            snapshot = await Snapshots(mirror, objects, settings).read(id, None, ())
    except GitError as error:
        raise CtlError(f"{repository} can't be read: {error}", 2) from None
    locations = locations_of(settings.search_paths, label)
    origin = snapshot.origin
    files = Files(snapshot.contents, snapshot.unreadable, "", locations, origin.commit, origin)
    return Read(Tree({label: files}, label), skipped=snapshot.not_followed)

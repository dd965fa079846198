"""A directory, or a repository of this machine, as the server's sources would read it: the working tree, or what a ref holds.

In comes a path, out goes a whole `Tree`, read by the same code as the server's. The invariant: nothing is written, no working tree is changed, and
git runs with the server's own environment.
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

# Where a hook that runs before a push is taken finds the objects of the push (githooks(5), git-receive-pack(1)).
_QUARANTINE = ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH")


@attrs.frozen
class Read:
    """What was read.

    Attributes:
        where: What goes before the path of a file to make it one from here.
        skipped: Directories and links that aren't served, and why.
    """

    tree: Tree
    where: str = ""
    skipped: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class _HookedGit(Git):
    """git for a repository of this machine, with the objects of a push that isn't taken yet."""

    def environment(self, credential: int | None = None) -> dict[str, str]:
        """See `Git`."""
        found = {name: os.environ[name] for name in _QUARANTINE if name in os.environ}
        if "GIT_OBJECT_DIRECTORY" in found:
            found["GIT_OBJECT_DIRECTORY"] = os.path.abspath(found["GIT_OBJECT_DIRECTORY"])
        return super().environment(credential) | found


def repository_at(path: str) -> str | None:
    """The directory in which the repository at a path has its objects: a bare one, or that of a working tree; None where there is none."""
    inside = os.path.join(path, ".git")
    if os.path.isdir(inside):
        return os.path.abspath(inside)
    try:
        # A linked working tree, or a submodule.
        text = Path(inside).read_text()
    except (OSError, UnicodeError, ValueError):
        return os.path.abspath(path) if is_bare_repository(path) else None
    return os.path.abspath(os.path.join(path, text.removeprefix("gitdir:").strip()))


def read_directory(path: str, settings: FilesSettings) -> Read:
    """The files of a directory.

    Raises:
        SourceError: The server would serve nothing of it.
    """
    scan = directory.read(path, settings, None)
    tree, skipped = tree_of(scan, settings, path)
    return Read(tree, path, skipped)


def read_working_tree(path: str, settings: GitSettings, label: str) -> Read:
    """The files of a working tree as the server will have them once they are committed.

    Raises:
        SourceError: The server would serve nothing of it.
    """
    limits = FilesSettings(
        file_bytes=settings.file_bytes, total_bytes=settings.total_bytes, files=settings.files, path=path
    )
    scan = directory.read(path, limits, None)
    links = _links(path)
    contents = {each: content for each, content in scan.contents.items() if each not in links}
    unreadable = {each: why for each, why in scan.unreadable.items() if each not in links}
    # As a commit has them, not as this machine does: an absolute target is none elsewhere.
    ways = follow(links, {*contents, *unreadable})
    contents |= {link: contents[way.end] for link, way in ways.items() if not way.why and way.end in contents}
    unreadable |= {link: unreadable[way.end] for link, way in ways.items() if not way.why and way.end in unreadable}
    not_followed = {link: way.why for link, way in ways.items() if way.why}
    files = Files(contents, unreadable, "", locations_of(settings.search_paths, label))
    return Read(Tree({label: files}, label), path, not_followed)


def _links(root: str) -> dict[str, bytes]:
    """The symbolic links of a working tree, and their targets; those that are hidden left out."""
    found = {}
    for place, directories, files in os.walk(root):
        directories[:] = [name for name in directories if not name.startswith(".")]
        for name in (*directories, *files):
            link = os.path.join(place, name)
            if os.path.islink(link) and not name.startswith("."):
                found[os.path.relpath(link, root)] = os.fsencode(os.readlink(link))
    return found


def read_ref(repository: str, settings: GitSettings, label: str, ref: str) -> Read:
    """The files that a branch, a tag or a commit holds.

    Raises:
        CtlError: There is no such ref, or the repository can't be read.
        SourceError: The server would serve nothing of it.
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
        raise CtlError(f"{ref} is no branch, tag or commit of {repository}{why}", 2) from None
    try:
        async with Objects(git, settings.read_timeout) as objects:
            snapshot = await Snapshots(mirror, objects, settings).read(id, None, ())
    except GitError as error:
        raise CtlError(f"{repository} can't be read: {error}", 2) from None
    locations = locations_of(settings.search_paths, label)
    origin = snapshot.origin
    files = Files(snapshot.contents, snapshot.unreadable, "", locations, origin.commit, origin)
    return Read(Tree({label: files}, label), skipped=snapshot.not_followed)

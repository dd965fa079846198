"""Finds the files for a pin: those that are served, those of a known version, or those of a commit. Loaded at the first pin.

A key and the text of a person arrive. A `Target` leaves. The invariant: its files alone give the document of its version. A
commit must be one of the served label's commits. The search is bounded, as that of `key_history`.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import attrs
import trio

from ..core.commits import Commit, named
from ..core.errors import FormatError, RemoteError, ResolveError
from ..core.model import Config, Files, Key
from ..core.term import Term
from ..pins.pin import MOST_BYTES, Pin, size_of
from ..resolve.tree import ParsedFiles
from .key_history import HistoryPage
from .past_keys import Document
from .pinning import Labels, files_of, resolves_to
from .served import ServedState

# Seconds for the whole search, and the most pages of the history that it reads.
SECONDS = 10.0
MOST_PAGES = 20
_PAGE = 100
_VERSION = re.compile(r"[0-9a-f]{16}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
T = TypeVar("T")
InThread = Callable[..., Awaitable[T]]


@attrs.frozen(slots=True, eq=False)
class Target:
    """The document at which a key is to be frozen.

    Attributes:
        commit: The commit that the files come from, or None.
        labels: As in `Pin`.
    """

    version: str
    commit: str | None
    labels: Labels


class Past(Protocol):
    """The part of the reader that knows former documents of a key."""

    async def read(self, key: Key) -> Config:
        """Return the configuration that is served."""
        ...

    def served_with(self, key: Key) -> ServedState:
        """Return the served state, which has the labels of the key."""
        ...

    def history(self, key: Key) -> Mapping[str, bytes]:
        """Return the known former versions of a key, with their documents."""
        ...

    async def changes(self, key: Key, part: str, limit: int, after: str, client: str | None) -> HistoryPage:
        """Return a page of the commits that changed a key."""
        ...

    async def files_at(
        self, key: Key, choose: Callable[[Sequence[Commit]], Commit]
    ) -> tuple[Commit, Sequence[Sequence[ParsedFiles]], Document | None]:
        """Return a commit of a key's label, the layers of each label of the key there, and its document, or None."""
        ...

    async def former_files(self, key: Key, version: str) -> Sequence[Sequence[ParsedFiles]] | None:
        """Return the layers of each label of a key in a state before the served one, in which it has a version."""
        ...


async def find_target(past: Past, key: Key, to: str, in_thread: InThread[str | None]) -> Target:
    """Find the files for a pin.

    Args:
        to: "" for the document that is served, a version, or the beginning of a commit's id.
        in_thread: Runs a function in a thread.

    Raises:
        UnknownLabel: There is no such label.
        RemoteError: 400, 404 or 503.
    """
    if to and not _VERSION.fullmatch(to) and not _COMMIT.fullmatch(to):
        raise RemoteError("to is empty, a version of 16 hex digits, or a commit of 7 to 64 hex digits")
    with trio.move_on_after(SECONDS):
        target = await _Search(past, key, in_thread).find(to)
        if size_of(target.labels) > MOST_BYTES:
            raise RemoteError(f"the files of this key have more than {MOST_BYTES} bytes")
        return target
    raise _late("the version wasn't found in time; try again, or name its commit")


class _Search:
    """Searches the files for a pin; see `find_target`."""

    def __init__(self, past: Past, key: Key, in_thread: InThread[str | None]) -> None:
        self._past = past
        self._key = key
        self._in_thread = in_thread
        self._current: Config | None = None

    async def find(self, to: str) -> Target:
        try:
            self._current = config = await self._past.read(self._key)
        except (FormatError, ResolveError):
            if not to:
                raise _late("the key can't be read now; name a version or a commit") from None
            config = None
        if config is not None and to in ("", config.version):
            if not config.sources:
                raise RemoteError("there is no such configuration", 404)
            return await self._version(config.version)
        if _VERSION.fullmatch(to) is None:
            return await self._commit(partial(named, name=to))
        try:
            return await self._version(to)
        except RemoteError as error:
            if error.status != 404:
                raise
        # The beginning of a commit's id may have 16 digits, too.
        try:
            return await self._commit(partial(named, name=to))
        except RemoteError as error:
            if error.status != 404:
                raise
        raise RemoteError("the server doesn't know this version of the key, and there is no such commit", 404)

    async def _version(self, version: str) -> Target:
        """Find the files of a version.

        Raises:
            RemoteError: They aren't known (404), or can't be read now (503).
        """
        served = self._past.served_with(self._key)
        found = await self._matching(served.state.layers(self._key), version, None)
        if found is None and (former := await self._past.former_files(self._key, version)) is not None:
            found = await self._matching(former, version, None)
        if found is None and (commit := await self._commit_of(version)) is not None:
            found = await self._commit(lambda commits: next(each for each in commits if each.id == commit))
        if found is None and served.state.decryptor is None:
            found = await self._of_document(version, served)
        if found is None:
            raise RemoteError("the server doesn't know the files of this version", 404)
        return found

    async def _commit(self, choose: Callable[[Sequence[Commit]], Commit]) -> Target:
        commit, layers, document = await self._past.files_at(self._key, choose)
        short = commit.id[:12]
        if document is None:
            raise RemoteError(f"the key can't be resolved at commit {short}", 404)
        found = await self._matching(layers, document.version, commit.id)
        if found is None:
            raise RemoteError(f"the files of the key at commit {short} can't be told apart from others", 404)
        return found

    async def _matching(
        self, layers: Sequence[Sequence[ParsedFiles]], version: str, commit: str | None
    ) -> Target | None:
        """Return the files that the key reads, if they alone give the document of a version."""
        try:
            labels = files_of(layers, self._key)
        except (FormatError, ResolveError):
            return None
        return await self._checked(Target(version, commit or _revision(labels), labels))

    async def _checked(self, target: Target) -> Target | None:
        served = self._past.served_with(self._key)
        pin = Pin("", self._key, target.version, None, "", "", Term(0.0), target.labels)
        version = await self._in_thread(resolves_to, pin, served.formats, served.state.unpinned)
        return target if version == target.version else None

    async def _commit_of(self, version: str) -> str | None:
        """Return a commit at which the key has a version, or None."""
        after = ""
        for _ in range(MOST_PAGES):
            try:
                page = await self._past.changes(self._key, "", _PAGE, after, None)
            except RemoteError as error:
                if error.status != 404:
                    raise
                return None  # the source has no commits
            for change in page.changes:
                if change.new.version == version:
                    return change.origin.commit
            if page.next is None:
                return None
            after = page.next
        return None

    async def _of_document(self, version: str, served: ServedState) -> Target | None:
        """Return one file with a former document, if its values can't have been decrypted."""
        document = self._past.history(self._key).get(version)
        if self._current is not None and self._current.version == version:
            document = self._current.body
        layers = served.state.layers(self._key)
        first = next((layer.files for each in layers for layer in each), None)
        if document is None or first is None:
            return None
        files = Files({"application.json": document}, root=first.root, group=first.group)
        return await self._checked(Target(version, None, ((files,), *([()] * (len(layers) - 1)))))


def _revision(labels: Labels) -> str | None:
    """Return the commit of files, if they come from one."""
    found = {layer.revision for layers in labels for layer in layers}
    return found.pop() if len(found) == 1 else None


def _late(reason: str) -> RemoteError:
    return RemoteError(reason, 503, {"Retry-After": "1"})

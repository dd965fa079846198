"""The keys below a prefix as files: what they contain, which are left out, and when a state is complete. Pure.

Entries and the batches of a watch arrive. The contents of all files leave, as they are after a commit.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import groupby

import attrs

from ...cluster.engine import Batch, Entry, Event, size_of
from ...core.errors import SourceError
from .settings import EtcdSettings


@attrs.frozen
class State:
    """The files at one moment.

    Attributes:
        contents: As in `Files.contents`.
        unreadable: As in `Files.unreadable`.
        skipped: Maps each key that can't be the path of a file to the reason.
        revision: etcd's revision of the last write.
        as_of: A revision of etcd at which these were the files.
    """

    contents: Mapping[str, bytes]
    unreadable: Mapping[str, str]
    skipped: Mapping[str, str]
    revision: int
    as_of: int = 0

    @property
    def place(self) -> str:
        """The place of these files in the order of etcd's revisions; see `Files.position`. This takes a millisecond per MB."""
        digest = blake2b(digest_size=16)
        for path, content in sorted(self.contents.items()):
            digest.update(b"%d %d " % (len(path.encode(errors="surrogateescape")), len(content)))
            digest.update(path.encode(errors="surrogateescape") + content)
        digest.update(repr(sorted(self.unreadable)).encode(errors="surrogateescape"))
        return f"{self.as_of}-{digest.hexdigest()}"


class Keys:
    """All entries below the prefix, kept up to date by the batches of a watch.

    Args:
        settings: The prefix, the marker and the limits.
        entries: The entries as they were read.
        revision: The revision of that reading.
    """

    def __init__(self, settings: EtcdSettings, entries: Iterable[Entry], revision: int = 0) -> None:
        self._settings = settings
        self._marker = settings.prefix + settings.marker if settings.marker else None
        self._entries = {each.key: each for each in entries}
        self._size = size_of(self._entries.values())
        # Without a marker, each state is complete. A copy for each commit would take long if there are many keys.
        self._complete: Mapping[str, Entry] = dict(self._entries) if self._marker else self._entries
        self._as_of = revision

    def go_back(self, entries: Iterable[Entry]) -> None:
        """Take these entries for the newest state that may be published. Later batches still follow the last reading."""
        self._complete = {each.key: each for each in entries}
        self._as_of = self.marked

    def apply(self, batch: Batch) -> bool:
        """Take the writes of a batch. Return whether there is a new state to publish.

        With a marker, that is the state after the last commit that wrote the marker.
        """
        has_new = False
        for _, commit in groupby(batch.events, lambda event: event.revision):
            has_new |= self._take(list(commit))
        return has_new

    def _take(self, events: Sequence[Event]) -> bool:
        """Take the writes of one commit. Return whether the state after it is complete."""
        for event in events:
            former = self._entries.pop(event.key, None)
            self._size -= size_of([former] if former is not None else ())
            if event.entry is not None:
                self._entries[event.key] = event.entry
                self._size += size_of([event.entry])
        is_complete = self._marker is None or any(each.key == self._marker and each.entry for each in events)
        if is_complete and self._marker is not None:
            self._complete = dict(self._entries)
        if is_complete and events:
            self._as_of = events[-1].revision
        return is_complete

    @property
    def marked(self) -> int:
        """The revision of the newest state that may be published, or 0 if the marker isn't there.

        It is the revision of the last write of the marker or, without a marker, of all keys.
        """
        if self._marker is None:
            return self.newest
        entry = self._entries.get(self._marker)
        return entry.modified if entry is not None else 0

    @property
    def size(self) -> int:
        """The bytes of all keys and values, with those that can't be files."""
        return self._size

    @property
    def newest(self) -> int:
        """The revision of the last write that is still visible."""
        return max((each.modified for each in self._entries.values()), default=0)

    def state(self) -> State:
        """Return the files of the newest state that may be published.

        Raises:
            SourceError: They exceed a limit.
        """
        prefix, limit = self._settings.prefix, self._settings.file_bytes
        contents: dict[str, bytes] = {}
        unreadable: dict[str, str] = {}
        skipped: dict[str, str] = {}
        total = 0
        for key in sorted(self._complete):
            path = key.removeprefix(prefix)
            if key == self._marker:
                continue
            if (problem := _problem(path)) is not None:
                skipped[key] = problem
                continue
            value = self._complete[key].value
            if len(value) > limit:
                unreadable[path] = f"it has {len(value)} bytes, and file_bytes allows {limit}"
                continue
            total += len(value)
            contents[path] = value
        if len(contents) + len(unreadable) > self._settings.files:
            raise SourceError(f"{prefix} has more files than {self._settings.files}, which files allows")
        if total > self._settings.total_bytes:
            raise SourceError(f"{prefix} has {total} bytes, and total_bytes allows {self._settings.total_bytes}")
        revision = max((each.modified for each in self._complete.values()), default=0)
        return State(contents, unreadable, skipped, revision, self._as_of)


def _problem(path: str) -> str | None:
    """Return the reason why the end of a key can't be the path of a file, or None if it can."""
    if not path.isprintable():
        return "it isn't UTF-8, or has control characters"
    parts = path.split("/")
    if "" in parts:
        return "it has an empty part"
    if any(part.startswith(".") for part in parts):
        return "a part of it begins with a dot"
    return None

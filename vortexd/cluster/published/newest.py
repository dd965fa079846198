"""The newest published version, as each node of the cluster shows it. The node's one watch has it."""

from collections.abc import Iterable

from ..engine import Entry, Event
from ..keys import Keys
from ..records import Unusable
from ..warnings import RecordWarnings
from .head import Announcement


class Newest:
    """Keeps the announcement of the newest version.

    Attributes:
        said: The announcement, or None if there is none that can be read.
    """

    def __init__(self, keys: Keys, warnings: RecordWarnings) -> None:
        self._key = keys.published
        self._warnings = warnings
        self.said: Announcement | None = None

    def read(self, entries: Iterable[Entry]) -> None:
        """Take a reading of all entries of the cluster."""
        self.said = None
        for entry in entries:
            if entry.key == self._key:
                self._put(entry)

    def take(self, events: Iterable[Event]) -> None:
        """Take the events of a watch."""
        for event in events:
            if event.key == self._key and event.entry is not None:
                self._put(event.entry)
            elif event.key == self._key:
                self.said = None
                self._warnings.usable(event.key)

    def _put(self, entry: Entry) -> None:
        try:
            self.said = Announcement.parse(entry.value)
        except Unusable as error:
            self.said = None
            self._warnings.unusable(entry.key, str(error))
        else:
            self._warnings.usable(entry.key)

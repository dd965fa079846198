"""What tells one kind of record apart from another. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import attrs

from ..core.model import Key

T = TypeVar("T")
# Returns the new records, given all present ones. It may raise RemoteError, and it may be called again.
Change: TypeAlias = Callable[[Sequence[T]], Sequence[T]]


@attrs.frozen(eq=False)
class Warnings(Generic[T]):
    """Logs what is wrong with records. Each event of the log has its name in the module of its kind.

    Attributes:
        set_aside: The file can't be used. Called with the new name of the file, and the reason.
        not_read: The records can't be read. Called with the reason.
        not_copied: The copy of the cluster's records can't be written. Called with the reason.
        not_shared: A record of this server can't be brought to the cluster. Called with it, and the reason.
        unusable: A record of the cluster can't be used. Called with its name, and the reason.
    """

    set_aside: Callable[[str, str], None]
    not_read: Callable[[str], None]
    not_copied: Callable[[str], None]
    not_shared: Callable[[T, str], None]
    unusable: Callable[[str, str], None]


@attrs.frozen(eq=False)
class Kind(Generic[T]):
    """A kind of record. Each key has at most one record of a kind.

    Attributes:
        noun: What people call a record: "pin".
        file: The name of the file in its directory.
        format: The number of the format. It is increased when older readers could no longer understand the file.
        max_bytes: The limit of the file.
        most: The most records.
        too_large: What to do if the file would be too large.
        members: Returns the JSON object of a record.
        parse: Returns the record of a JSON object. It raises ValueError, KeyError, TypeError, AttributeError or RemoteError.
        key: Returns the key of a record.
        mark: Returns the state of a record. If two records have the same one, they are equal.
        order: Returns the place of a record among all, when they come from the cluster.
        counts: Returns whether a record of this server still counts at a time, when the server comes to a cluster.
        warnings: Logs what is wrong.
    """

    noun: str
    file: str
    format: int
    max_bytes: int
    most: int
    too_large: str
    members: Callable[[T], dict[str, Any]]
    parse: Callable[[Mapping[str, Any]], T]
    key: Callable[[T], Key]
    mark: Callable[[T], object]
    order: Callable[[T], Any]
    counts: Callable[[T, float], bool]
    warnings: Warnings[T]

    @property
    def nouns(self) -> str:
        """The name of several records. The file has them under this name, with `_` between words."""
        return f"{self.noun}s"

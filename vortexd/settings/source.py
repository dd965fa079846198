"""The common part of the settings of all kinds of source.

Each kind of source has a class of settings in its package below vortexd/source. The composition root passes a table of
these classes to the functions that parse settings, so nothing here names a kind.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self, TypeAlias, TypeVar

import attrs

S = TypeVar("S", bound="SourceSettings")

# The name of a key in its table, and the problem as the end of a sentence that begins with the key.
KeyProblem: TypeAlias = tuple[str, str]


@attrs.frozen
class SourceSettings(ABC):
    """[[source]]: the base class for the settings of each kind of source.

    A kind is a frozen attrs class whose fields all have defaults.

    Attributes:
        location_key: The key that `--source` sets, or "" if the command line can't name a source of this kind.
        path_keys: Keys whose values are paths, which are relative to the directory of vortexd.toml.
        private_keys: Those of the path keys that name vortexd's own files, which are never served.
        keeps_mirrors: Whether its sources keep mirrors in the state directory.
        reads_published: Whether its sources serve what a cluster has published. A node with such a source can't publish.
    """

    location_key: ClassVar[str] = ""
    path_keys: ClassVar[tuple[str, ...]] = ()
    private_keys: ClassVar[tuple[str, ...]] = ()
    keeps_mirrors: ClassVar[bool] = False
    reads_published: ClassVar[bool] = False

    @property
    @abstractmethod
    def kind(self) -> str:
        """The name of the kind, which is the key of its class in the table.

        The field's type is a `Literal` of that name.
        """

    @property
    @abstractmethod
    def applications(self) -> tuple[str, ...]:
        """Patterns of the applications and profiles that this source is for. If there are none, it is for all."""

    @abstractmethod
    def open(self, surroundings: Any) -> Any:
        """Make the source. It opens nothing before it runs.

        Args:
            surroundings: A `source.base.Surroundings`, a type that this package may not import.

        Returns:
            A `source.base.Source`.
        """

    @classmethod
    def conflicts(cls, table: Mapping[str, Any]) -> Iterator[KeyProblem]:
        """Yield problems between the keys of one [[source]].

        Args:
            table: The table from the text. Its values may have wrong types. Another check reports those.
        """
        yield from ()

    def unusable_files(self, environ: Mapping[str, str]) -> Iterator[KeyProblem]:
        """Yield problems with files that these settings name and that the source reads only on demand.

        Blocks on the file system.
        """
        yield from ()

    def unreadable(self) -> Iterator[KeyProblem]:
        """Yield problems that keep the daemon from starting with this source. Blocks on the file system."""
        yield from ()

    # `--source` on the command line.

    @classmethod
    def location_of(cls, given: str) -> str | None:
        """Return the full location that `--source GIVEN` names, or None if it is no source of this kind.

        Blocks on the file system.
        """
        return None

    @classmethod
    def takes(cls, location: str) -> bool:
        """Return whether a location from `location_of` belongs to this kind."""
        return False

    def at(self, location: str) -> Self:
        """Return these settings for another location, which is a valid value of `location_key`."""
        return attrs.evolve(self, **{self.location_key: location})


# The name of each kind, and its settings. If a [[source]] names no kind, it has the first kind.
Kinds: TypeAlias = Mapping[str, type[SourceSettings]]


def default_kind(kinds: Kinds) -> type[SourceSettings]:
    """Return the settings for a [[source]] that names no kind, or an unknown one."""
    return next(iter(kinds.values()))


def first_of(sources: Iterable[SourceSettings], kind: type[S]) -> S:
    """Return the first of the sources that has a kind, or else the defaults of that kind."""
    return next((each for each in sources if isinstance(each, kind)), kind())

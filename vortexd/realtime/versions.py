"""The versions that a parked client has of several keys. Clients with equal versions share one object. Pure.

Clients with the same main key and equal patterns have the same versions nearly always: they get the same frames. They form a
*cohort*, which has one dictionary instead of one for each client. `Versions` never changes while several clients share it. If
a client gets a frame, it moves on to another `Versions`. The next client that gets the same frame finds it there.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias
from weakref import WeakValueDictionary, ref

from ..core.model import Key
from ..core.patterns import Pattern

# Pairs of a key and its new version.
Steps: TypeAlias = Sequence[tuple[Key, str | None]]


class _Cohort:
    """The clients with the same main key and equal patterns.

    Attributes:
        latest: The versions that were reached last, if a client still has them.
    """

    __slots__ = ("__weakref__", "latest")

    def __init__(self) -> None:
        self.latest: ref[Versions] | None = None


class Versions:
    """The version of each key. A new object counts one client: the client that it is made for.

    Args:
        had: The versions. This object owns the dictionary from now on.
        cohort: The clients that may share it, or None if it isn't shared.
    """

    __slots__ = ("__weakref__", "_clients", "_cohort", "_had", "_next", "_steps")

    def __init__(self, had: dict[Key, str | None], cohort: _Cohort | None = None) -> None:
        self._had = had
        self._cohort = cohort
        # A client that has left the parking lot stays counted. Then the dictionary is copied once more than necessary.
        self._clients = 1
        # The last steps from here, and the versions that they led to. This is a weak reference. Otherwise, a client that stays
        # behind would keep all later versions in memory.
        self._steps: Steps = ()
        self._next: ref[Versions] | None = None

    def __contains__(self, key: Key) -> bool:
        return key in self._had

    def get(self, key: Key) -> str | None:
        """Return the version of a key, or None."""
        return self._had.get(key)

    def copy(self) -> dict[Key, str | None]:
        """Return the versions as a dictionary of the caller's own."""
        return dict(self._had)

    def equals(self, had: Mapping[Key, str | None]) -> bool:
        """Whether these are the same versions of the same keys."""
        return self._had == had

    @property
    def is_in_use(self) -> bool:
        """Whether a client has these versions. If not, the dictionary may have changed since."""
        return self._clients > 0

    def join(self) -> "Versions":
        """Count one more client."""
        self._clients += 1
        return self

    def after(self, steps: Steps) -> "Versions":
        """Move one client on by these steps, and return its new versions."""
        after = self._next() if self._next is not None else None
        if after is not None and after.is_in_use and self._steps == steps:
            after.join()
        else:
            # The only client takes the dictionary along, because it may have thousands of keys.
            after = Versions(self._had if self._clients == 1 else dict(self._had), self._cohort)
            after._had.update(steps)
            self._steps, self._next = steps, ref(after)
            if self._cohort is not None and self._cohort.latest is not None and self._cohort.latest() is self:
                self._cohort.latest = ref(after)
        self._clients -= 1
        return after


class SharedVersions:
    """Finds the versions that a client can share. A cohort is kept while one of its clients is parked."""

    def __init__(self) -> None:
        self._cohorts: WeakValueDictionary[tuple[Key, tuple[Pattern, ...]], _Cohort] = WeakValueDictionary()

    def __len__(self) -> int:
        """The number of cohorts."""
        return len(self._cohorts)

    def get(self, key: Key, patterns: tuple[Pattern, ...], had: Mapping[Key, str | None]) -> Versions:
        """Return versions that count one more client: the latest of its cohort if they are equal, or new ones.

        Args:
            key: The client's main key.
        """
        cohort = self._cohorts.get((key, patterns))
        if cohort is None:
            cohort = self._cohorts[key, patterns] = _Cohort()
        latest = cohort.latest() if cohort.latest is not None else None
        # These are in use: `after` moves `latest` on before the last client leaves.
        if latest is not None and latest.equals(had):
            return latest.join()
        latest = Versions(dict(had), cohort)
        cohort.latest = ref(latest)
        return latest

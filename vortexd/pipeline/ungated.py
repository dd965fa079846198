"""Stands in the place of `gated` as long as there is no gate: it admits every state as it is. Pure.

The invariant: it answers as `GatedPublications` does without rules. A server without a gate doesn't load that module.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import attrs

from ..core.errors import RemoteError
from ..core.model import Key
from ..resolve.alterations import Alterations
from .served import ServedState
from .store import Staged

if TYPE_CHECKING:
    from ..gate.decision import Person
    from ..gate.gate import Verdict


@attrs.frozen
class Admitted:
    """A state that the gate admits.

    Attributes:
        served: The state, in which refused labels have their former files.
        altered: Its differences from the served state.
        ready: The keys that are resolved already, or None.
        recalled: The labels that begin with a remembered state. What is served of them hasn't been examined yet.
        judged: The labels with keys that the gate has judged.
    """

    served: ServedState
    altered: Alterations | None
    ready: Staged | None = None
    recalled: frozenset[str] = frozenset()
    judged: frozenset[str] = frozenset()


class UngatedPublications:
    """Admits every state. For the methods, see `gated.GatedPublications`."""

    is_on = False
    has_failed = False
    has_exceptions = False
    unexamined: frozenset[str] = frozenset()

    @property
    def standing(self) -> "Mapping[str, Verdict]":
        """Nothing, because there are no rules."""
        return {}

    async def admitted(
        self, prepared: ServedState, altered: Alterations | None, before: ServedState | None
    ) -> Admitted:
        """Admit a state as it is."""
        return Admitted(prepared, altered)

    def committed(self, admitted: Admitted, before: ServedState | None, now: ServedState) -> None:
        """Do nothing, because nothing was decided."""

    async def examine(self, served: ServedState) -> None:
        """Do nothing, because there are no rules."""

    async def examine_labels(self, served: ServedState, labels: Collection[str]) -> None:
        """Do nothing, because there are no rules."""

    def outdated(self, before: ServedState, now: ServedState) -> frozenset[str]:
        """Return nothing, because there are no rules."""
        return frozenset()

    def remember(self, served: ServedState) -> None:
        """Do nothing, because only a gate's states are remembered."""

    def let_through(self, label: str, state: str, by: "Person", reason: str, *, is_asked: bool = True) -> None:
        """Refuse.

        Raises:
            RemoteError: No label is held back.
        """
        raise RemoteError("this label is not held back", 404)

    def judges_at_first_read(self, key: Key, served: ServedState) -> bool:
        """Return False, because there are no rules."""
        return False

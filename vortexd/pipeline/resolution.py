"""Resolves the keys of one publication, and does no work twice. Pure.

A state and the former configurations of keys arrive. The configurations and patches that leave are those of
`State.resolve` and `patch_between`. Work is left out where it can't change them:

- A file that many keys read is decrypted once, and not at all if it hasn't changed.
- If only some property sources of a key are new, only the parts of the document that they touch are merged again.
- Keys whose documents change in the same way share one patch.

The invariant: the document of a configuration is always the one of its own sources, whatever state it comes from.
"""

from collections.abc import Mapping

from ..core.diff import not_too_long, patch_between
from ..core.model import Config, Key, PropertySource
from ..resolve.parts import MOST_BYTES, Difference, Parts
from .state import State


class Resolution:
    """Resolves keys; see the module. Only one thread may use it.

    Args:
        state: The state to resolve from.
        before: The state before it, or None.
    """

    def __init__(self, state: State, before: State | None) -> None:
        self._state = state
        self._is_same_decryptor = before is not None and before.decryptor is state.decryptor
        self._parts = Parts()
        # The sources that are ready, by the identity of the values in the file, and by name.
        self._opened: dict[tuple[int, str], tuple[PropertySource, PropertySource]] = {}

    def resolve(self, key: Key, old: Config | None, *, is_current: bool = True) -> tuple[Config, Difference | None]:
        """Resolve a key as `State.resolve` does.

        Args:
            old: The former configuration of the key, or None.
            is_current: Whether `old` was resolved from the state right before this one.

        Returns:
            The configuration, and its difference from `old`, or None if only the whole documents can be compared.

        Raises:
            UnknownLabel, FormatError, ResolveError: As in `State.resolve`.
        """
        state = self._state
        selected = state.select(key)
        known: Mapping[int, PropertySource] = {}
        if old is not None and is_current and self._is_same_decryptor:
            known = {id(each.raw): each for each in old.sources}
        opened = tuple(self._open(each, known.get(id(each.values))) for each in selected.sources)
        difference = None
        if old is not None and len(old.body) < MOST_BYTES:
            difference = self._parts.difference(old.sources, state.with_overrides(opened))
        if old is None or difference is None:
            return state.config(selected, opened), None
        body = old.body if difference.is_none else difference.applied(old.body)
        return state.config(selected, opened, body), difference

    @staticmethod
    def patch(old: Config, new: Config, difference: Difference | None) -> bytes | None:
        """Make the patch between two configurations as `patch_between` does.

        Args:
            difference: The difference between them from `resolve`, or None.
        """
        return patch_between(old, new) if difference is None else not_too_long(difference.patch, new)

    def _open(self, source: PropertySource, former: PropertySource | None) -> PropertySource:
        """Decrypt a source, unless its former state or the same source of another key is still right."""
        if former is not None and former.name == source.name:
            return former
        name = id(source.values), source.name
        known = self._opened.get(name)
        if known is None:
            decryptor = self._state.decryptor
            opened = source if decryptor is None else decryptor.opened((source,))[0]
            # The values in the file are kept, too: their identity names them only while they live.
            known = self._opened[name] = source, opened
        return known[1]

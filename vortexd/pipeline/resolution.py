"""Resolves the keys of one publication, and does no work twice. Pure.

A state and the former configurations of keys arrive. The configurations and patches that leave are those of
`State.resolve` and `patch_between`. Work is left out where it can't change them:

- A file that many keys read is decrypted once, and not at all if it hasn't changed.
- If only values in files have changed, keys keep their selection of documents.
- If only some property sources of a key are new, only the parts of the document that they touch are merged again.
- Keys whose documents change in the same way share one patch.

The invariant: the document of a configuration is always the one of its own sources, whatever state it comes from.
"""

from collections.abc import Mapping

from ..core.diff import not_too_long, patch_between
from ..core.model import Config, Key, PropertySource
from ..resolve.parts import MOST_BYTES, Difference, Parts, Pieces
from ..resolve.renewal import Renewed, renewed
from .state import State


class Resolution:
    """Resolves keys; see the module. Only one thread may use it.

    Args:
        state: The state to resolve from.
        before: The state before it, or None.
    """

    def __init__(self, state: State, before: State | None) -> None:
        self._state = state
        self._before = before
        self._is_same_decryptor = before is not None and before.decryptor is state.decryptor
        self._has_others = any(each.pinned or each.held or each.stable for each in (state, before) if each is not None)
        self._parts = Parts()
        self._renewed: dict[str, Renewed | None] = {}
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
        if old is not None and is_current:
            sources = self._renew(old)
            if sources is not None:
                difference, pieces = self._merge(old, sources)
                return state.renewed(old, sources, pieces), difference
        selected = state.select(key)
        known: Mapping[int, PropertySource] = {}
        if old is not None and is_current and self._is_same_decryptor:
            known = {id(each.raw): each for each in old.sources}
        opened = tuple(self._open(each, known.get(id(each.values))) for each in selected.sources)
        difference, pieces = self._merge(old, state.with_overrides(opened))
        return state.config(selected, opened, pieces), difference

    def _renew(self, old: Config) -> tuple[PropertySource, ...] | None:
        """Return the sources of a key if it selects the same documents as before, else None."""
        before, state, label = self._before, self._state, old.key.label
        if before is None or not self._is_same_decryptor or before.overrides is not state.overrides:
            return None
        if self._has_others and (state.is_apart(old.key) or before.is_apart(old.key)):
            # Its documents aren't those of the label.
            return None
        if label not in self._renewed:
            one, other = before.labels.get(label), state.labels.get(label)
            self._renewed[label] = renewed(one, other) if one is not None and other is not None else None
        found = self._renewed[label]
        if found is None:
            return None
        pairs = [(found.get((id(each.raw), each.name)), each) for each in old.sources]
        return tuple([each if new is None else self._open(new, None) for new, each in pairs])

    def _merge(self, old: Config | None, sources: tuple[PropertySource, ...]) -> tuple[Difference | None, Pieces]:
        """Return the difference between the former document of a key and that of its sources, and the new document."""
        difference = None
        if old is not None and old.size < MOST_BYTES:
            difference = self._parts.difference(old.sources, sources)
        return difference, self._pieces(old, difference) or self._parts.document(sources)

    @staticmethod
    def _pieces(old: Config | None, difference: Difference | None) -> Pieces | None:
        """Return the document of a key, made of its former document, or None if it must be merged from its sources."""
        if old is None or difference is None:
            return None
        if difference.is_none:
            return old.pieces
        pieces = difference.applied(old.pieces)
        return pieces if pieces is not None and sum(map(len, pieces)) < MOST_BYTES else None

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

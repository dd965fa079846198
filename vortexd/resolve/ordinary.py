"""Nests ordinary keys in one pass. Pure.

Almost all documents have only ordinary keys: names with dots between them, and lists whose items come in order. For
these keys `ordinary_document` returns what the general way of `nest` returns, ten times as fast. At the first key that
is different, it returns None. So only `nest` decides what malformed and conflicting keys mean.
"""

from collections.abc import Mapping
from typing import Any

from ..core.model import Json, Scalar


class _Different(Exception):
    """A key isn't ordinary."""


def ordinary_document(values: Mapping[str, Scalar], max_levels: int, max_items: int) -> dict[str, Json] | None:
    """Return the nested document of flat keys, or None if a key isn't ordinary.

    Args:
        values: The winning values, in the order of `nest.merged`.
        max_levels: The largest number of names and indexes in a key.
        max_items: The largest number of items in a list.
    """
    text = "\n".join(values)
    if ".." in text or text[:1] == "." or text[-1:] == "." or "\n." in text or ".\n" in text:
        # An empty name makes the rest of a key literal.
        return None
    return _Nest(max_levels, max_items).document(values)


class _Nest:
    """Builds one document.

    Consecutive keys often have the same prefix, so each prefix is split only once.
    """

    def __init__(self, max_levels: int, max_items: int) -> None:
        self._max_levels = max_levels
        self._max_items = max_items
        self._document: dict[str, Any] = {}
        # The mappings and the lists by the keys that lead to them.
        self._mappings: dict[str, dict[str, Any]] = {"": self._document}
        self._lists: dict[str, list[Any]] = {}

    def document(self, values: Mapping[str, Scalar]) -> dict[str, Json] | None:
        mappings = self._mappings
        try:
            for key, value in values.items():
                prefix, _, name = key.rpartition(".")
                mapping = mappings.get(prefix)
                if mapping is None:
                    mapping = self._mapping(prefix)
                if "[" in name or name in mapping:
                    self._add_item(key, value)
                else:
                    mapping[name] = value
        except _Different:
            return None
        return self._document

    def _mapping(self, prefix: str) -> dict[str, Any]:
        """Make the mapping that a prefix leads to."""
        # Each level takes a character at least, and its dot or bracket another.
        if len(prefix) > self._max_levels and prefix.count(".") + prefix.count("[") + 2 > self._max_levels:
            raise _Different
        made: dict[str, Any] = {}
        parent, _, name = prefix.rpartition(".")
        if "[" in name:
            self._add_item(prefix, made)
        else:
            mapping = self._mappings.get(parent)
            if mapping is None:
                mapping = self._mapping(parent)
            if name in mapping:
                raise _Different
            mapping[name] = made
        self._mappings[prefix] = made
        return made

    def _add_item(self, key: str, item: object) -> None:
        """Append an item to a list. The key ends with the next index of the list."""
        name, bracket, index = key.rpartition("[")
        if not bracket:
            # The name has a value or other names below it already.
            raise _Different
        items = self._lists.get(name)
        if items is None:
            items = self._list(name)
        if index != f"{len(items)}]" or len(items) >= self._max_items:
            raise _Different
        items.append(item)

    def _list(self, name: str) -> list[Any]:
        """Make the list that a key leads to."""
        prefix, _, last = name.rpartition(".")
        if not last or "[" in last or name.count(".") + 2 > self._max_levels:
            raise _Different
        mapping = self._mappings.get(prefix)
        if mapping is None:
            mapping = self._mapping(prefix)
        if last in mapping:
            raise _Different
        made: list[Any] = []
        mapping[last] = made
        self._lists[name] = made
        return made

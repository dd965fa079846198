"""Finds the property sources that replace others if only values in files have changed. Pure.

The parsed files of a label before and after a change arrive. If the altered files have as many documents as before, under
the same conditions and with the same imports, each key selects the same documents as before. Then the new source of each
altered document leaves. In all other cases, each key must select its documents again.
"""

from collections.abc import Mapping

from ..core.identity import altered
from ..core.model import PropertySource
from .alterations import are_alike
from .formats import Document
from .spring import of_file
from .tree import ParsedFiles

# A source by the identity of its values in the file, and by its name.
Renewed = Mapping[tuple[int, str], PropertySource]


def renewed(before: ParsedFiles, after: ParsedFiles) -> Renewed | None:
    """Return the sources that replace those of altered documents, or None if keys may select other documents now.

    The values of `before` must live as long as the result, because their identities name them.
    """
    if len(before.layers) != len(after.layers):
        return None
    found: dict[tuple[int, str], PropertySource] = {}
    for old, new in zip(before.layers, after.layers, strict=True):
        if old is new:
            continue
        # With edits, the origin of each key depends on all files that it reads.
        if not are_alike(old, new) or new.files.edits is not None:
            return None
        if altered(old.broken, new.broken) or altered(old.fallbacks, new.fallbacks):
            return None
        for path in altered(old.documents, new.documents):
            one, other = old.documents.get(path), new.documents.get(path)
            if one is None or other is None or [*map(_structure, one)] != [*map(_structure, other)]:
                return None
            for former, latter in zip(of_file(path, "", one), of_file(path, "", other), strict=True):
                source = latter.property_source(new.files.root)
                found[id(former.document.values), source.name] = source
    return found


def _structure(document: Document) -> tuple[object, ...]:
    """Return what decides whether a document is active, and which others are. Types count, and so does the order."""
    profile_keys = [(key, type(value), value) for key, value in document.profile_keys.items()]
    return document.profiles, profile_keys, document.imports

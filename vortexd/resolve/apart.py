"""Parsing in a separate process: the request that is sent, and the values that come back. Pure.

`work` runs in the separate process: it takes a file and yields its documents as plain values, in pieces.
`documents_from` runs in the server: it makes documents of the pieces. Even if a document is large, each piece is small,
because the interpreter lock is held while a piece is decoded.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from ..core.errors import FormatError
from ..core.model import Scalar
from ..settings.formats import FormatSettings
from .activation import Demand, Expression
from .flatten import Origins
from .formats import Document, parse

# The largest number of items and characters in one piece. A single text may be larger.
_ITEMS = 256
_CHARACTERS = 65_536


def request_for(path: str, limits: FormatSettings) -> Any:
    """Make the request for `work`."""
    return path, attrs.asdict(limits)


def work(request: Any, content: bytes) -> Iterator[Any]:
    """Parse a file."""
    path, limits = request
    try:
        documents = parse(path, content, FormatSettings(**limits))
    except FormatError as error:
        yield "broken", (error.reason, error.line, error.column)
        return
    for document in documents:
        values = ((key, value, document.origins.get(key)) for key, value in document.values.items())
        yield from (("values", piece) for piece in _pieces(values))
        yield from (("profile keys", piece) for piece in _pieces(document.profile_keys.items()))
        yield from (("imports", piece) for piece in _pieces((each,) for each in document.imports))
        demand = document.profiles
        yield from (("demands", piece) for piece in _pieces((each,) for each in (demand.any_of if demand else ())))
        yield "document", demand is not None


def documents_from(path: str, values: Iterable[Any]) -> tuple[Document, ...]:
    """Make the documents that `parse` would return, from the values of `work`.

    Raises:
        FormatError: `parse` would raise this error.
    """
    documents: list[Document] = []
    found = _Found()
    for kind, value in values:
        if kind == "broken":
            raise FormatError(path, *value)
        if kind == "document":
            documents.append(found.document(is_conditional=value))
            found = _Found()
        else:
            found.add(kind, value)
    return tuple(documents)


@attrs.define(slots=True, eq=False)
class _Found:
    """Collects the pieces of one document."""

    values: dict[str, Scalar] = attrs.field(factory=dict)
    origins: Origins = attrs.field(factory=dict)
    profile_keys: dict[str, Scalar] = attrs.field(factory=dict)
    imports: list[str] = attrs.field(factory=list)
    demands: list[Expression] = attrs.field(factory=list)

    def add(self, kind: str, piece: Sequence[Any]) -> None:
        if kind == "values":
            self.values.update((key, value) for key, value, _ in piece)
            self.origins.update((key, origin) for key, _, origin in piece if origin is not None)
        elif kind == "profile keys":
            self.profile_keys.update(piece)
        elif kind == "imports":
            self.imports += (each for (each,) in piece)
        else:
            self.demands += (each for (each,) in piece)

    def document(self, *, is_conditional: bool) -> Document:
        demand = Demand(tuple(self.demands)) if is_conditional else None
        return Document(self.values, self.origins, demand, self.profile_keys, tuple(self.imports))


def _pieces(items: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    piece: list[Sequence[Any]] = []
    size = 0
    for item in items:
        piece.append(item)
        size += sum(len(part) for part in item if isinstance(part, str))
        if len(piece) >= _ITEMS or size >= _CHARACTERS:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece

"""Shared functions for the tests of this folder: they parse files and read keys."""

from collections.abc import Mapping

from vortexd.core.model import Files, Key, PropertySource, Scalar, Tree
from vortexd.resolve.formats import Document, parse
from vortexd.resolve.spring import property_sources
from vortexd.resolve.tree import ParsedFiles, parse_tree
from vortexd.settings.formats import FormatSettings

LIMITS = FormatSettings()


def parse_text(path: str, text: str | bytes, **limits: int) -> tuple[Document, ...]:
    content = text if isinstance(text, bytes) else text.encode()
    return parse(path, content, FormatSettings(**limits))


def values(path: str, text: str | bytes, **limits: int) -> dict[str, Scalar]:
    (document,) = parse_text(path, text, **limits)
    return dict(document.values)


def typed(mapping: Mapping[str, object]) -> dict[str, tuple[type, object]]:
    """So that 1, 1.0 and True are three values."""
    return {key: (type(value), value) for key, value in mapping.items()}


def parsed_files(contents: dict[str, str], locations: tuple[str, ...] = ("",), **unreadable: str) -> ParsedFiles:
    files = Files({path: text.encode() for path, text in contents.items()}, root="file:/c/", locations=locations)
    return parse_tree(Tree({"main": files}), LIMITS).labels["main"]


def source_names(files: ParsedFiles, application: str, profile: str = "default") -> list[str]:
    key = Key(application, profile, "main")
    return [source.name.removeprefix("file:/c/") for source in property_sources(files.layers_for(key), key)]


def source(mapping: dict[str, Scalar]) -> PropertySource:
    return PropertySource("file:/c/x.yml", mapping, {})

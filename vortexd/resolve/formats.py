"""Parses configuration files of every format, within limits.

`parse` takes a path and bytes that may come from any author. It returns flattened documents or raises
FormatError, and never another error. The extension selects the format: `.properties`, `.yml` and `.yaml`, `.json`,
`.toml`. Text is UTF-8 and may begin with a byte order mark. UTF-16 is read if it has a byte order mark. Properties
files are ISO-8859-1.
"""

from collections.abc import Callable, Mapping

import attrs

from ..core.errors import FormatError
from ..core.model import Scalar
from ..settings.formats import FormatSettings
from .activation import Demand, directives
from .flatten import Budget, Origins, Values, flatten, is_nothing
from .imports import imports_of
from .json import parse_json
from .nodes import Node
from .properties import parse_properties
from .toml import parse_toml
from .yaml import parse_yaml

# If several files have the same name, all of them count. The earlier extension wins.
EXTENSIONS = ("properties", "yml", "yaml", "json", "toml")

_Parser = Callable[[str, str, FormatSettings], list[Node]]
_PARSERS: dict[str, _Parser] = {"yml": parse_yaml, "yaml": parse_yaml, "json": parse_json, "toml": parse_toml}


@attrs.frozen(slots=True, eq=False)
class Document:
    """One document of one configuration file, flattened.

    Attributes:
        values: Maps each flat key to its scalar, in file order.
        origins: Maps each flat key to (line, column), from 1.
        profiles: The parsed condition in `spring.config.activate.on-profile`. None if the document is always active.
        profile_keys: The document's `spring.profiles.*` keys, in canonical form.
        imports: As in `imports.imports_of`.
    """

    values: Mapping[str, Scalar]
    origins: Mapping[str, tuple[int, int]]
    profiles: Demand | None = None
    profile_keys: Mapping[str, Scalar] = attrs.field(factory=dict)
    imports: tuple[str, ...] = ()


# The type of `parse`, and of functions that parse in another process.
Parse = Callable[[str, bytes, FormatSettings], tuple[Document, ...]]


def extension(path: str) -> str:
    """Return the extension of a path without its dot, or "" if it has none."""
    name = path.rpartition("/")[2]
    return name.rpartition(".")[2] if "." in name else ""


def parse(path: str, content: bytes, limits: FormatSettings) -> tuple[Document, ...]:
    """Parse a configuration file into its documents, in file order. Empty documents are left out.

    Raises:
        FormatError: The file can't be used. No other error is raised, whatever the bytes.
    """
    budget = Budget(path, limits)
    flat: list[tuple[Values, Origins]]
    kind = extension(path)
    if kind == "properties":
        flat = parse_properties(path, content, budget)
    elif kind in _PARSERS:
        trees = _PARSERS[kind](path, _text(path, content), limits)
        flat = [flatten(tree, budget, limits.depth) for tree in trees if not is_nothing(tree)]
    else:
        raise FormatError(path, f"not a configuration file; its name must end in one of {', '.join(EXTENSIONS)}")
    if len(flat) > limits.documents:
        raise FormatError(path, f"more than {limits.documents} documents; split the file")
    return tuple(
        Document(values, origins, *directives(path, values, origins), imports_of(path, values))
        for values, origins in flat
    )


def _text(path: str, content: bytes) -> str:
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FormatError(path, f"not {encoding.removesuffix('-sig').upper()}; save the file as UTF-8", line) from None
    nul = text.find("\0")
    if nul >= 0:
        raise FormatError(path, "a NUL character", text.count("\n", 0, nul) + 1)
    return text

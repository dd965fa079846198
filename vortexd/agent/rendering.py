"""Renders templates: takes a Jinja2 template and a document, returns the bytes of a file, or an error with file and line.

A template can only compute. It runs in Jinja2's sandbox, sees the document and the names of `Scope`, and may include templates at or
below its own directory. Invariant: a missing key is an error, never an empty text. No error quotes a value.
"""

import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from jinja2 import (
    BaseLoader,
    Environment,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    Undefined,
    UndefinedError,
)
from jinja2.exceptions import SecurityError
from jinja2.loaders import split_template_path
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..core.errors import VortexdError
from ..core.text import printable
from .environment import text_of
from .filters import FILTERS, FilterError

_COMPUTED = "can't read a template whose name was computed"
_GLOBALS = ("range", "dict", "joiner", "cycler", "namespace")


class RenderError(VortexdError):
    """A template can't be rendered: `file:line: reason`. The text holds no value of the configuration."""


@attrs.frozen
class Scope:
    """The names that a template can use.

    Attributes:
        config: The nested document.
        version: The version of the document.
        env: The environment variables that this template may read.
    """

    config: Mapping[str, Any]
    version: str
    app: str
    profile: str
    label: str
    env: Mapping[str, str]


def render(source: Path, scope: Scope, max_bytes: int, read: Callable[[Path], str]) -> bytes:
    """Render a template.

    Args:
        max_bytes: The largest allowed output, in bytes.
        read: Returns the text of a template, or raises VortexdError. It is also called for each included template.

    Raises:
        RenderError: The template is wrong, or uses a key that doesn't exist.
    """
    loader = _Loader(source.parent, read)
    environment = _environment(loader)
    try:
        template = environment.get_template(source.name)
        return _joined(template.generate(attrs.asdict(scope, recurse=False)), max_bytes, source)
    except TemplateSyntaxError as error:
        place = error.filename or str(source)
        raise RenderError(f"{place}:{error.lineno}: {printable(error.message or 'invalid template')}") from None
    except (
        TemplateError,
        FilterError,
        TypeError,
        ValueError,
        ArithmeticError,
        LookupError,
        AttributeError,
        RecursionError,
        MemoryError,
    ) as error:
        raise RenderError(f"{_place(error, loader, source)}: {_reason(error, loader)}") from None


def _joined(pieces: Iterator[str], max_bytes: int, source: Path) -> bytes:
    made = bytearray()
    for piece in pieces:
        made += piece.encode("utf-8", "surrogateescape")
        if len(made) > max_bytes:
            raise RenderError(f"{source}: the output exceeds {max_bytes} bytes (max_bytes)")
    return bytes(made)


# The environment.


class _Sandbox(ImmutableSandboxedEnvironment):
    def getattr(self, obj: Any, attribute: str) -> Any:
        # If a mapping has the key `items`, `config.items` means that key, not the method of the mapping.
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


class _Loader(BaseLoader):
    """Reads templates at or below the first template's directory. Keeps their texts, to find the place of an error."""

    def __init__(self, directory: Path, read: Callable[[Path], str]) -> None:
        self._directory = directory
        self._read = read
        self.texts: dict[str, str] = {}

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        # `split_template_path` raises TemplateNotFound for a path that leads out of the directory.
        path = self._directory.joinpath(*split_template_path(template))
        try:
            text = self._read(path)
        except VortexdError as error:
            raise RenderError(str(error) if self.knows(template) else _COMPUTED) from None
        self.texts[str(path)] = text
        return text, str(path), lambda: True

    def knows(self, name: str) -> bool:
        """Whether a template contains a name literally. A computed name may be a secret value."""
        return not self.texts or any(name in text for text in self.texts.values())


def _environment(loader: _Loader) -> Environment:
    environment = _Sandbox(
        loader=loader,
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        finalize=_written,
        cache_size=0,
    )
    environment.globals = {name: environment.globals[name] for name in _GLOBALS}
    environment.filters |= FILTERS
    return environment


def _written(value: Any) -> Any:
    """Return the text of a value that a template inserts."""
    if isinstance(value, str | Undefined):
        return value
    if value is None or isinstance(value, bool | int | float):
        return text_of(value)
    if isinstance(value, Mapping | list | tuple):
        kind = "mapping" if isinstance(value, Mapping) else "list"
        raise FilterError(
            f"a {kind} can't be written as it is; choose a filter (json, yaml, properties, shell) or a loop"
        )
    raise FilterError("only text, numbers, true and false can be written")


# Errors.


def _reason(error: Exception, loader: _Loader) -> str:
    match error:
        case UndefinedError():
            return _missing(error, loader)
        case TemplateNotFound():
            name = str(error.name)
            return (
                f"there is no template {printable(name)[:128]} at or below its directory"
                if loader.knows(name)
                else _COMPUTED
            )
        case FilterError() | SecurityError():
            return printable(str(error))
        case RecursionError():
            return "templates include each other without end"
        case MemoryError():
            return "uses more memory than a template may use"
        case _:
            # The text of such an error may quote a value.
            return f"{type(error).__name__} in an expression"


def _missing(error: UndefinedError, loader: _Loader) -> str:
    """Name the missing key, as the template writes it. A computed name isn't shown, because it may be a secret value."""
    if " has no element " in (error.message or ""):
        return "a list in the configuration has no item with that index"
    names = [word for word in (error.message or "").split("'")[1::2] if not word.endswith(" object")]
    name = names[-1] if names else ""
    if name and loader.knows(name):
        return f"{printable(name)} isn't in the configuration; add it, or give a default: | default(…)"
    return "a key whose name was computed isn't in the configuration"


def _place(error: Exception, loader: _Loader, source: Path) -> str:
    """Return the innermost template line that led to an error."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if frame.filename in loader.texts]
    return f"{inside[-1].filename}:{inside[-1].lineno}" if inside else str(source)

"""Templates: Jinja2 and a document in, the bytes of a file out, or an error with file and line.

A template computes and nothing else: it runs in Jinja2's sandbox, sees the document and what is named beside it, and reads other templates below its
own directory. The invariant: what isn't there is an error and never an empty text, and no error repeats a value.
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

_COMPUTED = "a template whose name was computed can't be read"
_GLOBALS = ("range", "dict", "joiner", "cycler", "namespace")


class RenderError(VortexdError):
    """A template that can't be rendered: `file:line: reason`. It holds nothing of the configuration's values."""


@attrs.frozen
class Scope:
    """What a template sees.

    Attributes:
        config: The nested document.
        version: Its version.
        env: The variables that this template may read.
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
        max_bytes: Size of what comes out.
        read: The text of a template, or VortexdError; it is called for each template that the first one includes, too.

    Raises:
        RenderError: It is wrong, or asks for what isn't there.
    """
    loader = _Loader(source.parent, read)
    environment = _environment(loader)
    try:
        template = environment.get_template(source.name)
        return _joined(template.generate(attrs.asdict(scope, recurse=False)), max_bytes, source)
    except TemplateSyntaxError as error:
        place = error.filename or str(source)
        raise RenderError(f"{place}:{error.lineno}: {printable(error.message or 'is no template')}") from None
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
            raise RenderError(f"{source}: makes more than {max_bytes} bytes (max_bytes)")
    return bytes(made)


# The environment.


class _Sandbox(ImmutableSandboxedEnvironment):
    def getattr(self, obj: Any, attribute: str) -> Any:
        # `config.items` is the key of that name where there is one, not the method of a mapping.
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


class _Loader(BaseLoader):
    """Reads the template and those beside and below it, and remembers their texts for the place of an error."""

    def __init__(self, directory: Path, read: Callable[[Path], str]) -> None:
        self._directory = directory
        self._read = read
        self.texts: dict[str, str] = {}

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        # Raises TemplateNotFound for what would lead out of the directory.
        path = self._directory.joinpath(*split_template_path(template))
        try:
            text = self._read(path)
        except VortexdError as error:
            raise RenderError(str(error) if self.knows(template) else _COMPUTED) from None
        self.texts[str(path)] = text
        return text, str(path), lambda: True

    def knows(self, name: str) -> bool:
        """Whether a name is a template's own word; one that was computed may be a value."""
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
    """A value as it is written where a template names it."""
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
                f"there is no template {printable(name)[:128]} beside or below it" if loader.knows(name) else _COMPUTED
            )
        case FilterError() | SecurityError():
            return printable(str(error))
        case RecursionError():
            return "templates nested without end"
        case MemoryError():
            return "takes more memory than a template may"
        case _:
            # The text of such an error may hold a value.
            return f"{type(error).__name__} in an expression"


def _missing(error: UndefinedError, loader: _Loader) -> str:
    """What isn't there, by the name that a template calls it; a name that was computed may be a value."""
    if " has no element " in (error.message or ""):
        return "a list in the configuration has no item of that number"
    names = [word for word in (error.message or "").split("'")[1::2] if not word.endswith(" object")]
    name = names[-1] if names else ""
    if name and loader.knows(name):
        return f"{printable(name)} isn't in the configuration; add it there, or give a default: | default(…)"
    return "something isn't in the configuration whose name was computed"


def _place(error: Exception, loader: _Loader, source: Path) -> str:
    """The innermost line of a template that led to an error."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if frame.filename in loader.texts]
    return f"{inside[-1].filename}:{inside[-1].lineno}" if inside else str(source)

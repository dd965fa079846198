"""Makes an object of a model from a document, with all problems at once. Takes a document and a class, returns an object. Pure.

`relaxed` fits names and structure first. pydantic then validates its own models, and cattrs those of attrs and dataclasses. Neither library is
imported before a model needs it. Invariant: the text for other people, `BindError.reason`, quotes no value of the configuration.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from .fields import is_model, is_pydantic
from .paths import Element, NotFound, find, text_of
from .problem import BindError, Problem, quoted
from .relaxed import Fitting, Path

T = TypeVar("T")
# The words for the frequent errors of pydantic, so that they are those of the other models.
_WORDS = {
    "missing": "is missing",
    "int_parsing": "isn't an integer",
    "int_type": "isn't an integer",
    "int_from_float": "isn't an integer",
    "float_parsing": "isn't a number",
    "float_type": "isn't a number",
    "bool_parsing": "isn't true or false",
    "bool_type": "isn't true or false",
}
# Errors of types without secrets, so that the exception may quote the value.
_QUOTABLE = {*_WORDS, "enum", "literal_error"} - {"missing"}


def bind(document: Mapping[str, Any], model: type[T], prefix: str = "") -> T:
    """Make an object of a class of attrs, dataclasses or pydantic.

    Args:
        prefix: The path of the mapping that holds the fields. If there is nothing, the model's defaults count. "": the whole document.

    Raises:
        BindError: The document doesn't fit the class.
        TypeError: The class is none of these.
        ImportError: cattrs isn't installed.
    """
    if not isinstance(model, type) or not is_model(model):
        raise TypeError(f"{model!r} isn't a class of attrs, dataclasses or pydantic")
    try:
        content = find(document, prefix) if prefix else document
    except NotFound:
        content = {}
    fitting = Fitting()
    fitted = fitting.fit(model, content)
    found: T | None = None
    problems = _structure(fitting, prefix)
    if is_pydantic(model):
        found, more = _by_pydantic(model, fitted)
    else:
        found, more = _by_cattrs(model, fitted)
    problems += [_problem(fitting, prefix, *each) for each in more if not _is_below(each[0], fitting.problems)]
    if problems or found is None:
        raise BindError(problems)
    return found


def _structure(fitting: Fitting, prefix: str) -> list[Problem]:
    return [_problem(fitting, prefix, path, message, message) for path, message in fitting.problems]


def _problem(fitting: Fitting, prefix: str, path: Path, message: str, detail: str) -> Problem:
    below = text_of(fitting.document_path(path))
    key = f"{prefix}{'' if not prefix or not below or below.startswith('[') else '.'}{below}"
    return Problem(key, message, detail)


def _is_below(path: Path, problems: Iterable[tuple[Path, str]]) -> bool:
    """Whether a problem of structure is at the path or above it. Then the library saw a stand-in, not the document."""
    return any(path[: len(above)] == above for above, _ in problems)


Found = list[tuple[Path, str, str]]


def _by_cattrs(model: type[T], fitted: Any) -> tuple[T | None, Found]:
    try:
        from .structuring import structure
    except ImportError as error:
        raise ImportError(
            "to bind classes of attrs and dataclasses, install cattrs: vortexd-client[bind]", name=error.name
        ) from error
    return structure(model, fitted)


@lru_cache(maxsize=1_024)
def _adapter(model: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(model)


def _by_pydantic(model: type[T], fitted: Any) -> tuple[T | None, Found]:
    from pydantic import ValidationError

    try:
        adapter: Any = _adapter(model)  # type: ignore[arg-type]  # mypy doubts that a class has a hash
        found: T = adapter.validate_python(fitted)
    except ValidationError as error:
        return None, [_of_pydantic(each, fitted) for each in error.errors(include_url=False, include_context=False)]
    return found, []


def _of_pydantic(error: Any, fitted: Any) -> tuple[Path, str, str]:
    kind = error["type"]
    path = _within(fitted, error["loc"], kind == "missing")
    text = _WORDS.get(kind) or f"is refused: {error['msg']}"
    message = text if _is_safe(kind) else "is refused by its model"
    return path, message, f"{quoted(path, error['input'])}{text}" if kind in _QUOTABLE else text


@lru_cache(maxsize=1)
def _known_kinds() -> frozenset[str]:
    from typing import get_args

    from pydantic_core.core_schema import ErrorType

    # These texts may quote a value: those of the model's own validators, and that of an unknown tag.
    return frozenset(get_args(ErrorType)) - {
        "value_error",
        "assertion_error",
        "union_tag_invalid",
        "get_attribute_error",
    }


def _is_safe(kind: str) -> bool:
    return kind in _WORDS or kind in _known_kinds()


def _within(node: Any, elements: Iterable[Element], is_missing: bool) -> Path:
    """Return the part of pydantic's path that leads through the content. The rest names validators and members of unions."""
    path: list[Element] = []
    rest = list(elements)
    for number, element in enumerate(rest):
        is_last = number == len(rest) - 1
        if (isinstance(node, Mapping) and element in node) or (
            isinstance(node, list) and isinstance(element, int) and element < len(node)
        ):
            node = node[element]  # type: ignore[index]
            path.append(element)
        elif is_missing and is_last:
            path.append(element)
    return tuple(path)

"""The fields of models: takes a class of attrs, dataclasses or pydantic, returns its fields with their types. Pure.

It imports no library of models but attrs: a class of pydantic names its fields itself.
"""

import dataclasses
from functools import lru_cache
from typing import Any, get_type_hints

import attrs


@attrs.frozen
class Field:
    """One field of a model.

    Attributes:
        name: Its name in Python.
        key: The name by which the model takes its value.
        kind: Its type.
        is_relaxed: Whether other spellings of the name count. A field of pydantic that names its places itself isn't.
    """

    name: str
    key: str
    kind: Any
    is_relaxed: bool = True


def is_pydantic(kind: type) -> bool:
    """Whether pydantic validates the class: a model, or a dataclass of pydantic."""
    return hasattr(kind, "__pydantic_validator__")


def is_root(kind: type) -> bool:
    """Whether the class is a `RootModel` of pydantic, which has no fields but one value."""
    return bool(getattr(kind, "__pydantic_root_model__", False))


def is_model(kind: type) -> bool:
    """Whether the class is a model of attrs, dataclasses or pydantic."""
    return attrs.has(kind) or dataclasses.is_dataclass(kind) or is_pydantic(kind)


@lru_cache(maxsize=1_024)
def fields_of(model: type) -> dict[str, Field]:
    """Return the fields of a model, by name."""
    if not attrs.has(model) and not dataclasses.is_dataclass(model):
        return {name: _of_pydantic(name, info) for name, info in model.model_fields.items()}  # type: ignore[attr-defined]
    kinds = _hints(model)
    listed: Any = attrs.fields if attrs.has(model) else dataclasses.fields
    return {
        each.name: Field(each.name, each.name, kinds.get(each.name, each.type)) for each in listed(model) if each.init
    }


def _hints(model: type) -> dict[str, Any]:
    try:
        return get_type_hints(model, include_extras=True)
    except NameError:
        # A class in a function, with types as texts. Its fields then have no known types.
        return {}


def _of_pydantic(name: str, info: Any) -> Field:
    places = info.validation_alias
    if places is None or isinstance(places, str):
        return Field(name, places or name, info.annotation)
    return Field(name, name, info.annotation, is_relaxed=False)

"""The fields of models of each kind."""

import dataclasses
from typing import Any

import attrs
import pydantic
import pytest

from vortexd.client.fields import Field, fields_of, is_model, is_pydantic, is_root


@attrs.define
class OfAttrs:
    size: "int"
    _private: str = ""
    made: int = attrs.field(init=False, default=1)


@dataclasses.dataclass
class OfDataclasses:
    size: "int"
    made: int = dataclasses.field(init=False, default=1)


class OfPydantic(pydantic.BaseModel):
    size: int
    other: int = pydantic.Field(alias="second")
    third: int = pydantic.Field(validation_alias=pydantic.AliasPath("a", 0))


class Root(pydantic.RootModel[list[int]]):
    pass


def test_fields_have_names_and_types_and_those_that_a_class_sets_itself_are_left_out() -> None:
    assert {"size": Field("size", "size", int), "_private": Field("_private", "_private", str)} == fields_of(OfAttrs)
    assert {"size": Field("size", "size", int)} == fields_of(OfDataclasses)


def test_fields_of_pydantic_have_the_names_by_which_it_takes_values() -> None:
    assert {
        "size": Field("size", "size", int),
        "other": Field("other", "second", int),
        "third": Field("third", "third", int, is_relaxed=False),
    } == fields_of(OfPydantic)


def test_types_that_cant_be_resolved_stay_texts() -> None:
    @dataclasses.dataclass
    class Local:
        size: "Unknown"  # type: ignore[name-defined]  # noqa: F821 - it is the question

    assert {"size": Field("size", "size", "Unknown")} == fields_of(Local)


@pytest.mark.parametrize(
    ("kind", "is_it"), [(OfAttrs, True), (OfDataclasses, True), (OfPydantic, True), (dict, False), (int, False)]
)
def test_models_are_told_from_other_classes(kind: Any, is_it: bool) -> None:
    assert is_it == is_model(kind)


def test_models_of_pydantic_and_those_without_fields_are_known() -> None:
    assert [False, False, True] == [is_pydantic(kind) for kind in (OfAttrs, OfDataclasses, OfPydantic)]
    assert [False, False, True] == [is_root(kind) for kind in (OfAttrs, OfPydantic, Root)]

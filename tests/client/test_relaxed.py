"""Documents fitted to types: names, structure and the text forms of values."""

import datetime
import enum
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NewType, Optional, Union

import attrs
import pydantic
import pytest

from vortexd.client.fields import Field
from vortexd.client.relaxed import Fitting, canonical, duration, matching, plain

from .models import Color, Level


@attrs.frozen
class Pool:
    pool_size: int = 0


@attrs.frozen
class Other:
    name: str = ""


class Root(pydantic.RootModel[list[int]]):
    pass


Name = NewType("Name", str)


@pytest.mark.parametrize("name", ["pool_size", "pool-size", "poolSize", "POOL_SIZE", "PoolSize", "poolsize"])
def test_each_spelling_of_a_name_is_that_of_the_field(name: str) -> None:
    fitting = Fitting()

    assert {"pool_size": 1} == fitting.fit(Pool, {name: 1})
    assert (name,) == fitting.document_path(("pool_size",))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["pool-size", "pool_size"], "pool_size"),
        (["poolSize", "pool-size"], "poolSize"),
        (["maxPool", "pool_size"], "maxPool"),
        (["max-pool"], "max-pool"),
        (["size"], None),
        ([7], None),
    ],
)
def test_a_fields_own_name_comes_first_and_then_the_first_other_spelling(names: list[Any], found: str | None) -> None:
    assert found == matching(names, Field("pool_size", "maxPool", int))


def test_a_field_that_isnt_relaxed_has_no_other_spellings() -> None:
    strict = Field("pool_size", "pool_size", int, is_relaxed=False)

    assert matching(["pool-size"], strict) is None
    assert "pool_size" == matching(["pool_size"], strict)


def test_only_the_value_that_counts_is_left_of_several_spellings_and_other_names_stay() -> None:
    document = {"pool-size": 1, "more": 2}

    assert {"pool_size": 1, "more": 2} == Fitting().fit(Pool, document)
    assert {"pool-size": 1, "more": 2} == document


def test_paths_lead_back_to_the_names_of_the_document() -> None:
    fitting = Fitting()
    fitting.fit(dict[str, list[Pool]], {"a": [{}, {"PoolSize": 1}]})

    assert ("a", 1, "PoolSize") == fitting.document_path(("a", 1, "pool_size"))
    assert ("a", 0, "pool_size") == fitting.document_path(("a", 0, "pool_size"))


def test_canonical_names_have_no_case_dashes_and_underscores() -> None:
    assert "poolsize" == canonical("Pool_-Size")


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (int, (int, False)),
        (Optional[int], (int, True)),  # noqa: UP045 - both spellings are in use
        (int | None, (int, True)),
        (Annotated[int, 1], (int, False)),
        (Annotated[Annotated[int, 1] | None, 2], (int, True)),
        (Name, (str, False)),
        (Union[int, str], (int | str, False)),  # noqa: UP007
        (int | str | None, (int | str | None, True)),
    ],
)
def test_a_plain_type_has_no_annotation_new_type_or_none(kind: Any, found: tuple[Any, bool]) -> None:
    assert found == plain(kind)


@pytest.mark.parametrize(
    ("kind", "value", "fitted"),
    [
        (int | None, "", None),
        (int | None, None, None),
        (int | None, "1", "1"),
        (str | None, "", ""),
        (str | None, None, None),
        (int, "", ""),
        (list[str], "a, b", ["a", "b"]),
        (list[str], "", []),
        (list[str], " ", []),
        (list[str], None, []),
        (list[str], 7, [7]),
        (list[str], ["a,b"], ["a,b"]),
        (Sequence[str], "a", ["a"]),
        (set[int], "1,2", ["1", "2"]),
        (list, "a,b", "a,b"),
        (str, "a,b", "a,b"),
        (bytes, "a,b", "a,b"),
        (tuple[Pool, ...], [{"POOL_SIZE": 1}] * 2, [{"pool_size": 1}] * 2),
        (tuple[int, Pool], [1, {"POOL_SIZE": 1}], [1, {"pool_size": 1}]),
        (tuple[Pool, int], [{"POOL_SIZE": 1}], [{"pool_size": 1}]),
        (tuple[Pool, int], "", []),
        (dict[str, Pool], {"a-b": {"POOL_SIZE": 1}}, {"a-b": {"pool_size": 1}}),
        (dict[str, int], "", {}),
        (dict[str, int], None, {}),
        (dict, {"a": 1}, {"a": 1}),
        (Mapping[str, int], {"a": 1}, {"a": 1}),
        (Pool, "", {}),
        (Pool, None, {}),
        (Pool | Other, {"POOL_SIZE": 1}, {"POOL_SIZE": 1}),
        (Any, {"POOL_SIZE": 1}, {"POOL_SIZE": 1}),
        ("Unknown", "x", "x"),
        (Root, [1], [1]),
        (datetime.timedelta, "30s", datetime.timedelta(seconds=30)),
        (Color, "db", "db"),
        (Color, "Dark_Blue", "db"),
        (Color, "x", "x"),
        (Level, 2, 2),
        (Level, "2", 2),
        (Level, "high", 2),
        (Level, True, True),
    ],
)
def test_values_are_fitted_to_their_types(kind: Any, value: Any, fitted: Any) -> None:
    fitting = Fitting()
    found = fitting.fit(kind, value)

    assert (fitted, type(fitted)) == (found, type(found))
    assert [] == fitting.problems


class Confusing(enum.Enum):
    ONE = "two"
    TWO = "one"


def test_the_value_of_a_member_takes_precedence_over_a_name() -> None:
    assert "one" == Fitting().fit(Confusing, "one")
    assert "two" == Fitting().fit(Confusing, "ONE")


@pytest.mark.parametrize(
    ("kind", "value", "fitted", "problem"),
    [
        (Pool, 7, {}, "isn't a mapping"),
        (Pool, [], {}, "isn't a mapping"),
        (dict[str, int], "x", {}, "isn't a mapping"),
        (dict[str, int], 0, {}, "isn't a mapping"),
        (list[int], {"a": 1}, [], "isn't a list"),
    ],
)
def test_a_structure_that_doesnt_fit_is_a_problem(kind: Any, value: Any, fitted: Any, problem: str) -> None:
    fitting = Fitting()

    assert fitted == fitting.fit(kind, value, ("at",))
    assert [(("at",), problem)] == fitting.problems


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7us", 7e-6),
        ("500ms", 0.5),
        ("1.5s", 1.5),
        (" -2 m ", -120.0),
        ("+1h", 3_600.0),
        ("2d", 172_800.0),
        ("123456789012us", 123_456.789012),
    ],
)
def test_a_text_with_a_unit_is_a_duration(text: str, seconds: float) -> None:
    assert datetime.timedelta(seconds=seconds) == duration(text)


@pytest.mark.parametrize("value", ["30", "30x", "s", "", "1234567890123s", "999999999999d", "1.s", "٣s", 30, None])
def test_all_else_stays_as_it_is(value: object) -> None:
    assert value == duration(value)

"""Values that cattrs makes of the texts and numbers of a document."""

import datetime
import decimal
import enum
import pathlib
import uuid
from typing import Any, Literal

import attrs
import pytest

from vortexd.client.structuring import structure

from .models import Color, Level


def one(kind: Any, value: Any) -> tuple[Any, list[str]]:
    """Bind one value. Return it, and the texts of the problems."""
    model = attrs.make_class("Model", {"value": attrs.field(type=kind)})
    found, problems = structure(model, {"value": value})
    assert all(("value",) == path[:1] for path, _, _ in problems)
    return (None if found is None else found.value), [message for _, message, _ in problems]


class Word(enum.StrEnum):
    A = "a"
    B = "b"


class Name(str):
    __slots__ = ()


UUID = "12345678-1234-5678-1234-567812345678"


@pytest.mark.parametrize(
    ("kind", "value", "made"),
    [
        *((bool, text, True) for text in (True, "true", " Yes ", "ON", "1")),
        *((bool, text, False) for text in (False, "false", "no", "Off", "0")),
        (int, 5, 5),
        (int, " +5 ", 5),
        (int, "-5", -5),
        (int, 5.0, 5),
        (float, 5, 5.0),
        (float, "5e-1", 0.5),
        (str, "x", "x"),
        (str, 5, "5"),
        (str, 1.5, "1.5"),
        (str, True, "true"),
        (str, False, "false"),
        (decimal.Decimal, " 1.10 ", decimal.Decimal("1.10")),
        (decimal.Decimal, 0.1, decimal.Decimal("0.1")),
        (datetime.timedelta, datetime.timedelta(1), datetime.timedelta(1)),
        (datetime.timedelta, 30, datetime.timedelta(seconds=30)),
        (datetime.timedelta, "0.5", datetime.timedelta(seconds=0.5)),
        (pathlib.Path, "/srv", pathlib.Path("/srv")),
        (uuid.UUID, UUID, uuid.UUID(UUID)),
        (datetime.datetime, "2030-01-02T03:04:05+00:00", datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)),
        (datetime.date, "2030-01-02", datetime.date(2030, 1, 2)),
        (datetime.time, "03:04", datetime.time(3, 4)),
        (Color, "r", Color.RED),
        (Level, 2, Level.HIGH),
        (Word, "b", Word.B),
        (Name, "x", Name("x")),
        (Literal["a", 1], 1, 1),
        (int | str, "x", "x"),
        (int | str, 5, 5),
        (set[int], ["1", 2], {1, 2}),
        (dict[str, int], {"a": "1"}, {"a": 1}),
    ],
)
def test_a_value_is_made(kind: Any, value: Any, made: Any) -> None:
    found, problems = one(kind, value)

    assert [] == problems
    assert (made, type(made)) == (found, type(found))


@pytest.mark.parametrize(
    ("kind", "values", "problem"),
    [
        (bool, ["", "y", 1, 0, 1.0, None, []], "isn't true or false"),
        (int, ["", "1.0", "0x1", "٣", "1_0", 1.5, True, None, [], float("inf")], "isn't an integer"),
        (float, ["", "x", True, None, [], 10**400], "isn't a number"),
        (decimal.Decimal, ["", "x", True, None, []], "isn't a number"),
        (str, [None, [], {}], "isn't a text"),
        (
            datetime.timedelta,
            ["", "x", "30x", True, None, 1e300, "nan"],
            "isn't a duration, such as 500ms, 30s or 2h",
        ),
        (pathlib.Path, [1, None], "isn't a path"),
        (uuid.UUID, ["x", 1], "isn't a UUID"),
        (datetime.datetime, ["x", 1], "isn't a date and time"),
        (datetime.date, ["x", 1], "isn't a date"),
        (datetime.time, ["x", 1], "isn't a time"),
        (Color, ["x", 1, None], "isn't one of r, db"),
        (Level, [3, True, 1.0], "isn't one of 1, 2"),
        (Literal["a", 1], ["b", True], "isn't one of a, 1"),
    ],
)
def test_a_value_that_doesnt_fit_is_a_problem(kind: Any, values: list[Any], problem: str) -> None:
    for value in values:
        assert (None, [problem]) == one(kind, value), value


def test_a_problem_names_the_whole_path_and_quotes_the_value_only_for_the_program() -> None:
    inner = attrs.make_class("Inner", {"size": attrs.field(type=int)})
    outer = attrs.make_class("Outer", {"pools": attrs.field(type=dict[str, list[inner]])})  # type: ignore[valid-type]
    found, problems = structure(outer, {"pools": {"a": [{"size": 1}, {"size": "x"}, {}]}})

    assert found is None
    assert [
        (("pools", "a", 1, "size"), "isn't an integer", '"x" isn\'t an integer'),
        (("pools", "a", 2, "size"), "is missing", "is missing"),
    ] == problems


def test_a_converter_of_attrs_takes_the_documents_own_value() -> None:
    model = attrs.make_class("Model", {"value": attrs.field(type=int, converter=lambda text: len(text))})

    assert 3 == structure(model, {"value": "abc"})[0].value  # type: ignore[attr-defined]


def test_a_long_enumeration_names_its_first_ten_values() -> None:
    kind = Literal[tuple(range(11))]  # type: ignore[valid-type]

    assert (None, ["isn't one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"]) == one(kind, "x")

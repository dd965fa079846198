"""From TOML text to frozen classes: the bounds of a text, all problems with their paths, and a table without them."""

import datetime
import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest

from vortexd.core.constraints import SECONDS_OR_NEVER, Rule, choice, setting, texts, whole
from vortexd.core.errors import SettingsError
from vortexd.settings.toml_schema import (
    MAX_BYTES,
    Hook,
    Hooks,
    Problem,
    accepted,
    checked,
    in_words,
    key_text,
    list_hook,
    parse,
    structure,
    without,
)


@attrs.frozen
class Engine:
    """A section."""

    power: int = whole(1, 0, 10)
    name: str = setting("")
    is_loud: bool = setting(False)
    weight: float = setting(1.0)
    rest: float = setting(0.5, SECONDS_OR_NEVER)
    fuel: str = choice("oil", "gas")
    parts: tuple[str, ...] = texts("a part", lambda value: value != "glue")


@attrs.frozen
class Trailer:
    """A table of an array."""

    load: int = whole(0, 0, 5)


@attrs.frozen
class Car:
    """The whole."""

    engine: Engine = attrs.field(factory=Engine)
    trailers: tuple[Trailer, ...] = ()
    colours: Mapping[str, str] = attrs.field(factory=dict)


def _colours(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ValueError("must be colours")
    return value


def _trailers(converter: Any, field: "attrs.Attribute[Any]") -> Hook:
    return list_hook(f"tables, headed [[{field.name}]]", lambda value: converter.structure(value, Trailer))


HOOKS: Hooks = {
    tuple[Trailer, ...]: _trailers,
    Mapping[str, str]: lambda converter, field: lambda value, _: _colours(value),
}


def nowhere(name: str, section: type) -> str | None:
    return None


def made(text: str, elsewhere: Callable[[str, type], str | None] = nowhere) -> tuple[Car | None, list[Problem]]:
    return structure(parse(text, "car.toml"), Car, (Engine, Trailer), HOOKS, elsewhere)


def problems(text: str, elsewhere: Callable[[str, type], str | None] = nowhere) -> dict[str, str]:
    car, found = made(text, elsewhere)
    assert car is None
    return dict(found)


# The text.


def refusal(text: str) -> Problem:
    with pytest.raises(SettingsError) as caught:
        parse(text, "car.toml")
    assert "car.toml" == caught.value.origin
    (problem,) = caught.value.problems
    return problem


def test_a_text_becomes_a_table() -> None:
    assert {"a": {"b": 1}, "c": [{"d": "e"}]} == parse('[a]\nb = 1\n[[c]]\nd = "e"\n', "car.toml")
    assert {} == parse("", "car.toml")


def test_a_text_has_a_limit_in_bytes() -> None:
    assert {} == parse("#" * MAX_BYTES, "car.toml")
    assert {} == parse("#" + "ü" * (MAX_BYTES // 2 - 1), "car.toml")
    for text in ("#" * (MAX_BYTES + 1), "#" + "ü" * (MAX_BYTES // 2)):
        assert ("", "must be at most 1048576 bytes long") == refusal(text)


def test_a_text_that_is_no_toml_is_refused_with_its_place() -> None:
    assert ("", "isn't valid TOML: Invalid value (at line 2, column 5)") == refusal("a = 1\nb = x\n")


@pytest.mark.parametrize("text", ["x = " + "9" * 5_000, "a = \ud800", "\ud800"])
def test_numbers_and_characters_that_python_refuses_are_no_toml(text: str) -> None:
    place, reason = refusal(text)

    assert "" == place
    assert reason.startswith("isn't valid TOML: ")


TOO_DEEP = ("", "can't be read: it is nested too deeply")


@pytest.mark.parametrize(
    "nested",
    [
        lambda depth: ".".join("a" * depth) + " = 1",
        lambda depth: f"[{'.'.join('a' * (depth - 1))}]",
        lambda depth: "a = " + "{a = " * (depth - 1) + "1" + "}" * (depth - 1),
        lambda depth: "a = " + "[" * (depth - 1) + "]" * (depth - 1),
    ],
    ids=["dotted key", "header", "inline tables", "lists"],
)
def test_tables_and_lists_nest_64_deep(nested: Callable[[int], str]) -> None:
    assert parse(nested(64), "car.toml")
    # At 2,000 levels the parser itself gives up.
    for depth in (65, 2_000):
        assert TOO_DEEP == refusal(nested(depth))


# Values.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true or false"),
        (1, "a whole number"),
        (1.5, "a number with a fraction"),
        ("x", "text"),
        ([1], "a list"),
        ({}, "a table"),
        (datetime.datetime(2027, 1, 1), "a date"),
        (datetime.date(2027, 1, 1), "a date"),
        (datetime.time(8, 0), "a time"),
        (None, "something else"),
    ],
)
def test_a_value_is_described_by_its_type(value: object, expected: str) -> None:
    assert expected == in_words(value)


EVEN = Rule("an even number", lambda value: isinstance(value, int | float) and value % 2 == 0, {"none": 0})


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [(2, int, 2), (2, float, 2.0), (2.0, float, 2.0), ("none", int, 0), ("none", float, 0)],
)
def test_a_value_of_its_kind_that_its_rule_accepts_is_returned(value: object, kind: type, expected: object) -> None:
    result = accepted(value, EVEN, kind)

    assert (expected, type(expected)) == (result, type(result))


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1, int, "must be an even number"),
        (1, float, "must be an even number"),
        (2.0, int, "must be an even number, not a number with a fraction"),
        (True, int, "must be an even number, not true or false"),
        (False, float, "must be an even number, not true or false"),
        ("two", int, "must be an even number, not text"),
        ([], int, "must be an even number, not a list"),
    ],
)
def test_another_value_is_refused_with_what_is_allowed(value: object, kind: type, expected: str) -> None:
    with pytest.raises(ValueError) as caught:
        accepted(value, EVEN, kind)

    assert expected == str(caught.value)


def test_a_rule_may_give_its_own_sentence() -> None:
    def refuse(value: object) -> bool:
        raise ValueError("must be something better")

    with pytest.raises(ValueError, match="^must be something better$"):
        accepted(1, Rule("a number", refuse), int)


@pytest.mark.parametrize(
    ("name", "kind", "good", "wrong", "expected"),
    [
        ("name", str, "x", 1, "must be text, not a whole number"),
        ("is_loud", bool, True, 1, "must be true or false, not a whole number"),
        ("weight", float, 2, "2", "must be a number, not text"),
        ("power", int, 10, 11, "must be a whole number from 0 to 10"),
    ],
)
def test_a_field_is_checked_by_its_rule_or_else_by_its_type(
    name: str, kind: type, good: object, wrong: object, expected: str
) -> None:
    field = getattr(attrs.fields(Engine), name)

    assert good == checked(good, field, kind)
    with pytest.raises(ValueError) as caught:
        checked(wrong, field, kind)
    assert expected == str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a-B_9", "a-B_9"),
        ("x" * 64, "x" * 64),
        ("", '""'),
        ("a b", '"a b"'),
        ("a.b", '"a.b"'),
        ('"\n\u001b', '"\\"\\n\\u001b"'),
        ("ü", '"\\u00fc"'),
        ("x" * 65, '"' + "x" * 64 + '"'),
        ("a b" * 99, '"' + ("a b" * 22)[:64] + '"'),
    ],
)
def test_a_key_is_written_on_one_line_and_of_limited_length(name: str, expected: str) -> None:
    assert expected == key_text(name)


# The whole table.


def test_a_table_becomes_an_object() -> None:
    text = (
        "[engine]\npower = 7\nname = 'V8'\nis_loud = true\nweight = 3\nrest = 'never'\nfuel = 'gas'\nparts = ['a', 'b']\n"
        "[[trailers]]\nload = 1\n[[trailers]]\n[colours]\nroof = 'red'\n"
    )
    engine = Engine(7, "V8", True, 3.0, math.inf, "gas", ("a", "b"))

    assert (Car(engine, (Trailer(1), Trailer()), {"roof": "red"}), []) == made(text)
    assert (Car(), []) == made("")


def test_all_problems_are_found_at_once_with_their_paths() -> None:
    text = (
        "wheels = 4\ncolours = 1\n[engine]\npower = 11\nname = 1\nis_loud = 0\nparts = ['a', 'glue', 1]\nspeed = 1\n"
        "[[trailers]]\nload = 6\n[[trailers]]\nload = 5\nlid = 1\n"
    )
    expected = {
        "engine.power": "must be a whole number from 0 to 10",
        "engine.name": "must be text, not a whole number",
        "engine.is_loud": "must be true or false, not a whole number",
        "engine.parts[1]": "must be a part",
        "engine.parts[2]": "must be a part, not a whole number",
        "engine.speed": "unknown key; known are power, name, is_loud, weight, rest, fuel, parts",
        "trailers[0].load": "must be a whole number from 0 to 5",
        "trailers[1].lid": "unknown key; known are load",
        "colours": "must be colours",
        "wheels": "unknown key; known are engine, trailers, colours",
    }

    assert expected == problems(text)


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("engine = 1", "engine", "must be a table, not a whole number"),
        ("engine = [{}]", "engine", "must be a table, not a list"),
        ("trailers = 1", "trailers", "must be tables, headed [[trailers]], not a whole number"),
        ("[trailers]", "trailers", "must be tables, headed [[trailers]], not a table"),
        ("trailers = [1]", "trailers[0]", "must be a table, not a whole number"),
        ("engine.parts = 'a'", "engine.parts", "must be a list of text, not text"),
    ],
)
def test_a_value_in_place_of_a_table_or_list_is_refused(text: str, path: str, expected: str) -> None:
    assert {path: expected} == problems(text)


def test_a_message_does_not_repeat_a_value() -> None:
    assert "hunter2" not in str(problems("engine = {power = 'hunter2', fuel = 'hunter2', parts = 'hunter2'}"))


def test_an_unknown_key_that_is_nearly_right_is_corrected() -> None:
    assert {"engine.powre": "unknown key; did you mean power?"} == problems("engine.powre = 1")
    assert {"engin": "unknown key; did you mean engine?"} == problems("engin = 1")


def test_unknown_keys_are_listed_in_order_and_written_as_in_toml() -> None:
    found = list(problems(f"[engine]\nz = 1\n'a b' = 1\n{'x' * 80} = 1\n"))

    assert ['engine."a b"', 'engine."' + "x" * 64 + '"', "engine.z"] == found


def test_an_unknown_key_that_belongs_elsewhere_is_told_its_place() -> None:
    def elsewhere(name: str, section: type) -> str | None:
        return "belongs to [engine]" if (name, section) == ("power", Car) else None

    assert {"power": "unknown key here; it belongs to [engine]"} == problems("power = 1", elsewhere)
    assert {"engine.powre": "unknown key; did you mean power?"} == problems("engine.powre = 1", elsewhere)


# A table without its problems.


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        ("a.b", {"a": {"c": [1, 2, 3]}, "x y": 1}),
        ("a.c[1]", {"a": {"b": 1, "c": [1, 3]}, "x y": 1}),
        ('"x y"', {"a": {"b": 1, "c": [1, 2, 3]}}),
        # If a path leads nowhere, the table that it begins in is removed.
        ("a.d", {"x y": 1}),
        ("a.c[3]", {"x y": 1}),
        ("a.b.c", {"x y": 1}),
        ("a.c.b", {"x y": 1}),
        ("a.b[0]", {"x y": 1}),
        # If nothing can be removed, nothing is left. Otherwise the caller would try the same table for ever.
        ("z", {}),
        ("", {}),
    ],
)
def test_a_table_without_what_is_wrong(path: str, rest: object) -> None:
    table = {"a": {"b": 1, "c": [1, 2, 3]}, "x y": 1}

    assert rest == without(table, [path])
    assert {"a": {"b": 1, "c": [1, 2, 3]}, "x y": 1} == table


def test_several_items_of_a_list_are_taken_out_by_their_numbers() -> None:
    assert {"a": [2]} == without({"a": [1, 2, 3]}, ["a[0]", "a[2]"])


@pytest.mark.parametrize("name", ["x" * 64, "x" * 65, "a b", 'say "x"', "a\\b", "x.y[1]", "ü", "\n", "a b" * 99])
def test_a_key_with_any_name_is_removed_by_its_path(name: str) -> None:
    assert {"k": {"rest": 1}} == without({"k": {name: 1, "rest": 1}}, [f"k.{key_text(name)}"])


def test_items_of_nested_lists_and_tables_are_removed() -> None:
    table = {"a": [{"b": [1, 2], "c": 3}, {"b": [4]}]}

    assert {"a": [{"b": [2], "c": 3}, {}]} == without(table, ["a[0].b[0]", "a[1].b"])


def test_what_the_problems_of_a_text_name_is_removed_until_the_rest_is_right() -> None:
    text = "wheels = 4\n[engine]\npower = 11\nname = 'V8'\nparts = ['a', 'glue', 'b']\n[[trailers]]\nload = 6\n[[trailers]]\nload = 5\n"
    _, found = made(text)

    rest = without(parse(text, "car.toml"), [path for path, _ in found])

    car, left = structure(rest, Car, (Engine, Trailer), HOOKS, nowhere)
    assert (Car(Engine(name="V8", parts=("a", "b")), (Trailer(), Trailer(5))), []) == (car, left)

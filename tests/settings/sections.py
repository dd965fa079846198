"""One section of vortexd.toml by itself: its settings or the problems of a text, and the ranges of its numbers."""

import math
from typing import TypeVar

import attrs

from vortexd.core.constraints import text_of
from vortexd.settings.toml_schema import Problem, parse, structure

S = TypeVar("S")


def _structured(section: type[S], text: str) -> tuple[S | None, list[Problem]]:
    return structure(parse(text, "vortexd.toml"), section, (), {}, lambda name, section: None)


def read(section: type[S], text: str = "") -> S:
    """Return the settings that a text without problems makes."""
    settings, problems = _structured(section, text)
    assert [] == problems
    assert settings is not None
    return settings


def problems(section: type[object], text: str) -> dict[str, str]:
    """Return the problems of a text, by key."""
    settings, found = _structured(section, text)
    assert settings is None
    return dict(found)


def waiting(section: type[attrs.AttrsInstance]) -> set[str]:
    """Return the keys whose new values wait for a restart."""
    return {field.name for field in attrs.fields(section) if text_of(field).restart}


def assert_whole(section: type[object], key: str, low: int, high: int) -> None:
    """Check that a key accepts whole numbers from `low` to `high` and nothing else."""
    for value in (low, high):
        assert value == getattr(read(section, f"{key} = {value}"), key)
    for value in (low - 1, high + 1):
        assert {key: f"must be a whole number from {low} to {high}"} == problems(section, f"{key} = {value}")
    assert {key: f"must be a whole number from {low} to {high}, not a number with a fraction"} == problems(
        section, f"{key} = {low}.0"
    )


def assert_seconds(section: type[object], key: str, low: float, high: float) -> None:
    """Check that a key accepts seconds from `low` to `high` and nothing else."""
    _assert_number(section, key, low, high, "a number of seconds")


def assert_number(section: type[object], key: str, low: float, high: float) -> None:
    """Check that a key accepts numbers from `low` to `high` and nothing else."""
    _assert_number(section, key, low, high, "a number")


def _assert_number(section: type[object], key: str, low: float, high: float, kind: str) -> None:
    for value in (low, high):
        assert value == getattr(read(section, f"{key} = {value}"), key)
    for value in (math.nextafter(low, -math.inf), math.nextafter(high, math.inf), math.nan):
        assert {key: f"must be {kind} from {low:g} to {high:g}"} == problems(section, f"{key} = {value!r}")

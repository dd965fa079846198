"""The request for an explanation, and the places in the answer."""

import json
from typing import Any

import pytest

from vortexd.client.address import Address
from vortexd.client.origins import places, target
from vortexd.core.model import Key

KEY = Key("shop,billing", "prod", "feature/x y")


def explanation(**members: Any) -> dict[str, Any]:
    """As the server answers, with the members that count."""
    layers = [{"file": "shop.yml", "name": "file:/srv/shop.yml"}, {"file": None, "name": "overrides"}]
    keys = [
        {"key": "a.b", "layer": 0, "held_by": [holding("overridden", 1), holding("wins", 12)]},
        {"key": "c", "layer": 1, "held_by": [holding("wins", None)]},
        {"key": "d", "layer": None, "held_by": [holding("unreadable", 3)]},
    ]
    return {"version": "v1", "layers": layers, "keys": keys} | members


def holding(outcome: str, line: int | None) -> dict[str, Any]:
    return {"outcome": outcome, "line": line}


def test_the_target_names_the_key_as_urls_do_and_the_flat_key() -> None:
    address = Address("config.example", 80, prefix="/vortex")
    path = "/vortex/api/v1/explain/shop,billing/prod/feature(_)x%20y"

    assert path == target(address, KEY, "")
    assert f"{path}?key=a.b%5B0%5D%26" == target(address, KEY, "a.b[0]&")


def test_each_key_has_the_file_and_line_of_the_layer_that_wins() -> None:
    assert {"a.b": "shop.yml:12", "c": "overrides"} == places(json.dumps(explanation()).encode(), "v1")


def test_places_of_another_version_dont_count() -> None:
    assert {} == places(json.dumps(explanation()).encode(), "v2")


def test_a_place_stays_on_its_line_and_has_a_limit() -> None:
    layers = [{"file": "a\nb" + "x" * 400, "name": ""}] * 2
    [place, _] = places(json.dumps(explanation(layers=layers)).encode(), "v1").values()

    assert "\n" not in place
    assert place.endswith("x:12")
    assert 303 == len(place)


def test_a_layer_that_wins_without_a_holding_is_a_place_without_a_line() -> None:
    keys = [{"key": "a", "layer": 0, "held_by": []}]

    assert {"a": "shop.yml"} == places(json.dumps(explanation(keys=keys)).encode(), "v1")


MALFORMED: list[dict[str, Any]] = [
    {"keys": 7},
    {"keys": [7]},
    {"layers": None},
    {"layers": [{}]},
    {"keys": [{"key": "a", "layer": 9, "held_by": [holding("wins", 1)]}]},
    {"keys": [{"key": "a", "layer": "x", "held_by": [holding("wins", 1)]}]},
    {"keys": [{"key": "a", "layer": 0, "held_by": [{"outcome": "wins", "line": "x"}]}]},
]


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"<html>",
        b"[]",
        b"7",
        b"{}",
        *(json.dumps(explanation(**members)).encode() for members in MALFORMED),
    ],
)
def test_a_malformed_answer_has_no_places(body: bytes | None) -> None:
    assert {} == places(body, "v1")

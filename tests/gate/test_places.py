"""Places in documents: the file and the line that decide about them."""

import pytest

from vortexd.core.model import OVERRIDES, PropertySource
from vortexd.gate.places import flat_key, place_of

STRONG = PropertySource(
    "file:/c/billing-prod.yml (document #1)",
    {"port": 1, "list[0]": 2, "list[1].a": 3},
    {"port": (4, 1), "list[1].a": (6, 3)},
)
WEAK = PropertySource(
    "file:/c/billing.yml",
    {"port": 2, "db.url": "u", "db.user.name": "n", "list[0]": 1, "dbx": 1},
    {"port": (1, 1), "db.url": (2, 3), "db.user.name": (3, 5), "dbx": (9, 1)},
)
SOURCES = STRONG, WEAK


@pytest.mark.parametrize(("steps", "key"), [(["a", "b", 0, "c"], "a.b[0].c"), (["a.b", "c"], "a.b.c"), ([], "")])
def test_steps_make_a_flat_key(steps: list[str | int], key: str) -> None:
    assert key == flat_key(steps)


@pytest.mark.parametrize(
    ("steps", "place"),
    [
        (["port"], ("billing-prod.yml", 4)),
        (["db", "url"], ("billing.yml", 2)),
        (["list", 1, "a"], ("billing-prod.yml", 6)),
        # A list is that of the strongest source. This value has no place of its own.
        (["list", 0], ("billing-prod.yml", None)),
        # An object is where its first value is.
        (["db", "user"], ("billing.yml", 3)),
        # A missing value belongs to the object around it, and never to a key that only begins alike.
        (["db", "password"], ("billing.yml", 2)),
        (["db", "user", "x", "y"], ("billing.yml", 3)),
        # If nothing is around it, the strongest file counts.
        (["missing"], ("billing-prod.yml", None)),
        ([], ("billing-prod.yml", None)),
    ],
)
def test_a_place_is_in_the_strongest_source_that_has_it(
    steps: list[str | int], place: tuple[str | None, int | None]
) -> None:
    assert place == place_of(steps, SOURCES, ["file:/c/"])


def test_the_longest_root_is_left_out() -> None:
    assert ("x/a.yml", None) == place_of([], [PropertySource("file:/c/x/a.yml", {}, {})], ["file:/c/", "file:/"])
    assert ("a.yml", None) == place_of([], [PropertySource("file:/c/x/a.yml", {}, {})], ["file:/c/", "file:/c/x/"])
    assert ("file:/c/a.yml", None) == place_of([], [PropertySource("file:/c/a.yml", {}, {})], [])


def test_overrides_are_named_if_they_decide_and_not_for_the_whole_document() -> None:
    overrides = PropertySource(OVERRIDES, {"port": "x"}, {})

    assert (OVERRIDES, None) == place_of(["port"], (overrides, *SOURCES), ["file:/c/"])
    assert ("billing-prod.yml", None) == place_of([], (overrides, *SOURCES), ["file:/c/"])
    assert (None, None) == place_of([], (overrides,), [])


def test_a_value_that_cannot_be_decrypted_has_the_place_of_its_key() -> None:
    source = PropertySource("file:/c/a.yml", {"invalid.db.pw": "<n/a>"}, {"db.pw": (7, 1)})

    assert ("a.yml", 7) == place_of(["invalid", "db", "pw"], [source], ["file:/c/"])

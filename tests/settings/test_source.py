"""The common part of all kinds of source, seen with two kinds of its own."""

from typing import Any, Literal

import attrs
import pytest

from vortexd.core.constraints import setting
from vortexd.settings.source import Kinds, SourceSettings, default_kind, first_of


@attrs.frozen
class Shelf(SourceSettings):
    """A kind with nothing but the required parts."""

    kind: Literal["shelf"] = setting("shelf")
    applications: tuple[str, ...] = setting(())
    place: str = setting("")

    def open(self, surroundings: Any) -> Any:
        return (self.place, surroundings)


@attrs.frozen
class Drawer(Shelf):
    """A kind that the command line can name."""

    location_key = "place"


KINDS: Kinds = {"shelf": Shelf, "drawer": Drawer}


def test_a_kind_must_have_a_name_applications_and_a_way_to_open() -> None:
    with pytest.raises(TypeError, match="abstract"):
        SourceSettings()  # type: ignore[abstract]  # that is the test

    assert {"kind", "applications", "open"} == SourceSettings.__abstractmethods__


def test_a_kind_has_no_paths_and_no_mirrors_unless_it_says_so() -> None:
    assert ("", (), (), False) == (Shelf.location_key, Shelf.path_keys, Shelf.private_keys, Shelf.keeps_mirrors)


def test_a_kind_has_no_problems_unless_it_says_so() -> None:
    assert [] == list(Shelf.conflicts({"place": 1, "other": "x"}))
    assert [] == list(Shelf().unusable_files({}))
    assert [] == list(Shelf().unreadable())


def test_the_command_line_names_no_source_of_a_kind_that_does_not_say_so() -> None:
    assert Shelf.location_of("/srv/config") is None
    assert not Shelf.takes("/srv/config")


def test_a_source_at_another_location_keeps_its_other_settings() -> None:
    before = Drawer(applications=("orders",), place="a")

    assert Drawer(applications=("orders",), place="b") == before.at("b")
    assert "a" == before.place


def test_the_first_kind_is_the_default() -> None:
    assert Shelf is default_kind(KINDS)
    assert Drawer is default_kind({"drawer": Drawer, "shelf": Shelf})


def test_the_first_source_of_a_kind_is_found_or_else_its_defaults() -> None:
    sources = [Shelf(place="a"), Drawer(place="b"), Drawer(place="c")]

    assert Drawer(place="b") == first_of(sources, Drawer)
    assert Drawer() == first_of(sources[:1], Drawer)
    assert Drawer() == first_of([], Drawer)

"""The nouns: a pin's end, its size and its members for people."""

import pytest

from vortexd.core.model import Files, Key
from vortexd.core.term import Term
from vortexd.http import pins as http
from vortexd.pins import pin as module
from vortexd.pins.pin import Pin, size_of

LABELS = ((Files({"a.yml": b"12345"}), Files({"b.yml": b"1"})), (Files({}),))


def pin(until: float | None = None) -> Pin:
    key = Key("shop", "dev", "main,x")
    return Pin("p1", key, "0" * 16, "c1", "incident 7", "ada", Term(1.0, until), LABELS)


@pytest.mark.parametrize(("until", "now", "has_ended"), [(None, 1e9, False), (5.0, 4.9, False), (5.0, 5.0, True)])
def test_a_pin_ends_at_its_time(until: float | None, now: float, has_ended: bool) -> None:
    assert has_ended == pin(until).has_ended(now)


def test_the_size_is_that_of_all_files_and_their_paths() -> None:
    assert 5 + 5 + 5 + 1 == pin().bytes == size_of(LABELS)


def test_people_see_everything_but_the_files() -> None:
    assert {
        "application": "shop",
        "profile": "dev",
        "label": "main,x",
        "version": "0" * 16,
        "commit": "c1",
        "reason": "incident 7",
        "by": "ada",
        "since": "1970-01-01T00:00:01.000Z",
        "until": None,
    } == pin().members
    assert "1970-01-01T00:00:05.000Z" == pin(5.0).members["until"]


def test_the_limits_are_those_of_the_page() -> None:
    assert (100, 512 * 1024, 90 * 86_400) == (module.MOST_PINS, module.MOST_BYTES, module.MOST_SECONDS)
    assert module.MOST_SECONDS == http.MOST_SECONDS

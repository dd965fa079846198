"""The two changes of the pins, also of those that have ended a moment ago."""

import pytest

from vortexd.core.errors import RemoteError
from vortexd.core.model import Key
from vortexd.core.term import Term
from vortexd.pins.changes import already, with_pin, without_pin
from vortexd.pins.pin import MOST_PINS, Pin

SHOP, OTHER = Key("shop", "dev", "main"), Key("other", "dev", "main")


def pin(id: str, key: Key, until: float | None = None) -> Pin:
    return Pin(id, key, "0" * 16, None, "why", "ada", Term(1.0, until), ())


def test_a_pin_that_has_ended_does_not_take_the_key() -> None:
    ended, other, new = pin("p1", SHOP, 5.0), pin("p2", OTHER, 5.0), pin("p3", SHOP)
    assert [other, new] == with_pin(new, 5.0, [ended, other])
    with pytest.raises(RemoteError, match="pinned already"):
        with_pin(new, 4.9, [ended, other])


def test_a_pin_that_has_ended_takes_no_place() -> None:
    many = [pin(f"p{number}", Key(f"a{number}", "dev", "main")) for number in range(MOST_PINS - 1)]
    ended, new = pin("e", OTHER, 5.0), pin("n", SHOP)
    assert [*many, ended, new] == with_pin(new, 5.0, [*many, ended])
    with pytest.raises(RemoteError, match="there are 100 pins already"):
        with_pin(new, 4.9, [*many, ended])


def test_a_pin_that_has_ended_can_not_be_lifted() -> None:
    ended = pin("p1", SHOP, 5.0)
    assert [] == without_pin(SHOP, 4.9, [ended])
    with pytest.raises(RemoteError, match="isn't pinned"):
        without_pin(SHOP, 5.0, [ended])


def test_the_error_about_a_pinned_key_names_the_person_the_times_and_the_reason() -> None:
    since = "the key is pinned already, by ada since 1970-01-01T00:00:01Z until "
    assert (409, since + "it is lifted: why") == (already(pin("p", SHOP)).status, already(pin("p", SHOP)).reason)
    assert since + "1970-01-01T00:00:05Z: why" == already(pin("p", SHOP, 5.0)).reason

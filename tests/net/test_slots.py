"""The choice of the connection that is closed to make room, at times that the test sets."""

from collections.abc import Collection

import pytest

from vortexd.net.slots import Addresses, Waiting, share_of


def victim(waiting: Waiting[str], now: float, loud: Collection[str] = ()) -> str | None:
    return waiting.victim(now, lambda each: each not in loud)


def waiting(*members: tuple[str, str | None, float], places: int = 8, crowded_grace: float = 0.1) -> Waiting[str]:
    made: Waiting[str] = Waiting(places, 1.0, crowded_grace)
    for member, address, since in members:
        made.add(member, address, since)
    return made


def test_who_has_waited_longest_gives_way_after_a_second() -> None:
    some = waiting(("second", "b", 1), ("first", "a", 0), ("third", "c", 2))

    assert victim(some, 0.999) is None
    assert "first" == victim(some, 1)
    some.discard("first")
    assert victim(some, 1.999) is None
    assert "second" == victim(some, 2)


def test_where_nobody_waits_nobody_gives_way() -> None:
    some = waiting()

    assert victim(some, 1_000) is None
    some.discard("nobody")
    some.move("nobody", "a")
    assert 0 == len(some)


def test_what_is_left_to_read_keeps_a_connection() -> None:
    some = waiting(("first", "a", 0), ("second", "b", 0))

    assert "second" == victim(some, 1, loud=["first"])
    assert victim(some, 1, loud=["first", "second"]) is None


def test_no_more_than_a_few_are_looked_at() -> None:
    some = waiting(*((f"loud{number}", None, 0.0) for number in range(63)), ("quiet", None, 0.5), places=100)
    loud = [f"loud{number}" for number in range(64)]

    assert "quiet" == victim(some, 2, loud)
    some.add("loud63", None, 0.25)
    assert victim(some, 2, loud) is None


def test_of_those_that_wait_since_the_same_moment_the_first_gives_way() -> None:
    some = waiting(("b", None, 0), ("a", None, 0))

    assert "b" == victim(some, 1)


def test_who_waits_already_waits_since_then() -> None:
    some = waiting(("first", "a", 0))
    some.add("first", "b", 5)

    assert (1, "first") == (len(some), victim(some, 1))
    some.discard("first")
    some.add("first", "a", 5)
    assert victim(some, 5.5) is None


# Shares.


def test_an_address_with_more_than_a_quarter_gives_way_first_and_sooner() -> None:
    some = waiting(("other", "b", 0), ("one", "a", 2), ("two", "a", 2))
    assert "other" == victim(some, 2.5)

    some.add("three", "a", 2)
    assert "one" == victim(some, 2.5)
    assert "other" == victim(some, 2.05)
    some.discard("one")
    assert "other" == victim(some, 2.5)


def test_of_several_such_addresses_the_one_that_waits_longest_gives_way() -> None:
    some = waiting(
        *((f"{address}{number}", address, since) for address, since in (("a", 2), ("b", 1)) for number in "123")
    )

    assert "b1" == victim(some, 5)
    assert "a1" == victim(some, 5, loud=["b1", "b2", "b3"])
    for member in ("a1", "a2", "a3"):
        some.discard(member)
    assert "b1" == victim(some, 1.5)


def test_an_address_with_too_many_that_are_all_young_spares_nobody_else() -> None:
    some = waiting(("old", "b", 0), *((f"a{number}", "a", 4.95) for number in range(3)))

    assert "old" == victim(some, 5)


def test_what_has_no_share_has_never_too_much() -> None:
    some = waiting(*((f"proxied{number}", None, 0.0) for number in range(7)), ("other", "b", 0.5))

    assert victim(some, 0.99) is None
    assert "proxied0" == victim(some, 1)


def test_a_share_is_one_at_least() -> None:
    some = waiting(("one", "a", 0), places=1)
    assert victim(some, 0.5) is None
    some.add("two", "a", 0)

    assert "one" == victim(some, 0.5)


def test_another_number_of_places_is_another_share() -> None:
    some = waiting(("one", "a", 0), ("two", "a", 0))
    assert (8, None) == (some.places, victim(some, 0.5))

    some.replace(4)
    assert (4, "one") == (some.places, victim(some, 0.5))
    some.replace(8)
    assert victim(some, 0.5) is None


def test_a_connection_counts_for_whom_it_was_moved_to_and_waits_since_before() -> None:
    some = waiting(("one", "a", 0), ("two", "a", 0), ("three", None, 0))
    some.move("three", "a")
    assert "one" == victim(some, 0.5)

    some.move("one", "b")
    assert victim(some, 0.5) is None
    assert "one" == victim(some, 1)
    some.move("two", None)
    for member in ("one", "two", "three"):
        some.discard(member)
    assert (0, None) == (len(some), victim(some, 100))
    # Nothing is left of addresses that have gone.
    assert {} == some._by_address


def test_it_is_known_when_somebody_may_give_way() -> None:
    some = waiting()
    assert float("inf") == some.gives_way_in(5)

    some.add("one", "a", 5)
    assert 0.75 == pytest.approx(some.gives_way_in(5.25))
    assert 0 == some.gives_way_in(7)
    some.add("two", "a", 5)
    some.add("three", "a", 5)
    assert 0.05 == pytest.approx(some.gives_way_in(5.05))


# Addresses.


def test_an_address_is_remembered_for_a_while() -> None:
    addresses = Addresses(60)
    addresses.add("a", 0)

    assert (True, False) == (addresses.has("a", 60), addresses.has("a", 60.1))
    addresses.add("a", 50)
    assert addresses.has("a", 110)
    addresses.discard("a")
    addresses.discard("b")
    assert not addresses.has("a", 110)


def test_of_too_many_addresses_those_that_were_told_of_last_are_remembered() -> None:
    addresses = Addresses(60, most=2)
    for address in ("a", "b", "a", "c"):
        addresses.add(address, 0)

    assert [True, False, True] == [addresses.has(address, 0) for address in ("a", "b", "c")]


@pytest.mark.parametrize(
    ("host", "share"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2::5", "2001:0db8:0001:0002"),
        ("2001:db8:1:2:ffff::", "2001:0db8:0001:0002"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80:0000:0000:0000"),
    ],
)
def test_a_network_of_64_bits_has_one_share(host: str, share: str) -> None:
    assert share == share_of(host)

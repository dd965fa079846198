"""The roll of one key: its counts, and what is known from before a restart, whatever comes and goes."""

import pytest

from vortexd.core.model import Key
from vortexd.fleet import Instance, Seen, make_ack
from vortexd.fleet.roll import Gone, Roll, is_memorable

KEY = Key("orders", "prod", "main")
ACK = make_ack("v1", "applied", None, 5.0)
FORMER = make_ack("v0", "rejected", "no room", 1.0)


def instance(name: str | None = "one") -> Instance:
    return Instance(KEY, "id", "", name, 2.0)


def test_acknowledgements_are_counted_by_status_and_version() -> None:
    roll, one, two = Roll(), instance(), instance("two")
    roll.put(one, ACK)
    roll.put(two, ACK)
    assert {("applied", "v1"): 2} == roll.counts
    roll.put(one, make_ack("v1", "rejected", None, 6.0))
    assert {("applied", "v1"): 1, ("rejected", "v1"): 1} == roll.counts
    assert ACK == roll.take(two)

    assert {("rejected", "v1"): 1} == roll.counts
    assert None is roll.take(two)


def test_what_an_instance_said_before_a_restart_counts_for_nothing_and_ends_with_its_next_word() -> None:
    roll, one = Roll(), instance()
    roll.put(one, None)
    roll.recall(one, FORMER)
    assert ({one: FORMER}, {}) == (roll.former, roll.counts)
    assert Seen("one", "id", "silent", 2.0, None, before_restart=FORMER) == roll.seen("v0", "one", one)
    roll.put(one, ACK)
    assert {} == roll.former
    roll.recall(one, FORMER)
    assert Seen("one", "id", "applied", 5.0, ACK) == roll.seen("v1", "one", one)


def test_an_instance_without_a_former_word_has_none() -> None:
    roll, one = Roll(), instance()
    roll.put(one, None)
    roll.recall(one, None)
    assert {} == roll.former
    roll.recall(one, FORMER)
    roll.take(one)
    assert {} == roll.former


@pytest.mark.parametrize(("former", "count"), [(FORMER, 1), (None, 0)])
def test_those_who_left_with_a_former_word_are_counted(former: object, count: int) -> None:
    roll = Roll()
    gone = Gone("id", None, 7.0, FORMER if former else None)
    roll.put_gone("one", gone)
    roll.put_gone("one", gone)
    assert (count, [("one", "id", None)]) == (roll.gone_former, list(roll.see("v1", "gone")))
    assert Seen("one", "id", "gone", 7.0, None, before_restart=gone.before_restart) == roll.seen("v1", "one", None)
    assert gone.before_restart == roll.take_gone("one")
    assert (0, {}, None) == (roll.gone_former, roll.gone, roll.take_gone("one"))


def test_an_instance_without_a_name_and_a_word_is_not_worth_remembering() -> None:
    assert [False, True, True, True] == [
        is_memorable(instance(None), None),
        is_memorable(instance(None), ACK),
        is_memorable(instance(), None),
        is_memorable(instance(), ACK),
    ]

"""The roll of one key: its counts, and what is known from before a restart, whatever comes and goes."""

import attrs
import pytest

from vortexd.core.model import Key
from vortexd.fleet import CanaryInstance, Fleet, Instance, MuteInstance, Page, Question, Seen, make_ack
from vortexd.fleet.roll import RUNNING, Gone, Roll, Split, is_memorable
from vortexd.settings.fleet import FleetSettings

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


@pytest.mark.parametrize("made", [Instance, MuteInstance])
def test_it_is_seen_whether_an_instance_can_acknowledge_also_after_it_left(made: type[Instance]) -> None:
    key, is_mute = Key("a", "p", "l"), made is MuteInstance
    fleet = Fleet(FleetSettings(), lambda _: "v1")
    one = made(key, "id", name="one")
    fleet.join(one, 1.0)
    [before] = fleet.page(Question((key,)), 1.0).keys[0].instances
    fleet.leave(one, 2.0)
    page = fleet.page(Question((key,)), 2.0)
    [after] = page.keys[0].instances

    assert [("silent", is_mute), ("gone", is_mute)] == [(each.state, each.is_mute) for each in (before, after)]
    assert page == Page.from_json(page.to_json())


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


# During a roll-out.


@attrs.frozen
class FakeCandidate:
    """A candidate that some instances have, by name."""

    names: tuple[str, ...] = ("one",)
    target: str = "v2"
    stepped: float = 4.0
    phase: str = RUNNING

    def has(self, instance: str) -> bool:
        return instance in self.names


SPLIT = Split(KEY, "v1", FakeCandidate(("one", "id", "")))


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (instance("one"), "v2"),
        (instance("two"), "v1"),
        # The id of a connection is no name that a client gave.
        (instance(None), "v1"),
        (instance(""), "v1"),
        (CanaryInstance(KEY, "id"), "v2"),
        # Only subscriptions of a main key have a candidate.
        (Instance(Key("shop", "prod", "main"), "id", "", "one"), "v1"),
        (CanaryInstance(Key("shop", "prod", "main"), "id"), "v1"),
    ],
)
def test_the_target_is_expected_of_reached_instances_and_canaries(one: Instance, expected: str) -> None:
    assert (expected, expected == "v2") == (SPLIT.expected(one), SPLIT.is_reached(one))


def test_a_roll_counts_each_instance_by_the_version_that_is_expected_of_it() -> None:
    roll = Roll()
    for name, version, status in [
        ("one", "v2", "rejected"),
        ("one", "v2", "applied"),
        ("one", "v2", "applied"),
        ("one", "v1", "applied"),
        ("two", "v1", "applied"),
        ("two", "v1", "rejected"),
        ("two", "v2", "applied"),
        ("two", "v2", "rejected"),
    ]:
        roll.put(instance(name), make_ack(version, status, None, 5.0))
    roll.put(instance("one"), None)

    assert (3, 2) == roll.count("v1", SPLIT)
    assert {"applied": 3, "rejected": 2, "silent": 4, None: 9} == {
        state: len(list(roll.see("v1", state, SPLIT))) for state in ("applied", "rejected", "silent", None)
    }
    # Without a roll-out, only the version of the key counts.
    assert ((2, 1), (3, 2)) == (roll.count("v1"), roll.count("v2"))
    assert (0, 0) == roll.count(None)
    assert {"applied": 2, "rejected": 1, "silent": 6} == {
        state: len(list(roll.see("v1", state))) for state in ("applied", "rejected", "silent")
    }


@pytest.mark.parametrize(
    ("name", "ack", "expected"),
    [
        ("one", None, ("silent", 4.0, "v2")),
        ("one", ("v1", 3.0), ("silent", 4.0, "v2")),
        ("one", ("v2", 5.0), ("applied", 5.0, "v2")),
        ("two", None, ("silent", 2.0, None)),
        ("two", ("v1", 3.0), ("applied", 3.0, None)),
        ("two", ("v2", 5.0), ("silent", 2.0, None)),
    ],
)
def test_a_reached_instance_is_silent_since_the_step(
    name: str, ack: tuple[str, float] | None, expected: tuple[str, float, str | None]
) -> None:
    roll, one = Roll(), instance(name)
    roll.put(one, make_ack(ack[0], "applied", None, ack[1]) if ack is not None else None)
    seen = roll.seen("v1", name, one, SPLIT)

    assert expected == (seen.state, seen.since, seen.expected)


def test_a_reached_instance_that_connected_or_whose_key_changed_after_the_step_is_silent_since_then() -> None:
    roll, late = Roll(), Instance(KEY, "id", "", "one", 6.0)
    roll.put(late, None)
    assert 6.0 == roll.seen("v1", "one", late, SPLIT).since
    roll.changed = 7.0
    assert 7.0 == roll.seen("v1", "one", late, SPLIT).since


def test_nothing_is_expected_of_an_instance_that_has_left() -> None:
    roll = Roll()
    roll.put_gone("one", Gone("id", ACK, 7.0))

    assert Seen("one", "id", "gone", 7.0, ACK) == roll.seen("v1", "one", None, SPLIT)
    assert [("one", "id", None)] == list(roll.see("v1", "gone", SPLIT))

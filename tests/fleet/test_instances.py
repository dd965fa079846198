"""Instances of the fleet: connections, acks and departures. All data stays within its bounds."""

import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.core.model import Key
from vortexd.fleet import OTHER, Fleet, Instance, KeyState, Question, Record, Seen, make_ack, records_of
from vortexd.settings.fleet import FleetSettings

from .test_roll import FakeCandidate

KEY = Key("orders", "prod", "main")
OTHER_KEY = Key("billing", "prod", "main")


class Fleets:
    """A fleet whose versions the test sets, and whose clock it moves."""

    def __init__(self, **settings: Any) -> None:
        self.versions: dict[Key, str | None] = {KEY: "v1", OTHER_KEY: "b1"}
        self.now = 1_000.0
        self.candidates: dict[Key, FakeCandidate] = {}
        self.fleet = Fleet(FleetSettings(**settings), self.versions.get, candidate_of=self.candidates.get)
        self.ids = 0

    def join(self, name: str | None = None, key: Key = KEY) -> Instance:
        self.ids += 1
        instance = Instance(key, f"id{self.ids}", "127.0.0.1", name, self.now)
        self.fleet.join(instance, self.now)
        return instance

    def say(self, instance: Instance, version: str, status: str = "applied", key: Key = KEY) -> None:
        error = "no" if status == "rejected" else None
        self.fleet.acknowledge(instance, key, make_ack(version, status, error, self.now))

    def change(self, version: str, key: Key = KEY) -> None:
        self.versions[key] = version
        self.fleet.changed(key, self.now)

    def state(self, key: Key = KEY, **question: Any) -> KeyState:
        (state,) = self.fleet.page(Question((key,), **question), self.now).keys
        return state

    def states(self, key: Key = KEY) -> dict[str, str]:
        return {each.name: each.state for each in self.state(key).instances}


@pytest.fixture
def fleets() -> Fleets:
    return Fleets()


def counts(state: KeyState) -> tuple[int, int, int, int, int]:
    return state.connected, state.applied, state.rejected, state.silent, state.gone


def test_who_is_connected_is_silent_until_it_has_spoken_of_the_version(fleets: Fleets) -> None:
    one, two = fleets.join("one"), fleets.join("two")
    fleets.join("three")
    fleets.say(one, "v1")
    fleets.say(two, "v1", "rejected")

    assert {"one": "applied", "two": "rejected", "three": "silent"} == fleets.states()
    assert (3, 1, 1, 1, 0) == counts(fleets.state())
    assert "v1" == fleets.state().version


def test_a_new_version_makes_everybody_silent_since_then(fleets: Fleets) -> None:
    one = fleets.join("one")
    fleets.say(one, "v1")
    fleets.now += 5
    fleets.change("v2")
    fleets.now += 5
    state = fleets.state()

    assert (1, 0, 0, 1, 0) == counts(state)
    assert [Seen("one", "id1", "silent", 1_005.0, make_ack("v1", "applied", None, 1_000.0))] == list(state.instances)


def test_a_version_that_is_not_the_servers_counts_for_nothing(fleets: Fleets) -> None:
    one = fleets.join("one")
    fleets.say(one, "v0")
    fleets.say(one, "0" * 64)

    assert (1, 0, 0, 1, 0) == counts(fleets.state())


def test_a_configuration_that_comes_back_is_applied_by_who_said_so_last(fleets: Fleets) -> None:
    one, two = fleets.join("one"), fleets.join("two")
    fleets.say(one, "v1")
    fleets.say(two, "v1")
    fleets.change("v2")
    fleets.say(two, "v2", "rejected")
    fleets.change("v1")

    assert {"one": "applied", "two": "silent"} == fleets.states()


def test_who_has_left_is_known_until_it_is_forgotten(fleets: Fleets) -> None:
    one = fleets.join("one")
    fleets.say(one, "v1")
    fleets.now += 1
    fleets.fleet.leave(one, fleets.now)

    assert [Seen("one", "id1", "gone", 1_001.0, make_ack("v1", "applied", None, 1_000.0))] == list(
        fleets.state().instances
    )
    assert (0, 0, 0, 0, 1) == counts(fleets.state())
    fleets.now += 901
    assert () == fleets.fleet.page(Question((KEY,)), fleets.now).keys
    assert [] == list(fleets.fleet.keys())


def test_who_comes_back_by_its_name_is_not_gone(fleets: Fleets) -> None:
    one = fleets.join("one")
    fleets.say(one, "v1")
    fleets.fleet.leave(one, fleets.now)
    fleets.join("one")

    assert [("one", "id2", "silent")] == [(each.name, each.connection, each.state) for each in fleets.state().instances]
    fleets.now += 10_000
    assert (1, 0, 0, 1, 0) == counts(fleets.state())


def test_of_who_gave_no_name_and_said_nothing_nothing_is_left(fleets: Fleets) -> None:
    nameless, talkative = fleets.join(), fleets.join()
    fleets.say(talkative, "v1")
    assert {"id1": "silent", "id2": "applied"} == fleets.states()
    fleets.fleet.leave(nameless, fleets.now)
    fleets.fleet.leave(talkative, fleets.now)

    assert {"id2": "gone"} == fleets.states()


def test_who_only_watches_is_not_counted(fleets: Fleets) -> None:
    watcher = fleets.join("")
    fleets.say(watcher, "v1")
    fleets.fleet.leave(watcher, fleets.now)

    assert [] == list(fleets.fleet.keys())


def test_two_connections_of_one_name_are_two_and_marked(fleets: Fleets) -> None:
    """An ack is its connection's own: who takes another's name is seen beside it."""
    fleets.say(fleets.join("one"), "v1")
    fleets.say(fleets.join("one"), "v1", "rejected")
    fleets.join("two")

    assert [("one", "applied", True), ("one", "rejected", True), ("two", "silent", False)] == [
        (each.name, each.state, each.is_shared) for each in fleets.state().instances
    ]


def test_who_takes_the_id_of_another_connection_is_marked(fleets: Fleets) -> None:
    fleets.join()
    fleets.join("id1")

    assert [("id1", "id1", True), ("id1", "id2", True)] == [
        (each.name, each.connection, each.is_shared) for each in fleets.state().instances
    ]


def test_a_key_that_came_by_a_pattern_counts_once_it_is_spoken_of(fleets: Fleets) -> None:
    one = fleets.join("one")
    fleets.say(one, "b1", key=OTHER_KEY)
    fleets.say(one, "b1", "rejected", key=OTHER_KEY)

    assert {"one": "rejected"} == fleets.states(OTHER_KEY)
    assert {"one": "silent"} == fleets.states()
    fleets.fleet.drop(one, OTHER_KEY)
    assert [KEY] == list(fleets.fleet.keys())
    fleets.say(one, "b1", key=OTHER_KEY)
    fleets.fleet.leave(one, fleets.now)
    assert {"one": "gone"} == fleets.states(OTHER_KEY) == fleets.states()


def test_a_key_that_has_ended_is_applied_by_nobody(fleets: Fleets) -> None:
    fleets.say(fleets.join("one"), "v1")
    fleets.versions[KEY] = None

    assert (None, 0.0, (1, 0, 0, 1, 0)) == (
        fleets.state().version,
        fleets.state().percent,
        counts(fleets.state()),
    )


def test_L03_more_instances_than_are_kept_are_counted_as_silent() -> None:
    fleets = Fleets(instances=2)
    one, two, three = (fleets.join(name) for name in ("one", "two", "three"))
    fleets.say(three, "v1")

    assert (3, 0, 0, 3, 0) == counts(fleets.state())
    assert 1 == fleets.state().unlisted
    fleets.fleet.leave(one, fleets.now)
    fleets.say(three, "v1")
    assert (2, 1, 0, 1, 1) == counts(fleets.state())
    assert 0 == fleets.state().unlisted
    four = fleets.join("four")
    fleets.fleet.leave(four, fleets.now)
    for each in (two, three):
        fleets.fleet.leave(each, fleets.now)
    assert (0, 0, 0, 0, 3) == counts(fleets.state())


def test_M14_who_comes_and_goes_under_ever_new_names_leaves_a_bounded_number() -> None:
    fleets = Fleets(gone=10)
    for number in range(1_000):
        fleets.fleet.leave(fleets.join(f"pod-{number}"), fleets.now)

    assert [f"pod-{number}" for number in range(990, 1_000)] == sorted(fleets.states())


def test_M14_who_speaks_of_ever_new_keys_is_heard_of_a_bounded_number() -> None:
    fleets = Fleets(keys=3)
    one = fleets.join("one")
    for number in range(100):
        fleets.say(one, "v", key=Key(f"app{number}", "prod", "main"))

    assert 4 == len(fleets.fleet.keys())
    fleets.say(one, "v1")
    assert {"one": "applied"} == fleets.states()


def test_M14_versions_that_nobody_says_any_more_are_not_kept(fleets: Fleets) -> None:
    one = fleets.join("one")
    for number in range(1_000):
        fleets.say(one, f"v{number}")

    assert 1 == len(fleets.fleet._rolls[KEY].counts)


def test_what_is_said_is_cut_and_fit_for_a_terminal() -> None:
    ack = make_ack("v\n" + "x" * 100, "rejected", "\x1b[2J" + "\u202e" + "e" * 10_000, 0.0)

    assert ("v\\n" + "x" * 61, "\\x1b[2J\\u202eee") == (ack.version, ack.error and ack.error[:15])
    assert 256 == len(ack.error or "")


def test_the_percentage_is_100_only_when_all_have_applied_it() -> None:
    def percent(connected: int, applied: int) -> float | None:
        return KeyState(KEY, "v", 0.0, connected, applied, 0, 0, 0).percent

    assert [None, 0.0, 33.33, 99.99, 100.0] == [
        percent(0, 0),
        percent(5, 0),
        percent(3, 1),
        percent(100_000, 99_999),
        percent(100_000, 100_000),
    ]


def test_L03_totals_have_no_names_but_those_of_the_settings() -> None:
    fleets = Fleets(applications=("orders",))
    fleets.say(fleets.join("one"), "v1")
    for number in range(100):
        fleets.join(key=Key(f"app{number}", "prod", "main"))

    totals = fleets.fleet.totals()
    assert {"orders", OTHER} == {application for application, _ in totals}
    assert 8 == len(totals)
    assert (1, 100) == (totals["orders", "applied"], totals[OTHER, "silent"])


# Against a model that knows everything about everybody.


@attrs.define
class Model:
    """One instance as the model has it."""

    instance: Instance
    said: dict[Key, tuple[str, str]] = attrs.field(factory=dict)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.sampled_from([None, "", "a", "b"])),
        st.tuples(st.just("leave"), st.integers(0, 5)),
        st.tuples(
            st.just("say"),
            st.tuples(
                st.integers(0, 5),
                st.sampled_from(["v1", "v2"]),
                st.sampled_from(["applied", "rejected"]),
                st.sampled_from([KEY, OTHER_KEY]),
            ),
        ),
        st.tuples(st.just("change"), st.sampled_from(["v1", "v2"])),
    ),
    max_size=40,
)


@given(STEPS)
def test_counts_are_those_of_the_instances_whatever_happens(steps: list[tuple[str, Any]]) -> None:
    fleets = Fleets()
    models: list[Model] = []
    for step, argument in steps:
        fleets.now += 1
        match step:
            case "join":
                models.append(Model(fleets.join(argument)))
            case "leave" if argument < len(models):
                fleets.fleet.leave(models.pop(argument).instance, fleets.now)
            case "say" if argument[0] < len(models):
                number, version, status, key = argument
                models[number].said[key] = (status, version)
                fleets.say(models[number].instance, version, status, key)
            case "change":
                fleets.change(argument)
    for key in (KEY, OTHER_KEY):
        counted = [each for each in models if each.instance.name and (key == KEY or key in each.said)]
        expected = [
            sum(each.said.get(key) == (status, fleets.versions[key]) for each in counted)
            for status in ("applied", "rejected")
        ]
        states = fleets.fleet.page(Question((key,)), fleets.now).keys
        connected, *spoken = counts(states[0])[:3] if states else (0, 0, 0)

        assert (len(counted), expected) == (connected, spoken)
        listed = states[0].instances if states else ()
        assert spoken == [sum(each.state == state for each in listed) for state in ("applied", "rejected")]
    for model in models:
        fleets.fleet.leave(model.instance, fleets.now)
    fleets.fleet.forget(fleets.now + 1_000)
    assert (0, [], {}) == (fleets.fleet._listed, list(fleets.fleet.keys()), fleets.fleet._left)


def test_the_last_word_of_an_instance_is_when_it_acknowledged_its_main_key(fleets: Fleets) -> None:
    one, unlisted = fleets.join("one"), fleets.join("")
    assert -math.inf == fleets.fleet.last_word(one)
    fleets.now += 5
    fleets.say(one, "v1", key=OTHER_KEY)
    assert -math.inf == fleets.fleet.last_word(one)
    fleets.say(one, "v0", "rejected")
    fleets.now += 5
    assert 1_005.0 == fleets.fleet.last_word(one)
    assert None is fleets.fleet.last_word(unlisted)


def test_an_instance_of_a_key_that_has_no_instance_has_no_last_word(fleets: Fleets) -> None:
    assert None is fleets.fleet.last_word(Instance(KEY, "id", "127.0.0.1", "one", 0.0))


def test_new_settings_count_for_the_instances_that_join_later(fleets: Fleets) -> None:
    fleets.join("one")
    fleets.fleet.replace(FleetSettings(instances=1))
    fleets.join("two")

    assert {"one": "silent"} == fleets.states()
    assert 1 == fleets.state().unlisted


# The counts for other nodes.


def test_the_counts_of_some_keys_are_those_of_their_pages_without_instances() -> None:
    fleets = Fleets()
    fleets.say(fleets.join("a"), "v1")
    fleets.join("b")

    assert [attrs.evolve(fleets.state(), instances=())] == fleets.fleet.counts([OTHER_KEY, KEY])


def test_everything_that_may_change_a_count_counts_as_a_change() -> None:
    fleets = Fleets(forget_after=10)
    seen = [fleets.fleet.changes]

    def note() -> None:
        seen.append(fleets.fleet.changes)

    instance = fleets.join("a")
    note()
    fleets.say(instance, "v1")
    note()
    fleets.change("v2")
    note()
    fleets.say(instance, "b1", key=OTHER_KEY)
    note()
    fleets.fleet.drop(instance, OTHER_KEY)
    note()
    fleets.fleet.leave(instance, fleets.now)
    note()
    fleets.fleet.forget(fleets.now)
    assert seen[-1] == fleets.fleet.changes
    fleets.fleet.forget(fleets.now + 11)
    note()

    assert seen == sorted(set(seen))


# A restart.


APPLIED = make_ack("v1", "applied", None, 900.0)


def records(fleet: Fleet) -> list[Record]:
    return records_of(fleet.connected(fleet.keys(), 100), fleet.gone(100))


def restarted(fleets: Fleets, **settings: Any) -> Fleets:
    """Another process, a second later, which knows what the former one wrote at the end of its life."""
    again = Fleets(**settings)
    again.now = fleets.now + 1
    again.versions = fleets.versions
    again.ids = 100
    again.fleet.restore([each._replace(left=each.left or fleets.now) for each in records(fleets.fleet)], again.now)
    return again


def test_what_is_remembered_is_the_last_acknowledgement_of_those_who_are_connected_or_gone(fleets: Fleets) -> None:
    one, two = fleets.join("one"), fleets.join("two")
    fleets.join("three")
    nameless = fleets.join()
    fleets.join()
    fleets.join("")
    fleets.say(one, "v1")
    fleets.say(one, "b1", key=OTHER_KEY)
    fleets.say(two, "v0", "rejected")
    fleets.say(nameless, "v1")
    fleets.now += 5
    fleets.fleet.leave(two, fleets.now)
    applied = make_ack("v1", "applied", None, 1_000.0)

    assert {
        Record(KEY, "one", "id1", applied, None),
        Record(OTHER_KEY, "one", "id1", make_ack("b1", "applied", None, 1_000.0), None),
        Record(KEY, "three", "id3", None, None),
        Record(KEY, "id4", "id4", applied, None),
        Record(KEY, "two", "id2", make_ack("v0", "rejected", "no", 1_000.0), 1_005.0),
    } == {*records(fleets.fleet)}


def test_a_bounded_number_is_remembered_and_those_who_left_last_come_first(fleets: Fleets) -> None:
    for name in "abc":
        fleets.join(name)
    fleets.join("d", OTHER_KEY)
    for name in "xyz":
        fleets.fleet.leave(fleets.join(name), fleets.now)

    assert ["a", "b"] == [each.name for _, each, _ in fleets.fleet.connected([KEY, OTHER_KEY], 2)]
    assert ["a", "b", "c", "d"] == [each.name for _, each, _ in fleets.fleet.connected([KEY, OTHER_KEY], 4)]
    assert [] == fleets.fleet.connected([KEY], 0) == fleets.fleet.connected([Key("x", "y", "z")], 9)
    assert ["z", "y"] == [name for _, name, _ in fleets.fleet.gone(2)]
    other = fleets.join("y", OTHER_KEY)
    fleets.fleet.leave(other, fleets.now)
    assert [(OTHER_KEY, "id8"), (KEY, "id7"), (KEY, "id6")] == [
        (key, each.connection) for key, _, each in fleets.fleet.gone(3)
    ]
    assert [] == fleets.fleet.gone(0)
    assert (10_000, 7) == (fleets.fleet.most_records, Fleets(gone=7).fleet.most_records)


def test_after_a_restart_everybody_is_gone_and_what_they_said_is_from_before_it(fleets: Fleets) -> None:
    fleets.say(fleets.join("one"), "v1")
    fleets.join("two")
    again = restarted(fleets)
    state = again.state()

    assert (0, 0, 0, 0, 2) == counts(state)
    assert 1 == state.before_restart
    said = make_ack("v1", "applied", None, 1_000.0)
    assert [
        Seen("one", "id1", "gone", 1_000.0, None, before_restart=said),
        Seen("two", "id2", "gone", 1_000.0, None),
    ] == list(state.instances)


def test_who_comes_back_after_a_restart_is_silent_until_it_speaks_and_then_what_it_said_before_is_forgotten(
    fleets: Fleets,
) -> None:
    fleets.say(fleets.join("one"), "v1")
    again = restarted(fleets)
    one = again.join("one")
    said = make_ack("v1", "applied", None, 1_000.0)

    assert ((1, 0, 0, 1, 0), 0.0, 1) == (counts(again.state()), again.state().percent, again.state().before_restart)
    assert [Seen("one", "id101", "silent", 1_001.0, None, before_restart=said)] == list(again.state().instances)
    assert -math.inf == again.fleet.last_word(one)
    assert 0 == again.fleet.totals()[OTHER, "applied"]

    again.now += 1
    again.say(one, "v1")
    assert ((1, 1, 0, 0, 0), 0) == (counts(again.state()), again.state().before_restart)
    assert [Seen("one", "id101", "applied", 1_002.0, make_ack("v1", "applied", None, 1_002.0))] == list(
        again.state().instances
    )


def test_who_comes_back_and_leaves_without_a_word_keeps_what_it_said_before_the_restart(fleets: Fleets) -> None:
    fleets.say(fleets.join("one"), "v1")
    again = restarted(fleets)
    said = make_ack("v1", "applied", None, 1_000.0)
    for _ in range(2):
        one = again.join("one")
        assert [Record(KEY, "one", one.connection, said, None)] == records(again.fleet)
        again.now += 1
        again.fleet.leave(one, again.now)
        assert [Seen("one", one.connection, "gone", again.now, None, before_restart=said)] == list(
            again.state().instances
        )
        assert 1 == again.state().before_restart
    assert [Record(KEY, "one", one.connection, said, again.now)] == records(again.fleet)
    third = restarted(again)
    assert [said] == [each.before_restart for each in third.state().instances]


def test_what_was_said_since_the_restart_is_no_word_from_before_it_once_its_instance_has_left(fleets: Fleets) -> None:
    fleets.say(fleets.join("one"), "v1")
    again = restarted(fleets)
    one = again.join("one")
    again.say(one, "v0", "rejected")
    again.fleet.leave(one, again.now)
    [seen] = again.state().instances

    assert (make_ack("v0", "rejected", "no", 1_001.0), None) == (seen.ack, seen.before_restart)
    assert 0 == again.state().before_restart


def test_after_a_plain_reconnection_nothing_is_from_before_a_restart(fleets: Fleets) -> None:
    one = fleets.join("one")
    fleets.say(one, "v1")
    fleets.fleet.leave(one, fleets.now)
    fleets.join("one")
    [seen] = fleets.state().instances

    assert ("silent", None, None) == (seen.state, seen.ack, seen.before_restart)


def test_a_key_that_came_by_a_pattern_is_known_again_once_it_is_spoken_of(fleets: Fleets) -> None:
    one = fleets.join("one")
    fleets.say(one, "b1", key=OTHER_KEY)
    again = restarted(fleets)
    one = again.join("one")
    assert {"one": "gone"} == again.states(OTHER_KEY)
    again.say(one, "b1", key=OTHER_KEY)

    assert {"one": "applied"} == again.states(OTHER_KEY)
    assert 0 == again.state(OTHER_KEY).before_restart


@pytest.mark.parametrize(("seconds", "is_known"), [(899.0, True), (900.0, False)])
def test_who_left_too_long_before_the_restart_is_forgotten(fleets: Fleets, seconds: float, is_known: bool) -> None:
    fleets.fleet.restore([Record(KEY, "one", "id", APPLIED, fleets.now - seconds)], fleets.now)

    assert is_known == bool(fleets.fleet.keys())
    fleets.now += 1
    fleets.fleet.forget(fleets.now)
    assert not fleets.fleet.keys()


def test_a_bounded_number_is_taken_from_before_a_restart_those_who_left_last() -> None:
    fleets = Fleets(gone=2)
    lefts = {"a": 990.0, "b": 995.0, "c": 980.0, "d": None}
    fleets.fleet.restore([Record(KEY, name, name, None, left) for name, left in lefts.items()], fleets.now)

    assert {"b": "gone", "d": "gone"} == fleets.states()


def test_nobody_left_in_the_future(fleets: Fleets) -> None:
    fleets.fleet.restore([Record(KEY, "one", "id", APPLIED, 9_000.0)], fleets.now)
    assert [1_000.0] == [each.since for each in fleets.state().instances]
    fleets.now += 901
    fleets.fleet.forget(fleets.now)
    assert not fleets.fleet.keys()


@pytest.mark.parametrize("lefts", [(990.0, 995.0), (995.0, 990.0), (995.0, 995.0)])
def test_the_connection_that_left_last_counts_where_several_had_one_name(
    fleets: Fleets, lefts: tuple[float, float]
) -> None:
    both = [Record(KEY, "one", f"id{number}", None, left) for number, left in enumerate(lefts)]
    fleets.fleet.restore(both, fleets.now)

    assert [("id0" if lefts[0] > lefts[1] else "id1", 995.0)] == [
        (each.connection, each.since) for each in fleets.state().instances
    ]


def test_who_connected_before_the_file_was_read_has_its_former_word_at_once(fleets: Fleets) -> None:
    fleets.join("silent")
    fleets.say(fleets.join("speaks"), "v1")
    left = fleets.join("left")
    fleets.say(left, "v1")
    fleets.fleet.leave(left, fleets.now)
    fleets.now += 1
    before = fleets.fleet.changes
    fleets.fleet.restore(
        [Record(KEY, name, "old", APPLIED, 900.0) for name in ("silent", "speaks", "left", "away")], fleets.now
    )
    found = {each.name: (each.state, each.connection, each.before_restart) for each in fleets.state().instances}

    assert {
        "silent": ("silent", "id1", APPLIED),
        "speaks": ("applied", "id2", None),
        "left": ("gone", "id3", None),
        "away": ("gone", "old", APPLIED),
    } == found
    assert (2, 2) == (fleets.state().before_restart, fleets.state().gone)
    assert before != fleets.fleet.changes
    # Who left longest ago is forgotten first.
    fleets.fleet.replace(FleetSettings(gone=1))
    fleets.fleet.forget(fleets.now)
    assert {"silent", "speaks", "left"} == fleets.states().keys()
    assert 1 == fleets.state().before_restart


def test_who_is_unlisted_leaves_its_name_among_the_gone_until_there_is_room() -> None:
    fleets = Fleets(instances=1)
    other = fleets.join("other")
    fleets.fleet.restore([Record(KEY, "one", "old", APPLIED, 900.0)], fleets.now)
    one = fleets.join("one")
    assert (2, 1, 1) == (fleets.state().connected, fleets.state().gone, fleets.state().before_restart)
    fleets.fleet.leave(other, fleets.now)
    fleets.say(one, "v1")

    assert {"one": "applied", "other": "gone"} == fleets.states()
    assert 0 == fleets.state().before_restart


# Instances that move between workers.


def test_who_moved_to_another_worker_is_given_up_and_its_word_from_before_the_restart_goes_along(
    fleets: Fleets,
) -> None:
    fleets.fleet.restore([Record(KEY, "one", "old", APPLIED, 990.0), Record(KEY, "two", "old", None, 990.0)], 1_000.0)
    said = fleets.join("three")
    fleets.say(said, "v1")
    fleets.fleet.leave(said, fleets.now)
    fleets.join("here")
    assert fleets.fleet.has_gone
    before = fleets.fleet.changes
    names = [(KEY, name) for name in ("one", "two", "three", "here", "unknown")] + [(OTHER_KEY, "one")]

    assert [(KEY, "one", APPLIED)] == fleets.fleet.give_up(names)
    assert {"here": "silent"} == fleets.states()
    assert (False, 3, 0) == (fleets.fleet.has_gone, fleets.fleet.changes - before, fleets.state().before_restart)
    assert [] == fleets.fleet.give_up(names)


def test_a_worker_takes_over_the_former_word_of_who_is_connected_and_silent(fleets: Fleets) -> None:
    one, two, left = (fleets.join(name) for name in ("one", "two", "left"))
    fleets.say(two, "v1")
    fleets.fleet.leave(left, fleets.now)
    for each in (one, two, left):
        fleets.fleet.take_over(KEY, each, APPLIED)
    fleets.fleet.take_over(OTHER_KEY, one, APPLIED)

    assert {"one": APPLIED, "two": None, "left": None} == {
        each.name: each.before_restart for each in fleets.state().instances
    }
    assert 1 == fleets.state().before_restart


def test_arrivals_of_names_are_reported_with_each_key(fleets: Fleets) -> None:
    arrived: list[tuple[Key, str]] = []
    fleets.fleet.report_arrivals(lambda key, instance: arrived.append((key, instance.name)))
    one = fleets.join("one")
    fleets.join()
    fleets.join("")
    fleets.say(one, "v1")
    fleets.say(one, "b1", key=OTHER_KEY)

    assert [(KEY, "one"), (OTHER_KEY, "one")] == arrived


def test_whatever_comes_back_no_word_from_before_a_restart_is_left_at_the_end(fleets: Fleets) -> None:
    fleets.fleet.restore([Record(KEY, name, name, APPLIED, 990.0) for name in "abcd"], fleets.now)
    a, b = fleets.join("a"), fleets.join("b")
    fleets.say(a, "v1")
    fleets.fleet.leave(b, fleets.now)
    fleets.fleet.leave(a, fleets.now)
    assert 3 == fleets.state().before_restart
    fleets.fleet.forget(fleets.now + 1_000)

    assert (0, [], {}) == (fleets.fleet._listed, list(fleets.fleet.keys()), fleets.fleet._left)


# During a roll-out.


def test_during_a_roll_out_the_target_is_expected_of_reached_instances_and_the_stable_version_of_others(
    fleets: Fleets,
) -> None:
    for name, version, status in [("a", "v2", "applied"), ("b", "v1", "applied"), ("c", "v1", "applied")]:
        fleets.say(fleets.join(name), version, status)
    fleets.say(fleets.join("d"), "v2", "rejected")
    fleets.say(fleets.join(), "v1")
    assert (None, (5, 3, 0, 2, 0)) == (fleets.state().target, counts(fleets.state()))

    fleets.candidates[KEY] = FakeCandidate(("a", "b", "d"))
    state = fleets.state()
    assert ("v1", "v2", "running", (5, 3, 1, 1, 0)) == (state.version, state.target, state.rollout, counts(state))
    assert [
        ("a", "applied", "v2"),
        ("b", "silent", "v2"),
        ("c", "applied", None),
        ("d", "rejected", "v2"),
        ("id5", "applied", None),
    ] == [(each.name, each.state, each.expected) for each in state.instances]
    assert [attrs.evolve(state, instances=())] == fleets.fleet.counts([KEY])

    # If all are back at the stable version, its acks count again.
    del fleets.candidates[KEY]
    assert (None, (5, 3, 0, 2, 0)) == (fleets.state().target, counts(fleets.state()))


@pytest.mark.parametrize(("state", "names"), [("applied", "c"), ("rejected", "d"), ("silent", "ab"), ("gone", "g")])
def test_instances_are_listed_by_their_state_in_a_roll_out(fleets: Fleets, state: str, names: str) -> None:
    fleets.candidates[KEY] = FakeCandidate(("a", "c", "d"))
    fleets.say(fleets.join("a"), "v1")
    fleets.say(fleets.join("b"), "v2")
    fleets.say(fleets.join("c"), "v2")
    fleets.say(fleets.join("d"), "v2", "rejected")
    fleets.fleet.leave(fleets.join("g"), fleets.now)

    assert [*names] == [each.name for each in fleets.state(state=state).instances]


def test_a_roll_out_of_one_key_changes_no_other_and_totals_follow_it() -> None:
    fleets = Fleets(applications=("orders", "billing"))
    fleets.say(fleets.join("one"), "v1")
    fleets.say(fleets.join("one", OTHER_KEY), "b1", key=OTHER_KEY)
    fleets.candidates[KEY] = FakeCandidate()

    totals = fleets.fleet.totals()
    assert (0, 1) == (totals["orders", "applied"], totals["orders", "silent"])
    assert (1, 0) == (totals["billing", "applied"], totals["billing", "silent"])
    assert (None, "applied") == (fleets.state(OTHER_KEY).target, fleets.states(OTHER_KEY)["one"])


def test_a_key_that_an_instance_has_besides_its_main_key_is_stable(fleets: Fleets) -> None:
    fleets.candidates[KEY] = FakeCandidate()
    fleets.say(fleets.join("one", OTHER_KEY), "v1")

    assert ("v2", {"one": "applied"}) == (fleets.state().target, fleets.states())


@pytest.mark.parametrize("phase", ["waiting", "halted", "aborted"])
def test_a_change_that_no_instance_may_have_is_named_and_the_stable_version_is_expected(
    fleets: Fleets, phase: str
) -> None:
    fleets.say(fleets.join("one"), "v1")
    fleets.say(fleets.join("two"), "v2", "rejected")
    fleets.candidates[KEY] = FakeCandidate(("one", "two"), phase=phase)
    state = fleets.state()

    assert ("v1", "v2", phase) == (state.version, state.target, state.rollout)
    assert (2, 1, 0, 1, 0) == counts(state)
    assert {("one", "applied", None), ("two", "silent", None)} == {
        (each.name, each.state, each.expected) for each in state.instances
    }


def test_unlisted_instances_are_silent_in_a_roll_out() -> None:
    fleets = Fleets(instances=1)
    fleets.say(fleets.join("one"), "v2")
    fleets.join("two")
    fleets.candidates[KEY] = FakeCandidate(("one", "two"))

    assert (2, 1, 0, 1, 0) == counts(fleets.state())


def test_without_a_roll_out_counts_ask_once_for_each_key_and_look_at_no_instance() -> None:
    asked: list[Key] = []
    fleet = Fleet(FleetSettings(), lambda _: "v1", candidate_of=asked.append)
    one = Instance(KEY, "id", "", "one")
    fleet.join(one, 0.0)
    # It would fail if counts looked at the instances.
    fleet._rolls[KEY].live = NoInstances({one: None})

    assert [(1, None)] == [(each.connected, each.target) for each in fleet.counts([KEY])]
    fleet.totals()
    assert [KEY, KEY] == asked


class NoInstances(dict[Instance, Any]):
    def items(self) -> Any:
        pytest.fail("the counts look at instances")


def test_other_roll_outs_are_a_change_that_may_change_counts(fleets: Fleets) -> None:
    before = fleets.fleet.changes
    fleets.fleet.recount()

    assert before + 1 == fleets.fleet.changes

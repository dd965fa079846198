"""Pages of the fleet: ordered, complete, and the same for one worker and for several."""

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.core.generation import Generation
from vortexd.core.model import Key
from vortexd.fleet import NOBODY, STATES, Fleet, KeyState, Page, Question, Seen, make_ack, merge
from vortexd.settings.fleet import FleetSettings

from .test_instances import KEY, OTHER_KEY, Fleets

KEYS = (KEY, OTHER_KEY, Key("shop", "dev", "main"))
MEMBER = st.tuples(
    st.sampled_from(["a", "b", "c", "d", None]),
    st.sampled_from(KEYS),
    st.sampled_from([None, "applied", "rejected", "gone"]),
    st.integers(0, 2),
)


def filled(members: list[tuple[str | None, Key, str | None, int]], worker: int | None = None) -> Fleets:
    """A fleet with the members of one worker, or all of them; connections have the same ids in both."""
    fleets = Fleets()
    fleets.versions = dict.fromkeys(KEYS, "v1")
    for number, (name, key, state, home) in enumerate(members):
        if worker is None or home == worker:
            fleets.ids = 100 + number
            instance = fleets.join(name and f"{name}{number}", key)
            if state in ("applied", "rejected"):
                fleets.say(instance, "v1", state, key)
            elif state == "gone":
                fleets.fleet.leave(instance, fleets.now)
    return fleets


def rows(page: Page) -> list[tuple[KeyState, Seen | None]]:
    return [(attrs.evolve(state, instances=()), each) for state in page.keys for each in (state.instances or (None,))]


@given(st.lists(MEMBER, max_size=20), st.integers(1, 6), st.sampled_from([None, NOBODY, *STATES]))
def test_the_pages_of_several_workers_are_those_of_one(
    members: list[tuple[str | None, Key, str | None, int]], limit: int, state: str | None
) -> None:
    one, several = filled(members), [filled(members, worker) for worker in range(3)]
    whole = one.fleet.page(Question(KEYS, state), one.now)
    question = Question(KEYS, state, limit)
    seen: list[tuple[KeyState, Seen | None]] = []
    for _ in range(100):
        answers = [Page.from_json(each.fleet.page(question, each.now).to_json()) for each in several]
        page = merge(answers, Question.from_json(question.to_json()))

        assert one.fleet.page(question, one.now) == page
        assert len(rows(page)) <= limit + 1
        seen += rows(page)
        if page.next is None:
            break
        question = attrs.evolve(question, after=page.next)

    assert page.next is None
    # Where a page ended at a key, that key stands once more on the next.
    assert {row for row in rows(whole) if row[1]} == {row for row in seen if row[1]}
    assert {row[0] for row in rows(whole)} == {row[0] for row in seen}
    assert len([row for row in seen if row[1]]) == len([row for row in rows(whole) if row[1]])


def state_of(version: str | None, changed: float, applied: int, *instances: Seen) -> KeyState:
    return KeyState(KEY, version, changed, applied, applied, 0, 0, 0, instances)


def test_a_worker_that_has_an_older_version_has_applied_nothing_of_the_newest() -> None:
    old = state_of("v1", 1.0, 3, Seen("a", "1", "applied", 0.0, None))
    new = state_of("v2", 2.0, 2, Seen("b", "2", "applied", 0.0, None))
    (merged,) = merge([Page((old,)), Page((new,))], Question((KEY,))).keys

    assert ("v2", 5, 2, 3) == (merged.version, merged.connected, merged.applied, merged.silent)
    assert ["silent", "applied"] == [each.state for each in merged.instances]


def test_a_worker_that_has_only_those_who_left_says_nothing_of_the_version() -> None:
    left = state_of(None, 9.0, 0, Seen("a", "1", "gone", 0.0, None))
    here = state_of("v1", 0.0, 1, Seen("b", "2", "applied", 0.0, None))
    (merged,) = merge([Page((left,)), Page((here,))], Question((KEY,))).keys

    assert ("v1", 1) == (merged.version, merged.applied)


def test_who_left_one_worker_and_came_to_another_has_not_left() -> None:
    left = state_of(None, 0.0, 0, Seen("a", "1", "gone", 0.0, None))
    here = state_of("v1", 0.0, 1, Seen("a", "2", "applied", 0.0, None))
    (merged,) = merge([Page((left,)), Page((here,))], Question((KEY,))).keys

    assert [Seen("a", "2", "applied", 0.0, None)] == list(merged.instances)


def test_one_name_at_two_workers_is_marked() -> None:
    pages = [Page((state_of("v1", 0.0, 1, Seen("a", id, "applied", 0.0, None)),)) for id in ("1", "2")]
    (merged,) = merge(pages, Question((KEY,))).keys

    assert [True, True] == [each.is_shared for each in merged.instances]


@pytest.mark.parametrize("state", STATES)
def test_a_page_has_only_what_is_asked_for(state: str) -> None:
    fleets = filled([("a", KEY, None, 0), ("b", KEY, "applied", 0), ("c", KEY, "rejected", 0), ("d", KEY, "gone", 0)])
    (seen,) = fleets.state(state=state).instances

    assert state == seen.state
    assert 3 == fleets.state(state=state).connected


BEFORE = make_ack("v1", "applied", None, 1.0)


def test_what_an_instance_said_before_a_restart_is_known_at_the_worker_or_node_that_it_came_to() -> None:
    left = state_of(None, 0.0, 0, Seen("a", "1", "gone", 0.0, None, before_restart=BEFORE))
    here = state_of("v1", 0.0, 0, Seen("a", "2", "silent", 0.0, None), Seen("b", "3", "silent", 0.0, None))
    for pages in ([left, here], [here, left]):
        (merged,) = merge([Page((each,)) for each in pages], Question((KEY,))).keys

        assert [
            Seen("a", "2", "silent", 0.0, None, before_restart=BEFORE),
            Seen("b", "3", "silent", 0.0, None),
        ] == list(merged.instances)


@pytest.mark.parametrize(
    "seen",
    [
        Seen("a", "2", "applied", 0.0, make_ack("v1", "applied", None, 2.0)),
        Seen("a", "2", "silent", 0.0, make_ack("v0", "applied", None, 2.0)),
        Seen("a", "2", "silent", 0.0, None, before_restart=make_ack("v0", "applied", None, 0.5)),
    ],
)
def test_what_the_worker_of_an_instance_knows_of_it_counts_more(seen: Seen) -> None:
    left = state_of(None, 0.0, 0, Seen("a", "1", "gone", 0.0, None, before_restart=BEFORE))
    (merged,) = merge([Page((left,)), Page((state_of("v1", 0.0, 1, seen),))], Question((KEY,))).keys

    assert [seen] == list(merged.instances)


def test_an_acknowledgement_from_before_a_restart_is_added_up_and_crosses_to_another_worker() -> None:
    gone = Seen("a", "1", "gone", 0.0, None, before_restart=BEFORE)
    states = [attrs.evolve(state_of("v1", 0.0, 0, gone), before_restart=number) for number in (1, 2)]
    pages = [Page.from_json(Page((each,)).to_json()) for each in states]
    (merged,) = merge(pages, Question((KEY,))).keys

    assert 3 == merged.before_restart
    assert [gone, gone] == list(merged.instances)


def test_a_page_of_a_former_version_has_nothing_from_before_a_restart() -> None:
    page = Page((state_of("v1", 0.0, 1, Seen("a", "2", "silent", 0.0, None)),))
    former = page.to_json().replace(',"before_restart":null', "").replace(',"before_restart":0', "")
    assert "before_restart" not in former

    assert page == Page.from_json(former)


def test_a_question_for_names_lists_only_these_and_counts_all() -> None:
    fleets = filled([("a", KEY, None, 0), ("b", KEY, "applied", 0), ("c", OTHER_KEY, None, 0), ("d", KEY, "gone", 0)])
    question = Question((KEY, OTHER_KEY), names=("b1", "d3", "a"))
    page = fleets.fleet.page(Question.from_json(question.to_json()), fleets.now)

    assert [[], ["b1", "d3"]] == [[each.name for each in state.instances] for state in page.keys]
    assert [1, 2] == [state.connected for state in page.keys]
    assert [[], []] == [[*each.instances] for each in fleets.fleet.page(Question(KEYS, names=()), fleets.now).keys]
    assert None is Question.from_json('{"keys":[],"state":null,"limit":1,"after":null}').names


# Which version is the newest.


def state(version: str | None, changed: float, number: int | None, epoch: str = "ab") -> KeyState:
    generation = None if number is None else Generation(epoch, number)
    return KeyState(KEY, version, changed, 1, 1, 0, 0, 0, generation=generation)


def newest(*states: KeyState) -> tuple[str | None, int]:
    """The version that counts, and how many instances have applied it."""
    [whole] = merge([Page((each,)) for each in states], Question((KEY,))).keys
    return whole.version, whole.applied


def test_the_highest_generation_is_the_newest_whatever_the_clocks_say() -> None:
    assert ("v2", 1) == newest(state("v2", 1.0, 7), state("v1", 9.0, 6))
    assert ("v2", 1) == newest(state("v1", 9.0, 6), state("v2", 1.0, 7))
    # The numbers compare, not their texts.
    assert ("v2", 1) == newest(state("v2", 1.0, 10), state("v1", 9.0, 9))
    assert ("v1", 2) == newest(state("v1", 1.0, 7), state("v1", 9.0, 6))


def test_of_one_generation_the_version_that_changed_last_is_the_newest() -> None:
    assert ("v1", 1) == newest(state("v2", 1.0, 7), state("v1", 9.0, 7))


@pytest.mark.parametrize("other", [state("v1", 9.0, None), state("v1", 9.0, 99, "cd")], ids=["none", "another epoch"])
def test_if_generations_do_not_compare_the_clocks_decide(other: KeyState) -> None:
    assert ("v1", 1) == newest(state("v2", 1.0, 100), other)


def test_a_worker_without_a_version_decides_nothing() -> None:
    gone = attrs.evolve(state(None, 99.0, None), connected=0, applied=0)

    assert ("v2", 1) == newest(gone, state("v2", 1.0, 7), state("v1", 9.0, 6))
    assert (None, 0) == newest(gone)


def test_the_merged_state_has_the_generation_of_the_newest_version_and_another_worker_can_read_it() -> None:
    page = merge([Page((state("v1", 9.0, 6),)), Page((state("v2", 1.0, 7),))], Question((KEY,)))

    assert Generation("ab", 7) == page.keys[0].generation
    assert page == Page.from_json(page.to_json())


def test_a_fleet_asks_for_the_generation_of_each_key() -> None:
    fleets = Fleets()
    fleets.fleet = Fleet(FleetSettings(), lambda _: "v1", lambda key: Generation("ab", len(key.label)))
    fleets.join("a", KEY)

    [counted] = fleets.fleet.counts([KEY])
    assert Generation("ab", len(KEY.label)) == counted.generation


# During a roll-out.


def rolling(version: str, changed: float, target: str | None, *instances: Seen) -> KeyState:
    phase = "running" if target else None
    return KeyState(KEY, version, changed, 1, 1, 0, 0, 0, instances, target=target, rollout=phase)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ((None, None), None),
        (("t", None), "t"),
        ((None, "t"), "t"),
        (("t", "t"), "t"),
        # The worker whose state is the newest decides.
        (("old", "t"), "t"),
    ],
)
def test_a_key_has_a_target_if_it_has_one_at_any_worker(
    targets: tuple[str | None, str | None], expected: str | None
) -> None:
    pages = [Page((rolling("v1", float(number), target),)) for number, target in enumerate(targets)]
    [whole] = merge(pages, Question((KEY,))).keys

    assert (expected, 2) == (whole.target, whole.applied)


def test_the_phase_is_that_of_the_worker_that_names_the_target() -> None:
    running = rolling("v1", 1.0, "t")
    halted = attrs.evolve(running, changed=2.0, rollout="halted")
    none = attrs.evolve(running, changed=3.0, target=None, rollout=None)
    for pages, phase in (((running, halted), "halted"), ((running, none), "running"), ((none, halted), "halted")):
        [whole] = merge([Page((each,)) for each in pages], Question((KEY,))).keys
        assert ("t", phase) == (whole.target, whole.rollout)


def test_a_worker_that_is_still_in_a_roll_out_that_is_done_elsewhere_says_nothing_of_it() -> None:
    row = Seen("a", "1", "applied", 0.0, None, expected="v2")
    gone = Seen("c", "3", "gone", 0.0, None)
    late = rolling("v1", 1.0, "v2", row, gone)
    done = rolling("v2", 2.0, None, Seen("b", "2", "applied", 0.0, None))
    [whole] = merge([Page((late,)), Page((done,))], Question((KEY,))).keys

    assert ("v2", None, 2, 1) == (whole.version, whole.target, whole.connected, whole.applied)
    assert [("silent", None), ("applied", None), ("gone", None)] == [
        (each.state, each.expected) for each in whole.instances
    ]


def test_the_instances_of_workers_with_the_same_version_keep_what_is_expected_of_them() -> None:
    one = rolling("v1", 1.0, "v2", Seen("a", "1", "applied", 0.0, None, expected="v2"))
    two = rolling("v1", 1.0, None, Seen("b", "2", "applied", 0.0, None))
    [whole] = merge([Page((one,)), Page((two,))], Question((KEY,))).keys

    assert ("v2", ["v2", None]) == (whole.target, [each.expected for each in whole.instances])


def test_a_page_of_a_roll_out_is_read_by_other_workers_and_a_page_without_its_members_too() -> None:
    page = Page((rolling("v1", 1.0, "v2", Seen("a", "1", "applied", 0.0, None, expected="v2")),))
    assert page == Page.from_json(page.to_json())

    # As a node of another version writes it: without these members, and with others.
    former = orjson.loads(page.to_json())
    del former["keys"][0]["target"], former["keys"][0]["rollout"], former["keys"][0]["instances"][0]["expected"]
    former["keys"][0]["later"] = former["keys"][0]["instances"][0]["later"] = 1
    plain = Page((rolling("v1", 1.0, None, Seen("a", "1", "applied", 0.0, None)),))
    assert plain == Page.from_json(orjson.dumps(former).decode())

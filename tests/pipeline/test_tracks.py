import attrs

from vortexd.core.candidate import candidate_of
from vortexd.core.model import Key
from vortexd.pipeline.tracks import WAITING, Held, Tracks
from vortexd.rollouts.rollout import place_of

from ..rollouts.test_rollout import ROLLOUT

KEY = ROLLOUT.key
OTHER = Key("orders", "prod", "main")
REACHED = attrs.evolve(ROLLOUT, reach=place_of("r1", "one"))
BEYOND = next(name for name in map(str, range(99)) if place_of("r1", name) > place_of("r1", "one"))


def tracks() -> Tracks:
    made = Tracks()
    made.put({KEY: REACHED})
    return made


def test_without_a_roll_out_each_client_has_its_own_key() -> None:
    made = Tracks()

    assert made.track(KEY, "one") is KEY
    assert made.track(KEY, "one", wants_candidate=True) is KEY
    assert made.rollout(KEY) is None
    assert made.change(KEY) is None


def test_an_instance_that_the_roll_out_has_reached_has_the_candidate() -> None:
    assert tracks().track(KEY, "one") == candidate_of(KEY)
    assert tracks().rollout(KEY) is REACHED
    assert tracks().change(KEY) is REACHED


def test_all_others_have_the_stable_version() -> None:
    for name in (BEYOND, "", None):
        assert tracks().track(KEY, name) is KEY


def test_a_client_may_ask_for_the_candidate() -> None:
    for name in (BEYOND, "", None):
        assert tracks().track(KEY, name, wants_candidate=True) == candidate_of(KEY)


def test_other_keys_have_no_candidate() -> None:
    assert tracks().track(OTHER, "one", wants_candidate=True) is OTHER


def test_keys_that_wait_have_no_candidate_for_anybody() -> None:
    made, held = Tracks(), Held("v2", WAITING)

    assert made.put({}, {KEY: held}) == []
    assert made.rollout(KEY) is None
    assert made.change(KEY) is held
    assert not held.has("one")
    assert made.track(KEY, "one", wants_candidate=True) is KEY


def test_the_keys_whose_choice_may_change_are_named() -> None:
    made = Tracks()

    assert made.put({KEY: REACHED}) == [KEY]
    assert made.put({KEY: attrs.evolve(REACHED, revision=9)}) == []
    assert made.put({KEY: attrs.evolve(REACHED, reach=7)}) == [KEY]
    assert made.put({KEY: attrs.evolve(REACHED, reach=7, id="r2")}) == [KEY]
    assert made.put({}) == [KEY]
    assert made.change(KEY) is None

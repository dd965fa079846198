from collections.abc import Sequence

import attrs
import pytest

from vortexd.core.errors import RemoteError
from vortexd.core.model import Edits, Files, Key, Origin
from vortexd.rollouts import changes as module
from vortexd.rollouts.changes import (
    ABORT,
    GROWTH,
    PROMOTE,
    RESUME,
    act_of,
    found,
    promoted,
    weight,
    with_beginnings,
    with_next,
    with_remembered,
    without,
)
from vortexd.rollouts.file import MOST_BYTES, MOST_ROLLOUTS, ROLLOUTS
from vortexd.rollouts.rollout import PLACES, Beginning, Labels, Plan, Rollout, Status
from vortexd.shelf.file import encode

from .test_rollout import ROLLOUT

KEY, OTHER = ROLLOUT.key, Key("orders", "prod", "main")
LABELS: Labels = ((Files({"billing.yml": b"a: 1"}),),)
BEGUN = Beginning(KEY, ROLLOUT.stable, ROLLOUT.target, "c1", "ada", Plan((1, 100)), LABELS)
OVER = attrs.evolve(BEGUN, target=BEGUN.stable)
DONE = attrs.evolve(ROLLOUT, status=Status.DONE, stable=ROLLOUT.target)


def begun(records: Sequence[Rollout], *beginnings: Beginning) -> list[Rollout]:
    return list(with_beginnings(beginnings, [f"n{number}" for number in range(len(beginnings))], 7.0, records))


def test_what_begins_is_recorded_and_reaches_nobody() -> None:
    [rollout] = begun([], BEGUN)

    assert (rollout.id, rollout.status, rollout.reach, rollout.step, rollout.revision) == (
        "n0",
        Status.RUNNING,
        None,
        0,
        0,
    )
    assert (rollout.key, rollout.stable, rollout.target, rollout.plan) == (KEY, BEGUN.stable, BEGUN.target, BEGUN.plan)
    assert (rollout.commit, rollout.author, rollout.began, rollout.stepped) == ("c1", "ada", 7.0, 7.0)
    assert rollout.labels is LABELS


def test_a_version_that_all_have_is_recorded_as_done() -> None:
    [rollout] = begun([], OVER)

    assert (rollout.status, rollout.stable, rollout.target) == (Status.DONE, BEGUN.stable, BEGUN.stable)


@pytest.mark.parametrize("status", [Status.RUNNING, Status.HALTED, Status.ABORTED])
def test_a_change_that_is_recorded_already_stays_as_it_is(status: Status) -> None:
    record = attrs.evolve(ROLLOUT, status=status)

    assert begun([record], BEGUN) == [record]


def test_a_change_that_is_done_already_stays_done() -> None:
    assert begun([DONE], BEGUN) == [DONE]


def test_another_target_takes_the_place_of_a_roll_out_and_other_keys_stay() -> None:
    other = attrs.evolve(ROLLOUT, key=OTHER)
    after = begun([ROLLOUT, other], attrs.evolve(BEGUN, target="d" * 16))

    assert [(each.key, each.id, each.target) for each in after] == [
        (KEY, "n0", "d" * 16),
        (OTHER, "r1", ROLLOUT.target),
    ]


def test_another_stable_version_takes_the_place_of_a_roll_out() -> None:
    assert [each.id for each in begun([ROLLOUT], attrs.evolve(BEGUN, stable="e" * 16))] == ["n0"]


def test_a_revert_ends_a_roll_out() -> None:
    assert [(each.id, each.status) for each in begun([ROLLOUT], OVER)] == [("n0", Status.DONE)]


@pytest.mark.parametrize(("more", "status"), [(0, 0), (1, 413)])
def test_the_files_of_a_roll_out_have_a_limit(more: int, status: int) -> None:
    files = Files({"a.yml": bytes(MOST_BYTES - len("a.yml") + more)})
    large = attrs.evolve(BEGUN, labels=((files,),))
    if not status:
        assert len(begun([], large)) == 1
        return
    with pytest.raises(RemoteError, match="billing:prod:main") as caught:
        begun([], large)
    assert caught.value.status == status


LARGE: Labels = ((Files({"a.yml": bytes(MOST_BYTES)}),),)


def test_files_that_are_too_large_hold_no_other_key_back() -> None:
    large = attrs.evolve(BEGUN, labels=LARGE)

    assert [each.key for each in begun([], large, attrs.evolve(BEGUN, key=OTHER))] == [OTHER]


def test_the_end_of_a_roll_out_needs_no_record_if_the_files_are_too_large() -> None:
    over = attrs.evolve(OVER, labels=LARGE)

    assert begun([], over) == []
    assert begun([ROLLOUT], over) == []


def records(number: int, status: Status) -> list[Rollout]:
    return [
        attrs.evolve(ROLLOUT, key=Key(f"a{each}", "p", "l"), status=status, stepped=float(each))
        for each in range(number)
    ]


def test_there_are_only_so_many_roll_outs() -> None:
    assert len(begun(records(MOST_ROLLOUTS - 1, Status.RUNNING), BEGUN)) == MOST_ROLLOUTS
    with pytest.raises(RemoteError, match="1000 roll-outs") as caught:
        begun(records(MOST_ROLLOUTS, Status.RUNNING), BEGUN)
    assert caught.value.status == 409


def test_as_many_begin_as_there_is_room_for() -> None:
    before = records(MOST_ROLLOUTS - 2, Status.HALTED)
    several = [attrs.evolve(BEGUN, key=Key(f"b{each}", "p", "l")) for each in range(3)]

    assert begun(before, *several)[:-2] == before
    assert [each.key.application for each in begun(before, *several)[-2:]] == ["b0", "b1"]


def test_a_roll_out_takes_the_place_of_another_one_of_its_key_without_room() -> None:
    before = [ROLLOUT, *records(MOST_ROLLOUTS - 1, Status.RUNNING)]
    after = begun(before, attrs.evolve(BEGUN, key=OTHER), attrs.evolve(BEGUN, target="d" * 16))

    assert [each.target for each in after if each.key == KEY] == ["d" * 16]
    assert OTHER not in {each.key for each in after}
    assert len(after) == MOST_ROLLOUTS


def test_a_version_to_remember_takes_no_place_of_another_one() -> None:
    before = records(MOST_ROLLOUTS, Status.DONE)

    assert begun(before, OVER) == before


def test_all_records_fit_into_the_file() -> None:
    one, several = begun([], BEGUN)[0], [attrs.evolve(BEGUN, key=Key(f"b{each}", "p", "l")) for each in range(3)]
    files = weight(one)
    ids = ["n0", "n1", "n2"]

    after = with_beginnings(several, ids, 7.0, [], most_bytes=2 * files)
    assert [each.key.application for each in after] == ["b0", "b1"]
    done = [attrs.evolve(one, key=OTHER, status=Status.DONE)]
    assert [each.key for each in with_beginnings([BEGUN], ["n0"], 7.0, done, most_bytes=2 * files - 1)] == [KEY]
    with pytest.raises(RemoteError, match=f"would take more than {files} bytes; end one first") as caught:
        with_beginnings([BEGUN], ["n0"], 7.0, [attrs.evolve(one, key=OTHER)], most_bytes=files)
    assert caught.value.status == 409


def test_a_record_never_takes_more_than_its_weight() -> None:
    origin = Origin("c" * 40, "Ada Lovelace", "2026-11-30T00:00:00Z")
    files = Files(
        {f"dir/{each}.yml": bytes(each) for each in range(5)},
        origin=origin,
        edits=Edits(0, {f"dir/{each}.yml": (0, origin) for each in range(5)}),
    )
    rollout = attrs.evolve(ROLLOUT, labels=((files,),), reason="x" * 700)

    assert len(encode(ROLLOUTS, [rollout])) <= weight(rollout)


def test_the_oldest_that_are_done_make_room() -> None:
    after = begun(records(MOST_ROLLOUTS, Status.DONE), BEGUN)

    assert len(after) == MOST_ROLLOUTS
    assert Key("a0", "p", "l") not in {each.key for each in after}
    assert KEY in {each.key for each in after}


def test_the_next_state_replaces_only_the_state_that_it_was_made_of() -> None:
    after = attrs.evolve(ROLLOUT, revision=1)

    assert list(with_next([(ROLLOUT, after)], [ROLLOUT])) == [after]
    for changed in (
        attrs.evolve(ROLLOUT, revision=5),
        attrs.evolve(ROLLOUT, id="r2"),
        attrs.evolve(ROLLOUT, key=OTHER),
    ):
        assert list(with_next([(ROLLOUT, after)], [changed])) == [changed]


def test_several_roll_outs_get_their_next_states_at_once() -> None:
    other = attrs.evolve(ROLLOUT, key=OTHER)
    steps = [(each, attrs.evolve(each, revision=1)) for each in (ROLLOUT, other)]

    assert list(with_next(steps, [other, ROLLOUT])) == [steps[1][1], steps[0][1]]


@pytest.mark.parametrize(("room", "is_kept"), [(0, True), (-1, False)])
def test_the_end_is_not_recorded_if_the_files_of_the_target_are_too_large(room: int, is_kept: bool) -> None:
    done = promoted(ROLLOUT, "", "", 9.0, LABELS)
    most = len(encode(ROLLOUTS, [done])) + GROWTH + room

    assert list(with_next([(ROLLOUT, done)], [ROLLOUT], most)) == ([done] if is_kept else [])
    assert len(act_of(PROMOTE, KEY, None, "", "", 9.0, lambda _: LABELS, most)([ROLLOUT])) == is_kept
    # Other records stay, and so does one that isn't done.
    halted, done_before = attrs.evolve(ROLLOUT, status=Status.HALTED), attrs.evolve(DONE, key=OTHER)
    assert list(with_next([(ROLLOUT, halted)], [done_before, ROLLOUT], 0)) == [done_before, halted]


@pytest.mark.parametrize(("room", "is_begun"), [(0, True), (-1, False)])
def test_a_roll_out_begins_only_if_its_record_fits_into_the_store_of_a_cluster(room: int, is_begun: bool) -> None:
    [record] = with_beginnings([BEGUN], ["0" * 36], 0.0, [])
    most = len(encode(ROLLOUTS, [record])) + GROWTH + room
    if is_begun:
        assert len(with_beginnings([BEGUN], ["n0"], 7.0, [], max_record_bytes=most)) == 1
        return
    with pytest.raises(RemoteError, match="billing:prod:main reads are too large for a cluster") as caught:
        with_beginnings([BEGUN], ["n0"], 7.0, [], max_record_bytes=most)
    assert caught.value.status == 413


def test_a_record_grows_by_less_than_what_is_left_for_it() -> None:
    [record] = with_beginnings([BEGUN], ["0" * 36], 0.0, [])
    name, error, person = "\U0001f600" * 128, "\U0001f600" * 256, "\U0001f600" * 256
    grown = attrs.evolve(
        record,
        step=19,
        reach=PLACES - 1,
        status=Status.RUNNING,
        reason=f"{name} has rejected {'a' * 64}: {error}",
        by=person,
        began=9_999_999_999.123456,
        stepped=9_999_999_999.123456,
        revision=PLACES - 1,
        counted=9_999_999_999.123456,
    )

    assert len(encode(ROLLOUTS, [grown])) < len(encode(ROLLOUTS, [record])) + GROWTH


def test_only_records_that_are_done_are_forgotten() -> None:
    assert list(without([KEY], [DONE])) == []
    assert list(without([KEY], [ROLLOUT])) == [ROLLOUT]
    assert list(without([OTHER], [DONE])) == [DONE]


# Acts.


def acted(act: str, record: Rollout, target: str | None = None) -> Rollout:
    [after] = act_of(act, KEY, target, "why", "ada", 9.0, lambda _: LABELS)([record])
    return after


def refused(act: str, *of: Rollout, target: str | None = None) -> tuple[int, str]:
    with pytest.raises(RemoteError) as caught:
        act_of(act, KEY, target, "why", "ada", 9.0, lambda _: LABELS)(of)
    return caught.value.status, caught.value.reason


@pytest.mark.parametrize(
    ("act", "before", "after"),
    [
        (RESUME, Status.HALTED, Status.RUNNING),
        (ABORT, Status.RUNNING, Status.ABORTED),
        (ABORT, Status.HALTED, Status.ABORTED),
        (PROMOTE, Status.RUNNING, Status.DONE),
        (PROMOTE, Status.HALTED, Status.DONE),
        (PROMOTE, Status.ABORTED, Status.DONE),
    ],
)
def test_what_a_person_wants_is_done(act: str, before: Status, after: Status) -> None:
    record = attrs.evolve(ROLLOUT, status=before, reach=None if before is not Status.RUNNING else 5)
    found_ = acted(act, record, ROLLOUT.target)

    assert (found_.status, found_.reach, found_.by, found_.reason) == (after, None, "ada", "why")
    assert (found_.revision, found_.stepped) == (1, 9.0)


def test_a_promoted_roll_out_keeps_the_files_of_its_target() -> None:
    after = acted(PROMOTE, ROLLOUT)

    assert (after.stable, after.target, after.labels) == (ROLLOUT.target, ROLLOUT.target, LABELS)
    assert promoted(ROLLOUT, "", "", 9.0, LABELS).by == ""


@pytest.mark.parametrize(
    ("act", "status", "reason"),
    [
        (RESUME, Status.RUNNING, "runs already"),
        (RESUME, Status.ABORTED, "can't be resumed"),
        (ABORT, Status.ABORTED, "aborted already"),
    ],
)
def test_an_act_that_does_not_fit_is_refused(act: str, status: Status, reason: str) -> None:
    found_status, found_reason = refused(act, attrs.evolve(ROLLOUT, status=status))

    assert found_status == 409
    assert reason in found_reason


@pytest.mark.parametrize("act", [RESUME, ABORT, PROMOTE])
def test_a_key_without_a_roll_out_is_refused(act: str) -> None:
    assert refused(act) == (404, "this key has no roll-out")
    assert refused(act, attrs.evolve(ROLLOUT, key=OTHER))[0] == 404
    assert refused(act, DONE)[0] == 404


@pytest.mark.parametrize("act", [RESUME, ABORT, PROMOTE])
def test_another_version_is_refused(act: str) -> None:
    status, reason = refused(act, ROLLOUT, target="d" * 16)

    assert status == 409
    assert ROLLOUT.target in reason


def test_an_abort_after_a_promote_names_the_person_who_was_faster() -> None:
    status, reason = refused(ABORT, attrs.evolve(DONE, by="bob"))

    assert (status, reason) == (
        409,
        f"the roll-out of this key is done by bob: all clients have version {ROLLOUT.target}",
    )
    assert refused(ABORT, DONE, target=ROLLOUT.target)[0] == 409


def test_other_records_stay_as_they_are() -> None:
    other = attrs.evolve(ROLLOUT, key=OTHER)
    after = act_of(ABORT, KEY, None, "why", "ada", 9.0, lambda _: LABELS)([other, ROLLOUT])

    assert after[0] is other
    assert found(KEY, None, after).status is Status.ABORTED
    assert module.PROMOTE == "promote"


@pytest.mark.parametrize("status", Status)
def test_a_version_is_remembered_only_for_a_key_without_a_record(status: Status) -> None:
    known = attrs.evolve(ROLLOUT, status=status)
    other = attrs.evolve(OVER, key=OTHER)
    after = with_remembered([OVER, other], ["n0", "n1"], 7.0, [known])

    assert after[0] is known
    assert [(each.id, each.key, each.status) for each in after[1:]] == [("n1", OTHER, Status.DONE)]

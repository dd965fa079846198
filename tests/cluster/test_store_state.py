"""Facts about the state of the store: one line in the log for each change, and the time and reason of it."""

from structlog.testing import capture_logs

from vortexd.cluster.store_state import StoreState


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_store_is_not_up_before_it_was_read_and_nothing_is_logged() -> None:
    with capture_logs() as logs:
        state = StoreState(time := Time())
        assert (state.is_up, state.since, state.last_error) == (False, 100.0, None)
        time.now = 103.0
        state.worked("watch", has_read=True)
    assert (state.is_up, state.since, state.last_error) == (True, 103.0, None)
    assert logs == []


def test_a_store_that_is_away_is_logged_once_and_once_when_it_is_back() -> None:
    state = StoreState(time := Time())
    state.worked("watch", has_read=True)
    with capture_logs() as logs:
        time.now = 110.0
        state.failed("watch", "no answer")
        assert (state.is_up, state.since, state.last_error) == (False, 110.0, "no answer")
        time.now = 111.0
        state.failed("watch", "no leader")
        assert (state.is_up, state.since, state.last_error) == (False, 110.0, "no leader")
        time.now = 117.54
        state.worked("watch", has_read=True)
        time.now = 120.0
        state.worked("watch", has_read=True)
    assert (state.is_up, state.since, state.last_error) == (True, 117.54, "no leader")
    assert logs == [
        {
            "event": "cluster store away",
            "log_level": "warning",
            "reason": "no answer",
            "consequence": "this node serves and fetches on its own, and hears of no other node",
            "remedy": "check that etcd runs and has space, that this node reaches cluster.endpoints, and cluster.user, "
            "password and certificates; this node tries again by itself",
        },
        {"event": "cluster store back", "log_level": "info", "away_for": 7.5},
    ]


def test_the_store_is_back_only_when_no_part_fails() -> None:
    state = StoreState(time := Time())
    state.worked("watch", has_read=True)
    with capture_logs() as logs:
        state.failed("hints", "full")
        state.failed("watch", "away")
        state.worked("watch", has_read=True)
        assert not state.is_up
        time.now = 105.0
        state.worked("hints")
        assert (state.is_up, state.since) == (True, 105.0)
    assert [each["event"] for each in logs] == ["cluster store away", "cluster store back"]


def test_a_store_that_is_away_from_the_start_is_logged() -> None:
    state = StoreState(time := Time())
    with capture_logs() as logs:
        time.now = 102.0
        state.failed("watch", "refused")
        assert (state.is_up, state.since, state.last_error) == (False, 100.0, "refused")
        time.now = 104.0
        state.worked("watch", has_read=True)
    assert (state.is_up, state.since) == (True, 104.0)
    assert [each["event"] for each in logs] == ["cluster store away", "cluster store back"]


def test_a_write_alone_does_not_make_the_store_up() -> None:
    state = StoreState(time := Time())
    state.failed("hints", "away")
    state.worked("hints")
    assert not state.is_up
    time.now = 103.0
    state.worked("watch", has_read=True)
    assert (state.is_up, state.since) == (True, 103.0)
    state.worked("hints")
    assert state.is_up


def test_a_reason_with_a_remedy_of_its_own_is_logged_once_although_the_store_is_away() -> None:
    state = StoreState(Time())
    with capture_logs() as logs:
        state.failed("watch", "gone")
        state.failed("watch", "too much", is_own=True)
        state.failed("watch", "too much", is_own=True)
        state.failed("membership", "gone")
        state.worked("watch", has_read=True)
        state.worked("membership")
        state.failed("watch", "too much", is_own=True)
        state.failed("watch", "too much", is_own=True)
    assert [each.get("reason") for each in logs] == ["gone", "too much", None, "too much"]
    own = "delete the keys that no node has written; this node tries again by itself"
    assert [each.get("remedy") == own for each in logs] == [False, True, False, True]


def test_the_time_of_the_last_error_is_known_after_it_is_over() -> None:
    assert StoreState(Time()).last_error_at is None
    state = StoreState(time := Time())
    for time.now in (103.0, 104.5):
        state.failed("watch", "gone")
    time.now = 110.0
    state.worked("watch", has_read=True)
    assert ("gone", 104.5) == (state.last_error, state.last_error_at)

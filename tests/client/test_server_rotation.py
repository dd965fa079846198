from vortexd.client.disconnect import Disconnect
from vortexd.client.server_rotation import ServerRotation

LOST, NEVER = Disconnect("lost"), Disconnect("never", may_return=False)


def whose(rotation: ServerRotation) -> int:
    turn = rotation.next()
    assert turn is not None
    return turn[0]


def test_the_first_server_is_asked_first() -> None:
    assert 0 == whose(ServerRotation(3))


def test_each_is_asked_before_one_is_asked_again() -> None:
    rotation, asked = ServerRotation(3), []
    for now in range(6):
        asked.append(whose(rotation))
        rotation.ended(asked[-1], LOST, 0.0, float(now), 0.5)

    assert [0, 1, 2, 0, 1, 2] == asked


def test_the_first_retry_is_at_once_and_later_ones_wait() -> None:
    rotation, dues = ServerRotation(1), []
    for _ in range(4):
        rotation.ended(0, LOST, 0.0, 100.0, 1.0)
        turn = rotation.next()
        assert turn is not None
        dues.append(turn[1])

    assert [100.0, 100.25, 100.5, 101.0] == dues


def test_a_connection_that_worked_begins_anew() -> None:
    rotation = ServerRotation(1)
    for _ in range(5):
        rotation.ended(0, LOST, 0.0, 0.0, 1.0)
    rotation.ended(0, LOST, 4.0, 100.0, 1.0)

    assert (0, 100.0) == rotation.next()


def test_a_connection_that_ended_at_once_does_not() -> None:
    rotation = ServerRotation(1)
    for _ in range(5):
        rotation.ended(0, LOST, 3.9, 0.0, 1.0)

    assert (0, 2.0) == rotation.next()


def test_the_patience_that_one_asks_for_keeps_nobody_from_another() -> None:
    rotation = ServerRotation(2)
    rotation.ended(0, Disconnect("stopping", reconnect_after_ms=9_000), 60.0, 100.0, 0.5)
    assert 1 == whose(rotation)
    rotation.ended(1, LOST, 0.0, 100.0, 0.5)
    rotation.ended(1, LOST, 0.0, 100.0, 0.5)

    assert 1 == whose(rotation)


def test_who_said_never_is_not_asked_until_another_one_has_worked() -> None:
    rotation = ServerRotation(2)
    rotation.ended(0, NEVER, 0.0, 0.0, 0.5)
    rotation.ended(1, LOST, 0.0, 0.0, 0.5)
    assert 1 == whose(rotation)
    rotation.ended(1, LOST, 60.0, 100.0, 0.5)

    assert 0 == whose(rotation)


def test_when_all_said_never_it_is_nobodys_turn() -> None:
    rotation = ServerRotation(2)
    rotation.ended(0, NEVER, 0.0, 0.0, 0.5)
    rotation.ended(1, NEVER, 0.0, 0.0, 0.5)

    assert rotation.next() is None


# A server that is behind.


def behind(milliseconds: int | None) -> Disconnect:
    return Disconnect("behind", reconnect_after_ms=milliseconds, is_behind=True)


def test_a_server_that_is_behind_sends_to_the_next_server_after_its_delay() -> None:
    rotation = ServerRotation(3)
    rotation.ended(0, behind(300), 0.0, 100.0, 1.0)

    assert (1, 100.3) == rotation.next()


def test_the_delay_of_a_server_that_is_behind_holds_for_every_server() -> None:
    rotation, asked = ServerRotation(3), []
    rotation.ended(2, behind(300), 0.0, 100.0, 1.0)
    for _ in range(3):
        turn = rotation.next()
        assert turn is not None
        asked.append(turn)
        rotation.ended(turn[0], NEVER, 0.0, 100.0, 1.0)

    assert [(0, 100.3), (1, 100.3), (2, 100.3)] == asked


def test_after_a_server_that_is_behind_no_server_is_tried_earlier_than_before() -> None:
    rotation = ServerRotation(3)
    rotation.ended(1, Disconnect("stopping", reconnect_after_ms=9_000), 0.0, 100.0, 1.0)
    rotation.ended(2, NEVER, 0.0, 100.0, 1.0)
    rotation.ended(0, behind(300), 0.0, 100.0, 1.0)
    assert (0, 100.3) == rotation.next()
    rotation.ended(0, NEVER, 0.0, 100.3, 1.0)

    assert (1, 109.0) == rotation.next()


def test_a_server_that_is_behind_and_names_no_delay_sends_on_at_once() -> None:
    rotation = ServerRotation(2)
    rotation.ended(0, behind(None), 0.0, 100.0, 1.0)

    assert (1, 100.0) == rotation.next()


def test_the_only_server_is_tried_again_after_its_delay() -> None:
    rotation = ServerRotation(1)
    rotation.ended(0, behind(300), 0.0, 100.0, 1.0)

    assert (0, 100.3) == rotation.next()


def test_servers_that_always_send_on_are_tried_less_and_less_often() -> None:
    rotation, dues, now = ServerRotation(1), [], 0.0
    for _ in range(8):
        rotation.ended(0, behind(50), 0.0, now, 1.0)
        turn = rotation.next()
        assert turn is not None
        dues.append(round(turn[1] - now, 3))
        now = turn[1]

    assert [0.05, 0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0] == dues

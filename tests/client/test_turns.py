from vortexd.client.ends import End
from vortexd.client.turns import Turns

LOST, NEVER = End("lost"), End("never", may_return=False)


def whose(turns: Turns) -> int:
    turn = turns.next()
    assert turn is not None
    return turn[0]


def test_the_first_server_is_asked_first() -> None:
    assert 0 == whose(Turns(3))


def test_each_is_asked_before_one_is_asked_again() -> None:
    turns, asked = Turns(3), []
    for now in range(6):
        asked.append(whose(turns))
        turns.ended(asked[-1], LOST, 0.0, float(now), 0.5)

    assert [0, 1, 2, 0, 1, 2] == asked


def test_the_first_retry_is_at_once_and_later_ones_wait() -> None:
    turns, dues = Turns(1), []
    for _ in range(4):
        turns.ended(0, LOST, 0.0, 100.0, 1.0)
        turn = turns.next()
        assert turn is not None
        dues.append(turn[1])

    assert [100.0, 100.25, 100.5, 101.0] == dues


def test_a_connection_that_worked_begins_anew() -> None:
    turns = Turns(1)
    for _ in range(5):
        turns.ended(0, LOST, 0.0, 0.0, 1.0)
    turns.ended(0, LOST, 4.0, 100.0, 1.0)

    assert (0, 100.0) == turns.next()


def test_a_connection_that_ended_at_once_does_not() -> None:
    turns = Turns(1)
    for _ in range(5):
        turns.ended(0, LOST, 3.9, 0.0, 1.0)

    assert (0, 2.0) == turns.next()


def test_the_patience_that_one_asks_for_keeps_nobody_from_another() -> None:
    turns = Turns(2)
    turns.ended(0, End("stopping", reconnect_after_ms=9_000), 60.0, 100.0, 0.5)
    assert 1 == whose(turns)
    turns.ended(1, LOST, 0.0, 100.0, 0.5)
    turns.ended(1, LOST, 0.0, 100.0, 0.5)

    assert 1 == whose(turns)


def test_who_said_never_is_not_asked_until_another_one_has_worked() -> None:
    turns = Turns(2)
    turns.ended(0, NEVER, 0.0, 0.0, 0.5)
    turns.ended(1, LOST, 0.0, 0.0, 0.5)
    assert 1 == whose(turns)
    turns.ended(1, LOST, 60.0, 100.0, 0.5)

    assert 0 == whose(turns)


def test_when_all_said_never_it_is_nobodys_turn() -> None:
    turns = Turns(2)
    turns.ended(0, NEVER, 0.0, 0.0, 0.5)
    turns.ended(1, NEVER, 0.0, 0.0, 0.5)

    assert turns.next() is None

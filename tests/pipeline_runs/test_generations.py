"""The validators for clients that move: a valid history passes, and the validator for each kind of damage finds it."""

from typing import Any

import attrs
import pytest

from .generations import MOVING, WHILE_AWAY, comparable, prompt
from .history import ANSWERED, BEHIND, CLOSED, OPENED, SENT_ON, SNAPSHOT, Event, Recorder, check, held_generation
from .test_history import Run, change, document, in_sync, names, place, snapshot

CLOSING = {"type": "connection_closing", "reason": BEHIND, "reconnect_after_ms": 50}


def generation(number: int, epoch: str = "e0") -> dict[str, str]:
    return {"generation": f"{epoch}.{number}"}


def open_at(client: Recorder, node: str) -> None:
    client.opened(client.version, client.generation)
    client.answered(node)


def publish(run: Run, *numbers: int) -> None:
    for number in numbers:
        run.publish(document(number))


def send_on(client: Recorder, node: str) -> None:
    open_at(client, node)
    client.received(CLOSING)
    client.closed()


@pytest.fixture
def good() -> list[Event]:
    """A client moves to a node that is behind, is sent on to another one that is, and takes its stale state."""
    run = Run()
    client = run.client("mover")
    publish(run, 1)
    open_at(client, "a")
    client.received(snapshot(document(1)) | generation(1))
    publish(run, 2, 3)
    client.received(change(document(1), document(3)) | generation(3))
    client.closed()
    send_on(client, "b")
    open_at(client, "c")
    client.received(snapshot(document(2)) | generation(2) | {"stale": True})
    client.received(change(document(2), document(3)) | generation(3))
    client.closed()
    send_on(client, "b")
    open_at(client, "a")
    client.received(in_sync(document(3)) | generation(3))
    return [each for each in run.events if each.kind != "published"]


def checked(events: list[Event]) -> set[str]:
    return names(check(events, (*MOVING, prompt(seconds=1))))


def test_a_good_history_has_no_violations(good: list[Event]) -> None:
    assert set() == checked(good)
    assert [] == check(good, WHILE_AWAY)
    assert ["a", "b", "c", "b", "a"] == [each.node for each in good if each.kind == ANSWERED]
    assert [None, "e0.3", "e0.3", "e0.3", "e0.3"] == [each.generation for each in good if each.kind == OPENED]


def test_a_step_back_without_a_mark_is_not_forward(good: list[Event]) -> None:
    index = place(good, "mover", SNAPSHOT, 1)
    good[index] = attrs.evolve(good[index], is_stale=False)
    assert {"forward"} == checked(good)
    assert {"comparable"} == names(check(good, WHILE_AWAY))


@pytest.mark.parametrize("unknown", [None, "e1.1"])
def test_a_step_back_to_a_state_that_does_not_compare_is_only_excused_while_the_store_is_away(
    good: list[Event], unknown: str | None
) -> None:
    index = place(good, "mover", SNAPSHOT, 1)
    good[index] = attrs.evolve(good[index], is_stale=False, generation=unknown)
    assert {"forward"} == checked(good)
    assert [] == check(good, WHILE_AWAY)


def test_a_step_back_of_a_client_without_a_generation_is_only_excused_while_the_store_is_away(
    good: list[Event],
) -> None:
    index = place(good, "mover", "change")
    good[index] = attrs.evolve(good[index], generation=None)
    index = place(good, "mover", SNAPSHOT, 1)
    good[index] = attrs.evolve(good[index], is_stale=False)
    assert {"forward"} == checked(good)
    assert [] == check(good, WHILE_AWAY)


def test_a_client_that_was_excused_may_not_go_back_again(good: list[Event]) -> None:
    index = place(good, "mover", SNAPSHOT, 1)
    good[index] = attrs.evolve(good[index], is_stale=False, generation=None)
    assert [] == check(good, WHILE_AWAY)
    again = attrs.evolve(good[index], connection=9, generation="e0.2", t=good[-1].t + 1)
    assert [(again, "comparable")] == [(each.event, each.validator) for each in check([*good, again], [comparable])]


def test_one_generation_of_two_contents_is_not_numbered(good: list[Event]) -> None:
    index = place(good, "mover", SNAPSHOT, 1)
    good[index] = attrs.evolve(good[index], generation="e0.1")
    assert {"numbered"} == checked(good)


def test_numbers_against_the_order_of_the_commits_are_not_numbered(good: list[Event]) -> None:
    index = place(good, "mover", SNAPSHOT, 0)
    good[index] = attrs.evolve(good[index], generation="e0.4")
    assert {"numbered"} == checked(good)
    # Numbers of different epochs don't compare.
    good[index] = attrs.evolve(good[index], generation="e1.4")
    assert set() == checked(good)


def test_a_content_that_comes_back_may_have_two_numbers() -> None:
    run = Run()
    client = run.client("one")
    open_at(client, "a")
    for number, each in enumerate((1, 2, 1)):
        publish(run, each)
        client.received(snapshot(document(each)) | generation(number + 1))
    assert set() == names(check(run.events, MOVING))


def test_a_client_that_is_sent_on_twice_is_found(good: list[Event]) -> None:
    first = place(good, "mover", SENT_ON)
    attempt = good[first - 2 : first + 2]
    assert [OPENED, ANSWERED, SENT_ON, CLOSED] == [each.kind for each in attempt]
    twice = [attrs.evolve(each, connection=9) for each in attempt]
    assert {"sent_on_once"} == checked([*good[: first + 2], *twice, *good[first + 2 :]])


def test_a_client_that_is_sent_on_without_a_claim_is_found(good: list[Event]) -> None:
    first = place(good, "mover", SENT_ON)
    good[first - 2] = attrs.evolve(good[first - 2], generation=None)
    assert {"sent_on_once"} == checked(good)


def test_a_client_that_is_sent_on_after_a_state_is_found(good: list[Event]) -> None:
    last = good[-1]
    assert {"sent_on_once"} == checked([*good, attrs.evolve(last, kind=SENT_ON, generation=None)])


@pytest.mark.parametrize("damage", ["no snapshot", "not sent on", "not first"])
def test_a_stale_state_that_is_no_first_snapshot_of_a_client_that_was_sent_on_is_found(
    good: list[Event], damage: str
) -> None:
    index = place(good, "mover", SNAPSHOT, 1)
    if damage == "no snapshot":
        good[index] = attrs.evolve(good[index], kind="change", old_version=good[index - 2].old_version)
    elif damage == "not sent on":
        good = [each for number, each in enumerate(good) if number != place(good, "mover", SENT_ON)]
    else:
        good.insert(index, attrs.evolve(good[index], is_stale=False))
    assert "stale" in checked(good)


@pytest.mark.parametrize("claimed", [None, "e1.3", "e0.2"])
def test_a_stale_snapshot_to_a_client_that_is_not_ahead_is_found(good: list[Event], claimed: str | None) -> None:
    index = place(good, "mover", SNAPSHOT, 1)
    good[index - 2] = attrs.evolve(good[index - 2], generation=claimed)
    assert {"stale"} == checked(good)


def test_a_stale_snapshot_without_a_generation_is_found(good: list[Event]) -> None:
    index = place(good, "mover", SNAPSHOT, 1)
    good[index] = attrs.evolve(good[index], generation=None)
    assert {"stale"} == checked(good)


def slow(events: list[Event], seconds: float) -> list[Event]:
    """Let everything after the answer of node c come later."""
    answered = place(events, "mover", ANSWERED, 2)
    assert events[answered].node == "c"
    return [attrs.evolve(each, t=each.t + seconds * (number > answered)) for number, each in enumerate(events)]


def test_a_first_state_that_comes_late_is_not_prompt(good: list[Event]) -> None:
    # Each event of the fixture is a second after the last one.
    assert [] == check(slow(good, 2.0), [prompt(slack=1.0)])
    assert ["prompt"] == [each.validator for each in check(slow(good, 2.5), [prompt(slack=1.0)])]


def test_a_node_that_was_halted_meanwhile_may_be_late(good: list[Event]) -> None:
    events = slow(good, 5.0)
    answered = events[place(events, "mover", ANSWERED, 2)].t
    during, before, after = (answered + 1, answered + 2), (0.0, answered), (answered + 6.0, answered + 9.0)
    assert [] == check(events, [prompt(halted={"c": [during]})])
    for halted in ({"c": [before, after]}, {"b": [during]}, None):
        assert ["prompt"] == [each.validator for each in check(events, [prompt(halted=halted)])]


def test_a_connection_without_a_state_is_as_long_as_it_lasted() -> None:
    run = Run()
    client = run.client("one")
    open_at(client, "a")
    run.clock = lambda: 9.0
    client.closed()
    events = [*run.events[:-1], attrs.evolve(run.events[-1], t=9.0)]
    assert {"prompt"} == names(check(events, [prompt()]))


@pytest.mark.parametrize(
    ("held", "kind", "new", "expected"),
    [
        ("e.2", SNAPSHOT, "e.1", "e.1"),
        ("e.2", SNAPSHOT, None, None),
        ("e.2", "change", None, None),
        ("e.10", "in_sync", "e.9", "e.10"),
        ("e.9", "in_sync", "e.10", "e.10"),
        ("e.9", "in_sync", "f.1", "f.1"),
        ("e.9", "in_sync", None, "e.9"),
        (None, "in_sync", "e.9", "e.9"),
        (None, "in_sync", None, None),
    ],
)
def test_a_client_holds_the_generation_of_its_state(
    held: str | None, kind: str, new: str | None, expected: str | None
) -> None:
    assert expected == held_generation(held, kind, new)


def test_the_recorder_forgets_nothing_of_a_message() -> None:
    run = Run()
    client = run.client("one")
    message: dict[str, Any] = snapshot(document(1)) | generation(7) | {"stale": True}
    open_at(client, "b")
    client.received(message)
    [event] = [each for each in run.events if each.kind == SNAPSHOT]
    assert ("b", "e0.7", True) == (event.node, event.generation, event.is_stale)
    client.closed()
    # Which node answers isn't known before it does.
    client.opened(None)
    assert "" == run.events[-1].node
    client.received(CLOSING | {"reason": "the server is stopping"})
    assert SENT_ON not in {each.kind for each in run.events}

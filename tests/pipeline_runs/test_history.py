"""The checker itself: a valid history passes, and the validator for each kind of damage finds it."""

import io
from collections.abc import Iterator
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import attrs
import jsonpatch
import pytest

from .history import (
    CHANGE,
    IN_SYNC,
    OPENED,
    PING,
    PUBLISHING,
    SNAPSHOT,
    VALIDATORS,
    Event,
    Publisher,
    Reads,
    Recorder,
    Violation,
    authorised,
    check,
    hash_of,
    read_lines,
    version_of,
    write_lines,
)

KEY = "orders:dev:main"
OTHER = "billing:dev:main"


def key_members(key: str) -> dict[str, Any]:
    app, profile, label = key.split(":")
    return {"app": app, "profile": profile, "label": label}


def snapshot(document: Any, key: str = KEY) -> dict[str, Any]:
    return {"type": "config_snapshot", "config": document, "version": version_of(document)} | key_members(key)


def change(old: Any, new: Any, key: str = KEY) -> dict[str, Any]:
    versions = {"old_version": version_of(old), "new_version": version_of(new)}
    return {"type": "config_change", "diff": jsonpatch.make_patch(old, new).patch} | versions | key_members(key)


def in_sync(document: Any, key: str = KEY) -> dict[str, Any]:
    return {"type": "in_sync", "version": version_of(document)} | key_members(key)


def ping(document: Any, key: str = KEY) -> dict[str, Any]:
    return {"type": "ping", "versions": {key: version_of(document)}}


def document(number: int) -> dict[str, Any]:
    return {"number": number, "list": list(range(number)), "name": f"ä{number}"}


class Run:
    """Writes a history as it should be, message by message."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        ticks = count()
        self.clock = lambda: float(next(ticks))
        self.publisher = Publisher(self.events.append, self.clock)

    def client(self, name: str, key: str = KEY) -> Recorder:
        return Recorder(self.events.append, self.clock, name, key)

    def publish(self, document: Any, key: str = KEY) -> None:
        self.publisher.publishing({key: document})
        self.publisher.published({key: document})


@pytest.fixture
def good() -> list[Event]:
    """Two clients, one of which resumes by a change, by in_sync and by a snapshot; a document that comes back; a key that ends."""
    run = Run()
    documents = [document(number) for number in (0, 1, 2, 3, 1, 4, 5, 6, 7)]
    witness, visitor, other = run.client("witness"), run.client("visitor"), run.client("other", OTHER)
    run.publish(documents[0])
    run.publish({"b": 1}, OTHER)
    for client, first in ((witness, documents[0]), (visitor, documents[0])):
        client.opened(None)
        client.received(snapshot(first))
    other.opened(None)
    other.received(snapshot({"b": 1}, OTHER))
    for index in (1, 2, 3, 4):
        run.publish(documents[index])
        witness.received(change(documents[index - 1], documents[index]))
        witness.received(ping(documents[index]))
        if index <= 2:
            visitor.received(change(documents[index - 1], documents[index]))
    visitor.closed()
    visitor.opened(visitor.version)
    visitor.received(change(documents[2], documents[4]))
    visitor.closed()
    visitor.opened(visitor.version)
    visitor.received(in_sync(documents[4]))
    visitor.closed()
    for index in (5, 6):
        run.publish(documents[index])
    witness.received({"type": "lagged", "dropped": 2})
    witness.received(change(documents[4], documents[6]))
    visitor.opened(visitor.version)
    visitor.received(snapshot(documents[6]))
    for index in (7, 8):
        run.publish(documents[index])
        witness.received(change(documents[index - 1], documents[index]))
        visitor.received(change(documents[index - 1], documents[index]))
    run.publish(None, OTHER)
    other.received({"type": "config_removed", "old_version": version_of({"b": 1})} | key_members(OTHER))
    return run.events


def names(violations: list[Violation]) -> set[str]:
    return {violation.validator for violation in violations}


def changes(events: list[Event], client: str = "witness") -> Iterator[int]:
    return (index for index, event in enumerate(events) if event.client == client and event.kind == CHANGE)


def place(events: list[Event], client: str, kind: str, which: int = 0) -> int:
    return [index for index, event in enumerate(events) if event.client == client and event.kind == kind][which]


def test_a_good_history_has_no_violations(good: list[Event]) -> None:
    assert [] == check(good)


def test_the_good_history_holds_what_the_mutations_need(good: list[Event]) -> None:
    kinds = [event.kind for event in good]

    assert 1 == kinds.count(IN_SYNC)
    assert 4 == kinds.count(SNAPSHOT)
    assert len({event.new_version for event in good if event.kind == PUBLISHING and event.key == KEY}) < 9


def test_a_history_survives_json_lines(good: list[Event], tmp_path: Path) -> None:
    half = len(good) // 2
    for name, part in (("b.jsonl", good[:half]), ("a.jsonl", good[half:])):
        file = io.StringIO()
        write_lines(part, file)
        (tmp_path / name).write_text(file.getvalue())

    assert good == read_lines(sorted(tmp_path.iterdir()))


def test_any_dropped_change_but_the_last_is_a_gap(good: list[Event]) -> None:
    for index in list(changes(good))[:-1]:
        assert "gapless" in names(check(good[:index] + good[index + 1 :]))


def test_the_dropped_last_change_is_not_eventual(good: list[Event]) -> None:
    index = list(changes(good))[-1]

    assert {"eventual"} == names(check(good[:index] + good[index + 1 :]))


def test_any_repeated_diff_is_out_of_order(good: list[Event]) -> None:
    # The second change to document 1 is no repeat: a document may come back. Its repeat is one.
    for index in changes(good):
        assert {"ordered", "gapless"} <= names(check(good[: index + 1] + good[index:]))


def test_any_two_swapped_changes_are_out_of_order(good: list[Event]) -> None:
    places = list(changes(good))
    for one, other in pairwise(places):
        swapped = list(good)
        swapped[one], swapped[other] = good[other], good[one]

        assert {"gapless"} <= names(check(swapped))

    last, before = places[-1], places[-2]
    swapped = list(good)
    swapped[last], swapped[before] = good[before], good[last]

    assert {"gapless", "ordered", "atomic"} <= names(check(swapped))


def test_a_resume_that_is_off_by_one_is_caught(good: list[Event]) -> None:
    index = next(index for index in changes(good, "visitor") if good[index - 1].kind == OPENED)
    for wrong in (document(1), document(3)):
        events = list(good)
        events[index] = attrs.evolve(good[index], old_version=version_of(wrong))

        assert {"resumable"} == names(check(events))


def test_in_sync_for_a_client_that_missed_something_is_caught(good: list[Event]) -> None:
    index = place(good, "visitor", OPENED, 1)
    stale = attrs.evolve(good[index + 1], kind=IN_SYNC, old_version=None, new_version=good[index].old_version)
    events = [*good[: index + 1], attrs.evolve(stale, body_hash=hash_of(document(2))), *good[index + 2 :]]

    assert "fresh" in names(check(events))


def test_a_change_for_a_client_that_resumed_from_nothing_is_caught(good: list[Event]) -> None:
    index = place(good, "visitor", OPENED, 1)
    events = list(good)
    events[index] = attrs.evolve(good[index], old_version=None)

    assert {"resumable"} == names(check(events))


def test_a_stale_snapshot_at_a_reconnect_goes_back_in_time(good: list[Event]) -> None:
    index = place(good, "visitor", SNAPSHOT, 1)
    events = list(good)
    events[index] = attrs.evolve(
        good[index], new_version=version_of(document(2)), body_hash=hash_of(document(2)), old_version=None
    )

    assert {"forward", "fresh", "gapless"} == names(check(events))


def test_a_stale_snapshot_for_a_new_client_is_not_fresh() -> None:
    run = Run()
    run.publish(document(1))
    run.publish(document(2))
    client = run.client("late")
    client.opened(None)
    client.received(snapshot(document(1)))

    assert {"fresh", "eventual"} == names(check(run.events))


def test_a_bookmark_ahead_of_the_stream_is_caught(good: list[Event]) -> None:
    index = place(good, "witness", PING, 1)
    events = list(good)
    events[index - 1], events[index] = good[index], good[index - 1]

    assert {"bookmark"} == names(check(events))


def test_a_document_that_is_not_its_version_is_not_correct(good: list[Event]) -> None:
    events = list(good)
    index = place(good, "witness", CHANGE, 2)
    events[index] = attrs.evolve(good[index], body_hash=hash_of(document(1)))

    assert {"correct"} == names(check(events))


def test_half_a_publication_is_not_atomic(good: list[Event]) -> None:
    events = list(good)
    index = place(good, "witness", CHANGE, 2)
    half = document(3) | {"name": "ä2"}
    events[index] = attrs.evolve(good[index], body_hash=hash_of(half), new_version=version_of(half))

    assert {"correct", "atomic"} <= names(check(events))


def test_a_state_before_its_publication_is_not_atomic(good: list[Event]) -> None:
    index = place(good, "witness", CHANGE)
    events = [*good[: index - 2], good[index], *good[index - 2 : index], *good[index + 1 :]]

    assert good[index - 2].kind == PUBLISHING
    assert {"atomic"} == names(check(events))


def test_a_client_without_a_first_state_is_not_eventual() -> None:
    run = Run()
    run.publish(document(1))
    run.client("silent").opened(None)

    assert {"eventual"} == names(check(run.events))


def test_a_change_that_does_not_apply_is_not_correct() -> None:
    run = Run()
    run.publish({"a": 1})
    client = run.client("one")
    client.opened(None)
    client.received(snapshot({"a": 1}))
    run.publish({"a": 2})
    client.received(change({"a": 1}, {"a": 2}) | {"diff": [{"op": "remove", "path": "/b"}]})

    assert {"correct", "atomic", "eventual"} == names(check(run.events))


def test_a_read_older_than_what_was_delivered_is_not_current() -> None:
    run = Run()
    client, reader = run.client("a"), Reads(run.events.append, run.clock, "reader", KEY)
    run.publish(document(1))
    client.opened(None)
    client.received(snapshot(document(1)))
    reader.asked()
    run.publish(document(2))
    client.received(change(document(1), document(2)))
    # Begun before anybody had the second: either will do.
    reader.read(version_of(document(1)))
    good = list(run.events)
    reader.asked()
    reader.read(version_of(document(2)))
    assert [] == check(run.events)
    reader.asked()
    reader.read(version_of(document(1)))

    assert [] == check(good)
    assert {"current"} == {each.validator for each in check(run.events)}


def test_what_is_out_of_a_clients_scope_is_not_authorised() -> None:
    run = Run()
    client = run.client("a")
    run.publish(document(1))
    run.publish(document(1), OTHER)
    client.opened(None)
    client.received(snapshot(document(1)))
    mine = authorised({"a": [KEY]})
    assert [] == check(run.events, (*VALIDATORS, mine))
    client.received(snapshot(document(1), OTHER))

    assert {"authorised"} == {each.validator for each in check(run.events, (*VALIDATORS, mine))}

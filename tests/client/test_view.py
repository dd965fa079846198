"""The application's view: a mapping, a state, and at most one unseen change of each key."""

import threading
from typing import Any

import pytest

from vortexd.client.change import Change
from vortexd.client.client_state import Ack
from vortexd.client.replica import version_of
from vortexd.client.view import BEHIND, Connected, Failed, Stale, State, View
from vortexd.core.model import Key

from .said import KEY

OTHER, THIRD = Key("billing", "dev", "main"), Key("cart", "dev", "main")
DOCUMENTS: list[dict[str, Any]] = [{"size": number} for number in range(4)]
VERSIONS = [version_of(document) for document in DOCUMENTS]
ORIGIN = {"commit": "c0ffee", "author": "Ann", "time": "2030-01-01T00:00:00Z"}


def step(old: int | None, new: int | None, key: Key = KEY) -> Change:
    """A change between two of the documents, by number."""
    return Change(
        key,
        None if old is None else VERSIONS[old],
        None if new is None else VERSIONS[new],
        None if new is None else DOCUMENTS[new],
    )


def shown(number: int) -> View:
    """A view that the application has begun with."""
    view = View(5.0)
    view.begin(step(None, number))
    return view


# States.


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (Connected(), "connected"),
        (Connected(is_behind=True), f"connected, but {BEHIND}"),
        (Stale(1.0, "no route"), "stale: no route"),
        (Failed("403"), "failed: 403"),
    ],
)
def test_a_state_is_shown_as_a_word_and_its_reason(state: object, text: str) -> None:
    assert text == str(state)


def test_a_view_begins_stale_since_the_time_that_it_is_given() -> None:
    view = View(5.0)

    assert Stale(5.0, "no server has answered yet") == view.state
    assert (False, False, None) == (view.has_begun, view.is_over, view.confirmed_at)


@pytest.mark.parametrize(("state", "is_over"), [(Connected(), False), (Stale(1.0, "x"), False), (Failed("x"), True)])
def test_a_view_is_over_once_every_server_has_refused(state: Connected | Stale | Failed, is_over: bool) -> None:
    view = View(5.0)
    view.turn(state)

    assert (state, is_over) == (view.state, is_over)
    assert is_over == view.is_over


def test_an_ended_view_is_over_and_keeps_its_state_and_content() -> None:
    view = shown(1)
    view.turn(Connected())
    view.end()

    assert (True, Connected(), DOCUMENTS[1]) == (view.is_over, view.state, view.document)


# The document.


def test_without_a_document_the_mapping_is_empty() -> None:
    view = View(5.0)

    assert ({}, 0, []) == (dict(view), len(view), list(view))
    assert (None, None, None, {}, {}) == (view.key, view.version, view.origin, view.document, view.others)
    with pytest.raises(KeyError):
        view["size"]


def test_a_view_is_a_mapping_of_its_document() -> None:
    view = shown(3)

    assert (3, ["size"], 1, True) == (view["size"], list(view), len(view), "size" in view)
    assert (KEY, VERSIONS[3]) == (view.key, view.version)


def test_the_document_that_it_begins_with_is_no_change_and_no_news() -> None:
    news: list[str] = []
    view = View(5.0)
    view.listen(lambda: news.append("news"))
    view.begin(step(None, 1))

    assert (True, None, []) == (view.has_begun, view.take(), news)


def test_a_confirmed_view_has_begun_even_without_a_document() -> None:
    view = View(5.0)
    view.confirm(7.0)

    assert (True, 7.0, {}) == (view.has_begun, view.confirmed_at, view.document)


def test_a_change_is_shown_at_once_with_its_origin() -> None:
    view = shown(1)
    view.change(Change(KEY, VERSIONS[1], VERSIONS[2], DOCUMENTS[2], ORIGIN), is_main=True)

    assert (DOCUMENTS[2], VERSIONS[2], ORIGIN) == (view.document, view.version, view.origin)


def test_a_key_that_has_ended_leaves_an_empty_document_and_its_name() -> None:
    view = shown(1)
    view.change(step(1, None), is_main=True)

    assert ({}, None, KEY, True) == (view.document, view.version, view.key, view.has_begun)


def test_the_keys_of_patterns_are_beside_the_main_key() -> None:
    view = shown(1)
    view.change(step(None, 2, OTHER), is_main=False)
    view.change(step(None, 3, THIRD), is_main=False)
    assert {OTHER: DOCUMENTS[2], THIRD: DOCUMENTS[3]} == view.others
    view.change(step(2, None, OTHER), is_main=False)
    view.change(step(3, 1, THIRD), is_main=False)

    assert {THIRD: DOCUMENTS[1]} == view.others
    assert (DOCUMENTS[1], KEY) == (view.document, view.key)


def test_the_end_of_an_unknown_key_is_a_change_and_nothing_else() -> None:
    view = shown(1)
    view.change(step(2, None, OTHER), is_main=False)

    assert ({}, step(2, None, OTHER)) == (view.others, view.take())


def test_a_printed_view_names_key_version_and_state_and_no_value() -> None:
    view = View(5.0)
    assert "<View  None stale: no server has answered yet>" == repr(view)
    view.begin(Change(KEY, None, "c0ffee", {"password": "hunter2"}))
    view.turn(Connected())

    assert "<View orders:dev:main c0ffee connected>" == repr(view)


# Unseen changes.


def test_each_change_is_taken_once() -> None:
    view = shown(1)
    view.change(step(1, 2), is_main=True)

    assert (step(1, 2), None) == (view.take(), view.take())


def test_changes_that_were_not_taken_are_one_from_the_first_to_the_newest() -> None:
    view = shown(0)
    for number in range(3):
        view.change(step(number, number + 1), is_main=True)

    assert (step(0, 3), None) == (view.take(), view.take())


def test_a_taken_change_is_not_part_of_the_next() -> None:
    view = shown(0)
    view.change(step(0, 1), is_main=True)
    view.take()
    view.change(step(1, 2), is_main=True)

    assert step(1, 2) == view.take()


def test_changes_that_lead_back_to_the_beginning_are_none() -> None:
    view = shown(0)
    view.change(step(0, 1), is_main=True)
    view.change(step(1, 0), is_main=True)

    assert (None, DOCUMENTS[0]) == (view.take(), view.document)


def test_the_key_whose_last_change_is_the_oldest_comes_first() -> None:
    """So no key waits forever behind one that changes often."""
    view = shown(0)
    view.change(step(0, 1), is_main=True)
    view.change(step(None, 2, OTHER), is_main=False)
    view.change(step(1, 2), is_main=True)

    assert [step(None, 2, OTHER), step(0, 2), None] == [view.take(), view.take(), view.take()]


def test_an_application_that_begins_now_has_seen_all_changes() -> None:
    view = shown(0)
    view.change(step(0, 1), is_main=True)
    view.change(step(None, 2, OTHER), is_main=False)
    view.take_all()

    assert (None, DOCUMENTS[1], {OTHER: DOCUMENTS[2]}) == (view.take(), view.document, view.others)


def test_changes_before_the_end_are_still_taken_after_it() -> None:
    view = shown(0)
    view.change(step(0, 1), is_main=True)
    view.end()

    assert step(0, 1) == view.take()


# News.


def test_every_update_is_news_for_each_listener_after_it_is_shown() -> None:
    view = shown(0)
    news: list[tuple[str, object]] = []
    view.listen(lambda: news.append(("first", (view.version, view.confirmed_at, view.state, view.is_over))))
    view.listen(lambda: news.append(("second", None)))
    view.change(step(0, 1), is_main=True)
    view.confirm(7.0)
    view.turn(Connected())
    view.end()

    began = Stale(5.0, "no server has answered yet")
    assert [
        (VERSIONS[1], None, began, False),
        (VERSIONS[1], 7.0, began, False),
        (VERSIONS[1], 7.0, Connected(), False),
        (VERSIONS[1], 7.0, Connected(), True),
    ] == [what for name, what in news if name == "first"]
    assert ["first", "second"] * 4 == [name for name, _ in news]


# Acknowledgements.


def bound(view: View) -> list[tuple[Key, Ack]]:
    sent: list[tuple[Key, Ack]] = []
    view.attach(lambda key, ack: sent.append((key, ack)))
    return sent


@pytest.mark.parametrize("status", ["applied", "rejected"])
def test_an_acknowledgement_is_for_the_main_key_unless_another_is_named(status: str) -> None:
    view = shown(1)
    sent = bound(view)
    view.acknowledge(VERSIONS[1], status)
    view.acknowledge(VERSIONS[2], status, "too large", OTHER)

    assert [(KEY, Ack(VERSIONS[1], status)), (OTHER, Ack(VERSIONS[2], status, "too large"))] == sent


@pytest.mark.parametrize("status", ["", "Applied", "failed"])
def test_another_status_is_refused_and_not_sent(status: str) -> None:
    view = shown(1)
    sent = bound(view)
    with pytest.raises(ValueError, match='^the status of an ack must be "applied" or "rejected"$'):
        view.acknowledge(VERSIONS[1], status)

    assert [] == sent


def test_without_a_key_there_is_nothing_to_acknowledge() -> None:
    view = View(5.0)
    sent = bound(view)
    view.acknowledge(VERSIONS[1], "applied")
    view.acknowledge(VERSIONS[1], "applied", key=OTHER)

    assert [(OTHER, Ack(VERSIONS[1], "applied"))] == sent


def test_before_a_connection_is_bound_an_acknowledgement_is_dropped_but_checked() -> None:
    view = shown(1)
    view.acknowledge(VERSIONS[1], "applied")
    with pytest.raises(ValueError, match="status"):
        view.acknowledge(VERSIONS[1], "maybe")


# Several threads.


class RecordingLock:
    """A reentrant lock that counts how often it was entered."""

    def __init__(self) -> None:
        self.entered = 0
        self.is_held = False
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()
        self.entered += 1
        self.is_held = True

    def __exit__(self, *_: object) -> None:
        self.is_held = False
        self._lock.release()


def test_the_lock_is_held_while_changes_are_shown_taken_or_listed_and_not_during_news() -> None:
    lock = RecordingLock()
    view = View(5.0, lock)
    held: list[bool] = []
    view.listen(lambda: held.append(lock.is_held))
    view.change(step(0, 1), is_main=True)
    assert (1, [False]) == (lock.entered, held)
    view.take()
    assert 2 == lock.entered
    view.take_all()
    assert 3 == lock.entered
    assert {} == view.others
    assert (4, [False]) == (lock.entered, held)


# Explanations.


def test_the_connected_server_is_asked_about_the_shown_key() -> None:
    view = shown(1)
    asked: list[object] = []
    view.attach(lambda *_: None, lambda key, wanted, done: asked.append((key, wanted, done)))
    answers: list[bytes | None] = []
    view.turn(Connected())
    view.explain("a.b", answers.append)

    assert [(KEY, "a.b", answers.append)] == asked
    assert [] == answers


@pytest.mark.parametrize("case", ["nobody to ask", "no key", "stale", "failed", "over"])
def test_without_a_connection_the_answer_is_none_at_once(case: str) -> None:
    view = View(5.0) if case == "no key" else shown(1)
    asked: list[object] = []
    view.attach(lambda *_: None, None if case == "nobody to ask" else lambda *each: asked.append(each))
    states: dict[str, State] = {"stale": Stale(1.0, "away"), "failed": Failed("no")}
    view.turn(states.get(case, Connected()))
    if case == "over":
        view.end()
    answers: list[bytes | None] = []
    view.explain("", answers.append)

    assert ([None], []) == (answers, asked)


def test_the_current_change_is_the_version_with_its_document() -> None:
    assert View(5.0).current is None
    view = shown(1)
    view.change(step(1, 2), is_main=True)
    view.change(step(None, 3, OTHER), is_main=False)

    assert step(1, 2) == view.current

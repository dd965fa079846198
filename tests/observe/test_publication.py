"""The log of a publication: its keys, commits and authors, and the durations of its phases."""

import time

import pytest

from vortexd.core.model import Change, Files, Key, Origin, Tree
from vortexd.observe.publication import MOST_NAMED, Stopwatch, named, without_configuration

WHEN = "2026-01-01T00:00:00Z"


def origin(commit: str, author: str = "Ada") -> Origin:
    return Origin(commit, author, WHEN)


def tree(default: str = "main", /, **labels: Origin | None) -> Tree:
    return Tree({label: Files({}, origin=each) for label, each in labels.items()}, default)


def changes(count: int) -> list[Change]:
    return [Change(Key(f"a{number:03}", "dev", "main"), None, None) for number in reversed(range(count))]


def test_the_keys_that_changed_are_named_up_to_ten() -> None:
    assert 10 == MOST_NAMED
    assert {} == named([], None, tree(main=None))
    assert {"keys": ["a000:dev:main", "a001:dev:main"]} == named(changes(2), None, tree())
    assert "more_keys" not in named(changes(10), None, tree())
    assert {"keys": [f"a{number:03}:dev:main" for number in range(1, 11)], "more_keys": 1} == named(
        changes(11), None, tree()
    )


def test_one_commit_is_named_with_its_author() -> None:
    assert {"commit": "c1", "author": "Ada"} == named([], None, tree(main=origin("c1"), next=origin("c1")))


def test_commits_of_the_state_before_are_no_news() -> None:
    before = tree(main=origin("c1"), next=origin("c2"))

    assert {"commit": "c3", "author": "Bob"} == named([], before, tree(main=origin("c1"), next=origin("c3", "Bob")))
    assert {} == named([], before, tree(main=origin("c2"), other=origin("c1")))


def test_several_commits_are_listed_up_to_ten_that_of_the_default_label_first() -> None:
    labels = {f"l{number:02}": origin(f"c{number:02}") for number in range(11)}

    assert {"commits": ["c01 by Ada", "c00 by Ada"]} == named([], None, tree("l01", **dict(list(labels.items())[:2])))
    said = named([], None, tree(**dict(list(labels.items())[:10])))
    assert {"commits": [f"c{number:02} by Ada" for number in range(10)]} == said
    assert 1 == named([], None, tree(**labels))["more_commits"]


def test_commits_of_other_sources_count_too() -> None:
    files = Files({}, origin=None, others=(Files({}, origin=origin("c9")),))

    assert {"commit": "c9", "author": "Ada"} == named([], None, Tree({"main": files}))


def test_a_source_is_without_configuration_where_no_label_has_any() -> None:
    layers = [("file:/a/", False), ("file:/b/", True), ("file:/a/", False), ("file:/c/", False), ("file:/c/", True)]

    assert {"file:/a/"} == without_configuration([*layers, ("file:/b/", False)])
    assert frozenset() == without_configuration([])


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The time of day and the performance counter, which the test sets."""
    found = {"day": 1_000.0, "counter": 50.0}
    monkeypatch.setattr(time, "time", lambda: found["day"])
    monkeypatch.setattr(time, "perf_counter", lambda: found["counter"])
    return found


@pytest.mark.parametrize(
    ("noticed", "began", "seconds"),
    [(None, 1_000.0, 0.0), (997.5, 997.5, 2.5), (1_000.0, 1_000.0, 0.0), (1_003.0, 1_000.0, 0.0)],
    ids=["not known", "earlier", "now", "the clock was set back"],
)
def test_the_first_phase_begins_when_the_source_noticed_the_change(
    noticed: float | None, began: float, seconds: float, clocks: dict[str, float]
) -> None:
    stopwatch = Stopwatch(noticed)

    assert (began, {"source": seconds}) == (stopwatch.began, stopwatch.laps)


def test_each_phase_lasts_from_the_end_of_the_one_before(clocks: dict[str, float]) -> None:
    stopwatch = Stopwatch(None)
    clocks["counter"] += 0.5
    stopwatch.lap("parse")
    # A change of the time of day doesn't count.
    clocks |= {"day": 0.0, "counter": 52.0}
    stopwatch.lap("resolve")
    stopwatch.lap("broadcast")

    assert {"source": 0.0, "parse": 0.5, "resolve": 1.5, "broadcast": 0.0} == stopwatch.laps
    assert ["source", "parse", "resolve", "broadcast"] == list(stopwatch.laps)


def test_work_for_the_next_phase_counts_for_that_phase(clocks: dict[str, float]) -> None:
    stopwatch = Stopwatch(None)
    clocks["counter"] += 2.0
    stopwatch.lap("parse", 1.5)
    clocks["counter"] += 1.0
    stopwatch.lap("resolve")

    assert {"source": 0.0, "parse": 0.5, "resolve": 2.5} == stopwatch.laps

"""Files that a program is still writing, as transcripts of events."""

import pytest

from vortexd.source.files import writes as module
from vortexd.source.files.writes import Event, Kind, Writes

from .outlines import ROOT, mark, outline

SUB = (1, 200)
SHOWN = outline({"shop.yml": mark(1), "cart.yml": mark(2), "sub/deep.yml": mark(3)}, {"sub/": SUB})


def event(kind: Kind, name: str = "shop.yml", directory: tuple[int, int] = ROOT, cookie: int = 0) -> Event:
    return Event(kind, directory, name, cookie)


def heard(*events: Event, writes: Writes | None = None) -> Writes:
    """Writes after these events, one a second."""
    writes = writes or Writes()
    for second, each in enumerate(events, 1):
        writes.heard(each, float(second))
    return writes


def test_a_file_is_unfinished_from_its_first_modification_on() -> None:
    writes = heard(event(Kind.MODIFIED), event(Kind.MODIFIED))

    assert {"shop.yml": 1.0} == {path: write.since for path, write in writes.unfinished(SHOWN).items()}


@pytest.mark.parametrize("kind", [Kind.CLOSED, Kind.DELETED, Kind.MOVED_AWAY, Kind.MOVED_HERE])
def test_it_is_finished_when_it_is_closed_deleted_or_replaced(kind: Kind) -> None:
    assert {} == heard(event(Kind.MODIFIED), event(kind)).unfinished(SHOWN)


def test_touching_it_finishes_nothing() -> None:
    assert {"shop.yml"} == heard(event(Kind.MODIFIED), event(Kind.TOUCHED)).unfinished(SHOWN).keys()


def test_a_second_writer_makes_it_unfinished_again() -> None:
    writes = heard(event(Kind.MODIFIED), event(Kind.CLOSED), event(Kind.MODIFIED))

    assert 3.0 == writes.unfinished(SHOWN)["shop.yml"].since


def test_files_of_the_same_name_in_two_directories_are_two() -> None:
    shown = outline({"shop.yml": mark(1), "sub/shop.yml": mark(2)}, {"sub/": SUB})

    assert {"sub/shop.yml"} == heard(event(Kind.MODIFIED, directory=SUB)).unfinished(shown).keys()


def test_a_directory_that_is_renamed_takes_its_unfinished_files_along() -> None:
    writes = heard(event(Kind.MODIFIED, "deep.yml", SUB))
    renamed = outline({"other/deep.yml": mark(3)}, {"other/": SUB})

    assert {"sub/deep.yml"} == writes.unfinished(SHOWN).keys()
    assert {"other/deep.yml"} == writes.unfinished(renamed).keys()


def test_a_file_that_was_created_is_unfinished_while_it_is_empty() -> None:
    writes = heard(event(Kind.CREATED))
    empty = outline({"shop.yml": mark(1, size=0)})
    linked = outline({"shop.yml": mark(1, size=0)}, special={"shop.yml"})

    assert {"shop.yml"} == writes.unfinished(empty).keys()
    assert {} == writes.unfinished(SHOWN)  # a new name of a file that was there
    assert {} == writes.unfinished(linked)


def test_a_created_file_that_is_modified_is_unfinished_whatever_its_size_is() -> None:
    writes = heard(event(Kind.CREATED), event(Kind.MODIFIED))

    assert 1.0 == writes.unfinished(SHOWN)["shop.yml"].since


def test_a_file_renamed_before_it_is_closed_is_unfinished_under_its_new_name() -> None:
    writes = heard(
        event(Kind.CREATED, ".new"),
        event(Kind.MODIFIED, ".new"),
        event(Kind.MOVED_AWAY, ".new", cookie=7),
        event(Kind.MOVED_HERE, "shop.yml", cookie=7),
    )

    assert {"shop.yml": 4.0} == {path: write.since for path, write in writes.unfinished(SHOWN).items()}
    assert {} == heard(event(Kind.CLOSED), writes=writes).unfinished(SHOWN)


def test_a_file_renamed_after_it_was_closed_is_finished() -> None:
    writes = heard(
        event(Kind.MODIFIED, ".new"),
        event(Kind.CLOSED, ".new"),
        event(Kind.MODIFIED, "shop.yml"),
        event(Kind.MOVED_AWAY, ".new", cookie=7),
        event(Kind.MOVED_HERE, "shop.yml", cookie=7),
    )

    assert {} == writes.unfinished(SHOWN)


def test_halves_of_different_moves_have_nothing_to_do_with_each_other() -> None:
    writes = heard(
        event(Kind.MODIFIED, ".new"),
        event(Kind.MOVED_AWAY, ".new", cookie=7),
        event(Kind.MOVED_HERE, "shop.yml", cookie=8),
    )

    assert {} == writes.unfinished(SHOWN)


def test_a_file_renamed_while_it_is_only_created_counts_as_created() -> None:
    writes = heard(
        event(Kind.CREATED, ".new"),
        event(Kind.MOVED_AWAY, ".new", cookie=7),
        event(Kind.MOVED_HERE, "shop.yml", cookie=7),
    )

    assert {} == writes.unfinished(SHOWN)
    assert {"shop.yml"} == writes.unfinished(outline({"shop.yml": mark(1, size=0)})).keys()


def test_links_to_an_unfinished_file_and_its_other_names_are_unfinished() -> None:
    shown = outline(
        {"shop.yml": mark(1), "link.yml": mark(1), "cart.yml": mark(2)}, names={(1, 1): ["shop.yml", "link.yml"]}
    )
    writes = heard(event(Kind.MODIFIED))

    assert {"shop.yml", "link.yml"} == writes.unfinished(shown).keys()


def test_a_file_that_only_a_link_shows_is_unfinished_by_the_name_of_the_link() -> None:
    data = (1, 300)
    shown = outline({"shop.yml": mark(9)}, names={(1, 9): ["shop.yml"]}, files={(data, "inner.yml"): (1, 9)})

    assert {"shop.yml"} == heard(event(Kind.MODIFIED, "inner.yml", data)).unfinished(shown).keys()
    assert {} == heard(event(Kind.MODIFIED, "else.yml", data)).unfinished(shown)


def test_a_file_that_is_not_served_is_unfinished_under_no_path() -> None:
    writes = heard(event(Kind.MODIFIED, ".hidden"), event(Kind.MODIFIED, "gone.yml"))

    assert {} == writes.unfinished(SHOWN)


# Whether to look.


@pytest.mark.parametrize("kind", sorted(set(Kind) - {Kind.MODIFIED, Kind.CREATED, Kind.GONE}, key=str))
def test_each_event_of_a_visible_name_asks_for_a_look(kind: Kind) -> None:
    writes = Writes()

    assert writes.heard(event(kind), 5.0)
    assert 5.0 == writes.active
    assert writes.is_stirred


@pytest.mark.parametrize("kind", Kind)
def test_no_event_of_a_hidden_name_asks_for_a_look(kind: Kind) -> None:
    writes = Writes()

    assert not writes.heard(event(kind, ".hidden"), 5.0)
    assert float("-inf") == writes.active
    assert not writes.is_stirred


def test_a_watch_that_ends_asks_for_nothing() -> None:
    writes = Writes()

    assert not writes.heard(Event(Kind.GONE, SUB), 5.0)
    assert not writes.is_stirred


def test_the_link_of_a_kubernetes_volume_asks_for_a_look() -> None:
    assert Writes().heard(event(Kind.MOVED_HERE, "..data"), 5.0)


def test_the_directory_itself_asks_for_a_look() -> None:
    assert Writes().heard(event(Kind.TOUCHED, ""), 5.0)


def test_only_the_first_modification_of_an_unfinished_file_asks_for_a_look() -> None:
    writes = Writes()

    assert [True, True, False] == [
        writes.heard(event(kind), 1.0) for kind in (Kind.CREATED, Kind.MODIFIED, Kind.MODIFIED)
    ]
    assert float("-inf") == writes.active  # others need not wait for it
    assert not writes.is_stirred


def test_an_unfinished_file_that_is_touched_asks_for_no_look() -> None:
    assert not heard(event(Kind.MODIFIED)).heard(event(Kind.TOUCHED), 5.0)


def test_an_unfinished_file_under_a_new_name_asks_for_a_look_and_nobody_waits_for_it() -> None:
    writes = heard(event(Kind.MODIFIED, ".new"), event(Kind.MOVED_AWAY, ".new", cookie=7))

    assert writes.heard(event(Kind.MOVED_HERE, cookie=7), 5.0)
    assert float("-inf") == writes.active


def test_reading_begins_with_nothing_stirred() -> None:
    writes = heard(event(Kind.CLOSED))
    writes.begin_reading(2.0)

    assert not writes.is_stirred
    assert 1.0 == writes.active


# What is written during a reading.


@pytest.mark.parametrize(
    ("kinds", "restless"),
    [
        ([Kind.MODIFIED, Kind.CLOSED], {"shop.yml"}),
        ([Kind.CLOSED], {"shop.yml"}),  # its modification was told before
        ([Kind.MODIFIED], set()),  # it is unfinished, which is another thing
        ([Kind.CREATED, Kind.MODIFIED, Kind.DELETED], {"shop.yml"}),
        ([Kind.MOVED_HERE], set()),
        ([Kind.TOUCHED], set()),
    ],
    ids=str,
)
def test_a_file_closed_while_it_is_read_is_restless(kinds: list[Kind], restless: set[str]) -> None:
    writes = Writes()
    writes.begin_reading(0.0)
    heard(*map(event, kinds), writes=writes)

    assert restless == writes.restless(SHOWN)


def test_a_file_closed_before_it_is_read_is_not_restless() -> None:
    writes = heard(event(Kind.MODIFIED), event(Kind.CLOSED))
    writes.begin_reading(3.0)

    assert set() == writes.restless(SHOWN)


# What is complete.


@pytest.mark.parametrize("kind", [Kind.CLOSED, Kind.MOVED_HERE, Kind.MOVED_AWAY, Kind.DELETED, Kind.TOUCHED])
def test_a_change_is_complete_when_the_kernel_says_so(kind: Kind) -> None:
    writes = heard(event(kind, "deep.yml", SUB))

    assert writes.is_complete(SHOWN, "sub/deep.yml")
    assert not writes.is_complete(SHOWN, "shop.yml")
    assert not writes.is_complete(outline({}), "sub/deep.yml")  # there is no such directory


@pytest.mark.parametrize("kind", [Kind.CREATED, Kind.MODIFIED, Kind.GONE, Kind.LOST])
def test_a_change_is_not_complete_by_anything_else(kind: Kind) -> None:
    assert not heard(event(kind)).is_complete(SHOWN, "shop.yml")


def test_events_that_were_lost_leave_nothing_complete() -> None:
    assert not heard(event(Kind.CLOSED), Event(Kind.LOST)).is_complete(SHOWN, "shop.yml")


def test_what_was_complete_before_the_reading_is_done_with_its_publication() -> None:
    writes = heard(event(Kind.CLOSED, "shop.yml"), event(Kind.CLOSED, "cart.yml"))
    writes.begin_reading(1.0)
    writes.published(SHOWN, (), {})

    assert not writes.is_complete(SHOWN, "shop.yml")
    assert writes.is_complete(SHOWN, "cart.yml")


@pytest.mark.parametrize(
    ("kinds", "is_open"),
    [([], False), ([Kind.CREATED], False), ([Kind.MODIFIED], True), ([Kind.MODIFIED, Kind.CLOSED], False)],
    ids=str,
)
def test_a_file_is_open_while_it_is_modified_even_a_hidden_one(kinds: list[Kind], is_open: bool) -> None:
    assert is_open == heard(*(event(kind, ".hidden") for kind in kinds)).is_any_open()


# After a publication.


def test_a_file_published_unfinished_is_released_until_it_is_closed() -> None:
    writes = heard(event(Kind.MODIFIED))
    writes.published(SHOWN, (), {"shop.yml": True})
    released = writes.unfinished(SHOWN)
    asks = writes.heard(event(Kind.MODIFIED), 5.0)

    assert {} == released == writes.unfinished(SHOWN)
    assert writes.is_any_open()
    assert asks
    assert 5.0 == writes.active
    assert not writes.is_complete(SHOWN, "shop.yml")

    heard(event(Kind.CLOSED), event(Kind.MODIFIED), writes=writes)

    assert {"shop.yml"} == writes.unfinished(SHOWN).keys()


def test_a_file_published_unfinished_as_it_was_is_unfinished_from_the_next_modification_on() -> None:
    writes = heard(event(Kind.MODIFIED))
    writes.published(SHOWN, (), {"shop.yml": False})
    idle = writes.unfinished(SHOWN)
    asks = writes.heard(event(Kind.MODIFIED), 5.0)

    assert {} == idle
    assert asks
    assert 5.0 == writes.unfinished(SHOWN)["shop.yml"].since


def test_a_release_is_for_the_file_that_was_published_alone() -> None:
    writes = heard(event(Kind.MODIFIED, "shop.yml"), event(Kind.MODIFIED, "cart.yml"))
    writes.published(SHOWN, {"cart.yml"}, {"shop.yml": True})

    assert {"cart.yml"} == writes.unfinished(SHOWN).keys()


def test_names_that_were_only_created_are_forgotten_with_a_publication_unless_they_are_held() -> None:
    writes = heard(event(Kind.CREATED, "shop.yml"), event(Kind.CREATED, "cart.yml"), event(Kind.CREATED, ".link"))
    empty = outline({"shop.yml": mark(1, size=0), "cart.yml": mark(2, size=0)})
    writes.published(empty, {"shop.yml"}, {})

    assert {"shop.yml"} == writes.unfinished(empty).keys()


# What ends.


def test_a_directory_that_is_gone_takes_its_files_along() -> None:
    writes = heard(event(Kind.MODIFIED), event(Kind.MODIFIED, "deep.yml", SUB), Event(Kind.GONE, SUB))

    assert {"shop.yml"} == writes.unfinished(SHOWN).keys()


def test_events_that_were_lost_leave_visible_files_unfinished_and_hidden_ones_not() -> None:
    writes = heard(event(Kind.MODIFIED, ".hidden"), Event(Kind.LOST))
    visible = heard(event(Kind.MODIFIED), Event(Kind.LOST))

    assert not writes.is_any_open()
    assert {"shop.yml"} == visible.unfinished(SHOWN).keys()


def test_memory_is_bounded_and_what_was_heard_first_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WRITES", 2)
    monkeypatch.setattr(module, "_COMPLETE", 2)
    monkeypatch.setattr(module, "_MOVING", 2)
    names = ["shop.yml", "cart.yml", "third.yml"]
    shown = outline({name: mark(number) for number, name in enumerate(names)})

    assert set(names[1:]) == heard(*(event(Kind.MODIFIED, name) for name in names)).unfinished(shown).keys()
    complete = heard(*(event(Kind.CLOSED, name) for name in names))
    assert [False, True, True] == [complete.is_complete(shown, name) for name in names]
    moved = Writes()
    for cookie, name in enumerate(names):
        heard(event(Kind.MODIFIED, "." + name), event(Kind.MOVED_AWAY, "." + name, cookie=cookie), writes=moved)
    heard(event(Kind.MOVED_HERE, "shop.yml", cookie=0), event(Kind.MOVED_HERE, "cart.yml", cookie=1), writes=moved)
    assert {"cart.yml"} == moved.unfinished(shown).keys()


def test_more_files_written_during_a_reading_than_are_remembered_make_it_be_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_WRITES", 2)
    writes = Writes()
    writes.begin_reading(0.0)
    for number in range(2):
        writes.heard(event(Kind.MODIFIED, f".{number}"), 1.0)
    few = writes.is_stirred
    writes.heard(event(Kind.MODIFIED, ".3"), 1.0)

    assert not few
    assert writes.is_stirred
    assert 0 == len(writes._written)

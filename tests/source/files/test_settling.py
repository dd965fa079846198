"""The time at which a directory is published, and the changes that are held back. Transcripts: events, outlines and times go in, verdicts come out."""

import math
from collections.abc import Mapping
from typing import Any, cast

import attrs
import pytest

from vortexd.source.files.directory import Mark, Outline, difference
from vortexd.source.files.settings import FilesSettings
from vortexd.source.files.settling import Action, Outcome, Reason, Settling, Verdict
from vortexd.source.files.writes import Event, Kind

from .outlines import ROOT, mark, outline

FILES = {"shop.yml": mark(1), "cart.yml": mark(2), "mail.yml": mark(3)}
WAIT, READ, REST = Action.WAIT, Action.READ, Action.REST


class Table:
    """A directory whose every change the test makes, with the state that is published of it."""

    def __init__(self, **settings: Any) -> None:
        defaults = {"quiet": 0.1, "quiet_one_file": 0.02, "max_wait": 1.0, "hold": 2.0}
        self.settling = Settling(FilesSettings(kind="files", path="/x", **{**defaults, **settings}))
        self.published = outline(FILES)
        self.shown = self.published
        self.unsettled: frozenset[str] = frozenset()
        self.is_watched = True

    def change(self, **beside: Any) -> None:
        self.shown = attrs.evolve(self.shown, beside=attrs.evolve(self.shown.beside, **beside))

    def set(self, files: Mapping[str, Mark | None]) -> None:
        """Write files, and delete those that are None."""
        now = {**self.shown.files, **files}
        self.shown = attrs.evolve(self.shown, files={path: each for path, each in now.items() if each is not None})

    def hear(self, now: float, kind: Kind, name: str = "shop.yml", cookie: int = 0) -> bool:
        return self.settling.heard(Event(kind, ROOT, name, cookie), now)

    def judge(self, now: float, begun: float | None = None, noticed: float | None = None) -> Verdict:
        """Decide after a look that began a moment ago, or just now."""
        changed = difference(self.published, self.shown)
        return self.settling.judge(
            self.published,
            self.shown,
            changed,
            self.unsettled,
            now if begun is None else begun,
            now,
            is_watched=self.is_watched,
            noticed=noticed,
        )

    def finish(self, verdict: Verdict, now: float) -> Outcome:
        changed = difference(self.published, self.shown)
        return self.settling.finish(verdict, self.published, self.shown, changed, self.unsettled, now)

    def read(self, now: float, verdict: Verdict | None = None) -> Outcome:
        """Read the directory, which is left alone meanwhile."""
        verdict = verdict or self.judge(now)
        assert verdict.action is READ
        self.settling.begin_reading(now)
        return self.finish(verdict, now)

    def publish(self, now: float, verdict: Verdict | None = None, altered: bool = True) -> Outcome:
        """Read and publish it."""
        outcome = self.read(now, verdict)
        assert outcome.is_settled
        self.settling.published(self.shown, outcome.held, dict.fromkeys(outcome.overdue, altered))
        held = {path: self.published.files.get(path) for path in outcome.held}
        files = {path: each for path, each in {**self.shown.files, **held}.items() if each is not None}
        self.published = attrs.evolve(self.shown, files=files)
        return outcome

    def renamed(self, now: float, path: str = "shop.yml", inode: int = 50) -> None:
        """A new file in place of another."""
        self.set({path: mark(inode)})
        self.hear(now, Kind.MOVED_HERE, path)

    def modified(self, now: float, path: str = "shop.yml", size: int = 5) -> None:
        """A write in place; the program goes on."""
        self.set({path: mark(1, size, int(now * 1000))})
        self.hear(now, Kind.MODIFIED, path)


def about(seconds: float) -> float:
    """Equals every time that differs only by rounding."""
    return cast(float, pytest.approx(seconds))


def waits(at: float) -> Verdict:
    return Verdict(WAIT, about(at))


# How long it has to be quiet.


def test_nothing_new_is_nothing_to_do() -> None:
    assert Verdict(REST) == Table().judge(1.0)


@pytest.mark.parametrize("kind", [Kind.MOVED_HERE, Kind.CLOSED, Kind.DELETED, Kind.TOUCHED])
def test_one_complete_file_waits_for_the_short_quiet_time(kind: Kind) -> None:
    table = Table()
    table.set({"shop.yml": None if kind is Kind.DELETED else mark(1, 11)})
    table.hear(1.0, kind)

    assert waits(1.02) == table.judge(1.0)
    assert WAIT is table.judge(1.0199).action
    assert Verdict(READ) == table.judge(1.02)


def test_the_short_time_begins_when_the_kernel_told_of_the_file_and_not_when_it_was_seen() -> None:
    table = Table()
    table.renamed(1.0)

    assert waits(1.02) == table.judge(1.015)
    assert Verdict(READ) == table.judge(1.02)


def test_a_file_that_changes_again_without_an_event_begins_the_short_time_anew() -> None:
    table = Table()
    table.renamed(1.0)
    table.judge(1.0)
    table.set({"shop.yml": mark(50, 11)})

    assert waits(1.035) == table.judge(1.015)


def test_an_event_that_came_to_nothing_says_nothing_of_the_next_change() -> None:
    table = Table()
    table.hear(1.0, Kind.CLOSED)
    table.judge(1.0)
    table.set({"shop.yml": mark(1, 11)})

    assert waits(9.1) == table.judge(9.0)


def test_an_event_that_came_after_the_look_began_is_for_the_next_one() -> None:
    table = Table()
    table.hear(1.001, Kind.CLOSED)
    table.judge(1.002, begun=1.0)
    table.set({"shop.yml": mark(1, 11)})

    assert waits(1.021) == table.judge(1.003)


def test_the_long_time_begins_when_the_files_were_seen() -> None:
    table = Table()
    table.renamed(1.0, "shop.yml")
    table.renamed(1.0, "cart.yml", 51)

    assert waits(1.115) == table.judge(1.015)


def test_two_files_wait_for_the_long_one() -> None:
    table = Table()
    table.renamed(1.0, "shop.yml")
    table.renamed(1.0, "cart.yml", 51)

    assert waits(1.1) == table.judge(1.0)
    assert WAIT is table.judge(1.0999).action
    assert Verdict(READ) == table.judge(1.1)


def test_a_file_of_which_the_kernel_told_nothing_waits_for_the_long_one() -> None:
    table = Table()
    table.set({"shop.yml": mark(1, 11)})
    table.hear(1.0, Kind.CLOSED, "cart.yml")

    assert waits(1.1) == table.judge(1.0)


def test_where_a_directory_is_not_watched_one_file_waits_for_the_long_one() -> None:
    table = Table()
    table.is_watched = False
    table.renamed(1.0)

    assert waits(1.1) == table.judge(1.0)


def test_one_file_waits_for_the_long_one_beside_a_lock_or_a_temporary_file() -> None:
    table = Table()
    table.change(is_busy=True)
    table.renamed(1.0)

    assert waits(1.1) == table.judge(1.0)


def test_a_lock_that_is_there_at_the_end_of_the_short_time_makes_it_the_long_one() -> None:
    table = Table()
    table.renamed(1.0)
    table.judge(1.0)
    table.change(is_busy=True)

    assert waits(1.1) == table.judge(1.02)


@pytest.mark.parametrize("name", ["cart.yml", ".hidden"])
def test_one_file_waits_for_the_long_one_while_another_is_open_for_writing(name: str) -> None:
    table = Table()
    table.hear(0.9, Kind.MODIFIED, name)
    table.renamed(1.0)

    assert waits(1.1) == table.judge(1.0)


def test_one_file_waits_for_the_long_one_while_another_is_held_without_events() -> None:
    table = Table()
    table.set({"cart.yml": mark(2, 0)})
    table.renamed(1.0)

    assert waits(1.1) == table.judge(1.0)


@pytest.mark.parametrize("shape", [{"directories": {"": ROOT, "sub/": (1, 200)}}, {"closed": {"sub/": "why"}}])
def test_directories_that_come_go_or_close_wait_for_the_long_one(shape: dict[str, Any]) -> None:
    table = Table()
    table.shown = attrs.evolve(table.shown, **shape)
    alone = table.judge(1.0)
    table.renamed(1.0)

    assert waits(1.1) == alone == table.judge(1.0)


def test_the_short_time_is_never_longer_than_the_long_one() -> None:
    table = Table(quiet=0.01)
    table.renamed(1.0)

    assert waits(1.01) == table.judge(1.0)


@pytest.mark.parametrize("kind", [Kind.CLOSED, Kind.MOVED_HERE, Kind.DELETED, Kind.TOUCHED])
def test_each_event_of_another_state_begins_the_quiet_time_anew(kind: Kind) -> None:
    table = Table()
    table.renamed(1.0)
    table.judge(1.0)
    table.hear(1.015, kind, "cart.yml")

    assert waits(1.035) == table.judge(1.02)
    assert Verdict(READ) == table.judge(1.035)


def test_each_change_that_is_seen_begins_it_anew_without_events() -> None:
    table = Table()
    table.is_watched = False
    for number in range(3):
        table.set({"shop.yml": mark(1, 11 + number)})

        assert waits(1.1 + number * 0.05) == table.judge(1.0 + number * 0.05)
        assert waits(1.1 + number * 0.05) == table.judge(1.0 + number * 0.05 + 0.01)


def test_directories_that_change_begin_it_anew() -> None:
    table = Table()
    table.renamed(1.0)
    table.judge(1.0)
    table.shown = attrs.evolve(table.shown, directories={"": ROOT, "sub/": (1, 200)})

    assert waits(1.11) == table.judge(1.01)


def test_changes_that_go_on_are_read_after_the_longest_wait() -> None:
    table = Table()
    for step in range(20):
        now = 1.0 + step * 0.05
        table.renamed(now, inode=50 + step)
        verdict = table.judge(now)

        assert waits(min(now + 0.02, 2.0)) == verdict
    table.renamed(2.0, inode=99)

    assert Verdict(READ, is_last=True) == table.judge(2.0)


def test_the_longest_wait_begins_with_the_first_change_after_a_publication() -> None:
    table = Table()
    table.renamed(1.0)
    table.judge(1.0)
    table.publish(1.02)
    table.renamed(5.0, inode=51)

    assert waits(5.02) == table.judge(5.0)
    assert Verdict(READ) == table.judge(5.02)


def test_the_longest_wait_begins_anew_after_a_change_that_was_taken_back() -> None:
    table = Table()
    before = table.shown
    table.renamed(1.0)
    table.judge(1.0)
    table.shown = before
    rest = table.judge(1.01)
    table.renamed(3.0)

    assert Verdict(REST) == rest
    assert waits(3.02) == table.judge(3.0)


# What is read again though its mark is the same.


def test_unsettled_files_are_read_at_once() -> None:
    table = Table()
    table.unsettled = frozenset({"shop.yml"})

    assert Verdict(READ) == table.judge(1.0)
    assert Outcome(True) == table.read(1.0)


def test_unsettled_files_that_turn_out_to_have_changed_are_judged_as_changes() -> None:
    table = Table()
    table.unsettled = frozenset({"shop.yml"})
    verdict = table.judge(1.0)
    table.renamed(1.001)

    assert not table.read(1.001, verdict).is_settled
    assert waits(1.021) == table.judge(1.002)


def test_directories_that_change_while_unsettled_files_are_read_are_judged_as_changes() -> None:
    table = Table()
    table.unsettled = frozenset({"shop.yml"})
    verdict = table.judge(1.0)
    table.shown = attrs.evolve(table.shown, directories={"": ROOT, "sub/": (1, 200)})

    assert not table.read(1.001, verdict).is_settled


def test_events_beside_unsettled_files_do_not_make_them_be_read_for_ever() -> None:
    table = Table()
    table.unsettled = frozenset({"shop.yml"})
    verdict = table.judge(1.0)
    table.settling.begin_reading(1.0)
    table.hear(1.0, Kind.TOUCHED, "")

    assert table.finish(verdict, 1.0).is_settled


def test_an_unsettled_file_that_is_being_written_keeps_its_content() -> None:
    table = Table()
    table.unsettled = frozenset({"shop.yml"})
    table.hear(1.0, Kind.MODIFIED)

    assert Verdict(REST, about(3.0)) == table.judge(1.0)
    assert frozenset({"shop.yml"}) == table.read(1.0, Verdict(READ)).held
    assert {"shop.yml": Reason.OPEN} == table.read(3.0).overdue


# Files that are open for writing.


def test_a_file_that_is_open_for_writing_is_held_until_it_is_closed() -> None:
    table = Table()
    table.modified(1.0)
    held = table.judge(1.001)
    later = table.judge(2.9)
    table.hear(2.91, Kind.CLOSED)

    assert Verdict(REST, about(3.0)) == held == later
    assert waits(2.93) == table.judge(2.91)
    assert Outcome(True) == table.publish(2.93)


def test_of_several_files_the_one_that_is_held_for_longest_is_looked_at_first() -> None:
    table = Table()
    table.modified(1.0, "shop.yml")
    table.judge(1.0)
    table.modified(1.5, "cart.yml")
    rest = table.judge(1.5)
    table.renamed(1.6, "mail.yml")

    assert Verdict(REST, about(3.0)) == rest
    quiet = table.judge(1.6)
    assert waits(1.7) == quiet
    outcome = table.publish(quiet.at)
    assert Outcome(True, frozenset({"shop.yml", "cart.yml"}), {}, about(3.0)) == outcome
    table.renamed(2.95, "mail.yml", 51)
    assert waits(3.0) == table.judge(2.95)


def test_a_new_file_that_is_open_for_writing_stays_absent() -> None:
    table = Table()
    table.set({"new.yml": mark(9)})
    table.hear(1.0, Kind.CREATED, "new.yml")
    table.hear(1.0, Kind.MODIFIED, "new.yml")

    assert Verdict(REST, about(3.0)) == table.judge(1.0)


def test_another_file_moves_on_and_the_open_one_keeps_its_content() -> None:
    table = Table()
    table.modified(1.0, "cart.yml")
    table.judge(1.0)
    table.renamed(1.5)

    assert waits(1.6) == table.judge(1.5)
    table.modified(1.59, "cart.yml", size=6)  # it goes on, and nobody waits for it
    assert Verdict(READ) == table.judge(1.6)
    outcome = table.publish(1.6)
    assert Outcome(True, frozenset({"cart.yml"}), {}, about(3.0)) == outcome
    assert FILES["cart.yml"] == table.published.files["cart.yml"]
    assert Verdict(REST, about(3.0)) == table.judge(1.7)


def test_a_file_that_goes_on_being_written_while_others_are_read_holds_nobody_up() -> None:
    table = Table()
    table.modified(1.0, "cart.yml")
    table.renamed(1.0)
    table.judge(1.0)
    verdict = table.judge(1.1)
    table.settling.begin_reading(1.1)
    table.modified(1.101, "cart.yml", size=7)

    assert table.finish(verdict, 1.102).is_settled


def test_after_hold_seconds_it_is_overdue_and_read_at_once() -> None:
    table = Table()
    table.modified(1.0)
    table.judge(1.0)
    table.modified(2.99, size=6)

    assert REST is table.judge(2.999).action
    assert Verdict(READ, is_last=True) == table.judge(3.0)
    assert Outcome(True, overdue={"shop.yml": Reason.OPEN}) == table.publish(3.0)


def test_after_that_it_is_not_held_again_until_it_is_closed() -> None:
    table = Table()
    table.modified(1.0)
    table.judge(1.0)
    table.publish(3.0)
    table.modified(4.0, size=6)

    assert waits(4.1) == table.judge(4.0)
    assert Outcome(True) == table.publish(4.1)
    table.hear(5.0, Kind.CLOSED)
    table.modified(6.0, size=7)
    assert Verdict(REST, about(8.0)) == table.judge(6.0)


def test_a_released_file_that_is_written_while_it_is_read_is_not_held_either() -> None:
    table = Table()
    table.modified(1.0)
    table.publish(3.0)
    table.modified(4.0, size=6)
    verdict = attrs.evolve(table.judge(4.0), action=READ, is_last=True)
    table.settling.begin_reading(4.1)
    table.modified(4.1, size=7)

    assert Outcome(True) == table.finish(verdict, 4.1)


def test_a_file_that_is_closed_and_opened_again_and_again_is_held_no_longer_in_all() -> None:
    table = Table()
    for step in range(19):
        now = 1.0 + step * 0.1
        table.modified(now, size=20 + step)

        assert Verdict(REST, about(3.0)) == table.judge(now)
        table.hear(now + 0.05, Kind.CLOSED)
        assert WAIT is table.judge(now + 0.05).action
    table.modified(2.95, size=40)

    assert REST is table.judge(2.95).action
    assert Verdict(READ, is_last=True) == table.judge(3.0)


def test_after_a_publication_it_is_held_for_the_whole_time_again() -> None:
    table = Table()
    table.modified(1.0)
    table.judge(1.0)
    table.hear(2.0, Kind.CLOSED)
    table.judge(2.0)
    table.publish(2.02)
    table.modified(2.5, size=6)

    assert Verdict(REST, about(4.5)) == table.judge(2.5)


def test_a_write_that_is_taken_back_ends_the_hold() -> None:
    table = Table()
    before = table.shown
    table.modified(1.0)
    table.judge(1.0)
    table.hear(1.1, Kind.CLOSED)
    table.shown = before
    table.judge(1.1)
    table.modified(2.0)

    assert Verdict(REST, about(4.0)) == table.judge(2.0)


def test_a_file_that_was_written_with_what_it_held_is_held_again_at_the_next_modification() -> None:
    table = Table()
    table.hear(1.0, Kind.MODIFIED)
    first = table.judge(1.0)
    rest = table.judge(3.0)
    table.modified(9.0)

    assert Verdict(REST, about(3.0)) == first
    assert Verdict(REST) == rest
    assert Verdict(REST, about(11.0)) == table.judge(9.0)


def test_one_published_unchanged_is_held_again_at_the_next_modification() -> None:
    table = Table()
    table.modified(1.0)
    table.judge(1.0)
    table.publish(3.0, altered=False)
    rest = table.judge(3.5)
    table.modified(4.0, size=6)

    assert Verdict(REST) == rest
    assert Verdict(REST, about(6.0)) == table.judge(4.0)


def test_a_file_that_is_overdue_does_not_take_others_along_that_have_just_changed() -> None:
    table = Table()
    table.modified(1.0, "cart.yml")
    table.judge(1.0)
    table.renamed(2.95, "shop.yml")
    table.renamed(2.95, "mail.yml", 51)

    assert waits(3.0) == table.judge(2.95)
    verdict = table.judge(3.0)
    assert Verdict(READ, is_last=True, withheld=frozenset({"shop.yml", "mail.yml"})) == verdict
    outcome = table.publish(3.0, verdict)
    assert Outcome(True, verdict.withheld, {"cart.yml": Reason.OPEN}, 3.0) == outcome
    quiet = table.judge(3.0)
    assert waits(3.05) == quiet
    assert table.publish(quiet.at).is_settled
    assert table.shown.files == table.published.files


def test_files_withheld_for_one_that_is_overdue_do_not_begin_their_longest_wait_anew() -> None:
    table = Table()
    table.modified(1.0, "cart.yml")
    table.judge(1.0)
    for step in range(12):
        table.renamed(2.5 + step * 0.05, "mail.yml", 60 + step)
        verdict = table.judge(2.5 + step * 0.05)
        if verdict.action is READ:
            table.publish(2.5 + step * 0.05, verdict)
    table.renamed(3.45, "mail.yml", 90)
    table.judge(3.45)
    table.renamed(3.499, "mail.yml", 91)

    assert waits(3.5) == table.judge(3.499)


def test_a_withheld_file_that_becomes_overdue_meanwhile_stays_withheld() -> None:
    table = Table()
    table.modified(1.0)
    table.judge(1.0)
    verdict = Verdict(READ, is_last=True, withheld=frozenset({"shop.yml"}))

    assert {} == table.read(3.5, verdict).overdue


def test_an_overdue_file_among_others_that_are_quiet_is_published_with_them() -> None:
    table = Table()
    table.modified(1.0, "cart.yml")
    table.judge(1.0)
    table.renamed(2.9)
    table.judge(2.9)

    assert WAIT is table.judge(2.999).action
    assert Verdict(READ, is_last=True) == table.judge(3.0)


def test_a_file_that_is_closed_at_the_end_of_its_time_is_published_then_and_is_not_overdue() -> None:
    table = Table()
    table.modified(1.0)
    table.judge(1.0)
    table.hear(2.99, Kind.CLOSED)

    assert waits(3.0) == table.judge(2.99)
    assert Outcome(True) == table.publish(3.0)
    assert Verdict(REST) == table.judge(3.0)


def test_without_a_hold_nothing_is_held() -> None:
    table = Table(hold=0.0)
    table.modified(1.0, size=0)
    table.judge(1.0)

    assert Verdict(READ) == table.judge(1.1)
    assert Outcome(True) == table.read(1.1)


# Files that have become empty.


@pytest.mark.parametrize("is_watched", [True, False])
def test_a_file_that_has_become_empty_is_held_with_or_without_events(is_watched: bool) -> None:
    table = Table()
    table.is_watched = is_watched
    table.set({"shop.yml": mark(1, 0)})
    if is_watched:
        table.hear(1.0, Kind.MODIFIED)
        table.hear(1.0, Kind.CLOSED)

    assert Verdict(REST, about(3.0)) == table.judge(1.0) == table.judge(2.9)
    assert Verdict(READ, is_last=True) == table.judge(3.0)
    assert Outcome(True, overdue={"shop.yml": Reason.EMPTY}) == table.publish(3.0)
    assert Verdict(REST) == table.judge(4.0)


def test_one_byte_is_not_empty() -> None:
    table = Table()
    table.set({"shop.yml": mark(1, 1)})

    assert WAIT is table.judge(1.0).action


@pytest.mark.parametrize("path", ["shop.yml", "new.yml"])
def test_an_empty_file_that_was_empty_or_is_new_is_not_held(path: str) -> None:
    table = Table()
    table.published = table.shown = outline({"shop.yml": mark(1, 0)})
    table.set({path: mark(2, 0)})

    assert WAIT is table.judge(1.0).action


def test_an_emptied_file_that_is_filled_in_time_is_published_whole() -> None:
    table = Table()
    table.modified(1.0, size=0)
    table.hear(1.0, Kind.CLOSED)
    table.judge(1.0)
    table.modified(2.0)
    table.hear(2.0, Kind.CLOSED)

    assert waits(2.02) == table.judge(2.0)
    assert Outcome(True) == table.publish(2.02)


def test_an_emptied_file_that_is_filled_slowly_is_held_no_longer_in_all() -> None:
    table = Table()
    table.modified(1.0, size=0)
    table.hear(1.0, Kind.CLOSED)
    table.judge(1.0)
    table.modified(2.5)

    assert Verdict(REST, about(3.0)) == table.judge(2.5)
    assert {"shop.yml": Reason.OPEN} == table.read(3.0).overdue


def test_an_empty_file_renamed_over_another_is_held() -> None:
    table = Table()
    table.set({"shop.yml": mark(9, 0)})
    table.hear(1.0, Kind.MOVED_HERE)

    assert REST is table.judge(1.0).action


def test_an_emptied_file_that_is_deleted_is_not_held() -> None:
    table = Table()
    table.modified(1.0, size=0)
    table.judge(1.0)
    table.set({"shop.yml": None})
    table.hear(1.1, Kind.DELETED)

    assert waits(1.12) == table.judge(1.1)


# What happens while the directory is read.


def test_a_directory_that_stays_as_it_was_judged_is_settled() -> None:
    table = Table()
    table.renamed(1.0)
    table.judge(1.0)

    assert Outcome(True) == table.read(1.02)


@pytest.mark.parametrize("what", ["file", "directories", "event"])
def test_one_that_changes_while_it_is_read_is_judged_again(what: str) -> None:
    table = Table()
    table.renamed(1.0)
    table.judge(1.0)
    verdict = table.judge(1.02)
    table.settling.begin_reading(1.02)
    if what == "file":
        table.set({"cart.yml": mark(2, 11)})
    elif what == "directories":
        table.shown = attrs.evolve(table.shown, directories={"": ROOT, "sub/": (1, 200)})
    else:
        table.hear(1.021, Kind.CLOSED)

    assert not table.finish(verdict, 1.022).is_settled
    assert WAIT is table.judge(1.022).action


def test_a_modification_that_is_told_after_the_reading_holds_the_file() -> None:
    table = Table()
    table.set({"shop.yml": mark(1, 11)})
    table.hear(1.0, Kind.CLOSED)
    table.judge(1.0)
    verdict = table.judge(1.02)
    table.settling.begin_reading(1.02)
    table.hear(1.021, Kind.MODIFIED)

    assert not table.finish(verdict, 1.022).is_settled
    assert Verdict(REST, about(3.021)) == table.judge(1.022)


def test_a_file_written_and_closed_while_it_is_read_is_held_where_nothing_can_wait() -> None:
    table = Table()
    table.renamed(1.0, "cart.yml")
    table.judge(1.0)
    table.set({"shop.yml": mark(1, 11)})
    verdict = table.judge(2.0)
    assert verdict.is_last
    table.settling.begin_reading(2.0)
    table.hear(2.001, Kind.MODIFIED)
    table.hear(2.001, Kind.CLOSED)
    outcome = table.finish(verdict, 2.002)

    assert Outcome(True, frozenset({"shop.yml"}), {}, about(4.002)) == outcome


def test_a_file_written_again_and_again_while_it_is_read_is_overdue_in_the_end() -> None:
    table = Table()
    outcomes = []
    now = 1.0
    while now < 4.5:
        table.set({"shop.yml": mark(1, 11, int(now * 1000))})
        table.hear(now, Kind.MODIFIED)
        table.hear(now, Kind.CLOSED)
        verdict = table.judge(now)
        if verdict.action is READ:
            table.settling.begin_reading(now)
            table.hear(now, Kind.MODIFIED)
            table.hear(now, Kind.CLOSED)
            outcome = table.finish(verdict, now)
            if outcome.is_settled:
                outcomes.append((round(now, 3), set(outcome.held), dict(outcome.overdue)))
                table.settling.published(table.shown, outcome.held, dict.fromkeys(outcome.overdue, True))
        now += 0.01

    assert (2.0, {"shop.yml"}, {}) == outcomes[0]
    assert {"shop.yml": Reason.RESTLESS} == outcomes[-1][2]
    assert 4.0 == pytest.approx(outcomes[-1][0], abs=0.011)


def test_a_reason_that_lasts_goes_before_the_reading() -> None:
    table = Table()
    table.modified(1.0, size=0)
    table.hear(1.0, Kind.CLOSED)
    table.judge(1.0)
    verdict = table.judge(3.0)
    table.settling.begin_reading(3.0)
    table.hear(3.0, Kind.CLOSED)

    assert {"shop.yml": Reason.EMPTY} == table.finish(verdict, 3.0).overdue


# The first state.


def first(table: Table, now: float, began: float, shown: Outline | None = None) -> Outcome:
    return table.settling.first(shown or table.shown, now, began)


def test_the_first_state_is_published_at_once() -> None:
    assert Outcome(True) == first(Table(), 1.0, 1.0)


def test_the_first_state_waits_for_a_file_that_is_being_written() -> None:
    table = Table()
    table.hear(1.5, Kind.MODIFIED)
    outcome = first(table, 1.5, 1.0)
    table.hear(1.6, Kind.CLOSED)
    table.settling.begin_reading(1.6)

    assert Outcome(False, frozenset({"shop.yml"}), {}, 3.0) == outcome
    assert Outcome(True) == first(table, 1.6, 1.0)


def test_the_first_state_waits_for_a_file_that_was_closed_while_it_was_read() -> None:
    table = Table()
    table.settling.begin_reading(1.0)
    table.hear(1.0, Kind.CLOSED)

    assert not first(table, 1.0, 1.0).is_settled


def test_the_first_state_waits_no_longer_than_hold_in_all() -> None:
    table = Table()
    table.hear(2.9, Kind.MODIFIED)

    assert not first(table, 2.999, 1.0).is_settled
    assert Outcome(True, overdue={"shop.yml": Reason.OPEN}) == first(table, 3.0, 1.0)


def test_the_first_state_is_looked_at_again_when_the_first_file_is_due() -> None:
    table = Table()
    table.hear(1.1, Kind.MODIFIED, "shop.yml")
    first(table, 1.1, 1.0)
    table.hear(1.5, Kind.MODIFIED, "cart.yml")

    assert Outcome(False, frozenset({"shop.yml", "cart.yml"}), {}, about(3.0)) == first(table, 1.5, 1.0)


def test_the_first_state_waits_for_nothing_without_a_hold() -> None:
    table = Table(hold=0.0)
    table.hear(1.0, Kind.MODIFIED)

    assert Outcome(True) == first(table, 1.0, 1.0)


def test_an_empty_file_is_no_reason_to_wait_for_the_first_state() -> None:
    assert Outcome(True) == first(Table(), 1.0, 1.0, outline({"shop.yml": mark(1, 0)}))


def test_rest_without_a_deadline_lasts_until_something_happens() -> None:
    assert math.inf == Table().judge(1.0).at


# A caller that waits for the end of a write before it looks.


def test_a_look_after_the_quiet_time_finds_one_file_settled() -> None:
    table = Table()
    table.hear(5.0, Kind.MOVED_HERE)
    assert 5.02 == table.settling.quiet_at
    table.set({"shop.yml": mark(7)})

    verdict = table.judge(5.02, noticed=5.0)

    assert (READ, False) == (verdict.action, verdict.is_last)


@pytest.mark.parametrize("quiet", [0.01, 0.1])
def test_the_wait_is_the_shorter_of_both_quiet_times(quiet: float) -> None:
    table = Table(quiet=quiet)
    assert -math.inf == table.settling.quiet_at
    table.hear(5.0, Kind.CLOSED)

    assert 5.0 + min(quiet, 0.02) == table.settling.quiet_at


def test_several_files_are_quiet_since_the_last_event_and_not_since_the_look() -> None:
    table = Table()
    table.hear(5.0, Kind.MOVED_HERE)
    table.hear(5.01, Kind.MOVED_HERE, "cart.yml")
    table.set({"shop.yml": mark(7), "cart.yml": mark(8)})

    verdict = table.judge(5.03, noticed=5.0)
    assert WAIT is verdict.action
    assert pytest.approx(5.11) == verdict.at
    assert READ is table.judge(5.11).action


def test_the_longest_wait_begins_when_the_look_became_due() -> None:
    table = Table()
    for number in range(60):
        now = 5.0 + number / 60
        table.hear(now, Kind.MOVED_HERE)
        table.set({"shop.yml": mark(7, number)})
        if number % 6 == 2:
            assert WAIT is table.judge(now, noticed=5.0 if number == 2 else None).action
    assert WAIT is table.judge(5.999).action

    verdict = table.judge(6.0)

    assert (READ, True) == (verdict.action, verdict.is_last)


@pytest.mark.parametrize(("is_told", "ends"), [(True, 7.0), (False, 7.02)])
def test_the_hold_of_an_emptied_file_begins_with_its_event_or_the_look(is_told: bool, ends: float) -> None:
    table = Table()
    if is_told:
        table.hear(5.0, Kind.CLOSED)
    table.set({"shop.yml": mark(1, 0)})

    verdict = table.judge(5.02)
    assert REST is verdict.action
    assert pytest.approx(ends) == verdict.at


def test_a_look_is_due_when_the_first_hold_ends() -> None:
    table = Table()
    for now, name in ((5.0, "shop.yml"), (5.01, "cart.yml")):
        table.hear(now, Kind.MODIFIED, name)
        table.set({name: mark(1 if name == "shop.yml" else 2, 20)})
        table.judge(now)
    table.hear(6.97, Kind.CLOSED, "mail.yml")
    assert [6.99] * 2 == pytest.approx([table.settling.quiet_at, table.settling.look_at])
    table.hear(6.99, Kind.CLOSED, "mail.yml")

    assert 7.01 == pytest.approx(table.settling.quiet_at)
    assert 7.0 == table.settling.look_at


def test_a_look_is_due_when_the_longest_wait_ends() -> None:
    table = Table()
    found: list[float] = []
    for now in (5.0, 5.97, 5.99):
        table.hear(now, Kind.MOVED_HERE)
        table.set({"shop.yml": mark(7, 10, int(100 * now))})
        found.append(table.settling.look_at)
        assert WAIT is table.judge(now).action

    # The first is before a round has begun.
    assert [5.02, 5.99, 6.0] == pytest.approx(found)


def test_it_is_quiet_after_the_quiet_time_unless_any_write_goes_on() -> None:
    table = Table()
    assert table.settling.is_quiet(5.0)
    table.hear(5.0, Kind.CLOSED)
    assert [False, False, True] == [table.settling.is_quiet(now) for now in (5.0, 5.019, 5.02)]
    table.hear(6.0, Kind.MODIFIED, ".other.tmp")
    assert not table.settling.is_quiet(7.0)
    table.hear(7.0, Kind.CLOSED, ".other.tmp")
    assert table.settling.is_quiet(7.0)

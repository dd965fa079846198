"""The state of a source, and what is logged when it changes."""

from collections.abc import Callable

from structlog.testing import capture_logs

from vortexd.source.status import SourceStatus


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_a_source_is_stale_since_it_was_last_read() -> None:
    clock = Clock()
    status = SourceStatus("x", "git", 30.0, clock, clock)
    status.succeeded("abc")
    clock.time += 50
    assert (0.0, False) == (status.report().stale_for, status.report().is_too_stale)

    status.failed("gone")
    report = status.report()

    assert (50.0, True, "gone", 150.0) == (
        report.stale_for,
        report.is_too_stale,
        report.last_error,
        report.last_error_at,
    )
    assert (100.0, "abc") == (report.last_success, report.revision)


def test_a_source_that_is_read_again_is_fresh_and_remembers_what_was_wrong() -> None:
    clock = Clock()
    status = SourceStatus("x", "git", 30.0, clock, clock)
    status.failed("gone")
    clock.time += 50
    status.succeeded()
    report = status.report()

    assert (False, 0.0, False, "gone") == (
        report.is_failing,
        report.stale_for,
        report.is_too_stale,
        report.last_error,
    )


def test_what_is_wrong_with_a_part_is_no_failure() -> None:
    clock = Clock()
    status = SourceStatus("x", "git", 30.0, clock, clock)
    status.succeeded("abc")
    clock.time += 50
    status.noted("one label")
    report = status.report()

    assert ("one label", 150.0) == (report.last_error, report.last_error_at)
    assert (False, 0.0, False, 0) == (report.is_failing, report.stale_for, report.is_too_stale, report.errors)
    assert (100.0, "abc") == (report.last_success, report.revision)


def test_without_a_bound_no_source_is_too_stale() -> None:
    clock = Clock()
    status = SourceStatus("x", "git", 0.0, clock, clock)
    status.failed("gone")
    clock.time += 1e6

    assert not status.report().is_too_stale


def test_each_reason_is_logged_once_until_the_source_can_be_read_again() -> None:
    status = SourceStatus("x", "git", 0.0, Clock(), Clock())
    with capture_logs() as logs:
        status.succeeded("1")
        for reason in ("one", "one", "two", "two", "one"):
            status.failed(reason)
        status.succeeded("2")
        status.succeeded("3")
        status.failed("one")

    assert [
        ("source unreadable", "one"),
        ("source unreadable", "two"),
        ("source unreadable", "one"),
        ("source readable again", None),
        ("source unreadable", "one"),
    ] == [(each["event"], each.get("reason")) for each in logs]
    assert {"x"} == {each["source"] for each in logs}


def test_the_unfinished_files_are_those_of_the_last_publication() -> None:
    status = SourceStatus("x", "files")
    assert {} == status.report().unfinished

    status.published({"shop.yml": "why"})
    assert {"shop.yml": "why"} == status.report().unfinished == status.unfinished
    status.published({})
    assert {} == status.report().unfinished


def test_the_root_may_be_learned_later() -> None:
    status = SourceStatus("x", "published", root="x")
    status.rooted("git:/")
    assert "git:/" == status.report().root


def consequences(*steps: Callable[[SourceStatus], object]) -> list[str]:
    status = SourceStatus("x", "git", 0.0, Clock(), Clock())
    with capture_logs() as logs:
        for step in steps:
            step(status)
    return [each["consequence"] for each in logs if each["event"] == "source unreadable"]


NOTHING = "this source has no state yet, so the server serves nothing of it"
LAST = "the server keeps serving the last state"


def test_the_log_says_whether_there_is_a_state_to_serve() -> None:
    def failed(status: SourceStatus) -> None:
        status.failed("gone")

    assert [NOTHING] == consequences(failed, failed)
    assert [NOTHING] * 2 == consequences(failed, lambda status: status.noted("x"), failed)
    assert [LAST] == consequences(lambda status: status.succeeded(), failed)
    assert [NOTHING, LAST] == consequences(failed, lambda status: status.succeeded("1"), failed)
    # A state whose source is still out of date.
    assert [NOTHING, LAST] == consequences(
        failed, lambda status: status.serves("1"), lambda status: status.failed("other")
    )
    assert [NOTHING] == consequences(lambda status: status.rooted("r"), failed)

"""Facts about the newest version as each node shows it: readings, events, and records that can't be read."""

from structlog.testing import capture_logs

from vortexd.cluster.engine import Entry, Event
from vortexd.cluster.keys import Keys
from vortexd.cluster.published.head import Announcement
from vortexd.cluster.published.newest import Newest
from vortexd.cluster.warnings import RecordWarnings

KEYS = Keys("c")
ONE, TWO = Announcement(1, "a" * 64, 1.0, "n"), Announcement(2, "b" * 64, 2.0, "m")


def entry(value: bytes, key: str = KEYS.published) -> Entry:
    return Entry(key, value, 1, 1)


def test_the_newest_version_is_that_of_the_reading_and_then_of_the_last_event() -> None:
    newest = Newest(KEYS, RecordWarnings())
    assert newest.said is None
    newest.read([entry(b"x", KEYS.leader), entry(ONE.encoded())])
    assert newest.said == ONE
    newest.take([Event(KEYS.published, entry(TWO.encoded()), 2), Event(KEYS.leader, entry(b"x", KEYS.leader), 2)])
    assert newest.said == TWO
    newest.take([Event(KEYS.leader, None, 3)])
    assert newest.said == TWO
    newest.take([Event(KEYS.published, None, 4)])
    assert newest.said is None


def test_a_reading_without_a_version_forgets_the_last_one() -> None:
    newest = Newest(KEYS, RecordWarnings())
    newest.read([entry(ONE.encoded())])
    newest.read([])
    assert newest.said is None


def test_a_record_that_cannot_be_read_is_logged_once_and_shows_nothing() -> None:
    newest = Newest(KEYS, RecordWarnings())
    newest.read([entry(ONE.encoded())])
    with capture_logs() as logs:
        newest.take([Event(KEYS.published, entry(b"x"), 2)])
        newest.take([Event(KEYS.published, entry(b"y"), 3)])
    assert newest.said is None
    assert [("cluster record unusable", KEYS.published)] == [(each["event"], each["key"]) for each in logs]


def test_a_record_that_became_usable_or_is_gone_may_be_logged_again() -> None:
    newest = Newest(KEYS, RecordWarnings())
    with capture_logs() as logs:
        for value in (b"x", ONE.encoded(), b"x"):
            newest.take([Event(KEYS.published, entry(value), 2)])
        newest.take([Event(KEYS.published, None, 3), Event(KEYS.published, entry(b"x"), 4)])
    assert 3 == len(logs)

"""Facts about the keys below a prefix as files: names, limits, and the marker that says when a state is complete."""

from collections.abc import Sequence

import pytest

from vortexd.cluster.engine import Batch, Entry, Event
from vortexd.core.errors import SourceError
from vortexd.source.etcd.keys import Keys
from vortexd.source.etcd.settings import EtcdSettings

SETTINGS = EtcdSettings(prefix="/c/")
MARKED = EtcdSettings(prefix="/c/", marker=".published")


def entry(path: str, value: bytes = b"v", modified: int = 1) -> Entry:
    return Entry(f"/c/{path}", value, 1, modified)


def put(path: str, revision: int, value: bytes = b"new") -> Event:
    return Event(f"/c/{path}", entry(path, value, revision), revision)


def deleted(path: str, revision: int) -> Event:
    return Event(f"/c/{path}", None, revision)


def batch(*events: Event) -> Batch:
    return Batch(events, events[-1].revision)


def test_the_paths_are_what_follows_the_prefix() -> None:
    keys = Keys(SETTINGS, [entry("b/a.yml", b"2", 7), entry("a.yml", b"1", 3)])
    state = keys.state()
    assert list(state.contents.items()) == [("a.yml", b"1"), ("b/a.yml", b"2")]
    assert (state.unreadable, state.skipped, state.revision) == ({}, {}, 7)
    assert keys.marked == keys.newest == 7


def test_an_empty_prefix_is_a_state_without_files() -> None:
    state = Keys(SETTINGS, []).state()
    assert (state.contents, state.revision) == ({}, 0)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "it has an empty part"),
        ("a//b.yml", "it has an empty part"),
        ("a/", "it has an empty part"),
        ("../b.yml", "a part of it begins with a dot"),
        ("a/.git/config", "a part of it begins with a dot"),
        (".hidden.yml", "a part of it begins with a dot"),
        ("a\n.yml", "it isn't UTF-8, or has control characters"),
        ("\udcff.yml", "it isn't UTF-8, or has control characters"),
    ],
)
def test_a_key_that_can_not_be_a_path_is_left_out(path: str, reason: str) -> None:
    state = Keys(SETTINGS, [entry(path), entry("ok.yml")]).state()
    assert list(state.contents) == ["ok.yml"]
    assert state.skipped == {f"/c/{path}": reason}


def test_a_file_that_is_too_large_is_unreadable_and_does_not_count() -> None:
    settings = EtcdSettings(prefix="/c/", file_bytes=3, total_bytes=4)
    state = Keys(settings, [entry("a", b"1234"), entry("b", b"123"), entry("c", b"1")]).state()
    assert state.contents == {"b": b"123", "c": b"1"}
    assert state.unreadable == {"a": "it has 4 bytes, and file_bytes allows 3"}


def test_all_files_together_have_limits() -> None:
    entries = [entry("a", b"12"), entry("b", b"34")]
    assert Keys(EtcdSettings(prefix="/c/", total_bytes=4, files=2), entries).state()
    with pytest.raises(SourceError, match="has 4 bytes, and total_bytes allows 3"):
        Keys(EtcdSettings(prefix="/c/", total_bytes=3), entries).state()
    with pytest.raises(SourceError, match="has more files than 1, which files allows"):
        Keys(EtcdSettings(prefix="/c/", files=1), entries).state()
    with pytest.raises(SourceError, match="more files than 1"):
        Keys(EtcdSettings(prefix="/c/", files=1, file_bytes=1), entries).state()


def test_each_batch_is_a_new_state_without_a_marker() -> None:
    keys = Keys(SETTINGS, [entry("a"), entry("b")])
    assert keys.apply(batch(put("a", 5), deleted("b", 5), put("c", 6)))
    state = keys.state()
    assert (state.contents, state.revision) == ({"a": b"new", "c": b"new"}, 6)


def test_deleting_what_is_not_there_does_no_harm() -> None:
    keys = Keys(SETTINGS, [entry("a")])
    keys.apply(batch(deleted("z", 5)))
    assert list(keys.state().contents) == ["a"]


# The marker.


def test_the_marker_itself_is_never_a_file() -> None:
    assert list(Keys(MARKED, [entry(".published"), entry("a")]).state().contents) == ["a"]
    settings = EtcdSettings(prefix="/c/", marker="done.yml")
    assert list(Keys(settings, [entry("done.yml"), entry("a")]).state().contents) == ["a"]


def test_with_a_marker_a_batch_without_it_is_no_new_state() -> None:
    keys = Keys(MARKED, [entry(".published", b"", 3), entry("a", b"1", 2)])
    assert not keys.apply(batch(put("a", 5), put("b", 6)))
    assert keys.state().contents == {"a": b"1"}
    assert keys.apply(batch(put(".published", 7)))
    assert keys.state().contents == {"a": b"new", "b": b"new"}


@pytest.mark.parametrize("splits", [True, False])
def test_writes_after_the_marker_wait_for_the_next_one(splits: bool) -> None:
    keys = Keys(MARKED, [])
    events: Sequence[Event] = [put("a", 5), put("b", 6), put(".published", 6), put("c", 6), put("a", 7, b"late")]
    if splits:
        assert [keys.apply(batch(*events[:1])), keys.apply(batch(*events[1:4])), keys.apply(batch(*events[4:]))] == [
            False,
            True,
            False,
        ]
    else:
        assert keys.apply(batch(*events))
    assert keys.state().contents == {"a": b"new", "b": b"new", "c": b"new"}
    assert keys.state().revision == 6


def test_the_deletion_of_the_marker_publishes_nothing() -> None:
    keys = Keys(MARKED, [entry(".published", b"", 3), entry("a", b"1", 2)])
    assert not keys.apply(batch(put("a", 4), deleted(".published", 5)))
    assert keys.state().contents == {"a": b"1"}
    assert keys.marked == 0


def test_the_marker_says_at_which_revision_the_state_was_complete() -> None:
    keys = Keys(MARKED, [entry(".published", b"", 3), entry("a", b"late", 4)])
    assert (keys.marked, keys.newest) == (3, 4)
    keys.go_back([entry(".published", b"", 3), entry("a", b"1", 2)])
    assert keys.state().contents == {"a": b"1"}
    assert keys.apply(batch(put(".published", 5)))
    assert keys.state().contents == {"a": b"late"}


def test_without_the_marker_no_revision_is_complete() -> None:
    assert Keys(MARKED, [entry("a", b"", 4)]).marked == 0


# The place in the order of etcd's revisions.


def test_the_place_has_a_revision_at_which_the_files_were_so_and_a_digest_of_them() -> None:
    keys = Keys(SETTINGS, [entry("a.yml", b"1", 3), entry("b.yml", b"2", 5)], 9)
    first = keys.state().place
    assert "9" == first.partition("-")[0]
    keys.apply(batch(deleted("b.yml", 12)))
    second = keys.state().place
    assert "12" == second.partition("-")[0]

    # Another node that reads later has the same content.
    other = Keys(SETTINGS, [entry("a.yml", b"1", 3)], 40).state().place
    assert "40" == other.partition("-")[0]
    assert second.partition("-")[2] == other.partition("-")[2] != first.partition("-")[2]


def test_with_a_marker_the_place_is_that_of_the_marker() -> None:
    keys = Keys(MARKED, [entry("a.yml", b"1", 3), entry(".published", b"", 4)], 9)
    before = keys.state().place
    keys.apply(batch(put("a.yml", 10)))
    assert before == keys.state().place
    keys.apply(batch(put(".published", 11)))
    assert "11" == keys.state().place.partition("-")[0]
    keys.go_back([entry("a.yml", b"1", 3), entry(".published", b"", 11)])
    assert ("11", before.partition("-")[2]) == (
        keys.state().place.partition("-")[0],
        keys.state().place.partition("-")[2],
    )


@pytest.mark.parametrize(
    "others",
    [
        [entry("a.yml", b"1b.yml2")],
        [entry("a.yml", b"2"), entry("b.yml", b"1")],
        [entry("a.yml", b"12"), entry("b.yml", b"")],
        [entry("c.yml", b"1"), entry("b.yml", b"2")],
        [entry("a.yml", b"1"), entry("b.yml", b"2" * (SETTINGS.file_bytes + 1))],
    ],
)
def test_other_files_have_another_digest(others: Sequence[Entry]) -> None:
    usual = Keys(SETTINGS, [entry("a.yml", b"1"), entry("b.yml", b"2")]).state().place

    assert usual != Keys(SETTINGS, others).state().place

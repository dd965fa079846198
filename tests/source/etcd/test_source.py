"""Facts about the etcd source: what it publishes and when, and how it goes on when etcd is away, restored or compacted."""

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import attrs
import pytest
import structlog
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.cluster.memory_engine import MemoryEngine
from tests.source.store_stage import Most, StoreStage, run_without_threads
from vortexd.cluster.engine import Delete, Denied, EngineAway, Put
from vortexd.source.base import Surroundings
from vortexd.source.etcd.settings import EtcdSettings
from vortexd.source.etcd.source import EtcdSource, open_source, root_of

SETTINGS = EtcdSettings(prefix="/c/", endpoints=("http://etcd:2379",))
MARKED = attrs.evolve(SETTINGS, marker=".published")


class Play(StoreStage):
    """A stage with a source of kind "etcd"."""

    def begin(self, settings: EtcdSettings = SETTINGS) -> EtcdSource:
        source = EtcdSource(settings, lambda: self.engine(), Most(), root_of(settings))
        self.start(source)
        return source

    def put(self, **files: str) -> None:
        self.store.change([Put(f"/c/{name.replace('_', '.')}", text.encode()) for name, text in files.items()])

    def files(self) -> list[dict[str, str]]:
        return [{path: text.decode() for path, text in tree.labels["main"].contents.items()} for tree in self.trees]


@pytest.fixture
async def play() -> AsyncIterator[Play]:
    async with trio.open_nursery() as nursery:
        yield Play(nursery)
        nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    run_without_threads(monkeypatch)


async def test_the_first_state_is_published_and_then_each_transaction(play: Play, autojump_clock: MockClock) -> None:
    play.put(a_yml="1", b_yml="1")
    source = play.begin()
    await trio.sleep(1)
    play.put(a_yml="2", c_yml="2")
    await trio.sleep(1)
    play.store.change([Delete("/c/b.yml")])
    await trio.sleep(1)
    assert play.files() == [
        {"a.yml": "1", "b.yml": "1"},
        {"a.yml": "2", "b.yml": "1", "c.yml": "2"},
        {"a.yml": "2", "c.yml": "2"},
    ]
    report = source.status.report()
    assert (report.kind, report.name, report.is_failing, report.revision) == ("etcd", "etcd:/c/", False, "3")
    tree = play.trees[-1]
    assert (tree.default_label, tree.labels["main"].root) == ("main", "etcd:/c/")
    assert tree.noticed is not None


async def test_an_empty_prefix_is_published_too(play: Play, autojump_clock: MockClock) -> None:
    play.begin()
    await trio.sleep(1)
    assert play.files() == [{}]


async def test_writes_that_follow_closely_are_one_publication(play: Play, autojump_clock: MockClock) -> None:
    play.begin()
    await trio.sleep(1)
    for number in range(5):
        play.put(a_yml=str(number))
        await trio.sleep(0.015)
    await trio.sleep(0.01)
    assert play.files()[1:] == [{"a.yml": "4"}]


async def test_writes_that_never_pause_are_published_after_the_longest_wait(
    play: Play, autojump_clock: MockClock
) -> None:
    play.begin()
    await trio.sleep(1)
    for number in range(105):
        play.put(a_yml=str(number))
        await trio.sleep(0.01)
    assert len(play.trees) == 2
    await trio.sleep(1)
    assert play.files()[-1] == {"a.yml": "104"}


async def test_a_write_that_changes_nothing_is_not_published(play: Play, autojump_clock: MockClock) -> None:
    play.put(a_yml="1")
    source = play.begin()
    await trio.sleep(1)
    play.put(a_yml="1")
    await trio.sleep(1)
    assert play.files() == [{"a.yml": "1"}]
    assert source.status.report().revision == "3"


async def test_a_file_that_becomes_too_large_is_a_new_state(play: Play, autojump_clock: MockClock) -> None:
    play.put(a_yml="1")
    play.begin(attrs.evolve(SETTINGS, file_bytes=2))
    await trio.sleep(1)
    play.put(a_yml="123")
    await trio.sleep(1)
    assert play.files() == [{"a.yml": "1"}, {}]
    assert list(play.trees[-1].labels["main"].unreadable) == ["a.yml"]


async def test_label_directories_make_labels_and_name_what_they_leave_out(
    play: Play, autojump_clock: MockClock
) -> None:
    play.store.change([Put("/c/v1/a.yml", b"1"), Put("/c/top.yml", b"0"), Put("/c/a..b/x.yml", b"")])
    with structlog.testing.capture_logs() as logs:
        play.begin(attrs.evolve(SETTINGS, label_directories=True, default_label="v1"))
        await trio.sleep(1)
    assert list(play.trees[0].labels) == ["v1"]
    assert [(each["event"], each["key"], each["reason"]) for each in logs] == [
        ("key skipped", "/c/a..b/", "its name can't be a label")
    ]


async def test_skipped_keys_are_named_once_while_they_are_there_and_only_the_first_twenty(
    play: Play, autojump_clock: MockClock
) -> None:
    play.store.change([Put(f"/c/.{number:02}", b"") for number in range(22)])
    with structlog.testing.capture_logs() as logs:
        play.begin()
        await trio.sleep(1)
        play.put(a_yml="1")
        await trio.sleep(1)
        assert len([each for each in logs if each["event"] == "key skipped"]) == 20
        assert [each["count"] for each in logs if each["event"] == "keys skipped"] == [22]
        play.store.change([Delete("/c/.00"), Put("/c/b.yml", b"")])
        await trio.sleep(1)
        play.store.change([Put("/c/.00", b""), Put("/c/b.yml", b"2")])
        await trio.sleep(1)
    assert [each["key"] for each in logs if each["event"] == "key skipped"][20:] == ["/c/.00"]


async def test_bytes_of_a_key_that_are_not_utf8_are_logged_as_escapes(play: Play, autojump_clock: MockClock) -> None:
    # A lone surrogate in JSON is an error for strict readers.
    play.store.change([Put("/c/\udcff\u00fc.yml", b"")])
    with structlog.testing.capture_logs() as logs:
        play.begin()
        await trio.sleep(1)
    assert [(each["event"], each["key"]) for each in logs] == [("key skipped", "/c/\\xff\u00fc.yml")]


async def test_the_source_ends_while_the_file_system_of_its_certificates_hangs(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = list[object]()

    async def run_sync(function: object, *args: object, **given: object) -> object:
        options.append(given.get("abandon_on_cancel"))
        await trio.sleep_forever()

    monkeypatch.setattr("vortexd.aio.threads.run_sync", run_sync)
    play.begin()
    await wait_all_tasks_blocked()
    assert options == [True]


# etcd that is away, restored or compacted.


async def test_while_etcd_is_away_the_last_state_stays_and_its_return_brings_what_was_missed(
    play: Play, autojump_clock: MockClock
) -> None:
    play.put(a_yml="1")
    with structlog.testing.capture_logs() as logs:
        source = play.begin()
        await trio.sleep(1)
        play.store.set_away(True)
        await trio.sleep(100)
        report = source.status.report()
        assert (report.is_failing, report.last_error) == (True, "the store is away")
        assert play.files() == [{"a.yml": "1"}]
        play.put(a_yml="2")
        play.store.set_away(False)
        await trio.sleep(16)
        assert play.files() == [{"a.yml": "1"}, {"a.yml": "2"}]
        assert not source.status.report().is_failing
    assert [each["event"] for each in logs] == ["source unreadable", "source readable again"]


async def test_attempts_to_reach_etcd_become_rarer_and_begin_afresh(play: Play, autojump_clock: MockClock) -> None:
    play.store.set_away(True)
    play.begin()
    await trio.sleep(0.5)
    counts = []
    for seconds in (1, 2, 4, 8, 15, 15):
        await trio.sleep(seconds)
        counts.append(len(play.engines))
    assert counts == [2, 3, 4, 5, 6, 7]
    play.store.set_away(False)
    await trio.sleep(15)
    assert len(play.engines) == 8
    play.store.set_away(True)
    await trio.sleep(0.5)
    play.store.set_away(False)
    await trio.sleep(1)
    assert len(play.engines) == 9
    assert play.files() == [{}]


async def test_attempts_become_rarer_if_everything_can_be_read_and_not_watched(
    play: Play, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watch(*_: object) -> None:
        raise EngineAway("the watch doesn't begin")

    monkeypatch.setattr(MemoryEngine, "watch", watch)
    play.begin()
    await trio.sleep(0.5)
    counts = []
    for seconds in (1, 2, 4, 8, 15):
        await trio.sleep(seconds)
        counts.append(len(play.engines))
    assert counts == [2, 3, 4, 5, 6]


async def test_each_engine_is_closed_when_it_is_not_used_any_more(play: Play, autojump_clock: MockClock) -> None:
    play.begin()
    await trio.sleep(1)
    play.store.set_away(True)
    await trio.sleep(0.5)
    assert play.engines[0].is_closed


async def test_an_engine_that_can_not_be_made_is_reported_and_tried_again(
    play: Play, autojump_clock: MockClock
) -> None:
    play.refusal = Denied("the certificates can't be used")
    source = play.begin()
    await trio.sleep(0.5)
    assert source.status.report().last_error == "the certificates can't be used"
    play.refusal = None
    await trio.sleep(3)
    assert play.files() == [{}]


async def test_a_compacted_watch_is_read_anew_and_is_no_failure(play: Play, autojump_clock: MockClock) -> None:
    play.put(a_yml="1")
    with structlog.testing.capture_logs() as logs:
        source = play.begin()
        await trio.sleep(1)
        play.put(a_yml="2")
        play.store.compact()
        await trio.sleep(2)
    assert play.files() == [{"a.yml": "1"}, {"a.yml": "2"}]
    assert not source.status.report().is_failing
    assert {each["event"] for each in logs} == {"etcd is read anew"}


async def test_a_restored_store_is_served_as_it_is_now(play: Play, autojump_clock: MockClock) -> None:
    play.put(a_yml="1")
    before = play.store.revision
    play.put(b_yml="2")
    play.begin()
    await trio.sleep(1)
    play.store.restore(before)
    await trio.sleep(2)
    assert play.files() == [{"a.yml": "1", "b.yml": "2"}, {"a.yml": "1"}]


async def test_a_state_that_is_noticed_just_before_etcd_goes_away_is_published(
    play: Play, autojump_clock: MockClock
) -> None:
    play.begin()
    await trio.sleep(1)
    play.put(a_yml="1")
    await trio.sleep(0.01)
    play.store.set_away(True)
    await trio.sleep(0.05)
    assert play.files() == [{}, {"a.yml": "1"}]


# With /c/a.yml and /c/.x, which is skipped, these are 2,048 bytes and one more: twice total_bytes.
@pytest.mark.parametrize(("size", "is_too_much"), [(2_034, False), (2_035, True)])
async def test_no_more_than_twice_the_limit_is_read(
    play: Play, size: int, is_too_much: bool, autojump_clock: MockClock
) -> None:
    play.put(a_yml="1")
    play.store.change([Put("/c/.x", bytes(size))])
    report = (source := play.begin(attrs.evolve(SETTINGS, total_bytes=1_024))).status.report
    await trio.sleep(0.5)
    assert report().is_failing is is_too_much
    assert play.files() == ([] if is_too_much else [{"a.yml": "1"}])
    play.store.change([Delete("/c/.x")])
    await trio.sleep(1)
    assert not source.status.report().is_failing
    assert play.files() == [{"a.yml": "1"}]


@pytest.mark.parametrize(("size", "is_too_much"), [(2_034, False), (2_035, True)])
async def test_no_more_than_twice_the_limit_is_kept_while_the_prefix_is_watched(
    play: Play, size: int, is_too_much: bool, autojump_clock: MockClock
) -> None:
    play.put(a_yml="1")
    source = play.begin(attrs.evolve(SETTINGS, total_bytes=1_024))
    await trio.sleep(1)
    play.store.change([Put("/c/.x", bytes(size))])
    await trio.sleep(0.5)
    report = source.status.report()
    assert (report.is_failing, len(play.engines)) == (is_too_much, 1)
    if is_too_much:
        assert report.last_error == "/c/ has more than 2048 bytes in keys and values"
    play.store.change([Delete("/c/.x"), Put("/c/a.yml", b"2")])
    await trio.sleep(1)
    assert not source.status.report().is_failing
    assert play.files() == [{"a.yml": "1"}, {"a.yml": "2"}]


async def test_what_waits_for_the_marker_has_the_same_limit(play: Play, autojump_clock: MockClock) -> None:
    play.store.change([Put("/c/a.yml", b"1"), Put("/c/.published", b"1")])
    source = play.begin(attrs.evolve(MARKED, total_bytes=1_024))
    await trio.sleep(1)
    play.store.change([Put("/c/.x", bytes(1_500))])
    play.store.change([Put("/c/.x", bytes(1_600))])
    await trio.sleep(0.5)
    assert not source.status.report().is_failing
    play.store.change([Put("/c/.y", bytes(1_500))])
    await trio.sleep(0.5)
    assert source.status.report().last_error == "/c/ has more than 2048 bytes in keys and values"
    assert play.files() == [{"a.yml": "1"}]


async def test_a_reading_at_the_marker_has_the_same_limit(play: Play, autojump_clock: MockClock) -> None:
    play.store.change([Put("/c/.x", bytes(2_048)), Put("/c/.published", b"1")])
    play.store.change([Delete("/c/.x"), Put("/c/a.yml", b"1")])
    source = play.begin(attrs.evolve(MARKED, total_bytes=1_024))
    await trio.sleep(0.5)
    assert source.status.report().last_error == "/c/ has more than 2048 bytes in keys and values"
    assert play.trees == []


async def test_a_prefix_beyond_a_limit_keeps_the_last_state_until_it_is_within_again(
    play: Play, autojump_clock: MockClock
) -> None:
    play.put(a_yml="1")
    source = play.begin(attrs.evolve(SETTINGS, files=1))
    await trio.sleep(1)
    play.put(b_yml="2")
    await trio.sleep(30)
    report = source.status.report()
    assert report.is_failing
    assert report.last_error == "/c/ has more files than 1, which files allows"
    assert len(play.engines) == 1
    play.store.change([Delete("/c/a.yml")])
    await trio.sleep(1)
    assert play.files() == [{"a.yml": "1"}, {"b.yml": "2"}]
    assert not source.status.report().is_failing


# The marker.


async def test_without_the_marker_nothing_is_published_and_the_reason_is_named(
    play: Play, autojump_clock: MockClock
) -> None:
    play.put(a_yml="1")
    source = play.begin(MARKED)
    await trio.sleep(5)
    assert play.trees == []
    assert source.status.report().last_error == (
        "there is no key /c/.published, the marker; write it once all files are there"
    )
    play.store.change([Put("/c/.published", b"")])
    await trio.sleep(1)
    assert play.files() == [{"a.yml": "1"}]
    assert not source.status.report().is_failing


async def test_with_a_marker_several_transactions_are_one_publication(play: Play, autojump_clock: MockClock) -> None:
    play.store.change([Put("/c/.published", b"1")])
    play.begin(MARKED)
    await trio.sleep(1)
    play.put(a_yml="1")
    await trio.sleep(5)
    play.put(b_yml="1")
    await trio.sleep(5)
    play.store.change([Put("/c/.published", b"2")])
    await trio.sleep(1)
    assert play.files() == [{}, {"a.yml": "1", "b.yml": "1"}]


async def test_a_start_after_writes_without_a_marker_goes_back_to_the_marker(
    play: Play, autojump_clock: MockClock
) -> None:
    play.put(a_yml="1")
    play.store.change([Put("/c/.published", b"1")])
    play.put(a_yml="half")
    play.begin(MARKED)
    await trio.sleep(1)
    assert play.files() == [{"a.yml": "1"}]
    play.store.change([Put("/c/.published", b"2")])
    await trio.sleep(1)
    assert play.files() == [{"a.yml": "1"}, {"a.yml": "half"}]


async def test_if_etcd_no_longer_keeps_the_state_at_the_marker_it_is_asked_for_again(
    play: Play, autojump_clock: MockClock
) -> None:
    play.store.change([Put("/c/.published", b"1")])
    play.put(a_yml="half")
    play.put(a_yml="more")
    play.store.compact()
    source = play.begin(MARKED)
    await trio.sleep(1)
    assert play.trees == []
    error = source.status.report().last_error
    assert (
        error == "keys were written after /c/.published, and etcd no longer keeps what they were before; write it again"
    )
    play.store.change([Put("/c/.published", b"2")])
    await trio.sleep(1)
    assert play.files() == [{"a.yml": "more"}]


async def test_the_composition_root_opens_the_source_that_the_settings_name() -> None:
    source = open_source(SETTINGS, Surroundings(Random(1), Path("/nowhere")))
    assert source.name == "etcd:/c/"
    assert source.status.report().kind == "etcd"
    await wait_all_tasks_blocked()


async def test_two_sources_with_the_same_prefix_have_different_names_and_roots() -> None:
    first = open_source(SETTINGS, Surroundings(Random(1), Path("/nowhere")))
    surroundings = Surroundings(Random(1), Path("/nowhere"), opened=[first])
    other = open_source(attrs.evolve(SETTINGS, endpoints=("https://[::1]:1", "https://b")), surroundings)
    assert (other.name, other.status.report().root) == ("etcd://[::1]:1/c/", "etcd://[::1]:1/c/")
    elsewhere = open_source(attrs.evolve(SETTINGS, prefix="/d/"), surroundings)
    assert elsewhere.name == "etcd:/d/"
    await wait_all_tasks_blocked()


async def test_every_label_has_the_place_of_its_state(play: Play, autojump_clock: MockClock) -> None:
    play.put(a_yml="1")
    play.begin()
    await trio.sleep(1)
    play.put(a_yml="2")
    await trio.sleep(1)
    places = [tree.labels["main"].position or "" for tree in play.trees]

    assert ["2", "3"] == [each.partition("-")[0] for each in places]
    assert all(tree.shared is not None and tree.shared.position == tree.labels["main"].position for tree in play.trees)

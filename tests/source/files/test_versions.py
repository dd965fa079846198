"""The versions of a directory: what is kept, within which limits, and what survives a crash, garbage and an older vortexd."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from vortexd.core.commits import PastFiles
from vortexd.core.model import Good
from vortexd.source.files import versions as module
from vortexd.source.files import journal as journal_module
from vortexd.source.files.journal import MAX_BYTES as JOURNAL_BYTES
from vortexd.source.files.kept_versions import FORMAT, Kept
from vortexd.source.files.remembered import Remembered
from vortexd.source.files.versions import Versions
from vortexd.state import private_files

ROOT = "file:/c/"
START = 1_900_000_000.0


class Disk:
    """A directory whose files a test publishes, one state after the other. A minute lies between two of them."""

    def __init__(self, path: Path, journal_bytes: int = 0, **limits: int) -> None:
        self.path = path
        self.journal_bytes = journal_bytes
        self.limits = limits
        self.now = START - 60
        self.memory = self.started()

    def started(self) -> Remembered:
        return Remembered(self.path, ROOT, lambda: self.now, versions=self.open(), journal_bytes=self.journal_bytes)

    def restart(self) -> None:
        if self.memory._lock is not None:
            os.close(self.memory._lock)
        self.memory = self.started()

    def open(self) -> Versions:
        """What another process sees."""
        return Versions(self.path, ROOT, **self.limits)

    def publish(self, **files: str) -> None:
        self.now += 60
        assert self.memory._write(lambda: Good({f"{name}.yml": text.encode() for name, text in files.items()}, {}))

    @property
    def kept(self) -> Kept:
        kept = self.open().read()
        assert kept is not None
        return kept

    def states(self) -> list[dict[str, str] | None]:
        """Return the files of each version, the newest first. None if they can't be read."""
        found = [self.open().past(each.id, None) for each in self.kept.versions]
        return [None if each is None else texts(each) for each in found]

    @property
    def index(self) -> Path:
        return self.path / "versions" / "versions.json"

    def blobs(self) -> set[str]:
        """Return the contents in files, after those of the journal are in files too."""
        self.memory._compact()
        return {each.name for each in self.index.parent.iterdir() if len(each.name) == 64}


def texts(past: PastFiles) -> dict[str, str]:
    return {path.removesuffix(".yml"): content.decode() for path, content in past.files.contents.items()}


MODES = pytest.mark.parametrize("journal_bytes", [0, JOURNAL_BYTES], ids=["no journal", "journal"])


@pytest.fixture
def indexed(tmp_path: Path) -> Disk:
    """A disk on which each write makes a new index."""
    return Disk(tmp_path / "remembered" / "one")


@pytest.fixture
def journaled(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "remembered" / "one", JOURNAL_BYTES)


@pytest.fixture(params=[0, JOURNAL_BYTES], ids=["no journal", "journal"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return Disk(tmp_path / "remembered" / "one", request.param)


# Recording.


def test_each_state_that_differs_is_a_version_with_its_time(disk: Disk) -> None:
    disk.publish(a="1", b="1")
    disk.publish(a="2", b="1")
    disk.publish(a="2", b="1")
    disk.publish(b="1", c="1")

    assert [{"b": "1", "c": "1"}, {"a": "2", "b": "1"}, {"a": "1", "b": "1"}] == disk.states()
    assert ["2030-03-17T17:49:40Z", "2030-03-17T17:47:40Z", "2030-03-17T17:46:40Z"] == [
        each.time for each in disk.kept.versions
    ]
    assert [{"a.yml", "c.yml"}, {"a.yml"}, set()] == [{*each.before} for each in disk.kept.versions]


def test_a_version_is_one_even_if_its_content_was_there_before(disk: Disk) -> None:
    for text in ("1", "2", "1", "2"):
        disk.publish(a=text)

    assert [{"a": "2"}, {"a": "1"}, {"a": "2"}, {"a": "1"}] == disk.states()
    assert 4 == len({each.id for each in disk.kept.versions})


def test_the_time_is_that_of_the_publication_and_not_of_the_write(disk: Disk) -> None:
    disk.publish(a="1")
    disk.now += 60
    disk.memory.remember(lambda: Good({"a.yml": b"2"}, {}))
    disk.now += 60
    assert disk.memory._good is not None
    disk.memory._write(disk.memory._good)

    assert ["2030-03-17T17:47:40Z", "2030-03-17T17:46:40Z"] == [each.time for each in disk.kept.versions]


def test_a_change_while_no_process_ran_is_found_at_the_next_start(disk: Disk) -> None:
    disk.publish(a="1")
    disk.restart()
    disk.publish(a="2")

    assert [{"a": "2"}, {"a": "1"}] == disk.states()


def test_a_broken_file_is_no_change(disk: Disk) -> None:
    disk.publish(a="1")
    disk.memory._write(lambda: Good({}, {"a.yml": False}))
    assert [{"a": "1"}] == disk.states()
    disk.publish(a="2")

    assert [{"a": "2"}, {"a": "1"}] == disk.states()


def test_only_contents_that_were_replaced_are_kept_in_addition(disk: Disk) -> None:
    disk.publish(a="1", b="1")
    assert set() == disk.blobs()
    disk.publish(a="2", b="1")
    disk.publish(a="3", b="1")

    assert set(disk.kept.sizes) == disk.blobs()
    assert 2 == len(disk.blobs())
    assert [1, 1] == [*disk.kept.sizes.values()]


def test_without_a_change_nothing_is_written(indexed: Disk) -> None:
    indexed.publish(a="1")
    before = indexed.index.stat()
    indexed.publish(a="1")
    indexed.restart()
    indexed.publish(a="1")

    assert before.st_ino == indexed.index.stat().st_ino


def test_only_the_user_of_vortexd_can_read_it(disk: Disk) -> None:
    disk.publish(a="1")
    disk.publish(a="2")

    assert 0o700 == disk.index.parent.stat().st_mode & 0o777
    assert {0o600} == {each.stat().st_mode & 0o777 for each in disk.index.parent.iterdir()}


def test_where_files_can_not_be_linked_they_are_copied(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    disk.publish(a="1")
    disk.publish(a="2")

    assert [{"a": "2"}, {"a": "1"}] == disk.states()


def test_a_write_reads_neither_the_index_nor_the_directory_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path / "x", most_versions=2)
    disk.publish(a="1")
    looks: list[str] = []
    read, scandir = private_files.read, os.scandir

    def noted_read(file: Path, limit: int) -> bytes:
        looks.append(file.name)
        return read(file, limit)

    def noted_scandir(path: Path) -> object:
        looks.append(path.name)
        return scandir(path)

    with monkeypatch.context() as patched:
        patched.setattr(private_files, "read", noted_read)
        patched.setattr(os, "scandir", noted_scandir)
        for text in ("2", "3", "4"):
            disk.publish(a=text)

    assert [] == looks
    assert [{"a": "4"}, {"a": "3"}] == disk.states()
    assert 1 == len(disk.blobs())


def test_contents_that_a_failed_write_has_left_are_removed(indexed: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed.publish(a="1")
    indexed.publish(a="2")
    (indexed.index.parent / ("f" * 64)).write_text("left")
    (indexed.index.parent / "versions.json.part").write_text("left")
    indexed.publish(a="3")
    assert 3 == len(indexed.blobs())
    with monkeypatch.context() as patched:
        patched.setattr(private_files, "sync", lambda _: (_ for _ in ()).throw(OSError(5, "I/O error")))
        indexed.memory.versions.record({"a.yml": "0" * 64}, START)  # type: ignore[union-attr]
    indexed.publish(a="4")

    assert "f" * 64 not in indexed.blobs()
    assert not (indexed.index.parent / "versions.json.part").exists()


# Limits.


@MODES
def test_the_oldest_versions_are_dropped_beyond_a_number(tmp_path: Path, journal_bytes: int) -> None:
    disk = Disk(tmp_path / "x", journal_bytes, most_versions=3)
    for number in range(5):
        disk.publish(a=str(number))

    assert [{"a": "4"}, {"a": "3"}, {"a": "2"}] == disk.states()
    assert {} == disk.kept.versions[-1].before
    assert 2 == len(disk.blobs())


@MODES
@pytest.mark.parametrize(("limit", "count"), [(20, 3), (19, 2), (9, 1)])
def test_the_oldest_versions_are_dropped_beyond_a_number_of_bytes(
    tmp_path: Path, journal_bytes: int, limit: int, count: int
) -> None:
    disk = Disk(tmp_path / "x", journal_bytes, max_bytes=limit)
    for number in range(3):
        disk.publish(a=f"{number:010}")

    assert count == len(disk.states())
    assert None not in disk.states()
    assert set(disk.kept.sizes) == disk.blobs()


@MODES
def test_a_content_that_is_larger_than_all_versions_may_be_is_not_kept(
    tmp_path: Path, journal_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path / "x", journal_bytes, max_bytes=9)
    disk.publish(a="1" * 10, b="1")
    monkeypatch.setattr(os, "link", lambda former, *more, **options: pytest.fail(f"{former} was kept"))
    disk.publish(a="2" * 10, b="1")

    assert [{"a": "2" * 10, "b": "1"}] == disk.states()


@MODES
def test_a_history_that_begins_anew_leaves_no_contents(tmp_path: Path, journal_bytes: int) -> None:
    disk = Disk(tmp_path / "x", journal_bytes, max_bytes=9)
    disk.publish(a="1", b="1" * 10, c="2", d="3")
    disk.publish(a="4", b="4" * 10, c="5", d="6")

    assert 1 == len(disk.states())
    assert set() == disk.blobs()


@MODES
def test_a_content_that_several_versions_replaced_counts_once(tmp_path: Path, journal_bytes: int) -> None:
    disk = Disk(tmp_path / "x", journal_bytes, max_bytes=20)
    for number in range(8):
        disk.publish(a=f"{number % 2:010}")

    assert 8 == len(disk.states())


@MODES
@pytest.mark.parametrize(("limit", "count"), [(4, 3), (3, 2), (1, 1)])
def test_the_oldest_versions_are_dropped_beyond_a_number_of_paths(
    tmp_path: Path, journal_bytes: int, limit: int, count: int
) -> None:
    disk = Disk(tmp_path / "x", journal_bytes, most_paths=limit)
    for number in range(3):
        disk.publish(a=str(number), b=str(number))

    assert count == len(disk.states())


def test_the_limits_are_what_the_page_says() -> None:
    assert (100, 20_000, 8_388_608) == (module.MOST_VERSIONS, module.MOST_PATHS, module.MAX_BYTES)


# Faults.


def test_an_older_vortexd_does_no_harm_but_the_history_begins_anew(indexed: Disk) -> None:
    """It knows nothing of versions, and removes the contents that its own index doesn't name."""
    indexed.publish(a="1")
    indexed.publish(a="2")
    shutil.copytree(indexed.index.parent, aside := indexed.path.parent / "aside")
    indexed.publish(a="3")
    shutil.rmtree(indexed.index.parent)
    aside.rename(indexed.index.parent)
    assert [None, {"a": "1"}] == indexed.states()
    indexed.restart()
    indexed.publish(a="4")

    assert [{"a": "4"}] == indexed.states()
    assert set() == indexed.blobs()


def test_copies_of_an_older_vortexd_are_where_the_history_begins(disk: Disk) -> None:
    versions = disk.open()
    for own in (None, versions, None, versions):
        disk.restart()
        disk.memory.versions = own
        for _ in range(2):
            disk.publish(a=str(disk.now))

    newest = [str(START + 60 * number) for number in (6, 5)]
    assert [{"a": text} for text in newest] == disk.states()


def test_a_crash_before_the_index_is_written_loses_nothing(indexed: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed.publish(a="1")

    def crash(*arguments: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(module, "encoded", crash)
        with pytest.raises(SystemExit):
            indexed.publish(a="2")
    indexed.restart()
    indexed.publish(a="3")

    assert [{"a": "3"}, {"a": "1"}] == indexed.states()


def decoded(disk: Disk) -> Any:
    return json.loads(disk.index.read_text())


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda found: {**found, "format": FORMAT + 1},
            "it has format 3, but this version only reads format 2 and older ones",
        ),
        (lambda found: {**found, "root": "file:/d/"}, "it isn't an index of versions"),
        (lambda found: {**found, "versions": []}, "it isn't an index of versions"),
        (lambda found: {**found, "versions": found["versions"][:1]}, "it isn't an index of versions"),
        (lambda found: {**found, "versions": 1}, "it isn't an index of versions"),
        (lambda found: {**found, "versions": [{**found["versions"][1], "id": "x"}]}, "it isn't an index of versions"),
        (lambda found: {**found, "versions": [{**found["versions"][1], "time": 1}]}, "it isn't an index of versions"),
        (lambda found: {**found, "files": {"a.yml": "../x"}}, "it isn't an index of versions"),
        (lambda found: {**found, "files": {"a.yml": 1}}, "it isn't an index of versions"),
        (lambda found: {**found, "journal": "../x"}, "it isn't an index of versions"),
        (lambda found: {**found, "journal": None}, "it isn't an index of versions"),
        (lambda found: {**found, "sizes": {}}, "it isn't an index of versions"),
        (lambda found: {**found, "sizes": dict.fromkeys(found["sizes"], "1")}, "it isn't an index of versions"),
        (lambda found: [], "it isn't an index of versions"),
        (lambda found: None, "it isn't an index of versions"),
    ],
)
def test_an_index_that_can_not_be_used_is_set_aside_and_the_history_begins_anew(
    indexed: Disk, spoil: Callable[[Any], Any], reason: str
) -> None:
    indexed.publish(a="1")
    indexed.publish(a="2")
    spoilt = json.dumps(spoil(decoded(indexed)))
    indexed.index.write_text(spoilt)
    with capture_logs() as logs:
        versions = indexed.open()
        assert [None, None] == [versions.read(), versions.read()]
    assert [("versions unreadable", ROOT, reason, "histories begin anew")] == [
        (each["event"], each["source"], each["reason"], each["consequence"]) for each in logs
    ]
    indexed.restart()
    indexed.publish(a="3")

    assert [{"a": "3"}] == indexed.states()
    assert spoilt == (indexed.index.parent / "versions.json.unknown").read_text()
    assert set() == indexed.blobs()


def test_text_that_is_no_json_is_set_aside(disk: Disk) -> None:
    disk.publish(a="1")
    disk.index.write_text("{")
    with capture_logs() as logs:
        assert disk.open().read() is None
    assert ["versions unreadable"] == [each["event"] for each in logs]


def test_a_content_that_was_changed_is_not_used(indexed: Disk) -> None:
    indexed.publish(a="1")
    indexed.publish(a="2")
    [blob] = indexed.blobs()
    (indexed.index.parent / blob).unlink()
    (indexed.index.parent / blob).write_text("x")

    assert [{"a": "2"}, None] == indexed.states()


def test_a_full_disk_keeps_the_versions_and_the_copies_and_is_logged_once(
    indexed: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed.publish(a="1")
    real = private_files.replace

    def full(file: Path, content: bytes) -> None:
        if file == indexed.index:
            raise OSError(28, "No space left on device")
        real(file, content)

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(private_files, "replace", full)
        indexed.publish(a="2")
        indexed.publish(a="3")
    assert [{"a": "1"}] == indexed.states()
    assert [("version not remembered", "no space left on device", "histories may lack changes")] == [
        (each["event"], each["reason"], each["consequence"]) for each in logs
    ]
    indexed.publish(a="4")
    assert [{"a": "4"}, {"a": "1"}] == indexed.states()
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(private_files, "replace", full)
        indexed.publish(a="5")
    assert ["version not remembered"] == [each["event"] for each in logs]


def test_a_directory_of_another_user_is_not_used(disk: Disk) -> None:
    disk.publish(a="1")
    disk.index.parent.chmod(0o755)
    with capture_logs() as logs:
        disk.publish(a="2")
        assert disk.open().read() is None

    assert {"versions unreadable", "version not remembered"} == {each["event"] for each in logs}


def test_a_link_in_place_of_the_index_is_not_followed(disk: Disk, tmp_path: Path) -> None:
    disk.publish(a="1")
    disk.index.rename(tmp_path / "elsewhere")
    disk.index.symlink_to(tmp_path / "elsewhere")

    assert disk.open().read() is None


# Reading.


def test_nothing_is_known_before_anything_was_written_and_nothing_is_logged(disk: Disk) -> None:
    with capture_logs() as logs:
        assert disk.open().read() is None
        assert disk.open().past("0" * 40, None) is None
    assert [] == logs


def test_a_version_that_is_not_kept_has_no_files(disk: Disk) -> None:
    disk.publish(a="1")

    assert disk.open().past("0" * 40, None) is None


def test_contents_of_a_similar_version_are_not_read_again(indexed: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed.publish(a="1", b="b")
    indexed.publish(a="2", b="b")
    newest, oldest = (each.id for each in indexed.kept.versions)
    read: list[str] = []
    versions = indexed.open()
    near = versions.past(newest, None)
    real = private_files.read

    def noted(file: Path, limit: int) -> bytes:
        read.append(file.name)
        return real(file, limit)

    monkeypatch.setattr(private_files, "read", noted)
    past = versions.past(oldest, near)

    assert past is not None
    assert {"a": "1", "b": "b"} == texts(past)
    # The content is looked for among those of now, and then among those that were replaced.
    assert [*indexed.blobs()] * 2 == [name for name in read if len(name) == 64]


def test_the_index_is_read_again_only_if_it_has_changed(disk: Disk) -> None:
    disk.publish(a="1")
    versions = disk.open()
    first = versions.read()
    assert versions.read() is first
    disk.publish(a="2")

    assert versions.read() is not first


def test_a_content_that_is_not_kept_makes_its_version_unreadable_and_is_where_the_history_begins(disk: Disk) -> None:
    disk.memory._max_bytes = 3
    disk.publish(a="1", b="1234")
    assert [None] == disk.states()
    disk.publish(a="1", b="12")

    assert [{"a": "1", "b": "12"}] == disk.states()
    disk.publish(a="2", b="12")
    assert [{"a": "2", "b": "12"}, {"a": "1", "b": "12"}] == disk.states()

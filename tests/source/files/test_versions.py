"""The versions of a directory: what is kept, within which limits, and what survives a crash, garbage and an older vortexd."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest
from structlog.testing import capture_logs

from vortexd.core.commits import PastFiles
from vortexd.core.model import Good
from vortexd.source.files import journal as journal_module
from vortexd.source.files import versions as module
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
    (indexed.index.parent / "versions.json.unknown").write_text("set aside before")
    with capture_logs() as logs:
        versions = indexed.open()
        assert [None, None] == [versions.read(), versions.read()]
    assert [("versions unreadable", ROOT, reason, "histories begin anew")] == [
        (each["event"], each["source"], each["reason"], each["consequence"]) for each in logs
    ]
    indexed.restart()
    indexed.publish(a="3")

    assert [{"a": "3"}] == indexed.states()
    assert "set aside before" == (indexed.index.parent / "versions.json.unknown").read_text()
    assert spoilt == (indexed.index.parent / "versions.json.unknown.1").read_text()
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


# The journal.


def journals_of(disk: Disk) -> list[Path]:
    return sorted(disk.path.glob("changes-*"))


def lines_of(disk: Disk) -> list[Any]:
    [journal] = journals_of(disk)
    return [json.loads(line.partition(b" ")[2]) for line in journal.read_bytes().splitlines()]


def test_a_content_and_its_version_are_one_record_and_one_sync(
    journaled: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journaled.publish(a="1", b="1")
    journaled.publish(a="2", b="1")
    index = journaled.index.stat()
    syncs: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: syncs.append("fsync"))
    monkeypatch.setattr(os, "fdatasync", lambda _: syncs.append("fdatasync"))
    journaled.publish(a="3", b="1")

    assert ["fdatasync"] == syncs
    assert (index.st_ino, index.st_mtime_ns) == (journaled.index.stat().st_ino, journaled.index.stat().st_mtime_ns)
    assert ["versions.json"] == [each.name for each in journaled.index.parent.iterdir()]
    assert [{"a": "3", "b": "1"}, {"a": "2", "b": "1"}, {"a": "1", "b": "1"}] == journaled.states()
    assert [{"a.yml"}] * 2 == [{*each["version"]["before"]} for each in lines_of(journaled)]


def test_a_record_without_another_state_has_no_version(journaled: Disk) -> None:
    journaled.publish(a="1")
    journaled.memory._write(lambda: Good({}, {"a.yml": False}))
    journaled.memory._write(lambda: Good({}, {"a.yml": False}))

    assert [None] == [each["version"] for each in lines_of(journaled)]
    assert [{"a": "1"}] == journaled.states()


def test_files_that_are_added_and_deleted_are_versions_of_the_journal(journaled: Disk) -> None:
    journaled.publish(a="1", b="1")
    journaled.publish(b="1", c="1")
    journaled.publish(c="2", d="1")
    expected = [{"c": "2", "d": "1"}, {"b": "1", "c": "1"}, {"a": "1", "b": "1"}]
    assert expected == journaled.states()
    ids = [each.id for each in journaled.kept.versions]

    # In files, they are the same.
    journaled.memory._compact()
    assert expected == journaled.states()
    assert ids == [each.id for each in journaled.kept.versions]
    assert [] == journals_of(journaled)


def test_the_writer_does_not_read_the_journal_again(journaled: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    journaled.publish(a="1")
    journaled.publish(a="2")
    with monkeypatch.context() as patched:
        patched.setattr(private_files, "read", lambda file, limit: pytest.fail(f"{file} was read"))
        patched.setattr(os, "scandir", lambda path: pytest.fail(f"{path} was listed"))
        journaled.publish(a="3")
        journaled.publish(a="4")

    assert 4 == len(journaled.states())


def test_a_reader_reads_the_journal_again_only_if_it_has_grown(
    journaled: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journaled.publish(a="1")
    reader = journaled.open()
    seen: list[int] = []
    for text in ("2", "3"):
        journaled.publish(a=text)
        first = reader.read()
        assert first is not None
        seen.append(len(first.versions))
        with monkeypatch.context() as patched:
            patched.setattr(private_files, "read", lambda file, limit: pytest.fail(f"{file} was read"))
            assert reader.read() is first

    assert [2, 3] == seen


def test_what_a_journal_drops_is_what_an_index_drops(tmp_path: Path) -> None:
    """A random sequence leaves the same versions in each way of writing, for the writer and for a reader."""
    random = Random(3)
    limits = {"most_versions": 5, "most_paths": 12, "max_bytes": 40}
    kinds = [(0, 1), (1_500, 512), (JOURNAL_BYTES, 3), (JOURNAL_BYTES, 512)]
    disks = [Disk(tmp_path / f"{number}", size, **limits) for number, (size, _) in enumerate(kinds)]
    for disk, (_, count) in zip(disks, kinds, strict=True):
        disk.memory._journal_records = count
    for number in range(44):
        files = {name: str(random.randrange(4)) * random.randint(1, 14) for name in "abcdef" if random.random() < 0.6}
        for disk in disks:
            disk.publish(**files)
            if number % 11 == 0:
                disk.restart()
            if number % 7 == 0:
                disk.memory._compact()
        plain, *others = [disk.kept for disk in disks]
        for disk, other in zip(disks, [plain, *others], strict=True):
            own = disk.memory.versions.read()  # type: ignore[union-attr]
            assert own is not None or number % 11 == 0
            assert (plain.files, [*plain.versions], plain.sizes) == (other.files, [*other.versions], other.sizes)
        if number % 9 == 0:
            assert None not in disks[0].states()
            assert all(disks[0].states() == disk.states() for disk in disks[1:])
    assert {*plain.sizes} == disks[0].blobs() == disks[1].blobs() == disks[2].blobs() == disks[3].blobs()


def test_contents_that_only_the_journal_had_are_kept_in_files_when_it_ends(journaled: Disk) -> None:
    for text in ("1", "2", "3"):
        journaled.publish(a=text)
    assert set() == {each.name for each in journaled.index.parent.iterdir() if len(each.name) == 64}

    assert {digest("1"), digest("2")} == journaled.blobs()
    assert [] == journals_of(journaled)
    assert [{"a": "3"}, {"a": "2"}, {"a": "1"}] == journaled.states()
    assert {digest("3")} == {each.name for each in journaled.path.iterdir() if len(each.name) == 64}
    assert {0o600} == {each.stat().st_mode & 0o777 for each in journaled.index.parent.iterdir()}


def test_only_contents_that_a_version_names_are_written_when_the_journal_ends(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "x", JOURNAL_BYTES, most_versions=2)
    for text in ("1", "2", "3", "4"):
        disk.publish(a=text)

    assert {digest("3")} == disk.blobs()
    assert [{"a": "4"}, {"a": "3"}] == disk.states()


def test_a_reader_finds_a_content_in_files_if_the_journal_ends_meanwhile(
    journaled: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("1", "2", "3"):
        journaled.publish(a=text)
    reader, [_, second, _] = journaled.open(), journaled.kept.versions
    real = journal_module.read

    def ending(*arguments: Any) -> Any:
        monkeypatch.setattr(journal_module, "read", real)
        journaled.memory._compact()
        return real(*arguments)

    assert reader.read() is not None
    monkeypatch.setattr(journal_module, "read", ending)
    past = reader.past(second.id, None)

    assert past is not None
    assert {"a": "2"} == texts(past)


def test_a_content_of_the_journal_with_a_wrong_hash_is_neither_used_nor_kept(
    journaled: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = journal_module.record
    journaled.publish(a="1")
    with monkeypatch.context() as patched:
        patched.setattr(
            journal_module,
            "record",
            lambda change: record(attrs.evolve(change, contents=dict.fromkeys(change.contents, b"other"))),
        )
        journaled.publish(a="2")
    journaled.publish(a="3")
    assert [{"a": "3"}, None, {"a": "1"}] == journaled.states()

    # The state before the third version isn't known.
    assert set() == journaled.blobs()
    assert [{"a": "3"}] == journaled.states()


def test_an_index_of_the_format_before_is_continued(journaled: Disk) -> None:
    journaled.publish(a="1")
    journaled.publish(a="2")
    journaled.memory._compact()
    for file in (journaled.index, journaled.path / "index.json"):
        found = json.loads(file.read_bytes())
        for name in {"journal", "former"} & found.keys():
            del found[name]
        file.write_text(json.dumps(found | {"format": 1}))
    assert [{"a": "2"}, {"a": "1"}] == journaled.states()
    journaled.restart()
    with capture_logs() as logs:
        journaled.publish(a="3")

    assert [] == logs
    assert [{"a": "3"}, {"a": "2"}, {"a": "1"}] == journaled.states()
    assert 2 == FORMAT == json.loads(journaled.index.read_bytes())["format"]


def test_after_another_program_has_written_an_index_the_history_begins_anew(journaled: Disk) -> None:
    """An older vortexd without versions was in use meanwhile. It leaves the versions and the journal alone."""
    journaled.publish(a="1")
    journaled.publish(a="2")
    index = journaled.path / "index.json"
    found = json.loads(index.read_bytes())
    index.write_text(json.dumps({"format": 1, "root": ROOT, "files": found["files"]}))
    journaled.restart()
    with capture_logs() as logs:
        journaled.publish(a="3")

    assert [] == logs
    assert [{"a": "3"}] == journaled.states()
    assert not (journaled.index.parent / "versions.json.unknown").exists()
    assert [] == journals_of(journaled)
    journaled.publish(a="4")
    assert [{"a": "4"}, {"a": "3"}] == journaled.states()


def test_the_history_begins_anew_after_another_program_even_if_the_first_write_crashes(
    journaled: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journaled.publish(a="1")
    journaled.publish(a="2")
    index = journaled.path / "index.json"
    found = json.loads(index.read_bytes())
    index.write_text(json.dumps({"format": 1, "root": ROOT, "files": found["files"]}))

    def crash(*arguments: object) -> None:
        raise SystemExit

    for text in ("3", "4"):
        journaled.restart()
        with monkeypatch.context() as patched:
            patched.setattr(module, "encoded", crash)
            with pytest.raises(SystemExit):
                journaled.publish(a=text)
        assert json.loads(index.read_bytes())["former"] is None
    journaled.restart()
    journaled.publish(a="5")

    assert [{"a": "5"}] == journaled.states()


def test_if_the_index_of_the_copies_is_gone_the_history_continues(journaled: Disk) -> None:
    journaled.publish(a="1")
    journaled.publish(a="2")
    (journaled.path / "index.json").unlink()
    journaled.restart()
    journaled.publish(a="3")

    assert [{"a": "3"}, {"a": "2"}, {"a": "1"}] == journaled.states()


def test_a_damaged_journal_is_where_the_history_begins(journaled: Disk) -> None:
    for text in ("1", "2", "3"):
        journaled.publish(a=text)
    [journal] = journals_of(journaled)
    journal.write_bytes(b"x" + journal.read_bytes())
    journaled.restart()
    with capture_logs() as logs:
        assert journaled.open().read() is None
        journaled.publish(a="4")

    assert {
        ("versions unreadable", "a record is damaged"),
        ("remembered content unreadable", "a record is damaged"),
    } == {(each["event"], each["reason"]) for each in logs}
    assert [{"a": "4"}] == journaled.states()


def test_wherever_a_journal_ends_after_a_crash_all_whole_records_are_versions_and_the_history_goes_on(
    journaled: Disk,
) -> None:
    for text in ("1", "2", "3"):
        journaled.publish(a=text)
    [journal] = journals_of(journaled)
    whole = journal.read_bytes()
    first = whole.index(b"\n") + 1
    journaled.restart()
    files = {each: each.read_bytes() for each in journaled.path.rglob("*") if each.is_file()}
    with capture_logs() as logs:
        for end in (0, 1, first - 1, first, first + 1, first + 70, len(whole) - 1, len(whole)):
            expected = [{"a": text} for text in ("3", "2", "1")][2 - (end >= first) - (end >= len(whole)) :]
            for file, content in files.items():
                file.write_bytes(whole[:end] if file == journal else content)
            assert expected == journaled.states()
            journaled.publish(a="4")
            assert [{"a": "4"}, *expected] == journaled.states()
            journaled.publish(a="5")
            assert [{"a": "5"}, {"a": "4"}, *expected] == journaled.states()
            journaled.restart()
            for each in journaled.path.rglob("*"):
                if each.is_file():
                    each.unlink()
    assert [] == logs


def test_the_versions_are_not_appended_to_the_journal_of_another_index(journaled: Disk) -> None:
    journaled.publish(a="1")
    versions = journaled.memory.versions
    assert versions is not None
    found = json.loads(journaled.index.read_bytes())
    name = found["journal"]
    files = {"a.yml": digest("1")}

    assert versions.following(files, START, "f" * 32, {}) is None
    unchanged = versions.following(files, START, name, {})
    assert unchanged is not None
    assert unchanged[1] is None
    journaled.index.write_text("{")
    with capture_logs():
        assert versions.following(files, START, name, {}) is None


def test_versions_that_become_unreadable_are_written_anew_while_a_journal_is_in_use(journaled: Disk) -> None:
    journaled.publish(a="1")
    journaled.publish(a="2")
    journaled.index.write_text("{")
    with capture_logs() as logs:
        journaled.publish(a="3")

    assert ["versions unreadable"] == [each["event"] for each in logs]
    assert [{"a": "3"}] == journaled.states()
    journaled.publish(a="4")
    assert [{"a": "4"}, {"a": "3"}] == journaled.states()


def test_a_change_that_is_too_large_for_the_journal_is_a_version_too(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "x", 1_500)
    disk.publish(a="1")
    disk.publish(a="2")
    disk.publish(a="3" * 1_600)
    assert [] == journals_of(disk)
    disk.publish(a="4")
    disk.publish(a="5")

    assert [{"a": text} for text in ("5", "4", "3" * 1_600, "2", "1")] == disk.states()


def test_a_content_that_was_kept_once_is_not_written_again(disk: Disk) -> None:
    for text in ("1", "2"):
        disk.publish(a=text)
    assert {digest("1")} == disk.blobs()
    kept = disk.index.parent / digest("1")
    before = kept.stat()
    disk.publish(a="1")
    disk.publish(a="3")

    assert {digest("1"), digest("2")} == disk.blobs()
    assert (before.st_ino, before.st_mtime_ns) == (kept.stat().st_ino, kept.stat().st_mtime_ns)


def test_a_kept_content_that_is_gone_is_kept_again_when_it_is_replaced_again(journaled: Disk) -> None:
    for text in ("1", "2", "1"):
        journaled.publish(a=text)
    assert {digest("1"), digest("2")} == journaled.blobs()
    (journaled.index.parent / digest("1")).unlink()
    journaled.restart()
    journaled.publish(a="3")

    assert [{"a": text} for text in ("3", "1", "2", "1")] == journaled.states()


def test_a_kept_content_that_is_gone_leaves_the_other_versions_as_they_are(journaled: Disk) -> None:
    for text in ("1", "2", "3"):
        journaled.publish(a=text)
    assert {digest("1"), digest("2")} == journaled.blobs()
    (journaled.index.parent / digest("1")).unlink()
    journaled.publish(a="4")

    assert {digest("2"), digest("3")} == journaled.blobs()
    assert [{"a": "4"}, {"a": "3"}, {"a": "2"}, None] == journaled.states()


# Versions that can't be written while copies can.


def test_while_the_index_of_versions_can_not_be_written_its_journal_and_contents_stay(
    journaled: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("1", "2", "3"):
        journaled.publish(a=text, b=text, c="0")
    real = private_files.replace

    def full(file: Path, content: bytes) -> None:
        if file.parent == journaled.index.parent:
            raise OSError(28, "No space left on device")
        real(file, content)

    [journal] = journals_of(journaled)
    before = journaled.states()
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(private_files, "replace", full)
        patched.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        journaled.memory._compact()
        assert [journal] == journals_of(journaled)
        assert [{"a": text, "b": text, "c": "0"} for text in ("3", "2", "1")] == journaled.states()
        journaled.publish(a="3", b="4", c="4")
        journaled.restart()
        journaled.publish(a="3", b="5", c="4")
        journaled.publish(a="3", b="5", c="4")
        assert [journal] == journals_of(journaled)
        assert [{"a": text, "b": text, "c": "0"} for text in ("3", "2", "1")] == journaled.states()
    assert {"version not remembered"} == {each["event"] for each in logs}
    journaled.publish(a="6", b="6", c="6")

    assert [{"a": "6", "b": "6", "c": "6"}, *before] == journaled.states()
    assert [] == journals_of(journaled)
    assert {digest("6")} == {each.name for each in journaled.path.iterdir() if len(each.name) == 64}
    assert {digest(text) for text in "0123"} == journaled.blobs()


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# A crash, an error or a full disk at each call.


class Crash(BaseException):
    """The process was killed."""


class Faults:
    """Counts the calls that alter the disk, and lets one of them fail, or all from one on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException, *, is_lasting: bool) -> None:
        self.count = 0
        self.at = at
        self.error = error
        self.is_lasting = is_lasting
        for owner, name in (
            (os, "write"),
            (os, "fsync"),
            (os, "fdatasync"),
            (os, "ftruncate"),
            (os, "link"),
            (os, "unlink"),
            (os, "utime"),
            (Path, "replace"),
        ):
            monkeypatch.setattr(owner, name, self.failing(name, getattr(owner, name)))

    def failing(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == self.at or (self.is_lasting and self.count >= self.at):
                if name == "write":
                    function(arguments[0], arguments[1][: len(arguments[1]) // 2])
                raise self.error
            return None if "sync" in name else function(*arguments, **options)

        return called


STATES: list[dict[str, str] | None] = [
    {"a": "1", "b": "1"},
    {"a": "2", "b": "1"},
    {"a": "2", "b": "2", "c": "1"},
    None,
    {"a": "1", "c": "1"},
    {"a": "3", "c": "3"},
    {"a": "4", "c": "3"},
]
"""None ends the journal."""


@pytest.mark.parametrize("records", [0, 1, 512])
@pytest.mark.parametrize("kind", ["crash", "two crashes", "error", "full disk"])
def test_whatever_call_fails_nothing_is_lost_that_was_written_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, records: int
) -> None:
    error = Crash() if "crash" in kind else OSError(28, "No space left on device")
    at, is_complete = 0, False
    while not is_complete:
        at += 1
        disk = Disk(tmp_path / f"{at}", JOURNAL_BYTES if records else 0)
        disk.memory._journal_records = records
        with monkeypatch.context() as patched, capture_logs() as logs:
            faults = Faults(patched, at, error, is_lasting=kind == "full disk")
            written, flying = fault_after(disk, faults)
            is_complete = faults.count < at
        if "crash" in kind and not is_complete:
            disk.restart()
        if kind == "two crashes" and not is_complete:
            # The first write after a restart has about 16 calls.
            with monkeypatch.context() as patched:
                Faults(patched, 1 + 7 * at % 16, error, is_lasting=False)
                try:
                    disk.publish(y="1")
                    written.append({"y": "1"})
                except Crash:
                    flying.append({"y": "1"})
            disk.restart()
        is_warned = any(each["event"] == "version not remembered" for each in logs)
        with capture_logs() as more:
            check(disk, written, flying, is_warned=is_warned)
            disk.publish(z="1")
            check(disk, [*written, {"z": "1"}], flying, is_warned=is_warned)
        assert [] == more
        assert {*disk.kept.sizes} == disk.blobs()
        assert {digest("1")} == {each.name for each in disk.path.iterdir() if len(each.name) == 64}
        assert [] == [*journals_of(disk), *disk.path.rglob("*.part")]
        check(disk, [*written, {"z": "1"}], flying, is_warned=is_warned)
        disk.restart()
    assert at > 25


def fault_after(disk: Disk, faults: Faults) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Publish states until a call fails. Return those that were written, and the one that was being written, if any."""
    written: list[dict[str, str]] = []
    for state in STATES:
        try:
            if state is None:
                disk.memory._compact()
            else:
                disk.now += 60
                good = Good({f"{name}.yml": text.encode() for name, text in state.items()}, {})
                if not disk.memory._write(partial(attrs.evolve, good)):
                    return written, [state]
                written.append(state)
        except Crash:
            return written, [state] if state is not None else []
        if faults.count >= faults.at:
            break
    return written, []


def check(disk: Disk, written: list[dict[str, str]], flying: list[dict[str, str]], *, is_warned: bool) -> None:
    """Check that a reader sees all states that were written, and the last contents.

    Args:
        flying: The states that may have been written.
        is_warned: Whether a warning has told that the last version before z isn't in the history.
    """
    if written:
        # A crash may leave an index whose time is that of the machine.
        reader = Remembered(disk.path, ROOT, lambda: (disk.path / "index.json").stat().st_mtime)
        for name in written[-1]:
            former = reader._recall(f"{name}.yml")
            assert former is not None
            allowed = [None if name not in state else state[name].encode() for state in (written[-1], *flying)]
            assert former.content in allowed
    states = disk.states() if disk.open().read() is not None else []
    newest, older = (written[-1:], written[:-1]) if {"z": "1"} in written else ([], written)
    histories = [older, older[:-1]] if is_warned else [older]
    for state in flying:
        histories += [[*each, state] for each in histories]
        # The second crash came after a write.
        histories += [[*older[:-1], state, *older[-1:]]]
    assert states[::-1] in [[*each, *newest] for each in histories]

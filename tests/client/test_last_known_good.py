import json
import os
import stat
from pathlib import Path
from typing import Any

import attrs
import pytest

from vortexd.client.address import subject_of
from vortexd.client.last_known_good import LastKnownGood, Saved, Unusable, load, remove, save
from vortexd.client.replica import version_of
from vortexd.core.generation import Generation
from vortexd.core.model import Key

SUBJECT = subject_of("orders", "dev", None, "web:1")
SAVED = Saved(Key("orders", "dev", "main"), version_of({"a": 1}), {"a": 1}, 1_000.0)


@pytest.fixture
def file(tmp_path: Path) -> LastKnownGood:
    return LastKnownGood(tmp_path / "config.json", max_age=100.0)


def edit(file: LastKnownGood, **members: Any) -> None:
    path = Path(file.path)
    path.write_text(json.dumps(json.loads(path.read_text()) | members))


def test_what_was_saved_is_what_is_loaded(file: LastKnownGood) -> None:
    save(file, SUBJECT, SAVED)

    assert SAVED == load(file, SUBJECT, 1_100.0)


def test_a_generation_is_kept_with_its_version(file: LastKnownGood) -> None:
    saved = attrs.evolve(SAVED, generation=Generation("5f3a", 17))
    save(file, SUBJECT, saved)

    assert saved == load(file, SUBJECT, 1_000.0)
    assert "5f3a.17" == json.loads(Path(file.path).read_text())["generation"]


def test_without_a_generation_the_file_is_that_of_former_versions(file: LastKnownGood) -> None:
    save(file, SUBJECT, SAVED)

    members = ["asked", "confirmed_at", "document", "key", "schema", "version"]
    assert members == sorted(json.loads(Path(file.path).read_text()))


@pytest.mark.parametrize("generation", [None, 7, "", "5f3a", "5f3a.0", ["5f3a.17"], {}])
def test_a_malformed_generation_is_ignored(file: LastKnownGood, generation: object) -> None:
    save(file, SUBJECT, attrs.evolve(SAVED, generation=Generation("5f3a", 17)))
    edit(file, generation=generation)

    assert SAVED == load(file, SUBJECT, 1_000.0)


def test_a_member_that_is_not_known_is_ignored(file: LastKnownGood) -> None:
    """A former version of the client reads the file of a newer one."""
    save(file, SUBJECT, SAVED)
    edit(file, something_new=1)

    assert SAVED == load(file, SUBJECT, 1_000.0)


def test_nobody_else_may_read_it_whatever_the_umask_and_nothing_else_is_left(file: LastKnownGood) -> None:
    umask = os.umask(0)
    try:
        save(file, SUBJECT, SAVED)
        save(file, SUBJECT, SAVED)
    finally:
        os.umask(umask)

    assert 0o600 == stat.S_IMODE(os.stat(file.path).st_mode)
    assert [Path(file.path)] == list(Path(file.path).parent.iterdir())


def test_where_there_is_none_there_is_nothing(file: LastKnownGood) -> None:
    assert load(file, SUBJECT, 0.0) is None
    remove(file)


def test_a_removed_one_is_gone(file: LastKnownGood) -> None:
    save(file, SUBJECT, SAVED)
    remove(file)

    assert load(file, SUBJECT, 0.0) is None


def test_one_that_is_too_old_is_not_used(file: LastKnownGood) -> None:
    save(file, SUBJECT, SAVED)
    with pytest.raises(Unusable, match="older than max_age"):
        load(file, SUBJECT, 1_100.1)

    assert SAVED == load(attrs.evolve(file, max_age=None), SUBJECT, 1e9)


def test_one_of_another_configuration_is_not_used(file: LastKnownGood) -> None:
    save(file, SUBJECT, SAVED)
    with pytest.raises(Unusable, match="another configuration"):
        load(file, attrs.evolve(SUBJECT, label="main"), 1_000.0)


def test_a_document_that_was_changed_is_not_used(file: LastKnownGood) -> None:
    save(file, SUBJECT, SAVED)
    edit(file, document={"a": 2})
    with pytest.raises(Unusable, match="version"):
        load(file, SUBJECT, 1_000.0)


@pytest.mark.parametrize(
    "members", [{"document": [1]}, {"key": 1}, {"key": ["a"]}, {"asked": None}, {"confirmed_at": "x"}, {"schema": 2}]
)
def test_one_that_is_damaged_is_not_used(file: LastKnownGood, members: dict[str, object]) -> None:
    save(file, SUBJECT, SAVED)
    edit(file, **members)
    with pytest.raises(Unusable):
        load(file, SUBJECT, 1_000.0)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_such_file_is_not_used(file: LastKnownGood, content: bytes) -> None:
    save(file, SUBJECT, SAVED)
    Path(file.path).write_bytes(content)
    with pytest.raises(Unusable, match="damaged"):
        load(file, SUBJECT, 1_000.0)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_one_that_others_can_read_or_write_is_not_used(file: LastKnownGood, mode: int) -> None:
    save(file, SUBJECT, SAVED)
    os.chmod(file.path, mode)
    with pytest.raises(Unusable, match="other users"):
        load(file, SUBJECT, 1_000.0)


def test_a_link_a_pipe_and_a_directory_are_not_used(file: LastKnownGood, tmp_path: Path) -> None:
    save(file, SUBJECT, SAVED)
    (tmp_path / "link").symlink_to(file.path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "directory").mkdir(0o700)
    for name in ("link", "pipe", "directory"):
        with pytest.raises(Unusable):
            load(LastKnownGood(tmp_path / name), SUBJECT, 1_000.0)


def test_what_can_not_be_written_leaves_the_old_one(file: LastKnownGood, monkeypatch: pytest.MonkeyPatch) -> None:
    save(file, SUBJECT, SAVED)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(file, SUBJECT, attrs.evolve(SAVED, confirmed_at=2_000.0))

    assert SAVED == load(file, SUBJECT, 1_000.0)
    assert [Path(file.path)] == list(Path(file.path).parent.iterdir())

"""A target that is replaced, restored and locked."""

import os
import stat
from pathlib import Path

import pytest

from vortexd.agent.files import FileError, FileSnapshot, Ownership, Target, difference, ownership
from vortexd.core.errors import StartError

IS_ROOT = os.geteuid() == 0


def target(path: Path) -> Target:
    return Target(str(path), 1_000)


def put(path: Path, content: bytes, wanted: Ownership | None = None) -> None:
    one = target(path)
    one.prepare(content, wanted or Ownership(), one.read())
    one.commit()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "app.conf"


def test_a_new_file_is_for_its_owner_alone(file: Path) -> None:
    put(file, b"new")

    assert (b"new", 0o600, [file]) == (file.read_bytes(), mode(file), list(file.parent.iterdir()))


def test_a_file_keeps_its_mode(file: Path) -> None:
    file.write_bytes(b"old")
    file.chmod(0o640)
    put(file, b"new")

    assert (b"new", 0o640) == (file.read_bytes(), mode(file))


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
def test_a_file_keeps_its_owner_unless_another_is_asked_for(file: Path) -> None:
    file.write_bytes(b"old")
    os.chown(file, 12_345, 12_346)
    put(file, b"new")
    assert (12_345, 12_346) == (file.stat().st_uid, file.stat().st_gid)
    put(file, b"newer", Ownership(0o4750, 23_456, None))

    assert (23_456, 12_346, 0o4750) == (file.stat().st_uid, file.stat().st_gid, mode(file))


def test_a_file_keeps_its_attributes(file: Path) -> None:
    file.write_bytes(b"old")
    try:
        os.setxattr(file, "user.note", b"mine")
    except OSError:
        pytest.skip("this file system has no attributes")
    put(file, b"new")

    assert b"mine" == os.getxattr(file, "user.note")


def test_the_settings_say_the_mode(file: Path) -> None:
    file.write_bytes(b"old")
    put(file, b"new", Ownership(0o444))

    assert 0o444 == mode(file)


def test_the_file_behind_a_link_is_replaced_and_the_link_stays(file: Path) -> None:
    link = file.with_name("link.conf")
    file.write_bytes(b"old")
    link.symlink_to(file.name)
    put(link, b"new")

    assert (True, b"new", False) == (link.is_symlink(), file.read_bytes(), file.is_symlink())


def test_a_link_that_leads_elsewhere_by_now_is_refused(file: Path) -> None:
    link = file.with_name("link.conf")
    link.symlink_to(file.name)
    one = target(link)
    one.prepare(b"new", Ownership(), None)
    link.unlink()
    link.symlink_to("other.conf")

    with pytest.raises(FileError, match="restart the agent"):
        one.commit()


def test_what_is_no_file_is_refused(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(FileError, match="isn't a regular file"):
        target(file).read()

    file.unlink()
    file.mkdir()
    with pytest.raises(FileError):
        target(file).read()


def test_a_file_that_is_too_large_is_none_of_ours(file: Path) -> None:
    file.write_bytes(b"x" * 1_001)

    with pytest.raises(FileError, match="max_bytes"):
        target(file).read()


def test_a_directory_that_others_write_is_refused(file: Path) -> None:
    file.parent.chmod(0o1777)
    try:
        with pytest.raises(FileError, match="other users can write to"):
            put(file, b"new")
        with pytest.raises(StartError, match="other users can write to"), target(file).locked():
            pass
    finally:
        file.parent.chmod(0o700)
    assert not file.exists()


def test_what_stands_in_the_way_of_the_candidate_is_removed_not_followed(file: Path) -> None:
    victim = file.with_name("victim")
    victim.write_bytes(b"untouched")
    target(file).candidate.symlink_to(victim)
    put(file, b"new")

    assert (b"untouched", b"new") == (victim.read_bytes(), file.read_bytes())


def test_a_failed_write_leaves_everything_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="no space left"):
        put(file, b"new")

    assert (b"old", [file]) == (file.read_bytes(), list(file.parent.iterdir()))


def test_what_was_there_is_put_back_and_so_is_that_nothing_was(file: Path) -> None:
    one = target(file)
    put(file, b"new")
    one.restore(FileSnapshot(b"old", 0o640, os.geteuid(), os.getegid()))
    assert (b"old", 0o640) == (file.read_bytes(), mode(file))
    one.restore(None)

    assert [] == list(file.parent.iterdir())


def test_two_agents_do_not_write_one_file(file: Path) -> None:
    with target(file).locked():
        with pytest.raises(StartError, match="another agent"), target(file).locked():
            pass
    with target(file).locked():
        pass

    assert [] == list(file.parent.iterdir())


def test_a_lock_that_was_left_is_taken(file: Path) -> None:
    file.with_name(f".vortexctl-{file.name}.lock").touch()

    with target(file).locked():
        pass


def test_names_of_settings_are_looked_up() -> None:
    assert Ownership(0o640, 0, 12) == ownership("0640", "root", "12")
    assert Ownership() == ownership("", "", "")
    with pytest.raises(StartError, match="nobody-of-this-name"):
        ownership("", "nobody-of-this-name", "")


def test_the_difference_is_that_of_diff() -> None:
    assert "" == difference("a", b"same\n", b"same\n")
    assert [
        "--- a",
        "+++ a",
        "@@ -1,2 +1,2 @@",
        " one",
        "-two",
        "+three",
        "\\ No newline at end of file",
    ] == difference("a", b"one\ntwo\n", b"one\nthree").splitlines()

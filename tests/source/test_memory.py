"""The directories in which sources keep their last good content."""

from pathlib import Path

from structlog.testing import capture_logs

from vortexd.source.memory import directory_for, forget_others, locked

from .files.test_remembered import Disk


def test_each_root_has_a_directory_of_its_own_which_another_process_finds_again(tmp_path: Path) -> None:
    one, two = (directory_for(tmp_path, root) for root in ("file:/1/", "file:/2/"))

    assert (one, tmp_path) == (directory_for(tmp_path, "file:/1/"), one.parent)
    assert one != two
    # Another name would lose what a former version has kept.
    assert "3dac1459e5bfe390ecb319636f7528b9" == one.name


def test_one_process_at_a_time_has_the_lock_of_a_directory(tmp_path: Path) -> None:
    first = locked(tmp_path)

    assert first is not None
    assert locked(tmp_path) is None
    assert 0o600 == (tmp_path / "lock").stat().st_mode & 0o777


def test_what_is_remembered_of_other_sources_is_removed(tmp_path: Path) -> None:
    one, two = directory_for(tmp_path, "file:/1/"), directory_for(tmp_path, "file:/2/")
    for each in (one, two):
        Disk(each).write({"a.yml": b"a: 1"})
    held = Disk(directory_for(tmp_path, "file:/3/"))
    (tmp_path / "unrelated").mkdir()
    for each in (one, two):
        # The process that wrote them has ended.
        (each / "lock").unlink()
    held.write({"a.yml": b"a: 1"})
    with capture_logs() as logs:
        forget_others(tmp_path, ["file:/1/"])

    assert {one.name, held.path.name, "unrelated"} == {each.name for each in tmp_path.iterdir()}
    assert [str(two)] == [each["directory"] for each in logs]


def test_where_nothing_is_remembered_there_is_nothing_to_forget(tmp_path: Path) -> None:
    with capture_logs() as logs:
        forget_others(tmp_path / "none", [])
    assert [] == logs

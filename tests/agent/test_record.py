"""The state of a target, kept through crashes."""

from pathlib import Path

import pytest

from vortexd.agent.files import FileSnapshot
from vortexd.agent.record import Known, Record, make_private, state_directory
from vortexd.core.errors import StartError

HELD = FileSnapshot(b"old\nbytes\x00\xff", 0o640, 1, 2)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    make_private(tmp_path / "state")
    return Record(tmp_path / "state", "/etc/app.conf")


def test_at_first_nothing_is_known(record: Record) -> None:
    assert Known() == record.read()


def test_what_was_begun_is_known_after_a_crash_with_what_was_there(record: Record, tmp_path: Path) -> None:
    record.begin(Known("old digest", "v1"), "new digest", HELD)
    again = Record(tmp_path / "state", "/etc/app.conf")

    assert Known("old digest", "v1", "new digest", had_file=True) == again.read()
    assert HELD == again.old(again.read())


def test_that_there_was_no_file_is_known_too(record: Record) -> None:
    assert None is record.old(record.begin(Known(), "new digest", None))


def test_what_is_settled_is_known_and_the_old_content_is_forgotten(record: Record, tmp_path: Path) -> None:
    record.begin(Known(), "new digest", HELD)
    record.settle("new digest", "v2")

    assert Known("new digest", "v2") == record.read()
    assert [".json"] == [each.suffix for each in (tmp_path / "state").iterdir()]


def test_a_broken_state_file_is_none(record: Record, tmp_path: Path) -> None:
    record.settle("digest", "v1")
    next((tmp_path / "state").iterdir()).write_text("{")

    assert Known() == record.read()


def test_targets_do_not_share_what_is_known(record: Record, tmp_path: Path) -> None:
    record.settle("digest", "v1")

    assert Known() == Record(tmp_path / "state", "/etc/other.conf").read()


def test_what_it_keeps_is_for_the_agent_alone(record: Record, tmp_path: Path) -> None:
    record.begin(Known(), "digest", HELD)

    assert {0o600} == {each.stat().st_mode & 0o777 for each in (tmp_path / "state").iterdir()}
    assert 0o700 == (tmp_path / "state").stat().st_mode & 0o777


def test_a_directory_that_others_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    with pytest.raises(StartError, match="open to other users"):
        make_private(tmp_path)


def test_the_state_directory_is_the_settings_then_systemds_then_the_users() -> None:
    environment = {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "XDG_STATE_HOME": "/home/x/state"}

    assert Path("/srv") == state_directory("/srv", environment)
    assert Path("/var/lib/a") == state_directory("", environment)
    assert Path("/home/x/state/vortexctl") == state_directory("", {"XDG_STATE_HOME": "/home/x/state"})
    assert Path("/home/x/.local/state/vortexctl") == state_directory("", {}, lambda: Path("/home/x"))

"""The place of the state on disk."""

from pathlib import Path

import pytest

from vortexd.settings.root import Settings
from vortexd.settings.server import ServerSettings
from vortexd.settings.state_directory import (
    audit_directory,
    fleet_directory,
    memory_directory,
    pins_directory,
    state_directory,
)


@pytest.mark.parametrize(
    ("setting", "environ", "expected"),
    [
        ("/x", {"STATE_DIRECTORY": "/y"}, "/x"),
        ("", {"STATE_DIRECTORY": "/y:/z"}, "/y"),
        ("", {"XDG_STATE_HOME": "/home/a/state"}, "/home/a/state/vortexd"),
        ("", {"HOME": "/home/a"}, "/home/a/.local/state/vortexd"),
    ],
)
def test_where_state_is_kept(setting: str, environ: dict[str, str], expected: str) -> None:
    assert Path(expected) == state_directory(setting, environ)


@pytest.mark.parametrize(
    ("has_file", "setting", "variable", "expected"),
    [
        (False, "", "", None),
        (True, "", "", "/home/x/.local/state/vortexd/remembered"),
        (False, "/s", "", "/s/remembered"),
        (False, "", "/v:/w", "/v/remembered"),
    ],
)
def test_nothing_is_written_where_nobody_said_where_state_belongs(
    has_file: bool, setting: str, variable: str, expected: str | None
) -> None:
    environ = {"HOME": "/home/x"} | ({"STATE_DIRECTORY": variable} if variable else {})
    settings = Settings(server=ServerSettings(state_directory=setting))

    assert (expected and Path(expected)) == memory_directory(settings, environ, has_file=has_file)


def test_acknowledgements_are_kept_beside_the_content_and_nowhere_if_that_is_kept_nowhere() -> None:
    assert Path("/s/fleet") == fleet_directory(Path("/s/remembered"))
    assert None is fleet_directory(None)


def test_the_audit_log_is_beside_the_remembered_content() -> None:
    assert Path("/var/lib/vortexd/audit") == audit_directory(Path("/var/lib/vortexd/remembered"))
    assert None is audit_directory(None)
    assert Path("/var/lib/vortexd/pins") == pins_directory(Path("/var/lib/vortexd/remembered"))
    assert None is pins_directory(None)

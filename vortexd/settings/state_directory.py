"""Where vortexd keeps state on disk: mirrors of repositories, and the last good content of directories. Pure."""

import os
from collections.abc import Mapping
from pathlib import Path

from .root import Settings


def memory_directory(settings: Settings, environ: Mapping[str, str], *, has_file: bool) -> Path | None:
    """Where the last good content of directories is kept. None where nobody has said where state belongs: without a settings file and
    without $STATE_DIRECTORY nothing is written.

    Args:
        settings: Of the daemon, not of one of its workers: they share it.
        has_file: Whether the settings come from a file.
    """
    if not (has_file or settings.server.state_directory or environ.get("STATE_DIRECTORY")):
        return None
    return state_directory(settings.server.state_directory, environ) / "remembered"


def state_directory(setting: str, environ: Mapping[str, str]) -> Path:
    """Where state is kept: as set, else as systemd says, else where the user keeps state."""
    # systemd separates several by colons; the first is ours.
    found = setting or environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if found:
        return Path(found)
    home = environ.get("XDG_STATE_HOME") or os.path.join(environ.get("HOME") or "/nonexistent", ".local", "state")
    return Path(home) / "vortexd"

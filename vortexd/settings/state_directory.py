"""Finds the directories for vortexd's state: mirrors of repositories, the last good content of directories, and acks.

Pure.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from .root import Settings


def memory_directory(settings: Settings, environ: Mapping[str, str], *, has_file: bool) -> Path | None:
    """Return the directory for the last good content of directories.

    Return None if no setting names a place for state. Without a settings file and without $STATE_DIRECTORY vortexd
    writes nothing.

    Args:
        settings: The settings of the daemon, not of one of its workers, because they share the directory.
        has_file: Whether the settings come from a file.
    """
    if not (has_file or settings.server.state_directory or environ.get("STATE_DIRECTORY")):
        return None
    return state_directory(settings.server.state_directory, environ) / "remembered"


def fleet_directory(memory: Path | None) -> Path | None:
    """Return the directory for the acknowledgements of instances, beside that of `memory_directory`.

    Return None if no setting names a place for state.
    """
    return memory.with_name("fleet") if memory is not None else None


def audit_directory(memory: Path | None) -> Path | None:
    """Return the directory of the audit log, beside that of `memory_directory`.

    Return None if no setting names a place for state.
    """
    return memory.with_name("audit") if memory is not None else None


def accepted_directory(memory: Path | None) -> Path | None:
    """Return the directory for the states that the gate has accepted, beside that of `memory_directory`.

    Return None if no setting names a place for state.
    """
    return memory.with_name("accepted") if memory is not None else None


def pins_directory(memory: Path | None) -> Path | None:
    """Return the directory of the pins, beside that of `memory_directory`.

    Return None if no setting names a place for state.
    """
    return memory.with_name("pins") if memory is not None else None


def rollouts_directory(memory: Path | None) -> Path | None:
    """Return the directory of the roll-outs, beside that of `memory_directory`.

    Return None if no setting names a place for state.
    """
    return memory.with_name("rollouts") if memory is not None else None


def events_directory(memory: Path | None) -> Path | None:
    """Return the directory for the secret that signs the cursors of event streams, beside that of `memory_directory`.

    Return None if no setting names a place for state.
    """
    return memory.with_name("events") if memory is not None else None


def state_directory(setting: str, environ: Mapping[str, str]) -> Path:
    """Return the directory for state: from the setting, else from systemd, else the user's directory for state."""
    # systemd separates several directories by colons. The first one is vortexd's.
    found = setting or environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if found:
        return Path(found)
    home = environ.get("XDG_STATE_HOME") or os.path.join(environ.get("HOME") or "/nonexistent", ".local", "state")
    return Path(home) / "vortexd"

"""Directories in the state directory in which sources keep the last good content of their files, one for each root.

Synchronous: call it in a thread.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import structlog

from ..state import private_files

log = structlog.get_logger()

_DIRECTORY = re.compile(r"[0-9a-f]{32}")
LOCK = "lock"


def directory_for(memory: Path, root: str) -> Path:
    """Return the directory in which the content of a source is remembered."""
    return memory / hashlib.sha256(root.encode()).hexdigest()[:32]


def forget_others(memory: Path, roots: Collection[str]) -> None:
    """Remove the remembered content of all sources but these.

    The settings don't name the others, or turn remembering off. If another process is writing to a directory, it stays.
    Blocks on the file system. Raises nothing.
    """
    kept = {directory_for(memory, root).name for root in roots}
    with suppress(OSError):
        for each in os.scandir(memory):
            if _DIRECTORY.fullmatch(each.name) and each.name not in kept and each.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    lock = locked(Path(each.path))
                    if lock is not None:
                        shutil.rmtree(each.path, ignore_errors=True)
                        os.close(lock)
                        log.info(
                            "remembered content removed", directory=each.path, reason="its source isn't remembered"
                        )


def locked(directory: Path) -> int | None:
    """Lock a directory, and return the lock as a descriptor, or None if another process has it."""
    return private_files.locked(directory / LOCK)

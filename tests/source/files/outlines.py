"""Outlines that the tests write by hand, for decisions that open no file."""

from collections.abc import Mapping
from typing import Any

import pytest

from vortexd.source.files import directory
from vortexd.source.files.directory import Beside, Identity, Mark, Outline

ROOT: Identity = (1, 100)


def mark(inode: int = 1, size: int = 10, changed: int = 0) -> Mark:
    """What `stat` says of a file."""
    return 1, inode, size, changed, changed


def outline(paths: Mapping[str, Mark], directories: Mapping[str, Identity] | None = None, **beside: Any) -> Outline:
    """A directory with these files; its root is `ROOT`."""
    return Outline(dict(paths), {"": ROOT, **(directories or {})}, {}, Beside(**beside))


def noted_outlines(monkeypatch: pytest.MonkeyPatch) -> list[Outline]:
    """The outlines that are taken from now on."""
    taken: list[Outline] = []
    really = directory.outline

    def noting(*arguments: Any) -> Outline:
        taken.append(really(*arguments))
        return taken[-1]

    monkeypatch.setattr(directory, "outline", noting)
    return taken

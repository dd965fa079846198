"""The settings of a directory: keys, defaults, rules, and the checks of what the keys say together."""

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from ...core.constraints import Rule, is_label, seconds, whole
from ...core.constraints import applications as applications_field
from ...settings.source import KeyProblem, SourceSettings
from ..base import Surroundings

if TYPE_CHECKING:
    from .source import FilesSource


@attrs.frozen
class FilesSettings(SourceSettings):
    """[[source]] of kind "files": a directory.

    Attributes:
        kind: "files".
        path: The directory; relative paths start at the directory of vortexd.toml.
        label_directories: Sub-directories are labels, beside the files at the top, which all labels share.
        default_label: The label of a request that names none; without label_directories the only one.
        scan_interval: Seconds between scans. The scan is the truth; change notifications only make it come sooner.
        quiet: Seconds without a change before a new state is published.
        quiet_one_file: Seconds that are enough in place of `quiet` where the kernel says that one file was closed, renamed or deleted, and
            nothing else has changed or is being written.
        max_wait: Seconds after the first change at which it is published although changes go on.
        hold: Seconds for which a file keeps its former content while a program writes it, and after it has become empty. Then it is
            published with a warning. 0 holds no file.
        file_bytes: Size of one file; a larger one counts as broken.
        total_bytes: Size of all files together.
        files: Number of files.
        applications: What this source is asked for, as application/profile with `*`; a pattern without a slash is for every profile.
            Empty is everything. See "Several sources" in vortexd.toml(5).
        max_staleness: Seconds without a successful reading after which vortexd isn't ready any more; 0 means never.
        remember: Keep a copy of the last good content of each configuration file in the state directory, for at most 7 days, so that a file
            that is broken at a start has it. False removes the copy.
    """

    location_key: ClassVar[str] = "path"
    path_keys: ClassVar[tuple[str, ...]] = ("path",)

    kind: Literal["files"] = "files"
    path: str = attrs.field(
        default="",
        metadata={"rule": Rule("the path of a directory", lambda value: value != "" and "\0" not in str(value))},
    )
    label_directories: bool = False
    default_label: str = attrs.field(
        default="main",
        metadata={"rule": Rule("a label: letters, digits, dots, hyphens, underscores, slashes, + and @", is_label)},
    )
    scan_interval: float = seconds(5.0, 0.1)
    quiet: float = seconds(0.1, 0)
    quiet_one_file: float = seconds(0.02, 0)
    max_wait: float = seconds(1.0, 0)
    hold: float = seconds(2.0, 0)
    file_bytes: int = whole(10_485_760, 1_024)
    total_bytes: int = whole(268_435_456, 1_024)
    files: int = whole(20_000, 1, 10_000_000)
    applications: tuple[str, ...] = applications_field()
    max_staleness: float = seconds(0.0, 0)
    remember: bool = True

    def open(self, surroundings: Surroundings) -> "FilesSource":
        """See `SourceSettings`."""
        # With it comes Trio, which a check of the settings doesn't need.
        from .source import open_files

        return open_files(self, surroundings)

    @classmethod
    def conflicts(cls, table: Mapping[str, Any]) -> Iterator[KeyProblem]:
        """See `SourceSettings`."""
        if "path" not in table:
            yield "path", "must be there: the directory to serve"
        quiet, max_wait = (table.get(name, getattr(cls(), name)) for name in ("quiet", "max_wait"))
        if type(quiet) in (int, float) and type(max_wait) in (int, float) and quiet > max_wait:
            yield "max_wait", "must not be less than quiet"

    def unreadable(self) -> Iterator[KeyProblem]:
        """See `SourceSettings`."""
        # If the path is empty, that is reported as a missing key.
        if self.path and (problem := _unlisted(self.path)) is not None:
            yield "path", problem


def _unlisted(directory: str) -> str | None:
    """Why a directory can't be listed, or None if it can."""
    try:
        with os.scandir(directory):
            return None
    except FileNotFoundError:
        return f"there is no directory {directory}; make it, or name another"
    except NotADirectoryError:
        return f"{directory} is not a directory; name the directory that the files are in"
    except OSError as error:
        reason = (error.strerror or "I/O error").lower()
    except ValueError:
        reason = "not a path"
    return f"the directory {directory} can't be read: {reason}; vortexd must be able to list it"

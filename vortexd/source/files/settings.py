"""The settings of a directory: keys, defaults and rules, and the checks that need several keys."""

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from ...core.constraints import Rule, seconds, setting
from ...core.constraints import applications as applications_field
from ...settings.source import KeyProblem, SourceSettings
from .. import fields
from ..base import Surroundings

if TYPE_CHECKING:
    from .source import FilesSource


@attrs.frozen
class FilesSettings(SourceSettings):
    """[[source]] of kind "files": A directory."""

    location_key: ClassVar[str] = "path"
    path_keys: ClassVar[tuple[str, ...]] = ("path",)

    kind: Literal["files"] = setting("files", doc='The kind of source: "files" is a directory.')
    path: str = setting(
        "",
        Rule("the path of a directory", lambda value: value != "" and "\0" not in str(value)),
        doc="The directory.",
        example='"/etc/vortexd/config"',
    )
    label_directories: bool = fields.label_directories(
        doc="Treat each sub-directory as a label. The files at the top belong to all labels."
    )
    default_label: str = fields.default_label("directory")
    scan_interval: float = seconds(
        5.0,
        0.1,
        doc="Seconds between scans. A scan compares all files with the published state. Between scans vortexd looks "
        "only at the files that the kernel reports as changed.",
    )
    quiet: float = seconds(0.1, 0, doc="Seconds without a change before vortexd publishes a new state.")
    quiet_one_file: float = seconds(
        0.02,
        0,
        doc="Seconds that are enough in place of `quiet` if one file was closed, renamed or deleted, and no "
        "other file has changed or is being written.",
        more='See "Saving files" in vortexd.toml(5).',
    )
    max_wait: float = fields.max_wait()
    hold: float = seconds(
        2.0,
        0,
        doc="Seconds for which a file keeps its former content while a program writes it, and after it has "
        "become empty. After that vortexd publishes the file as it is, with a warning. 0 turns this off: "
        "vortexd then publishes each file as a scan finds it.",
        more='See "Saving files" in vortexd.toml(5).',
    )
    file_bytes: int = fields.file_bytes()
    total_bytes: int = fields.total_bytes(
        doc="The size of all files together. Beyond it vortexd cannot read the source. It then serves the last "
        "good state of the source, and serves nothing if it has just started.",
    )
    files: int = fields.files(
        doc="The number of files, and of directories. Beyond it vortexd cannot read the source, as for `total_bytes`.",
    )
    applications: tuple[str, ...] = applications_field(
        doc="The applications and profiles that this source is for, as `application/profile` with `*`. A "
        "pattern without a slash is for every profile. An empty list means everything.",
        more='See "Several sources" in vortexd.toml(5).',
    )
    max_staleness: float = fields.max_staleness("a successful scan")
    remember: bool = setting(
        True,
        doc="Keep a copy of the last good content of each configuration file in the state directory, for at "
        "most 7 days. If a file is broken when vortexd starts, vortexd serves the copy. Keep the former versions, too, "
        "for histories. False removes the copies.",
        more="The copy is in the directory `remembered` below `server.state_directory`. It contains the bytes of "
        "the source, so encrypted values stay encrypted. Only vortexd's user can read it. It contains at "
        "most 64 MiB for each source. Files beyond that are not copied. Small changes are first written to a journal of at "
        "most 1 MiB and 512 changes. vortexd writes them to files when the journal is full, when vortexd starts, and when a "
        "journal that is a quarter full has not changed for 10 seconds. Until then, up to 1 MiB of contents that files no "
        "longer have may stay beside it. Of former versions it contains the newest 100, "
        "with at most 8 MiB of contents that were replaced. So it contains deleted files for some time. vortexd never "
        "serves them, but histories and comparisons show their values to each token that may read the configuration. "
        "If vortexd runs without a settings file, and $STATE_DIRECTORY is not set, it writes no "
        "copy. If you remove the source from the settings, vortexd removes its copy. Repositories need no "
        'copy: see "Broken files" in vortexd-api(7).',
    )

    def open(self, surroundings: Surroundings) -> "FilesSource":
        """See `SourceSettings`."""
        # This import loads Trio, which a check of the settings doesn't need.
        from .source import open_files

        return open_files(self, surroundings)

    @classmethod
    def conflicts(cls, table: Mapping[str, Any]) -> Iterator[KeyProblem]:
        """See `SourceSettings`."""
        if "path" not in table:
            yield "path", "is missing; name the directory to serve"
        yield from fields.wait_conflicts(table, cls())

    def unreadable(self) -> Iterator[KeyProblem]:
        """See `SourceSettings`."""
        # If the path is empty, that is reported as a missing key.
        if self.path and (problem := _unlisted(self.path)) is not None:
            yield "path", problem


def _unlisted(directory: str) -> str | None:
    """Return the reason why a directory can't be listed, or None if it can."""
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

"""The settings of a prefix in etcd: keys, defaults and rules, and the checks that need several keys."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from ...core.constraints import Rule, seconds, setting
from ...core.constraints import applications as applications_field
from ...settings.etcd import EtcdAccess, access_conflicts, unusable_access
from ...settings.source import KeyProblem, SourceSettings
from .. import fields
from ..base import Surroundings

if TYPE_CHECKING:
    from .source import EtcdSource


def _is_prefix(value: object) -> bool:
    text = str(value)
    return len(text) > 1 and text.endswith("/") and text.isprintable() and text.isascii()


@attrs.frozen
class EtcdSettings(EtcdAccess, SourceSettings):
    """[[source]] of kind "etcd": A prefix of keys in etcd. Each key below it is the path of a file."""

    location_key: ClassVar[str] = "prefix"
    path_keys: ClassVar[tuple[str, ...]] = EtcdAccess.access_paths
    private_keys: ClassVar[tuple[str, ...]] = path_keys

    kind: Literal["etcd"] = setting("etcd", doc='The kind of source: "etcd" is a prefix of keys in etcd.')
    prefix: str = setting(
        "",
        Rule("a prefix such as /config/, with a slash at its end", _is_prefix),
        doc="The prefix of the keys. The rest of a key is the path of a file: with the prefix `/config/`, the "
        "key `/config/billing-prod.yml` is the file billing-prod.yml.",
        more="If two sources have the same prefix, the address of etcd is a part of the later one's name, as in "
        "`etcd://etcd-1.example:2379/config/`. One transaction of etcd is one publication. etcd takes at most 128 keys in a transaction by default; "
        "for larger sets see `marker`.",
        example='"/config/"',
    )
    marker: str = setting(
        "",
        Rule(
            "the name of a key below prefix, or empty", lambda value: str(value).isprintable() and str(value).isascii()
        ),
        doc="The name of a key below `prefix`. If it is set, vortexd publishes the keys only when this key is "
        'written, as they are at that moment. "" means that vortexd publishes every transaction.',
        more="So a program can write any number of keys in several transactions, and then the marker. vortexd never "
        "serves the marker itself. While there is no marker, vortexd serves nothing of this source.",
    )
    label_directories: bool = fields.label_directories(
        doc="Treat each directory directly below the prefix as a label. The files beside them belong to all labels.",
    )
    default_label: str = fields.default_label("prefix")
    quiet: float = seconds(
        0.02, 0, doc="Seconds without a change before vortexd publishes a new state. Transactions within it are one."
    )
    max_wait: float = fields.max_wait()
    file_bytes: int = fields.file_bytes()
    total_bytes: int = fields.total_bytes(
        doc="The size of all files together. Beyond it vortexd cannot read the source, and serves its last good state. "
        "vortexd reads at most twice as many bytes in keys and values, with those that it does not serve.",
    )
    files: int = fields.files(
        doc="The number of files. Beyond it vortexd cannot read the source, as for `total_bytes`.",
    )
    applications: tuple[str, ...] = applications_field(
        doc="The applications and profiles that this source is for, as `application/profile` with `*`. A "
        "pattern without a slash is for every profile. An empty list means everything.",
        more='See "Several sources" in vortexd.toml(5).',
    )
    max_staleness: float = fields.max_staleness("etcd")

    def open(self, surroundings: Surroundings) -> "EtcdSource":
        """See `SourceSettings`."""
        # This import loads Trio, which a check of the settings doesn't need.
        from .source import open_source

        return open_source(self, surroundings)

    @classmethod
    def conflicts(cls, table: Mapping[str, Any]) -> Iterator[KeyProblem]:
        """See `SourceSettings`."""
        if "prefix" not in table:
            yield "prefix", "is missing; name the prefix of the keys to serve"
        yield from access_conflicts(table)
        yield from fields.wait_conflicts(table, cls())

    def unusable_files(self, environ: Mapping[str, str]) -> Iterator[KeyProblem]:
        """See `SourceSettings`."""
        yield from unusable_access(self, environ)

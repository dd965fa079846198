"""The settings of a published state: keys, defaults and rules, and the checks that need several keys."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from ...core.constraints import Rule, setting
from ...settings.etcd import EtcdAccess, access_conflicts, unusable_access
from ...settings.source import KeyProblem, SourceSettings
from .. import fields
from ..base import Surroundings

if TYPE_CHECKING:
    from .source import PublishedSource

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@attrs.frozen
class PublishedSettings(EtcdAccess, SourceSettings):
    """[[source]] of kind "published": A state that the leader of a cluster has published in etcd."""

    location_key: ClassVar[str] = "cluster"
    path_keys: ClassVar[tuple[str, ...]] = EtcdAccess.access_paths
    private_keys: ClassVar[tuple[str, ...]] = path_keys
    reads_published: ClassVar[bool] = True

    kind: Literal["published"] = setting(
        "published", doc='The kind of source: "published" is what the leader of a cluster has published in etcd.'
    )
    cluster: str = setting(
        "",
        Rule("1 to 64 letters, digits, hyphens and underscores", lambda value: _NAME.fullmatch(str(value)) is not None),
        doc="The name of the cluster whose leader publishes, as in `cluster.name` there.",
        more="This node need not be a node of that cluster. The user of etcd needs only the right to read "
        "`/vortexd-published/NAME/`.",
        example='"production"',
    )
    file_bytes: int = fields.file_bytes()
    total_bytes: int = fields.total_bytes(
        doc="The size of all different files of all labels together. Beyond it vortexd does not take the version, and "
        "serves its last good state.",
    )
    files: int = fields.files(doc="The number of files of one label. Beyond it vortexd does as for `total_bytes`.")
    max_staleness: float = fields.max_staleness("a readable version")

    @property
    def applications(self) -> tuple[str, ...]:
        """See `SourceSettings`. The published state says for which applications each of its parts is."""
        return ()

    def open(self, surroundings: Surroundings) -> "PublishedSource":
        """See `SourceSettings`."""
        # This import loads Trio, which a check of the settings doesn't need.
        from .source import open_source

        return open_source(self, surroundings)

    @classmethod
    def conflicts(cls, table: Mapping[str, Any]) -> Iterator[KeyProblem]:
        """See `SourceSettings`."""
        if "cluster" not in table:
            yield "cluster", "is missing; name the cluster that publishes"
        yield from access_conflicts(table)

    def unusable_files(self, environ: Mapping[str, str]) -> Iterator[KeyProblem]:
        """See `SourceSettings`."""
        yield from unusable_access(self, environ)

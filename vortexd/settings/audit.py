"""[audit] of vortexd.toml. The limits of the audit log in the state directory."""

import attrs

from ..core.constraints import whole


@attrs.frozen
class AuditSettings:
    """[audit]."""

    entries: int = whole(
        10_000, 1, 100_000, doc="The number of entries. Beyond it vortexd leaves out the oldest quarter."
    )
    bytes: int = whole(
        4_194_304,
        65_536,
        67_108_864,
        doc="The size of all entries together. Beyond it vortexd leaves out the oldest quarter.",
        more="vortexd reads the file for each new entry, so a large file makes each act that it records slower.",
    )

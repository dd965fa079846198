"""[formats] of vortexd.toml.

The bounds within which vortexd parses a file. A file that exceeds one of them is broken, and vortexd serves its last good content.
"""

import attrs

from ..core.constraints import whole


@attrs.frozen
class FormatSettings:
    """[formats]."""

    depth: int = whole(64, 1, 500, doc="The nesting of maps and lists.")
    nodes: int = whole(
        100_000,
        1,
        doc="The number of values in one file, with aliases and merges expanded.",
        more="In TOML, each part of a dotted key or of a table header counts as a value each time it is written.",
    )
    aliases: int = whole(1_000, 0, doc="The number of aliases (`*name`) in one file, merges included.")
    documents: int = whole(1_000, 1, doc="The number of documents in one file.")
    list_index: int = whole(10_000, 0, doc="The largest index of a list, written or implied.")
    text_bytes: int = whole(1_048_576, 1_024, doc="The size of the name of one property, or of its value.")
    expanded_bytes: int = whole(
        10_485_760,
        1_024,
        doc="The size of the names and values of all properties in one file, with aliases and merges expanded.",
    )
    ciphertexts: int = whole(
        1_000,
        0,
        doc="The number of values in one file that begin with `{cipher}`. With an RSA key, each takes a "
        "millisecond to decrypt.",
    )
    memory_bytes: int = whole(
        536_870_912,
        67_108_864,
        doc="The memory that a process may use to parse a large file, in bytes, beside its own code. vortexd "
        "parses files of more than 262,144 bytes or 10,000 values in a process of their own.",
    )
    cpu_seconds: int = whole(
        10,
        1,
        3_600,
        doc="Seconds of processor time that such a process may use for one file. By the clock it may take ten "
        "times as long.",
    )

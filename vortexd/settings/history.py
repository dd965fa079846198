"""[history] of vortexd.toml. The former versions of each key that vortexd keeps, for clients that reconnect."""

import attrs

from ..core.constraints import whole


@attrs.frozen
class HistorySettings:
    """[history]."""

    versions: int = whole(
        64, 0, 1_000_000, doc="The number of former versions of one configuration. Beyond it vortexd drops the oldest."
    )
    bytes: int = whole(
        1_048_576,
        0,
        doc="The size of the former versions of one configuration together. Beyond it vortexd drops the oldest.",
    )
    idle_keys: int = whole(
        1_024,
        0,
        doc="The number of configurations without clients whose history vortexd keeps. Beyond it vortexd drops "
        "the one that has been without clients for longest.",
    )
    frames_bytes: int = whole(
        67_108_864,
        0,
        doc="The size of the cached messages of all configurations together, for clients that connect, resume "
        "or lag. Each message is made once while it is cached. Beyond the size vortexd drops messages, and "
        "makes them again when a client needs them.",
    )

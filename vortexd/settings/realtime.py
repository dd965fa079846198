"""[realtime] of vortexd.toml. WebSockets and event streams."""

import math

import attrs

from ..core.constraints import SECONDS_OR_NEVER, number, seconds, setting, whole


@attrs.frozen
class RealtimeSettings:
    """[realtime]."""

    heartbeat_interval: float = seconds(30.0, 0.1, doc="Seconds between heartbeats.")
    heartbeat_timeout: float = seconds(
        10.0,
        0.1,
        doc="Seconds after a heartbeat without an answer until vortexd closes the WebSocket. The client of an event stream "
        "does not answer heartbeats. Over HTTP/1.1, TCP ends the stream if the client acknowledges no bytes for this "
        "time, or for `write_timeout` if that is longer.",
    )
    queue_messages: int = whole(
        64, 1, 1_000_000, doc="The number of messages that may wait for one client before it counts as lagging."
    )
    queue_bytes: int = whole(
        1_048_576,
        1_024,
        doc="The number of bytes that may wait for one client before it counts as lagging. One message may "
        "always wait.",
    )
    write_timeout: float = seconds(
        10.0,
        doc="Seconds that one write to a WebSocket or an event stream may wait for a client that does not read. Then "
        "vortexd closes the connection, or the stream in HTTP/2.",
    )
    close_timeout: float = seconds(
        5.0, doc="Seconds that the closing handshake, or the end of an event stream, may take."
    )
    message_bytes: int = whole(
        65_536,
        125,
        268_435_456,
        doc="The size of one inbound message, in bytes. The clients of event streams send none.",
    )
    message_fragments: int = whole(64, 1, 1_000_000, doc="The number of frames of one inbound message.")
    message_timeout: float = seconds(10.0, doc="Seconds from the first to the last frame of one inbound message.")
    message_depth: int = whole(32, 2, 500, doc="The nesting of one inbound message.")
    messages_per_second: int = whole(
        100,
        1,
        1_000_000,
        doc="The number of messages, pings and pongs that one client may send per second; the burst is as large.",
    )
    errors_per_minute: int = whole(
        10,
        1,
        1_000_000,
        doc="The number of invalid messages that one client may send per minute before vortexd closes its connection.",
    )
    resyncs_per_second: float = number(1.0, 0.01, 1_000_000, doc="The number of resyncs of one client per second.")
    resync_burst: int = whole(10, 1, 1_000_000, doc="The number of resyncs of one client at once.")
    patterns: int = whole(64, 0, 100_000, doc="The number of patterns of one client.")
    distinct_patterns: int = whole(
        16_384,
        0,
        1_000_000,
        doc="The number of different patterns of all clients together. Each takes memory, and vortexd matches "
        "each configuration against it.",
    )
    distinct_patterns_per_owner: int = whole(
        1_024,
        0,
        1_000_000,
        doc="The number of different patterns of all connections with one token. If clients need no token, it "
        "is the number for one address. A client behind a proxy in `server.trusted_proxies` counts by its "
        "own address.",
    )
    keys: int = whole(
        10_000,
        0,
        1_000_000,
        doc="The number of configurations that the patterns of one client may match when it subscribes.",
    )
    compression: bool = setting(True, doc="Accept permessage-deflate if a client offers it.")
    park_after: float = setting(
        0.5,
        SECONDS_OR_NEVER,
        doc="Seconds without activity after which a connection is parked: it then has no tasks and takes less "
        'than 1 KB. New connections are parked at once. "never" keeps the tasks of all connections. Clients '
        "see no difference. Event streams over HTTP/2 are never parked.",
    )

    @property
    def parks(self) -> bool:
        """Whether connections may be parked."""
        return self.park_after != math.inf

"""The settings: vortexd.toml as frozen attrs classes, section by section; the defaults live here and nowhere else.

What arrives is TOML text and overrides from the command line; what leaves is one `Settings`, or a SettingsError with every
problem at once, each with its key path and what is allowed. Nothing is opened or connected before that. A part is given its
own section, never the whole.

Durations are seconds (float), sizes are bytes or counts (int).
"""

import attrs

_BIND = ("127.0.0.1:8888",)


@attrs.frozen
class ServerSettings:
    """[server]: the listeners, and what a peer may cost before it has said who it is.

    Attributes:
        bind: Addresses to listen on: `host:port`, `[::1]:port`, `unix:/path`. Port 0 takes a free one.
        connections: Connections in all, WebSocket and HTTP together. 0 means what RLIMIT_NOFILE allows less a reserve of 256.
        connections_per_address: Connections from one address; 0 means no limit.
        handshakes: Connections whose request head is being read or whose handshake is under way, at a time.
        head_timeout: Seconds from accept to a complete request head.
        head_bytes: Size of a request head.
        body_bytes: Size of a request body.
        request_timeout: Seconds from the first byte of a request on a kept-alive connection to its answer's first byte.
        keep_alive_timeout: Seconds an HTTP connection may be idle.
        write_timeout: Seconds that one write may wait for a peer that doesn't read.
        drain_timeout: Seconds from SIGTERM until what is left is cancelled; at most 30.
    """

    bind: tuple[str, ...] = _BIND
    connections: int = 0
    connections_per_address: int = 0
    handshakes: int = 256
    head_timeout: float = 10.0
    head_bytes: int = 16_384
    body_bytes: int = 65_536
    request_timeout: float = 30.0
    keep_alive_timeout: float = 60.0
    write_timeout: float = 10.0
    drain_timeout: float = 25.0


@attrs.frozen
class SourceSettings:
    """[[source]]: one place that configuration comes from.

    Attributes:
        kind: "files".
        path: The directory; relative paths start at the directory of vortexd.toml.
        label_directories: Sub-directories are labels, beside the files at the top, which all labels share.
        default_label: The label of a request that names none; without label_directories the only one.
        scan_interval: Seconds between scans. The scan is the truth; change notifications only make it come sooner.
        quiet: Seconds without a change before a new state is published.
        max_wait: Seconds after the first change at which it is published although changes go on.
        file_bytes: Size of one file; a larger one counts as broken.
        total_bytes: Size of all files together.
        files: Number of files.
    """

    kind: str = "files"
    path: str = ""
    label_directories: bool = False
    default_label: str = "main"
    scan_interval: float = 5.0
    quiet: float = 0.1
    max_wait: float = 1.0
    file_bytes: int = 10_485_760
    total_bytes: int = 268_435_456
    files: int = 20_000


@attrs.frozen
class FormatSettings:
    """[formats]: the bounds within which a file is parsed. A file beyond one is broken, and what it touches stays as it was.

    Attributes:
        depth: Nesting of maps and lists.
        nodes: Values in one file, with aliases and merges expanded.
        aliases: Aliases (`*name`) in one file, merges included.
        documents: Documents in one file.
        list_index: The largest list index, spelled or implied.
        text_bytes: Size of one key or value.
        expanded_bytes: Size of all keys and values of one file, with aliases and merges expanded.
    """

    depth: int = 64
    nodes: int = 100_000
    aliases: int = 1_000
    documents: int = 1_000
    list_index: int = 10_000
    text_bytes: int = 1_048_576
    expanded_bytes: int = 10_485_760


@attrs.frozen
class HistorySettings:
    """[history]: what is kept of each key's past, for clients that come back.

    Attributes:
        versions: Former versions kept of one key.
        bytes: Size of one key's former versions together.
        idle_keys: Keys that nobody uses any more, of which the history is kept for clients that come back.
    """

    versions: int = 64
    bytes: int = 1_048_576
    idle_keys: int = 1_024


@attrs.frozen
class RealtimeSettings:
    """[realtime]: the WebSocket side.

    Attributes:
        heartbeat_interval: Seconds between heartbeats.
        heartbeat_timeout: Seconds after a heartbeat without a sign of life until the connection is closed.
        queue_messages: Messages waiting for one client before it counts as lagging.
        queue_bytes: Bytes waiting for one client before it counts as lagging; one message may always wait.
        write_timeout: Seconds that one write may wait for a client that doesn't read.
        close_timeout: Seconds the closing handshake may take.
        message_bytes: Size of one inbound message, in bytes.
        message_fragments: Frames of one inbound message.
        message_timeout: Seconds from the first to the last frame of one inbound message.
    """

    heartbeat_interval: float = 30.0
    heartbeat_timeout: float = 10.0
    queue_messages: int = 64
    queue_bytes: int = 1_048_576
    write_timeout: float = 10.0
    close_timeout: float = 5.0
    message_bytes: int = 65_536
    message_fragments: int = 64
    message_timeout: float = 10.0


@attrs.frozen
class LogSettings:
    """[log].

    Attributes:
        format: "json" (one object a line), "console" (for people), or "auto": console on a terminal, else json.
        level: "debug", "info", "warning" or "error".
    """

    format: str = "auto"
    level: str = "info"


@attrs.frozen
class Settings:
    """The whole of vortexd.toml."""

    server: ServerSettings = attrs.field(factory=ServerSettings)
    source: tuple[SourceSettings, ...] = ()
    formats: FormatSettings = attrs.field(factory=FormatSettings)
    history: HistorySettings = attrs.field(factory=HistorySettings)
    realtime: RealtimeSettings = attrs.field(factory=RealtimeSettings)
    log: LogSettings = attrs.field(factory=LogSettings)

"""The settings: vortexd.toml as frozen attrs classes, section by section; the defaults live here and nowhere else.

A part is given its own section, never the whole. Each field carries its `Rule`: what an operator may set it to, checked by
`settings_file` where settings come from outside. The constructors check nothing, so that a test can reach a rare path with a
limit that no operator may set.

Durations are seconds (float), sizes are bytes or counts (int).

SIGHUP puts every key in force but those of `RESTART`; conf/vortexd.toml and vortexd.toml(5) say of each which it is.
"""

import ipaddress
import math
import re
from collections.abc import Mapping

import attrs

from ..core import names
from ..core.constraints import SECONDS_OR_NEVER as _SECONDS_OR_NEVER
from ..core.constraints import Rule
from ..core.constraints import choice as _choice
from ..core.constraints import is_path as _is_path
from ..core.constraints import number as _number
from ..core.constraints import path as _path
from ..core.constraints import seconds as _seconds
from ..core.constraints import texts as _texts
from ..core.constraints import whole as _whole
from ..core.errors import InvalidName
from .networks import UNIX, parse_network
from .source import SourceSettings

# What sun_path of a Unix socket's address holds, less its closing NUL.
_SOCKET_PATH_BYTES = 107
# Segments that are decoded as they are encoded.
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]*[A-Za-z0-9_~-])*")
# What only a restart puts in force: what is shared with a supervisor or with who connects, and which endpoints there are.
RESTART = frozenset({"server.bind", "server.workers", "server.drain_timeout", "console.enabled", "tracing.endpoint"})
_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_ADDRESS = "an address: host:port, [::1]:port or unix:/path"


@attrs.frozen
class Address:
    """Where to listen: a host and a TCP port (0 takes a free one), or the path of a Unix socket.

    Attributes:
        host: A name or an address without brackets; "" where there is a path.
        path: The absolute path of a Unix socket, or None.
    """

    host: str = ""
    port: int = 0
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Parse `host:port`, `[::1]:port` or `unix:/path`; nothing is looked up.

    Raises:
        ValueError: Says what is allowed, as the end of a sentence that begins with the key.
    """
    if text.startswith("unix:"):
        return Address(path=_socket_path(text.removeprefix("unix:")))
    host, colon, digits = text.rpartition(":")
    if colon and host in ("", "*"):
        raise ValueError("must name a host; for all addresses of the machine use 0.0.0.0 or [::]")
    if not colon or not host:
        raise ValueError(f"must be {_ADDRESS}; the port is missing")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= 65_535):
        raise ValueError("must end in a port from 0 to 65535; 0 takes a free one")
    return Address(_host(host), int(digits))


def _socket_path(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise ValueError("must have an absolute path behind unix:, such as unix:/run/vortexd/vortexd.sock")
    if len(path.encode("utf-8", "surrogateescape")) > _SOCKET_PATH_BYTES:
        raise ValueError(f"must have a path of at most {_SOCKET_PATH_BYTES} bytes behind unix:")
    return path


def _host(host: str) -> str:
    if ":" in host and not host.startswith("["):
        raise ValueError("must have an IPv6 address in brackets: [::1]:port")
    try:
        if host.startswith("[") and host.endswith("]"):
            return str(ipaddress.IPv6Address(host[1:-1]))
        if re.fullmatch(r"[0-9.]+", host):
            return str(ipaddress.IPv4Address(host))
    except ipaddress.AddressValueError:
        raise ValueError(f"must be {_ADDRESS}; this is no IP address") from None
    if not _HOST.fullmatch(host):
        raise ValueError(f"must be {_ADDRESS}; this is no host name")
    return host


def _is_address(value: object) -> bool:
    parse_address(str(value))
    return True


def _is_proxy(value: object) -> bool:
    return value == UNIX or parse_network(str(value)) is not None


def _is_application(value: object) -> bool:
    try:
        return names.application(str(value)) == value
    except InvalidName:
        return False


@attrs.frozen
class ServerSettings:
    """[server]: the listeners, and what a peer may cost before it has said who it is.

    Attributes:
        bind: Addresses to listen on: `host:port`, `[::1]:port`, `unix:/path`. Port 0 takes a free one.
        workers: Processes that serve on the same addresses, each with its own copy of the configuration and its own look at the sources.
            Limits hold for each of them, but `connections` for all together.
        connections: Connections in all, WebSocket and HTTP together. 0 means what RLIMIT_NOFILE allows less a reserve of 256. When there are
            so many, the one whose peer has kept us waiting for longest gives way, after a second; if there is none, new ones get 503.
        connections_per_address: Connections from one address; 0 means no limit. A proxy of `trusted_proxies` has none: whom it names has, with
            WebSockets, and with all connections by `proxy_protocol`.
        trusted_proxies: Addresses and networks of proxies, and "unix" for what comes by Unix sockets. They are believed who their clients are:
            by Forwarded (RFC 7239) or X-Forwarded-For, -Proto and -Host. Then tokens are asked for on loopback, too, unless open is true.
        proxy_protocol: TCP connections have to begin with a PROXY header (version 1 or 2), before TLS, and come from `trusted_proxies`; those by
            Unix sockets have to where "unix" is one of them.
        handshakes: Connections that a task waits for at a time: in a TLS handshake, for a head within TLS, or for a body. When there are so many,
            others wait, and the one that has kept us waiting for longest gives way, after a second. Plain requests that are whole need no slot.
            An eighth of the slots is kept for addresses that have completed a request within the last hour.
        head_timeout: Seconds from accept to a complete request head.
        head_bytes: Size of a request head.
        body_bytes: Size of a request body.
        request_timeout: Seconds from the first byte of a request on a kept-alive connection to its answer's first byte.
        keep_alive_timeout: Seconds an HTTP connection may be idle.
        write_timeout: Seconds that one write may wait for a peer that doesn't read.
        drain_timeout: Seconds from SIGTERM until what is left is cancelled; at most 30.
        state_directory: Where mirrors of git repositories and copies of good files (`remember`) are kept. "" means $STATE_DIRECTORY, as systemd
            sets it, else $XDG_STATE_HOME/vortexd, else ~/.local/state/vortexd.
    """

    bind: tuple[str, ...] = attrs.field(default=("127.0.0.1:8888",), metadata={"rule": Rule(_ADDRESS, _is_address)})
    workers: int = _whole(1, 1, 64)
    connections: int = _whole(0, 0, 1_000_000)
    connections_per_address: int = _whole(0, 0, 1_000_000)
    trusted_proxies: tuple[str, ...] = _texts("an address, a network or unix", _is_proxy)
    proxy_protocol: bool = False
    handshakes: int = _whole(256, 1, 1_000_000)
    head_timeout: float = _seconds(10.0)
    head_bytes: int = _whole(16_384, 1_024, 16_777_216)
    body_bytes: int = _whole(65_536, 0)
    request_timeout: float = _seconds(30.0)
    keep_alive_timeout: float = _seconds(60.0)
    write_timeout: float = _seconds(10.0)
    drain_timeout: float = _seconds(25.0, 1, 30)
    state_directory: str = attrs.field(
        default="", metadata={"rule": Rule("the path of a directory, or empty", _is_path)}
    )


@attrs.frozen
class TlsSettings:
    """[tls]: encryption of all TCP addresses. Without a certificate they speak plain HTTP.

    Attributes:
        certificate: A PEM file with the certificate and its chain, and the key where it isn't in a file of its own; "" for none.
            `$CREDENTIALS_DIRECTORY` at the beginning is systemd's. Relative paths start at the directory of vortexd.toml.
        key: A PEM file with the private key, without a password, for the owner alone; "" where it is with the certificate.
        minimum_version: The oldest version that is spoken: "1.2" or "1.3".
        client_ca: A PEM file with the certificates of the authorities that sign clients' ones; "" for none. It may be read by everybody.
        client_certificates: "off" asks clients for none; "optional" takes them, and who has none sends a token; "required" refuses TLS without
            one. What a certificate may do stands as [[certificate]] in the files of auth.tokens.
    """

    certificate: str = ""
    key: str = ""
    minimum_version: str = _choice("1.2", "1.3")
    client_ca: str = _path()
    client_certificates: str = _choice("off", "optional", "required")


@attrs.frozen
class AuthSettings:
    """[auth]: who is let in. Without tokens and keys everybody is, and then only loopback addresses and Unix sockets are listened on.

    Attributes:
        open: Let everybody read, subscribe and report from anywhere, without tokens.
        tokens: Token files, or directories of which each `*.toml` is one. `$CREDENTIALS_DIRECTORY` at the beginning is systemd's.
            Relative paths start at the directory of vortexd.toml.
        jwt_secret: The file with the key of HS256, as bytes; "" for none.
        jwks: The file with a JWK set, for RS256 and EdDSA; "" for none.
        jwt_audience: What `aud` of a JWT must contain; "" refuses JWTs that have one.
        jwt_issuer: What `iss` of a JWT must be; "" for any.
        jwt_leeway: Seconds by which our clock and the issuer's may differ.
        origins: Origins of web pages that may connect, such as `https://config.example.com`; none by default. "null" is the origin of pages in
            files and in sandboxed frames, which any page can open.
        hosts: Names that we are called by in Host headers, beside this machine's own and the addresses listened on.
        failure_burst: Wrong tokens from one address before it is told to wait.
        failures_per_second: Wrong tokens per second from one address that are forgiven.
        failure_addresses: Addresses that are remembered for wrong tokens.
        connections_per_token: WebSocket connections with one token; 0 means no limit.
    """

    open: bool = False
    tokens: tuple[str, ...] = ()
    jwt_secret: str = ""
    jwks: str = ""
    jwt_audience: str = ""
    jwt_issuer: str = ""
    jwt_leeway: float = _number(30.0, 0, 3_600)
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    failure_burst: int = _whole(20, 1, 1_000_000)
    failures_per_second: float = _number(1.0, 0.001, 1_000_000)
    failure_addresses: int = _whole(10_000, 1, 10_000_000)
    connections_per_token: int = _whole(0, 0, 1_000_000)

    @property
    def asks(self) -> bool:
        """Whether anybody is asked for a token."""
        return bool(self.tokens or self.jwt_secret or self.jwks)


@attrs.frozen
class FormatSettings:
    """[formats]: the bounds within which a file is parsed. A file beyond one is broken, and its last good content takes its place.

    Attributes:
        depth: Nesting of maps and lists.
        nodes: Values in one file, with aliases and merges expanded.
        aliases: Aliases (`*name`) in one file, merges included.
        documents: Documents in one file.
        list_index: The largest list index, spelled or implied.
        text_bytes: Size of one key or value.
        expanded_bytes: Size of all keys and values of one file, with aliases and merges expanded.
        ciphertexts: Values in one file that begin with `{cipher}`: with an RSA key each takes a millisecond.
        memory_bytes: Memory that the process may take in which a large file is parsed, beside its own code.
        cpu_seconds: Processor time that such a file may take; by the clock it may take ten times as long.
    """

    depth: int = _whole(64, 1, 500)
    nodes: int = _whole(100_000, 1)
    aliases: int = _whole(1_000, 0)
    documents: int = _whole(1_000, 1)
    list_index: int = _whole(10_000, 0)
    text_bytes: int = _whole(1_048_576, 1_024)
    expanded_bytes: int = _whole(10_485_760, 1_024)
    ciphertexts: int = _whole(1_000, 0)
    memory_bytes: int = _whole(536_870_912, 67_108_864)
    cpu_seconds: int = _whole(10, 1, 3_600)


@attrs.frozen
class HistorySettings:
    """[history]: what is kept of each key's past, for clients that come back.

    Attributes:
        versions: Former versions kept of one key.
        bytes: Size of one key's former versions together.
        idle_keys: Keys that nobody uses any more, of which the history is kept for clients that come back.
        frames_bytes: Size of the messages, of all keys together, that are kept for clients that connect, resume or lag, so that each is made once.
    """

    versions: int = _whole(64, 0, 1_000_000)
    bytes: int = _whole(1_048_576, 0)
    idle_keys: int = _whole(1_024, 0)
    frames_bytes: int = _whole(67_108_864, 0)


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
        message_depth: Nesting of one inbound message.
        messages_per_second: Inbound messages, pings and pongs of one client per second, and at once.
        errors_per_minute: Inbound messages of one client per minute that may be wrong, before it is closed.
        resyncs_per_second: Resyncs of one client per second.
        resync_burst: Resyncs of one client at once.
        patterns: Patterns of one client.
        distinct_patterns: Different patterns of all clients together. Each one takes memory, and each key is matched against it.
        distinct_patterns_per_owner: Different patterns of all connections with one token, or, where nobody is asked for a token, from one
            address. A client that a proxy of `server.trusted_proxies` names counts by its own address.
        keys: Keys that the patterns of one client may match when it subscribes.
        compression: Accept permessage-deflate where a client offers it.
        park_after: Seconds of quiet after which a connection that had something to do waits without tasks, for under 1 KB; new ones do at
            once. "never" keeps the tasks of all. Clients can't tell.
    """

    heartbeat_interval: float = _seconds(30.0, 0.1)
    heartbeat_timeout: float = _seconds(10.0, 0.1)
    queue_messages: int = _whole(64, 1, 1_000_000)
    queue_bytes: int = _whole(1_048_576, 1_024)
    write_timeout: float = _seconds(10.0)
    close_timeout: float = _seconds(5.0)
    message_bytes: int = _whole(65_536, 125, 268_435_456)
    message_fragments: int = _whole(64, 1, 1_000_000)
    message_timeout: float = _seconds(10.0)
    message_depth: int = _whole(32, 2, 500)
    messages_per_second: int = _whole(100, 1, 1_000_000)
    errors_per_minute: int = _whole(10, 1, 1_000_000)
    resyncs_per_second: float = _number(1.0, 0.01, 1_000_000)
    resync_burst: int = _whole(10, 1, 1_000_000)
    patterns: int = _whole(64, 0, 100_000)
    distinct_patterns: int = _whole(16_384, 0, 1_000_000)
    distinct_patterns_per_owner: int = _whole(1_024, 0, 1_000_000)
    keys: int = _whole(10_000, 0, 1_000_000)
    compression: bool = True
    park_after: float = attrs.field(default=0.5, metadata={"rule": _SECONDS_OR_NEVER})

    @property
    def parks(self) -> bool:
        """Whether connections are parked at all."""
        return self.park_after != math.inf


@attrs.frozen
class FleetSettings:
    """[fleet]: what is known of the applications that are connected, and of what they say they did with a version.

    Attributes:
        instances: Connected instances that are known one by one, each once for every key that it has spoken of; further ones are counted.
        keys: Keys that one connection may speak of beside the one it came for; of more, what it says isn't kept.
        gone: Instances that have left and are still known.
        forget_after: Seconds after which an instance that has left is forgotten.
        applications: Applications that have metrics of their own; all others are counted as "other".
    """

    instances: int = _whole(100_000, 0, 10_000_000)
    keys: int = _whole(100, 0, 100_000)
    gone: int = _whole(10_000, 0, 1_000_000)
    forget_after: float = _seconds(900.0, 0)
    applications: tuple[str, ...] = _texts("the name of an application, as clients ask for it", _is_application)


@attrs.frozen
class ConsoleSettings:
    """[console]: the page for people, at `/console`.

    Attributes:
        enabled: Serve it, and let pages of this very address open WebSockets. Behind a proxy with another name or with TLS of its own, list the
            origin that browsers see in `auth.origins`.
    """

    enabled: bool = True


@attrs.frozen
class MonitorSettings:
    """[monitor]: webhooks, at `/monitor`.

    Attributes:
        secret: The file with the secret by which webhooks are verified: a provider signs with it, or sends it. "" means that there is none,
            and that a webhook needs a token with the right `admin`. `$CREDENTIALS_DIRECTORY` at the beginning is systemd's. Relative paths start at the directory of vortexd.toml.
        body_bytes: Size of a webhook's body.
    """

    secret: str = ""
    body_bytes: int = _whole(5_242_880, 1_024)


def _is_salt(value: object) -> bool:
    return re.fullmatch(r"(?:[0-9A-Fa-f]{2}){1,64}", str(value)) is not None


def _salt() -> str:
    rule = Rule("hex digits, two for each byte, of at most 64 bytes", _is_salt)
    return attrs.field(default="deadbeef", metadata={"rule": rule})


@attrs.frozen
class EncryptionSettings:
    """[encryption]: the key of values that begin with `{cipher}`, as Spring writes them. Keys are in files, and never here.

    Attributes:
        enabled: Decrypt them. Where this is false, clients are served ciphertext and decrypt it themselves.
        key_file: The file with the key: a password on one line, from which an AES key is made, or an RSA private key as PEM; "" for
            none. `$CREDENTIALS_DIRECTORY` at the beginning is systemd's. Relative paths start at the directory of vortexd.toml.
        salt: The salt of a password, as hex digits.
        key_store: In place of key_file, a PKCS #12 key store with RSA keys; "" for none.
        key_store_password_file: The file with its password.
        key_store_alias: The key with which to encrypt, and to decrypt what names no other; "" where the store has only one.
        rsa_algorithm: "default" (PKCS #1 v1.5) or "oaep".
        rsa_strong: AES in GCM beneath RSA, not CBC.
        rsa_salt: The salt beneath RSA, as hex digits.
        prefix_invalid_properties: What can't be decrypted is served as `invalid.` and its key with the value `<n/a>`, or else its
            ciphertext under its key, without `{cipher}`.
        plain_text: Decrypt them, too, in plain files that are asked for as text: YAML, JSON and properties. What can't be decrypted stays as
            it is there.
    """

    enabled: bool = True
    key_file: str = _path()
    salt: str = _salt()
    key_store: str = _path()
    key_store_password_file: str = _path()
    key_store_alias: str = ""
    rsa_algorithm: str = _choice("default", "oaep")
    rsa_strong: bool = False
    rsa_salt: str = _salt()
    prefix_invalid_properties: bool = True
    plain_text: bool = False


# Backups, files in the way of being written, and what a merge or a patch has left over.
_LEFT_BY_EDITORS = ("*.bak", "*.orig", "*.swp", "*~", ".#*", "*.rej", "*.tmp")


def _is_file_name(value: object) -> bool:
    return re.fullmatch(r"[^/\x00-\x1f]{1,255}", str(value)) is not None


@attrs.frozen
class HttpSettings:
    """[http]: Spring's HTTP API.

    Attributes:
        prefix: What goes before its paths, such as "/config"; what is for supervisors and Prometheus stays where it is, and so do WebSockets.
        accept_empty: Answer with an empty configuration where there is none; false answers 404.
        strict_errors: Answer 500 for keys that read a file which is broken now, as Spring does; false serves them with its last good content.
        hidden_files: Names of files and directories that are never served as plain files, to nobody, as globs with `*`, in upper or lower
            case: backups, and what editors leave behind. Configuration is still read from what is so called.
    """

    prefix: str = attrs.field(
        default="",
        metadata={
            "rule": Rule(
                "the beginning of a path, such as /config, without a slash at its end, or empty",
                lambda value: _PREFIX.fullmatch(str(value)) is not None,
            )
        },
    )
    accept_empty: bool = True
    strict_errors: bool = False
    hidden_files: tuple[str, ...] = _texts(
        "the name of a file, in which * stands for anything", _is_file_name, *_LEFT_BY_EDITORS
    )


def _is_collector(value: object) -> bool:
    return not value or re.fullmatch(r"https?://[A-Za-z0-9._\[\]:-]+(?:/[!-~]*)?", str(value)) is not None


@attrs.frozen
class TracingSettings:
    """[tracing]: one span for each publication, from the moment in which its source noticed a change to its broadcast. It needs the extra `otel`.

    Attributes:
        endpoint: Where spans are sent by OTLP over HTTP, such as `http://127.0.0.1:4318/v1/traces`; "" for nowhere. Headers, certificates and
            the service's name are those of the variables `OTEL_*`.
    """

    endpoint: str = attrs.field(
        default="", metadata={"rule": Rule("the http:// or https:// address of a collector, or empty", _is_collector)}
    )


@attrs.frozen
class LogSettings:
    """[log].

    Attributes:
        format: "json" (one object a line), "console" (for people), or "auto": console on a terminal, else json.
        level: "debug", "info", "warning" or "error".
    """

    format: str = _choice("auto", "json", "console")
    level: str = _choice("info", "debug", "warning", "error")


@attrs.frozen
class Settings:
    """The whole of vortexd.toml.

    Attributes:
        overrides: [overrides]: what goes over everything that the sources have, for every application; flat keys to texts.
    """

    server: ServerSettings = attrs.field(factory=ServerSettings)
    tls: TlsSettings = attrs.field(factory=TlsSettings)
    auth: AuthSettings = attrs.field(factory=AuthSettings)
    source: tuple[SourceSettings, ...] = ()
    formats: FormatSettings = attrs.field(factory=FormatSettings)
    history: HistorySettings = attrs.field(factory=HistorySettings)
    realtime: RealtimeSettings = attrs.field(factory=RealtimeSettings)
    fleet: FleetSettings = attrs.field(factory=FleetSettings)
    monitor: MonitorSettings = attrs.field(factory=MonitorSettings)
    console: ConsoleSettings = attrs.field(factory=ConsoleSettings)
    encryption: EncryptionSettings = attrs.field(factory=EncryptionSettings)
    http: HttpSettings = attrs.field(factory=HttpSettings)
    overrides: Mapping[str, str] = attrs.field(factory=dict)
    tracing: TracingSettings = attrs.field(factory=TracingSettings)
    log: LogSettings = attrs.field(factory=LogSettings)


def reloaded(before: Settings, read: Settings) -> tuple[Settings, list[str]]:
    """What is in force after a reload, and the keys whose new values wait for a restart.

    Args:
        before: What is in force.
        read: What the file says now.
    """
    waiting = []
    for key in sorted(RESTART):
        title, name = key.split(".")
        section, old = getattr(read, title), getattr(getattr(before, title), name)
        if getattr(section, name) != old:
            waiting.append(key)
            read = attrs.evolve(read, **{title: attrs.evolve(section, **{name: old})})
    return read, waiting

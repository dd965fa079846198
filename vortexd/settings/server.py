"""[server] of vortexd.toml. The listeners, and the limits for peers before they are known."""

import ipaddress
import re

import attrs

from ..core.constraints import Rule, is_path, seconds, setting, texts, whole
from .networks import UNIX, parse_network

# The capacity of sun_path in the address of a Unix socket, without its closing NUL.
_SOCKET_PATH_BYTES = 107
_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_ADDRESS = "an address: host:port, [::1]:port or unix:/path"


@attrs.frozen
class Address:
    """An address to listen on: a host and a TCP port (0 means a free port), or the path of a Unix socket.

    Attributes:
        host: A name, or an address without brackets; "" if there is a path.
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
    """Parse `host:port`, `[::1]:port` or `unix:/path`. Names aren't resolved.

    Raises:
        ValueError: The text isn't an address. The message names the allowed forms, as the end of a sentence that begins
            with the key.
    """
    if text.startswith("unix:"):
        return Address(path=_socket_path(text.removeprefix("unix:")))
    host, colon, digits = text.rpartition(":")
    if colon and host in ("", "*"):
        raise ValueError("must name a host; for all addresses of the machine use 0.0.0.0 or [::]")
    if not colon or not host:
        raise ValueError(f"must be {_ADDRESS}; the port is missing")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= 65_535):
        raise ValueError("must end in a port from 0 to 65535; 0 means a free port")
    return Address(_host(host), int(digits))


def _socket_path(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise ValueError("must have an absolute path after unix:, such as unix:/run/vortexd/vortexd.sock")
    if len(path.encode("utf-8", "surrogateescape")) > _SOCKET_PATH_BYTES:
        raise ValueError(f"must have a path of at most {_SOCKET_PATH_BYTES} bytes after unix:")
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


@attrs.frozen
class ServerSettings:
    """[server]."""

    bind: tuple[str, ...] = setting(
        ("127.0.0.1:8888",),
        Rule(_ADDRESS, _is_address),
        doc="The addresses to listen on: `host:port`, `[::1]:port` or `unix:/path`. Port 0 takes a free port.",
        restart=True,
    )
    workers: int = whole(
        1,
        1,
        64,
        doc="The number of processes that serve on the same addresses. Each has its own copy of the "
        "configuration and reads the sources by itself. Limits hold for each process; only `connections` "
        "holds for all of them together.",
        more='See "WORKERS" in vortexd(8).',
        restart=True,
    )
    connections: int = whole(
        0,
        0,
        1_000_000,
        doc="The number of connections, WebSocket and HTTP together. 0 means as many as RLIMIT_NOFILE allows, "
        "less a reserve of 256. Each event stream over HTTP/2 counts as a connection. "
        "When the limit is reached, vortexd closes the connection that has waited "
        "longest for its client. It chooses among connections with an unfinished request, and then among "
        "HTTP connections that are idle between two requests. It never closes a WebSocket or an event stream "
        "to make room. If there is nothing to close, it answers new connections with 503.",
        more='See "SILENT CONNECTIONS" in vortexd-operations(7).',
    )
    connections_per_address: int = whole(
        0,
        0,
        1_000_000,
        doc="The number of open connections from one address, WebSocket and HTTP together. Beyond it vortexd "
        "answers 429. 0 means no limit. Proxies in `trusted_proxies` have no limit. A WebSocket or an event "
        "stream through such a proxy counts for the client that the proxy names. With `proxy_protocol` every "
        "connection does. Without it, other HTTP connections of a proxy count for nobody.",
    )
    trusted_proxies: tuple[str, ...] = texts(
        "an address, a network or unix",
        _is_proxy,
        doc='Addresses and networks of proxies. "unix" means peers on Unix sockets. vortexd trusts these '
        "proxies to name the client's address, in `Forwarded` (RFC 7239) or in `X-Forwarded-For`, `-Proto` "
        "and `-Host`. Clients behind a proxy are on other hosts. So if this list is not empty, vortexd "
        "refuses to start without `auth.tokens`, `auth.jwt_secret` or `auth.jwks`, unless `auth.open` is "
        "true.",
        more="The client is the last address in the header that is not a listed proxy. vortexd uses this "
        "address for wrong tokens, limits and logs, and shows it to operators. It uses the host and the "
        "scheme to recognise the origin of the console's pages. If the two kinds of header contradict each "
        "other, vortexd refuses the request, because one of them comes from the client. A proxy that sets "
        "one kind has to remove the other. From all other peers vortexd ignores such headers. See the "
        "examples for nginx, HAProxy and Caddy in conf/proxies.",
    )
    proxy_protocol: bool = setting(
        False,
        doc="Require a PROXY header (version 1 or 2) at the beginning of each TCP connection, before TLS. The "
        "connection has to come from `trusted_proxies`. Connections on Unix sockets need the header if "
        '"unix" is one of them.',
        more="vortexd refuses connections without the header. If the header names no client, as in a proxy's "
        "own health checks, the client is the proxy.",
    )
    handshakes: int = whole(
        256,
        1,
        1_000_000,
        doc="The number of unfinished requests that vortexd reads at the same time: TLS handshakes, request "
        "heads within TLS, and request bodies of which only a part has arrived. When the limit is reached, "
        "further ones wait. vortexd then closes the one that has waited longest for its client, if that is "
        "at least a second. An eighth of the slots is reserved for addresses that have completed a request "
        "within the last hour. A request over plain HTTP that arrives as a whole needs no slot.",
    )
    head_timeout: float = seconds(
        10.0,
        doc="Seconds from accept until the head of the first request on a connection is complete, with the "
        "PROXY header and the TLS handshake before it. For later requests `request_timeout` counts.",
    )
    head_bytes: int = whole(16_384, 1_024, 16_777_216, doc="The size of a request head. Beyond it vortexd answers 431.")
    body_bytes: int = whole(65_536, 0, doc="The size of a request body. Beyond it vortexd answers 413.")
    request_timeout: float = seconds(
        30.0,
        doc="Seconds until vortexd begins to write the response. They count from the complete head of the first "
        "request on a connection, and from the first byte of each later request. In HTTP/2 they count from "
        "the complete head of each request.",
    )
    keep_alive_timeout: float = seconds(60.0, doc="Seconds that an HTTP connection may be idle between two requests.")
    write_timeout: float = seconds(
        10.0,
        doc="Seconds that one write to an HTTP connection may wait for a client that does not read. Then "
        "vortexd closes the connection. For WebSockets and event streams `realtime.write_timeout` counts; for "
        "event streams over HTTP/2, both count.",
    )
    drain_timeout: float = seconds(
        25.0,
        1,
        30,
        doc="Seconds from SIGTERM until vortexd closes the connections that are left; at most 30.",
        restart=True,
    )
    state_directory: str = setting(
        "",
        Rule("the path of a directory, or empty", is_path),
        doc="The directory for mirrors of git repositories, for copies of good files (`remember`), for what "
        'instances have acknowledged, and for pins, roll-outs and the audit log. "" means '
        "$STATE_DIRECTORY, which systemd sets, else $XDG_STATE_HOME/vortexd, else ~/.local/state/vortexd.",
    )

"""Checks the Origin and Host headers, as a defence against web pages that reach the server through a user's browser. Pure.

A page can open a WebSocket to any address (W01). If it rebinds its own name to 127.0.0.1, it can also read answers (H07).
Both attacks show in these headers, because a browser doesn't let a page choose them. A header never grants a right (H10).
"""

import ipaddress
import re
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

from ..core.errors import RemoteError
from ..settings.server import Address
from .principal import Forbidden, Unauthorized

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]{0,31})://(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::([0-9]{1,5}))?")
_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::[0-9]{0,5})?")
# The Origin that browsers send for a page without an origin: a page from a file, or in a sandboxed frame.
NULL_ORIGIN = "null"
# The number of valid texts whose canonical form is remembered. Each is short.
_REMEMBERED = 256
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


@lru_cache(_REMEMBERED)
def parse_origin(text: str) -> str:
    """Return an origin in its canonical form for comparisons: `scheme://host:port`, in lower case.

    If the text names no port, the default port of its scheme is added. `null`, the origin of pages without an origin,
    is returned unchanged.

    Raises:
        ValueError: The text is invalid. The error text completes a sentence that begins with the key.
    """
    if text == NULL_ORIGIN:
        return NULL_ORIGIN
    match = _ORIGIN.fullmatch(text.lower())
    if match is None or (match[3] is not None and int(match[3]) > 65_535):
        raise ValueError(
            'must be an origin such as https://config.example.com: scheme, host and port, and nothing else; or "null"'
        )
    port = int(match[3]) if match[3] is not None else _DEFAULT_PORTS.get(match[1], 0)
    return f"{match[1]}://{match[2]}:{port}"


@lru_cache(_REMEMBERED)
def parse_host(text: str) -> str:
    """Return a host name or address of a Host header in lower case, without its port. IPv6 addresses have brackets.

    Raises:
        ValueError: The text is invalid. The error text completes a sentence that begins with the key.
    """
    match = _HOST.fullmatch(text.lower())
    if match is None:
        raise ValueError("must be a host name, an IPv4 address or [an IPv6 address]")
    if match[1].startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(match[1][1:-1])}]"
        except ValueError:
            raise ValueError("must be a host name, an IPv4 address or [an IPv6 address]") from None
    return match[1].removesuffix(".")


def sole_header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the value of a header that may occur once, or None if it is missing.

    Args:
        name: The name in lower case.

    Raises:
        RemoteError: The header occurs twice. Another program that reads the other value would decide differently.
    """
    values = [value for each, value in headers if each.lower() == name]
    if len(values) > 1:
        raise RemoteError("a header that may occur once occurs twice")
    return values[0] if values else None


def check_origin(origin: bytes | None, allowed: Collection[str], has_credentials: bool, is_open: bool) -> None:
    """Allow pages of listed origins, and clients that aren't browsers.

    The origin of our own address has no privilege by itself. Another daemon on this host, or a page that rebinds its
    name, could have that origin, too. See `own_origin`.

    Args:
        origin: The header, or None if it is missing.
        allowed: The listed origins, as `parse_origin` returned them.

    Raises:
        Forbidden: The page's origin isn't listed.
        Unauthorized: The client isn't a browser, and has no token although the server asks for one.
    """
    if origin is None:
        if not has_credentials and not is_open:
            raise Unauthorized
        return
    try:
        is_allowed = parse_origin(origin.decode("ascii")) in allowed
    except ValueError:
        is_allowed = False
    if not is_allowed:
        raise Forbidden("the Origin isn't allowed")


def own_origin(
    host: bytes, scheme: str, allowed: Collection[str], bound: Sequence[Address], is_open: bool
) -> str | None:
    """Return the origin of our own pages, under the name that the client used. None if that could be another's origin.

    With its port, the origin is ours if the name is ours. If the server asks for a token, any name is safe. A page that
    has rebound its name doesn't have a token.

    Args:
        host: The header, which `check_host` has accepted.
        scheme: The scheme of our ports.
        allowed, bound: As in `check_host`.
        is_open: Whether the server asks no client for a token.
    """
    text = host.decode("ascii")
    if is_open and not _is_ours(parse_host(text), allowed, bound):
        return None
    return parse_origin(f"{scheme}://{text}")


def check_host(host: bytes | None, allowed: Collection[str], bound: Sequence[Address]) -> None:
    """Refuse requests for another host. The port doesn't matter.

    This machine's own names and the bound addresses are always accepted. If no host is listed and other hosts can reach
    us, we can't know our names, so every name is accepted.

    Args:
        allowed: The listed hosts, as `parse_host` returned them.

    Raises:
        RemoteError: 400. The header is missing or invalid.
        Forbidden: The name is another host's.
    """
    try:
        name = parse_host((host or b"").decode("ascii"))
    except ValueError:
        raise RemoteError("the Host header is missing or invalid") from None
    if _is_ours(name, allowed, bound):
        return
    if allowed or is_loopback(bound):
        raise Forbidden("the Host isn't allowed")


def _is_ours(name: str, allowed: Collection[str], bound: Sequence[Address]) -> bool:
    return name in allowed or name in _LOOPBACK_NAMES or name in map(_host_of, bound)


def is_loopback(bound: Iterable[Address]) -> bool:
    """Return whether only this machine can reach these addresses: Unix sockets, 127.0.0.0/8, ::1, localhost."""
    return all(address.path is not None or _is_loopback_host(address.host) for address in bound)


def _host_of(address: Address) -> str:
    return f"[{address.host}]" if ":" in address.host else address.host.lower()


def _is_loopback_host(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # Other names depend on the resolver, and its answer may change.
        return host.lower() == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback

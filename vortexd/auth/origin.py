"""Where a request comes from and whom it thinks it speaks to: the Origin and Host headers, against web pages that reach for us through
somebody's browser. Pure.

A page can open a WebSocket to any address (W01), and by rebinding its own name to 127.0.0.1 it can read answers too (H07). Both are told from
the headers alone, which a browser doesn't let a page choose. No header ever grants a right (H10).
"""

import ipaddress
import re
from collections.abc import Collection, Iterable, Sequence

from ..core.errors import RemoteError
from ..settings.sections import Address
from .principal import Forbidden, Unauthorized

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]{0,31})://(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::([0-9]{1,5}))?")
_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::[0-9]{0,5})?")
# What browsers send for a page that has no origin: of a file, or in a sandboxed frame.
NULL_ORIGIN = "null"
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


def parse_origin(text: str) -> str:
    """An origin in the one form that is compared: `scheme://host:port`, in lower case, with the scheme's own port where it names none.

    `null` is itself: it is the origin of pages without one.

    Raises:
        ValueError: Says what is allowed, as the end of a sentence that begins with the key.
    """
    if text == NULL_ORIGIN:
        return NULL_ORIGIN
    match = _ORIGIN.fullmatch(text.lower())
    if match is None or (match[3] is not None and int(match[3]) > 65_535):
        raise ValueError(
            'must be an origin such as https://config.example.com: scheme, host and port, nothing behind them; or "null"'
        )
    port = int(match[3]) if match[3] is not None else _DEFAULT_PORTS.get(match[1], 0)
    return f"{match[1]}://{match[2]}:{port}"


def parse_host(text: str) -> str:
    """A host name or address as it stands in a Host header (IPv6 in brackets), in lower case, without its port.

    Raises:
        ValueError: Says what is allowed, as the end of a sentence that begins with the key.
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
    """The value of a header that stands once at most; None where it isn't there.

    Args:
        name: In lower case.

    Raises:
        RemoteError: It is there twice: who looks at the other one would decide otherwise.
    """
    values = [value for each, value in headers if each.lower() == name]
    if len(values) > 1:
        raise RemoteError("a header that stands once stands twice")
    return values[0] if values else None


def check_origin(origin: bytes | None, allowed: Collection[str], has_credentials: bool, is_open: bool) -> None:
    """Let pages of listed origins in, and whatever isn't a browser.

    The origin of our own address has no privilege by itself: another daemon on this host, or a page that got there by rebinding, could have it.
    See `own_origin`.

    Args:
        origin: The header, or None where there is none.
        allowed: What `parse_origin` returned for each that is listed.

    Raises:
        Forbidden: A page that isn't listed.
        Unauthorized: No browser, and no token where one is asked for.
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
    """The origin of pages that we serve ourselves, as the sender of a request knows us; None where it could be somebody else's.

    Port and all, it is ours alone where the name is: one that is surely ours, or any where a token is asked for, which a page that
    has rebound its own name hasn't got.

    Args:
        host: The header, which `check_host` has let pass.
        scheme: What is spoken on our ports.
        allowed, bound: As for `check_host`.
        is_open: Whether nobody is asked for a token.
    """
    text = host.decode("ascii")
    if is_open and not _is_ours(parse_host(text), allowed, bound):
        return None
    return parse_origin(f"{scheme}://{text}")


def check_host(host: bytes | None, allowed: Collection[str], bound: Sequence[Address]) -> None:
    """Refuse requests for somebody else. The port doesn't matter.

    This machine's own names and the addresses bound to are always right. Where nothing is listed and we can be reached from outside, we can't know
    what we are called, and any name is.

    Args:
        allowed: What `parse_host` returned for each that is listed.

    Raises:
        RemoteError: 400, the header isn't there or can't be one.
        Forbidden: It is another's name.
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
    """Whether all these addresses can be reached from this machine only: Unix sockets, 127.0.0.0/8, ::1, localhost."""
    return all(address.path is not None or _is_loopback_host(address.host) for address in bound)


def _host_of(address: Address) -> str:
    return f"[{address.host}]" if ":" in address.host else address.host.lower()


def _is_loopback_host(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # What other names stand for is the resolver's to say, and may change.
        return host.lower() == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback

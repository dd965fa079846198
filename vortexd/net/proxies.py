"""Proxies in front of us: which ones we believe, and what they say of who is behind them (RFC 7239, and the headers before it). Pure.

In come the headers of a request and the address that it came from; out goes its `Sender`. What a header says counts only where it was
written by a proxy that is listed: it is read from its end, the part that was added last, and no further than the first address that isn't
listed. No header ever grants a right (H10).
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import attrs

from ..core.errors import RemoteError
from ..settings.networks import UNIX, parse_network
from .client_certificate import ClientCertificate

_Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
# RFC 7239 section 4: forwarded-pair, and what stands between two of them. An element may be empty (RFC 9110 section 5.6.1).
_PAIR = re.compile(rf'[ \t]*({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*")[ \t]*')
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::[^:]*)?|([^:]*)(?::[^:]*)?")


@attrs.frozen(slots=True)
class Sender:
    """Who sends a request, before anybody is asked to prove it.

    Attributes:
        host: The address, or "" for a Unix socket.
        scheme: "http" or "https", as the proxy was spoken to; None where there is none, or it doesn't say.
        authority: The host that the proxy was asked for, as in a Host header; None likewise.
        certificate: The client's, of the connection itself. That of a proxy is nobody's behind it.
    """

    host: str = ""
    scheme: str | None = None
    authority: bytes | None = None
    certificate: ClientCertificate | None = None


@attrs.frozen(slots=True)
class _Hop:
    """What one proxy says of who came to it; each part may be missing, or be no address."""

    node: str = ""
    scheme: str = ""
    authority: str = ""


class Proxies:
    """The proxies that are believed; immutable.

    Args:
        listed: Addresses and networks, and "unix" for Unix sockets.
    """

    def __init__(self, listed: Sequence[str] = ()) -> None:
        self._has_unix = UNIX in listed
        self._networks = [parse_network(each) for each in listed if each != UNIX]

    def has(self, host: str) -> bool:
        """Whether this address, or "" for a Unix socket, is one of them."""
        if not host:
            return self._has_unix
        address = ipaddress.ip_address(host)
        return any(address in network for network in self._networks)

    def sender(self, headers: _Headers, host: str) -> Sender:
        """Who sends a request that came from one of them.

        Args:
            headers: Names in lower case.
            host: The proxy's address, or "" for a Unix socket.

        Raises:
            RemoteError: 400. The headers can't be read, or contradict each other: one of them isn't the proxy's.
        """
        found = [each for each in (_forwarded(headers), _x_forwarded(headers)) if each]
        senders = [self._sender(hops, host) for hops in found]
        if not senders:
            return Sender(host)
        if len(senders) > 1:
            return _agreed(*senders)
        return senders[0]

    def _sender(self, hops: Sequence[_Hop], host: str) -> Sender:
        hop = hops[-1]
        for hop in reversed(hops):
            address = _address(hop.node)
            if address is None:
                # Hidden, or unknown to the proxy: what is known is who came to us with it.
                break
            host = address
            if not self.has(address):
                break
        authority = hop.authority.encode("latin-1") if hop.authority else None
        return Sender(host, _SCHEMES.get(hop.scheme.lower()), authority)


def _agreed(one: Sender, other: Sender) -> Sender:
    """One of the two was let through from a client if they differ, and nobody can tell which."""
    for name in ("host", "scheme", "authority"):
        values = {getattr(one, name), getattr(other, name)} - {None}
        if len(values) > 1:
            raise RemoteError("Forwarded and X-Forwarded-* contradict each other; a proxy has to take one of them away")
    return Sender(one.host, one.scheme or other.scheme, one.authority or other.authority)


def _values(headers: _Headers, wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in headers if name == wanted]


def _forwarded(headers: _Headers) -> list[_Hop]:
    return [hop for line in _values(headers, b"forwarded") for hop in _elements(line)]


def _elements(line: str) -> Iterator[_Hop]:
    """The elements of a Forwarded header. Text that can't be read may have swallowed what a proxy has added behind it."""
    pairs: dict[str, str] = {}
    position = 0
    while True:
        match = _PAIR.match(line, position)
        if match is not None:
            name = match[1].lower()
            if name in pairs:
                raise RemoteError("the Forwarded header says something twice")
            pairs[name] = _unquoted(match[2])
            position = match.end()
        else:
            position += len(line[position:]) - len(line[position:].lstrip(" \t"))
        if position == len(line) or line[position] == ",":
            if pairs:
                yield _Hop(pairs.get("for", ""), pairs.get("proto", ""), pairs.get("host", ""))
            pairs = {}
        elif line[position] != ";":
            raise RemoteError("the Forwarded header can't be read")
        if position == len(line):
            return
        position += 1


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


def _x_forwarded(headers: _Headers) -> list[_Hop]:
    nodes, schemes, authorities = (
        [part.strip() for line in _values(headers, b"x-forwarded-" + name) for part in line.split(",")]
        for name in (b"for", b"proto", b"host")
    )
    length = len(nodes) or bool(schemes or authorities)
    return [
        _Hop(nodes[index] if nodes else "", _at(schemes, index, length), _at(authorities, index, length))
        for index in range(length)
    ]


def _at(values: Sequence[str], index: int, length: int) -> str:
    """Of a list that goes with another one the same place; of any other list the end, which the last proxy has written."""
    if not values:
        return ""
    return values[index] if len(values) == length else values[-1]


def _address(node: str) -> str | None:
    """The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`."""
    match = _WITH_PORT.fullmatch(node)
    text = node if match is None else match[1] or match[2]
    try:
        return plain_address(text or "")
    except ValueError:
        return None


def plain_address(text: str) -> str:
    """An address in the one form that is compared: an IPv4 address that is mapped into IPv6 is the IPv4 address.

    Raises:
        ValueError: It is none.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError("an address of one link means nothing elsewhere")
        return str(address.ipv4_mapped or address)
    return str(address)

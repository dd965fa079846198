"""The trusted proxies, and their headers that name the client (RFC 7239, and the headers before it). Pure.

`Proxies.sender` takes the headers of a request and the address of its peer, and returns the `Sender`. A header counts only
if a listed proxy has written it. So headers are read from the end, which was added last, up to the first address that
isn't listed. A header never grants a right (H10).
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TypeAlias

import attrs

from ..core.errors import RemoteError
from ..settings.networks import UNIX, parse_network
from .client_certificate import ClientCertificate

_Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
# The addresses to remember. Parsing one takes several microseconds.
_REMEMBERED = 1_024
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
# RFC 7239 section 4: a forwarded-pair, and the separators between pairs. An element may be empty (RFC 9110 section 5.6.1).
_PAIR = re.compile(rf'[ \t]*({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*")[ \t]*')
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::[^:]*)?|([^:]*)(?::[^:]*)?")


@attrs.frozen(slots=True)
class Sender:
    """The sender of a request, before it is authenticated.

    Attributes:
        host: The address, or "" for a Unix socket.
        scheme: The scheme that the client used to the proxy, "http" or "https". None without a proxy, or if it doesn't say.
        authority: The host that the client asked the proxy for, as in a Host header. None in the same cases.
        certificate: The certificate that the peer sent on this connection. A proxy's certificate doesn't identify its clients.
    """

    host: str = ""
    scheme: str | None = None
    authority: bytes | None = None
    certificate: ClientCertificate | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the address is known."""
        return self.scheme is None and self.authority is None and self.certificate is None


@attrs.frozen(slots=True)
class _Hop:
    """A proxy's statement about its peer. Parts may be missing, and `node` may not be an address."""

    node: str = ""
    scheme: str = ""
    authority: str = ""


class Proxies:
    """The proxies that vortexd trusts to name the client's address. Immutable.

    Args:
        listed: Addresses and networks, and "unix" for Unix sockets.
    """

    def __init__(self, listed: Sequence[str] = ()) -> None:
        self._has_unix = UNIX in listed
        self._networks = [parse_network(each) for each in listed if each != UNIX]
        # A proxy opens many connections.
        self._is_listed = lru_cache(_REMEMBERED)(self._look_up)

    def has(self, host: str) -> bool:
        """Return whether this address, or "" for a Unix socket, is listed."""
        if not host:
            return self._has_unix
        if not self._networks:
            return False
        return self._is_listed(host)

    def _look_up(self, host: str) -> bool:
        address = ipaddress.ip_address(host)
        return any(address in network for network in self._networks)

    def sender(self, headers: _Headers, host: str) -> Sender:
        """Return the sender of a request that came from a listed proxy.

        Args:
            headers: Names in lower case.
            host: The proxy's address, or "" for a Unix socket.

        Raises:
            RemoteError: 400. The headers are malformed, or contradict each other, so the proxy hasn't written all of them.
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
                # The proxy hides the address or doesn't know it. Use the peer that the next proxy has named.
                break
            host = address
            if not self.has(address):
                break
        authority = hop.authority.encode("latin-1") if hop.authority else None
        return Sender(host, _SCHEMES.get(hop.scheme.lower()), authority)


def _agreed(one: Sender, other: Sender) -> Sender:
    """Combine two statements. If they differ, a client has sent one of them, and we can't tell which. Then raise."""
    for name in ("host", "scheme", "authority"):
        values = {getattr(one, name), getattr(other, name)} - {None}
        if len(values) > 1:
            raise RemoteError("Forwarded and X-Forwarded-* contradict each other; the proxy must remove one of them")
    return Sender(one.host, one.scheme or other.scheme, one.authority or other.authority)


def _values(headers: _Headers, wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in headers if name == wanted]


def _forwarded(headers: _Headers) -> list[_Hop]:
    return [hop for line in _values(headers, b"forwarded") for hop in _elements(line)]


def _elements(line: str) -> Iterator[_Hop]:
    """Yield the elements of a Forwarded header. Malformed text is an error, because it could hide an element that a proxy has added."""
    pairs: dict[str, str] = {}
    position = 0
    while True:
        match = _PAIR.match(line, position)
        if match is not None:
            name = match[1].lower()
            if name in pairs:
                raise RemoteError("the Forwarded header has a parameter twice")
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
    """Return the element at the same index as in another list. If the lengths differ, return the last, by the last proxy."""
    if not values:
        return ""
    return values[index] if len(values) == length else values[-1]


def _address(node: str) -> str | None:
    """Return the address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`."""
    match = _WITH_PORT.fullmatch(node)
    text = node if match is None else match[1] or match[2]
    try:
        return plain_address(text or "")
    except ValueError:
        return None


@lru_cache(_REMEMBERED)
def plain_address(text: str) -> str:
    """Return an address in its canonical form. An IPv4 address that is mapped into IPv6 becomes an IPv4 address.

    Raises:
        ValueError: The text isn't an address.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError("an address with a zone is valid only on its own link")
        return str(address.ipv4_mapped or address)
    return str(address)

"""The PROXY protocol, versions 1 and 2: a header in which a proxy names the client of a connection. Pure.

`parse_proxy_header` takes the first bytes of a connection. It returns the header once that is complete. It reads nothing
after the header, because TLS or HTTP begins there.
"""

import re
import struct

import attrs

from .proxies import plain_address

# Addresses and a few TLVs fit. Version 2 allows 65,551 bytes, but no proxy sends that many.
MAX_BYTES = 4_096

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_BEGINNING = b"PROXY "
# Includes CR LF.
_MAX_LINE_BYTES = 107
_FIXED_BYTES = 16
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")
# For each address family: the length of both addresses with their ports, and the length of one address.
_UNSPECIFIED, _INET, _INET6, _UNIX = range(4)
_LENGTHS = {_UNSPECIFIED: (0, 0), _INET: (12, 4), _INET6: (36, 16), _UNIX: (216, 0)}
_LOCAL, _PROXY = 0, 1
_STREAM, _DATAGRAM = 1, 2


class InvalidHeader(Exception):
    """The bytes don't begin with a PROXY header."""


@attrs.frozen(slots=True)
class ProxyHeader:
    """A complete header.

    Attributes:
        length: The size of the header in bytes.
        source: The address and port of the proxy's client. None if the connection is the proxy's own, or it can't say.
    """

    length: int
    source: tuple[str, int] | None = None


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """Read a header from the first bytes of a connection.

    Returns:
        None if the header isn't complete yet. Then all of the bytes belong to the header.

    Raises:
        InvalidHeader: The bytes can't become a header.
    """
    if data[: len(_SIGNATURE)] == _SIGNATURE[: len(data)]:
        return _version_2(data) if len(data) >= _FIXED_BYTES else None
    if data[: len(_BEGINNING)] == _BEGINNING[: len(data)]:
        return _version_1(data)
    raise InvalidHeader


def _version_1(data: bytes) -> ProxyHeader | None:
    line, end, _ = data[:_MAX_LINE_BYTES].partition(b"\r\n")
    if not end:
        if len(data) >= _MAX_LINE_BYTES:
            raise InvalidHeader
        return None
    length = len(line) + len(end)
    try:
        words = line.decode("ascii").split(" ")
    except UnicodeError:
        raise InvalidHeader from None
    # The specification says to ignore the text after UNKNOWN.
    if words[1] == "UNKNOWN":
        return ProxyHeader(length)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6") or not all(map(_PORT.fullmatch, words[4:])):
        raise InvalidHeader
    try:
        source, destination = plain_address(words[2]), plain_address(words[3])
    except ValueError:
        raise InvalidHeader from None
    if any((":" in address) != (words[1] == "TCP6") for address in words[2:4]) or not destination:
        raise InvalidHeader
    ports = [int(word) for word in words[4:]]
    if max(ports) > 65_535:
        raise InvalidHeader
    return ProxyHeader(length, (source, ports[0]))


def _version_2(data: bytes) -> ProxyHeader | None:
    version_and_command, family_and_transport, behind = struct.unpack_from("!BBH", data, len(_SIGNATURE))
    version, command = divmod(version_and_command, 16)
    family, transport = divmod(family_and_transport, 16)
    length = _FIXED_BYTES + behind
    addresses, size = _LENGTHS.get(family, (behind + 1, 0))
    if version != 2 or command not in (_LOCAL, _PROXY) or transport > _DATAGRAM or length > MAX_BYTES:
        raise InvalidHeader
    if command == _PROXY and behind < addresses:
        raise InvalidHeader
    if len(data) < length:
        return None
    # The proxy's own health checks, and clients that don't use TCP. The TLVs after the addresses aren't needed.
    if command == _LOCAL or not size or transport != _STREAM:
        return ProxyHeader(length)
    source = data[_FIXED_BYTES : _FIXED_BYTES + size]
    (port,) = struct.unpack_from("!H", data, _FIXED_BYTES + 2 * size)
    text = (
        ".".join(map(str, source))
        if family == _INET
        else ":".join(f"{word:x}" for word in struct.unpack("!8H", source))
    )
    return ProxyHeader(length, (plain_address(text), port))

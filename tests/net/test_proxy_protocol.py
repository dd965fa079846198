"""Headers of the PROXY protocol: their contents, their ends, and invalid ones."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.net.proxy_protocol import MAX_BYTES, InvalidHeader, ProxyHeader, parse_proxy_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PORTS = st.integers(0, 65_535)


def version_2(command: int, family: int, body: bytes, version: int = 2) -> bytes:
    return SIGNATURE + bytes([version << 4 | command, family]) + struct.pack("!H", len(body)) + body


def inet(source: str, port: int, destination: str = "192.0.2.1", tlvs: bytes = b"") -> bytes:
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    return addresses + struct.pack("!HH", port, 8_888) + tlvs


IPV4 = inet("203.0.113.7", 4_711)
IPV6 = inet("2001:db8::1", 4_711, "2001:db8::2")


@pytest.mark.parametrize(
    ("data", "source"),
    [
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 8888\r\n", ("203.0.113.7", 4_711)),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 8888\r\n", ("2001:db8::1", 4_711)),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff:f...f:ffff whatever follows\r\n", None),
        (version_2(1, 0x11, IPV4), ("203.0.113.7", 4_711)),
        (version_2(1, 0x11, IPV4 + b"\x04\0\1x" * 100), ("203.0.113.7", 4_711)),
        (version_2(1, 0x21, IPV6), ("2001:db8::1", 4_711)),
        (version_2(1, 0x21, inet("::ffff:203.0.113.7", 1, "::1")), ("203.0.113.7", 1)),
        (version_2(0, 0x00, b""), None),
        (version_2(0, 0x11, IPV4), None),
        (version_2(0, 0x11, b"short"), None),
        (version_2(1, 0x00, b"anything"), None),
        (version_2(1, 0x12, IPV4), None),
        (version_2(1, 0x22, IPV6), None),
        (version_2(1, 0x31, b"\0" * 216), None),
        (version_2(1, 0x32, b"\0" * 216), None),
    ],
)
def test_a_whole_header_says_who_came_and_where_it_ends(data: bytes, source: tuple[str, int] | None) -> None:
    assert ProxyHeader(len(data), source) == parse_proxy_header(data)
    assert ProxyHeader(len(data), source) == parse_proxy_header(data + b"\x16\x03\x01\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"proxy TCP4 203.0.113.7 192.0.2.1 4711 8888\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 8888" + b" " * 100,
        b"PROXY " + b"x" * 101,
        b"PROXY TCP4 203.0.113.7 192.0.2.1 4711\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 8888 \r\n",
        b"PROXY  TCP4 203.0.113.7 192.0.2.1 4711 8888\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 4711 8888\r\n",
        b"PROXY TCP6 203.0.113.7 192.0.2.1 4711 8888\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 65536 8888\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 04711 8888\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 +1 8888\r\n",
        b"PROXY TCP4 203.0.113.007 192.0.2.1 1 8888\r\n",
        b"PROXY UDP4 203.0.113.7 192.0.2.1 4711 8888\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY \xff\r\n",
        b"PROXY \r\n",
        version_2(1, 0x11, IPV4, version=1),
        version_2(2, 0x11, IPV4),
        version_2(1, 0x13, IPV4),
        version_2(1, 0x41, IPV4),
        version_2(1, 0x11, IPV4[:-1]),
        version_2(1, 0x21, IPV4),
        version_2(1, 0x31, b"\0" * 215),
        version_2(1, 0x11, IPV4 + b"\0" * MAX_BYTES),
    ],
)
def test_what_is_no_header_is_refused_as_soon_as_that_is_known(data: bytes) -> None:
    with pytest.raises(InvalidHeader):
        parse_proxy_header(data)


@given(
    st.ip_addresses(v=4) | st.ip_addresses(v=6), PORTS, st.booleans(), st.binary(max_size=100), st.binary(max_size=100)
)
def test_a_header_is_read_wherever_it_is_cut(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, is_text: bool, tlvs: bytes, behind: bytes
) -> None:
    other = "192.0.2.1" if address.version == 4 else "2001:db8::1"
    if is_text:
        header = f"PROXY TCP{address.version} {address} {other} {port} 8888\r\n".encode()
    else:
        header = version_2(1, 0x11 if address.version == 4 else 0x21, inet(str(address), port, other, tlvs))
    source = str(getattr(address, "ipv4_mapped", None) or address)
    if is_text and address.version == 6 and source != str(address):
        return  # in words, such an address is of neither family

    assert ProxyHeader(len(header), (source, port)) == parse_proxy_header(header + behind)
    for end in range(len(header)):
        assert parse_proxy_header(header[:end]) is None


@given(st.binary(max_size=300) | st.binary(max_size=300).map(SIGNATURE.__add__) | st.binary().map(b"PROXY ".__add__))
def test_any_bytes_are_a_header_or_the_beginning_of_one_or_refused(data: bytes) -> None:
    try:
        header = parse_proxy_header(data)
    except InvalidHeader:
        return
    assert len(data) < MAX_BYTES if header is None else header.length <= len(data)

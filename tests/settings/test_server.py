"""[server]: addresses to listen on, proxies, the ranges of limits, and the keys that wait for a restart."""

import pytest

from vortexd.settings.server import Address, ServerSettings, parse_address

from .sections import assert_seconds, assert_whole, problems, read, waiting

LARGEST = 1_099_511_627_776
FORMS = "an address: host:port, [::1]:port or unix:/path"
NO_HOST = "must name a host; for all addresses of the machine use 0.0.0.0 or [::]"
NO_PORT = f"must be {FORMS}; the port is missing"
WRONG_PORT = "must end in a port from 0 to 65535; 0 means a free port"
WRONG_PATH = "must have an absolute path after unix:, such as unix:/run/vortexd/vortexd.sock"
NO_NAME = f"must be {FORMS}; this is no host name"
NO_IP = f"must be {FORMS}; this is no IP address"


# Addresses.


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8888", Address("127.0.0.1", 8888)),
        ("[::1]:0", Address("::1", 0)),
        ("localhost:80", Address("localhost", 80)),
        ("unix:/run/vortexd", Address(path="/run/vortexd")),
        ("a-1.b-2.example:65535", Address("a-1.b-2.example", 65_535)),
        ("x:1", Address("x", 1)),
        ("unix:/a:80", Address(path="/a:80")),
        ("unix:/", Address(path="/")),
        ("unix:/" + "x" * 106, Address(path="/" + "x" * 106)),
        ("a" * 253 + ":80", Address("a" * 253, 80)),
    ],
)
def test_an_address_reads_as_it_prints(text: str, address: Address) -> None:
    assert address == parse_address(text)
    assert text == str(address)


@pytest.mark.parametrize(
    ("text", "printed"),
    [("[0:0::1]:80", "[::1]:80"), ("[FE80::00FF]:80", "[fe80::ff]:80"), ("localhost:080", "localhost:80")],
)
def test_equal_addresses_print_alike(text: str, printed: str) -> None:
    assert parse_address(printed) == parse_address(text)
    assert printed == str(parse_address(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", NO_PORT),
        ("localhost", NO_PORT),
        ("[::1]", "must end in a port from 0 to 65535; 0 means a free port"),
        (":80", NO_HOST),
        ("*:80", NO_HOST),
        ("localhost:", WRONG_PORT),
        ("localhost:x", WRONG_PORT),
        ("localhost:-1", WRONG_PORT),
        ("localhost:65536", WRONG_PORT),
        ("localhost:000080", WRONG_PORT),
        ("localhost:²", WRONG_PORT),
        ("localhost:٣", WRONG_PORT),
        ("unix:", WRONG_PATH),
        ("unix:run", WRONG_PATH),
        ("unix:/a\0b", WRONG_PATH),
        ("unix:/" + "x" * 107, "must have a path of at most 107 bytes after unix:"),
        ("unix:/" + "ü" * 54, "must have a path of at most 107 bytes after unix:"),
        ("::1:80", "must have an IPv6 address in brackets: [::1]:port"),
        ("fe80::1:80", "must have an IPv6 address in brackets: [::1]:port"),
        ("[::g]:80", NO_IP),
        ("[]:80", NO_IP),
        ("[127.0.0.1]:80", NO_IP),
        ("127.0.0:80", NO_IP),
        ("256.0.0.1:80", NO_IP),
        ("2130706433:80", NO_IP),
        ("a_b:80", NO_NAME),
        ("-a:80", NO_NAME),
        ("a-:80", NO_NAME),
        ("a..b:80", NO_NAME),
        ("a.:80", NO_NAME),
        ("a b:80", NO_NAME),
        ("größe:80", NO_NAME),
        ("[::1:80", NO_NAME),
        ("a" * 254 + ":80", NO_NAME),
    ],
)
def test_another_text_is_refused_with_the_reason(text: str, expected: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_address(text)

    assert expected == str(caught.value)


def test_a_list_of_addresses_names_each_that_is_refused() -> None:
    found = problems(ServerSettings, 'bind = ["nowhere", "127.0.0.1:80", "*:80", 8888]')

    assert {"bind[0]": NO_PORT, "bind[2]": NO_HOST, "bind[3]": f"must be {FORMS}, not a whole number"} == found


# Proxies.


def test_a_proxy_is_an_address_a_network_or_unix() -> None:
    listed = ("unix", "10.0.0.1", "10.0.0.0/8", "fd00::/8", "::1")

    assert listed == read(ServerSettings, f"trusted_proxies = {list(listed)}").trusted_proxies


@pytest.mark.parametrize(
    ("proxy", "expected"),
    [
        ("proxy.example", 'must be an address, a network such as 10.0.0.0/8 or fd00::/8, or "unix"'),
        ("", 'must be an address, a network such as 10.0.0.0/8 or fd00::/8, or "unix"'),
        ("UNIX", 'must be an address, a network such as 10.0.0.0/8 or fd00::/8, or "unix"'),
        ("10.0.0.1/8", "must be the network 10.0.0.0/8, or the address alone"),
    ],
)
def test_another_proxy_is_refused_with_the_reason(proxy: str, expected: str) -> None:
    assert {"trusted_proxies[1]": expected} == problems(ServerSettings, f'trusted_proxies = ["unix", "{proxy}"]')


# The rest of the section.


def test_by_default_vortexd_listens_on_a_loopback_address_and_trusts_no_proxy() -> None:
    expected = ServerSettings(
        bind=("127.0.0.1:8888",),
        workers=1,
        connections=0,
        connections_per_address=0,
        trusted_proxies=(),
        proxy_protocol=False,
        handshakes=256,
        head_timeout=10.0,
        head_bytes=16_384,
        body_bytes=65_536,
        request_timeout=30.0,
        keep_alive_timeout=60.0,
        write_timeout=10.0,
        drain_timeout=25.0,
        state_directory="",
    )

    assert expected == read(ServerSettings)


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        ("workers", 1, 64),
        ("connections", 0, 1_000_000),
        ("connections_per_address", 0, 1_000_000),
        ("handshakes", 1, 1_000_000),
        ("head_bytes", 1_024, 16_777_216),
        ("body_bytes", 0, LARGEST),
    ],
)
def test_a_count_has_a_range(key: str, low: int, high: int) -> None:
    assert_whole(ServerSettings, key, low, high)


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        ("head_timeout", 0.001, 86_400),
        ("request_timeout", 0.001, 86_400),
        ("keep_alive_timeout", 0.001, 86_400),
        ("write_timeout", 0.001, 86_400),
        ("drain_timeout", 1, 30),
    ],
)
def test_a_duration_has_a_range(key: str, low: float, high: float) -> None:
    assert_seconds(ServerSettings, key, low, high)


def test_the_state_directory_has_no_nul() -> None:
    assert "/var/lib/vortexd" == read(ServerSettings, 'state_directory = "/var/lib/vortexd"').state_directory
    assert {"state_directory": "must be the path of a directory, or empty"} == problems(
        ServerSettings, 'state_directory = "a\\u0000b"'
    )


def test_addresses_workers_and_the_time_to_drain_wait_for_a_restart() -> None:
    assert {"bind", "workers", "drain_timeout"} == waiting(ServerSettings)

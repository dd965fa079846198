"""Origin and Host: the web pages that may reach the server, and the host names that it accepts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.auth import (
    Forbidden,
    Unauthorized,
    check_host,
    check_origin,
    is_loopback,
    parse_host,
    parse_origin,
    sole_header,
)
from vortexd.auth.origin import own_origin
from vortexd.core.errors import RemoteError
from vortexd.settings.server import Address, parse_address

ALLOWED = {parse_origin("https://good.example"), parse_origin("http://localhost:3000")}
LOOPBACK = (Address("127.0.0.1", 8888),)
EVERYWHERE = (Address("0.0.0.0", 8888),)


@pytest.mark.parametrize(
    "origin", [b"https://good.example", b"https://good.example:443", b"HTTPS://GOOD.example", b"http://localhost:3000"]
)
def test_W01_a_listed_origin_is_let_in(origin: bytes) -> None:
    check_origin(origin, ALLOWED, has_credentials=False, is_open=True)


@pytest.mark.parametrize(
    "origin",
    [
        b"https://evil.example",
        b"null",
        b"",
        b"https://good.example.evil.com",
        b"https://evil.com/https://good.example",
        b"https://evilgood.example",
        b"http://good.example",
        b"https://good.example:8443",
        b"https://good.example:",
        b"https://good.example/",
        b"https://good.example.",
        b"https://good.example@evil.example",
        b"https://good.example\xff",
        b"https://good.example https://evil.example",
        b"http://localhost",
        b"file://",
        b"*",
        "https://good.example".encode("utf-16"),
    ],
)
@pytest.mark.parametrize("is_open", [True, False])
def test_W01_any_other_page_is_refused_whatever_token_it_has(origin: bytes, is_open: bool) -> None:
    for allowed in (ALLOWED, set()):
        with pytest.raises(Forbidden):
            check_origin(origin, allowed, has_credentials=True, is_open=is_open)


def test_W01_the_address_itself_is_no_listed_origin() -> None:
    with pytest.raises(Forbidden):
        check_origin(b"http://127.0.0.1:8888", set(), has_credentials=True, is_open=True)


def test_W01_without_an_origin_a_token_is_needed_where_one_is_asked_for() -> None:
    check_origin(None, set(), has_credentials=True, is_open=False)
    check_origin(None, set(), has_credentials=False, is_open=True)
    with pytest.raises(Unauthorized):
        check_origin(None, set(), has_credentials=False, is_open=False)


@pytest.mark.parametrize(
    "text",
    ["good.example", "https://*.example", "https://x/", "https://x:99999", "https://u@x", "*", "NULL", "null:80", ""],
)
def test_what_is_no_origin_can_not_be_listed(text: str) -> None:
    with pytest.raises(ValueError, match="must be an origin"):
        parse_origin(text)


def test_W01_pages_without_an_origin_may_be_listed_and_are_no_others() -> None:
    assert "null" == parse_origin("null")
    check_origin(b"null", {"null"}, has_credentials=False, is_open=True)
    for other in (b"https://evil.example", b"file://", b"NULL", b" null", b"null null", b"", b"https://null"):
        with pytest.raises(Forbidden):
            check_origin(other, {"null"}, has_credentials=True, is_open=True)


def test_W01_no_host_makes_a_page_without_an_origin_one_of_ours() -> None:
    assert "http://null:80" == own_origin(b"null", "http", {"null"}, EVERYWHERE, is_open=False)


@pytest.mark.parametrize(
    "host", [b"localhost", b"LOCALHOST:1", b"127.0.0.1:8888", b"[::1]:8888", b"[0::1]", b"localhost."]
)
@pytest.mark.parametrize("bound", [LOOPBACK, EVERYWHERE, ()])
def test_H07_this_machine_is_always_its_own_host(host: bytes, bound: tuple[Address, ...]) -> None:
    check_host(host, {"config.example"}, bound)


@pytest.mark.parametrize(
    "host", [b"evil.example", b"evil.example:8888", b"127.0.0.1.evil.example", b"localhost.evil.example", b"2130706433"]
)
def test_H07_a_rebound_name_is_refused_on_loopback_and_where_names_are_listed(host: bytes) -> None:
    for allowed, bound in ((set(), LOOPBACK), ({"config.example"}, EVERYWHERE), (set(), (Address(path="/run/x"),))):
        with pytest.raises(Forbidden):
            check_host(host, allowed, bound)


def test_H07_listed_names_and_bound_addresses_are_let_in() -> None:
    check_host(b"config.example:443", {parse_host("Config.Example")}, EVERYWHERE)
    check_host(b"10.0.0.5", {"config.example"}, (parse_address("10.0.0.5:80"),))
    check_host(b"[fd00::5]:80", {"config.example"}, (parse_address("[fd00:0::5]:80"),))
    check_host(b"any.example", set(), EVERYWHERE)


@pytest.mark.parametrize(
    "host", [None, b"", b" ", b"a b", b"a,b", b"\xff", b"[::1", b"[:::]", b"a@b", b"a/b", b"a:b", b"a:1:2"]
)
def test_H07_a_host_that_can_not_be_one_is_400(host: bytes | None) -> None:
    with pytest.raises(RemoteError) as caught:
        check_host(host, set(), EVERYWHERE)

    assert 400 == caught.value.status


@given(st.binary())
def test_no_header_raises_anything_but_the_peers_error(value: bytes) -> None:
    with pytest.raises(RemoteError):
        check_origin(b"x" + value, ALLOWED, has_credentials=True, is_open=True)
    with pytest.raises(RemoteError):
        check_host(b"x" + value, set(), LOOPBACK)


def test_H07_a_header_that_stands_twice_is_refused() -> None:
    headers = [(b"Host", b"a"), (b"Origin", b"b"), (b"host", b"a")]

    assert b"b" == sole_header(headers, b"origin")
    assert sole_header(headers, b"x") is None
    with pytest.raises(RemoteError):
        sole_header(headers, b"host")


@pytest.mark.parametrize(
    ("bind", "expected"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("[::ffff:127.0.0.1]:1", True),
        ("localhost:1", True),
        ("unix:/run/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("[::ffff:10.0.0.1]:1", False),
        ("localhost.example:1", False),
    ],
)
def test_T03_loopback_is_what_only_this_machine_reaches(bind: str, expected: bool) -> None:
    assert expected == is_loopback([parse_address(bind)])


def test_T03_one_address_outside_is_enough() -> None:
    assert not is_loopback([*LOOPBACK, *EVERYWHERE])


def test_W01_our_own_pages_are_those_of_this_very_address_where_the_name_is_surely_ours() -> None:
    for host in (b"127.0.0.1:8888", b"localhost:8888", b"[::1]:8888", b"10.0.0.5:8888"):
        bound = (parse_address("10.0.0.5:8888"),)
        assert parse_origin(f"http://{host.decode()}") == own_origin(host, "http", set(), bound, is_open=True)
    assert "https://config.example:443" == own_origin(
        b"Config.Example", "https", {"config.example"}, EVERYWHERE, is_open=True
    )


def test_W01_any_name_may_be_rebound_and_then_only_a_token_tells() -> None:
    assert own_origin(b"evil.example:8888", "http", set(), EVERYWHERE, is_open=True) is None
    assert "http://evil.example:8888" == own_origin(b"evil.example:8888", "http", set(), EVERYWHERE, is_open=False)


@pytest.mark.parametrize(
    "origin",
    [b"http://127.0.0.1:9999", b"https://127.0.0.1:8888", b"http://localhost:8888", b"http://127.0.0.2:8888", b"null"],
)
def test_W01_another_port_name_or_scheme_is_another_origin(origin: bytes) -> None:
    own = own_origin(b"127.0.0.1:8888", "http", set(), LOOPBACK, is_open=True)
    assert own is not None

    with pytest.raises(Forbidden):
        check_origin(origin, {own}, has_credentials=True, is_open=True)
    check_origin(b"http://127.0.0.1:8888", {own}, has_credentials=True, is_open=True)

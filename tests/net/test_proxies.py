"""Trusted proxies: the headers that are trusted, how far back they are read, and contradictions in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.core.errors import RemoteError
from vortexd.net.client_certificate import ClientCertificate
from vortexd.net.proxies import Proxies, Sender, plain_address

PROXIES = Proxies(["10.0.0.0/8", "fd00::/8", "192.0.2.1", "unix"])
PROXY = "10.0.0.1"


def headers(**lines: str | list[str]) -> list[tuple[bytes, bytes]]:
    return [
        (name.replace("_", "-").encode(), value.encode("latin-1"))
        for name, values in lines.items()
        for value in ([values] if isinstance(values, str) else values)
    ]


def host(**lines: str | list[str]) -> str:
    return PROXIES.sender(headers(**lines), PROXY).host


@pytest.mark.parametrize(
    ("address", "is_listed"),
    [
        ("10.255.0.1", True),
        ("11.0.0.1", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("fd12::1", True),
        ("fe80::1", False),
        ("", True),
    ],
)
def test_a_proxy_is_an_address_or_in_a_network_or_behind_a_unix_socket(address: str, is_listed: bool) -> None:
    assert is_listed == PROXIES.has(address)
    assert not Proxies().has(address)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        # A client wrote the beginning.
        ("127.0.0.1, 203.0.113.7", "203.0.113.7"),
        ("nonsense,, 203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 10.1.1.1, 192.0.2.1", "203.0.113.7"),
        # All of them are ours.
        ("10.1.1.1, 10.2.2.2", "10.1.1.1"),
        # As far as it is known.
        ("unknown", PROXY),
        ("203.0.113.7, unknown, 10.1.1.1", "10.1.1.1"),
        ("203.0.113.7, fe80::1%eth0", PROXY),
        ("", PROXY),
    ],
)
def test_the_sender_is_the_last_address_that_is_no_proxy(value: str, expected: str) -> None:
    assert expected == host(x_forwarded_for=value)


def test_headers_that_stand_several_times_are_one_list() -> None:
    assert "203.0.113.7" == host(x_forwarded_for=["203.0.113.9", "203.0.113.7", "10.1.1.1"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=203.0.113.7", Sender("203.0.113.7")),
        ("For=203.0.113.7;Proto=HTTPS;Host=a.example", Sender("203.0.113.7", "https", b"a.example")),
        ('for="[2001:db8::1]:4711";by=_x', Sender("2001:db8::1")),
        ("for=127.0.0.1;host=evil.example, for=203.0.113.7;host=a.example", Sender("203.0.113.7", None, b"a.example")),
        ("for=203.0.113.7;proto=https, for=10.1.1.1;proto=http", Sender("203.0.113.7", "https")),
        ('for="203.0.113.7"; proto=https , ', Sender("203.0.113.7", "https")),
        ('ext="a,b;c=\\"d";for=203.0.113.7', Sender("203.0.113.7")),
        ("for=_hidden;proto=https", Sender(PROXY, "https")),
        ("proto=gopher", Sender(PROXY)),
        ("", Sender(PROXY)),
    ],
)
def test_forwarded_is_read_as_rfc_7239_has_it(value: str, expected: Sender) -> None:
    assert expected == PROXIES.sender(headers(forwarded=value), PROXY)


@pytest.mark.parametrize(
    "value", ['for="203.0.113.9, for=203.0.113.7', "for", "for=a b", "for=1.2.3.4;for=5.6.7.8", "=x", "for=[::1]"]
)
def test_H10_what_could_have_swallowed_the_word_of_the_proxy_is_refused(value: str) -> None:
    with pytest.raises(RemoteError) as caught:
        host(forwarded=value)

    assert 400 == caught.value.status


def test_scheme_and_host_are_of_the_same_hop_as_the_address() -> None:
    lines = headers(
        x_forwarded_for="203.0.113.7, 10.1.1.1", x_forwarded_proto="https, http", x_forwarded_host="a.example, b"
    )
    alone = headers(x_forwarded_for="6.6.6.6, 203.0.113.7", x_forwarded_proto="wss", x_forwarded_host="a.example")

    assert Sender("203.0.113.7", "https", b"a.example") == PROXIES.sender(lines, PROXY)
    assert Sender("203.0.113.7", "https", b"a.example") == PROXIES.sender(alone, PROXY)
    assert Sender(PROXY, "https") == PROXIES.sender(headers(x_forwarded_proto="http, https"), PROXY)


def test_H10_two_headers_that_contradict_each_other_are_refused() -> None:
    """Which of the two a client has sent through nobody can tell."""
    with pytest.raises(RemoteError, match="contradict"):
        host(x_forwarded_for="203.0.113.7", forwarded="for=203.0.113.9")
    with pytest.raises(RemoteError, match="contradict"):
        host(x_forwarded_for="203.0.113.7", x_forwarded_proto="http", forwarded="for=203.0.113.7;proto=https")

    agreed = headers(x_forwarded_for="203.0.113.7", x_forwarded_proto="https", forwarded="for=203.0.113.7;host=a")
    assert Sender("203.0.113.7", "https", b"a") == PROXIES.sender(agreed, PROXY)


def test_without_headers_it_is_the_proxy_itself() -> None:
    assert Sender(PROXY) == PROXIES.sender([], PROXY)
    assert Sender("") == PROXIES.sender([], "")


@given(st.lists(st.tuples(st.sampled_from([b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"]), st.binary())))
def test_H10_whatever_is_sent_gives_a_sender_or_a_400(lines: list[tuple[bytes, bytes]]) -> None:
    try:
        sender = PROXIES.sender(lines, PROXY)
    except RemoteError as error:
        assert 400 == error.status
    else:
        assert sender.host == plain_address(sender.host)


@given(st.text(st.characters(max_codepoint=255, exclude_characters=","), max_size=40), st.ip_addresses())
def test_H10_what_a_client_puts_in_front_changes_nothing(forged: str, address: object) -> None:
    true = PROXIES.sender(headers(x_forwarded_for=str(address)), PROXY)
    if not PROXIES.has(true.host):
        assert true == PROXIES.sender(headers(x_forwarded_for=f"{forged}, {address}"), PROXY)


@pytest.mark.parametrize(
    ("sender", "is_plain"),
    [
        (Sender("192.0.2.1"), True),
        (Sender("192.0.2.1", scheme="https"), False),
        (Sender("192.0.2.1", authority=b"config.example"), False),
        (Sender("192.0.2.1", certificate=ClientCertificate((), 0.0)), False),
    ],
    ids=["an address alone", "a scheme", "an authority", "a certificate"],
)
def test_a_sender_of_which_only_the_address_is_known_is_plain(sender: Sender, is_plain: bool) -> None:
    assert is_plain == sender.is_plain

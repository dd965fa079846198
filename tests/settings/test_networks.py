"""Addresses and networks in settings."""

import pytest

from vortexd.settings.networks import parse_network


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.0/8", "fd00::/8", "::1", "10.0.0.1/32"])
def test_what_may_be_listed(text: str) -> None:
    assert text.removesuffix("/32") in str(parse_network(text))


@pytest.mark.parametrize("text", ["", "proxy.example", "10.0.0.0/33", "10.0.0.0:80", "*", "fe80::1%eth0/64"])
def test_what_may_not_be_listed_says_what_may(text: str) -> None:
    with pytest.raises(ValueError, match="network"):
        parse_network(text)


def test_a_network_with_a_host_in_it_says_which_of_the_two_it_could_be() -> None:
    with pytest.raises(ValueError, match=r"the network 10\.0\.0\.0/8, or the address alone"):
        parse_network("10.0.0.1/8")

"""IP addresses and networks in settings. Pure."""

import ipaddress
from typing import TypeAlias

# Used in place of an address for peers on Unix sockets.
UNIX = "unix"

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_network(text: str) -> Network:
    """Parse an address, or a network such as 10.0.0.0/8.

    Raises:
        ValueError: The text is neither. The message names the allowed forms, as the end of a sentence that begins with
            the key.
    """
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError('must be an address, a network such as 10.0.0.0/8 or fd00::/8, or "unix"') from None
    if "/" in text and str(network.network_address) != str(ipaddress.ip_address(text.partition("/")[0])):
        raise ValueError(f"must be the network {network}, or the address alone")
    return network

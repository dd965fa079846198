"""Counts wrong tokens per address (T07). Pure.

Only failures are counted, and only after they have failed. So a client with a valid token never waits, even if other
clients send wrong tokens from the same address.
"""

import ipaddress
from collections import OrderedDict

import attrs


@attrs.define(slots=True)
class _Bucket:
    """The rest of the allowance at a moment."""

    left: float
    at: float


class Failures:
    """A token bucket of failures for each address, for a limited number of addresses.

    Args:
        burst: The failures that get a normal answer before the address is limited.
        per_second: The number of failures that are forgiven per second.
        addresses: The number of addresses to remember. The address whose last failure is oldest is forgotten first.
    """

    def __init__(self, burst: int, per_second: float, addresses: int) -> None:
        self._burst = burst
        self._per_second = per_second
        self._addresses = addresses
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def record(self, address: str, now: float) -> float:
        """Count a failure.

        Args:
            address: The peer's address, or "" for a Unix socket. IPv6 addresses count by /64, the usual size for a customer.
            now: Seconds of a monotonic clock.

        Returns:
            The seconds to wait, for a 429 instead of the 401, or 0.0 while the allowance lasts.
        """
        network = _network_of(address)
        bucket = self._buckets.pop(network, None) or _Bucket(self._burst, now)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._per_second)
        bucket.at = now
        wait = 0.0 if bucket.left >= 1 else (1 - bucket.left) / self._per_second
        bucket.left = max(0.0, bucket.left - 1) if not wait else bucket.left
        self._buckets[network] = bucket
        while len(self._buckets) > self._addresses:
            self._buckets.popitem(last=False)
        return wait


def _network_of(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), 64), strict=False))

"""Wrong tokens, counted per address (T07). Pure.

Only what has failed is counted, after it has failed: a right token is never held up, whoever else sends wrong ones from the same address.
"""

import ipaddress
from collections import OrderedDict

import attrs


@attrs.define(slots=True)
class _Bucket:
    """What is left of the allowance, and when that was so."""

    left: float
    at: float


class Failures:
    """A token bucket of failures for each address, for a bounded number of addresses.

    Args:
        burst: Failures that are answered plainly before they are held against the address.
        per_second: Failures per second that are forgiven.
        addresses: Addresses remembered; the one that failed longest ago is forgotten first.
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
            address: The peer's, or "" for a Unix socket. IPv6 addresses count by /64, which is what one customer is given.
            now: Seconds of a clock that never goes back.

        Returns:
            Seconds to wait, for a 429 in place of the 401; 0.0 while the allowance lasts.
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

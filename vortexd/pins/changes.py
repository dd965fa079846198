"""The two changes of the pins: one more, and one less. Pure.

A pin whose time is over doesn't count, even if it is still there.
"""

from collections.abc import Iterable, Sequence

from ..core.errors import RemoteError
from ..core.model import Key
from ..core.text import rfc3339
from .pin import MOST_PINS, Pin


def with_pin(pin: Pin, now: float, pins: Sequence[Pin]) -> Sequence[Pin]:
    """Return the pins with one more.

    Raises:
        RemoteError: The key is pinned, or there are too many pins (409).
    """
    taken = next((each for each in pins if each.key == pin.key and not each.has_ended(now)), None)
    if taken is not None:
        raise already(taken)
    others = [each for each in pins if each.key != pin.key]
    if sum(not each.has_ended(now) for each in others) >= MOST_PINS:
        raise RemoteError(f"there are {MOST_PINS} pins already; lift one first", 409)
    return [*others, pin]


def without_pin(key: Key, now: float, pins: Iterable[Pin]) -> Sequence[Pin]:
    """Return the pins without that of a key.

    Raises:
        RemoteError: The key isn't pinned (404).
    """
    pins = list(pins)
    if not any(each.key == key and not each.has_ended(now) for each in pins):
        raise RemoteError("this key isn't pinned", 404)
    return [each for each in pins if each.key != key]


def already(pin: Pin) -> RemoteError:
    """Return the error for a key that is pinned already: it names the person, the times and the reason."""
    until = "it is lifted" if pin.term.until is None else rfc3339(pin.term.until, "seconds")
    since = rfc3339(pin.term.since, "seconds")
    return RemoteError(f"the key is pinned already, by {pin.by} since {since} until {until}: {pin.reason}", 409)

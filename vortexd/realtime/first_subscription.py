"""Subscribes parked connections to patterns without their tasks, if nothing must be waited for. Synchronous.

Most clients with patterns send them once, right after the handshake. Tasks for all these clients would fragment the heap: a
connection would take several times the memory that it needs. So this module takes the first patterns of a parked connection.
Everything else takes the tasks: more patterns, patterns that must be refused, and patterns whose keys must be resolved.
"""

from collections.abc import Callable, Collection, Sequence

import attrs

from ..auth import Right
from ..core.candidate import plain
from ..core.model import Key
from ..core.patterns import Pattern
from ..pipeline.broadcast import Delivery
from ..protocol import messages
from .chain import can_begin
from .client import Keys
from .forms import Form, frame_of
from .framing import is_quick
from .parked import Parked, SharedSubscriptions, Subscriptions
from .quota import PatternQuota, owner_of
from .versions import SharedVersions, Versions

# Patterns that match more keys take the tasks, because the event loop would be held for too long.
_MOST_KEYS = 64
# The most bytes of all first states that are written without tasks. Tasks share the frames of larger ones while they wait for
# the client to read.
_MOST_BYTES = 65_536


@attrs.frozen(slots=True)
class Begun:
    """The answer to a subscription. The connection is subscribed already, and counts as having the states.

    Attributes:
        data: The frames to write: the confirmation, and the first states.
        deliveries: These first states.
        missing: The keys whose first states must be written by the tasks.
    """

    data: bytes
    deliveries: Sequence[Delivery]
    missing: Sequence[Key]


class FirstSubscription:
    """Takes the first patterns of parked connections.

    Args:
        add_patterns: Adds patterns, and the versions of their keys, to a parked connection.
        timestamp: Returns the current time as RFC 3339, UTC.
    """

    def __init__(
        self,
        keys: Keys,
        quota: PatternQuota,
        subscriptions: SharedSubscriptions,
        versions: SharedVersions,
        add_patterns: Callable[[Parked, Subscriptions, Versions], None],
        timestamp: Callable[[], str],
    ) -> None:
        self._keys = keys
        self._quota = quota
        self._subscriptions = subscriptions
        self._versions = versions
        self._add_patterns = add_patterns
        self._timestamp = timestamp

    def is_possible(self, parked: Parked) -> bool:
        """Whether a connection may subscribe without its tasks, as far as its own state shows.

        No bucket counts the message. So the connection must have been quiet for the time of two messages before it can do
        this again: it must end its patterns first, and that takes the tasks.
        """
        settings = parked.settings
        return parked.more is None and settings.park_after * settings.messages_per_second >= 2

    def begin(self, parked: Parked, patterns: tuple[Pattern, ...]) -> Begun | None:
        """Subscribe a connection for which `is_possible` holds.

        Returns None if something must be waited for or refused. Then nothing has happened, and the tasks must decide.
        """
        owner = owner_of(parked.admission, parked.instance.host)
        if not all(parked.admission.may(Right.SUBSCRIBE, each) for each in patterns):
            return None
        if not self._quota.has_room(owner, patterns):
            return None
        # No await comes between this and the registration of the first states. So each later change is delivered.
        keys = self._keys.subscribe_now(parked, patterns, min(parked.settings.keys, _MOST_KEYS))
        if keys is None:
            return None
        self._quota.take(owner, patterns)
        had = parked.versions
        # The right to a pattern includes each key that it matches.
        # If the client has the candidate of its main key, a pattern may match the plain key. The client gets that key once.
        main = plain(parked.key)
        begun = self._begin([key for key in keys if key not in had and key != main], patterns, parked.form)
        had.update((each.key, each.new_version) for each in begun.deliveries)
        more = self._subscriptions.get(patterns, owner)
        self._add_patterns(parked, more, self._versions.get(parked.key, more.patterns, had))
        return begun

    def _begin(self, keys: Sequence[Key], patterns: Collection[Pattern], form: Form) -> Begun:
        """Make the confirmation, and the first states of keys up to the first one that the tasks must write."""
        frames: list[bytes] = [form.message(messages.subscribed(patterns, self._timestamp()))]
        deliveries: list[Delivery] = []
        size = 0
        for key in keys:
            delivery = self._keys.ready(key, None)
            frame = _frame(delivery, form.window_bits) if delivery is not None else None
            if delivery is None or frame is None or size + len(frame) > _MOST_BYTES:
                break
            size += len(frame)
            frames.append(frame)
            deliveries.append(delivery)
        return Begun(b"".join(frames), deliveries, keys[len(deliveries) :])


def _frame(delivery: Delivery, bits: int | None) -> bytes | None:
    """Return the frame of a first state in the form for a window. Returns None if the tasks must make it."""
    frame = frame_of(delivery)
    if not can_begin(delivery, is_allowed=True):
        return None
    if bits is None:
        return frame
    return frame.for_window(bits) if is_quick(frame, bits) else None

"""The chain of frames to one client: a frame that builds on a version goes only behind the frame that leads to it. Pure.

In come deliveries, replies and resyncs; out comes the next thing to write. If the chain of a key would break (a full
queue, a resync, a missed frame), the key is *behind*: nothing is queued for it until a catch-up frame has led from the version that the
client has to the newest one. So the first state, the answer to a resume and the way out of lagging are one mechanism. No frame is queued or
handed out for a key that the client may not have.

`Chain` serves a connection with tasks. `QuietChain` is its compact form, for a connection for which nothing is pending.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs

from ..core.model import Key
from ..pipeline.broadcast import Delivery
from ..protocol.close import CloseReason


@attrs.frozen(slots=True, eq=False)
class Reply:
    """Bytes that are queued among the deliveries. They stay when the queue is dropped, unless they are a heartbeat.

    Attributes:
        is_ping: It stands for a heartbeat. The writer makes it when its turn comes, for it names the version that the client has then.
        ends: Why the connection ends behind it, or None. Nothing is written after it.
    """

    data: bytes
    is_ping: bool = False
    ends: CloseReason | None = None


@attrs.frozen(slots=True)
class CatchUp:
    """A question to the pipeline: which frame leads a client to the newest state of a key?

    Attributes:
        version: The version that the client has, or None.
        in_full: The client wants the whole document, unless it has the newest.
    """

    key: Key
    version: str | None
    in_full: bool = False

    def base(self, newest: Callable[[Key], str | None]) -> str | None:
        """The version that the frame is to build on; None asks for the whole document.

        Args:
            newest: The current version of a key.
        """
        skips = self.in_full and newest(self.key) not in (None, self.version)
        return None if skips else self.version


@attrs.frozen(slots=True)
class Lagged:
    """So many deliveries were dropped, because the queue was full."""

    dropped: int


Step: TypeAlias = Reply | Lagged | CatchUp


def follows(delivery: Delivery, version: str | None) -> bool:
    """Whether a frame can go to a client that has this version: it builds on it, or stands alone."""
    return delivery.old_version is None or delivery.old_version == version


def can_begin(delivery: Delivery, *, is_allowed: bool) -> bool:
    """Whether a catch-up frame can be the first of a quiet chain: the key has not ended, and the client may have it."""
    return delivery.new_version is not None and is_allowed


def is_complete(delivery: Delivery, newest: str | None) -> bool:
    """Whether a catch-up frame leads to the newest version, so that the next delivery builds on it."""
    return delivery.new_version == newest


class Chain:
    """The chains of all keys of one connection, with the queue that they share.

    Args:
        key: The main subscription, which the client is behind of from the beginning.
        version: The version that the client says it has, or None.
        may: Whether the client may have a key; asked when a frame is queued, and again when it is handed out.
        forgotten: Called with each key that the client has no longer.
        wake: Called once when there is something to write, while `is_awaited`.
        queue_messages: Deliveries and replies that may wait.
        queue_bytes: The size of the deliveries that may wait. One may always wait, however large.

    Attributes:
        is_awaited: The writer waits. The next item goes straight to it: the item is not part of the queue, and is not dropped with the queue.
    """

    def __init__(
        self,
        key: Key,
        version: str | None,
        may: Callable[[Key], bool],
        forgotten: Callable[[Key], None],
        wake: Callable[[], None],
        queue_messages: int,
        queue_bytes: int,
    ) -> None:
        self._key = key
        self._may = may
        self._forgotten = forgotten
        self._wake = wake
        self._queue_messages = queue_messages
        self._queue_bytes = queue_bytes
        self.is_awaited = False
        # The version the client has once what was handed out arrives, and once what is queued was written, too.
        self._had: dict[Key, str | None] = {key: version}
        self._last: dict[Key, str | None] = {key: version}
        self._behind: dict[Key, None] = {key: None}
        # Those of them of which the client has asked for the whole document, unless it has the newest.
        self._in_full: set[Key] = set()
        self._handed: Delivery | Reply | None = None
        self._queue: deque[Delivery | Reply] = deque()
        self._queued_bytes = 0
        # Replies that go before the queue.
        self._kept: deque[Reply] = deque()
        self._dropped = 0

    # Versions.

    @property
    def versions(self) -> Mapping[Key, str | None]:
        """The version that the client has of each of its keys, once it has read all that was handed out."""
        return self._had

    @property
    def keys(self) -> Sequence[Key]:
        """The client's keys, with those of which the first frame is queued."""
        return tuple(self._last)

    def is_behind(self, key: Key) -> bool:
        """Whether a catch-up frame of a key is to come."""
        return key in self._behind

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be written."""
        return not (self._handed or self._kept or self._dropped or self._behind or self._queue)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is to be written, and the client has a state of each of its keys."""
        return self.is_idle and None not in self._had.values()

    def resume(self, quiet: "QuietChain", missed: Iterable[Key], newest: Callable[[Key], str | None]) -> None:
        """Go on from the compact form, before anything is offered.

        Args:
            quiet: It must not be used any more.
            missed: The keys of deliveries that were not written. The client has the newest version of all other keys but the main one.
            newest: The current version of a key.
        """
        self._had = versions = quiet.versions
        missed = tuple(missed)
        for key in missed:
            # A key that began while its first frame was on the way: the client is still to get it.
            if key not in versions and self._may(key):
                versions[key] = None
        self._last = dict(versions)
        # No look at each key: there may be thousands, and a client may come back to send a message each second.
        self._behind = {
            key: None
            for key in (*missed, self._key)
            if key in versions and (versions[key] is None or versions[key] != newest(key))
        }

    # Input.

    def offer(self, delivery: Delivery) -> bool:
        """Queue a delivery, or note that the client is behind of its key.

        Returns:
            False if the queue was full, and was dropped for that: the client lags.
        """
        key = delivery.key
        if key in self._behind or not self._may(key):
            return True
        if not follows(delivery, self._last.get(key)):
            self._fall_behind(key)
            return True
        size = len(delivery.payload)
        # One frame may always wait, however large: else a document over the limit could never be delivered.
        has_bytes = not self._queued_bytes or self._queued_bytes + size <= self._queue_bytes
        if has_bytes and self._put(delivery):
            self._last[key] = delivery.new_version
            self._queued_bytes += size
            return True
        self._dropped += 1
        self._fall_behind(key)
        return False

    def reply(self, reply: Reply) -> bool:
        """Queue a reply; returns whether there was room for it."""
        return self._put(reply)

    def reply_first(self, *replies: Reply) -> None:
        """Let replies go before the queue and before all catching up, whether there is room or not."""
        self._kept.extend(replies)
        self.wake()

    def begin(self, key: Key) -> None:
        """Add a key that the client has subscribed to, unless it has it already or may not have it."""
        if key not in self._last and self._may(key):
            self._had[key] = self._last[key] = None
            self._behind[key] = None

    def resync(self, key: Key, version: str | None, *, in_full: bool) -> None:
        """Begin a chain anew from what the client says it has of a key; see `CatchUp`."""
        self._had[key] = self._last[key] = version
        if in_full:
            self._in_full.add(key)
        else:
            self._in_full.discard(key)
        if key not in self._behind:
            # Else the queue was dropped already. Each time it is, the replies that are kept grow, and the writer has to
            # have written them before a key stops being behind: so a client can't make them grow for ever.
            self._fall_behind(key)

    def forget(self, keys: Iterable[Key]) -> None:
        """End the chains of keys. Their deliveries that are queued are not handed out."""
        for key in keys:
            self._had.pop(key, None)
            self._last.pop(key, None)
            self._behind.pop(key, None)
            self._in_full.discard(key)
            self._forgotten(key)

    def wake(self) -> None:
        """Let a writer that waits look again."""
        if self.is_awaited:
            self.is_awaited = False
            self._wake()

    def _put(self, item: Delivery | Reply) -> bool:
        if self.is_awaited and not self._queue:
            self._handed = item
            self.wake()
            return True
        if len(self._queue) >= self._queue_messages:
            return False
        self._queue.append(item)
        self.wake()
        return True

    def _fall_behind(self, key: Key) -> None:
        """Leave the chain: drop what is queued, for it may build on what this key will skip."""
        self._mark(key)
        for waiting in self._queue:
            if isinstance(waiting, Delivery):
                self._queued_bytes -= len(waiting.payload)
                self._dropped += bool(self._dropped)
                if waiting.key in self._last:
                    self._mark(waiting.key)
            elif not waiting.is_ping:
                # The next heartbeat is soon enough.
                self._kept.append(waiting)
        self._queue.clear()
        self.wake()

    def _mark(self, key: Key) -> None:
        self._last[key] = self._had.setdefault(key, None)
        self._behind[key] = None

    # Output.

    def step(self) -> Step | None:
        """The next thing to write before the queue. None means that `take` has the next item.

        A `CatchUp` stays the next step until `caught_up` has taken its answer.
        """
        if self._handed is not None:
            return None
        if self._kept:
            return self._kept.popleft()
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            return Lagged(dropped)
        if self._behind:
            return self.catch_up(next(iter(self._behind)))
        return None

    def catch_up(self, key: Key) -> CatchUp:
        """The question for a key that the client is behind of."""
        return CatchUp(key, self._had[key], key in self._in_full)

    def caught_up(self, asked: CatchUp, delivery: Delivery, newest: str | None) -> bool:
        """Take the answer to a question; returns whether its frame is to be written.

        No await may be between this and the write: deliveries after this moment build on this frame.

        Args:
            newest: The current version of the key.
        """
        key = asked.key
        if key not in self._had or self.catch_up(key) != asked:
            # A resync came in between.
            return False
        is_other = key != self._key
        if not self._may(key):
            # Asked behind the wait, for the token may have expired in it. A parked client is woken for this very check.
            self._behind.pop(key, None)
            self._last[key] = self._had[key]
            if is_other and self._had[key] is None:
                self.forget([key])
            return False
        if delivery.new_version is None and asked.version is None and is_other and not asked.in_full:
            # The key has ended before the client was told that it exists.
            self.forget([key])
            return False
        self._in_full.discard(key)
        self._had[key] = self._last[key] = delivery.new_version
        if is_complete(delivery, newest):
            self._behind.pop(key, None)
            if delivery.new_version is None and is_other:
                self.forget([key])
        return True

    def take(self) -> Delivery | Reply | None:
        """Take the next item from the queue, and count it as written: it will be, or the connection ends. None if the queue is empty."""
        while True:
            item = self._next()
            if not isinstance(item, Delivery):
                return item
            self._queued_bytes -= len(item.payload)
            if self._extend(item):
                return item

    def _next(self) -> Delivery | Reply | None:
        if self._handed is not None:
            item, self._handed = self._handed, None
            return item
        return self._queue.popleft() if self._queue else None

    def _extend(self, delivery: Delivery) -> bool:
        """Count a queued delivery as the client's, if the client may still have it and has the version that it builds on.

        The client has another version if a resync came between the moment the writer was handed the delivery and the writer's turn to run.
        """
        key = delivery.key
        if key not in self._last or not follows(delivery, self._had.get(key)):
            return False
        if not self._may(key):
            self._fall_behind(key)
            return False
        self._had[key] = delivery.new_version
        if delivery.new_version is None and self._last[key] is None and key != self._key:
            # It has ended, and nothing behind this in the queue begins it again.
            self.forget([key])
        return True


class QuietChain:
    """The chain of a connection for which nothing is pending: one slot for its versions, whether it has one key or several.

    Args:
        key: The main subscription.
        versions: The version that the client has of its only key; or a dictionary with that of each key, which is the chain's own from now on.
            Only the latter form takes deliveries of keys that it doesn't know.
    """

    __slots__ = ("_versions", "key")

    def __init__(self, key: Key, versions: str | dict[Key, str | None] | None) -> None:
        self.key = key
        self._versions = versions

    @property
    def version(self) -> str | None:
        """The version that the client has of its main key."""
        return self.had(self.key)

    @property
    def versions(self) -> dict[Key, str | None]:
        """The version that the client has of each of its keys."""
        versions = self._versions
        return versions if isinstance(versions, dict) else {self.key: versions}

    def had(self, key: Key) -> str | None:
        """The version that the client has of a key; None if it has nothing."""
        versions = self._versions
        return versions.get(key) if isinstance(versions, dict) else versions

    def accepts(self, delivery: Delivery, is_allowed: bool) -> bool:
        """Whether a frame can be written as it is. If not, the connection needs its tasks and a `Chain`.

        The end of a key can't: what follows from it takes more than a write.
        """
        # `can_begin` and `had` in place, for this is done for each client of each change.
        versions = self._versions
        had = versions.get(delivery.key) if isinstance(versions, dict) else versions
        return is_allowed and delivery.new_version is not None and follows(delivery, had)

    def accepts_all(self, deliveries: Iterable[Delivery], may: Callable[[Key], bool]) -> bool:
        """Whether these frames can be written as they are, one behind the other."""
        versions: dict[Key, str | None] = {}
        for delivery in deliveries:
            key = delivery.key
            had = versions[key] if key in versions else self.had(key)
            if not (can_begin(delivery, is_allowed=may(key)) and follows(delivery, had)):
                return False
            versions[key] = delivery.new_version
        return True

    def extend(self, delivery: Delivery) -> None:
        """Note that a frame which it accepts was written."""
        if isinstance(self._versions, dict):
            self._versions[delivery.key] = delivery.new_version
        else:
            self._versions = delivery.new_version

"""The chain of frames to one client. If a frame builds on a version, the client must already have that version. Pure.

The connection passes in deliveries, replies and resyncs, and asks for the next step to write. If a full queue, a resync or
a missed frame would break the chain of a key, the key is *behind*. Nothing is queued for the key until a catch-up frame
leads from the client's version to the newest version. The first state, the answer to a resume and the recovery from
lagging all use this mechanism. The chain never queues or returns a frame of a key that the client has no right to.

`Chain` serves an awake connection, which has tasks. `QuietChain` is its compact form, if nothing is pending.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs

from ..core.candidate import plain
from ..core.model import Key
from ..pipeline.broadcast import Delivery
from ..protocol.close import CloseReason
from .versions import Versions


@attrs.frozen(slots=True, eq=False)
class Reply:
    """Bytes that are queued among the deliveries. They stay when the queue is dropped, unless they are a heartbeat.

    Attributes:
        data: The bytes; empty for a heartbeat.
        is_ping: Whether this is a heartbeat. The writer makes its bytes when it writes it, because it names the client's
            version at that time.
        ends: If the connection ends after this reply, the reason; else None. Nothing is written after it then.
    """

    data: bytes
    is_ping: bool = False
    ends: CloseReason | None = None


@attrs.frozen(slots=True)
class CatchUp:
    """A request to the pipeline for the frame that leads a client to the newest state of a key.

    Attributes:
        version: The version that the client has, or None.
        in_full: Whether the client needs the whole document, unless it has the newest version.
    """

    key: Key
    version: str | None
    in_full: bool = False

    def base(self, newest: Callable[[Key], str | None]) -> str | None:
        """Return the version that the frame must build on; None means the whole document.

        Args:
            newest: Returns the current version of a key.
        """
        skips = self.in_full and newest(self.key) not in (None, self.version)
        return None if skips else self.version


@attrs.frozen(slots=True)
class Lagged:
    """This many deliveries were dropped, because the queue was full."""

    dropped: int


Step: TypeAlias = Reply | Lagged | CatchUp


def follows(delivery: Delivery, version: str | None) -> bool:
    """Whether a client with this version can use a frame: it builds on this version, or is a whole document."""
    return delivery.old_version is None or delivery.old_version == version


def can_begin(delivery: Delivery, *, is_allowed: bool) -> bool:
    """Whether a catch-up frame can begin a quiet chain: the key was not removed, and the client has the right to it."""
    return delivery.new_version is not None and is_allowed


def is_complete(delivery: Delivery, newest: str | None) -> bool:
    """Whether a catch-up frame leads to the newest version, so that the next delivery builds on it."""
    return delivery.new_version == newest


def _hidden(key: Key) -> Key | None:
    """Return the plain key of a candidate; None for any other key."""
    return known if (known := plain(key)) is not key else None


class Chain:
    """The chains of all keys of one connection, with the queue that they share.

    Args:
        key: The main subscription. It is behind from the beginning.
        version: The version that the client claims to have, or None.
        may: Returns whether the client has the right to a key. Called when a frame is queued, and again when it is taken.
        forgotten: Called with each key that the chain forgets.
        wake: Called once when there is something to write, if `is_awaited` is set.
        queue_messages: The most deliveries and replies in the queue.
        queue_bytes: The most bytes of all deliveries in the queue. A single delivery may be larger.

    Attributes:
        sent: The version of the main key after its last frame that was taken, whatever the client has claimed since. None
            before the first frame.
        is_awaited: Whether the writer waits. The next item is then handed to the writer directly. It isn't part of the queue,
            so it isn't dropped with the queue.
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
        # The name that patterns know the main key by, if it is a candidate: deliveries of that key aren't for this client.
        self._hidden = _hidden(key)
        self._may = may
        self._forgotten = forgotten
        self._wake = wake
        self._queue_messages = queue_messages
        self._queue_bytes = queue_bytes
        self.is_awaited = False
        self.sent: str | None = None
        # The version that the client has after all taken frames, and the version after all queued frames, too.
        self._had: dict[Key, str | None] = {key: version}
        self._last: dict[Key, str | None] = {key: version}
        self._behind: dict[Key, None] = {key: None}
        # The keys for which the client has requested the whole document, unless it has the newest version.
        self._in_full: set[Key] = set()
        self._handed: Delivery | Reply | None = None
        self._queue: deque[Delivery | Reply] = deque()
        self._queued_bytes = 0
        # Replies that are written before the queue.
        self._kept: deque[Reply] = deque()
        self._dropped = 0

    # Versions.

    @property
    def key(self) -> Key:
        """The main subscription."""
        return self._key

    @property
    def versions(self) -> Mapping[Key, str | None]:
        """The client's version of each of its keys, after it has read all frames that were taken."""
        return self._had

    @property
    def keys(self) -> Sequence[Key]:
        """The client's keys, including keys whose first frame is only queued."""
        return tuple(self._last)

    def is_behind(self, key: Key) -> bool:
        """Whether the key is behind: it needs a catch-up frame."""
        return key in self._behind

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to write."""
        return not (self._handed or self._kept or self._dropped or self._behind or self._queue)

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing to write, and the client has a state of each of its keys."""
        return self.is_idle and None not in self._had.values()

    def resume(self, quiet: "QuietChain", missed: Iterable[Key], newest: Callable[[Key], str | None]) -> None:
        """Continue from the compact form. Call this before `offer`.

        Args:
            quiet: The compact form. It must not be used afterwards.
            missed: The keys of deliveries that were not written. The client has the newest version of all other keys, except
                perhaps of the main key.
            newest: Returns the current version of a key.
        """
        self._had = versions = quiet.versions
        self.sent = quiet.version
        missed = tuple(missed)
        for key in missed:
            # A new key whose first frame was not written: the client doesn't have it yet.
            # A delivery of the former track of a client that has moved says nothing about the track that it has now.
            if key not in versions and plain(key) != plain(self._key) and self._may(key):
                versions[key] = None
        self._last = dict(versions)
        # Don't examine every key. There may be thousands, and a client may wake its connection every second with a message.
        self._behind = {
            key: None
            for key in (*missed, self._key)
            if key in versions and (versions[key] is None or versions[key] != newest(key))
        }

    # Input.

    def offer(self, delivery: Delivery) -> bool:
        """Queue a delivery, or mark its key as behind.

        Returns:
            False if the queue was full and was therefore dropped. The client is then lagging.
        """
        key = delivery.key
        if key in self._behind or key == self._hidden or not self._may(key):
            return True
        if not follows(delivery, self._last.get(key)):
            if delivery.new_version is None or delivery.new_version != self._last.get(key):
                self._fall_behind(key)
            # Otherwise the client has caught up with a state whose broadcast wasn't finished.
            return True
        size = len(delivery.payload)
        # A single frame may always wait. Otherwise a document above the limit could never be delivered.
        has_bytes = not self._queued_bytes or self._queued_bytes + size <= self._queue_bytes
        if has_bytes and self._put(delivery):
            self._last[key] = delivery.new_version
            self._queued_bytes += size
            return True
        self._dropped += 1
        self._fall_behind(key)
        return False

    def reply(self, reply: Reply) -> bool:
        """Queue a reply. Returns whether the queue had room for it."""
        return self._put(reply)

    def reply_first(self, *replies: Reply) -> None:
        """Queue replies before all deliveries and catch-up frames, even if the queue is full."""
        self._kept.extend(replies)
        self.wake()

    def begin(self, key: Key, version: str | None = None) -> None:
        """Add a key that the client has subscribed to, from the version that the client claims to have.

        If the chain has the key already, or the client has no right to it, do nothing.
        """
        if key not in self._last and key != self._hidden and self._may(key):
            self._had[key] = self._last[key] = version
            self._behind[key] = None

    def resync(self, key: Key, version: str | None, *, in_full: bool) -> None:
        """Begin the chain of a key again from the version that the client claims to have; see `CatchUp`."""
        self._had[key] = self._last[key] = version
        if in_full:
            self._in_full.add(key)
        else:
            self._in_full.discard(key)
        if key not in self._behind:
            # If the key is behind, the queue was dropped already. Each drop moves its replies to the kept replies. The writer
            # must write those before a key stops being behind. So a client can't make them grow without limit.
            self._fall_behind(key)

    def move(self, key: Key, newest: str | None) -> None:
        """Continue the main subscription with another track of the same key: with its candidate, or with the plain key.

        Queued deliveries of the former track are dropped. The next frame leads from the client's version to the newest
        version of this track. If the client has this version already and awaits no frame, there is none.

        Args:
            newest: The current version of this track.
        """
        former, self._key = self._key, key
        self._hidden = _hidden(key)
        self._drop({former})
        was_behind = former in self._behind
        self._behind.pop(former, None)
        del self._last[former]
        self._had[key] = self._had.pop(former)
        if former in self._in_full:
            self._in_full.remove(former)
            self._in_full.add(key)
        if was_behind or self._had[key] != newest:
            self._mark(key)
            self.wake()
        else:
            self._last[key] = newest

    def forget(self, keys: Iterable[Key]) -> None:
        """End the chains of keys, and drop their deliveries that are queued.

        If the client subscribes to a key again, an old delivery must not follow the newer state that it then gets.
        """
        keys = frozenset(keys)
        self._drop(keys)
        for key in keys:
            self._had.pop(key, None)
            self._last.pop(key, None)
            self._behind.pop(key, None)
            self._in_full.discard(key)
            self._forgotten(key)

    def _drop(self, keys: Collection[Key]) -> None:
        """Remove the deliveries of keys from the queue."""

        def is_dropped(item: Delivery | Reply | None) -> bool:
            return isinstance(item, Delivery) and item.key in keys

        gone = [each for each in (self._handed, *self._queue) if is_dropped(each)]
        if gone:
            self._queued_bytes -= sum(len(each.payload) for each in gone if isinstance(each, Delivery))
            self._handed = None if is_dropped(self._handed) else self._handed
            self._queue = deque(each for each in self._queue if not is_dropped(each))

    def wake(self) -> None:
        """Wake the writer if it waits."""
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
        """Mark a key as behind, and drop the queue, because its deliveries may build on frames that this key skips."""
        self._mark(key)
        for waiting in self._queue:
            if isinstance(waiting, Delivery):
                self._queued_bytes -= len(waiting.payload)
                self._dropped += bool(self._dropped)
                if waiting.key in self._last:
                    self._mark(waiting.key)
            elif not waiting.is_ping:
                # A heartbeat is dropped, because the next one follows soon.
                self._kept.append(waiting)
        self._queue.clear()
        self.wake()

    def _mark(self, key: Key) -> None:
        self._last[key] = self._had.setdefault(key, None)
        self._behind[key] = None

    # Output.

    def step(self) -> Step | None:
        """Return the next step before the queue. None means that `take` has the next item.

        A `CatchUp` stays the next step until `caught_up` was called with its answer.
        """
        if self._handed is not None:
            return None
        if self._kept:
            return self._kept.popleft()
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            return Lagged(dropped)
        return self.next_catch_up()

    def next_catch_up(self) -> CatchUp | None:
        """Return the request for the next catch-up frame. Returns None if no key is behind, or if another step comes first."""
        if not self._behind or self._handed is not None or self._kept or self._dropped:
            return None
        return self.catch_up(next(iter(self._behind)))

    def catch_up(self, key: Key) -> CatchUp:
        """Make the request for the catch-up frame of a key that is behind."""
        return CatchUp(key, self._had[key], key in self._in_full)

    def caught_up(self, asked: CatchUp, delivery: Delivery, newest: str | None) -> bool:
        """Take the answer to a `CatchUp`. Returns whether its frame must be written.

        The caller must write the frame before any other item, because later deliveries build on it.

        Args:
            newest: The current version of the key.
        """
        key = asked.key
        if key not in self._had or self.catch_up(key) != asked:
            # The client has sent a resync meanwhile.
            return False
        is_other = key != self._key
        if not self._may(key):
            # Check the right after the wait, because the token may have expired meanwhile. The parking lot wakes a client
            # for this check.
            self._behind.pop(key, None)
            self._last[key] = self._had[key]
            if is_other and self._had[key] is None:
                self.forget([key])
            return False
        if delivery.new_version is None and asked.version is None and is_other and not asked.in_full:
            # The key was removed before the client got its first state.
            self.forget([key])
            return False
        self._in_full.discard(key)
        self._had[key] = self._last[key] = delivery.new_version
        if not is_other:
            self.sent = delivery.new_version
        if is_complete(delivery, newest):
            self._behind.pop(key, None)
            if delivery.new_version is None and is_other:
                self.forget([key])
        return True

    def take(self) -> Delivery | Reply | None:
        """Take the next item from the queue. Returns None if the queue is empty.

        The item counts as written. If the write fails, the connection ends.
        """
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
        """Extend the chain by a queued delivery, if the client still has the right to it and has its old version.

        If the client has sent a resync after the delivery was handed to the writer, the client has another version.
        """
        key = delivery.key
        if key not in self._last or not follows(delivery, self._had.get(key)):
            return False
        if not self._may(key):
            self._fall_behind(key)
            return False
        self._had[key] = delivery.new_version
        if key == self._key:
            self.sent = delivery.new_version
        if delivery.new_version is None and self._last[key] is None and key != self._key:
            # The key was removed, and no later delivery in the queue begins it again.
            self.forget([key])
        return True


class SharedVersion:
    """The version of the only key of several quiet chains. All of them move to another version together.

    Attributes:
        waiting: The deliveries that are queued for all of them, in their order.
    """

    __slots__ = ("version", "waiting")

    def __init__(self, version: str | None) -> None:
        self.version = version
        self.waiting: tuple[Delivery, ...] = ()


class QuietChain:
    """The chain of a connection for which nothing is pending. It has one slot for the versions of one key or several.

    Args:
        key: The main subscription.
        versions: The client's version of its only key, or `Versions` that count this client. Only with `Versions` does the
            chain accept deliveries of new keys.
    """

    __slots__ = ("_versions", "key")

    def __init__(self, key: Key, versions: str | Versions | None) -> None:
        self.key = key
        self._versions: str | Versions | SharedVersion | None = versions

    @property
    def version(self) -> str | None:
        """The client's version of its main key."""
        return self.had(self.key)

    @property
    def versions(self) -> dict[Key, str | None]:
        """The client's version of each of its keys, as a dictionary of the caller's own."""
        versions = self._versions
        return versions.copy() if isinstance(versions, Versions) else {self.key: self.version}

    @property
    def several(self) -> Versions | None:
        """The versions of several keys, which other clients may share; None if it has only one key."""
        versions = self._versions
        return versions if isinstance(versions, Versions) else None

    def had(self, key: Key) -> str | None:
        """Return the client's version of a key; None if it has none."""
        versions = self._versions
        if isinstance(versions, SharedVersion):
            return versions.version
        return versions.get(key) if isinstance(versions, Versions) else versions

    @property
    def shared(self) -> SharedVersion | None:
        """The version that it shares with other chains, or None."""
        versions = self._versions
        return versions if isinstance(versions, SharedVersion) else None

    def share(self, shared: SharedVersion) -> None:
        """Share a version with other chains. This must be a chain of one key that has this version."""
        self._versions = shared

    def keep_version(self) -> None:
        """End the sharing. The chain keeps the version that is shared now."""
        self._versions = self.version

    def accepts(self, delivery: Delivery, is_allowed: bool) -> bool:
        """Whether a frame can be written as it is. If not, the connection needs its tasks and a `Chain`.

        The removal of a key can't be written like this, because its consequences need more than a write.
        """
        return can_begin(delivery, is_allowed=is_allowed) and follows(delivery, self.had(delivery.key))

    def accepts_all(self, deliveries: Iterable[Delivery], may: Callable[[Key], bool]) -> bool:
        """Whether these frames can be written as they are, one after the other."""
        versions: dict[Key, str | None] = {}
        for delivery in deliveries:
            key = delivery.key
            had = versions[key] if key in versions else self.had(key)
            if not (can_begin(delivery, is_allowed=may(key)) and follows(delivery, had)):
                return False
            versions[key] = delivery.new_version
        return True

    def extend(self, delivery: Delivery) -> None:
        """Record that an accepted frame was written. If the version is shared, the owner of the shared version does this."""
        if isinstance(self._versions, Versions):
            self.extend_all((delivery,))
        else:
            self._versions = delivery.new_version

    def extend_all(self, deliveries: Iterable[Delivery]) -> None:
        """Record that these accepted frames were written, one after the other."""
        if isinstance(self._versions, Versions):
            self._versions = self._versions.after([(each.key, each.new_version) for each in deliveries])
        else:
            for each in deliveries:
                self._versions = each.new_version

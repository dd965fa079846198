"""Serves all WebSocket connections and event streams, from their request to the drain at the end.

The listener passes in a stream with its request head. A connection is either *parked* in the lot, or *awake* with its tasks.
Most connections are parked most of the time. In both cases, one synchronous step registers the connection and writes its
first state or marks it as missing. So the client can't miss a change in between.
"""

import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from random import Random
from typing import Protocol, TypeAlias
from uuid import uuid4

import attrs
import structlog
import trio
from structlog.contextvars import bound_contextvars
from wsproto import ConnectionType
from wsproto.connection import Connection as WebSocket
from wsproto.extensions import Extension

from ..aio.fair_queue import FairQueue
from ..auth import Gate, Right
from ..core.errors import FormatError, RemoteError, ResolveError
from ..core.model import Key
from ..core.patterns import Pattern
from ..fleet import Fleet, Instance
from ..net.head import Head, Stream
from ..net.proxies import Sender
from ..net.tls_stream import TlsStream
from ..pipeline.broadcast import Delivery, Subscriber
from ..pipeline.registry import Registry
from ..protocol.close import CloseReason
from ..protocol.deflate import Deflate
from ..protocol.frames import Frame
from ..settings.fleet import FleetSettings
from ..settings.realtime import RealtimeSettings
from . import client as clients
from .chain import QuietChain, can_begin, is_complete
from .client import Client
from .connection import Connection
from .first_subscription import FirstSubscription
from .forms import frame_of
from .framing import Compressor, is_quick
from .groups import Groups, queue_for
from .handshake import Refusal
from .moves import Messages, move_all
from .opener import Keys, Opener
from .parked import Parked, SharedSubscriptions, Subscriptions
from .parked_sockets import PARKABLE, ParkedSockets
from .parking import ParkingLot
from .quota import PatternQuota, TooManyPatterns, owner_of
from .reports import Reports
from .row import Row
from .session import Acknowledge
from .sockets import Sockets, choose_sockets
from .versions import SharedVersions, Versions

log = structlog.get_logger()

# The seconds between two connections in a drain, unless its limit requires less. So 1,000 clients reconnect over ten seconds.
_DRAIN_INTERVAL = 0.01


# The messages of clients that are handled in one round of the event loop. With the answers, this takes about two milliseconds.
_MESSAGES_AT_ONCE = 4
_Member: TypeAlias = Connection | Parked
# The sender of a connection on a Unix socket.
_NOBODY_KNOWN = Sender()


class Counters(clients.Counters, Protocol):
    """The metrics of the server."""

    def connection_opened(self) -> None: ...
    def connection_closed(self, reason: str) -> None: ...


@attrs.frozen(slots=True)
class Connected:
    """The facts about a connection that operators see.

    Attributes:
        principal: The name of the client's principal, such as the name of its token.
        version: The last version of its main key that was sent to it.
        patterns: The number of patterns that it has subscribed to.
        transport: As in `forms.Form`.
    """

    instance: Instance
    principal: str
    key: Key
    version: str | None
    patterns: int
    is_parked: bool
    transport: str = "websocket"


class WebSocketServer:
    """Serves WebSocket connections and event streams, each until it ends.

    Args:
        registry: The connections by their subscriptions. The broadcaster reads it.
        timestamp: Returns the current time as RFC 3339, UTC.
        random: The source of jitter.
        gate: Checks tokens, Host and Origin.
        connections_per_token: The most connections with one token; 0 means no limit.
        leave: If `serve` has returned True for a connection, called with the client's address when the connection ends.
        fleet: Records which instances are connected; None if nothing reads it.
        sockets: Reads from and writes to many sockets; None chooses the fastest implementation that is installed.
    """

    def __init__(
        self,
        keys: Keys,
        registry: Registry[Subscriber],
        settings: RealtimeSettings,
        counters: Counters,
        timestamp: Callable[[], str],
        random: Random,
        gate: Gate,
        connections_per_token: int = 0,
        leave: Callable[[str], None] = lambda _: None,
        fleet: Fleet | None = None,
        sockets: Sockets | None = None,
    ) -> None:
        self._leave = leave
        self._keys = keys
        self._registry = registry
        self._settings = settings
        self._counters = counters
        self._timestamp = timestamp
        self._random = random
        self._awake: dict[Connection, None] = {}
        self._event_streams = 0
        self._quota = PatternQuota(
            settings.distinct_patterns, settings.distinct_patterns_per_owner, self._report_refusal
        )
        self._subscriptions = SharedSubscriptions()
        self._versions = SharedVersions()
        self._compressor = Compressor()
        self._turns = FairQueue(_MESSAGES_AT_ONCE)
        self._reports = Reports(
            fleet or Fleet(FleetSettings(), keys.version_of), counters, gate.now, keys.target, _log_ignored
        )
        self._opener = Opener(keys, settings, gate, connections_per_token, self._reports.now)
        self._sockets = ParkedSockets(choose_sockets() if sockets is None else sockets)
        first_subscription = FirstSubscription(
            keys, self._quota, self._subscriptions, self._versions, self._add_patterns, timestamp
        )
        self._lot = ParkingLot(self, counters, self._reports, first_subscription, timestamp, self._sockets)
        self._groups = Groups(registry, self._lot.queue, self._lot.parked_at, keys.postponed)

    def replace(self, settings: RealtimeSettings, connections_per_token: int) -> None:
        """Apply new settings to new connections.

        Open connections keep their settings, because the server has announced some of them in `hello`.
        """
        self._settings = settings
        self._opener.replace(settings, connections_per_token)
        self._quota.replace(settings.distinct_patterns, settings.distinct_patterns_per_owner)

    def _report_refusal(self, error: TooManyPatterns) -> None:
        log.warning("patterns refused", setting=error.setting, limit=error.limit, patterns=len(self._quota))

    def __len__(self) -> int:
        return len(self._awake) + len(self._lot)

    @property
    def parked(self) -> int:
        """The number of parked connections."""
        return len(self._lot)

    @property
    def opener(self) -> Opener:
        """Decides whether clients may connect."""
        return self._opener

    @property
    def quota(self) -> PatternQuota:
        """The limits of different patterns."""
        return self._quota

    @property
    def event_streams(self) -> int:
        """The number of event streams, whether awake or parked."""
        return self._event_streams

    @property
    def sockets(self) -> str:
        """The name of the implementation that writes to many sockets."""
        return self._sockets.name

    def connected(self) -> Iterator[Connected]:
        """Yield all connections that are open now."""
        for each in self._awake:
            client = each.client
            version, patterns = each.versions.get(each.key), len(each.patterns)
            shown = client.instance, client.admission.name, client.instance.key, version, patterns
            yield Connected(*shown, is_parked=False, transport=client.form.transport)
        for parked in self._lot:
            patterns = len(parked.patterns)
            shown = parked.instance, parked.admission.name, parked.instance.key, parked.version, patterns
            yield Connected(*shown, is_parked=True, transport=parked.form.transport)

    async def park(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the parking lot until `drain` has ended all connections. If this doesn't run, no connection is parked."""
        await self._lot.run(task_status)

    # The tracks of roll-outs.

    async def retrack(self, keys: Collection[Key]) -> None:
        """Move the connections whose main key is one of these to the tracks that they belong to now.

        When this returns, all of them are subscribed to their right tracks. Awake ones may still have to catch up.
        """
        messages = Messages(self._keys, partial(queue_for, self._lot.queue))
        await messages.make(keys)
        move = partial(self._move, messages)
        await move_all((*self._awake, *self._lot), keys, move, messages.flush)

    def _track_of(self, instance: Instance) -> Key:
        """Return the track of its main key that an instance belongs to now."""
        return self._keys.track(instance.key, instance.given_name, wants_candidate=instance.wants_candidate)

    def _hold_track(self, key: Key, instance: Instance) -> Key | None:
        """Hold the right track of an instance that is on another one. Returns None if it can stay on its present track.

        Args:
            key: The present track.
        """
        wanted = self._track_of(instance)
        if wanted == key:
            return None
        try:
            self._keys.hold(wanted)
        except (RemoteError, FormatError, ResolveError) as error:
            log.warning("track not served", key=str(key), reason=str(error), consequence="a client keeps its version")
            return None
        # All clients share the store's object.
        return self._keys.in_use(wanted) or wanted

    def _on_track(self, client: Client) -> Client:
        """Return a new client on its right track. A move during its handshake may have changed it. One of them is held."""
        key = self._hold_track(client.key, client.instance)
        if key is None:
            return client
        self._keys.release(client.key)
        return attrs.evolve(client, key=key)

    def _move(self, messages: Messages, member: _Member) -> tuple[bool, bool]:
        """Move a connection if it is on the wrong track. Returns whether it was moved, and whether it was woken.

        The registry, the holds and the chain change in one synchronous step.
        """
        if self._opener.is_draining:
            return False, False
        if isinstance(member, Connection):
            return member in self._awake and self._move_awake(member), False
        if member not in self._lot or self._track_of(member.instance) == member.key:
            return False, False
        return True, not self._move_parked(messages, member)

    def _move_awake(self, connection: Connection) -> bool:
        former, key = connection.key, self._hold_track(connection.key, connection.client.instance)
        if key is None:
            return False
        self._registry.add(connection, key)
        self._registry.discard(connection, former)
        connection.move(key)
        self._keys.release(former)
        return True

    def _move_parked(self, messages: Messages, parked: Parked) -> bool:
        """Move a parked connection. Returns False if it had to be woken, because its client needs a frame of its own."""
        former, wanted = parked.key, self._track_of(parked.instance)
        version = self._keys.version_of(wanted)
        needs_message = version != parked.version
        is_alone = needs_message and not (isinstance(parked.shared, Row) and messages.fits(wanted, parked.version))
        if version is None or is_alone or self._lot.queue.is_due(parked):
            # `awaken` moves it.
            self._lot.wake(parked)
            return False
        key = self._hold_track(former, parked.instance)
        if key is None:
            return True
        self._unsubscribe(parked, former)
        versions = None
        if parked.more is not None:
            had = parked.versions
            had[key] = had.pop(former)
            versions = self._versions.get(key, parked.more.patterns, had)
        parked.move(key, versions)
        self._subscribe(parked, key)
        if needs_message and isinstance(parked.shared, Row):
            messages.put(parked.shared, key)
        self._keys.release(former)
        return True

    async def serve(
        self,
        stream: trio.abc.Stream,
        head: bytes,
        target: str,
        connection_id: str | None = None,
        sender: Sender = _NOBODY_KNOWN,
    ) -> bool:
        """Answer a handshake and serve the connection until it ends or is parked. No action of a client makes this raise.

        Args:
            head: The request head, and all received bytes after it.
            target: The target in the request head.
            sender: The client that has sent the request.

        Returns:
            Whether the connection was parked. If so, it continues without this task. If not, the stream is closed.
        """
        connection_id = connection_id or str(uuid4())
        async with stream:
            if isinstance(stream, TlsStream) and self._serve_tls_now(stream, head, connection_id, sender):
                return True
            try:
                opening, client = await self._opener.open(head, target, connection_id, sender)
            except Refusal as refusal:
                log.debug("handshake refused", status=refusal.status, reason=refusal.reason)
                await self._answer(stream, refusal.to_bytes())
                return False
            return await self._serve(stream, client, opening.websocket, is_ahead=opening.is_ahead)

    def serve_now(
        self,
        peer: socket.socket,
        data: bytes,
        connection_id: str,
        sender: Sender = _NOBODY_KNOWN,
        head: Head | None = None,
        before: int = 0,
    ) -> bool:
        """Serve a handshake at once and park the connection, without a task, if nothing must be waited for.

        Args:
            peer: The socket, non-blocking. The bytes of the head are still in its buffer.
            data: The bytes of the head, and nothing else.
            sender: The client that has sent the request.
            head: The meaning of the head, if the caller has parsed it.
            before: The number of bytes in the buffer before the head. They are discarded.

        Returns:
            Whether the connection was served. Then it is parked or closed, and the socket isn't the caller's any more. If
            not, nothing has happened, and `serve` must serve it.
        """
        found = self._first_now(data, connection_id, sender, head)
        if found is None:
            return False
        client, delivery, whole = found
        try:
            peer.recv(before + len(data))
            written = peer.send(whole)
        except BlockingIOError:
            written = 0
        except OSError:
            peer.close()
            self._leave(sender.host)
            return True
        log.debug(
            "connection opening",
            key=str(client.key),
            principal=client.admission.name,
            connection=connection_id,
            peer=sender.host or "unix",
        )
        if written:
            self._counters.sent(delivery.kind)
        self._begin_parked(peer.detach(), client, delivery, whole[written:])
        return True

    def _serve_tls_now(self, stream: TlsStream, data: bytes, connection_id: str, sender: Sender) -> bool:
        """Do what `serve_now` does, for a stream with TLS whose head was read. Returns whether the connection was served."""
        found = None if stream.has_unread else self._first_now(data, connection_id, sender)
        if found is None:
            return False
        client, delivery, whole = found
        written = _write_now(stream, whole)
        if written is None:
            return False
        log.debug("connection opening", key=str(client.key), principal=client.admission.name)
        self._counters.sent(delivery.kind)
        self._begin_parked(self._sockets.take(stream), client, delivery, whole[written:])
        return True

    def _first_now(
        self, data: bytes, connection_id: str, sender: Sender, head: Head | None = None
    ) -> tuple[Client, Delivery, bytes] | None:
        """Make the response to a handshake and the first state without waiting. Returns None if that isn't possible."""
        client = self._opener.open_now(data, connection_id, sender, head)
        if client is None or not self._can_park(client) or self._is_ahead(client):
            return None
        delivery = self._keys.ready(client.key, client.last_version)
        if delivery is None or not can_begin(delivery, is_allowed=True):
            return None
        frame, bits = frame_of(delivery), client.window_bits
        if bits is not None and not is_quick(frame, bits):
            return None
        first = frame if bits is None else frame.for_window(bits)
        return client, delivery, client.answer + client.greeting(delivery, self._timestamp()) + first

    def _begin_parked(self, fd: int, client: Client, delivery: Delivery, unsent: bytes) -> None:
        """Park a new connection. If its first state isn't written whole, wake it for the rest."""
        self._keys.hold(client.key)
        parked = self._park(fd, client, delivery.new_version, self._first_ping(client))
        self._begin(parked, client)
        if parked not in self._lot:
            self._keep_awake(parked, unsent)
        elif unsent:
            self._lot.wake(parked, unsent=unsent)

    # From the beginning to the end of a connection.

    async def serve_events(self, stream: trio.abc.Stream, client: Client) -> bool:
        """Serve an event stream until it ends or is parked. No action of a client makes this raise.

        Args:
            client: A client whose key is held. `Client.answer` is the beginning of the stream.

        Returns:
            As in `serve`.
        """
        wanted = client.wanted
        async with stream:
            return await self._serve(stream, client, None, is_ahead=bool(wanted.patterns or wanted.has_spoken))

    async def _serve(
        self, stream: trio.abc.Stream, client: Client, websocket: clients.WebSocket | None, *, is_ahead: bool
    ) -> bool:
        """Serve a connection whose key is held, and release the key at the end. Returns whether it was parked.

        Args:
            websocket: The open wsproto connection; None for an event stream.
            is_ahead: Whether the client has asked for more than its first state already.
        """
        log.debug("connection opening", key=str(client.key), principal=client.admission.name)
        client = self._on_track(client)
        first = None
        is_quick = self._can_park(client) and not self._is_ahead(client)
        if isinstance(stream, PARKABLE) and is_quick and not (is_ahead or _has_unread(stream)):
            try:
                first = await self._first_state(client)
            except BaseException:
                self._keys.release(client.key)
                raise
        # No await may come before the registration. So each later change is either in the first state or delivered after it.
        moved = self._on_track(client)
        if moved is not client:
            client, first = moved, None
        if first is not None and isinstance(stream, PARKABLE) and self._can_park(client):
            delivery, frame = first
            version = delivery.new_version
            whole = client.answer + client.greeting(delivery, self._timestamp()) + frame
            # Write the response and the first state at once, without tasks. Tasks would fragment the heap.
            written = _write_now(stream, whole)
            if written is not None:
                self._counters.sent(delivery.kind)
            if written == len(whole):
                parked = self._park(self._sockets.take(stream), client, version, self._first_ping(client))
                self._begin(parked, client)
                if parked not in self._lot:
                    self._keep_awake(parked)
                return True
            if written is not None:
                connection = self._connection(stream, websocket, attrs.evolve(client, hello=None, last_version=None))
                connection.resume(
                    QuietChain(client.key, version), (), self._first_ping(client), None, b"", whole[written:]
                )
                self._begin(connection, client)
                return await self._run(connection, stream, client)
        connection = self._connection(stream, websocket, client)
        self._begin(connection, client)
        is_answered = False
        try:
            is_answered = await self._answer(stream, client.answer)
        finally:
            if not is_answered:
                self._end(connection, client, CloseReason.LOST)
        return is_answered and await self._run(connection, stream, client)

    async def _first_state(self, client: Client) -> tuple[Delivery, bytes] | None:
        """Make the first state of a client, and its bytes. They are current when this returns.

        Returns None if the key was removed, or if the client has no right to it.
        """
        while True:
            delivery = await self._keys.catch_up(client.key, client.last_version)
            shared, bits = client.form.shared(delivery), client.window_bits
            frame = shared
            if bits is not None and isinstance(shared, Frame):
                frame = await self._compressor.compress(shared, bits)
            if not can_begin(delivery, is_allowed=client.admission.may(Right.SUBSCRIBE, client.key)):
                return None
            if is_complete(delivery, self._keys.version_of(client.key)):
                return delivery, frame

    def _is_ahead(self, client: Client) -> bool:
        """Whether a client has a newer state than this server. Then its tasks wait for that state."""
        return self._keys.is_ahead(client.key, client.last_version, client.generation)

    def _first_ping(self, client: Client) -> float:
        # The first interval is shorter by a random part, so that the heartbeats of many new clients are spread in time.
        return trio.current_time() + client.settings.heartbeat_interval * self._random.uniform(0.5, 1.0)

    def _connection(self, stream: trio.abc.Stream, websocket: clients.WebSocket | None, client: Client) -> Connection:
        made = Connection(
            stream,
            websocket,
            client,
            self._keys,
            self._compressor,
            self._counters,
            self._reports,
            self._quota,
            self._turns,
            self._timestamp,
            self._random,
        )
        if client.settings.parks and isinstance(stream, PARKABLE):
            made.may_park()
        return made

    def _begin(self, member: _Member, client: Client) -> None:
        if isinstance(member, Connection):
            self._subscribe(member, member.key)
            self._awake[member] = None
        self._event_streams += client.form.events is not None
        self._opener.count(client.admission)
        self._reports.begin(client.instance)
        self._counters.connection_opened()

    async def _run(self, connection: Connection, stream: trio.abc.Stream, client: Client) -> bool:
        """Run an awake connection until it ends or is parked. Returns whether it was parked."""
        reason: CloseReason | None = CloseReason.INTERNAL
        try:
            while True:
                reason = await connection.run()
                if reason is not None:
                    return False
                reason = CloseReason.INTERNAL
                if self._can_park(client) and isinstance(stream, PARKABLE):
                    if self._move_awake(connection):
                        continue
                    # No await may come between the end of its tasks and this.
                    del self._awake[connection]
                    patterns, more = connection.patterns, None
                    key = connection.key
                    has: str | Versions | None = connection.versions[key]
                    if patterns:
                        more = self._subscriptions.get(patterns, client.owner)
                        has = self._versions.get(key, more.patterns, connection.versions)
                    parked = self._park(self._sockets.take(stream), client, has, connection.next_ping, more, key)
                    self._hand_over(connection, parked, key, patterns)
                    if parked not in self._lot:
                        self._keep_awake(parked)
                    return True
                connection.may_not_park()
        finally:
            if connection in self._awake:
                self._end(connection, client, reason or CloseReason.INTERNAL)

    def _end(self, connection: Connection, client: Client, reason: CloseReason) -> None:
        del self._awake[connection]
        connection.unsubscribe_all()
        self._forget(connection, client, reason)

    def _forget(self, member: _Member, client: Client | Parked, reason: CloseReason) -> None:
        instance = client.instance
        self._event_streams -= client.form.events is not None
        self._unsubscribe(member, member.key)
        self._reports.end(instance)
        self._keys.release(member.key)
        self._opener.uncount(client.admission)
        self._counters.connection_closed(reason.name.lower())
        log.debug("connection closed", reason=reason.text)

    # Parked connections.

    def _can_park(self, client: Client) -> bool:
        return client.settings.parks and self._lot.nursery is not None and not self._opener.is_draining

    def _park(
        self,
        fd: int,
        client: Client,
        versions: str | Versions | None,
        next_ping: float,
        more: Subscriptions | None = None,
        key: Key | None = None,
    ) -> Parked:
        """Park a connection. If it isn't in the lot afterwards, pass it to `_keep_awake`.

        Args:
            key: The main key, if the connection may have moved since its handshake.
        """
        parked = Parked(
            self._lot.queue,
            fd,
            key or client.key,
            versions,
            client.admission,
            client.form,
            client.instance,
            next_ping,
            client.settings,
            more,
        )
        self._subscribe(parked, parked.key)
        self._lot.park(parked)
        return parked

    def _keep_awake(self, parked: Parked, unsent: bytes = b"") -> None:
        """Run a connection that the lot hasn't taken in a task of its own, from now on until it ends."""
        self.awaken(parked, b"", unsent, ()).may_not_park()

    def _hand_over(self, old: _Member, new: _Member, key: Key, patterns: Iterable[Pattern]) -> None:
        """Replace one subscriber with another. At each moment, at least one of them is subscribed."""
        self._subscribe(new, key)
        self._unsubscribe(old, key)
        self._registry.replace(old, new, patterns)

    def _add_patterns(self, parked: Parked, more: Subscriptions, versions: Versions) -> None:
        """Add the first patterns of a parked connection. It leaves its group, because it has several keys now."""
        waiting = tuple(parked.shared.waiting) if parked.shared is not None else ()
        self._groups.discard(parked)
        parked.subscribe(more, versions)
        self._groups.add(parked)
        for each in waiting:
            # It was queued for the row that the connection has left.
            parked.deliver(each)

    def _subscribe(self, member: _Member, key: Key) -> None:
        if isinstance(member, Parked):
            self._groups.add(member)
        else:
            self._registry.add(member, key)

    def _unsubscribe(self, member: _Member, key: Key) -> None:
        if isinstance(member, Parked):
            self._groups.discard(member)
        else:
            self._registry.discard(member, key)

    def awaken(self, parked: Parked, received: bytes, unsent: bytes, missed: Iterable[Key]) -> Connection:
        """See `parking.Owner`."""
        assert self._lot.nursery is not None  # no connection is parked if the lot is closed
        stream = self._sockets.give_back(parked.fd)
        websocket, bits = None, parked.form.window_bits
        if parked.form.events is None:
            deflate: list[Extension] = [] if bits is None else [Deflate(parked.settings.message_bytes, bits)]
            websocket = WebSocket(ConnectionType.SERVER, deflate)
        owner = parked.more.owner if parked.more is not None else owner_of(parked.admission, parked.instance.host)
        client = Client(
            parked.key,
            None,
            parked.admission,
            parked.instance,
            b"",
            parked.form,
            owner=owner,
            settings=parked.settings,
        )
        woken = self._connection(stream, websocket, client)
        woken.resume(parked, parked.patterns, parked.next_ping, parked.pinged, received, unsent, missed)
        self._hand_over(parked, woken, parked.key, parked.patterns)
        self._awake[woken] = None
        if not self._opener.is_draining:
            self._move_awake(woken)
        self._lot.nursery.start_soon(self._run_again, woken, stream, client)
        return woken

    async def _run_again(self, woken: Connection, stream: Stream, client: Client) -> None:
        """Run a woken connection in its own task. Unexpected errors end here: they are logged and end the connection."""
        is_parked = False
        instance = client.instance
        with bound_contextvars(connection=instance.connection, peer=instance.host or "unix"):
            try:
                is_parked = await self._run(woken, stream, client)
            except Exception:
                log.exception("connection failed")
            finally:
                if not is_parked:
                    self._leave(instance.host)
                    await trio.aclose_forcefully(stream)

    def end_parked(self, parked: Parked, reason: CloseReason) -> None:
        """See `parking.Owner`."""
        if parked.more is not None:
            self._keys.unsubscribe(parked, parked.patterns)
            self._quota.give_back(parked.more.owner, parked.patterns)
        self._forget(parked, parked, reason)
        self._leave(parked.instance.host)

    def recheck(self) -> None:
        """Check all connections against the current rights."""
        for each in list(self._awake):
            each.recheck()
        for parked in self._lot:
            wanted: tuple[Key | Pattern, ...] = (parked.key, *parked.patterns)
            try:
                parked.admission.renew()
                for where in wanted:
                    parked.admission.authorize(Right.SUBSCRIBE, where)
            except RemoteError:
                self._lot.wake(parked).recheck()
        self._groups.renew()

    async def _answer(self, stream: trio.abc.Stream, answer: bytes) -> bool:
        """Write the response to a handshake within the write timeout. Returns whether it was written."""
        with trio.move_on_after(self._settings.write_timeout) as scope:
            try:
                await stream.send_all(answer)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
        return not scope.cancelled_caught

    async def drain(self, seconds: float) -> None:
        """Announce the end to every client and close its connection, spread over at most this time.

        From now on, new handshakes are refused.
        """
        self._opener.is_draining = True
        told: set[_Member] = set()
        deadline = trio.current_time() + seconds
        # Repeat this for connections that were parked at first, and were woken by their clients meanwhile.
        while members := [each for each in (*self._awake, *self._lot) if each not in told]:
            self._random.shuffle(members)
            interval = min(_DRAIN_INTERVAL, max(deadline - trio.current_time(), 0) / len(members))
            for each in members:
                told.add(each)
                if isinstance(each, Parked):
                    if each not in self._lot:
                        continue
                    woken = self._lot.wake(each)
                    told.add(woken)
                elif each in self._awake:
                    woken = each
                else:
                    continue
                woken.drain(reconnect_after_ms=self._random.randint(100, 3_000))
                await trio.sleep(interval)
        self._lot.shut()


def _log_ignored(instance: Instance, said: Acknowledge) -> None:
    log.debug(
        "ack of a candidate ignored",
        key=str(said.key),
        version=said.version,
        reason="the client wasn't sent this version",
    )


def _write_now(stream: Stream, data: bytes) -> int | None:
    """Write as many bytes as the socket accepts at once.

    Returns None if nothing has been written. If that is because of an error, the task that later waits on the socket gets
    the error. A TLS stream without room returns 0, because it keeps a part of the data; see `TlsStream.write_now`.
    """
    try:
        if isinstance(stream, TlsStream):
            return stream.write_now(data)
        return os.write(stream.socket.fileno(), data)
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
        return None


def _has_unread(stream: Stream) -> bool:
    """Whether a TLS stream has bytes of which its socket doesn't tell."""
    return isinstance(stream, TlsStream) and stream.has_unread

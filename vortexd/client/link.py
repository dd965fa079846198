"""Keeps a view up to date: one connection after another, to whichever server is next. Trio, on trio-websocket.

It takes addresses and a subject, and applies the events of each connection to the view. Invariants: there is one task, and one
connection at a time. Only `stop`, cancellation, or a refusal by every server ends the task; nothing else that a server sends or fails to
send does. Every wait on a server has a deadline.
"""

import logging
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence

import attrs
import h11
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, WebSocketConnection, wrap_client_stream
from wsproto.utilities import ProtocolError

from ..core.model import Key
from ..core.patterns import Pattern
from .address import SUBPROTOCOL, Address, Subject, headers, target
from .change import Change
from .client_state import Ack, ClientState
from .disconnect import Disconnect, closed, refused
from .protocol import Conversation, Current, Event, Heartbeat, Over, Refused
from .server_rotation import ServerRotation
from .streams import Connect, ObservedStream, reason_of
from .view import BEHIND, Connected, Failed, Stale, View

log = logging.getLogger("vortexd.client")

# The log line for an `error` message from the server. `vortexctl watch` prints it.
REFUSED = "the server refused a message: %s %s"
# The log line for a state that is older than the one before.
LAG = f"{BEHIND}; its version is %s"
# trio-websocket closes with this code if a message exceeds the limit (RFC 6455 section 7.4.1).
_TOO_BIG = 1009


@attrs.frozen
class Timeouts:
    """How long the client waits for a server, in seconds.

    Attributes:
        connect: For TCP and TLS together, and then again for the handshake response.
        send: For the sending of one message.
        close: For the closing handshake.
    """

    connect: float = 10.0
    send: float = 10.0
    close: float = 1.0


class Link:
    """The connections that keep one view up to date.

    Args:
        addresses: Servers of the same configuration, the preferred one first.
        token: Returns the token for each attempt. A refused token isn't sent a second time.
        has_other_tokens: Whether `token` may return a different token later.
        held: The state that is already known.
        max_message_bytes: If a server sends a larger message, the client doesn't return to that server.
        connect: Opens a stream.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        subject: Subject,
        token: Callable[[], str | None],
        patterns: Iterable[Pattern],
        held: ClientState,
        view: View,
        *,
        has_other_tokens: bool,
        max_message_bytes: int,
        connect: Connect,
        timeouts: Timeouts,
    ) -> None:
        self._addresses = addresses
        self._subject = subject
        self._token = token
        self._has_other_tokens = has_other_tokens
        self._refused_token: str | None = None
        self._patterns = tuple(patterns)
        self._held = held
        self._view = view
        self._max_message_bytes = max_message_bytes
        self._connect = connect
        self._timeouts = timeouts
        self._conversation: Conversation | None = None
        self._waiting: trio.CancelScope | None = None
        self._attempting: trio.CancelScope | None = None
        self._is_stopping = False
        self._current_since: float | None = None
        # The server of the current attempt, and the token that it got.
        self._place: tuple[Address, str | None] | None = None

    async def run(self) -> None:
        """Connect, follow and reconnect, until every server has refused or `stop` was called."""
        rotation = ServerRotation(len(self._addresses))
        while turn := rotation.next():
            number, due = turn
            with trio.CancelScope() as self._waiting:
                await trio.sleep_until(max(due, trio.current_time()))
            if self._is_stopping:
                return
            end = closed(1000)
            with trio.CancelScope() as self._attempting:
                end = await self._attempt(self._addresses[number])
            if self._is_stopping:
                return
            now = trio.current_time()
            lasted = 0.0 if self._current_since is None else now - self._current_since
            self._stale(end, self._addresses[number])
            rotation.ended(number, end, lasted, now, random.random())
        reason = self._view.state.reason if isinstance(self._view.state, Stale) else ""
        log.error("the client has stopped following the configuration: %s", reason)
        self._view.turn(Failed(reason))

    def stop(self) -> None:
        """Let `run` return. If there is a connection, it performs a closing handshake first."""
        self._is_stopping = True
        self._wake()
        if self._conversation is None and self._attempting is not None:
            self._attempting.cancel()

    def acknowledge(self, key: Key, ack: Ack) -> None:
        """Send an acknowledgement if there is a connection, and again whenever a later connection has the same version."""
        if self._held.replica(key) is None:
            # The key has ended in the meantime.
            return
        self._held.acks[key] = ack
        if self._conversation is not None:
            self._conversation.acknowledge(key, ack)
            self._wake()

    async def explain(self, key: Key, wanted: str) -> bytes | None:
        """Ask the connected server where values come from; see `explaining.ask`. None if there is no connection."""
        if self._conversation is None or self._place is None:
            return None
        # Most programs never ask, so the module is loaded only here.
        from .explaining import ask

        return await ask(self._connect, *self._place, key, wanted)

    def _wake(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    def _stale(self, end: Disconnect, address: Address) -> None:
        """Mark the view as stale. Log the first failure after a connection as a warning, later failures as info."""
        reason = f"{address}: {end.reason}"
        if isinstance(self._view.state, Connected):
            heard_at = self._conversation.heard_at if self._conversation else trio.current_time()
            since = time.time() - (trio.current_time() - heard_at)
            log.warning("connection to %s lost: %s", address, end.reason)
        else:
            assert isinstance(self._view.state, Stale)
            since = self._view.state.since
            log.info("can't follow %s: %s", address, end.reason)
        self._conversation = self._current_since = None
        self._view.turn(Stale(since, reason))

    async def _attempt(self, address: Address) -> Disconnect:
        """Make one connection, and return the reason for its end."""
        try:
            token = self._token()
            self._place = address, token
            if token is not None and token == self._refused_token:
                return Disconnect("the server refused the token, and there is no other token yet")
            end = await self._connection(address, token)
        except Exception:  # the handler of last resort: a server must not crash the application
            log.exception("connection failed")
            return Disconnect("an error in this client; see the log")
        if end.is_token and self._has_other_tokens:
            self._refused_token = token
            return attrs.evolve(end, may_return=True)
        return end

    async def _connection(self, address: Address, token: str | None) -> Disconnect:
        try:
            with trio.fail_after(self._timeouts.connect):
                stream = ObservedStream(await self._connect(address), self._note_bytes)
        except trio.TooSlowError:
            return Disconnect("the server doesn't answer")
        except (OSError, trio.BrokenResourceError) as error:
            return Disconnect(reason_of(error))
        try:
            return await self._over(stream, address, token)
        finally:
            stream.is_open = True
            await trio.aclose_forcefully(stream)

    async def _over(self, stream: "ObservedStream", address: Address, token: str | None) -> Disconnect:
        """Perform the handshake on an open stream, and follow. If the connection breaks, whichever task notices raises."""
        end = closed(1006)
        try:
            async with trio.open_nursery() as nursery:
                with trio.fail_after(self._timeouts.connect):
                    websocket = await wrap_client_stream(
                        nursery,
                        stream,  # type: ignore[arg-type, unused-ignore]  # it accepts any stream
                        address.authority,
                        target(
                            address,
                            self._subject,
                            self._held.main.version,
                            self._held.main.generation,
                            is_sent_on=self._held.is_sent_on,
                        ),
                        subprotocols=(SUBPROTOCOL,),
                        extra_headers=headers(token),
                        message_queue_size=1,
                        max_message_size=self._max_message_bytes,
                        receive_buffer_size=None,
                    )
                stream.is_open = True
                end = await self._follow(websocket)
                if self._is_stopping:
                    # Otherwise the server is silent or broken, and the next attempt is more urgent than a closing handshake.
                    with trio.move_on_after(self._timeouts.close):
                        await websocket.aclose()
                nursery.cancel_scope.cancel()
        except* ConnectionRejected as group:
            end = _refusal(group, self._held)
        except* trio.TooSlowError:
            end = Disconnect("the server doesn't answer")
        except* h11.ProtocolError:
            # If the response isn't HTTP, trio-websocket tries to send an error response, which h11 refuses to a client.
            end = Disconnect("the server's answer isn't HTTP")
        except* (
            ConnectionClosed,
            HandshakeError,
            ProtocolError,
            OSError,
            trio.BrokenResourceError,
            trio.ClosedResourceError,
        ):
            # `_follow` has returned the reason already, or the connection broke before anything was followed.
            pass
        return end

    async def _follow(self, websocket: WebSocketConnection) -> Disconnect:
        self._conversation = conversation = Conversation(self._held, self._patterns, trio.current_time())
        while True:
            try:
                with trio.fail_after(self._timeouts.send):
                    for text in conversation.take_outgoing(trio.current_time()):
                        await websocket.send_message(text)
                if self._is_stopping:
                    # Close only now, so that earlier acknowledgements are still sent.
                    return closed(1000)
                events = await self._next(websocket, conversation)
            except trio.TooSlowError:
                return Disconnect("the server doesn't read")
            except ConnectionClosed as error:
                return self._closed(error, conversation)
            for event in events:
                if isinstance(event, Over):
                    return attrs.evolve(event.end, reconnect_after_ms=conversation.reconnect_after_ms)
                self._apply(event)
            self._note_catching_up()

    async def _next(self, websocket: WebSocketConnection, conversation: Conversation) -> list[Event]:
        message = None
        # `_wake` also cancels this scope, when there is a message to send.
        deadline = -math.inf if self._is_stopping else conversation.wake_at(trio.current_time())
        with trio.CancelScope(deadline=deadline) as self._waiting:
            message = await websocket.get_message()
        now = trio.current_time()
        events = [] if message is None else conversation.receive(message, now)
        return events + conversation.tick(now)

    def _closed(self, error: ConnectionClosed, conversation: Conversation) -> Disconnect:
        reason = error.reason
        if reason is None:
            return conversation.close(1006)
        if reason.code == _TOO_BIG and (reason.reason or "").startswith("Exceeded maximum message size"):
            return Disconnect(
                f"the server sent a message longer than max_message_bytes ({self._max_message_bytes})", may_return=False
            )
        return conversation.close(reason.code, reason.reason)

    def _apply(self, event: Event) -> None:
        match event:
            case Change():
                self._view.change(event, is_main=event.key == self._held.key)
            case Current():
                self._current_since = trio.current_time()
                if self._held.main.is_behind:
                    log.warning(LAG, self._held.main.version)
                else:
                    log.info("configuration is current, version %s", self._held.main.version)
                self._refused_token = None
                self._view.confirm(time.time())
                self._view.turn(Connected(self._held.main.is_behind))
            case Heartbeat():
                self._view.confirm(time.time())
            case Refused(code, message):
                log.warning(REFUSED, code, message)

    def _note_catching_up(self) -> None:
        """Show and log that the server has reached the state that the view showed before, or a newer one."""
        if self._view.is_behind and not self._held.main.is_behind:
            log.info("the server has caught up, version %s", self._held.main.version)
            self._view.turn(Connected())

    def _note_bytes(self) -> None:
        if self._conversation is not None:
            self._conversation.hear(trio.current_time())


def _refusal(group: BaseExceptionGroup[ConnectionRejected], held: ClientState) -> Disconnect:
    rejected: BaseException = group
    while isinstance(rejected, BaseExceptionGroup):
        rejected = rejected.exceptions[0]
    assert isinstance(rejected, ConnectionRejected)
    found = {bytes(name).lower(): bytes(value) for name, value in rejected.headers}
    retry_after = found.get(b"retry-after", b"").decode("latin-1")
    return refused(rejected.status_code, retry_after or None, rejected.body or b"", existed_before=held.key is not None)

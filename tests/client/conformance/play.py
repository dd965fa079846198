"""One conversation: performs the steps over sockets, and compares the answers of an adapter's process.

Events are compared in the order in which the adapter prints them, messages in the order in which the client sends them. An additional one
is found in place of the next, or at the end. A client that may return has to do so, and not before the delay that the server named.
"""

from collections.abc import Sequence
from typing import Any

import attrs
import trio

from .adapter import Adapter, running
from .channel import Failed
from .server import EventStreamPeer, Head, Peer, WebSocketPeer, read_head, response
from .transcript import Step, Transcript, difference

APPLICATION, PROFILE = "orders", "dev"
_PATHS = {"websocket": f"/ws/{APPLICATION}/{PROFILE}", "sse": f"/api/v1/events/{APPLICATION}/{PROFILE}"}
# Clients wait by a clock of their own. This is how much earlier than asked a reconnect may be.
_TOLERANCE = 0.05
# The client's own back-off before a reconnect, besides the delay that the server named.
_LONGEST_BACKOFF = 10.0
_CLOCK_STEP = 0.25


class Skipped(Exception):
    """The rest of a conversation can't be played; the text says why."""


@attrs.frozen
class Options:
    """How to play.

    Attributes:
        deadline: Seconds for each answer.
        longest_wait: If the adapter has no clock of its own, the runner waits for no later `at` than this, in seconds.
        quiet: How long the client must be silent at the end, in seconds.
        settle: Seconds in which an adapter handles what its client has read.
    """

    transport: str = "websocket"
    token: str | None = None
    deadline: float = 5.0
    longest_wait: float = 4.0
    quiet: float = 0.2
    settle: float = 0.03


@attrs.frozen
class Outcome:
    """What became of a conversation: "passed", "failed" or "skipped". `reason` says why, and `complaints` is the end of standard error."""

    name: str
    result: str
    reason: str = ""
    complaints: str = ""


async def play(transcript: Transcript, command: Sequence[str], options: Options) -> Outcome:
    """Play one conversation to a new process of an adapter."""
    if obstacle := transcript.obstacle(options.transport):
        return Outcome(transcript.name, "skipped", obstacle)
    complaints = b""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    environment = {
        "CONFORMANCE_URL": f"{'ws' if options.transport == 'websocket' else 'http'}://127.0.0.1:{port}",
        "CONFORMANCE_APPLICATION": APPLICATION,
        "CONFORMANCE_PROFILE": PROFILE,
        "CONFORMANCE_PATTERNS": " ".join(transcript.patterns),
        "CONFORMANCE_TOKEN": options.token or "",
        "CONFORMANCE_TRANSPORT": options.transport,
    }
    error: Failed | Skipped | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                async with running(command, environment) as adapter:
                    conversation = _Conversation(transcript, adapter, options)
                    nursery.start_soon(trio.serve_listeners, conversation.handle, listeners)
                    try:
                        await conversation.run()
                    except (Failed, Skipped) as raised:
                        error = raised
                complaints = adapter.complaints
            except Failed as raised:
                error = raised
            nursery.cancel_scope.cancel()
    finally:
        for listener in listeners:
            await trio.aclose_forcefully(listener)
    if error is None:
        return Outcome(transcript.name, "passed")
    result = "failed" if isinstance(error, Failed) else "skipped"
    return Outcome(transcript.name, result, str(error), complaints.decode(errors="replace"))


class _Conversation:
    def __init__(self, transcript: Transcript, adapter: Adapter, options: Options) -> None:
        self._transcript = transcript
        self._adapter = adapter
        self._options = options
        self._handshakes, self._arrivals = trio.open_memory_channel[Peer](8)
        self._peer: Peer | None = None
        self._cursor: str | None = None
        self._refusal: dict[str, Any] | None = None
        self._began = trio.current_time()
        self._began_ending = self._began
        # The fake clock: the seconds of the last `at`, and those that passed beside it, while the client waited to reconnect.
        self._at = self._besides = self._ended_at = 0.0
        self._has_clock = False
        self._is_unread = False
        self._not_before = 0.0
        self._may_return = True
        self._is_last_ended = False

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection of the client."""
        async with stream:
            head = await read_head(stream)
            if head is None:
                return
            peer = self._peer_of(stream, head)
            if peer is None:
                refusal = self._refusal or {"status": 426, "headers": {}, "body": ""}
                await stream.send_all(response(refusal["status"], refusal["headers"], refusal["body"].encode()))
                return
            try:
                self._handshakes.send_nowait(peer)
            except trio.WouldBlock:
                return
            await peer.receive()

    def _peer_of(self, stream: trio.SocketStream, head: Head) -> Peer | None:
        if head.is_websocket:
            return WebSocketPeer(stream, head) if self._options.transport == "websocket" else None
        if self._options.transport == "sse":
            return EventStreamPeer(stream, head, has_patterns=bool(self._transcript.patterns))
        return None

    async def run(self) -> None:
        steps = self._transcript.steps
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            try:
                await self._perform(step, is_refused=following is not None and following.kind == "refused")
                for line, kind, value in step.answers:
                    await self._answered(line, kind, value)
            except Failed as failed:
                text = str(failed)
                raise Failed(text if text.startswith("line ") else f"line {step.line}, {step.kind}: {text}") from None
        await self._finish()

    async def _perform(self, step: Step, *, is_refused: bool) -> None:
        match step.kind:
            case "at":
                await self._advance(step.line, step.value)
            case "open":
                await self._open(step.value, is_refused=is_refused)
            case "ack":
                await self._adapter.command({"ack": step.value}, self._options.deadline)
            case _:
                self._is_unread = True
                await self._say(step.kind, step.value)

    async def _say(self, kind: str, value: Any) -> None:
        peer = self._peer
        assert peer
        match kind:
            case "recv":
                await peer.send(value)
                if isinstance(peer, EventStreamPeer):
                    self._cursor = peer.cursor or self._cursor
            case "recv_text":
                assert isinstance(peer, WebSocketPeer)
                await peer.send_text(value)
            case "refused":
                self._refusal, self._began_ending = value, trio.current_time()
                await peer.refuse(value["status"], value["headers"], value["body"])
            case "close":
                assert isinstance(peer, WebSocketPeer)
                self._began_ending = trio.current_time()
                await peer.close(value["code"], value["reason"])
            case "lost":
                self._began_ending = trio.current_time()
                await peer.lose()
            case _:
                raise Skipped(f"this runner doesn't know the step {kind}")

    async def _open(self, request: dict[str, Any], *, is_refused: bool) -> None:
        peer = await self._handshake()
        self._refusal, self._is_last_ended = None, False
        self._check(peer.head, request)
        self._peer = peer
        if not is_refused:
            await peer.accept()

    def _check(self, head: Head, request: dict[str, Any]) -> None:
        if head.path != _PATHS[self._options.transport]:
            raise Failed(f"the request is for {head.path}, not {_PATHS[self._options.transport]}")
        if self._options.token is not None and head.token != self._options.token:
            raise Failed("the request doesn't have the token")
        if self._options.transport == "sse":
            asked = {"Last-Event-ID": head.headers.get("last-event-id") or None}
            # Without patterns, the id is the version, and a client names the version that it has.
            version = request["last_version"]
            wanted = {"Last-Event-ID": self._cursor if version is not None and self._transcript.patterns else version}
        else:
            if "vortex.v1" not in head.headers.get("sec-websocket-protocol", ""):
                raise Failed("the handshake doesn't offer the subprotocol vortex.v1")
            names = ("last_version", "generation", "sent_on")
            asked = {name: head.query.get(name) for name in names}
            wanted = {**{name: request.get(name) for name in names}, "sent_on": "1" if request.get("sent_on") else None}
        if asked != wanted:
            raise Failed(f"the request must have {wanted}, and has {asked}")

    async def _answered(self, line: int, kind: str, value: Any) -> None:
        peer = self._peer
        assert peer
        if kind == "send" and isinstance(peer, EventStreamPeer):
            # Over an event stream, the patterns are part of the request.
            return
        channel, name = (peer.messages, "message") if kind == "send" else (self._adapter.events, "event")
        try:
            answer = await channel.next(self._options.deadline)
        except Failed as failed:
            raise Failed(f"line {line}, {kind}: {failed}; expected {value}") from None
        if answer is None:
            raise Failed(f"line {line}, {kind}: no {name} within {self._options.deadline:g} s; expected {value}")
        if found := difference(value, answer):
            raise Failed(f"line {line}, {kind}: {found}")
        if kind == "expect" and isinstance(value, dict) and "end" in value:
            await self._ended(line, value["end"])

    async def _ended(self, line: int, end: dict[str, Any]) -> None:
        peer = self._peer
        assert peer
        with trio.move_on_after(self._options.deadline) as waiting:
            await peer.over.wait()
        if waiting.cancelled_caught:
            raise Failed(f"line {line}, expect: the client reported the end, but it didn't close the connection")
        await peer.lose()
        self._is_last_ended, self._may_return = True, end["return"]
        self._ended_at = self._at + self._besides
        self._not_before = (end["after_ms"] or 0) / 1_000

    async def _handshake(self) -> Peer:
        """Wait for the client to connect; it must not do so before the delay that the server named."""
        if self._peer is None:
            peer = await self._arrival(self._options.deadline + _LONGEST_BACKOFF, "the client doesn't connect")
            await trio.sleep(self._options.settle)
            # An adapter prints its clock before its client connects.
            self._has_clock = not self._adapter.clocks.is_empty and self._adapter.clocks.next_nowait() is not None
            return peer
        # Without `end`, the step before has ended the connection.
        before, self._not_before = self._not_before, 0.0
        if self._has_clock:
            # A step `at` after the end may have passed a part of the delay, or all of it.
            left = self._ended_at + before - self._at - self._besides
            if left > _TOLERANCE:
                await self._wait_by_clock(left - _TOLERANCE, is_allowed=False)
            if arrived := await self._wait_by_clock(_LONGEST_BACKOFF, is_allowed=True):
                return arrived
            raise Failed(f"the client doesn't reconnect within {_LONGEST_BACKOFF:g} s by its clock")
        peer = await self._arrival(self._options.deadline + _LONGEST_BACKOFF + before, "the client doesn't reconnect")
        waited = trio.current_time() - self._began_ending
        if waited < before - _TOLERANCE:
            raise Failed(
                f"the server asked for a delay of {before:g} s, and the client reconnected after {waited:.2f} s"
            )
        return peer

    async def _arrival(self, seconds: float, error: str) -> Peer:
        """Wait for a connection for that many seconds, or until the adapter ends."""
        peer: Peer | None = None
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_after, self._adapter.events.failed, nursery.cancel_scope)
                peer = await self._arrivals.receive()
                nursery.cancel_scope.cancel()
        if peer is not None:
            return peer
        if (event := self._adapter.events.next_nowait()) is not None:
            error += f", and reports {event}"
        raise Failed(f"{error} within {seconds:g} s")

    async def _wait_by_clock(self, seconds: float, *, is_allowed: bool) -> Peer | None:
        passed = 0.0
        while True:
            with trio.move_on_after(self._options.settle if passed < seconds else self._options.quiet):
                peer = await self._arrivals.receive()
                if not is_allowed:
                    raise Failed(
                        f"the client reconnected {passed:g} s after the end, and the server asked for {seconds + _TOLERANCE:g} s"
                    )
                return peer
            if passed >= seconds:
                return None
            step = min(_CLOCK_STEP if is_allowed else seconds, seconds - passed)
            passed += step
            self._besides += step
            await self._set_clock()

    async def _advance(self, line: int, seconds: float) -> None:
        if self._has_clock:
            await self._let_read()
            self._at = seconds
            await self._set_clock()
            return
        if seconds > self._options.longest_wait:
            raise Skipped(
                f"line {line}: at {seconds:g} s, and the adapter has no clock that can be set; the lines before passed"
            )
        await trio.sleep_until(self._began + self._besides + seconds)

    async def _set_clock(self) -> None:
        clock = self._at + self._besides
        await self._adapter.command({"clock": clock}, self._options.deadline)
        echo = await self._adapter.clocks.next(self._options.deadline)
        if echo is None:
            raise Failed(f"the adapter didn't confirm its clock within {self._options.deadline:g} s")
        if not isinstance(echo, int | float) or abs(echo - clock) > 0.001:
            raise Failed(f"the adapter's clock is {echo}, not {clock}")

    async def _let_read(self) -> None:
        """Before time passes, let the client read what was sent. A ping is a sign of life, so it is sent only after other messages."""
        if not self._is_unread or self._is_last_ended or not isinstance(self._peer, WebSocketPeer):
            return
        self._is_unread = False
        with trio.move_on_after(self._options.deadline):
            await self._peer.ping()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_after, self._peer.over, nursery.cancel_scope)
                await self._peer.pongs.next(self._options.deadline)
                nursery.cancel_scope.cancel()
        await trio.sleep(self._options.settle)

    async def _finish(self) -> None:
        """After the last step: the client comes back, or stays away, and says nothing more."""
        await trio.sleep(self._options.quiet)
        if self._is_last_ended and self._may_return:
            try:
                await self._handshake()
            except Failed as failed:
                raise Failed(f"after the last line: {failed}") from None
        elif self._is_last_ended and self._has_clock:
            await self._stays_away()
        for name, channel in (
            ("event", self._adapter.events),
            ("message", self._peer.messages if self._peer else None),
        ):
            if channel is not None and not channel.is_empty:
                raise Failed(f"after the last line: an additional {name}: {channel.next_nowait()}")
        try:
            self._arrivals.receive_nowait()
        except trio.WouldBlock:
            return
        raise Failed("after the last line: the client connected again")

    async def _stays_away(self) -> None:
        self._besides += _LONGEST_BACKOFF
        await self._set_clock()
        await trio.sleep(self._options.quiet)


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()

"""Fakes for the neighbours of a tested part. They are small, synchronous if possible, and record their calls faithfully."""

import contextlib
import hashlib
import json
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import attrs
import orjson
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from vortexd.auth import ALL_RIGHTS, Authority, Gate
from vortexd.core.candidate import candidate_of, plain
from vortexd.core.commits import Commit, PastFiles
from vortexd.core.diff import patch_between
from vortexd.core.errors import RemoteError, SourceError, UnknownLabel
from vortexd.core.generation import Generation
from vortexd.core.model import Change, Config, Files, Former, Good, Json, Key, Tree
from vortexd.core.patterns import Pattern
from vortexd.observe.publication import Publication
from vortexd.pipeline.broadcast import Broadcaster, Delivery, Subscriber
from vortexd.pipeline.encoder import Encoder
from vortexd.pipeline.former_states import Place
from vortexd.pipeline.registry import Registry
from vortexd.settings.auth import AuthSettings

TIMESTAMP = "2030-01-01T00:00:00.000Z"
KEY = Key("orders", "dev", "main")


def timestamp() -> str:
    return TIMESTAMP


def open_gate(authority: Authority | None = None, **settings: Any) -> Gate:
    """A gate that asks nobody for a token, or the one of an authority; its clocks stand still."""
    return Gate(AuthSettings(**settings), authority or Authority(anonymous=ALL_RIGHTS), [], lambda: 0.0, lambda: 0.0)


def config(key: Key, document: dict[str, Json]) -> Config:
    """A configuration as the store would make it, without sources."""
    body = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return Config(key, hashlib.sha256(body).hexdigest()[:16], body, ())


class Rounds(trio.abc.Instrument):
    """Counts the rounds of the loop, each of which runs every task that can go on."""

    def __init__(self) -> None:
        self.count = 0

    @classmethod
    def counting(cls) -> "Rounds":
        """One that counts from now on."""
        rounds = cls()
        trio.lowlevel.add_instrument(rounds)
        return rounds

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


class _Condition(trio.abc.Instrument):
    """Sets an event when a condition holds at the end of a round of the loop."""

    def __init__(self, is_true: Callable[[], object]) -> None:
        self.holds = trio.Event()
        self.error: Exception | None = None
        self._is_true = is_true
        self._token = trio.lowlevel.current_trio_token()

    def before_io_wait(self, timeout: float) -> None:
        try:
            holds = self._is_true()
        except Exception as error:  # noqa: BLE001 - trio would only log it
            self.error, holds = error, True
        if holds:
            # The loop has decided already how long it waits for I/O. This ends the wait.
            self._token.run_sync_soon(self.holds.set, idempotent=True)


async def wait_until(is_true: Callable[[], object]) -> None:
    """Wait for a state that tasks of this loop change and that lasts. It is looked at after each round of the loop."""
    condition = _Condition(is_true)
    trio.lowlevel.add_instrument(condition)
    try:
        with trio.fail_after(20):
            await condition.holds.wait()
    finally:
        trio.lowlevel.remove_instrument(condition)
    if condition.error is not None:
        raise condition.error


class FakeMetrics:
    """Counts by name, for whoever counts anything. `connection_closed("slow")` is `counts["connection_closed slow"]`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def message_received(self, kind: str) -> None:
        self.counts[f"message_received {kind}"] += 1

    def heartbeat_answered(self, seconds: float, count: int = 1) -> None:
        self.counts["heartbeat_answered"] += count

    def acknowledged(self, status: str) -> None:
        self.counts[f"acknowledged {status}"] += 1

    def rolled_back(self, outcome: str) -> None:
        self.counts[f"rolled_back {outcome}"] += 1

    def reloaded(self, *, is_done: bool) -> None:
        self.counts["reloads done" if is_done else "reloads refused"] += 1

    def bytes_written(self, count: int) -> None:
        self.counts["bytes_written"] += count

    def bytes_read(self, count: int) -> None:
        self.counts["bytes_read"] += count

    def sent(self, kind: str, count: int = 1) -> None:
        self.counts[f"sent {kind}"] += count

    def delivered(self, seconds: float, count: int) -> None:
        self.counts["delivered"] += count

    def lagged(self) -> None:
        self.counts["lagged"] += 1

    def connection_opened(self) -> None:
        self.counts["connection_opened"] += 1

    def connection_closed(self, reason: str) -> None:
        self.counts[f"connection_closed {reason}"] += 1

    def published(self, changes: int, deliveries: int) -> None:
        self.counts["publications"] += 1
        self.counts["changes"] += changes
        self.counts["deliveries"] += deliveries

    def publication(self, done: Publication) -> None:
        self.published(done.changes, done.deliveries)

    def labels_held_back(self, count: int) -> None:
        self.counts["labels_held_back"] = count

    def applications_held_back(self, count: int) -> None:
        self.counts["applications_held_back"] = count

    def broken_files(self, count: int, unserved: int) -> None:
        self.counts["broken_files"] = count
        self.counts["unserved_files"] = unserved


class FakeLine:
    """What a connection and a server ask of the line, over documents that the test sets. All versions are remembered.

    Attributes:
        held: How often each key is in use.
        gate: Set to a new Event to make `catch_up` wait for it behind its look at the state, as a thread would.
        entrance: Set to a new Event to make `subscribe` wait for it before it does anything, as for a turn.
        doorway: Likewise for `arriving`.
        later: The versions of keys whose change is in force, but not broadcast yet.
        looks: How often a version was looked up.
        refusal: What `subscribe` raises, or None.
        is_ready: Whether first messages are made already, so that nothing must be waited for.
        is_matched: Whether a subscription needs to wait for nothing, so that `subscribe_now` does it.
        makes_at_once: Whether awake connections get catch-up messages without waiting.
        level: Set to a new Event to make every client with another version than the newest one ahead, until it is set.
    """

    default_label: str | None = "main"

    def __init__(self, documents: dict[Key, dict[str, Json]] | None = None) -> None:
        self.registry: Registry[Subscriber] = Registry()
        self.encoder = Encoder(timestamp)
        self.broadcaster = Broadcaster(self.registry, self.encoder.change, trio.current_time)
        self.held: Counter[Key] = Counter()
        self.later: dict[Key, str] = {}
        self.gate: trio.Event | None = None
        self.entrance: trio.Event | None = None
        self.doorway: trio.Event | None = None
        self.looks = 0
        self.refusal: RemoteError | None = None
        self.catch_ups = 0
        self.is_ready = True
        self.is_matched = True
        self.makes_at_once = False
        self.level: trio.Event | None = None
        # The names of the instances that have the candidate of each key, and the target version of each roll-out.
        self.reached: dict[Key, Collection[str]] = {}
        self.targets: dict[Key, str] = {}
        self._configs: dict[Key, Config] = {}
        self._history: dict[tuple[Key, str], Config] = {}
        for key, document in (documents or {}).items():
            self._set(config(key, document))

    def _set(self, new: Config) -> None:
        self._configs[new.key] = self._history[plain(new.key), new.version] = new

    def publish(self, document: dict[str, Json] | None, key: Key = KEY) -> Config | None:
        """Make this the document of the key, or end the key, and tell everybody."""
        old = self._configs.pop(key, None)
        new = None if document is None else config(key, document)
        if new is not None:
            self._set(new)
            if plain(key) is key:
                self.registry.appear(key)
        self.broadcaster.publish([Change(key, old, new, patch_between(old, new) if old and new else None)])
        return new

    async def read(self, key: Key) -> Config:
        await trio.lowlevel.checkpoint()
        if key.label != self.default_label:
            raise UnknownLabel("no such label")
        if key not in self._configs:
            self._set(config(key, {}))
        return self._configs[key]

    @contextlib.asynccontextmanager
    async def arriving(self, key: Key) -> AsyncIterator[None]:
        await trio.lowlevel.checkpoint()
        if self.doorway is not None:
            await self.doorway.wait()
        yield

    def hold(self, key: Key) -> None:
        if key not in self._configs:
            raise UnknownLabel("no such label")
        self.held[key] += 1

    def release(self, key: Key) -> None:
        self.held[key] -= 1

    def version_of(self, key: Key) -> str | None:
        self.looks += 1
        return self._configs[key].version if key in self._configs else None

    def postponed(self, key: Key) -> str | None:
        return self.later.get(key)

    def in_use(self, key: Key) -> Key | None:
        return self._configs[key].key if self.held[key] else None

    def track(self, key: Key, instance: str | None, *, wants_candidate: bool = False) -> Key:
        has_candidate = wants_candidate if instance is None else instance in self.reached.get(key, ())
        return candidate_of(key) if has_candidate and candidate_of(key) in self._configs else key

    def target(self, key: Key) -> str | None:
        return self.targets.get(key)

    def is_ahead(self, key: Key, version: str | None, claimed: Generation | None) -> bool:
        if self.level is None or self.level.is_set() or version is None:
            return False
        return key in self._configs and self._configs[key].version != version

    async def wait_level(self, key: Key, version: str | None, claimed: Generation | None) -> None:
        while self.level is not None and self.is_ahead(key, version, claimed):
            await self.level.wait()

    async def stale(self, key: Key) -> Delivery:
        new = self._configs[key]
        return Delivery(key, None, new.version, self.encoder.snapshot(new, is_stale=True))

    def ready(self, key: Key, version: str | None) -> Delivery | None:
        return self._caught_up(key, version) if self.is_ready else None

    def at_once(self, key: Key, version: str | None) -> Delivery | None:
        return self._caught_up(key, version) if self.makes_at_once else None

    async def subscribe(self, subscriber: Subscriber, patterns: Sequence[Pattern], max_keys: int) -> Collection[Key]:
        await trio.lowlevel.checkpoint()
        if self.entrance is not None:
            await self.entrance.wait()
        if self.refusal is not None:
            raise self.refusal
        for key in self._configs:
            if plain(key) is key:
                self.registry.appear(key)
        matched = self.registry.matches(*patterns)
        if len(matched) > max_keys:
            raise RemoteError(f"the patterns match more than {max_keys} keys")
        self.registry.subscribe(subscriber, *patterns)
        return sorted(matched)

    def subscribe_now(
        self, subscriber: Subscriber, patterns: Sequence[Pattern], max_keys: int
    ) -> Collection[Key] | None:
        if not self.is_matched or self.entrance is not None or self.refusal is not None:
            return None
        for key in self._configs:
            if plain(key) is key:
                self.registry.appear(key)
        matched = self.registry.matches(*patterns)
        if len(matched) > max_keys:
            return None
        self.registry.subscribe(subscriber, *patterns)
        return sorted(matched)

    def unsubscribe(self, subscriber: Subscriber, patterns: Sequence[Pattern]) -> None:
        self.registry.unsubscribe(subscriber, *patterns)

    def unmatched(self, keys: Iterable[Key], patterns: Sequence[Pattern]) -> Sequence[Key]:
        return self.registry.unmatched_by(keys, patterns)

    async def turn(self) -> None:
        await trio.lowlevel.checkpoint()

    async def catch_up(self, key: Key, version: str | None) -> Delivery:
        self.catch_ups += 1
        new = self._configs.get(key)
        if self.gate is not None:
            await self.gate.wait()
        return self._delivery(key, version, new)

    def _caught_up(self, key: Key, version: str | None) -> Delivery:
        return self._delivery(key, version, self._configs.get(key))

    def _delivery(self, key: Key, version: str | None, new: Config | None) -> Delivery:
        if new is None:
            return Delivery(key, version, None, self.encoder.removed(key, version))
        if version == new.version:
            return Delivery(key, version, version, self.encoder.in_sync(new))
        old = self._history.get((plain(key), version)) if version else None
        patch = patch_between(old, new) if old else None
        payload = self.encoder.change(Change(key, old, new, patch))
        return Delivery(key, None if patch is None else version, new.version, payload)


@attrs.frozen
class Closed:
    """The end of a connection as the client saw it: 1006 where no close frame came."""

    code: int
    reason: str = ""


class Client:
    """A WebSocket client on wsproto that does nothing by itself: it reads, answers and closes when a test tells it to.

    Args:
        stream: Its end of the connection.
        target: The request target.
    """

    def __init__(self, stream: trio.abc.Stream, target: str = "/ws/orders/dev") -> None:
        self.stream = stream
        self.target = target
        self.websocket = WSConnection(ConnectionType.CLIENT)
        self._events: deque[Event] = deque()

    def head(self, **members: Any) -> bytes:
        """The handshake's request, as the listener would hand it to the server."""
        return self.websocket.send(Request(host="localhost", target=self.target, **members))

    async def event(self) -> Event:
        """The next event; a close frame that never came is CloseConnection(1006)."""
        while not self._events:
            try:
                data = bytes(await self.stream.receive_some(65_536))
            except trio.BrokenResourceError:
                data = b""
            self.websocket.receive_data(data or None)
            self._events.extend(self.websocket.events())
        return self._events.popleft()

    async def opened(self) -> AcceptConnection:
        """The answer to the handshake, which has to be 101."""
        event = await self.event()
        assert isinstance(event, AcceptConnection), event
        return event

    async def refused(self) -> tuple[int, dict[str, Any]]:
        """The status and the JSON of the answer to the handshake, which has to be a whole refusal."""
        event = await self.event()
        assert isinstance(event, RejectConnection), event
        body = b""
        if event.has_body:
            is_finished = False
            while not is_finished:
                part = await self.event()
                assert isinstance(part, RejectData), part
                body += part.data
                is_finished = part.body_finished
        return event.status_code, orjson.loads(body)

    async def message(self) -> dict[str, Any]:
        """The next JSON message; pings in between are read and not answered."""
        parts = []
        while True:
            match await self.event():
                case TextMessage(data=data, message_finished=is_finished):
                    parts.append(data)
                    if is_finished:
                        message: dict[str, Any] = json.loads("".join(parts))
                        return message
                case Ping() | Pong():
                    pass
                case other:
                    raise AssertionError(f"expected a message, got {other}")

    async def closed(self, answers: bool = True) -> Closed:
        """Read until the end, whatever comes before it; answers the close frame and closes."""
        while True:
            match await self.event():
                case CloseConnection(code=code, reason=reason) as event:
                    if answers:
                        if self.websocket.state is ConnectionState.REMOTE_CLOSING:
                            with contextlib.suppress(trio.BrokenResourceError):
                                await self.stream.send_all(self.websocket.send(event.response()))
                        await self.stream.aclose()
                    return Closed(int(code), reason or "")
                case TextMessage() | BytesMessage() | Ping() | Pong():
                    pass
                case other:
                    raise AssertionError(f"expected the end, got {other}")

    async def send(self, message: object) -> None:
        """Send a message: text as it is, everything else as JSON."""
        text = message if isinstance(message, str) else json.dumps(message)
        await self.stream.send_all(self.websocket.send(TextMessage(text)))

    async def send_event(self, event: Event) -> None:
        await self.stream.send_all(self.websocket.send(event))


class StreamSpy(trio.abc.Stream):
    """Passes everything on to a stream, and keeps the very objects that are sent.

    Args:
        before_send: Called with what is about to be sent; may raise.
    """

    def __init__(self, stream: trio.abc.Stream, before_send: Callable[[bytes], None] | None = None) -> None:
        self.stream = stream
        self.sent: list[bytes] = []
        self._before_send = before_send

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        whole = data.obj if isinstance(data, memoryview) else data
        assert isinstance(whole, bytes)
        self.sent.append(whole)
        if self._before_send:
            self._before_send(whole)
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.stream.aclose()


class FakePast:
    """What files held before: path to contents, the newest first; None is a moment when there was no such file.

    Attributes:
        asked: The paths that were asked for, and how many contents were taken of each.
        remembered: What it was told is good, each time.
    """

    def __init__(self, contents: Mapping[str, Sequence[bytes | None]], *, is_authoritative: bool = False) -> None:
        self._contents = contents
        self.is_authoritative = is_authoritative
        self.asked: list[tuple[str, int]] = []
        self.remembered: list[Callable[[], Good]] = []
        self.failure: Exception | None = None

    async def contents(
        self, path: str, passed_over: Callable[[str], bool] = lambda _: False
    ) -> AsyncGenerator[Former, None]:
        taken = 0
        try:
            for number, content in enumerate(self._contents.get(path, ())):
                await trio.lowlevel.checkpoint()
                id = None if content is None else f"{path}: {content!r}"
                if id is not None and passed_over(id):
                    continue
                if self.failure is not None:
                    raise self.failure
                taken += 1
                yield Former(content, f"c{number}", id)
        finally:
            self.asked.append((path, taken))

    def remember(self, good: Callable[[], Good]) -> None:
        self.remembered.append(good)


class NoVersions:
    """A part of `past_keys.Commits`: sources that keep no versions."""

    async def versions(self, files: Files) -> Sequence[Commit]:
        return ()

    async def version(self, files: Files, id: str, near: PastFiles | None) -> PastFiles | None:
        raise AssertionError("there are no versions")


class FormerTrees:
    """Sources with former states, the newest first."""

    has_former = True

    def __init__(self, *states: Tree) -> None:
        self.states: list[Tree | SourceError] = [*states]
        self.asked: list[Place] = []
        self.gate: trio.Event | None = None
        self.most = self._now = 0

    async def former(self, before: Place) -> tuple[Place, Tree] | None:
        self.asked.append(before)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await trio.lowlevel.checkpoint()
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self._now -= 1
        place = (7, before[1] + 1)
        if place[1] > len(self.states):
            return None
        found = self.states[before[1]]
        if isinstance(found, SourceError):
            raise found
        return place, found

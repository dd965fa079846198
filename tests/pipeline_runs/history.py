"""The history checker: compares the messages to clients with the publications.

A `Publisher` records the document that each key must have. It computes the document from the files, without the product. A `Recorder` for each client
records the messages, and the client's document after each. The checker has a validator for each promise, and reports `Violation`s. Nothing here uses a
socket or a process: events are in lists in one process, or in JSON lines between several processes.

Versions are hashes of the content. So if a document comes back, it has the same version as before. A *position* is a place in a key's list of
publications. For each version in a sequence, the checker takes the earliest position that isn't before the last one. If any reading of the sequence
only goes forward, this reading does.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import attrs
import jsonpatch

# Said by the publisher.
PUBLISHING = "publishing"
PUBLISHED = "published"
# Said by clients: the ends of a connection, and what came over it.
OPENED = "opened"
ANSWERED = "answered"
SENT_ON = "sent_on"
CLOSED = "closed"
SNAPSHOT = "snapshot"
CHANGE = "change"
IN_SYNC = "in_sync"
REMOVED = "removed"
PING = "ping"
LAGGED = "lagged"
# Said by those who read over HTTP: the request, and the version in its answer.
ASKED = "asked"
READ = "read"

STATES = (SNAPSHOT, CHANGE, IN_SYNC, REMOVED)
# The reason of `connection_closing` if a server sends a client on that is ahead of it.
BEHIND = "another server has a newer state"


@attrs.frozen
class Event:
    """One line of a history.

    Attributes:
        t: Seconds on a clock that all who write share; the order of the list where they are equal.
        kind: One of the words above.
        key: `application:profile:label`.
        client: Who it happened to; empty for the publisher. Stays over reconnects.
        connection: Counts one client's connections; 0 for the publisher.
        old_version: What the message builds on; of OPENED, the `last_version` that was asked for.
        new_version: What the client has after it; of PING the bookmark; of publications the version; None is no document.
        body_hash: SHA-256 of the document, as the client has it after applying, or as it is published.
        node: The node that answered, if a proxy names it.
        generation: That of the message; of OPENED, the one that the client claimed.
        is_stale: The server has marked its snapshot as older than what the client had.
    """

    t: float
    kind: str
    key: str
    client: str = ""
    connection: int = 0
    old_version: str | None = None
    new_version: str | None = None
    body_hash: str | None = None
    node: str = ""
    generation: str | None = None
    is_stale: bool = False


@attrs.frozen
class Violation:
    """A broken promise: the validator's name, what is wrong, and the event that shows it."""

    validator: str
    reason: str
    event: Event

    def __str__(self) -> str:
        return f"{self.validator}: {self.reason}: {self.event}"


# Documents.


def canonical(document: object) -> bytes:
    """Compact JSON with sorted keys, made by another library than the product's."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def hash_of(document: object) -> str:
    return hashlib.sha256(canonical(document)).hexdigest()


def version_of(document: object) -> str:
    return hash_of(document)[:16]


# Generations: `EPOCH.NUMBER`. Numbers of one epoch compare.


def split_generation(text: str) -> tuple[str, int]:
    """Return the epoch and the number."""
    epoch, _, number = text.partition(".")
    return epoch, int(number)


def is_ahead(one: str, other: str) -> bool:
    """Whether one generation is of the same epoch as another, and has a higher number."""
    (epoch, number), (other_epoch, other_number) = split_generation(one), split_generation(other)
    return epoch == other_epoch and number > other_number


def held_generation(held: str | None, kind: str, new: str | None) -> str | None:
    """The generation that a client has after a state: the message's, but for in_sync never less than it had."""
    if kind != IN_SYNC:
        return new
    if held is None or new is None:
        return held or new
    return held if is_ahead(held, new) else new


# Writing a history.


class Publisher:
    """Writes down what is published, and when.

    Args:
        append: Takes each event.
        clock: The clock shared with the recorders.
    """

    def __init__(self, append: Callable[[Event], None], clock: Callable[[], float]) -> None:
        self._append = append
        self._clock = clock

    def publishing(self, documents: Mapping[str, object]) -> None:
        """What each key is about to become: from now on a client may have it. None is a key that ends."""
        self._write(PUBLISHING, documents)

    def published(self, documents: Mapping[str, object]) -> None:
        """What is served: from now on nobody who connects may be given anything older."""
        self._write(PUBLISHED, documents)

    def _write(self, kind: str, documents: Mapping[str, object]) -> None:
        for key, document in documents.items():
            version = None if document is None else version_of(document)
            body_hash = None if document is None else hash_of(document)
            self._append(Event(self._clock(), kind, key, new_version=version, body_hash=body_hash))


class Recorder:
    """One client's state and its lines in the history. Applies what it is sent to what it has, right or wrong.

    Args:
        client: Its name, the same over reconnects.
        key: The main subscription.
    """

    def __init__(self, append: Callable[[Event], None], clock: Callable[[], float], client: str, key: str) -> None:
        self._append = append
        self._clock = clock
        self._client = client
        self._key = key
        self._connection = 0
        self._node = ""
        self.documents: dict[str, Any] = {}
        self.versions: dict[str, str | None] = {}
        self.generations: dict[str, str | None] = {}

    @property
    def version(self) -> str | None:
        """What to resume the main subscription from."""
        return self.versions.get(self._key)

    @property
    def generation(self) -> str | None:
        """The generation of the main subscription, to claim at the next handshake."""
        return self.generations.get(self._key)

    def opened(self, last_version: str | None, generation: str | None = None) -> None:
        """A connection begins, before anything is sent."""
        self._connection += 1
        self._node = ""
        self._write(OPENED, self._key, old_version=last_version, generation=generation)

    def answered(self, node: str = "") -> None:
        """A node has accepted the handshake."""
        self._node = node
        self._write(ANSWERED, self._key)

    def closed(self) -> None:
        """The connection ended, for whatever reason."""
        self._write(CLOSED, self._key)

    def received(self, message: dict[str, Any]) -> str:
        """Take a message of the server, and return its kind: one of ours, or its type where it carries no state."""
        match message["type"]:
            case "config_snapshot":
                return self._has(SNAPSHOT, message, message["version"], lambda _: message["config"])
            case "config_change":
                diff = message["diff"]
                return self._has(CHANGE, message, message["new_version"], lambda old: jsonpatch.apply_patch(old, diff))
            case "in_sync":
                return self._has(IN_SYNC, message, message["version"], lambda old: old)
            case "config_removed":
                return self._has(REMOVED, message, None, lambda _: None)
            case "ping":
                for key, version in message["versions"].items():
                    self._write(PING, key, new_version=version)
                return PING
            case "lagged":
                self._write(LAGGED, self._key)
                return LAGGED
            case "connection_closing" if message["reason"] == BEHIND:
                self._write(SENT_ON, self._key)
                return SENT_ON
            case other:
                return str(other)

    def _has(self, kind: str, message: dict[str, Any], version: str | None, apply: Callable[[Any], Any]) -> str:
        key = f"{message['app']}:{message['profile']}:{message['label']}"
        try:
            document = apply(self.documents.get(key))
            body_hash = None if document is None else hash_of(document)
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError) as error:
            # A patch for another document; the hash of no document says so, and the client goes on with what it had.
            document = self.documents.get(key)
            body_hash = f"not applied: {type(error).__name__}"
        self.documents[key] = document
        self.versions[key] = version
        generation = message.get("generation")
        self.generations[key] = held_generation(self.generations.get(key), kind, generation)
        event = Event(
            self._clock(),
            kind,
            key,
            self._client,
            self._connection,
            message.get("old_version"),
            version,
            body_hash,
            self._node,
            generation,
            message.get("stale") is True,
        )
        self._append(event)
        return kind

    def _write(self, kind: str, key: str, **members: Any) -> None:
        self._append(Event(self._clock(), kind, key, self._client, self._connection, node=self._node, **members))


class Reads:
    """Writes down what one reader is given over HTTP, one request after the other."""

    def __init__(self, append: Callable[[Event], None], clock: Callable[[], float], reader: str, key: str) -> None:
        self._append = append
        self._clock = clock
        self._reader = reader
        self._key = key

    def asked(self) -> None:
        """A request is about to be sent."""
        self._append(Event(self._clock(), ASKED, self._key, self._reader))

    def read(self, version: str) -> None:
        """Its answer has come."""
        self._append(Event(self._clock(), READ, self._key, self._reader, new_version=version))


def write_lines(events: Iterable[Event], file: TextIO) -> None:
    """Write events as JSON lines; several processes' files are read together by `read_lines`."""
    for event in events:
        file.write(json.dumps(attrs.asdict(event)) + "\n")


def read_lines(paths: Iterable[Path]) -> list[Event]:
    """Read files of JSON lines as one history, in the order of their clock."""
    events = (Event(**json.loads(line)) for path in paths for line in path.read_text().splitlines())
    return sorted(events, key=lambda event: event.t)


# Reading a history.


class History:
    """Events in order, with the indexes that validators share.

    Attributes:
        events: All of them.
        publications: For each key what it became, one after the other; what stays the same counts once.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self.events = list(events)
        self.publications: dict[str, list[Event]] = defaultdict(list)
        for event in self.events:
            known = self.publications[event.key]
            if event.kind == PUBLISHING and (not known or known[-1].new_version != event.new_version):
                known.append(event)

    def streams(self) -> Iterator[list[Event]]:
        """For each client and key, what happened over all its connections; their ends are in each key's."""
        streams: dict[tuple[str, str], list[Event]] = {}
        for event in self.events:
            if event.client:
                streams.setdefault((event.client, event.key), []).append(event)
        yield from streams.values()

    def connections(self) -> Iterator[list[Event]]:
        """For each connection and key, what happened."""
        for stream in self.streams():
            connections: dict[int, list[Event]] = {}
            for event in stream:
                connections.setdefault(event.connection, []).append(event)
            yield from connections.values()

    def position(self, key: str, version: str | None, start: int) -> int | None:
        """The earliest publication of a version from a position on; None where there is none."""
        publications = self.publications[key]
        return next(
            (i for i in range(max(start, 0), len(publications)) if publications[i].new_version == version), None
        )


Validator = Callable[[History], Iterator[Violation]]


def ordered(history: History) -> Iterator[Violation]:
    """Each change leads to a later publication than whatever came before it on the connection: no repeat, no step back."""
    for connection in history.connections():
        position = -1
        for event in connection:
            if event.kind not in STATES:
                continue
            start = position + 1 if event.kind == CHANGE else position
            found = history.position(event.key, event.new_version, start)
            if found is None:
                if history.position(event.key, event.new_version, 0) is not None:
                    yield Violation("ordered", "a repeat, or a step back", event)
            else:
                position = found


def gapless(history: History) -> Iterator[Violation]:
    """Each change, and each in_sync, builds on what came before it on the connection."""
    for connection in history.connections():
        has_state = False
        version = None
        for event in connection:
            if event.kind not in STATES:
                continue
            base = event.new_version if event.kind == IN_SYNC else event.old_version
            if has_state and event.kind in (CHANGE, IN_SYNC) and base != version:
                yield Violation("gapless", f"the client had {version}", event)
            has_state, version = True, event.new_version


def resumable(history: History) -> Iterator[Violation]:
    """A connection's first state builds on the version the client resumed from, or is a snapshot, or says that the key has ended."""
    for connection in history.connections():
        opened = next((event for event in connection if event.kind == OPENED), None)
        first = next((event for event in connection if event.kind in STATES), None)
        if opened is None or first is None or first.kind in (SNAPSHOT, REMOVED):
            continue
        base = first.new_version if first.kind == IN_SYNC else first.old_version
        if opened.old_version is None or base != opened.old_version:
            yield Violation("resumable", f"the client resumed from {opened.old_version}", first)


def correct(history: History) -> Iterator[Violation]:
    """What a client has is the published document of the version it was told."""
    hashes = {(each.key, each.new_version): each.body_hash for each in history.events if each.kind == PUBLISHING}
    for event in history.events:
        if event.kind in STATES and hashes.get((event.key, event.new_version), "") != event.body_hash:
            yield Violation("correct", "not the document of this version", event)


def atomic(history: History) -> Iterator[Violation]:
    """What a client has was published, as a whole, before the client had it."""
    published: set[tuple[str, str | None]] = set()
    for event in history.events:
        if event.kind == PUBLISHING:
            published.add((event.key, event.body_hash))
        elif event.kind in STATES and (event.key, event.body_hash) not in published:
            yield Violation("atomic", "a state that was never published", event)


def bookmark(history: History) -> Iterator[Violation]:
    """A ping names no version that wasn't delivered before on its connection."""
    for connection in history.connections():
        delivered: set[str | None] = set()
        for event in connection:
            if event.kind in STATES:
                delivered.add(event.new_version)
            elif event.kind == PING and event.new_version not in delivered:
                yield Violation("bookmark", "ahead of what was delivered", event)


def steps_back(history: History, may_go_back: Callable[[str | None, Event], bool]) -> Iterator[tuple[int, Event]]:
    """Each state that leads a client to an earlier publication, with the position that it had.

    Args:
        may_go_back: Whether a client with this generation may go back by this state.
    """
    for stream in history.streams():
        position, held = 0, None
        for event in stream:
            if event.kind not in STATES:
                continue
            # A document may come back. A stale snapshot is of its first publication, and any other state of the next one.
            found = history.position(event.key, event.new_version, 0 if event.is_stale else position)
            if found is None:
                found = history.position(event.key, event.new_version, 0)
                if found is not None and not may_go_back(held, event):
                    yield position, event
                    found = None
            position = position if found is None else found
            held = held_generation(held, event.kind, event.generation)


def forward(history: History) -> Iterator[Violation]:
    """No client ever goes back to an earlier publication, over reconnects either, unless the snapshot is marked as stale."""
    for position, event in steps_back(history, lambda held, event: False):
        yield Violation("forward", f"the client had publication {position} already", event)


def fresh(history: History) -> Iterator[Violation]:
    """A connection's first state is no older than what was served when the connection was opened."""
    served: dict[str, int] = defaultdict(int)
    waiting: dict[tuple[str, int], int] = {}
    for event in history.events:
        connection = (event.client, event.connection)
        if event.kind == PUBLISHED:
            served[event.key] = history.position(event.key, event.new_version, served[event.key]) or served[event.key]
        elif event.kind == OPENED:
            waiting[connection] = served[event.key]
        elif event.kind in STATES and connection in waiting:
            start = waiting.pop(connection)
            if history.position(event.key, event.new_version, start) is None:
                yield Violation("fresh", f"publication {start} was served already", event)


def eventual(history: History) -> Iterator[Violation]:
    """At the end of the history, which has to be a quiet one, every client that is connected has the newest document."""
    for stream in history.streams():
        last = next((event for event in reversed(stream) if event.kind in (*STATES, OPENED, CLOSED)), None)
        publications = history.publications[stream[0].key]
        if last is None or last.kind == CLOSED or not publications:
            continue
        if last.kind == OPENED or last.body_hash != publications[-1].body_hash:
            yield Violation("eventual", f"the newest is {publications[-1].new_version}", last)


def current(history: History) -> Iterator[Violation]:
    """Who asks over HTTP is given nothing older than what any client of the same instance had been sent by then."""
    delivered: dict[str, int] = defaultdict(int)
    asked: dict[tuple[str, str], int] = {}
    for event in history.events:
        if event.kind in STATES:
            found = history.position(event.key, event.new_version, 0)
            delivered[event.key] = max(delivered[event.key], found or 0)
        elif event.kind == ASKED:
            asked[event.client, event.key] = delivered[event.key]
        elif event.kind == READ:
            start = asked[event.client, event.key]
            if history.position(event.key, event.new_version, start) is None:
                yield Violation("current", f"publication {start} had been delivered already", event)


def authorised(scopes: Mapping[str, Collection[str]]) -> Validator:
    """Nobody is sent anything of a key that is out of his scope: a validator to add to the others.

    Args:
        scopes: Client to the keys it may have.
    """

    def validate(history: History) -> Iterator[Violation]:
        for event in history.events:
            if event.client and event.kind in (*STATES, READ) and event.key not in scopes[event.client]:
                yield Violation("authorised", "out of the client's scope", event)

    validate.__name__ = "authorised"
    return validate


VALIDATORS: tuple[Validator, ...] = (
    ordered,
    gapless,
    resumable,
    correct,
    atomic,
    bookmark,
    forward,
    fresh,
    eventual,
    current,
)


def check(events: Iterable[Event], validators: Iterable[Validator] = VALIDATORS) -> list[Violation]:
    """Hold a history against the promises."""
    history = History(events)
    return [violation for validator in validators for violation in validator(history)]
